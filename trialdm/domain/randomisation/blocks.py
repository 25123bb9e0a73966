"""Permuted blocks: lists in which every block holds each arm in its share, in random order.

Nothing of a list is stored: each block is derived from the stratum's key and its own number. A `Blocks` remembers where the
blocks of a stratum end, so that reaching the next place costs the same at the first participant as at the hundred thousandth.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from trialdm.domain.randomisation.commitment import Keys
from trialdm.domain.randomisation.draws import in_block, numbered, shuffled, uniform


def size_of(keys: Keys, stratum: str, number: int) -> int:
    """The size of block `number` (from 0) of a stratum: one of the configured sizes, by their weights (1 each unless given)."""
    config = keys.config
    sizes: Sequence[int] = config["sizes"]
    weights: Sequence[int] = config.get("size_weights") or [1] * len(sizes)
    drawn = uniform(keys.stratum(stratum), in_block("size", number), sum(weights))
    return next(size for size, upto in zip(sizes, accumulate(weights), strict=True) if drawn < upto)


def block(keys: Keys, stratum: str, number: int, size: int | None = None) -> list[int]:
    """Block `number` (from 0) of a stratum, as indices of fake arms.

    The block starts with all copies of each fake arm together, in order (1:1, size 4: A A B B), and is then shuffled. Fake
    arms of one arm are neighbours, so all copies of an arm stand together.
    """
    shares = sum(ratio for _, ratio in keys.config["arms"])
    size = size or size_of(keys, stratum, number)
    start = [arm for arm in range(shares) for _ in range(size // shares)]
    here = in_block("perm", number)
    return shuffled(keys.stratum(stratum), [here + numbered(i) for i in range(size - 1, 0, -1)], start)


@dataclass
class Blocks:
    """The blocks of one stratum, as far as they have been needed: `ends[b]` places lie in blocks 0 to b.

    `_last` is the block that was needed last, with its first place.
    """

    keys: Keys
    stratum: str
    ends: list[int] = field(default_factory=list)
    _last: tuple[int, list[int]] = (0, [])

    def arm(self, slot: int) -> int:
        """The fake arm at place `slot` (from 0)."""
        first, arms = self._last
        if first <= slot < first + len(arms):
            return arms[slot - first]
        while not self.ends or self.ends[-1] <= slot:
            before = self.ends[-1] if self.ends else 0
            self.ends.append(before + size_of(self.keys, self.stratum, len(self.ends)))
        number = bisect_right(self.ends, slot)
        start = self.ends[number - 1] if number else 0
        self._last = start, block(self.keys, self.stratum, number, self.ends[number] - start)
        return self._last[1][slot - start]


def balanced(config: Mapping[str, Any], arms: Sequence[str]) -> bool:
    """Whether a stretch of a list holds each arm in its share."""
    total = sum(ratio for _, ratio in config["arms"])
    return all(arms.count(code) * total == ratio * len(arms) for code, ratio in config["arms"])
