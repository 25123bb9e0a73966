"""The treatment pathway in days: procedures compared with audit records, reviews with their actions, appraisals, and what is due.

Pure: facts of the register and audited procedures in, deadlines out. Rules GOV-53 and GOV-56 to 58; sources with each rule.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from trialdm.domain.ethics.dates import add_days, add_months
from trialdm.domain.ethics.deadline import Audited, Clock, Deadline, Situation
from trialdm.domain.ethics.register import Fact, Register

#: Facts that an organisation of the treatment pathway records itself.
FACTS = frozenset(
    "governance-notice governance-seen procedures review-planned review-held review-action review-closed appraisal guidance".split()
)


# --- the notice to the governance lead -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Notice:
    """A notice to the clinical governance lead, and the lead's confirmation."""

    given: Fact
    seen: Fact | None = None


def notices(on_record: Register, site: str, on: date) -> list[Notice]:
    """The notices of an organisation, the oldest first; a confirmation names the number of its notice."""
    seen = {fact.about: fact for fact in on_record.of("governance-seen", on, site=site)}
    return [Notice(fact, seen.get(str(fact.entry))) for fact in on_record.of("governance-notice", on, site=site)]


def began(on_record: Register, site: str, on: date) -> date | None:
    """The day on which the lead of an organisation confirmed the first notice: its clocks run from then."""
    seen = on_record.of("governance-seen", on, site=site)
    return seen[0].on if seen else None


# --- procedures and audit records ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Month:
    """A month of an organisation: procedures by its own list (None while there is none) and audited ones."""

    month: str
    procedures: int | None
    audited: int
    listed: Fact | None = None
    complete_on: date | None = None

    @property
    def gap(self) -> int:
        """Procedures without audit entry."""
        return max(0, (self.procedures or 0) - self.audited)


def month_of(day: date) -> str:
    """A day's month, such as 2026-03."""
    return f"{day.year}-{day.month:02d}"


def first_day(month: str) -> date:
    """The first day of a month. Raises ValueError for what is none."""
    return date.fromisoformat(f"{month}-01")


def months(on_record: Register, cases: Iterable[Audited], site: str, on: date) -> list[Month]:
    """Every month that has ended since the notice was confirmed, or since the first procedure or list where these are earlier."""
    here = [case for case in cases if case.site == site]
    lists = {fact.about: fact for fact in on_record.of("procedures", on, site=site)}
    starts = [case.on for case in here] + [first_day(month) for month in lists]
    confirmed = began(on_record, site, on)
    starts += [confirmed] if confirmed else []
    if not starts:
        return []
    found, month = [], min(starts).replace(day=1)
    while month < on.replace(day=1):
        found.append(_month(month_of(month), lists.get(month_of(month)), here))
        month = add_months(month, 1)
    return found


def _month(month: str, listed: Fact | None, here: Sequence[Audited]) -> Month:
    entered = sorted(case.entered_on for case in here if month_of(case.on) == month)
    procedures = listed.number if listed else None
    complete = None
    if listed is not None and len(entered) >= listed.number:
        complete = max([listed.on, *entered[: listed.number]])
    return Month(month, procedures, len(entered), listed, complete)


# --- reviews ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Action:
    """Something agreed at a review, and how it ended."""

    number: int
    words: str
    agreed_on: date
    closed: Fact | None = None


@dataclass(frozen=True)
class Review:
    """A review of outcomes and safety at an organisation: planned, held with minutes, actions, closed."""

    number: int
    planned: Fact | None
    held: Fact | None
    actions: tuple[Action, ...] = ()

    @property
    def planned_for(self) -> date | None:
        return date.fromisoformat(self.planned.text) if self.planned else None

    @property
    def open_actions(self) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.closed is None)

    @property
    def state(self) -> str:
        """planned, held, actions_open or closed: one is closed when it was held and nothing that it agreed on is open."""
        if self.held is None:
            return "planned"
        return "actions_open" if self.open_actions else "closed" if self.actions else "held"


