"""How complete the data are: forms that are due, the primary outcome, visits, delay of entry, by site (RP-03, RP-09).

A form is due once its visit took place or its window has closed, or a later visit has been reached. Every figure counts lines
that the reader may see, and can be shown as these lines.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import select

from trialdm.domain.errors import Missing
from trialdm.domain.protocol import Protocol, Visit
from trialdm.domain.schedule import STANDINGS
from trialdm.services import casebooks, double_entry, participants, studies, visits
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import LONDON, Unit, remember
from trialdm.store.tables import FormInstance, FormVersion

#: What a line is about -> words.
STATES = {"complete": "Complete", "draft": "Draft", "missing": "Not started"}


@dataclass(frozen=True)
class Due:
    """A form that is due: whose, where, and how far it is (`STATES`)."""

    participant: str
    site: str
    visit: str
    form: str
    state: str


#: Columns of RP-03, with or without rows.
DUE_COLUMNS = tuple(one.name for one in fields(Due))


@dataclass(frozen=True)
class Line:
    """What a figure counts: whose, where, and what there is to say of it. `days` is what a median is taken of."""

    participant: str
    site: str
    visit: str = ""
    form: str = ""
    row: int = 1
    words: str = ""
    days: int = 0


#: Figure -> what stands over the list of its lines.
FIGURES = {
    "visits-due": "Visits that are due: done, missed or overdue",
    "visits-done": "Visits done",
    "visits-missed": "Visits missed",
    "visits-overdue": "Visits overdue",
    "primary-due": "Primary outcome due",
    "primary-there": "Primary outcome there",
    "primary-lacking": "Primary outcome lacking",
    "deviations": "Deviations",
    "entry": "Days from visit to first entry",
}


@dataclass(frozen=True)
class Place:
    """How complete one site is, or all of them together. `counts` has the length of the list of each of `FIGURES`.

    Days are calendar days; `lag` is the median from visit to first entry.
    """

    site: str
    participants: int
    due: int
    complete: int
    drafts: int
    counts: Mapping[str, int]
    lag: int | None

    @property
    def missing(self) -> int:
        return self.due - self.complete - self.drafts

    @property
    def percent(self) -> int | None:
        """Complete forms of those that are due, in whole per cent; None where none is due."""
        return self.complete * 100 // self.due if self.due else None

    @property
    def primary_percent(self) -> int | None:
        due = self.counts["primary-due"]
        return self.counts["primary-there"] * 100 // due if due else None


@dataclass(frozen=True)
class _Known:
    """One participant as the figures need them."""

    book: Casebook
    protocol: Protocol
    expected: tuple[visits.Expected, ...]
    due: tuple[Due, ...]
    lists: Mapping[str, tuple[Line, ...]]


def due(unit: Unit, trial: str, *, site: str = "", form: str = "", visit: str = "", state: str = "") -> list[Due]:
    """The forms that are due at the sites that the person sees, by site and number; what is given narrows the list."""
    unit.require("report.monitoring", trial, site or None)
    found = [line for known in _known(unit, trial) for line in known.due]
    return [
        line
        for line in found
        if site in ("", line.site) and form in ("", line.form) and visit in ("", line.visit) and state in ("", line.state)
    ]


def by_site(unit: Unit, trial: str) -> list[Place]:
    """The figures of every site that the person sees, and of all of them together (an empty `site`) where there are several."""
    unit.require("report.monitoring", trial)
    everybody = _known(unit, trial)
    sites: dict[str, list[_Known]] = {}
    for known in everybody:
        sites.setdefault(known.book.participant.site, []).append(known)
    found = [_place(code, here) for code, here in sorted(sites.items())]
    return [_place("", everybody), *found] if len(found) > 1 else found


def listed(unit: Unit, trial: str, figure: str, site: str = "") -> list[Line]:
    """What a figure counts (`FIGURES`), at one site or all that the person sees. Raises Missing for a figure that there is not."""
    unit.require("report.monitoring", trial, site or None)
    if figure not in FIGURES:
        raise Missing(f"There is no figure '{figure}'.", code="REPORT.FIGURE", needs=f"One of: {', '.join(FIGURES)}.")
    return [line for known in _known(unit, trial) if site in ("", known.book.participant.site) for line in known.lists[figure]]


def _known(unit: Unit, trial: str) -> list[_Known]:
    def find() -> list[_Known]:
        people = participants.listed(unit, trial)
        books = casebooks.whole(unit, trial, [person for person, _ in people])
        first, begun, found = _first_saved(unit, trial), double_entry.begun(unit, trial), []
        for person, state in people:
            protocol, book = studies.protocol_at(unit, trial, person.site), books[person.id]
            expected = tuple(visits.of_person(unit, protocol, book, state))
            due = tuple(_due_of(unit, book, protocol, expected, begun))
            found.append(_Known(book, protocol, expected, due, _lists(book, protocol, expected, first)))
        return found

    return remember(unit, ("monitored", trial), find)


def _due_of(
    unit: Unit, book: Casebook, protocol: Protocol, expected: Sequence[visits.Expected], begun: Collection[tuple[str, str, str]]
) -> Iterator[Due]:
    """Forms that are due. One that was entered once of twice is a draft."""
    person, facts = book.participant, book.facts(protocol)
    sees = unit.sees_allocations(protocol.id, person.site)
    for visit in protocol.visits:
        if not _reached(book, protocol, expected, visit):
            continue
        for form, how in protocol.forms_at(visit):
            if how != "required" or form.kind == "system" or (form.restricted and not sees) or not form.applies(facts):
                continue
            rows = book.rows(form.code, visit.code)
            once = (person.id, visit.code, form.code) in begun
            state = "complete" if rows and all(row.finished for row in rows) else "draft" if rows or once else "missing"
            yield Due(person.id, person.site, visit.code, form.code, state)


def _reached(book: Casebook, protocol: Protocol, expected: Sequence[visits.Expected], visit: Visit) -> bool:
    """Whether the forms of a visit are due."""
    if visit.kind == "scheduled":
        return any(one.visit == visit.code and one.standing in ("overdue", "done") for one in expected)
    if visit.kind == "repeating":
        return False
    later = protocol.visits[protocol.visits.index(visit) :]
    codes = {one.code for one in later if one.kind != "repeating"}
    if any(at in codes for at, _, _ in book.forms):
        return True
    return any(one.visit in codes and one.standing in ("open", "overdue", "done", "missed") for one in expected)


def _place(site: str, here: Sequence[_Known]) -> Place:
    forms = [line for known in here for line in known.due]
    days = [line.days for known in here for line in known.lists["entry"]]
    return Place(
        site,
        len(here),
        len(forms),
        sum(line.state == "complete" for line in forms),
        sum(line.state == "draft" for line in forms),
        {figure: sum(len(known.lists[figure]) for known in here) for figure in FIGURES},
        round(median(days)) if days else None,
    )


#: Standings of a visit that was due.
_WERE_DUE = ("done", "missed", "overdue")


def _lists(
    book: Casebook, protocol: Protocol, expected: Sequence[visits.Expected], first: Mapping[str, datetime]
) -> dict[str, tuple[Line, ...]]:
    """What each of `FIGURES` counts of one participant."""
    person = book.participant
    were_due = [one for one in expected if one.standing in _WERE_DUE]
    visited = [(one.standing, Line(person.id, person.site, one.visit, one.form, words=STANDINGS[one.standing])) for one in were_due]
    has = _primary(book, protocol, were_due)
    primary = (Line(person.id, person.site),) if has is not None else ()
    return {
        "visits-due": tuple(line for _, line in visited),
        **{f"visits-{kind}": tuple(line for standing, line in visited if standing == kind) for kind in _WERE_DUE},
        "primary-due": primary,
        "primary-there": primary if has else (),
        "primary-lacking": () if has else primary,
        "deviations": tuple(_deviations(book, protocol)),
        "entry": tuple(_entered(book, protocol, first)),
    }


def _primary(book: Casebook, protocol: Protocol, were_due: Sequence[visits.Expected]) -> bool | None:
    """Whether every answer of the primary outcome is there; None while its visit has not come, or is not expected."""
    wanted = protocol.primary_outcome
    at = {fact.visit for fact in wanted}
    if not wanted or not any(one.visit in at for one in were_due):
        return None
    return all(book.answer(protocol.form(fact.form), fact.visit, fact.item) is not None for fact in wanted)


def _deviations(book: Casebook, protocol: Protocol) -> Iterator[Line]:
    """Deviations that everybody may know of, without those that were none (class 0)."""
    graded, typed = protocol.meaning("deviation_class"), protocol.meaning("deviation_type")
    for stored in book.all_of(graded[0].code) if graded and typed else ():
        answers = stored.answers(graded[0]).values if graded else {}
        if graded is None or typed is None or stored.instance.restricted or answers.get(graded[1].name) == 0:
            continue
        said = [item.codelist.labels.get(answers.get(item.name)) if item.codelist else None for item in (typed[1], graded[1])]  # type: ignore[arg-type]
        one = stored.instance
        yield Line(one.participant_id, book.participant.site, one.visit, one.form, one.row, ", ".join(words for words in said if words))


def _entered(book: Casebook, protocol: Protocol, first: Mapping[str, datetime]) -> Iterator[Line]:
    """The forms of visits that everybody may read, each with the days from its visit to its first entry."""
    dated = protocol.meaning("visit_date")
    for (visit, code, row), stored in book.forms.items() if dated else ():
        day = casebooks.as_day(book.answer(dated[0], visit, dated[1].name)) if dated else None
        saved = first.get(stored.instance.id)
        if day is None or saved is None or stored.restricted(protocol.form(code)):
            continue
        delay = (saved.astimezone(LONDON).date() - day).days
        if delay >= 0:
            yield Line(book.participant.id, book.participant.site, visit, code, row, f"{delay} day{'' if delay == 1 else 's'}", delay)


def _first_saved(unit: Unit, trial: str) -> dict[str, datetime]:
    rows = unit.session.execute(
        select(FormVersion.instance_id, FormVersion.saved_at)
        .join(FormInstance, (FormInstance.trial_id == FormVersion.trial_id) & (FormInstance.id == FormVersion.instance_id))
        .where(FormVersion.trial_id == trial, FormVersion.seq == 1)
    )
    return {ident: at for ident, at in rows}


def groups(lines: Iterable[Due], key: str) -> list[tuple[str, dict[str, int]]]:
    """Lines counted by site, visit or form: name, and how many of each state there are."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        counts = found.setdefault(getattr(line, key), dict.fromkeys(STATES, 0))
        counts[line.state] += 1
    return list(found.items())


def table(places: Iterable[Place]) -> list[dict[str, Any]]:
    """The comparison of sites as rows of a file (RP-09)."""
    return [
        {
            "site": one.site or "all",
            "participants": one.participants,
            "forms_due": one.due,
            "forms_complete": one.complete,
            "forms_draft": one.drafts,
            "forms_missing": one.missing,
            "percent_complete": one.percent,
            "visits_due": one.counts["visits-due"],
            "visits_done": one.counts["visits-done"],
            "visits_missed": one.counts["visits-missed"],
            "visits_overdue": one.counts["visits-overdue"],
            "primary_due": one.counts["primary-due"],
            "primary_complete": one.counts["primary-there"],
            "days_to_entry": one.lag,
            "deviations": one.counts["deviations"],
        }
        for one in places
    ]


def lines(found: Iterable[Due]) -> list[dict[str, Any]]:
    """Forms that are due as rows of a file (RP-03)."""
    return [dict(vars(one)) for one in found]
