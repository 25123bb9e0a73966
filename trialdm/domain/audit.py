"""What an audit entry is: its fields, the commitment to each value, and the code that authenticates a row.

Every entry names one changed field of one thing (or one act, with an empty field). Values are not in the row: the row holds
salted commitments to the old and the new value, so that a value entered by mistake can be removed without breaking the
trail, and so that equal arms do not look equal. Pure functions over bytes; keys and salts are arguments.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass, fields
from typing import Any

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


_ORDER = tuple(f.name for f in fields(Entry))


def canonical(value: Any) -> bytes:
    """A value as the bytes that are committed to: JSON with sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def commit(salt: bytes, value: Any) -> str:
    """SHA-256 over 0x02, the 16-byte salt and the canonical value, as hex."""
    return hashlib.sha256(b"\x02" + salt + canonical(value)).hexdigest()


def authenticate(key: bytes, entry: Entry) -> str:
    """HMAC-SHA-256 over the row: each field's length as four bytes, then the field, in the order of `Entry`."""
    parts = []
    for name in _ORDER:
        text = getattr(entry, name).encode()
        parts.append(len(text).to_bytes(4, "big"))
        parts.append(text)
    return hmac.digest(key, b"".join(parts), "sha256").hex()
