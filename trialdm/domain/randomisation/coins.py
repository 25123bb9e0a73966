"""Biased coins and urns: methods that look only at how many of each arm the stratum holds so far.

Each function gives the index of the arm for place `slot` of a stratum, from that stratum's key. The coins and the maximal
procedure are defined for two arms with equal shares; `counts` are by arm there, and by arm in the block urn.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Any

from trialdm.domain.randomisation.draws import at, uniform


def efron(config: Mapping[str, Any], key: bytes, slot: int, counts: Sequence[int]) -> int:
    """Efron 1971, Biometrika 58:403: the arm behind with chance p; either with the same chance when balanced."""
    return _toward_balance(key, at("efron", slot), counts, Fraction(config["p"]))


def big_stick(config: Mapping[str, Any], key: bytes, slot: int, counts: Sequence[int]) -> int:
    """Soares and Wu 1983: a fair coin, until the arms differ by `mti`; then the arm behind."""
    return _within(key, at("bigstick", slot), counts, Fraction(1, 2), config["mti"])


def chen(config: Mapping[str, Any], key: bytes, slot: int, counts: Sequence[int]) -> int:
    """Chen 1999: Efron's coin, until the arms differ by `mti`; then the arm behind."""
    return _within(key, at("chen", slot), counts, Fraction(config["p"]), config["mti"])


def _within(key: bytes, context: bytes, counts: Sequence[int], p: Fraction, mti: int) -> int:
    if abs(counts[0] - counts[1]) >= mti:
        return _behind(counts)
    return _toward_balance(key, context, counts, p)


def _toward_balance(key: bytes, context: bytes, counts: Sequence[int], p: Fraction) -> int:
    if counts[0] == counts[1]:
        return uniform(key, context, 2)
    behind = _behind(counts)
    return behind if uniform(key, context, p.denominator) < p.numerator else 1 - behind


def _behind(counts: Sequence[int]) -> int:
    return 0 if counts[0] < counts[1] else 1


def wei_urn(config: Mapping[str, Any], key: bytes, slot: int, counts: Sequence[int]) -> int:
    """Wei 1978, UD(w, alpha, beta): w balls of each arm; each draw adds alpha of its own arm and beta of every other.

    `counts` are by fake arm. An urn that starts empty (w = 0) holds one ball of each for the first draw.
    """
    placed = sum(counts)
    balls = [config["w"] + config["alpha"] * n + config["beta"] * (placed - n) for n in counts]
    return _ball(key, at("urn", slot), balls if any(balls) else [1] * len(counts))


def block_urn(config: Mapping[str, Any], key: bytes, slot: int, counts: Sequence[int]) -> int:
    """Zhao and Weng 2011 (PMC3206733): balls return to the urn whenever a whole balanced set has been drawn."""
    return _ball(key, at("blockurn", slot), urn_balls([ratio for _, ratio in config["arms"]], config["lambda"], counts))


def urn_balls(ratios: Sequence[int], lam: int, allocated: Sequence[int]) -> list[int]:
    """Balls of each arm in a block urn: lambda r + k r - n, k the number of complete balanced sets.

    After allocations made elsewhere an arm may have passed its share: it has no ball then.
    """
    complete = min(n // r for n, r in zip(allocated, ratios, strict=True))
    return [max(0, lam * r + complete * r - n) for r, n in zip(ratios, allocated, strict=True)]


def _ball(key: bytes, context: bytes, balls: Sequence[int]) -> int:
    drawn = uniform(key, context, sum(balls))
    return next(arm for arm, upto in enumerate(accumulate(balls)) if drawn < upto)


# --- the maximal procedure -------------------------------------------------------------------------------------------


def maximal(config: Mapping[str, Any], key: bytes, slot: int, counts: Sequence[int]) -> int:
    """Berger, Ivanova and Knoll 2003: every sequence of `n` that never differs by more than `mti` and ends balanced is as
    likely as any other.

    The number of sequences that are left decides: arm 1 if the draw is below the number that go on with arm 1. After `n`
    places of a stratum a new run of `n` starts. Where allocations made elsewhere leave no such sequence, the arm behind is
    given.
    """
    ahead, left = counts[0] - counts[1], config["n"] - slot % config["n"]
    ways = paths(ahead, left, config["mti"])
    if ways:
        return 0 if uniform(key, at("maximal", slot), ways) < paths(ahead + 1, left - 1, config["mti"]) else 1
    return uniform(key, at("maximal", slot), 2) if ahead == 0 else _behind(counts)


@lru_cache(maxsize=100_000)
def _ways(ahead: int, left: int, mti: int) -> int:
    if ahead > mti or ahead > left:
        return 0
    if left == 0:
        return 1
    return _ways(abs(ahead - 1), left - 1, mti) + _ways(ahead + 1, left - 1, mti)


def paths(ahead: int, left: int, mti: int) -> int:
    """In how many ways `left` more places lead from a difference of `ahead` to balance without ever passing `mti`."""
    for done in range(200, left, 200):  # the shorter ones first, so that recursion stays shallow
        for difference in range(mti + 1):
            _ways(difference, done, mti)
    return _ways(abs(ahead), left, mti)
