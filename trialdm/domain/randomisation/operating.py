"""Exact operating characteristics of allocation methods: two arms, 1:1, one stratum of n participants.

A method is a walk of D, the difference between the arms. Both arms are alike, so |D| is enough; blocks also remember the size
and place of the block. Every walk is followed with whole numbers over one common denominator: no simulation, no rounding.
A convergence guess names the arm that is behind, and tosses a coin when none is (Blackwell and Hodges 1957).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import gcd, lcm
from typing import Any

from trialdm.domain.randomisation.coins import paths

_HALF = Fraction(1, 2)

#: What a walk remembers beside |D|: size and place of the current block, else nothing.
Memory = tuple[int, int] | None


@dataclass(frozen=True)
class Characteristics:
    """What a method does to balance and to predictability; proportions are of all n allocations."""

    n: int
    #: Right guesses of the arm behind, by someone who sees every earlier allocation.
    correct_guesses: Fraction
    #: Right guesses of the likelier arm, by someone who knows the state, the size of the current block included.
    state_guesses: Fraction
    #: Allocations that are certain for someone who knows the state.
    deterministic: Fraction
    #: Mean of the largest |D| on the way, and of |D| at the end.
    most_imbalance: Fraction
    final_imbalance: Fraction
    #: Mean of D squared at the end, over n.
    loss: Fraction
    #: Chance of each difference at the end that can occur: first arm less second.
    distribution: Mapping[int, Fraction]

    @property
    def balanced(self) -> Fraction:
        """Chance that the arms are equal at the end."""
        return self.distribution.get(0, Fraction(0))


@dataclass(frozen=True)
class _Walk:
    """A method as a walk: the chance of the arm behind at place i with |D| = d > 0, and what is remembered from place to place."""

    behind: Callable[[int, int, Memory], Fraction]
    first: Sequence[tuple[Memory, int]] = ((None, 1),)
    onward: Callable[[Memory], Sequence[tuple[Memory, int]]] = lambda memory: ((None, 1),)


def characteristics(config: Mapping[str, Any], n: int) -> Characteristics:
    """The exact characteristics of one stratum of `n` participants. Raises ValueError where there is no exact value, saying why."""
    if n < 1:
        raise ValueError("there must be at least one participant")
    return _follow(_walk(config), n)


def _walk(config: Mapping[str, Any]) -> _Walk:
    method = config["method"]
    if method in ("minimisation", "list"):
        why = "depends on the levels of the participants" if method == "minimisation" else "comes from elsewhere"
        raise ValueError(f"there is no exact value: a {method} {why}")
    if method not in _WALKS:
        raise ValueError(f"there is no exact value: method '{method}' is not known")
    if len(config["arms"]) != 2:
        raise ValueError("there is no exact value for more than two arms")
    if any(ratio != 1 for _, ratio in config["arms"]):
        raise ValueError("there is no exact value for ratios other than 1:1")
    return _WALKS[method](config)


def _simple(config: Mapping[str, Any]) -> _Walk:
    return _Walk(lambda i, d, memory: _HALF)


def _blocks(config: Mapping[str, Any]) -> _Walk:
    """Permuted blocks; one block of n is the random allocation rule."""
    sizes: Sequence[int] = config["sizes"]
    weights: Sequence[int] = config.get("size_weights") or [1] * len(sizes)
    if any(size < 2 or size % 2 for size in sizes):
        raise ValueError("the size of a block must be an even number")
    fresh = tuple(((size, 0), weight) for size, weight in zip(sizes, weights, strict=True))

    def behind(i: int, d: int, memory: Memory) -> Fraction:
        size, place = memory or (0, 0)
        return Fraction(size - place + d, 2 * (size - place))

    def onward(memory: Memory) -> Sequence[tuple[Memory, int]]:
        size, place = memory or (0, 0)
        return fresh if place + 1 == size else (((size, place + 1), sum(weights)),)

    return _Walk(behind, fresh, onward)


def _efron(config: Mapping[str, Any]) -> _Walk:
    p = Fraction(config["p"])
    return _Walk(lambda i, d, memory: p)


def _chen(config: Mapping[str, Any]) -> _Walk:
    """Chen's coin; the big stick is the one with p = 1/2."""
    p, mti = Fraction(config.get("p", _HALF)), limit(config)
    return _Walk(lambda i, d, memory: Fraction(1) if d >= mti else p)


def _bigstick(config: Mapping[str, Any]) -> _Walk:
    return _chen({"mti": config["mti"]})


def _urn(config: Mapping[str, Any]) -> _Walk:
    """Wei's urn: w balls of each arm, alpha more of the arm drawn and beta more of the other."""
    w, alpha, beta = int(config["w"]), int(config["alpha"]), int(config["beta"])
    if min(w, alpha, beta) < 0 or alpha + beta < 1:
        raise ValueError("an urn needs balls: w, alpha and beta from 0, alpha or beta from 1")

    def behind(i: int, d: int, memory: Memory) -> Fraction:
        few = (i - d) // 2
        return Fraction(w + alpha * few + beta * (i - few), 2 * w + (alpha + beta) * i)

    return _Walk(behind)


