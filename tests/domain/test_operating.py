"""Exact operating characteristics: published values, closed forms, and agreement with adding up every sequence."""

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate, product
from math import comb
from typing import Any

import pytest

from trialdm.domain.randomisation.operating import Characteristics, characteristics

ARMS = [["A", 1], ["B", 1]]

SIMPLE: dict[str, Any] = {"method": "simple"}


def blocks(*sizes: int, **more: Any) -> dict[str, Any]:
    return {"method": "pbr", "sizes": list(sizes), **more}


def efron(p: str) -> dict[str, Any]:
    return {"method": "efron", "p": p}


def big_stick(mti: int) -> dict[str, Any]:
    return {"method": "bigstick", "mti": mti}


def chen(mti: int, p: str) -> dict[str, Any]:
    return {"method": "chen", "mti": mti, "p": p}


def urn(w: int, alpha: int, beta: int) -> dict[str, Any]:
    return {"method": "urn", "w": w, "alpha": alpha, "beta": beta}


def block_urn(lam: int) -> dict[str, Any]:
    return {"method": "blockurn", "lambda": lam}


def maximal(mti: int, run: int) -> dict[str, Any]:
    return {"method": "maximal", "mti": mti, "n": run}


def exact(config: dict[str, Any], participants: int) -> Characteristics:
    return characteristics({"arms": ARMS, **config}, participants)


def six(value: Fraction) -> str:
    return f"{float(value):.6f}"


@pytest.mark.parametrize(
    ("config", "guesses", "most", "final", "loss"),
    [
        (SIMPLE, ".500000", "3.117188", "2.187500", "1.000000"),
        (blocks(8), ".666071", "2.028571", ".000000", ".000000"),
        (blocks(4), ".708333", "1.555556", ".000000", ".000000"),
        (efron("2/3"), ".607939", "2.259717", "1.091907", ".369913"),
        (big_stick(2), ".593750", "1.937500", "1.000000", ".250000"),
        (big_stick(3), ".555664", "2.515625", "1.328125", ".332031"),
        (chen(3, "2/3"), ".623771", "2.100137", ".855053", ".213763"),
        (urn(0, 0, 1), ".629911", "2.038095", "1.138095", ".333333"),
        (urn(1, 0, 1), ".586547", "2.339209", "1.311287", ".416667"),
        (maximal(2, 8), ".687500", "1.703704", ".000000", ".000000"),
        (maximal(3, 8), ".669118", "1.970588", ".000000", ".000000"),
    ],
)
def test_values_of_eight_participants(config: dict[str, Any], guesses: str, most: str, final: str, loss: str) -> None:
    found = exact(config, 8)
    values = [found.correct_guesses, found.most_imbalance, found.final_imbalance, found.loss]
    assert [six(value) for value in values] == [value.rjust(8, "0") for value in (guesses, most, final, loss)]


@pytest.mark.parametrize("half", range(1, 11))
def test_closed_forms_of_one_block(half: int) -> None:
    """Blackwell and Hodges: n + 2^(2n-1) / C(2n, n) - 1/2 right guesses in a block of 2n, and one in n + 1 allocations certain."""
    found = exact(blocks(2 * half), 2 * half)
    assert found.correct_guesses * 2 * half == half + Fraction(2 ** (2 * half - 1), comb(2 * half, half)) - Fraction(1, 2)
    assert found.deterministic == Fraction(1, half + 1)
    assert found.balanced == 1


#: The chance of the first arm after `a` and `b` allocations of each, read from the definition of each method.
Rule = Callable[[int, int], Fraction]


def _towards(p: Fraction, mti: int = 99) -> Rule:
    def chance(a: int, b: int) -> Fraction:
        behind = Fraction(1) if abs(a - b) >= mti else p
        return Fraction(1, 2) if a == b else behind if a < b else 1 - behind

    return chance


