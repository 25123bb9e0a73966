"""What does not agree with other forms: a visit after the death, which is refused, and a serious event for which no event stands yet.

A serious event must reach the sponsor within a day: it is saved, and says what is lacking.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from trialdm.domain.crf import Answers, Finding, Severity
from trialdm.domain.errors import Detail, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks
from trialdm.services.casebooks import Casebook

if TYPE_CHECKING:  # saving a form stands on this room
    from trialdm.services.places import Place


def found(place: "Place", book: Casebook, before: Answers, after: Answers) -> list[Finding]:
    """Answers that are new or different and cannot stand beside other forms (hard), and events that are lacking (alert)."""
    given = {item.means: (item.name, after.values[item.name]) for item in place.form.items if item.means and item.name in after.values}
    return [
        Finding(f"CRF.{code}", f"CRF.{code}", severity, message, (given[meaning][0],))
        for meaning, (judge, severity) in _JUDGES.items()
        if meaning in given and (severity == "alert" or given[meaning][1] != before.values.get(given[meaning][0]))
        for code, message in judge(place.protocol, book, given[meaning][1])
    ]


def _after_death(protocol: Protocol, book: Casebook, day: Any) -> Iterator[tuple[str, str]]:
    died = min(_days(protocol, book, "death_date"), default=None)
    if died is not None and isinstance(day, date) and day > died[0]:
        yield "AFTER_DEATH", f"The participant's death is recorded on {died[0].isoformat()}. Correct this date, or that of the death."


def _before_visit(protocol: Protocol, book: Casebook, day: Any) -> Iterator[tuple[str, str]]:
    last = max(_days(protocol, book, "visit_date"), default=None)
    if last is not None and isinstance(day, date) and last[0] > day:
        message = f"Visit {last[1]} is recorded on {last[0].isoformat()}, after this day. Correct this date, or that of the visit."
        yield "AFTER_DEATH", message


def _days(protocol: Protocol, book: Casebook, meaning: str) -> Iterator[tuple[date, str]]:
    """The days that finished forms give for a meaning, each with its visit."""
    at = protocol.meaning(meaning)
    for stored in book.all_of(at[0].code) if at else ():
        day = casebooks.as_day(stored.answers(at[0]).values.get(at[1].name)) if at and stored.finished else None
        if day is not None:
            yield day, stored.instance.visit


def _no_event(protocol: Protocol, book: Casebook, number: Any) -> Iterator[tuple[str, str]]:
    events = dict(_events(protocol, book))
    if number not in events:
        known = "; ".join(f"{row}: {term}" for row, term in events.items()) or "none yet"
        yield "NO_EVENT", f"There is no adverse event {number} yet. Enter it today, or correct the number (recorded: {known})."


def _events(protocol: Protocol, book: Casebook) -> Iterator[tuple[int, str]]:
    """Row and words of each adverse event of a participant."""
    at = protocol.meaning("event_term")
    for stored in book.all_of(at[0].code) if at else ():
        yield stored.instance.row, str(stored.answers(at[0]).values.get(at[1].name, "no term")) if at else ""


#: Meaning -> what judges it, and how severe it is.
_JUDGES: Mapping[str, tuple[Callable[[Protocol, Casebook, Any], Iterator[tuple[str, str]]], Severity]] = {
    "visit_date": (_after_death, "hard"),
    "death_date": (_before_visit, "hard"),
    "serious_event": (_no_event, "alert"),
}


def require_unnamed(place: "Place", book: Casebook) -> None:
    """Raises WrongState for the row of an event that a serious event names: without it nobody would know what was serious."""
    event, named = place.protocol.meaning("event_term"), place.protocol.meaning("serious_event")
    if not event or not named or place.form.code != event[0].code:
        return
    rows = [s.instance.row for s in book.all_of(named[0].code) if s.answers(named[0]).values.get(named[1].name) == place.row]
    if rows:
        message = f"Row {rows[0]} of '{named[0].title}' stands for this event."
        detail = Detail("CRF.NAMED", message, "why")
        raise WrongState(message, code="CRF.NAMED", needs="Correct or remove that row first.", details=[detail])
