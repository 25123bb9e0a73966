"""Keys of the allocation protocol, version 1: what is committed to before the trial, and what is derived from it.

Everything is SHA-256 and HMAC-SHA-256 over length-prefixed parts, so that anybody can write a second program that agrees.
`u32`, `u64`: unsigned, big-endian. `lp`: each part preceded by its length. HKDF is RFC 5869; canonical JSON is RFC 8785,
limited to objects, arrays, texts, integers, true, false and null (a probability is a text such as "4/5").
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def lp(*parts: str | bytes) -> bytes:
    """Each part preceded by its length in bytes; texts are UTF-8."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(u32(len(part)) + part for part in encoded)


def canonical(value: Any) -> bytes:
    """Canonical JSON of a configuration or an event. Raises TypeError for anything but the allowed kinds."""
    _only_plain(value)
    text = _dumped(value, sort_keys=True)
    return (text if text.isascii() else _dumped(_ordered(value), sort_keys=False)).encode()


def _dumped(value: Any, *, sort_keys: bool) -> str:
    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _ordered(value: Any) -> Any:
    """The same with the names of objects in the order of their UTF-16 code units, which RFC 8785 asks for."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    return [_ordered(part) for part in value] if isinstance(value, list) else value


def _only_plain(value: Any) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case list():
            for part in value:
                _only_plain(part)
        case dict():
            for key, part in value.items():
                if not isinstance(key, str):
                    raise TypeError("keys must be texts")
                _only_plain(part)
        case _:
            raise TypeError(f"not allowed in canonical JSON: {value!r}")


def _expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand to 32 bytes (RFC 5869 section 2.3, one block)."""
    return hmac.digest(key, info + b"\x01", "sha256")


@dataclass(frozen=True)
class Keys:
    """All keys of one scheme and epoch, derived from the configuration, the 32-byte master and the contribution.

    `contribution` is what an independent party added after seeing the commitment; empty bytes where nobody did.
    """

    config: Mapping[str, Any]
    master: bytes
    contribution: bytes = b""

    @cached_property
    def config_hash(self) -> bytes:
        """C: SHA-256 of the canonical configuration."""
        return hashlib.sha256(canonical(self.config)).digest()

    @cached_property
    def commit(self) -> bytes:
        """The commitment that is published before the first allocation."""
        return hashlib.sha256(lp("trial-rand/commit/v1", self.master, self.config_hash)).digest()

    @cached_property
    def root(self) -> bytes:
        extracted = hmac.digest(self.contribution or bytes(32), self.master, "sha256")
        return _expand(extracted, b"trial-rand/v1" + self.config_hash)

    @cached_property
    def _nonces(self) -> bytes:
        return _expand(self.root, lp("nonce"))

    @cached_property
    def _strata(self) -> dict[str, bytes]:
        return {}

    def stratum(self, label: str) -> bytes:
        """K(label): the key of one stratum, or of `min` or `simple`."""
        if label not in self._strata:
            self._strata[label] = _expand(self.root, lp("stratum", label))
        return self._strata[label]

    def nonce(self, event: int) -> bytes:
        """The salt of the arm commitment of event `event` (from 1)."""
        return hmac.digest(self._nonces, u64(event), "sha256")

    def arm_commitment(self, event: int, arm: str) -> str:
        """Hex commitment to the arm of an event; equal arms have unequal commitments."""
        return hashlib.sha256(lp(self.nonce(event), arm)).hexdigest()

    def counts_commitment(self, event: int, counts: Mapping[str, Any]) -> str:
        """Hex commitment to the counts with which an epoch starts, salted as an arm is."""
        return hashlib.sha256(lp(self.nonce(event), canonical(dict(counts)))).hexdigest()

    @cached_property
    def genesis(self) -> bytes:
        """h_0: the start of the chain of events."""
        return self.genesis_of(self.commit)

    def genesis_of(self, commit: bytes) -> bytes:
        """h_0 for a commitment that is known while the master is not."""
        return hashlib.sha256(lp("trial-rand/genesis/v1", self.config_hash, commit, self.contribution)).digest()


def chain(previous: bytes, event: Mapping[str, Any]) -> bytes:
    """h_i: the hash of an event, bound to all before it."""
    return hashlib.sha256(lp(previous, canonical(dict(event)))).digest()


def read_contribution(typed: str, *, dice: bool = False) -> bytes:
    """The bytes of a contribution: those of the hexadecimal typed; dice are SHA-256 of their digits. Blanks count for nothing.

    Raises ValueError for anything else.
    """
    text = "".join(typed.split())
    if dice:
        if not text or any(digit not in "123456" for digit in text):
            raise ValueError("type what the dice showed, digits 1 to 6")
        return hashlib.sha256(text.encode("ascii")).digest()
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("type a value in hexadecimal (digits 0-9 and a-f, two for each byte)") from None
