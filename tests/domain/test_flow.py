"""The participant flow: tables of courses and counts; every participant stands in one box, and disagreements are named."""

from dataclasses import replace
from datetime import date

import pytest

from trialdm.domain.flow import FATES, STANDS, Course, fate, flow
from trialdm.domain.protocol import Visit
from trialdm.domain.recruitment import expected, rating
from trialdm.domain.schedule import End

REASONS = {1: "Not eligible", 3: "Declined", 5: "No theatre slot"}
VISITS = {"V04": "6 weeks", "V05": "3 months"}


def person(number: int, **more: object) -> Course:
    return replace(Course(f"P{number}"), **more)


def randomised(number: int, v04: str, v05: str, arm: int = 1, **more: object) -> Course:
    usual = {"state": "follow_up", "randomised": True, "arm": arm, "operated": 1, "visits": {"V04": v04, "V05": v05}}
    return person(number, **{**usual, **more})


EVERYBODY = [
    person(1, screening="not-eligible", reasons=frozenset({1}), consented=False),
    person(2, screening="declined", reasons=frozenset({3, 5}), consented=False),
    person(3, screening="declined", reasons=frozenset({3}), consented=False),
    person(4, screening="open", consented=False),
    person(5, state="ineligible", failed=("Fit for a longer anaesthetic",)),
    person(6, state="eligible"),
    person(7, state="died"),
    randomised(8, "done", "done", analysed=True),
    randomised(9, "done", "died", arm=2, state="died"),
    randomised(10, "missed", "withdrawn", state="withdrawn"),
    randomised(11, "done", "lost", arm=2, state="lost"),
    randomised(12, "later", "later", arm=2, state="randomised", operated=None),
]


def found(courses: list[Course] = EVERYBODY, **more: object):
    return flow(courses, visits=VISITS, reasons=REASONS, **more)


def counts(boxes) -> dict[str, tuple[int, dict[str, int]]]:
    return {box.words: (box.count, {line.words: line.count for line in box.lines if line.count}) for box in boxes if box}


def test_the_steps_before_randomisation() -> None:
    assert counts(box for step in found().steps for box in step) == {
        "Assessed for eligibility": (12, {}),
        "Not consented": (
            4,
            {
                "Not eligible": 1,
                "Approached, did not consent": 2,
                "Reason: Not eligible": 1,
                "Reason: Declined": 2,
                "Reason: No theatre slot": 1,
                "Screening not finished": 1,
            },
        ),
        "Consented": (8, {}),
        "Not randomised": (
            3,
            {
                "Died": 1,
                "Found not eligible after consent": 1,
                "Consented, not randomised yet": 1,
                "Not met: Fit for a longer anaesthetic": 1,
            },
        ),
        "Randomised": (5, {}),
    }


def test_what_followed_randomisation() -> None:
    (group,) = found().groups
    assert (group.label, counts(group.boxes)) == (
        "",
        {
            "Allocated": (5, {}),
            "Received surgery": (4, {"Not recorded yet": 1}),
            "6 weeks: followed up": (3, {"Missed": 1, "Not due yet": 1}),
            "3 months: followed up": (1, {"Died before": 1, "Withdrew before": 1, "Lost to follow-up before": 1, "Not due yet": 1}),
            "With the primary outcome": (1, {"Without it so far": 4}),
        },
    )


def test_by_arm_the_groups_add_up_to_everybody() -> None:
    pooled, split = found(), found(arms={1: "One", 2: "Two"})
    assert [(group.label, group.boxes[0].count) for group in split.groups] == [("One", 2), ("Two", 3)]
    for boxes in zip(pooled.groups[0].boxes, *(group.boxes for group in split.groups), strict=True):
        whole, *parts = boxes
        assert whole.count == sum(part.count for part in parts)
        for i, line in enumerate(whole.lines):
            assert line.count == sum(part.lines[i].count for part in parts)
    assert pooled.steps == split.steps


