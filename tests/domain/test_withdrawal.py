"""What each level of withdrawal still allows: a table of levels against acts, and what of the data goes into exports."""

from dataclasses import fields
from datetime import date

import pytest

from trialdm.domain.ethics.withdrawal import LEVEL_OF, LEVELS, LOST, Withdrawal, exported, level_of
from trialdm.domain.protocol import Visit
from trialdm.domain.schedule import End, ended

#: Code of the form, level, kinds of form that may still be saved (of four), visits, linkage, sharing, use of data to date.
CODES = [
    (0, 0, "outcome safety visit status", "scheduled linked shared used"),
    (1, 1, "outcome safety visit status", "scheduled linked shared used"),
    (2, 2, "safety status", "linked shared used"),
    (3, 3, "status", "shared used"),
    (LOST, 0, "outcome safety visit status", "scheduled linked shared used"),
    (5, 1, "outcome safety visit status", "scheduled linked shared used"),
    (6, 3, "status", "shared used"),
    (7, 4, "status", ""),
]


@pytest.mark.parametrize(("code", "level", "kinds", "allows"), CODES)
def test_what_a_level_allows(code: int, level: int, kinds: str, allows: str) -> None:
    assert level_of(code) == level
    found = LEVELS[level]
    assert {kind for kind in ("outcome", "safety", "visit", "status") if kind in found.collects} == set(kinds.split())
    assert {name for name in ("scheduled", "linked", "shared", "used") if getattr(found, name)} == set(allows.split())
    assert len(fields(found)) == 6


def test_every_level_allows_no_more_than_the_one_before() -> None:
    for level in range(1, len(LEVELS)):
        before, here = LEVELS[level - 1], LEVELS[level]
        assert here.collects <= before.collects
        assert all(getattr(here, name) <= getattr(before, name) for name in ("scheduled", "linked", "shared", "used"))
    assert set(LEVEL_OF.values()) == set(LEVELS) - {0}


def test_a_protocol_that_keeps_no_data_makes_full_withdrawal_the_last_level() -> None:
    assert [level_of(code, keeps_data=False) for code in (1, 2, 3, 6, 7)] == [1, 2, 4, 4, 4]


MAY, JUNE, JULY = (date(2026, month, 1) for month in (5, 6, 7))

#: Level from June on, kind of form, day of collection, and whether it is exported.
EXPORTED = [
    (1, "outcome", JULY, True),
    (2, "outcome", MAY, True),
    (2, "outcome", JUNE, True),
    (2, "outcome", JULY, False),
    (2, "safety", JULY, True),
    (3, "safety", MAY, True),
    (3, "safety", JULY, False),
    (3, "status", JULY, True),
    (3, "system", JULY, True),
    (4, "outcome", MAY, False),
    (4, "system", MAY, False),
    (4, "status", JULY, True),
]


@pytest.mark.parametrize(("level", "kind", "day", "expected"), EXPORTED)
def test_what_is_exported(level: int, kind: str, day: date, expected: bool) -> None:
    assert exported([], kind, day)
    assert exported([Withdrawal(level, JUNE)], kind, day) is expected
    assert exported([Withdrawal(1, MAY), Withdrawal(level, JUNE)], kind, day) is expected


VISIT = Visit("V06", 6, "6 months", "scheduled", anchor="surg", target=182, before=21, after=28)
ANCHOR = {"surg": date(2026, 1, 1)}
CLOSES = date(2026, 7, 30)

#: What it shows, the ends, and why the visit of July is not expected.
ENDS = [
    ("goes on", [], None),
    ("died before", [End("died", JUNE)], "died"),
    ("died on its last day", [End("died", CLOSES)], "died"),
    ("died after it", [End("died", date(2026, 7, 31))], None),
    ("withdrew, then died", [End("withdrawn", MAY), End("died", JUNE)], "died"),
    ("withdrew before, died after", [End("withdrawn", JUNE), End("died", date(2026, 9, 1))], "withdrawn"),
    ("lost", [End("lost", JUNE)], "lost"),
]


@pytest.mark.parametrize(("ends", "expected"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_whether_a_visit_is_still_expected(ends: list[End], expected: str | None) -> None:
    found = ended(VISIT, ANCHOR, ends)
    assert (found.kind if found else None) == expected
