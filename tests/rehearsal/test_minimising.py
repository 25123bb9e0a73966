"""Minimisation of many trials at once decides as the exact engine does, participant by participant."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
import pytest

from tests.rehearsal.schemes import LEVELS, RECRUITS, minimisation
from trialdm.domain.randomisation.minimisation import Amount, Margins, Rule
from trialdm.domain.randomisation.schemes import fake_arms, stratum_of
from trialdm.rehearsal.methods import start
from trialdm.rehearsal.minimising import PART, chances, rank_chances, scores
from trialdm.rehearsal.recruits import completed, recruit, stream

#: What one unit of the exact score is in the simulator.
UNITS = {"range": lambda arms: 1, "variance": lambda arms: arms * (arms - 1), "sd": lambda arms: 1, "marginal": lambda arms: 1}


@pytest.mark.parametrize("arms", [2, 3, 4, 6])
@pytest.mark.parametrize("imbalance", ["range", "variance", "sd", "marginal"])
def test_scores(imbalance: str, arms: int) -> None:
    source = np.random.default_rng(arms)
    counts, weights = source.integers(0, 6, (arms, 3, 60)), np.array([2, 1, 3])
    first, second = scores(imbalance, counts, weights)
    config = {"arms": [["A", arms]], "imbalance": imbalance, "factors": [{"name": str(i), "weight": int(w)} for i, w in enumerate(weights)]}
    for trial in range(60):
        state = Margins(arms, {(factor, "x"): counts[:, factor, trial].tolist() for factor in range(3)})
        expected = [score * UNITS[imbalance](arms) for score in Rule.of(config).scores(state, ["x"] * 3)]
        if imbalance == "marginal":
            assert first[:, trial] == pytest.approx([float(score) for score in expected], rel=1e-12)
        else:
            found = zip(first[:, trial].tolist(), [0] * arms if second is None else second[:, trial].tolist(), strict=True)
            assert [high * PART + low if second is not None else high for high, low in found] == expected


@pytest.mark.parametrize(
    ("totals", "config", "expected"),
    [
        ([6, 10, 5], {"p": "2/3"}, [1 / 6, 1 / 6, 2 / 3]),
        ([3, 5, 4, 7], {"p_ranks": ["2/5", "3/10", "1/5", "1/10"]}, [0.4, 0.2, 0.3, 0.1]),
        ([1, 1], {"p": "4/5"}, [0.5, 0.5]),
        ([1, 1, 2], {"p": "4/5"}, [0.45, 0.45, 0.1]),
        ([2, 1, 1, 2], {"p_ranks": ["2/5", "3/10", "1/5", "1/10"]}, [0.15, 0.35, 0.35, 0.15]),
        ([7, 7, 7], {"p": "1"}, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_chances_from_scores(totals: list[int], config: dict[str, Any], expected: list[float]) -> None:
    found = chances((np.array(totals)[:, None], None), rank_chances(config, len(totals)))
    assert found[:, 0] == pytest.approx(expected)


def test_standard_deviations_differ_in_the_last_place() -> None:
    """The exact engine rounds each one down: 12 and 0 are not quite as much as 10 and 2, for it and here."""
    counts = np.array([[11, 0], [0, 1]])
    found = scores("sd", counts[:, :, None], np.array([1, 1]))
    state = Margins(2, {(factor, "x"): counts[:, factor].tolist() for factor in range(2)})
    config = {"arms": [["A", 1], ["B", 1]], "imbalance": "sd", "factors": [{"name": name, "weight": 1} for name in "ab"]}
    first, second = Rule.of(config).scores(state, "xx")
    assert found[0][0, 0] == found[0][1, 0]
    assert first - second == found[1][0, 0] - found[1][1, 0] != 0
    assert chances(found, rank_chances({"p": "4/5"}, 2))[:, 0] == pytest.approx([0.8, 0.2] if first < second else [0.2, 0.8])


def exact_chances(totals: Sequence[Amount], config: dict[str, Any]) -> list[Fraction]:
    """What the exact engine draws from, ties averaged over their order."""
    arms = len(totals)
    best = [arm for arm in range(arms) if totals[arm] == min(totals)]
    if "p_ranks" in config:
        ranks = [Fraction(p) for p in config["p_ranks"]]
        places = [[place for place, score in enumerate(sorted(totals)) if score == total] for total in totals]
        return [sum((ranks[place] for place in held), Fraction(0)) / len(held) for held in places]
    p = Fraction(config["p"])
    rest = (1 - p) / (arms - 1)
    return [p / len(best) + rest * (len(best) - 1) / len(best) if arm in best else rest for arm in range(arms)]


@pytest.mark.parametrize(
    "config",
    [
        minimisation("site", "limb", "cause"),
        minimisation("limb", "cause", imbalance="variance", burn_in=5),
        minimisation("limb", "cause", imbalance="sd", p="1"),
        minimisation("limb", "cause", imbalance="marginal"),
        minimisation("cause", overall=2),
        minimisation("site", "limb", "cause", strata=["limb"], overall=1, burn_in=4),
        minimisation("site", "cause", strata=["cause"], imbalance="variance"),
        minimisation("limb", "cause", arms=[["A", 2], ["B", 1]]),
        minimisation("limb", "cause", arms=[["A", 1], ["B", 2], ["C", 1]], imbalance="variance", burn_in=3),
        minimisation("limb", "cause", arms=[["A", 1], ["B", 1], ["C", 1]], p_ranks=["3/5", "3/10", "1/10"]),
        minimisation("limb", "cause", arms=[["A", 1], ["B", 1], ["C", 1]], imbalance="sd"),
    ],
)
def test_every_decision(config: dict[str, Any]) -> None:
    """Each arm drawn is the one to which the uniform number belongs, by chances computed exactly from the same history."""
    config["factors"] = [factor | {"weight": 1 + place} for place, factor in enumerate(config["factors"])]
    everyone = completed(RECRUITS, [config])
    levels = recruit(everyone, 40, 12, seed=7, chunk=0)
    running = start(config, everyone, levels, stream(7, 0, "blocks"))
    source, fakes = np.random.default_rng(3), fake_arms(config)
    codes = list(dict.fromkeys(fakes))
    rule = Rule.of(config)
    states: list[dict[str, tuple[Margins, list[int]]]] = [{} for _ in range(12)]
    for place in range(40):
        uniform = source.random(12)
        arm, best = running.step(place, uniform)
        for trial in range(12):
            own = [LEVELS[factor["name"]][levels[factor["name"]][place, trial]] for factor in config["factors"]]
            margins, history = states[trial].setdefault(stratum_of(config, own), (Margins(len(fakes)), []))
            likely = exact_chances(rule.scores(margins, own), config)
            if len(history) < rule.burn_in:
                likely = [Fraction(1, len(fakes))] * len(fakes)
            fake = next(index for index, upto in enumerate(accumulate(likely)) if uniform[trial] < upto)
            assert codes[arm[trial]] == fakes[fake]
            share = max(sum(chance for chance, code in zip(likely, fakes, strict=True) if code == each) for each in codes)
            assert best[trial] == pytest.approx(float(share))
            margins.add(own, fake)
            history.append(fake)


@pytest.mark.parametrize(
    ("ranks", "arms"),
    [({"p_ranks": ["1/2", "1/2"]}, 3), ({"p_ranks": ["1/2", "1/3"]}, 2), ({"p": "5/4"}, 2)],
)
def test_probabilities_must_fit(ranks: dict[str, Any], arms: int) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        rank_chances(ranks, arms)


def test_an_unknown_imbalance() -> None:
    with pytest.raises(ValueError, match="'entropy' is not known"):
        scores("entropy", np.zeros((2, 1, 1), dtype=int), np.array([1]))


def test_there_must_be_something_to_look_at() -> None:
    config = minimisation("limb", strata=["limb"])
    everyone = completed(RECRUITS, [config])
    with pytest.raises(ValueError, match="needs a factor"):
        start(config, everyone, recruit(everyone, 4, 2, seed=1, chunk=0), stream(1, 0, "blocks"))