def _block_urn(config: Mapping[str, Any]) -> _Walk:
    """Zhao and Weng's urn: pairs go back, so that lambda balls of the arm behind face lambda - d of the other."""
    lam = int(config["lambda"])
    return _Walk(lambda i, d, memory: Fraction(lam, 2 * lam - d))


def _maximal(config: Mapping[str, Any]) -> _Walk:
    run, chances = int(config["n"]), maximal_chances(int(config["n"]), limit(config))
    return _Walk(lambda i, d, memory: chances[i % run][d])


def limit(config: Mapping[str, Any]) -> int:
    """The maximum tolerated imbalance."""
    if (mti := int(config["mti"])) < 1:
        raise ValueError("the maximum tolerated imbalance must be at least 1")
    return mti


@cache
def maximal_chances(n: int, mti: int) -> tuple[dict[int, Fraction], ...]:
    """The chance of the arm behind (on balance: of either) at each place and |D|, when every sequence of n is equally likely.

    Sequences keep |D| within `mti` throughout and end in balance (Berger, Ivanova and Knoll 2003).
    """
    if n < 2 or n % 2:
        raise ValueError("the length of a run must be an even number")
    return tuple(
        {d: Fraction(paths(d - 1, left - 1, mti), ways) if d else _HALF for d in range(mti + 1) if (ways := paths(d, left, mti))}
        for left in range(n, 0, -1)
    )


_WALKS: dict[str, Callable[[Mapping[str, Any]], _Walk]] = {
    "simple": _simple,
    "pbr": _blocks,
    "efron": _efron,
    "bigstick": _bigstick,
    "chen": _chen,
    "urn": _urn,
    "blockurn": _block_urn,
    "maximal": _maximal,
}

#: |D|, what is remembered, and the largest |D| so far.
_State = tuple[int, Memory, int]


def _follow(walk: _Walk, n: int) -> Characteristics:
    """Move the weight of every state through n places."""
    states: dict[_State, int] = {(0, memory, 0): weight for memory, weight in walk.first}
    guesses = known = certain = Fraction(0)
    for i in range(n):
        total = sum(states.values())
        places: dict[tuple[int, Memory], int] = {}
        for (d, memory, _), weight in states.items():
            places[d, memory] = places.get((d, memory), 0) + weight
        chances = {(d, memory): walk.behind(i, d, memory) if d else _HALF for d, memory in places}
        common = lcm(*(chance.denominator for chance in chances.values()))
        shares = {place: chance.numerator * (common // chance.denominator) for place, chance in chances.items()}
        guesses += Fraction(sum(weight * shares[place] for place, weight in places.items()), total * common)
        known += Fraction(sum(weight * max(shares[place], common - shares[place]) for place, weight in places.items()), total * common)
        certain += Fraction(sum(weight for place, weight in places.items() if shares[place] in (0, common)), total)
        states = _step(walk, states, shares, common)
    return _sum_up(n, states, guesses, known, certain)


def _step(walk: _Walk, states: Mapping[_State, int], shares: Mapping[tuple[int, Memory], int], common: int) -> dict[_State, int]:
    """The weights one place later, in lowest terms."""
    after: dict[_State, int] = {}
    for (d, memory, most), weight in states.items():
        share = shares[d, memory]
        moves = ((d - 1, share), (d + 1, common - share)) if d else ((1, common),)
        for reached, part in moves:
            if part:
                for remembered, times in walk.onward(memory):
                    state = (reached, remembered, max(most, reached))
                    after[state] = after.get(state, 0) + weight * part * times
    whole = gcd(*after.values())
    return {state: weight // whole for state, weight in after.items()} if whole > 1 else after


def _sum_up(n: int, states: Mapping[_State, int], guesses: Fraction, known: Fraction, certain: Fraction) -> Characteristics:
    total = sum(states.values())
    ends: dict[int, int] = {}
    for (d, _, _), weight in states.items():
        ends[d] = ends.get(d, 0) + weight
    distribution = {sign * d: Fraction(weight, total * (2 if d else 1)) for d, weight in ends.items() for sign in (-1, 1)}
    return Characteristics(
        n=n,
        correct_guesses=guesses / n,
        state_guesses=known / n,
        deterministic=certain / n,
        most_imbalance=Fraction(sum(most * weight for (_, _, most), weight in states.items()), total),
        final_imbalance=Fraction(sum(d * weight for d, weight in ends.items()), total),
        loss=Fraction(sum(d * d * weight for d, weight in ends.items()), total * n),
        distribution=dict(sorted(distribution.items())),
    )
