"""Outcomes of the treatment pathway against values that were computed in another way, and properties that always hold."""

import math
from datetime import date, timedelta
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.domain import outcomes
from trialdm.domain.outcomes import FEWER, SAFETY, Followed, Outcome, Tally

ASKED = frozenset(SAFETY)
NONE: frozenset[str] = frozenset()


def outcome(site: str = "S01", day: int = 0, harms: frozenset[str] = NONE, **more: Any) -> Outcome:
    followed = {3: Followed((4, 3, 70), harms, ASKED)}
    return Outcome(site, date(2026, 1, 1) + timedelta(days=day), (8, 7, 50), **{"followed": followed, **more})


HARM = frozenset({"au2_infx"})


# --- small numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "beside", "words"),
    [
        (0, None, FEWER),
        (4, None, FEWER),
        (5, None, "5"),
        (9, 5, FEWER),  # the difference would show four others
        (9, 9, "9"),
        (10, 5, "10"),
        (5, 0, "5"),
    ],
)
def test_small_counts_are_not_shown(count: int, beside: int | None, words: str) -> None:
    assert outcomes.shown(count, beside=beside) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(Fraction(1, 3), "0.3"), (Fraction(-5, 2), "-2.5"), (Fraction(1, 20), "0.1"), (Fraction(-1, 30), "0.0"), (None, "")],
)
def test_fractions_in_words(value: Fraction | None, text: str) -> None:
    assert outcomes.decimal(value) == text


# --- change and completeness -----------------------------------------------------------------------------------------


def test_change_is_that_of_the_cases_with_both_values() -> None:
    found = [
        Outcome("S01", date(2026, 1, 1), (b, 7, 50), {3: Followed((a, None, 70))}) for b, a in ((8, 4), (9, 5), (7, 7), (6, 1), (10, 4))
    ]
    found.append(Outcome("S01", date(2026, 1, 1), (None, 7, 50), {3: Followed((0, 0, 0))}))
    residual, phantom, life = outcomes.changes(found, [3])
    assert (residual.cases, residual.before, residual.after, residual.change) == (5, Fraction(8), Fraction(21, 5), Fraction(-19, 5))
    assert (phantom.cases, phantom.change) == (1, None)
    assert (life.cases, life.change) == (6, Fraction(50 - 50 + 5 * 20 - 50, 6))


def test_follow_ups_are_expected_once_their_window_has_closed_unless_the_follow_up_ended_before() -> None:
    on = date(2026, 12, 31)
    found = [
        outcome(day=0),  # recorded
        outcome(day=0, followed={}),  # missing
        outcome(day=0, followed={}, ended_on=date(2026, 2, 1)),  # ended before
        outcome(day=0, followed={}, ended_on=date(2026, 11, 1)),  # ended after: it was expected
        outcome(day=300, followed={}),  # still open
        outcome(day=300),  # recorded early
    ]
    assert outcomes.returned(found, {3: 136}, on) == {3: Tally(2, 4)}


def test_a_mean_beside_a_part_of_it_leaves_five_others_or_is_not_shown() -> None:
    (residual, *_) = outcomes.changes([outcome()] * 9, [3], beside=[outcome()] * 5)
    assert (residual.cases, residual.change) == (9, None)
    (residual, *_) = outcomes.changes([outcome()] * 10, [3], beside=[outcome()] * 5)
    assert residual.change == -4
    (residual, *_) = outcomes.changes([outcome()] * 6, [3], beside=[outcome()] * 6)
    assert residual.change == -4


# --- safety ----------------------------------------------------------------------------------------------------------


def test_safety_is_known_where_all_five_were_answered_or_one_was_reported() -> None:
    partly = Followed((1, 1, 1), NONE, frozenset({"au2_bleed"}))
    found = [outcome(), outcome(harms=HARM), outcome(followed={3: partly}), outcome(followed={6: Followed((1, 1, 1), HARM, HARM)})]
    assert outcomes.any_harm(found) == Tally(2, 3)
    assert outcomes.safety(found)["Infection"] == Tally(2, 3)
    assert outcomes.safety(found)["Bleeding"] == Tally(0, 3)


# --- funnel ----------------------------------------------------------------------------------------------------------


