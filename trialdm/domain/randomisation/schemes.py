"""Allocation methods as exact functions of the keys, the configuration and the history.

`allocate` is the one entry: it decides the next arm of a derived scheme. Arms with unequal ratios are expanded into equal
"fake arms" in the order of the configuration, every rule runs on fake arms, and the result maps back: the chance of an arm
is its share at every position (Kuznetsova and Tymofyeyev 2012, doi 10.1002/sim.4447). Minimisation is Pocock and Simon
(1975): imbalance is looked at only at the participant's own levels. No floating point anywhere.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, combinations
from math import isqrt, lcm
from typing import Any

from trialdm.domain.randomisation.commitment import Keys, lp, u32, u64
from trialdm.domain.randomisation.draws import at, in_block, shuffled, uniform

#: Methods whose allocations are derived from the keys; `list` takes them from a list made elsewhere.
DERIVED = ("simple", "pbr", "minimisation")

#: Labels that name keys and so cannot be strata.
RESERVED_LABELS = frozenset({"min", "simple", "nonce"})


@dataclass(frozen=True)
class Placed:
    """One event that took a place in the scheme: its arm as an index of fake arms, and the levels used then."""

    seq: int
    stratum: str
    slot: int
    fake_arm: int
    levels: tuple[str, ...]


def fake_arms(config: Mapping[str, Any]) -> list[str]:
    """Each arm's code repeated as often as its ratio says, in the order of the configuration."""
    return [str(code) for code, ratio in config["arms"] for _ in range(ratio)]


def stratum_label(levels: Iterable[str]) -> str:
    """The name of a stratum: its factor levels in the order of the configuration."""
    return "|".join(levels)


# --- permuted blocks -------------------------------------------------------------------------------------------------


