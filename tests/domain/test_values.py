"""The types of an answer: what each accepts, what it refuses and in which words, and that nothing is lost in JSON."""

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.domain.values import TYPES, NotAValue, PartialDate, is_empty, read, write

INTEGER = "a whole number is expected, such as 7"
NUMBER = "a number is expected, such as 82.5"
JSON_NUMBER = 'a number is expected, written as text in JSON: "82.5"'
DATE = "a date is expected as year-month-day, such as 2026-03-07"
NO_DAY = "there is no such day in the calendar"
YEAR = "the year must lie between 1800 and 2200"
PARTIAL = "a date is expected as 2026-03-07, or 2026-03 or 2026 where the rest is unknown"
TIME = "a time is expected on the 24-hour clock, such as 09:05"
NO_TIME = "there is no such time on the 24-hour clock"
MOMENT = "a date and time is expected, such as 2026-03-07T09:05"
YES_NO = "1 for yes or 0 for no is expected"
CODES = "a list of codes is expected, such as [1, 4]"

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("int", 7, 7),
    ("int", " 7 ", 7),
    ("int", "-7", -7),
    ("int", "+7", 7),
    ("int", "007", 7),
    ("int", 2**53, 2**53),
    ("code", "12", 12),
    ("code", -1, -1),
    ("yn", "1", 1),
    ("yn", 0, 0),
    ("dec", "82.50", Decimal("82.50")),
    ("dec", 82, Decimal(82)),
    ("dec", ".5", Decimal("0.5")),
    ("dec", "1.", Decimal(1)),
    ("dec", "-0.1", Decimal("-0.1")),
    ("dec", "999999999999999.999999999999", Decimal("999999999999999.999999999999")),
    ("dec", Decimal("0.1"), Decimal("0.1")),
    ("multi", [4, 1], (1, 4)),
    ("multi", "4, 1", (1, 4)),
    ("multi", ["2"], (2,)),
    ("date", "2024-02-29", date(2024, 2, 29)),
    ("date", " 1800-01-01 ", date(1800, 1, 1)),
    ("date", "2200-12-31", date(2200, 12, 31)),
    ("pdate", "2026", PartialDate(2026)),
    ("pdate", "2026-03", PartialDate(2026, 3)),
    ("pdate", "2024-02-29", PartialDate(2024, 2, 29)),
    ("time", "9:05", time(9, 5)),
    ("time", "00:00", time(0, 0)),
    ("dtm", "2026-03-07T09:05", datetime(2026, 3, 7, 9, 5)),
    ("dtm", "2026-03-07 9:05", datetime(2026, 3, 7, 9, 5)),
    ("dtm", "2026-03-07T09:05:00", datetime(2026, 3, 7, 9, 5)),
    ("text", " a\r\nb ", "a\nb"),
    ("text", "Zoë\t𝄞", "Zoë\t𝄞"),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("int", True, "a whole number is expected"),
    ("int", 7.0, INTEGER),
    ("int", "7.0", INTEGER),
    ("int", "1e3", INTEGER),
    ("int", "1_000", INTEGER),
    ("int", "٣", INTEGER),
    ("int", "−1", INTEGER),
    ("int", [7], INTEGER),
    ("int", {}, INTEGER),
    ("int", 2**53 + 1, "the number is too large"),
    ("int", "9" * 16, INTEGER),
    ("code", "1.5", INTEGER),
    ("yn", 2, YES_NO),
    ("yn", "-1", YES_NO),
    ("yn", "yes", INTEGER),
    ("yn", True, "a whole number is expected"),
    ("dec", 82.5, JSON_NUMBER),
    ("dec", True, JSON_NUMBER),
    ("dec", "1,5", NUMBER),
    ("dec", "1e3", NUMBER),
    ("dec", "NaN", NUMBER),
    ("dec", "Infinity", NUMBER),
    ("dec", ".", NUMBER),
    ("dec", Decimal("1E+3"), NUMBER),
    ("dec", "0.1234567890123", NUMBER),
    ("multi", 4, CODES),
    ("multi", ",", CODES),
    ("multi", ["x"], INTEGER),
    ("multi", [1, 1], "a code is given twice"),
    ("multi", ["1", 1], "a code is given twice"),
    ("multi", [[1]], INTEGER),
    ("date", "7.3.2026", DATE),
    ("date", "2026-3-7", DATE),
    ("date", "20260307", DATE),
    ("date", 20260307, DATE),
    ("date", "2023-02-29", NO_DAY),
    ("date", "1900-02-29", NO_DAY),
    ("date", "0000-01-01", NO_DAY),
    ("date", "1799-12-31", YEAR),
    ("date", "2201-01-01", YEAR),
    ("pdate", "2026-3", PARTIAL),
    ("pdate", 2026, PARTIAL),
    ("pdate", "2026-00", "leave an unknown month or day out: 2026-03 or 2026"),
    ("pdate", "2026-03-00", "leave an unknown month or day out: 2026-03 or 2026"),
    ("pdate", "2023-02-29", NO_DAY),
    ("pdate", "0000", NO_DAY),
    ("pdate", "1066", YEAR),
    ("time", "0905", TIME),
    ("time", "9:5", TIME),
    ("time", "9:05 pm", TIME),
    ("time", "24:00", NO_TIME),
    ("time", "12:60", NO_TIME),
    ("dtm", "2026-03-07", MOMENT),
    ("dtm", "2026-03-07T09:05:30", MOMENT),
    ("dtm", "2026-03-07T09:05Z", MOMENT),
    ("dtm", "2026-02-30T09:05", NO_DAY),
    ("dtm", "2026/03/07 09:05", DATE),
    ("dtm", "2026-03-07T24:00", NO_TIME),
    ("text", 7, "text is expected"),
    ("text", ["a"], "text is expected"),
    ("text", "a\x00b", "the text holds a control character; type it again"),
    ("text", "a\ud800", "the text holds half of a character; type it again"),
    ("text", "é" * 16_384, "the text is too long"),
]


