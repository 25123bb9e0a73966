"""A second verifier of the audit trail, written from its description alone: it reads an export with proofs (JSON lines).

It shares no code with the package: standard library, and `cryptography` for Ed25519. What it checks: the commitment to every value that
is given, the place of every entry in the tree of its stream, the root of every checkpoint by the recursive definition of RFC 6962, and
the signature under each (C2SP signed note). `python -m tests.independent.trail FILE [--key HEX]`.
"""

import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

#: The fields of an entry in the order in which its leaf holds them, between its number and its codes.
FIELDS = (
    "event_id trial_id stream at_utc at_source actor_id actor_role org action entity entity_id field old_commit new_commit reason_code "
    "reason_text_commit request_id app_version"
).split()

COMMITMENTS = {"old": "old_commit", "new": "new_commit", "reason": "reason_text_commit"}


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def leaf(entry: dict[str, Any]) -> bytes:
    """SHA-256 over 0x00 and each part with its length as four bytes."""
    parts = [str(entry["seq"]), *(entry[name] for name in FIELDS), entry["mac"], entry["rows_mac"]]
    return sha(b"\x00" + b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts))


def root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle Tree Hash of RFC 6962, level by level: an odd node at the end of a level is carried up."""
    level = list(leaves)
    if not level:
        return sha(b"")
    while len(level) > 1:
        above = [sha(b"\x01" + level[at] + level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = above + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def faults(lines: Iterable[str], key: str = "") -> Iterator[str]:
    """Everything that does not hold; nothing where all does. `key` is the public key in hex, that of the file where left out."""
    documents = [json.loads(line) for line in lines]
    head = documents[0]
    if head.get("format") != "trialdm trail 1" or (key and head["public_key"] != key):
        yield "the file is of another kind, or names another key"
        return
    trees: dict[str, dict[int, bytes]] = {}
    last = 0
    for document in documents[1:]:
        if "entry" not in document:
            continue
        entry = document["entry"]
        if entry["seq"] <= last or entry["trial_id"] != head["trial"]:
            yield f"entry {entry['seq']} is out of order, or of another trial"
        last = entry["seq"]
        yield from _values(entry, document["values"])
        if document["leaf_index"] is not None:
            held = trees.setdefault(entry["stream"], {})
            if document["leaf_index"] in held:
                yield f"entry {entry['seq']} has the place of another one"
            held[document["leaf_index"]] = leaf(entry)
    notes = [document["checkpoint"] for document in documents if "checkpoint" in document]
    yield from _checkpoints(head, trees, notes)


def _values(entry: dict[str, Any], values: dict[str, dict[str, str]]) -> Iterator[str]:
    for which, value in values.items():
        committed = sha(b"\x02" + bytes.fromhex(value["salt"]) + value["value"].encode()).hex()
        if committed != entry[COMMITMENTS[which]]:
            yield f"the {which} value of entry {entry['seq']} is not the one committed to"


def _checkpoints(head: dict[str, Any], trees: dict[str, dict[int, bytes]], notes: Sequence[str]) -> Iterator[str]:
    public = bytes.fromhex(head["public_key"])
    before: dict[str, tuple[str, str]] = {}
    covered: dict[str, int] = {}
    for note in notes:
        body, _, signature = note.partition("\n\n")
        origin, size, shown, _, after = body.split("\n")
        stream = origin.rpartition("/")[2]
        if origin != f"trialdm.{head['public_key'][:16]}/{head['trial']}/{stream}":
            yield f"the checkpoint names another tree: {origin}"
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(
                base64.b64decode(signature.strip().rpartition(" ")[2])[4:], (body + "\n").encode()
            )
        except (InvalidSignature, ValueError):
            yield f"the signature at {size} of {stream} does not hold"
        if after != "after {} {}".format(*before.get(stream, ("0", ""))):
            yield f"the checkpoint before {size} of {stream} is absent"
        before[stream], covered[stream] = (size, shown), int(size)
        leaves = [trees.get(stream, {}).get(index, b"") for index in range(int(size))]
        if base64.b64encode(root(leaves)).decode() != shown:
            yield f"the entries do not lead to the root at {size} of {stream}"
    for stream, leaves_held in trees.items():
        if len(leaves_held) > covered.get(stream, 0):
            yield f"no checkpoint covers the last entries of {stream}"


def main(arguments: Sequence[str]) -> int:
    """0 where everything holds, 1 where something does not (each on a line), 2 without a file."""
    if not arguments:
        return 2
    key = arguments[arguments.index("--key") + 1] if "--key" in arguments else ""
    with open(arguments[0], encoding="utf-8") as file:
        found = list(faults(file, key))
    sys.stdout.write("".join(f"{fault}\n" for fault in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
