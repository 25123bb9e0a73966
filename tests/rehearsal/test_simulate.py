"""Rehearsals: agreement with exact values, with the exact engine and with published tables, and what the report of figures says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.rehearsal.schemes import AB, LEVELS, RECRUITS, minimisation, scheme
from trialdm.domain.randomisation.coins import urn_balls
from trialdm.domain.randomisation.commitment import Keys
from trialdm.domain.randomisation.schemes import Allocator
from trialdm.rehearsal.methods import Running, start
from trialdm.rehearsal.recruits import Recruitment, completed, recruit, stream
from trialdm.rehearsal.simulate import compare, name_of, rehearse, sha256

NOBODY = Recruitment()


def figures(config: dict[str, Any], recruitment: Recruitment = NOBODY, **more: Any) -> Mapping[str, Any]:
    return rehearse(config, recruitment, **({"trials": 500, "participants": 60, "seed": 1} | more)).data


def arms_drawn(config: dict[str, Any], recruitment: Recruitment, participants: int, trials: int) -> tuple[Running, np.ndarray[Any, Any]]:
    """The arms of a chunk of trials by place, and the scheme after them."""
    everyone = completed(recruitment, [config])
    running = start(config, everyone, recruit(everyone, participants, trials, seed=5, chunk=0), stream(5, 0, "blocks"))
    source = stream(5, 0, "draws")
    return running, np.stack([running.step(place, source.random(trials))[0] for place in range(participants)])


# --- agreement with exact values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        scheme("simple"),
        scheme("pbr", sizes=[4]),
        scheme("pbr", sizes=[2, 4, 6]),
        scheme("pbr", sizes=[2, 8], size_weights=[1, 3]),
        scheme("pbr", sizes=[30]),
        scheme("efron", p="2/3"),
        scheme("efron", p="19/20"),
        scheme("bigstick", mti=3),
        scheme("chen", mti=3, p="2/3"),
        scheme("urn", w=0, alpha=0, beta=1),
        scheme("urn", w=1, alpha=2, beta=3),
        scheme("blockurn", **{"lambda": 3}),
        scheme("maximal", mti=3, n=30),
        scheme("maximal", mti=2, n=8),
    ],
    ids=name_of,
)
def test_exact_values(config: dict[str, Any]) -> None:
    found = figures(config, trials=3000, participants=29)
    simulated = {
        "overall": found["imbalance"]["overall"],
        "most_on_the_way": found["imbalance"]["most_on_the_way"],
        "balanced": found["imbalance"]["balanced"],
        "loss": found["imbalance"]["loss"],
        "trial": found["guesses"]["trial"],
        "state": found["guesses"]["state"],
        "deterministic": found["deterministic"],
    }
    assert found["exact"].keys() == simulated.keys()
    for name, exact in found["exact"].items():
        mean, error = simulated[name].get("mean", simulated[name].get("rate")), simulated[name]["se"]
        assert abs(mean - exact) <= 4.5 * error + 2e-6, name


@pytest.mark.parametrize(
    ("config", "participants", "why"),
    [
        (minimisation("limb"), 20, "levels of the participants"),
        (scheme("pbr", "limb", sizes=[4]), 20, "several"),
        (scheme("simple"), 301, "at most 300"),
        (scheme("simple", arms=[["A", 2], ["B", 1]]), 20, "other than 1:1"),
    ],
)
def test_no_exact_value(config: dict[str, Any], participants: int, why: str) -> None:
    found = figures(config, trials=3, participants=participants)
    assert found["exact"] is None
    assert why in found["no_exact_value"]


# --- agreement with the exact engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        scheme("simple", arms=[["A", 1], ["B", 2]]),
        scheme("pbr", "limb", sizes=[3, 6], size_weights=[2, 1], arms=[["A", 2], ["B", 1]]),
        scheme("urn", "limb", w=1, alpha=0, beta=2, arms=[["A", 1], ["B", 2], ["C", 1]]),
        scheme("urn", "limb", w=0, alpha=0, beta=1, arms=[["A", 2], ["B", 1]]),
        scheme("blockurn", "limb", arms=[["A", 2], ["B", 1], ["C", 1]], **{"lambda": 2}),
        scheme("maximal", "limb", mti=2, n=6),
        minimisation("limb", "cause", arms=[["A", 2], ["B", 1]], burn_in=4),
    ],
    ids=name_of,
)
def test_engine_of_keys(config: dict[str, Any]) -> None:
    """The engine under many master secrets and the simulator lose as much balance, within 4.5 standard errors of the difference."""
    participants, masters, ratios = 22, 250, dict(config["arms"])
    everyone = completed(RECRUITS, [config])
    levels = recruit(everyone, participants, masters, seed=2, chunk=0)
    expected = {code: participants * ratio / sum(ratios.values()) for code, ratio in ratios.items()}
    losses = []
    for trial in range(masters):
        allocator = Allocator(Keys(config, trial.to_bytes(32, "big")))
        for place in range(participants):
            own = [LEVELS[factor["name"]][levels[factor["name"]][place, trial]] for factor in config["factors"]]
            allocator.take(allocator.next(own))
        counts = dict.fromkeys(ratios, 0)
        held = [allocator.state.counts.values(), [margins.totals for margins in allocator.state.margins.values()]]
        for stratum in (stratum for found in held for stratum in found):
            for code, number in zip(allocator.arms, stratum, strict=True):
                counts[code] += number
        losses.append(sum((counts[code] - expected[code]) ** 2 / expected[code] for code in ratios))
    loss = figures(config, RECRUITS, trials=2000, participants=participants)["imbalance"]["loss"]
    error = np.hypot(np.std(losses, ddof=1) / np.sqrt(masters), loss["se"])
    assert abs(np.mean(losses) - loss["rate"]) <= 4.5 * error


@pytest.mark.parametrize("ratios", [(1, 1), (2, 1), (2, 1, 1), (3, 2)])
@pytest.mark.parametrize("method", ["urn", "blockurn"])
def test_balls_of_urns(method: str, ratios: tuple[int, ...]) -> None:
    """The likeliest arm is that of the most balls, counted as the engine does."""
    more = {"w": 1, "alpha": 1, "beta": 3} if method == "urn" else {"lambda": 2}
    config = scheme(method, arms=[[code, ratio] for code, ratio in zip("ABC", ratios, strict=False)], **more)
    everyone = completed(NOBODY, [config])
    running, source = start(config, everyone, recruit(everyone, 40, 20, seed=6, chunk=0), stream(6, 0, "blocks")), stream(6, 0, "draws")
    counts = np.zeros((len(ratios), 20), dtype=int)
    for place in range(40):
        if method == "blockurn":
            balls = [urn_balls(ratios, 2, counts[:, trial].tolist()) for trial in range(20)]
        else:
            balls = [
                [ratio * (1 + 3 * place) + (1 - 3) * int(n) for ratio, n in zip(ratios, counts[:, trial], strict=True)]
                for trial in range(20)
            ]
        arm, best = running.step(place, source.random(20))
        assert best == pytest.approx([max(of) / sum(of) for of in balls])
        counts[arm, np.arange(20)] += 1


# --- agreement with published figures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "overall", "upper", "cause", "site", "own_site", "site_limb", "trial_limb", "state"),
    [
        (scheme("simple"), 8.7, 3.4, 8.5, 7.2, 0.50, 0.50, 0.50, 0.50),
        (scheme("pbr", "limb", sizes=[2, 4, 6]), 0.9, 0.7, 6.1, 6.4, 0.514, 0.518, 0.699, 0.699),
        (scheme("bigstick", "limb", mti=3), 2.0, 1.5, 6.2, 6.4, 0.513, 0.516, 0.578, 0.578),
        (scheme("pbr", "site", "limb", sizes=[2, 4]), 2.6, 1.8, 6.5, 2.0, 0.657, 0.702, 0.578, 0.702),
        (minimisation("site", "limb", "cause", p="7/10"), 2.1, 1.8, 3.2, 4.3, 0.577, 0.559, 0.601, 0.661),
        (minimisation("site", "limb", "cause", p="4/5"), 1.4, 1.3, 2.2, 3.4, 0.612, 0.580, 0.640, 0.735),
        (minimisation("site", "limb", "cause", p="1"), 0.6, 0.7, 1.2, 2.1, 0.675, 0.612, 0.706, 0.875),
    ],
)
def test_a_surgical_trial(
    config: dict[str, Any],
    overall: float,
    upper: float,
    cause: float,
    site: float,
    own_site: float,
    site_limb: float,
    trial_limb: float,
    state: float,
) -> None:
    """Eight unequal sites, 120 participants: mean imbalances within 0.3 (simple: 1), rates of right guesses within 0.01."""
    found = figures(config, RECRUITS, trials=700, participants=120)
    imbalance, guesses = found["imbalance"], found["guesses"]
    limb, by_cause = imbalance["factors"]
    means = [imbalance["overall"]["mean"], limb["levels"][1]["mean"], by_cause["worst"]["mean"], imbalance["site"]["worst"]["mean"]]
    assert means == pytest.approx([overall, upper, cause, site], abs=1 if config["method"] == "simple" else 0.3)
    rates = [guesses["site"], guesses["site_by_factor"][0], guesses["trial_by_factor"][0], guesses["state"]]
    assert [rate["rate"] for rate in rates] == pytest.approx([own_site, site_limb, trial_limb, state], abs=0.01)


def test_ac_05_balance_of_the_example_trial() -> None:
    """220 participants minimised at 14 sites, p = 4/5: in 95 % of trials arms differ by at most 4, levels and sites by at most 10."""
    protocol = yaml.safe_load((Path(__file__).parents[2] / "protocols" / "pre-tmr" / "protocol.yaml").read_text("utf-8"))
    allocation = protocol["allocation"]
    shares = {
        "limb": {"1": 15, "2": 85},
        "amp_prox": {"0": 55, "1": 45},
        "aetiol_grp": {"1": 45, "2": 35, "3": 20},
        "opioid_pre": {"0": 60, "1": 40},
        "pain_pre": {"1": 25, "2": 40, "3": 35},
    }
    recruitment = Recruitment({site["code"]: site["target"] for site in protocol["sites"]}, shares)
    named = [
        {"name": factor["name"], "levels": list(recruitment.shares(factor["name"])), "weight": factor["weight"]}
        for factor in allocation["factors"]
    ]
    config = scheme("minimisation", imbalance=allocation["imbalance"], p=allocation["p"], burn_in=allocation["burn_in"]) | {
        "factors": named
    }
    imbalance = figures(config, recruitment, trials=1500, participants=220)["imbalance"]
    assert imbalance["overall"]["p95"] <= 4
    assert imbalance["worst_level"]["p95"] <= 10
    assert imbalance["site"]["worst"]["p95"] <= 10


@pytest.mark.parametrize(
    "config", [minimisation("limb", arms=[["A", 2], ["B", 1]]), scheme("urn", w=2, alpha=0, beta=1, arms=[["A", 2], ["B", 1]])]
)
def test_the_chance_of_an_arm_is_its_share_at_every_place(config: dict[str, Any]) -> None:
    """2:1, places 1 to 30: within 4.5 standard errors."""
    _, arms = arms_drawn(config, RECRUITS, 30, 4000)
    assert (arms == 0).mean(axis=1) == pytest.approx(np.full(30, 2 / 3), abs=4.5 * np.sqrt(2 / 9 / 4000))


# --- what every method keeps -----------------------------------------------------------------------------------------


def differences(arms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.cumsum(1 - 2 * arms, axis=0)


def test_blocks_are_balanced_where_they_end() -> None:
    _, arms = arms_drawn(scheme("pbr", sizes=[4]), NOBODY, 20, 50)
    assert (differences(arms)[3::4] == 0).all()


def test_limits_are_kept() -> None:
    for config in (
        scheme("bigstick", mti=2),
        scheme("chen", mti=2, p="2/3"),
        scheme("maximal", mti=2, n=10),
        scheme("blockurn", **{"lambda": 2}),
    ):
        _, arms = arms_drawn(config, NOBODY, 40, 200)
        assert np.abs(differences(arms)).max() == 2


def test_runs_of_the_maximal_procedure_end_in_balance() -> None:
    _, arms = arms_drawn(scheme("maximal", mti=3, n=10), NOBODY, 30, 200)
    assert (differences(arms)[9::10] == 0).all()


def test_open_blocks_empty_strata_and_lists_that_run_out() -> None:
    one_site = Recruitment({"S1": 1})
    found = figures(scheme("pbr", "site", sizes=[4]), one_site, trials=20, participants=10, slots=8)["strata"]
    assert found["number"] == 8
    assert (found["empty"]["mean"], found["unfinished_blocks"]["mean"]) == (7, 1)
    assert found["list"] == {"runs_out": {"rate": 1, "se": 0}, "turned_away": 2}
    enough = figures(scheme("pbr", "site", sizes=[4]), one_site, trials=20, participants=12, slots=12)["strata"]
    assert enough["unfinished_blocks"]["mean"] == 0
    assert enough["list"]["turned_away"] == 0
    assert figures(minimisation("limb"), trials=5, slots=3)["strata"]["list"] is None


# --- the same again, and side by side --------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_figures() -> None:
    config = minimisation("site", "limb", "cause")
    first, again, other = (rehearse(config, RECRUITS, trials=1100, participants=12, seed=seed) for seed in (4, 4, 5))
    assert first.to_json() == again.to_json() != other.to_json()
    assert json.loads(first.to_json()) == first.data
    assert sha256([first]) == sha256([again])


def test_later_chunks_are_other_trials() -> None:
    fewer, more = (figures(scheme("simple"), trials=trials, participants=10) for trials in (1000, 2000))
    assert fewer["imbalance"]["overall"]["distribution"] != more["imbalance"]["overall"]["distribution"]


def test_schemes_side_by_side_meet_the_same_recruits() -> None:
    configs, told = [scheme("simple"), minimisation("limb"), scheme("pbr", "site", sizes=[2, 4])], []
    found = compare(configs, RECRUITS, trials=1200, participants=20, seed=9, tell=lambda done, total: told.append((done, total)))
    assert [one.to_json() for one in found] == [
        rehearse(config, RECRUITS, trials=1200, participants=20, seed=9).to_json() for config in configs
    ]
    assert told == [(done, 3600) for done in (1000, 2000, 3000, 3200, 3400, 3600)]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (scheme("simple", "limb"), "simple"),
        (scheme("pbr", "site", "limb", sizes=[2, 4]), "blocks 2, 4 by site x limb"),
        (minimisation("site", "limb", overall=1), "minimisation p = 4/5 (site, limb, arm totals)"),
        (minimisation("site", "limb", strata=["limb"], p_ranks=["3/4", "1/4"]), "minimisation p = 3/4, 1/4 (site) by limb"),
        (scheme("blockurn", **{"lambda": 3}), "block urn 3"),
    ],
)
def test_names(config: dict[str, Any], name: str) -> None:
    assert name_of(config) == name


# --- what cannot be rehearsed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (scheme("list"), "its rule is not known"),
        (scheme("coin"), "'coin' is not known"),
        (scheme("simple", arms=[["A", 1]]), "at least two arms"),
        (scheme("efron", p="2/3", arms=[["A", 2], ["B", 1]]), "two arms, 1:1"),
        (scheme("pbr", sizes=[4], arms=[["A", 2], ["B", 1]]), "multiple of 3"),
        (scheme("chen"), "needs mti, p"),
        (scheme("minimisation", "limb", imbalance="range"), "needs p"),
        (scheme("bigstick", mti=0), "at least 1"),
        (scheme("urn", w=1, alpha=0, beta=0), "needs balls"),
        (scheme("blockurn", **{"lambda": 0}), "at least one set"),
        (scheme("simple") | {"factors": [{"name": "limb", "levels": ["lower"]}]}, "'upper' is recruited but not in the scheme"),
        (scheme("pbr", sizes=[4]) | {"factors": [{"name": "ward", "levels": [str(i) for i in range(30_000)]}]}, "too many"),
    ],
)
def test_refusals(config: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        figures(config, RECRUITS, trials=2, participants=2)


def test_asking_for_nothing() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        figures({"method": "simple", "arms": AB}, trials=0)
    with pytest.raises(ValueError, match="from one to 4"):
        compare([], NOBODY, trials=1, participants=1, seed=1)