def reviews(on_record: Register, site: str, on: date) -> list[Review]:
    """The reviews of an organisation, by number."""
    by_kind = {kind: on_record.of(kind, on, site=site) for kind in ("review-planned", "review-held", "review-action", "review-closed")}
    numbers = sorted({int(fact.about) for facts in by_kind.values() for fact in facts})
    return [_review(number, {kind: [f for f in facts if f.about == str(number)] for kind, facts in by_kind.items()}) for number in numbers]


def _review(number: int, of: Mapping[str, Sequence[Fact]]) -> Review:
    closed = {fact.number: fact for fact in of["review-closed"]}
    actions = tuple(Action(fact.number, fact.text, fact.on, closed.get(fact.number)) for fact in of["review-action"])
    return Review(number, _last(of["review-planned"]), _last(of["review-held"]), actions)


def _last(facts: Sequence[Fact]) -> Fact | None:
    return facts[-1] if facts else None


# --- what is due -----------------------------------------------------------------------------------------------------


def _reconciliations(at: Situation) -> Iterator[Deadline]:
    """Each month's procedures are compared with the audit within the organisation's time after its end (GOV-56)."""
    for site in _organisations(at):
        for month in months(at.register, at.audited, site, at.on):
            ended = add_days(add_months(first_day(month.month), 1), -1)
            last = add_days(add_months(first_day(month.month), 1 + at.param("reconcile_months")), -1)
            title = f"Procedures of {month.month} compared with audit records"
            if month.gap:
                title = f"{month.gap} procedure{'' if month.gap == 1 else 's'} of {month.month} without audit entry"
            key = f"procedures:{site}:{month.month}"
            yield Deadline(key, "GOV-56", title, ended, last, ("auditor", "governance-lead"), month.complete_on, site)


def _reviews_due(at: Situation) -> Iterator[Deadline]:
    """A review within the organisation's time after the last one, or after the notice was confirmed (GOV-57)."""
    every = at.param("review_months")
    for site in _organisations(at):
        since = began(at.register, site, at.on)
        if since is None:
            continue
        ends: list[tuple[str, date | None]] = [
            (f"Review {fact.about} of outcomes and safety", fact.on) for fact in at.register.of("review-held", at.on, site=site)
        ]
        for title, held in [*ends, ("Review of outcomes and safety", None)]:
            key = f"review:{site}:{since.isoformat()}"
            yield Deadline(key, "GOV-57", title, since, add_months(since, every), ("governance-lead",), held, site)
            since = max(since, held or since)


def _appraisals(at: Situation) -> Iterator[Deadline]:
    """Each operator discusses outcomes within the time after the last appraisal, or after the first procedure (GOV-58)."""
    every = at.param("appraisal_months")
    for site in _organisations(at):
        operators = {held.surgeon: (held.person, held.name) for held in at.register.credentials if held.site == site}
        operated = [case for case in at.audited if case.site == site and case.surgeon is not None]
        for surgeon in sorted({case.surgeon for case in operated if case.surgeon is not None}):
            person, name = operators.get(surgeon, ("", f"surgeon {surgeon}"))
            since = min(case.on for case in operated if case.surgeon == surgeon)
            held = [f.on for f in at.register.of("appraisal", at.on, site=site) if person and f.person == person and f.on >= since]
            for done in [*held, None]:
                key = f"appraisal:{site}:{surgeon}:{since.isoformat()}"
                title = f"Outcomes of {name} discussed at the annual appraisal"
                yield Deadline(key, "GOV-58", title, since, add_months(since, every), ("governance-lead",), done, site, person=person)
                since = max(since, done or since)


def _organisations(at: Situation) -> list[str]:
    """Codes of the organisations where the study treats; none in a trial."""
    return [site.code for site in at.protocol.sites] if at.protocol.treats else []


#: The clocks of the treatment pathway.
CLOCKS: tuple[Clock, ...] = (_reconciliations, _reviews_due, _appraisals)
