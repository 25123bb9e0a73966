"""Days as a calendar file (iCalendar, RFC 5545): lines ended by CRLF and folded at 75 octets, text escaped. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_FOLD = 75


@dataclass(frozen=True)
class Event:
    """One whole day. `uid` stays the same for the same thing; `changed` is when what is said last changed."""

    uid: str
    day: date
    summary: str
    description: str
    changed: datetime


def text(events: Iterable[Event], name: str) -> str:
    """The calendar of these events. Equal events give equal text."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//trialdm//visits//EN", "CALSCALE:GREGORIAN", "METHOD:PUBLISH"]
    lines.append(f"NAME:{_escaped(name)}")
    for event in events:
        lines += _event(event)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in _folded(line))


def _event(event: Event) -> Iterator[str]:
    """A day that does not make anybody busy."""
    yield "BEGIN:VEVENT"
    yield f"UID:{_escaped(event.uid)}"
    yield f"DTSTAMP:{event.changed.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    yield f"DTSTART;VALUE=DATE:{event.day:%Y%m%d}"
    yield f"DTEND;VALUE=DATE:{event.day + timedelta(days=1):%Y%m%d}"
    yield f"SUMMARY:{_escaped(event.summary)}"
    yield f"DESCRIPTION:{_escaped(event.description)}"
    yield "TRANSP:TRANSPARENT"
    yield "CLASS:CONFIDENTIAL"
    yield "END:VEVENT"


def _escaped(words: str) -> str:
    for plain, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\r\n", "\\n"), ("\n", "\\n"), ("\r", "\\n")):
        words = words.replace(plain, written)
    return "".join(character for character in words if character >= " " and character != "\x7f")


def _folded(line: str) -> Iterator[str]:
    """A line in pieces of at most 75 octets, never cut within a character; a space begins each further piece."""
    piece = ""
    for character in line:
        if len((piece + character).encode()) > _FOLD:
            yield piece
            piece = " "
        piece += character
    yield piece
