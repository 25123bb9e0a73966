"""Visit windows: first and last day, where another day falls, and what is due."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.domain.protocol import Visit
from trialdm.domain.schedule import STANDINGS, End, Window, due, last_day, place, reminders, standing, window

WEEKS = Visit("V04", 4, "6 weeks", "scheduled", anchor="surg", fallback="rand", target=42, before=14, after=14)
MONTHS = Visit("V05", 5, "3 months", "scheduled", anchor="surg", fallback="rand", target=91, before=14, after=21)
EVENT = Visit("V03", 3, "Discharge", "event")
LAST = Visit("V09", 9, "24 months", "scheduled", anchor="surg", target=730, before=45, after=60)
VISITS = (EVENT, WEEKS, MONTHS, LAST)
SURGERY = date(2026, 1, 1)


def day(after: int) -> date:
    return SURGERY + timedelta(days=after)


@pytest.mark.parametrize(
    ("visit", "anchors", "expected"),
    [
        (WEEKS, {"surg": SURGERY}, Window(day(28), day(42), day(56))),
        (WEEKS, {"surg": SURGERY, "rand": date(2025, 1, 1)}, Window(day(28), day(42), day(56))),
        (WEEKS, {"rand": SURGERY}, Window(day(28), day(42), day(56))),
        (WEEKS, {"surg": None, "rand": SURGERY}, Window(day(28), day(42), day(56))),
        (WEEKS, {}, None),
        (LAST, {"rand": SURGERY}, None),
        (EVENT, {"surg": SURGERY}, None),
        (WEEKS, {"surg": "2026-01-01"}, None),
        (WEEKS, {"surg": date(2024, 1, 18)}, Window(date(2024, 2, 15), date(2024, 2, 29), date(2024, 3, 14))),
    ],
)
def test_window(visit: Visit, anchors: dict[str, object], expected: Window | None) -> None:
    assert window(visit, anchors) == expected


@pytest.mark.parametrize(
    ("visit", "after", "placing"),
    [
        (WEEKS, 27, "early"),
        (WEEKS, 28, "in window"),
        (WEEKS, 42, "in window"),
        (WEEKS, 56, "in window"),
        (WEEKS, 57, "late"),
        (WEEKS, 66, "late"),
        (WEEKS, 67, "next visit"),
        (WEEKS, 400, "next visit"),
        (WEEKS, -5, "early"),
        (LAST, 791, "late"),
        (LAST, 9999, "late"),
        (EVENT, 3, "no window"),
    ],
)
def test_where_a_day_falls(visit: Visit, after: int, placing: str) -> None:
    assert place(day(after), visit, VISITS, {"surg": SURGERY}) == placing


def test_where_a_day_falls_does_not_depend_on_the_order_of_visits() -> None:
    anchors = {"surg": SURGERY}
    for after in range(900):
        assert place(day(after), WEEKS, VISITS, anchors) == place(day(after), WEEKS, VISITS[::-1], anchors)


@pytest.mark.parametrize(("after", "answer"), [(27, "not due"), (28, "due"), (56, "due"), (57, "overdue")])
def test_due(after: int, answer: str) -> None:
    assert due(day(after), WEEKS, {"surg": SURGERY}) == answer


def test_nothing_is_due_without_an_anchor() -> None:
    assert due(SURGERY, WEEKS, {}) == "no window"
    assert due(SURGERY, EVENT, {"surg": SURGERY}) == "no window"


@given(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.integers(0, 800),
    st.integers(0, 90),
    st.integers(0, 90),
    st.integers(-50, 900),
)
def test_a_day_is_due_exactly_where_it_is_in_the_window(anchor: date, target: int, before: int, after: int, at: int) -> None:
    visit = Visit("V01", 1, "A visit", "scheduled", anchor="surg", target=target, before=before, after=after)
    on = anchor + timedelta(days=at)
    inside = target - before <= at <= target + after
    assert (due(on, visit, {"surg": anchor}) == "due") is inside
    assert (place(on, visit, (visit,), {"surg": anchor}) == "in window") is inside


# --- placing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visit", "anchors", "last"),
    [
        (WEEKS, {"surg": SURGERY}, day(66)),
        (MONTHS, {"surg": SURGERY}, day(410)),
        (LAST, {"surg": SURGERY}, None),
        (EVENT, {"surg": SURGERY}, None),
        (WEEKS, {}, None),
    ],
)
def test_the_last_day_of_a_visit_is_half_the_way_to_the_next(visit: Visit, anchors: dict[str, object], last: date | None) -> None:
    assert last_day(visit, VISITS, anchors) == last


_visits = st.lists(st.tuples(st.integers(0, 800), st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=6).map(
    lambda found: [
        Visit(f"V{n:02d}", n, "A visit", "scheduled", anchor="surg", target=target, before=before, after=after)
        for n, (target, before, after) in enumerate(sorted(found), 1)
    ]
)


@given(_visits, st.integers(-900, 2000), st.integers(0, 5))
def test_every_day_has_one_place_and_they_follow_one_another(visits: list[Visit], at: int, which: int) -> None:
    """Early, in the window, late, next visit: a later day is never in an earlier one of these."""
    visit = visits[which % len(visits)]
    order = ("early", "in window", "late", "next visit")
    placed = [order.index(place(day(at + step), visit, visits, {"surg": SURGERY})) for step in range(3)]
    assert placed == sorted(placed)


# --- standings -------------------------------------------------------------------------------------------------------

DIED, LOST = [End("died", day(50))], [End("lost", day(57))]


@pytest.mark.parametrize(
    ("after", "done", "ends", "standing_"),
    [
        (13, None, [], "later"),
        (14, None, [], "soon"),
        (27, None, [], "soon"),
        (28, None, [], "open"),
        (56, None, [], "open"),
        (57, None, [], "overdue"),
        (900, None, [], "overdue"),
        (57, True, [], "done"),
        (40, False, [], "missed"),
        (57, False, [], "missed"),
        (57, None, DIED, "ended"),
        (57, False, DIED, "ended"),
        (57, True, DIED, "done"),
        (57, None, LOST, "overdue"),
    ],
)
def test_where_a_visit_stands(after: int, done: bool | None, ends: list[End], standing_: str) -> None:
    assert standing(day(after), WEEKS, {"surg": SURGERY}, ends, done=done) == standing_


@given(st.integers(-900, 2000), st.sampled_from((None, True, False)), st.sampled_from(([], DIED, LOST)), st.sampled_from(VISITS))
def test_a_visit_stands_somewhere_on_every_day(after: int, done: bool | None, ends: list[End], visit: Visit) -> None:
    assert standing(day(after), visit, {"surg": SURGERY}, ends, done=done) in STANDINGS


def test_reminders_come_a_week_before_on_and_a_week_after_the_target_day() -> None:
    assert reminders(day(42)) == (day(35), day(42), day(49))