def tails(cases: int, rate: Fraction) -> list[Fraction]:
    """P(X = k) for every k, by walking through every sequence of events: independent of any formula."""
    found = [Fraction(0)] * (cases + 1)
    for sequence in product((0, 1), repeat=cases):
        chance = Fraction(1)
        for event in sequence:
            chance *= rate if event else 1 - rate
        found[sum(sequence)] += chance
    return found


@pytest.mark.parametrize("level", outcomes.LEVELS)
@pytest.mark.parametrize("rate", [Fraction(1, 10), Fraction(3, 7), Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize("cases", [1, 5, 10, 12])
def test_limits_leave_at_most_half_of_the_rest_outside_on_either_side(cases: int, rate: Fraction, level: Fraction) -> None:
    chances, a = tails(cases, rate), (1 - level) / 2
    low = next(k for k in range(cases + 1) if sum(chances[: k + 1]) > a)
    high = next(k for k in range(cases + 1) if sum(chances[: k + 1]) >= 1 - a)
    assert outcomes.limits(cases, rate, level) == (low, high)


@given(st.integers(1, 60), st.integers(1, 99), st.integers(1, 199))
def test_limits_hold_the_level_and_are_nested(cases: int, percent: int, place: int) -> None:
    rate = Fraction(percent, 100)
    inner, outer = (outcomes.limits(cases, rate, level) for level in outcomes.LEVELS)
    assert 0 <= outer[0] <= inner[0] <= inner[1] <= outer[1] <= cases
    within = sum(math.comb(cases, k) * rate**k * (1 - rate) ** (cases - k) for k in range(inner[0], inner[1] + 1))
    assert within >= outcomes.LEVELS[0]
    mirrored = outcomes.limits(cases, 1 - rate, outcomes.LEVELS[0])
    assert abs(mirrored[0] - (cases - inner[1])) <= 1


def test_a_rate_of_none_or_all_has_one_place() -> None:
    assert outcomes.limits(20, Fraction(0), outcomes.LEVELS[0]) == (0, 0)
    assert outcomes.limits(20, Fraction(1), outcomes.LEVELS[0]) == (20, 20)


def test_the_funnel_shows_organisations_with_ten_cases_and_counts_that_may_be_shown() -> None:
    of = {"S01": (12, 11), "S02": (20, 6), "S03": (9, 5), "S04": (40, 4), "S05": (60, 10)}
    found = [outcome(site, i, HARM if i < events else NONE) for site, (cases, events) in of.items() for i in range(cases)]
    funnel = outcomes.funnel(found, of)
    assert funnel.pooled == Tally(36, 141)
    assert [(place.site, place.outside) for place in funnel.places] == [("S02", ""), ("S05", "")]
    assert funnel.left_out == ("S01", "S03", "S04")
    many = found + [outcome("S06", i, HARM if i < 14 else NONE) for i in range(20)]
    assert [p.outside for p in outcomes.funnel(many, ["S06"]).places] == ["99.8"]


# --- CUSUM -----------------------------------------------------------------------------------------------------------


def test_weights_are_the_likelihood_ratios_of_twice_the_odds() -> None:
    """At p = 1/5 odds of 1/4 become 1/2, that is p = 1/3: the ratios are (1/3)/(1/5) and (2/3)/(4/5)."""
    event, none = outcomes.weights(Fraction(1, 5))
    assert event == pytest.approx(math.log(5 / 3), rel=1e-15)
    assert none == pytest.approx(math.log(5 / 6), rel=1e-15)


@pytest.mark.parametrize("rate", [Fraction(0), Fraction(1), Fraction(-1, 2)])
def test_weights_need_a_proportion_between_none_and_all(rate: Fraction) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        outcomes.weights(rate)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 99))
def test_the_sum_is_the_highest_of_all_sums_that_end_here_and_never_below_none(events: list[bool], percent: int) -> None:
    rate = Fraction(percent, 100)
    with_event, without = outcomes.weights(rate)
    steps = [with_event if event else without for event in events]
    expected = [max(0.0, *(sum(steps[start : end + 1]) for start in range(end + 1))) for end in range(len(steps))]
    assert outcomes.cusum(events, rate) == pytest.approx(expected, abs=1e-9)
    assert with_event > 0 > without


def test_events_stand_in_order_of_the_procedures() -> None:
    assert outcomes.events_of([outcome(day=9), outcome(day=1, harms=HARM), outcome(day=5, followed={})]) == [True, False]