@pytest.mark.parametrize(("type_name", "raw", "value"), ACCEPTED)
def test_is_accepted(type_name: str, raw: Any, value: Any) -> None:
    accepted = read(type_name, raw)
    assert accepted == value
    assert type(accepted) is type(value)


@pytest.mark.parametrize(("type_name", "raw", "expected"), REFUSED)
def test_is_refused(type_name: str, raw: Any, expected: str) -> None:
    with pytest.raises(NotAValue) as refusal:
        read(type_name, raw)
    assert str(refusal.value) == expected


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("raw", [None, "", "   ", "\u00a0", [], ()], ids=repr)
def test_nothing_given_is_no_answer(type_name: str, raw: Any) -> None:
    assert is_empty(raw)
    assert read(type_name, raw) is None


@pytest.mark.parametrize("raw", [0, "0", False, [0], {}], ids=repr)
def test_zero_is_an_answer(raw: Any) -> None:
    assert not is_empty(raw)


_DAYS = st.dates(date(1800, 1, 1), date(2200, 12, 31))
_INTEGERS = st.integers(-(2**53), 2**53).filter(lambda n: len(str(abs(n))) <= 15)
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(str.strip).filter(bool)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": _INTEGERS,
    "code": _INTEGERS,
    "yn": st.integers(0, 1),
    "dec": st.decimals(-(10**15) + 1, 10**15 - 1, places=12),
    "multi": st.sets(st.integers(-99, 999), min_size=1).map(lambda codes: tuple(sorted(codes))),
    "date": _DAYS,
    "pdate": st.one_of(
        st.builds(PartialDate, st.integers(1800, 2200)),
        st.builds(PartialDate, st.integers(1800, 2200), st.integers(1, 12)),
        _DAYS.map(lambda day: PartialDate(day.year, day.month, day.day)),
    ),
    "time": st.times().map(lambda clock: clock.replace(second=0, microsecond=0)),
    "dtm": st.datetimes(datetime(1800, 1, 1), datetime(2200, 12, 31)).map(lambda m: m.replace(second=0, microsecond=0)),
    "text": _TEXT,
}


def test_every_type_has_values_here() -> None:
    assert set(VALUES) == set(TYPES)


@given(st.data(), st.sampled_from(TYPES))
def test_a_value_comes_back_from_json(data: st.DataObject, type_name: str) -> None:
    value = data.draw(VALUES[type_name])
    assert read(type_name, json.loads(json.dumps(write(value)))) == value


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(TYPES), st.one_of(_JSON, st.text("0123456789-:.T, +e", max_size=20)))
def test_whatever_is_sent_is_a_value_or_refused(type_name: str, raw: Any) -> None:
    try:
        value = read(type_name, raw)
    except NotAValue:
        return
    assert read(type_name, write(value)) == value


@pytest.mark.parametrize(
    ("value", "text", "precision", "earliest"),
    [
        (PartialDate(2026), "2026", "year", date(2026, 1, 1)),
        (PartialDate(2026, 3), "2026-03", "month", date(2026, 3, 1)),
        (PartialDate(2026, 3, 7), "2026-03-07", "day", date(2026, 3, 7)),
    ],
)
def test_a_partial_date_says_how_much_is_known(value: PartialDate, text: str, precision: str, earliest: date) -> None:
    assert (str(value), value.precision, value.earliest()) == (text, precision, earliest)
