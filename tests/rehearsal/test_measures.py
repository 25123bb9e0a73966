"""What is measured, beside the same counted in plain Python, one trial and one participant at a time."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from tests.rehearsal.schemes import LEVELS, RECRUITS
from trialdm.rehearsal.measures import Memory, distribution, joined, memories, rate, summary, watch
from trialdm.rehearsal.recruits import recruit

PARTICIPANTS, TRIALS = 25, 8


def apart(counts: Sequence[int], ratios: Sequence[int]) -> Fraction:
    shares = [Fraction(count, ratio) for count, ratio in zip(counts, ratios, strict=True)]
    return max(shares) - min(shares)


@pytest.mark.parametrize("ratios", [(1, 1), (2, 1), (1, 1, 1), (2, 1, 3)])
def test_every_measure(ratios: tuple[int, ...]) -> None:
    levels = recruit(RECRUITS, PARTICIPANTS, TRIALS, seed=1, chunk=0)
    kept = memories(RECRUITS, ["site", "limb", "cause"])
    source = np.random.default_rng(8)
    arms = source.choice(len(ratios), (PARTICIPANTS, TRIALS), p=np.array(ratios) / sum(ratios))
    best = source.choice([0.5, 0.95, 1.0], (PARTICIPANTS, TRIALS))
    watching = watch(np.array(ratios), RECRUITS, levels, kept)
    for place in range(PARTICIPANTS):
        watching.see(place, arms[place], best[place])
    found = watching.found()
    for trial in range(TRIALS):
        counts: dict[tuple[Memory, tuple[int, ...]], list[int]] = {}
        credit: dict[Memory, Fraction] = dict.fromkeys(kept, Fraction(0))
        most = Fraction(0)
        for place in range(PARTICIPANTS):
            arm = int(arms[place, trial])
            for memory in kept:
                held = counts.setdefault((memory, tuple(int(levels[name][place, trial]) for name in memory)), [0] * len(ratios))
                shares = [Fraction(count, ratio) for count, ratio in zip(held, ratios, strict=True)]
                behind = [index for index, share in enumerate(shares) if share == min(shares)]
                credit[memory] += Fraction(arm in behind, len(behind))
                held[arm] += 1
            most = max(most, apart(counts[(), ()], ratios))
        for memory in kept:
            assert found.guesses[memory][trial] == pytest.approx(float(credit[memory] / PARTICIPANTS))
        for name in LEVELS:
            expected = [apart(counts.get(((name,), (level,)), [0] * len(ratios)), ratios) for level in range(len(LEVELS[name]))]
            assert found.imbalance[name][:, trial] == pytest.approx([float(value) for value in expected])
        whole, shares = counts[(), ()], [Fraction(PARTICIPANTS * ratio, sum(ratios)) for ratio in ratios]
        assert found.imbalance[""][0, trial] == pytest.approx(float(apart(whole, ratios)))
        assert found.most[trial] == pytest.approx(float(most))
        assert found.loss[trial] == pytest.approx(
            float(sum((count - share) ** 2 / share for count, share in zip(whole, shares, strict=True)))
        )
        assert found.state[trial] == pytest.approx(best[:, trial].mean())
        assert found.certain[trial] == pytest.approx((best[:, trial] == 1).mean())
    both = joined([found, found])
    assert both.imbalance["site"].shape == (8, 2 * TRIALS)
    assert (both.loss == np.tile(found.loss, 2)).all()


def test_memories() -> None:
    whole = [(), ("limb",), ("cause",), ("site",), ("site", "limb"), ("site", "cause")]
    assert memories(RECRUITS, []) == memories(RECRUITS, ["site", "limb"]) == whole
    assert memories(RECRUITS, ["limb", "cause"]) == [*whole, ("limb", "cause")]


def test_numbers_for_a_report() -> None:
    values = np.array([0, 2, 2, 4])
    assert summary(values) == {"mean": 2, "se": 0.816497, "p5": 0, "p50": 2, "p95": 4, "max": 4}
    assert rate(np.array([0.5])) == {"rate": 0.5, "se": 0}
    assert distribution(values / 3) == [[0, 0.25], [0.666667, 0.5], [1.333333, 0.25]]