RULES: list[tuple[dict[str, Any], Rule]] = [
    (SIMPLE, _towards(Fraction(1, 2))),
    (efron("4/5"), _towards(Fraction(4, 5))),
    (big_stick(1), _towards(Fraction(1, 2), 1)),
    (big_stick(3), _towards(Fraction(1, 2), 3)),
    (chen(2, "3/4"), _towards(Fraction(3, 4), 2)),
    (urn(2, 1, 3), lambda a, b: Fraction(2 + a + 3 * b, 4 + 4 * (a + b))),
    (urn(0, 1, 2), lambda a, b: Fraction(a + 2 * b, 3 * (a + b)) if a + b else Fraction(1, 2)),
    (block_urn(2), lambda a, b: Fraction(2 + min(a, b) - a, 4 + 2 * min(a, b) - a - b)),
    (block_urn(3), lambda a, b: Fraction(3 + min(a, b) - a, 6 + 2 * min(a, b) - a - b)),
]


@pytest.mark.parametrize(("config", "rule"), RULES)
@pytest.mark.parametrize("participants", [1, 2, 7, 10])
def test_every_sequence_added_up(config: dict[str, Any], rule: Rule, participants: int) -> None:
    guesses = known = certain = most = final = square = Fraction(0)
    for sequence in product((1, 0), repeat=participants):
        weight, told = Fraction(1), [Fraction(0)] * 3
        a = b = 0
        for first in sequence:
            chance = rule(a, b)
            taken = chance if first else 1 - chance
            told[0] += Fraction(1, 2) if a == b else Fraction((a < b) == bool(first))
            told[1] += max(chance, 1 - chance)
            told[2] += chance in (0, 1)
            weight, a, b = weight * taken, a + first, b + 1 - first
            if not weight:
                break
        way = list(accumulate(1 if first else -1 for first in sequence))
        guesses, known, certain = guesses + weight * told[0], known + weight * told[1], certain + weight * told[2]
        most, final, square = most + weight * max(map(abs, way)), final + weight * abs(way[-1]), square + weight * way[-1] ** 2
    found = exact(config, participants)
    assert found.correct_guesses == guesses / participants
    assert found.state_guesses == known / participants
    assert found.deterministic == certain / participants
    assert (found.most_imbalance, found.final_imbalance, found.loss) == (most, final, square / participants)


def test_blocks_of_random_sizes() -> None:
    """Sizes 2 (weight 3) and 4 (weight 1), three participants: by hand."""
    found = exact(blocks(2, 4, size_weights=[3, 1]), 3)
    # a block of 2: coin, certain, coin; of 4: coin, 2/3 the other arm, then balanced (2/3: coin) or two ahead (1/3: certain)
    two, four = Fraction(3, 4), Fraction(1, 4)
    assert found.correct_guesses * 3 == two * (Fraction(1, 2) + 1 + Fraction(1, 2)) + four * (
        Fraction(1, 2) + Fraction(2, 3) + Fraction(2, 3) / 2 + Fraction(1, 3)
    )
    assert found.deterministic * 3 == two + four * Fraction(1, 3)
    assert found.final_imbalance == 1
    assert found.most_imbalance == two + four * (Fraction(2, 3) + Fraction(1, 3) * 2)


@pytest.mark.parametrize("config", [config for config, _ in RULES] + [blocks(2, 4, 6), blocks(30), maximal(3, 10), maximal(2, 40)])
def test_what_holds_for_every_method(config: dict[str, Any]) -> None:
    found = exact(config, 30)
    assert sum(found.distribution.values()) == 1
    assert all(found.distribution[-d] == chance and (d - 30) % 2 == 0 for d, chance in found.distribution.items())
    assert sum(d * d * chance for d, chance in found.distribution.items()) == found.loss * 30
    assert Fraction(1, 2) <= found.correct_guesses <= found.state_guesses <= 1
    assert found.final_imbalance <= found.most_imbalance


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"method": "minimisation", "p": "4/5"}, "levels of the participants"),
        ({"method": "list"}, "comes from elsewhere"),
        ({"method": "coin"}, "not known"),
        ({"method": "simple", "arms": [["A", 1], ["B", 1], ["C", 1]]}, "more than two arms"),
        ({"method": "simple", "arms": [["A", 2], ["B", 1]]}, "other than 1:1"),
        (blocks(3), "even number"),
        (maximal(2, 7), "even number"),
        (big_stick(0), "at least 1"),
        (urn(1, 0, 0), "needs balls"),
    ],
)
def test_where_there_is_no_exact_value(config: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        exact(config, 8)


def test_there_must_be_participants() -> None:
    with pytest.raises(ValueError, match="at least one participant"):
        exact(SIMPLE, 0)
