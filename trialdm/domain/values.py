"""The types of an answer: how each is written in JSON, typed by a person, and compared.

A value never carries its missing reason: the reason stands beside the value (`MISSING_REASONS`). Decimals are exact
(`Decimal`, a string in JSON). Date-times are wall-clock times at the site, without an offset: the moment of *saving* is a
UTC instant kept elsewhere. What `read` accepts is all that an answer can be, typed in or calculated. Nothing here knows
forms, items' limits or codelists.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

#: Reason codes that may stand in place of a value, with the words shown to people.
MISSING_REASONS = {
    "NK": "Not known",
    "NA": "Not applicable",
    "ND": "Not done",
    "RF": "Refused",
    "PE": "Pending",
}

#: The largest whole number that every reader of JSON keeps exactly.
LARGEST_INTEGER = 2**53

_MAX_TEXT = 32_767
_EARLIEST_YEAR, _LATEST_YEAR = 1800, 2200


class NotAValue(ValueError):
    """What was given is not of the type; the message says what is expected."""


@dataclass(frozen=True, order=True)
class PartialDate:
    """A date of which the day, or day and month, may be unknown: (year, 0, 0), (year, month, 0) or all three."""

    year: int
    month: int = 0
    day: int = 0

    def __str__(self) -> str:
        parts = [f"{self.year:04d}"]
        if self.month:
            parts.append(f"{self.month:02d}")
        if self.day:
            parts.append(f"{self.day:02d}")
        return "-".join(parts)

    @property
    def precision(self) -> str:
        """`year`, `month` or `day`: the smallest part that is known."""
        return "day" if self.day else "month" if self.month else "year"

    def earliest(self) -> date:
        """The first day that it can mean; for ordering and for an export column that states its precision."""
        return date(self.year, self.month or 1, self.day or 1)


Value = int | Decimal | date | datetime | time | PartialDate | str | tuple[int, ...]


def _integer(raw: Any) -> int:
    if isinstance(raw, bool):
        raise NotAValue("a whole number is expected")
    if isinstance(raw, int):
        number = raw
    elif isinstance(raw, str) and re.fullmatch(r"[+-]?[0-9]{1,15}", raw.strip(), re.ASCII):
        number = int(raw)
    else:
        raise NotAValue("a whole number is expected, such as 7")
    if abs(number) > LARGEST_INTEGER:
        raise NotAValue("the number is too large")
    return number


def _decimal(raw: Any) -> Decimal:
    if isinstance(raw, bool) or not isinstance(raw, int | str | Decimal):
        raise NotAValue('a number is expected, written as text in JSON: "82.5"')
    text = str(raw).strip()
    if not re.fullmatch(r"[+-]?([0-9]{1,15}(\.[0-9]{0,12})?|\.[0-9]{1,12})", text, re.ASCII):
        raise NotAValue("a number is expected, such as 82.5")
    try:
        return Decimal(text)
    except InvalidOperation:  # pragma: no cover - the pattern admits only what Decimal reads
        raise NotAValue("a number is expected, such as 82.5") from None


def _in_calendar(year: int) -> None:
    if not _EARLIEST_YEAR <= year <= _LATEST_YEAR:
        raise NotAValue(f"the year must lie between {_EARLIEST_YEAR} and {_LATEST_YEAR}")


def _date(raw: Any) -> date:
    if not isinstance(raw, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", raw.strip(), re.ASCII):
        raise NotAValue("a date is expected as year-month-day, such as 2026-03-07")
    try:
        day = date.fromisoformat(raw.strip())
    except ValueError:
        raise NotAValue("there is no such day in the calendar") from None
    _in_calendar(day.year)
    return day


def _partial_date(raw: Any) -> PartialDate:
    match = isinstance(raw, str) and re.fullmatch(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?", raw.strip(), re.ASCII)
    if not match:
        raise NotAValue("a date is expected as 2026-03-07, or 2026-03 or 2026 where the rest is unknown")
    year, month, day = (int(part) if part else 0 for part in match.groups())
    try:
        date(year, month or 1, day or 1)
    except ValueError:
        raise NotAValue("there is no such day in the calendar") from None
    if (match.group(2) and not month) or (match.group(3) and not day):
        raise NotAValue("leave an unknown month or day out: 2026-03 or 2026")
    _in_calendar(year)
    return PartialDate(year, month, day)


def _time(raw: Any) -> time:
    if not isinstance(raw, str) or not re.fullmatch(r"[0-9]{1,2}:[0-9]{2}", raw.strip(), re.ASCII):
        raise NotAValue("a time is expected on the 24-hour clock, such as 09:05")
    hours, minutes = (int(part) for part in raw.strip().split(":"))
    if hours > 23 or minutes > 59:
        raise NotAValue("there is no such time on the 24-hour clock")
    return time(hours, minutes)


def _datetime(raw: Any) -> datetime:
    match = isinstance(raw, str) and re.fullmatch(r"(\S{10})[T ]([0-9]{1,2}:[0-9]{2})(?::00)?", raw.strip(), re.ASCII)
    if not match:
        raise NotAValue("a date and time is expected, such as 2026-03-07T09:05")
    return datetime.combine(_date(match.group(1)), _time(match.group(2)))


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise NotAValue("text is expected")
    try:
        raw.encode("utf-8")
    except UnicodeEncodeError:
        raise NotAValue("the text holds half of a character; type it again") from None
    if any(ord(char) < 32 and char not in "\n\r\t" for char in raw):
        raise NotAValue("the text holds a control character; type it again")
    text = raw.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(text.encode()) > _MAX_TEXT:
        raise NotAValue("the text is too long")
    return text


def _yes_no(raw: Any) -> int:
    number = _integer(raw)
    if number not in (0, 1):
        raise NotAValue("1 for yes or 0 for no is expected")
    return number


def _codes(raw: Any) -> tuple[int, ...]:
    if isinstance(raw, str):
        raw = raw.replace(",", " ").split()
    if not isinstance(raw, list | tuple) or not raw:
        raise NotAValue("a list of codes is expected, such as [1, 4]")
    codes = [_integer(code) for code in raw]
    if len(set(codes)) != len(codes):
        raise NotAValue("a code is given twice")
    return tuple(sorted(codes))


_READERS: dict[str, Callable[[Any], Value]] = {
    "int": _integer,
    "dec": _decimal,
    "date": _date,
    "pdate": _partial_date,
    "time": _time,
    "dtm": _datetime,
    "code": _integer,
    "multi": _codes,
    "yn": _yes_no,
    "text": _text,
}

#: The types that an item can hold; `calc` items hold one of these as their result.
TYPES = tuple(_READERS)


def is_empty(raw: Any) -> bool:
    """Whether this stands for no answer: null, blank text or an empty list."""
    return raw is None or (isinstance(raw, str) and not raw.strip()) or raw in ([], ())


def read(type_name: str, raw: Any) -> Value | None:
    """The typed value of JSON or typed-in text, or None where nothing was given.

    Raises NotAValue with what is expected instead. Accepts the JSON forms (decimals as text, yes/no and codes as
    integers, several codes as a list, dates in ISO form) and the same as text, as a form field or CSV cell sends them.
    """
    return None if is_empty(raw) else _READERS[type_name](raw)


def write(value: Value | None) -> Any:
    """The JSON form of a typed value; `read(t, write(v)) == v` for every value of type t."""
    match value:
        case None | int() | str():
            return value
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat(timespec="minutes")
        case date():
            return value.isoformat()
        case time():
            return value.isoformat(timespec="minutes")
        case PartialDate():
            return str(value)
        case tuple():
            return list(value)
    raise TypeError(f"not an answer: {value!r}")  # pragma: no cover
