"""How complete the data are: forms that are due, the primary outcome, visits, delay of entry, by site (RP-03, RP-09).

A form is due once its visit took place or its window has closed, or a later visit has been reached. Every figure counts lines
that the reader may see, and can be shown as these lines.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import select

from trialdm.domain.protocol import Protocol, Visit
from trialdm.services import casebooks, participants, studies, visits
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


@dataclass(frozen=True)
class Place:
    """How complete one site is, or all of them together. Days are calendar days; `lag` is the median from visit to first entry."""

    site: str
    participants: int
    due: int
    complete: int
    drafts: int
    visits_due: int
    visits_done: int
    visits_missed: int
    visits_overdue: int
    primary_due: int
    primary: int
    lag: int | None
    deviations: int

    @property
    def missing(self) -> int:
        return self.due - self.complete - self.drafts

    @property
    def percent(self) -> int | None:
        """Complete forms of those that are due, in whole per cent; None where none is due."""
        return self.complete * 100 // self.due if self.due else None

    @property
    def primary_percent(self) -> int | None:
        return self.primary * 100 // self.primary_due if self.primary_due else None


@dataclass(frozen=True)
class _Known:
    """One participant as the figures need them."""

    book: Casebook
    protocol: Protocol
    expected: tuple[visits.Expected, ...]
    lines: tuple[Due, ...]


def due(unit: Unit, trial: str, *, site: str = "", form: str = "", visit: str = "", state: str = "") -> list[Due]:
    """The forms that are due at the sites that the person sees, by site and number; what is given narrows the list."""
    unit.require("report.monitoring", trial, site or None)
    found = [line for known in _known(unit, trial) for line in known.lines]
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
    lags = _lags(unit, trial, everybody)
    found = [_place(code, here, lags) for code, here in sorted(sites.items())]
    return [_place("", everybody, lags), *found] if len(found) > 1 else found


def _known(unit: Unit, trial: str) -> list[_Known]:
    def find() -> list[_Known]:
        people = participants.listed(unit, trial)
        books = casebooks.whole(unit, trial, [person for person, _ in people])
        found = []
        for person, state in people:
            protocol = studies.protocol_at(unit, trial, person.site)
            expected = tuple(visits.of_person(unit, protocol, books[person.id], state))
            lines = tuple(_due_of(unit, books[person.id], protocol, expected))
            found.append(_Known(books[person.id], protocol, expected, lines))
        return found

    return remember(unit, ("monitored", trial), find)


def _due_of(unit: Unit, book: Casebook, protocol: Protocol, expected: Sequence[visits.Expected]) -> Iterator[Due]:
    person, facts = book.participant, book.facts(protocol)
    sees = unit.sees_allocations(protocol.id, person.site)
    for visit in protocol.visits:
        if not _reached(book, protocol, expected, visit):
            continue
        for form, how in protocol.forms_at(visit):
            if how != "required" or form.kind == "system" or (form.restricted and not sees) or not form.applies(facts):
                continue
            rows = book.rows(form.code, visit.code)
            state = "missing" if not rows else "complete" if all(row.finished for row in rows) else "draft"
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


def _place(site: str, here: Sequence[_Known], lags: dict[str, list[int]]) -> Place:
    forms = [line for known in here for line in known.lines]
    standings = [one.standing for known in here for one in known.expected]
    primary = [has for known in here if (has := _primary(known)) is not None]
    days = [day for known in here for day in lags.get(known.book.participant.id, ())]
    return Place(
        site,
        len(here),
        len(forms),
        sum(line.state == "complete" for line in forms),
        sum(line.state == "draft" for line in forms),
        sum(one in ("done", "missed", "overdue") for one in standings),
        standings.count("done"),
        standings.count("missed"),
        standings.count("overdue"),
        len(primary),
        sum(primary),
        round(median(days)) if days else None,
        sum(_deviations(known) for known in here),
    )


def _primary(known: _Known) -> bool | None:
    """Whether every answer of the primary outcome is there; None while its visit has not come, or is not expected."""
    wanted = known.protocol.primary_outcome
    at = {fact.visit for fact in wanted}
    if not wanted or not any(one.visit in at and one.standing in ("done", "missed", "overdue") for one in known.expected):
        return None
    return all(known.book.answer(known.protocol.form(fact.form), fact.visit, fact.item) is not None for fact in wanted)


def without_primary(unit: Unit, trial: str, site: str = "") -> list[tuple[str, str]]:
    """Participants (with their sites) whose primary outcome is due and not there."""
    unit.require("report.monitoring", trial, site or None)
    people = [known for known in _known(unit, trial) if site in ("", known.book.participant.site) and _primary(known) is False]
    return [(known.book.participant.id, known.book.participant.site) for known in people]


def _deviations(known: _Known) -> int:
    """Deviations that everybody may know of."""
    found = known.protocol.meaning("deviation_type")
    return sum(not stored.instance.restricted for stored in known.book.all_of(found[0].code)) if found else 0


def _lags(unit: Unit, trial: str, everybody: Iterable[_Known]) -> dict[str, list[int]]:
    """By participant, the days from each visit to the first entry of each of its forms that everybody may read."""
    first = _first_saved(unit, trial)
    found: dict[str, list[int]] = {}
    for known in everybody:
        dated = known.protocol.meaning("visit_date")
        for (visit, code, _), stored in known.book.forms.items() if dated else ():
            day = casebooks.as_day(known.book.answer(dated[0], visit, dated[1].name)) if dated else None
            saved = first.get(stored.instance.id)
            if day is None or saved is None or stored.restricted(known.protocol.form(code)):
                continue
            delay = (saved.astimezone(LONDON).date() - day).days
            if delay >= 0:
                found.setdefault(known.book.participant.id, []).append(delay)
    return found


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
            "visits_due": one.visits_due,
            "visits_done": one.visits_done,
            "visits_missed": one.visits_missed,
            "visits_overdue": one.visits_overdue,
            "primary_due": one.primary_due,
            "primary_complete": one.primary,
            "days_to_entry": one.lag,
            "deviations": one.deviations,
        }
        for one in places
    ]


def lines(found: Iterable[Due]) -> list[dict[str, Any]]:
    """Forms that are due as rows of a file (RP-03)."""
    return [dict(vars(one)) for one in found]