def test_everybody_stands_in_exactly_one_box_and_all_totals_agree() -> None:
    """AC-11: somebody who died is counted once, also after a withdrawal."""
    result = found()
    assert {line.words: line.count for line in result.stands} == {
        "Died": 2,
        "Withdrew": 1,
        "Lost to follow-up": 1,
        "Found not eligible after consent": 1,
        "In the trial": 2,
        "Consented, not randomised yet": 1,
        "Not eligible": 1,
        "Approached, did not consent": 2,
        "Not finished": 1,
    }
    assert sum(line.count for line in result.stands) == len(EVERYBODY)
    assert {one.stands for one in EVERYBODY} <= set(STANDS)
    assert [check for check in result.checks if not check.holds] == []
    assert result.conflicts == ()
    assert all(check.holds for check in found(arms={1: "One", 2: "Two"}).checks)


#: What does not fit together, and what is said about it; the checks that fail.
WRONG = [
    (person(20, screening="declined"), "and a consent form is on record", {"Assessed"}),
    (person(20, consented=False), "no complete consent form is on record", set()),
    (randomised(20, "done", "done", consented=False), "Randomised, and no complete consent form", {"Consented"}),
    (person(20, state="operated"), "and no allocation is on record", {"Randomised"}),
    (randomised(20, "done", "done", state="eligible"), "and an allocation is on record", {"Randomised"}),
]


@pytest.mark.parametrize(("wrong", "said", "fail"), WRONG, ids=[row[1] for row in WRONG])
def test_disagreements_are_named(wrong: Course, said: str, fail: set[str]) -> None:
    result = found([*EVERYBODY, wrong])
    assert any(ident == "P20" and said in words for ident, words in result.conflicts)
    assert {check.words.split(" = ")[0] for check in result.checks if not check.holds} == fail


def test_an_arm_that_is_not_known_shows_in_the_check() -> None:
    result = found([*EVERYBODY, randomised(20, "done", "done", arm=9)], arms={1: "One", 2: "Two"})
    assert [check.words for check in result.checks if not check.holds] == ["Randomised = sum over the groups"]


VISIT = Visit("V04", 4, "6 weeks", "scheduled", anchor="surg", target=42, before=14, after=14)
ANCHOR = {"surg": date(2026, 1, 1)}
OPENS, CLOSES, AFTER = date(2026, 1, 29), date(2026, 2, 26), date(2026, 2, 27)

#: Whether it took place (None: nothing was entered), the ends, the day, and what became of it.
VISIT_FATES = [
    (True, [], OPENS, "done"),
    (True, [End("died", OPENS)], AFTER, "done"),
    (None, [], CLOSES, "later"),
    (None, [], AFTER, "missed"),
    (None, [End("died", CLOSES)], AFTER, "died"),
    (None, [End("died", AFTER)], AFTER, "missed"),
    (None, [End("withdrawn", OPENS), End("died", OPENS)], AFTER, "died"),
    (None, [End("lost", OPENS)], OPENS, "lost"),
    (False, [], OPENS, "missed"),
    (False, [End("died", CLOSES)], AFTER, "died"),
]


@pytest.mark.parametrize(("done", "ends", "today", "became"), VISIT_FATES)
def test_what_became_of_a_visit(done: bool | None, ends: list[End], today: date, became: str) -> None:
    assert fate(VISIT, ANCHOR, ends, done=done, today=today) == became
    assert became in FATES


#: Target, months, months gone by, and what is expected.
PACES = [(220, 18, 0, 0), (220, 18, 1, 12), (220, 18, 9, 110), (220, 18, 18, 220), (220, 18, 30, 220), (1, 2, 1, 1), (0, 18, 5, 0)]
#: Randomised, expected, rating: the bounds are 90% and 70%, exactly.
RATED = [
    (9, 10, "green"),
    (89, 100, "amber"),
    (90, 100, "green"),
    (7, 10, "amber"),
    (69, 100, "red"),
    (0, 1, "red"),
    (3, 0, ""),
    (8, 9, "amber"),
]


@pytest.mark.parametrize(("target", "months", "elapsed", "by_now"), PACES)
def test_what_a_steady_pace_gives(target: int, months: int, elapsed: int, by_now: int) -> None:
    assert expected(target, months, elapsed) == by_now


@pytest.mark.parametrize(("actual", "by_now", "rated"), RATED)
def test_rating_of_recruitment(actual: int, by_now: int, rated: str) -> None:
    assert rating(actual, by_now) == rated
