"""Unbiased draws from a keyed function: the same key and context always give the same number.

There is no state that could be lost, repeated or rolled back: every draw is named by its purpose and its place.
"""

import hmac

from trialdm.domain.randomisation.commitment import lp, u32, u64

_RANGE = 2**64


def uniform(key: bytes, context: bytes, n: int) -> int:
    """A number from 0 to n-1, each equally likely; values that would favour some are drawn again."""
    if n < 1:
        raise ValueError("there must be something to choose from")
    limit = _RANGE - _RANGE % n
    attempt = 0
    while True:
        x = int.from_bytes(hmac.digest(key, lp("draw", context, u32(attempt)), "sha256")[:8], "big")
        if x < limit:
            return x % n
        attempt += 1


def at(name: str, *places: int) -> bytes:
    """The context of a draw that is named by 64-bit places, such as ("coin", seq)."""
    return lp(name, *(u64(place) for place in places))


def in_block(name: str, block: int, *places: int) -> bytes:
    """The context of a draw inside a list of blocks: 32-bit block number and places."""
    return lp(name, u32(block), *(u32(place) for place in places))


def shuffled(key: bytes, contexts: list[bytes], items: list[int]) -> list[int]:
    """The items in random order (Fisher-Yates from the end); one context per swap, for places len-1 down to 1."""
    order = list(items)
    for place, context in zip(range(len(order) - 1, 0, -1), contexts, strict=True):
        other = uniform(key, context, place + 1)
        order[place], order[other] = order[other], order[place]
    return order
