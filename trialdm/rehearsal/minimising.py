"""Minimisation of many trials at once: scores of fake arms and the chances that follow from them, as the exact engine has them.

Scores are whole numbers: the range; the variance times k(k - 1); the standard deviation to 20 places, in two parts. Only the
marginal balance, a sum of fractions, is held in floating point, with a tolerance far below any difference that occurs.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-12

#: The standard deviation x 10^20 is held as a multiple of this and a rest.
PART = 10**12

#: G of each fake arm (first axis) and trial; a second part where one whole number is not enough.
Scores = tuple[NDArray[Any], NDArray[Any] | None]


def scores(imbalance: str, counts: NDArray[Any], weights: NDArray[Any]) -> Scores:
    """G of each fake arm: `counts` by fake arm, factor and trial, at the participants' own levels; `weights` by factor."""
    totals = []
    for arm in range(len(counts)):
        trial = counts.astype(np.int64)
        trial[arm] += 1
        totals.append([weights @ part for part in _measure(imbalance, trial)])
    first = np.stack([total[0] for total in totals])
    if imbalance != "sd":
        return first, None
    second = np.stack([total[1] for total in totals])
    return first + second // PART, second % PART


def _measure(imbalance: str, counts: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """The imbalance of each factor and trial."""
    arms = len(counts)
    match imbalance:
        case "range":
            return (counts.max(0) - counts.min(0),)
        case "variance":
            return (_spread(counts),)
        case "sd":
            spread = _spread(counts)
            high, low = _deviations(arms, 1 << max(10, int(spread.max()).bit_length()))
            return high[spread], low[spread]
        case "marginal":
            apart = sum(np.abs(counts[a] - counts[b]) for a, b in combinations(range(arms), 2))
            return (apart / ((arms - 1) * counts.sum(0)),)
        case other:
            raise ValueError(f"the imbalance '{other}' is not known")


def _spread(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The variance times k(k - 1)."""
    return np.asarray(len(counts) * (counts * counts).sum(0) - counts.sum(0) ** 2)


@cache
def _deviations(arms: int, upto: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The standard deviation x 10^20, rounded down, of each possible spread below `upto`."""
    whole = [divmod(isqrt(spread * 10**40 // (arms * (arms - 1))), PART) for spread in range(upto)]
    both = np.array(whole, dtype=np.int64)
    return both[:, 0], both[:, 1]


def chances(found: Scores, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance of each fake arm by the probability of each rank; equals share the ranks that they hold together."""
    first, second = found
    arms = len(first)
    upto = np.concatenate([[0.0], np.cumsum(ranks)])
    below = np.zeros(first.shape, dtype=np.intp)
    level = np.ones(first.shape, dtype=np.intp)
    for a, b in combinations(range(arms), 2):
        if second is None:
            gap = first[a] - first[b]
            less, more = gap < -_TOLERANCE, gap > _TOLERANCE
        else:
            high, low = np.sign(first[a] - first[b]), np.sign(second[a] - second[b])
            sign = np.where(high == 0, low, high)
            less, more = sign < 0, sign > 0
        below[b] += less
        below[a] += more
        same = ~(less | more)
        level[a] += same
        level[b] += same
    return np.asarray((upto[below + level] - upto[below]) / level)


def rank_chances(config: Mapping[str, Any], arms: int) -> NDArray[np.float64]:
    """The probability of each rank, best first: `p_ranks`, or p for the best and equal shares of the rest."""
    if "p_ranks" in config:
        ranks = [Fraction(p) for p in config["p_ranks"]]
    else:
        p = Fraction(config["p"])
        ranks = [p] + [(1 - p) / (arms - 1)] * (arms - 1)
    if len(ranks) != arms or sum(ranks) != 1 or min(ranks) < 0:
        raise ValueError(f"the probabilities of the ranks must be {arms} and add up to 1")
    return np.array([float(p) for p in ranks])


def weights_of(factors: Sequence[Mapping[str, Any]], overall: int) -> NDArray[np.int64]:
    """The weights of the factors, and of the arm totals where they count."""
    return np.array([int(factor.get("weight", 1)) for factor in factors] + ([overall] if overall else []), dtype=np.int64)
