"""The calendar file: octet by octet as RFC 5545 wants it, and the same again by an independent reader."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar

from trialdm.documents.calendar import Event, text

AT = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


def event(summary: str, description: str = "Words") -> Event:
    return Event("abc@trialdm", date(2026, 4, 21), summary, description, AT)


def test_a_calendar_of_one_day() -> None:
    assert text([event("A, B; C\\D", "One\nTwo")], "Visits").split("\r\n") == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//trialdm//visits//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        "NAME:Visits",
        "BEGIN:VEVENT",
        "UID:abc@trialdm",
        "DTSTAMP:20260310T093000Z",
        "DTSTART;VALUE=DATE:20260421",
        "DTEND;VALUE=DATE:20260422",
        "SUMMARY:A\\, B\\; C\\\\D",
        "DESCRIPTION:One\\nTwo",
        "TRANSP:TRANSPARENT",
        "CLASS:CONFIDENTIAL",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ]


_words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=300)


@given(_words, _words)
def test_words_come_back_and_no_line_is_too_long(summary: str, description: str) -> None:
    made = text([event(summary, description)], "Visits")
    assert all(len(line.encode()) <= 75 for line in made.split("\r\n"))
    assert "\n" not in made.replace("\r\n", "")
    read = Calendar.from_ical(made.encode()).walk("VEVENT")[0]
    assert (str(read["SUMMARY"]), str(read["DESCRIPTION"])) == (summary, description)


@given(st.text(max_size=80))
def test_nothing_that_is_typed_makes_a_line_of_its_own(words: str) -> None:
    made = text([event(f"x{words}")], "Visits")
    assert sum(line.startswith("BEGIN:VEVENT") for line in made.split("\r\n")) == 1
    assert made.count("\n") == made.count("\r\n")
