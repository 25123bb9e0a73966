"""What is typed into fields, and how conditions are said: pure, without a browser."""

import pytest

from trialdm.web.typed import normal


@pytest.mark.parametrize(
    ("type_name", "given", "read"),
    [
        ("date", "7/3/2026", "2026-03-07"),
        ("date", "07.03.2026", "2026-03-07"),
        ("date", "07-03-2026", "2026-03-07"),
        ("date", "7 3 2026", "2026-03-07"),
        ("date", "2026-03-07", "2026-03-07"),
        ("date", "31/2/2026", "2026-02-31"),
        ("date", "7/3/26", "7/3/26"),
        ("pdate", "3/2026", "2026-03"),
        ("pdate", "2026", "2026"),
        ("pdate", "7/3/2026", "2026-03-07"),
        ("time", "0905", "09:05"),
        ("time", "9.05", "09:05"),
        ("time", "9:05", "09:05"),
        ("time", "noon", "noon"),
        ("dtm", "7/3/2026 9:05", "2026-03-07 09:05"),
        ("dtm", "7/3/2026, 0905", "2026-03-07 09:05"),
        ("dtm", "2026-03-07 09:05", "2026-03-07 09:05"),
        ("dtm", "2026-03-07T09:05", "2026-03-07T09:05"),
        ("dtm", "7/3/2026", "7/3/2026"),
        ("int", " 7 ", " 7 "),
        ("text", "7/3/2026", "7/3/2026"),
    ],
)
def test_typed_dates_and_times(type_name, given, read):
    assert normal(type_name, given) == read


def test_several_codes_are_handed_on_as_they_are():
    assert normal("multi", ["1", "4"]) == ["1", "4"]
