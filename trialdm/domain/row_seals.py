"""What a row held when it was written, as keyed digests of its columns: by it a row changed, added or removed behind the program is found.

A digest covers table, primary key, column and value, so that neither values nor rows can change places, and it is keyed, so
that nobody without the key can make one or try values against one. Pure functions; keys and values are arguments.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from trialdm.domain.audit import packed

#: Bytes of each digest. Nobody can try one out without the key, so that 64 bits are plenty.
_BYTES = 8

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Seal:
    """One row as it was written: table, primary key, and the digests of its columns in their order; none where it was removed."""

    table: str
    key: Key
    digests: bytes

    @property
    def removed(self) -> bool:
        return not self.digests


def plain(value: Any) -> bytes:
    """A value of a column as bytes, the same before it is written and after it is read on any database."""
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, str):
        return b"s" + value.encode()
    if isinstance(value, bytes | memoryview):
        return b"b" + bytes(value)
    if isinstance(value, datetime):
        return b"t" + value.astimezone(UTC).isoformat(timespec="microseconds").encode()
    if isinstance(value, date):
        return b"d" + value.isoformat().encode()
    raise TypeError(f"no column holds a {type(value).__name__}")


def digests(key: bytes, table: str, primary: Sequence[Any], values: Mapping[str, Any]) -> bytes:
    """The digests of a row's columns, one after the other in the order given."""
    row = hashlib.blake2b(packed((table, json.dumps([str(part) for part in primary]))), key=key, digest_size=_BYTES)
    found = []
    for column, value in values.items():
        one = row.copy()
        one.update(packed((column,)) + plain(value))
        found.append(one.digest())
    return b"".join(found)


def differing(written: bytes, found: bytes, columns: Sequence[str]) -> list[str]:
    """The columns that do not hold what was written. A column added since was not sealed: its digest has no partner."""
    parts = [(written[at : at + _BYTES], found[at : at + _BYTES]) for at in range(0, len(written), _BYTES)]
    return [column for column, (one, other) in zip(columns, parts, strict=False) if one != other]


def sealed_columns(written: bytes) -> int:
    """How many columns a row had when it was sealed."""
    return len(written) // _BYTES


def to_text(seals: Iterable[Seal]) -> str:
    """Seals as they are kept beside an entry: JSON without spaces."""
    rows = [[seal.table, list(seal.key), base64.b64encode(seal.digests).decode()] for seal in seals]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def from_text(text: str) -> list[Seal]:
    """The seals again. Raises ValueError for what is none."""
    return [Seal(table, tuple(key), base64.b64decode(found, validate=True)) for table, key, found in json.loads(text)]
