"""Published vectors of the allocation protocol, recomputed by whoever asks: a program that answers otherwise must not allocate.

The master is 00 01 .. 1f and the contribution 32 bytes of ab, so that anybody can repeat them with a program of their own.
"""

from collections.abc import Iterator
from typing import Any

from trialdm.domain.randomisation.commitment import Keys
from trialdm.domain.randomisation.schemes import Allocator

MASTER, CONTRIBUTION = bytes(range(32)), b"\xab" * 32

BLOCKS: dict[str, Any] = {"arms": [["A", 1], ["B", 1]], "method": "pbr", "sizes": [2, 4, 6], "v": 1}

MINIMISED: dict[str, Any] = {
    "arms": [["TMR", 1], ["STD", 1]],
    "burn_in": 2,
    "epoch": 0,
    "factors": [
        {"levels": ["lower", "upper"], "name": "limb", "weight": 2},
        {"levels": ["vascular", "trauma", "cancer"], "name": "cause", "weight": 1},
    ],
    "imbalance": "range",
    "method": "minimisation",
    "p": "4/5",
    "scheme": "main",
    "trial": "example",
    "v": 1,
}

_PARTICIPANTS = (
    "lower/vascular upper/trauma lower/cancer upper/trauma lower/cancer upper/vascular lower/cancer upper/vascular lower/trauma "
    "upper/vascular lower/trauma upper/cancer lower/trauma upper/cancer lower/vascular upper/cancer lower/vascular upper/trauma "
    "lower/vascular upper/trauma lower/cancer upper/trauma lower/cancer upper/vascular"
)

_EXPECTED = (
    ("configuration of vector 1", "1bc6004dcca52679fb68e9e192f296eb4777ee7d979201bb2022596a93f4ac03"),
    ("commitment of vector 1", "b33ec6739c708836d9a742529590bdada4ee6fc02d8fd46af46638afc2685a96"),
    ("root key of vector 1", "8a53da03e42e5dcb7a7c1942ebaecedfd003d3be48431721a38324360ab46337"),
    ("24 allocations by permuted blocks", "BABABAABABABABBAABBAABBA"),
    ("commitment of vector 2", "02def707becd23c356e7ae67235bba329b495e6ac6ed909b7238a6fa352ee5fe"),
    ("start of the chain of vector 2", "71123845a2fb5b7b60b7e25eeee181e2218d011f367e82813f4372c992f642f8"),
    ("24 allocations by minimisation", "STD STD TMR TMR TMR TMR STD STD STD TMR TMR STD STD STD TMR TMR STD TMR TMR STD STD TMR TMR STD"),
)


def allocated(keys: Keys, participants: list[list[str]]) -> list[str]:
    """The arms of participants with these levels, in this order."""
    allocator, arms = Allocator(keys), []
    for levels in participants:
        placed = allocator.next(levels)
        allocator.take(placed)
        arms.append(allocator.arm(placed))
    return arms


def results() -> Iterator[tuple[str, str, str]]:
    """(What, the published value, the value found here) for each vector."""
    first, second = Keys(BLOCKS, MASTER, CONTRIBUTION), Keys(MINIMISED, MASTER, CONTRIBUTION)
    found = (
        first.config_hash.hex(),
        first.commit.hex(),
        first.root.hex(),
        "".join(allocated(first, [["upper|trauma"]] * 24)),
        second.commit.hex(),
        second.genesis.hex(),
        " ".join(allocated(second, [levels.split("/") for levels in _PARTICIPANTS.split()])),
    )
    return ((what, expected, here) for (what, expected), here in zip(_EXPECTED, found, strict=True))
