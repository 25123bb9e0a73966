"""Minimisation after Pocock and Simon (1975): imbalance at the participant's own levels decides, with a random element.

`Rule` is a configuration read once; `Margins` is the state it looks at. Everything runs on fake arms (see `schemes`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, combinations
from math import isqrt, lcm
from typing import Any, Self

from trialdm.domain.randomisation.commitment import Keys, lp, u32, u64
from trialdm.domain.randomisation.draws import at, shuffled, uniform

_PRECISION = 10**40

#: An exact amount of imbalance; whole numbers where the measure allows it, because they are fast.
Amount = int | Fraction


def imbalance_range(counts: Sequence[int]) -> Amount:
    return max(counts) - min(counts)


def imbalance_variance(counts: Sequence[int]) -> Amount:
    """Sample variance, with n-1."""
    n, total = len(counts), sum(counts)
    return Fraction(n * sum(c * c for c in counts) - total * total, n * (n - 1))


def imbalance_sd(counts: Sequence[int]) -> Amount:
    """Standard deviation to 20 decimal places: the whole square root of variance x 10^40."""
    return isqrt(int(imbalance_variance(counts) * _PRECISION))


def imbalance_marginal(counts: Sequence[int]) -> Amount:
    """Marginal balance: sum of all differences between two arms, over (arms - 1) x total; 0 where nobody is counted."""
    total = sum(counts)
    if not total:
        return 0
    return Fraction(sum(abs(a - b) for a, b in combinations(counts, 2)), (len(counts) - 1) * total)


IMBALANCE: dict[str, Callable[[Sequence[int]], Amount]] = {
    "range": imbalance_range,
    "variance": imbalance_variance,
    "sd": imbalance_sd,
    "marginal": imbalance_marginal,
}


@dataclass
class Margins:
    """How many of each fake arm have been counted at each level of each factor, and in all: what minimisation looks at.

    Never leaves the process and is never stored; it is built from the history whenever it is needed.
    """

    arms: int
    counts: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.totals = self.totals or [0] * self.arms

    def at(self, factor: int, level: str) -> list[int]:
        return self.counts.get((factor, level)) or [0] * self.arms

    def add(self, levels: Iterable[str], fake_arm: int, times: int = 1) -> None:
        """Count a participant (or with `times` -1 no longer)."""
        self.totals[fake_arm] += times
        for place in enumerate(levels):
            found = self.counts.get(place)
            if found is None:
                found = self.counts[place] = [0] * self.arms
            found[fake_arm] += times


@dataclass(frozen=True)
class Rule:
    """A configuration of minimisation, read once."""

    arms: int
    weights: tuple[int, ...]
    measure: Callable[[Sequence[int]], Amount]
    overall: int
    burn_in: int
    p: Fraction
    p_ranks: tuple[Fraction, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Factors of `strata` are held constant, so they have no weight."""
        strata = config.get("strata", ())
        return cls(
            sum(ratio for _, ratio in config["arms"]),
            tuple(0 if factor["name"] in strata else factor["weight"] for factor in config["factors"]),
            IMBALANCE[config["imbalance"]],
            config.get("overall", 0),
            config.get("burn_in", 0),
            Fraction(config.get("p", 1)),
            tuple(Fraction(p) for p in config.get("p_ranks", ())),
        )

    def scores(self, state: Margins, levels: Sequence[str]) -> list[Amount]:
        """G of each fake arm: weighted imbalance if the participant were given it. The smallest is favoured."""
        measured = [(w, state.at(place, level)) for place, (w, level) in enumerate(zip(self.weights, levels, strict=True)) if w]
        if self.overall:
            measured.append((self.overall, state.totals))
        totals: list[Amount] = [0] * self.arms
        for weight, counts in measured:
            trial = list(counts)
            for arm in range(self.arms):
                trial[arm] += 1
                totals[arm] += weight * self.measure(trial)
                trial[arm] -= 1
        return totals

    def choose(self, keys: Keys, state: Margins, seq: int, slot: int, levels: Sequence[str]) -> int:
        """The fake arm for the participant at place `seq` of the scheme and `slot` of the stratum."""
        n = self.arms
        if slot < self.burn_in:
            return uniform(keys.stratum("simple"), at("simple", seq), n)
        key = keys.stratum("min")
        totals = self.scores(state, levels)
        if self.p_ranks:
            return _rank_all(key, self.p_ranks, seq, totals)
        smallest = min(totals)
        best = [arm for arm in range(n) if totals[arm] == smallest]
        if len(best) == n:
            return best[uniform(key, at("tie", seq), n)]
        favoured = best[uniform(key, at("tie", seq), len(best))] if len(best) > 1 else best[0]
        if uniform(key, at("coin", seq), self.p.denominator) < self.p.numerator:
            return favoured
        others = [arm for arm in range(n) if arm != favoured]
        return others[uniform(key, at("rest", seq), n - 1)]


def _rank_all(key: bytes, p: Sequence[Fraction], seq: int, totals: Sequence[Amount]) -> int:
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