def block(keys: Keys, stratum: str, number: int) -> list[int]:
    """Block `number` (from 0) of a stratum, as indices of fake arms.

    The block starts with all copies of each fake arm together, in order (1:1, size 4: A A B B), and is then shuffled.
    """
    config, key = keys.config, keys.stratum(stratum)
    sizes: Sequence[int] = config["sizes"]
    weights: Sequence[int] = config.get("size_weights") or [1] * len(sizes)
    drawn = uniform(key, in_block("size", number), sum(weights))
    size = next(s for s, upto in zip(sizes, accumulate(weights), strict=True) if drawn < upto)
    arms = fake_arms(config)
    start = [arm for arm in range(len(arms)) for _ in range(size // len(arms))]
    # Copies of one real arm stand together: fake arms of one arm are neighbours in the configuration.
    return shuffled(key, [in_block("perm", number, i) for i in range(size - 1, 0, -1)], start)


def permuted_block(keys: Keys, stratum: str, slot: int) -> int:
    """The fake arm at place `slot` (from 0) of a stratum."""
    number, passed = 0, 0
    while True:
        arms = block(keys, stratum, number)
        if slot < passed + len(arms):
            return arms[slot - passed]
        passed += len(arms)
        number += 1


# --- minimisation ----------------------------------------------------------------------------------------------------

_PRECISION = 10**40


def imbalance_range(counts: Sequence[int]) -> Fraction:
    return Fraction(max(counts) - min(counts))


def imbalance_variance(counts: Sequence[int]) -> Fraction:
    """Sample variance, with n-1."""
    n, total = len(counts), sum(counts)
    return Fraction(n * sum(c * c for c in counts) - total * total, n * (n - 1))


def imbalance_sd(counts: Sequence[int]) -> Fraction:
    """Standard deviation to 20 decimal places: the whole square root of variance x 10^40."""
    return Fraction(isqrt(int(imbalance_variance(counts) * _PRECISION)), 1)


def imbalance_marginal(counts: Sequence[int]) -> Fraction:
    """Marginal balance: sum of all differences between two arms, over (arms - 1) x total; 0 where nobody is counted."""
    total = sum(counts)
    if not total:
        return Fraction(0)
    return Fraction(sum(abs(a - b) for a, b in combinations(counts, 2)), (len(counts) - 1) * total)


IMBALANCE: dict[str, Callable[[Sequence[int]], Fraction]] = {
    "range": imbalance_range,
    "variance": imbalance_variance,
    "sd": imbalance_sd,
    "marginal": imbalance_marginal,
}


@dataclass
class Margins:
    """How many of each fake arm have been counted at each level of each factor: the state that minimisation looks at.

    Never leaves the process and is never stored; it is built from the history whenever it is needed.
    """

    arms: int
    counts: dict[tuple[int, str], list[int]] = field(default_factory=dict)

    def at(self, factor: int, level: str) -> list[int]:
        return self.counts.get((factor, level)) or [0] * self.arms

    def add(self, levels: Sequence[str], fake_arm: int) -> None:
        for factor, level in enumerate(levels):
            self.counts.setdefault((factor, level), [0] * self.arms)[fake_arm] += 1


def margins(config: Mapping[str, Any], history: Iterable[Placed]) -> Margins:
    """The margins after a history."""
    built = Margins(len(fake_arms(config)))
    for placed in history:
        built.add(placed.levels, placed.fake_arm)
    return built


def scores(config: Mapping[str, Any], state: Margins, levels: Sequence[str]) -> list[Fraction]:
    """G of each fake arm: weighted imbalance if the participant were given it. The smallest is favoured."""
    measure = IMBALANCE[config["imbalance"]]
    totals = [Fraction(0)] * state.arms
    for factor, (definition, level) in enumerate(zip(config["factors"], levels, strict=True)):
        counts = state.at(factor, level)
        for arm in range(state.arms):
            trial = list(counts)
            trial[arm] += 1
            totals[arm] += definition["weight"] * measure(trial)
    return totals


def minimise(keys: Keys, state: Margins, seq: int, levels: Sequence[str]) -> int:
    """The fake arm for the participant at place `seq`, with these levels, after the history in `state`."""
    config = keys.config
    n = state.arms
    if seq < int(config.get("burn_in", 0)):
        return uniform(keys.stratum("simple"), at("simple", seq), n)
    key = keys.stratum("min")
    totals = scores(config, state, levels)
    if "p_ranks" in config:
        return _rank_all(key, [Fraction(p) for p in config["p_ranks"]], seq, totals)
    best = [arm for arm in range(n) if totals[arm] == min(totals)]
    if len(best) == n:
        return best[uniform(key, at("tie", seq), n)]
    favoured = best[uniform(key, at("tie", seq), len(best))] if len(best) > 1 else best[0]
    p = Fraction(config["p"])
    if uniform(key, at("coin", seq), p.denominator) < p.numerator:
        return favoured
    others = [arm for arm in range(n) if arm != favoured]
    return others[uniform(key, at("rest", seq), n - 1)]


def _rank_all(key: bytes, p: Sequence[Fraction], seq: int, totals: Sequence[Fraction]) -> int:
    """Rank every fake arm by its score, ties in random order, and choose by the probability of each rank."""
    n = len(totals)
    contexts = [lp("rank", u64(seq), u32(i)) for i in range(n - 1, 0, -1)]
    ranked = sorted(shuffled(key, contexts, list(range(n))), key=lambda arm: totals[arm])
    common = lcm(*(share.denominator for share in p))
    drawn = uniform(key, at("coin", seq), common)
    upto = accumulate(int(share * common) for share in p)
    return next(arm for arm, limit in zip(ranked, upto, strict=True) if drawn < limit)


def rank_probabilities(arms: int, q: Fraction) -> list[Fraction]:
    """Pocock and Simon's p_k = q - 2(Nq - 1) k / (N(N + 1)) for ranks k = 1..N, with 1/N < q < 2/(N - 1)."""
    if not Fraction(1, arms) < q < Fraction(2, arms - 1):
        raise ValueError(f"q must lie between 1/{arms} and 2/{arms - 1}")
    return [q - 2 * (arms * q - 1) / (arms * (arms + 1)) * k for k in range(1, arms + 1)]


# --- block urn -------------------------------------------------------------------------------------------------------


def urn_balls(ratios: Sequence[int], lam: int, allocated: Sequence[int]) -> list[int]:
    """Balls of each arm in a block urn (Zhao and Weng 2011): lambda r + k r - n, k the number of complete balanced sets."""
    complete = min(n // r for n, r in zip(allocated, ratios, strict=True))
    return [lam * r + complete * r - n for r, n in zip(ratios, allocated, strict=True)]


# --- the one entry ---------------------------------------------------------------------------------------------------


def stratum_of(config: Mapping[str, Any], levels: Sequence[str]) -> str:
    """The stratum in which a participant takes a slot; minimisation and simple randomisation have one."""
    if config["method"] == "minimisation":
        return "min"
    if config["method"] == "simple":
        return "simple"
    return stratum_label(levels)


def allocate(keys: Keys, seq: int, slot: int, levels: Sequence[str], state: Margins | None = None) -> int:
    """The fake arm at place `seq` of the scheme and `slot` of its stratum. `state` is needed for minimisation only."""
    match keys.config["method"]:
        case "simple":
            return uniform(keys.stratum("simple"), at("simple", seq), len(fake_arms(keys.config)))
        case "pbr":
            return permuted_block(keys, stratum_label(levels), slot)
        case "minimisation":
            if state is None:
                raise ValueError("minimisation needs the margins of the history")
            return minimise(keys, state, seq, levels)
        case other:
            raise ValueError(f"method '{other}' is not derived from keys")


def counted_as(keys: Keys, seq: int, arm: str) -> int:
    """The fake arm under which an allocation made elsewhere is counted."""
    candidates = [index for index, code in enumerate(fake_arms(keys.config)) if code == arm]
    return candidates[uniform(keys.stratum("min"), at("ext", seq), len(candidates))]
