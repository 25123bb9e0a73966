"""What an audit entry is: its fields, the commitment to each value, and the code that authenticates a row.

Every entry names one changed field of one thing (or one act, with an empty field). Values are not in the row: the row holds
salted commitments to the old and the new value, so that a value entered by mistake can be removed without breaking the
trail, and so that equal arms do not look equal. Pure functions over bytes; keys and salts are arguments.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from trialdm.domain import merkle
from trialdm.domain.errors import Detail, Invalid

#: `open` everybody with the right reads; `unblinded` holds what a blinded role may not see; `identity` who is who.
STREAMS = ("open", "unblinded", "identity")

#: Reasons for a change after a form was finished. "other" needs words.
CHANGE_REASONS = {
    "typing": "Typing error",
    "source": "Corrected after checking the source",
    "late": "Information that arrived later",
    "query": "Answer to a query",
    "other": "Other reason",
}

_FEWEST_LETTERS = 3


def require_words(reason_code: str, text: str) -> None:
    """Raises Invalid for a reason that says nothing, such as a full stop: no words beside no code, or beside "other"."""
    if reason_code in ("", "other") and sum(letter.isalpha() for letter in text) < _FEWEST_LETTERS:
        detail = Detail("REASON.WORDS", "Say why in words.", "reason")
        raise Invalid("This is no reason.", code="REASON.WORDS", needs="A reason in words.", details=[detail])


@dataclass(frozen=True)
class Entry:
    """One row of the trail. Commitments are hex; empty where there was no value."""

    event_id: str
    trial_id: str
    stream: str
    at_utc: str
    at_source: str
    actor_id: str
    actor_role: str
    org: str
    action: str
    entity: str
    entity_id: str
    field: str
    old_commit: str
    new_commit: str
    reason_code: str
    reason_text_commit: str
    request_id: str
    app_version: str


#: The fields in the order in which they are authenticated.
ORDER = tuple(f.name for f in fields(Entry))


def canonical(value: Any) -> bytes:
    """A value as the bytes that are committed to: JSON with sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def commit(salt: bytes, value: Any) -> str:
    """SHA-256 over 0x02, the 16-byte salt and the canonical value, as hex."""
    return commit_text(salt, canonical(value).decode())


def commit_text(salt: bytes, text: str) -> str:
    """The commitment to a value that is given in its canonical form."""
    return hashlib.sha256(b"\x02" + salt + text.encode()).hexdigest()


def packed(parts: Iterable[str]) -> bytes:
    """Texts as bytes that no other texts give: the length of each as four bytes, then the text in UTF-8."""
    found = []
    for part in parts:
        text = part.encode()
        found.append(len(text).to_bytes(4, "big"))
        found.append(text)
    return b"".join(found)


def authenticate(key: bytes, entry: Entry) -> str:
    """HMAC-SHA-256 over the row: its fields, `packed` in the order of `Entry`."""
    return authenticate_row(key, [getattr(entry, name) for name in ORDER])


def authenticate_row(key: bytes, row: Iterable[str]) -> str:
    """The code of an entry whose fields are given in the order of `Entry`."""
    return hmac.digest(key, packed(row), "sha256").hex()


def authenticate_rows(key: bytes, event_id: str, rows: str) -> str:
    """HMAC-SHA-256 over the seals of the rows that were written together with an entry (`domain.row_seals`)."""
    return hmac.digest(key, packed(("rows", event_id, rows)), "sha256").hex()


def leaf(seq: int, row: Iterable[str], mac: str, rows_mac: str) -> bytes:
    """The hash of an entry in the tree of its stream: its number, its fields in the order of `Entry`, its code, and that of the rows
    written with it.

    Values are not in it, only the commitments to them: a value can be removed, and the leaf stays what it was.
    """
    return merkle.leaf(packed((str(seq), *row, mac, rows_mac)))
