"""Escrow of a master to two custodians: each holds a share that alone says nothing; together they give the master back.

The second share is the master XOR the first, which is random. A share is written for people: groups of hexadecimal with a
check value, so that a slip in copying is found before it matters.
"""

import hashlib

_LENGTH = 32
_CHECK = 4


def split(master: bytes, random: bytes) -> tuple[bytes, bytes]:
    """Two shares of a master; `random` is fresh and as long as the master."""
    if len(random) != len(master):
        raise ValueError("the random share must be as long as the master")
    return random, _xor(master, random)


def join(first: bytes, second: bytes) -> bytes:
    """The master of two shares, in either order."""
    return _xor(first, second)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def written(share: bytes) -> str:
    """A share for people: groups of eight hexadecimal digits, the last of them a check."""
    text = (share + _check(share)).hex()
    return " ".join(text[i : i + 8] for i in range(0, len(text), 8))


def read(text: str) -> bytes:
    """A share as it was written; lines that start with # are remarks. Raises ValueError where it was copied wrongly."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    try:
        found = bytes.fromhex("".join("".join(lines).split()))
    except ValueError:
        raise ValueError("a share is written in hexadecimal") from None
    share, check = found[:-_CHECK], found[-_CHECK:]
    if len(share) != _LENGTH:
        raise ValueError(f"a share has {2 * (_LENGTH + _CHECK)} hexadecimal digits, this one has {2 * len(found)}")
    if check != _check(share):
        raise ValueError("this share was copied wrongly: its last eight digits do not fit the others")
    return share


def _check(share: bytes) -> bytes:
    return hashlib.sha256(b"trial-rand/share/v1" + share).digest()[:_CHECK]
