"""The scheduled visits of participants: where each stands today. One schedule for everybody, whatever was allocated.

Lists, calendar and inbox all read this. It holds pseudonyms, visits, sites and days, and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from typing import Any

from trialdm.documents import calendar
from trialdm.domain import lifecycle, roles, schedule
from trialdm.domain.protocol import Protocol, Visit
from trialdm.domain.schedule import STANDINGS, Window
from trialdm.services import casebooks, participants, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit
from trialdm.store.keys import label

#: Standings of a visit that somebody still has to hold or to account for.
EXPECTED = ("later", "soon", "open", "overdue")

#: Standings of the list of what is to be done now.
PRESSING = ("overdue", "open", "soon")


@dataclass(frozen=True)
class Expected:
    """One scheduled visit of one participant. `changed` is the last moment at which what is said here could have changed."""

    participant: str
    site: str
    visit: str
    label: str
    form: str
    window: Window
    standing: str
    changed: datetime

    def to_json(self) -> dict[str, Any]:
        days = {name: day.isoformat() for name, day in vars(self.window).items()}
        about = {"participant": self.participant, "site": self.site, "visit": self.visit, "label": self.label}
        return {**about, **days, "standing": self.standing}


#: Columns of the visits as a file, with or without rows.
COLUMNS = ("participant", "site", "visit", "label", *(one.name for one in fields(Window)), "standing")


def forms(protocol: Protocol) -> set[str]:
    """Codes of the forms that hold the anchors of windows, the days of visits, and what ends the schedule."""
    anchors = {name for visit in protocol.visits for name in (visit.anchor, visit.fallback)}
    dated = {found[0].code for name in ("visit_date", "visit_done") if (found := protocol.meaning(name))}
    return {fact.form for fact in protocol.context if fact.name in anchors} | dated | participants.closing_forms(protocol)


def took_place(protocol: Protocol, book: Casebook, visit: str) -> bool | None:
    """What was entered of a visit: that it took place, that it did not, or None for nothing."""
    dated, said = protocol.meaning("visit_date"), protocol.meaning("visit_done")
    if dated is None:
        return None
    told = book.answer(said[0], visit, said[1].name) if said else None
    if told is not None:
        return bool(told == 1)
    stored = book.get(visit, dated[0].code, 1)
    return True if book.answer(dated[0], visit, dated[1].name) is not None or (stored and stored.finished) else None


def of_person(unit: Unit, protocol: Protocol, book: Casebook, state: str) -> Iterator[Expected]:
    """The scheduled visits of one participant that have a window, in the order of time."""
    dated, person = protocol.meaning("visit_date"), book.participant
    if dated is None or state in lifecycle.BEFORE_ALLOCATION:
        return
    facts, ends = book.facts(protocol), participants.ends(protocol, book, state)
    for visit in sorted(protocol.visits, key=lambda one: one.target or 0):
        window = schedule.window(visit, facts)
        if window is None:
            continue
        standing = schedule.standing(unit.today, visit, facts, ends, done=took_place(protocol, book, visit.code))
        changed = _changed(protocol, book, visit, facts)
        yield Expected(person.id, person.site, visit.code, visit.label, dated[0].code, window, standing, changed)


def _changed(protocol: Protocol, book: Casebook, visit: Visit, facts: dict[str, Any]) -> datetime:
    """By open forms only: when a restricted form was saved is no business of the schedule, which knows the day that it counts from."""
    dated = protocol.meaning("visit_date")
    saved = [stored.saved_at for code in participants.closing_forms(protocol) for stored in book.all_of(code)]
    own = book.get(visit.code, dated[0].code, 1) if dated else None
    anchor = facts.get(visit.anchor) or facts.get(visit.fallback)
    day = [datetime.combine(anchor, time(), UTC)] if isinstance(anchor, date) else []
    return max([book.participant.added_at, *saved, *([own.saved_at] if own else []), *day])


def listed(
    unit: Unit,
    trial: str,
    *,
    site: str = "",
    standings: Sequence[str] = tuple(STANDINGS),
    since: date = date.min,
    until: date = date.max,
) -> list[Expected]:
    """The visits at the sites that the person sees with a target day in this period, by that day. Raises Forbidden, and Missing for
    an unknown site."""
    if site:
        studies.protocol(unit, trial).site(site)
    unit.require("participant.see", trial, site or None)
    people = [(row, state) for row, state in participants.listed(unit, trial) if site in ("", row.site)]
    wanted = {form for protocol in studies.alive(unit, trial) for form in forms(protocol)}
    books = casebooks.some_forms(unit, trial, [row for row, _ in people], wanted)
    found = [
        one
        for row, state in people
        for one in of_person(unit, studies.protocol_at(unit, trial, row.site), books[row.id], state)
        if one.standing in standings and since <= one.window.target <= until
    ]
    return sorted(found, key=lambda one: (one.window.target, one.site, one.participant, one.visit))


def table(found: Sequence[Expected]) -> list[dict[str, Any]]:
    """Visits as rows for a file."""
    return [{**one.to_json(), "standing": STANDINGS[one.standing]} for one in found]


def feed(unit: Unit, trial: str, *, site: str = "") -> str:
    """The expected visits as a calendar (RFC 5545): pseudonym, visit and site, on the target day. Raises as `listed`."""
    protocol = studies.protocol(unit, trial)
    events = [
        calendar.Event(
            uid=f"{label(unit.keys.audit, f'calendar|{trial}|{one.participant}|{one.visit}')}@trialdm",
            day=one.window.target,
            summary=f"{one.participant}: {one.label}",
            description=f"Window {_words(one.window.opens)} to {_words(one.window.closes)}. Site {one.site}. {protocol.short_title}.",
            changed=one.changed,
        )
        for one in listed(unit, trial, site=site, standings=EXPECTED)
    ]
    return calendar.text(events, f"{protocol.short_title} visits{f', site {site}' if site else ''}")


def _words(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def waiting(unit: Unit, protocol: Protocol) -> Iterator[tuple[Expected, str]]:
    """What whoever enters visit forms at a site is reminded of: each visit with what to do about it, from a week before its target
    day until something is entered."""
    grants, trial = unit.actor.grants, protocol.id
    for grant_site in dict.fromkeys(grant.site for grant in grants if grant.site and grant.covers(trial, None)):
        if not (roles.may_enter(grants, "visit", trial, grant_site) and unit.may("participant.see", trial, grant_site)):
            continue
        for one in listed(unit, trial, site=grant_site, standings=PRESSING):
            words = _reminder(one, unit.today)
            if words:
                yield one, words


def _reminder(one: Expected, today: date) -> str:
    """What a visit is reminded of with; nothing before the first reminder."""
    if one.standing == "overdue":
        return "The window has closed: enter the visit, or why it was missed"
    passed = sum(day <= today for day in schedule.reminders(one.window.target))
    return ("", "Arrange the visit", "The target day has come", "A week past the target day")[passed]
