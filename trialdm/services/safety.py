"""Safety listings of everybody together: serious events (RP-05), adverse events, the clocks with their lights (RP-06), and what the
data monitoring committee has recommended. No arm, no narrative and nothing restricted is in any of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select

from trialdm.domain import safety, values
from trialdm.domain.crf import Form, Item
from trialdm.domain.ethics import Approval
from trialdm.domain.ethics.clocks import deadlines
from trialdm.domain.ethics.deadline import STATES, Deadline
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, clocks, register, studies
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.clocks import RELATED_FROM
from trialdm.services.unit import Unit
from trialdm.store.tables import Participant


@dataclass(frozen=True)
class Serious:
    """A serious adverse event as a line of RP-05. Texts are in words; `state` is a key of `safety.STATES`."""

    participant: str
    site: str
    visit: str
    form: str
    row: int
    age: str
    event: str
    code: str
    started: date | None
    ended: date | None
    outcome: str
    criteria: str
    aware: datetime | None
    reported: datetime | None
    by_site: str
    by_sponsor: str
    expected: str
    against: str
    ci_aware: date | None
    sent: date | None
    state: str
    clocks: tuple[Deadline, ...]

    def row_of(self, now: datetime) -> dict[str, str]:
        """The line as it stands in a file; a clock says its day and its state."""
        due = {d.rule: f"{_iso(d.due)} {STATES[d.state(now)].lower()}" for d in self.clocks}
        return {
            "participant": self.participant,
            "number": str(self.row),
            "site": self.site,
            "age_band": self.age,
            "event": self.event,
            "code": self.code,
            "started": _iso(self.started),
            "ended": _iso(self.ended),
            "outcome": self.outcome,
            "criteria": self.criteria,
            "site_aware": _iso(self.aware),
            "reported_to_sponsor": _iso(self.reported),
            "relatedness_site": self.by_site,
            "relatedness_sponsor": self.by_sponsor,
            "expectedness": self.expected,
            "judged_against": self.against,
            "ci_aware": _iso(self.ci_aware),
            "committee_told": _iso(self.sent),
            "state": safety.STATES[self.state],
            "clock_sponsor": due.get("GOV-30", ""),
            "clock_committee": due.get("GOV-31", due.get("GOV-33", "")),
        }

    def to_json(self, now: datetime) -> dict[str, Any]:
        """The line as the API gives it: the columns of RP-05 with days as they are, where the form stands, and each clock."""
        flat = {name: text or None for name, text in self.row_of(now).items() if not name.startswith("clock_")}
        form = {"visit": self.visit, "form": self.form, "number": self.row, "state": self.state}
        return {**flat, **form, "clocks": [clock(deadline, now) for deadline in self.clocks]}


@dataclass(frozen=True)
class Event:
    """An adverse event as a line of the listing."""

    participant: str
    site: str
    row: int
    age: str
    term: str
    code: str
    interest: str
    started: date | None
    ended: date | None
    severity: str
    serious: str
    outcome: str

    def row_of(self) -> dict[str, str]:
        return {
            "participant": self.participant,
            "number": str(self.row),
            "site": self.site,
            "age_band": self.age,
            "event": self.term,
            "code": self.code,
            "special_interest": self.interest,
            "started": _iso(self.started),
            "ended": _iso(self.ended),
            "severity": self.severity,
            "serious": self.serious,
            "outcome": self.outcome,
        }

    def to_json(self) -> dict[str, Any]:
        """The line as the API gives it."""
        return {**{name: text or None for name, text in self.row_of().items()}, "number": self.row}


#: Columns of RP-05, of the adverse events and of RP-06 as files, with or without rows.
SERIOUS_COLUMNS = (
    "participant", "number", "site", "age_band", "event", "code", "started", "ended", "outcome", "criteria", "site_aware",
    "reported_to_sponsor", "relatedness_site", "relatedness_sponsor", "expectedness", "judged_against", "ci_aware", "committee_told",
    "state", "clock_sponsor", "clock_committee",
)  # fmt: skip
EVENT_COLUMNS = (
    "participant", "number", "site", "age_band", "event", "code", "special_interest", "started", "ended", "severity", "serious", "outcome",
)  # fmt: skip
CLOCK_COLUMNS = ("light", "state", "what", "participant", "site", "due", "met_on", "rule")


def _iso(value: date | None) -> str:
    return "" if value is None else value.isoformat(timespec="minutes") if isinstance(value, datetime) else value.isoformat()


# --- serious events --------------------------------------------------------------------------------------------------


def serious(unit: Unit, trial: str) -> list[Serious]:
    """Every serious adverse event, by participant and number."""
    unit.require("report.safety", trial)
    protocol = studies.protocol(unit, trial)
    at = clocks.situation(unit, trial)
    due: dict[str, list[Deadline]] = {}
    for deadline in deadlines(at):
        kind, _, about = deadline.key.partition(":")
        if kind in ("sae", "rec"):
            due.setdefault(about, []).append(deadline)
    found = []
    for book in _books(unit, protocol):
        events = {stored.instance.row: said for stored, said in _rows(protocol, book, "event_term")}
        for stored, said in _rows(protocol, book, "serious_aware"):
            found.append(_serious(protocol, book, stored, said, events.get(said.raw("serious_event") or 0), due))
    return found


def _serious(
    protocol: Protocol, book: Casebook, stored: Stored, said: "_Said", event: "_Said | None", due: Mapping[str, list[Deadline]]
) -> Serious:
    event = event or _Said({}, {})
    person, row = book.participant, stored.instance.row
    related = any((said.raw(name) or 0) >= RELATED_FROM for name in ("serious_related", "serious_related_sponsor"))
    known = safety.Judgement(
        site=said.raw("serious_related") is not None,
        sponsor=said.raw("serious_related_sponsor") is not None and said.raw("serious_expected") is not None,
        reportable=related and said.raw("serious_expected") == 0,
        sent=said.raw("serious_sent") is not None,
        outcome=event.raw("event_outcome"),
    )
    return Serious(
        person.id,
        person.site,
        stored.instance.visit,
        stored.instance.form,
        row,
        _age(protocol, book),
        event.words("event_term"),
        event.words("event_code"),
        event.day("event_start"),
        event.day("event_end"),
        event.words("event_outcome"),
        said.words("serious_criteria"),
        said.raw("serious_aware"),
        said.raw("serious_reported"),
        said.words("serious_related"),
        said.words("serious_related_sponsor"),
        said.words("serious_expected"),
        said.words("serious_list"),
        said.day("serious_ci_aware"),
        said.day("serious_sent"),
        safety.state(known),
        tuple(due.get(f"{person.id}:{row}", ())),
    )


def serious_table(unit: Unit, trial: str) -> list[dict[str, str]]:
    """RP-05 as rows."""
    now = clocks.now(unit)
    return [line.row_of(now) for line in serious(unit, trial)]


# --- adverse events --------------------------------------------------------------------------------------------------


def events(unit: Unit, trial: str) -> list[Event]:
    """Every adverse event, by participant and number."""
    unit.require("report.safety", trial)
    protocol = studies.protocol(unit, trial)
    return [
        Event(
            book.participant.id,
            book.participant.site,
            stored.instance.row,
            _age(protocol, book),
            said.words("event_term"),
            said.words("event_code"),
            said.words("event_interest"),
            said.day("event_start"),
            said.day("event_end"),
            said.words("event_severity"),
            said.words("event_serious"),
            said.words("event_outcome"),
        )
        for book in _books(unit, protocol)
        for stored, said in _rows(protocol, book, "event_term")
    ]


def events_table(unit: Unit, trial: str) -> list[dict[str, str]]:
    """The adverse events as rows."""
    return [line.row_of() for line in events(unit, trial)]


# --- clocks ----------------------------------------------------------------------------------------------------------

#: Rules whose clocks are about safety: urgent measures, serious events, halts and breaches.
_RULES = frozenset({"GOV-27", "GOV-30", "GOV-31", "GOV-33", "GOV-36", "GOV-39"})


def lights(unit: Unit, trial: str) -> list[Deadline]:
    """The clocks about safety, those that are due first at the top."""
    unit.require("report.safety", trial)
    return [deadline for deadline in clocks.listed(unit, trial) if deadline.rule in _RULES]


def clock(deadline: Deadline, now: datetime) -> dict[str, Any]:
    """A clock as the API gives it, with its light."""
    return {**clocks.describe(deadline, now), "light": safety.LIGHTS[deadline.state(now)][0]}


def clocks_table(unit: Unit, trial: str) -> list[dict[str, str]]:
    """RP-06 as rows."""
    now = clocks.now(unit)
    return [
        {
            "light": safety.LIGHTS[d.state(now)][0],
            "state": STATES[d.state(now)],
            "what": d.title,
            "participant": d.participant,
            "site": d.site,
            "due": _iso(d.due),
            "met_on": _iso(d.done),
            "rule": d.rule,
        }
        for d in lights(unit, trial)
    ]


def expected_lists(unit: Unit, trial: str) -> list[dict[str, Any]]:
    """The versions of the list of expected events, newest first, and which one is in force today."""
    unit.require("trial.see", trial)
    protocol = studies.protocol(unit, trial)
    current = protocol.expected_on(unit.today)
    versions = sorted(protocol.expected_events, key=lambda one: one.since, reverse=True)
    return [
        {
            "name": one.name,
            "from": one.since.isoformat(),
            "in_force": one is current,
            "expected": list(one.expected),
            "not_expected": list(one.unexpected),
            "source": one.source,
        }
        for one in versions
    ]


def recommendation(unit: Unit, trial: str) -> Approval | None:
    """The recommendation of the data monitoring committee that still waits for the steering committee; None where none does (GOV-47)."""
    unit.require("report.safety", trial)
    kept = register.read(unit, trial)
    advice, decision = kept.latest("dmc", unit.today), kept.latest("tsc", unit.today)
    if advice is None or advice.starts is None or advice.status == "continue":
        return None
    decided = decision is not None and decision.starts is not None and decision.starts >= advice.starts and decision.status == "continue"
    return None if decided else advice


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """The answers of one form by what they mean."""

    items: Mapping[str, Item]
    answers: Mapping[str, Any]

    def raw(self, meaning: str) -> Any:
        item = self.items.get(meaning)
        return self.answers.get(item.name) if item else None

    def day(self, meaning: str) -> date | None:
        return casebooks.as_day(self.raw(meaning))

    def words(self, meaning: str) -> str:
        """An answer as a blinded reader reads it."""
        value, item = self.raw(meaning), self.items.get(meaning)
        if value is None or item is None:
            return ""
        if item.holds == "yn":
            return "Yes" if value == 1 else "No"
        if item.codelist is None:
            return str(values.write(value))
        labels = item.codelist.shown_to(blinded=True)
        return "; ".join(labels.get(code, str(code)) for code in (value if isinstance(value, tuple) else (value,)))


def _books(unit: Unit, protocol: Protocol) -> Iterator[Casebook]:
    forms = {found[0].code for name in ("event_term", "serious_aware", "age") if (found := protocol.meaning(name))}
    people = unit.session.scalars(
        select(Participant).where(Participant.trial_id == protocol.id).order_by(Participant.enrolled_site, Participant.number)
    )
    yield from casebooks.some_forms(unit, protocol.id, people, forms).values()


def _rows(protocol: Protocol, book: Casebook, meaning: str) -> Iterator[tuple[Stored, _Said]]:
    """The rows of the form that holds a meaning, without what is restricted."""
    found = protocol.meaning(meaning)
    if found is None:
        return
    form: Form = found[0]
    items = {item.means: item for item in form.items if item.means and not form.restricts(item)}
    for stored in book.all_of(form.code):
        if not stored.instance.restricted:
            yield stored, _Said(items, stored.answers(form).values)


def _age(protocol: Protocol, book: Casebook) -> str:
    found = protocol.meaning("age")
    first = book.first(found[0].code) if found else None
    return safety.age_band(first.answers(found[0]).values.get(found[1].name)) if found and first else ""
