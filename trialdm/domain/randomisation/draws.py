"""Unbiased draws from a keyed function: the same key and context always give the same number.

There is no state that could be lost, repeated or rolled back: every draw is named by its purpose and its place.
"""

import hmac
from functools import cache

from trialdm.domain.randomisation.commitment import lp, u32

_WORD = 2**64


@cache
def _named(*parts: str) -> bytes:
    return lp(*parts)


def uniform(key: bytes, context: bytes, n: int) -> int:
    """A number from 0 to n-1, each equally likely; values that would favour some are drawn again.

    One word of 64 bits is enough for every n up to 2^64. A larger one (the maximal procedure counts its sequences) takes as
    many words as n needs, numbered from 0 by a further part of the context.
    """
    if n < 1:
        raise ValueError("there must be something to choose from")
    if n > _WORD:
        return _wide(key, context, n)
    limit = _WORD - _WORD % n
    # lp("draw", context, u32(attempt)), put together by hand: this is where the time of an allocation goes.
    named = b"\x00\x00\x00\x04draw" + len(context).to_bytes(4, "big") + context + b"\x00\x00\x00\x04"
    attempt = 0
    while True:
        x = int.from_bytes(hmac.digest(key, named + attempt.to_bytes(4, "big"), "sha256")[:8], "big")
        if x < limit:
            return x % n
        attempt += 1


def _wide(key: bytes, context: bytes, n: int) -> int:
    words = -(-n.bit_length() // 64)
    space = _WORD**words
    attempt = 0
    while True:
        parts = [hmac.digest(key, lp("draw", context, u32(attempt), u32(word)), "sha256")[:8] for word in range(words)]
        x = int.from_bytes(b"".join(parts), "big")
        if x < space - space % n:
            return x % n
        attempt += 1


def at(name: str, *places: int) -> bytes:
    """The context of a draw that is named by 64-bit places, such as ("coin", seq)."""
    return _named(name) + b"".join(b"\x00\x00\x00\x08" + place.to_bytes(8, "big") for place in places)


def in_block(name: str, block: int, *places: int) -> bytes:
    """The context of a draw inside a list of blocks: 32-bit block number and places."""
    return _named(name) + b"".join(numbered(place) for place in (block, *places))


def numbered(place: int) -> bytes:
    """A 32-bit number as a part of a context."""
    return b"\x00\x00\x00\x04" + place.to_bytes(4, "big")


def shuffled(key: bytes, contexts: list[bytes], items: list[int]) -> list[int]:
    """The items in random order (Fisher-Yates from the end); one context per swap, for places len-1 down to 1."""
    order = list(items)
    for place, context in zip(range(len(order) - 1, 0, -1), contexts, strict=True):
        other = uniform(key, context, place + 1)
        order[place], order[other] = order[other], order[place]
    return order
