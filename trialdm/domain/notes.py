"""Checkpoints of a tree as signed notes: the text formats of C2SP (`tlog-checkpoint` and `signed-note`).

The text names the tree, its size and its root; further lines give the moment, and the checkpoint before. A line below it holds the
signature, so that whoever has the public key needs nothing else. Pure functions; signatures are made and checked elsewhere.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import datetime

#: The name under which an instance signs.
SIGNER = "trialdm"

_DASH = "\N{EM DASH} "


@dataclass(frozen=True)
class Checkpoint:
    """A tree at a size. `before` is the size and root of the checkpoint before this one; size 0 before the first."""

    origin: str
    size: int
    root: bytes
    at: datetime
    before: tuple[int, bytes]

    def text(self) -> str:
        """What is signed."""
        moment = self.at.isoformat(timespec="microseconds")
        size, root = self.before
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\ntime {moment}\nafter {size} {_b64(root)}\n"


def origin(public: str, trial: str, stream: str) -> str:
    """The name of a tree: the instance (by its public key in hex), the trial and the stream."""
    return f"trialdm.{public[:16]}/{trial}/{stream}"


def key_id(public: str) -> bytes:
    """Four bytes that name an Ed25519 key in a signature line."""
    return hashlib.sha256(SIGNER.encode() + b"\n\x01" + bytes.fromhex(public)).digest()[:4]


def verifier_key(public: str) -> str:
    """The public key as other programs for signed notes take it."""
    return f"{SIGNER}+{key_id(public).hex()}+{_b64(bytes([1]) + bytes.fromhex(public))}"


def note(checkpoint: Checkpoint, public: str, signature: str) -> str:
    """The signed note; the signature is given in hex."""
    return f"{checkpoint.text()}\n{_DASH}{SIGNER} {_b64(key_id(public) + bytes.fromhex(signature))}\n"


def read(text: str) -> tuple[Checkpoint, bytes, str]:
    """A note's checkpoint, the id of its key, and its signature in hex. Raises ValueError for what is no note of this kind."""
    body, empty, signed = text.partition("\n\n")
    lines = body.split("\n")
    if not empty or len(lines) != 5 or not signed.startswith(f"{_DASH}{SIGNER} "):
        raise ValueError("this is no signed checkpoint")
    name, size, root, moment, before = lines
    when, after = moment.removeprefix("time "), before.removeprefix("after ").split(" ")
    try:
        found = Checkpoint(name, int(size), _bytes(root), datetime.fromisoformat(when), (int(after[0]), _bytes(after[1])))
        made = _bytes(signed.strip().rpartition(" ")[2])
    except (binascii.Error, IndexError) as problem:
        raise ValueError("this is no signed checkpoint") from problem
    if found.text() != body + "\n":
        raise ValueError("this is no signed checkpoint")
    return found, made[:4], made[4:].hex()


def together(notes: list[str]) -> str:
    """Several notes as one text."""
    return "\n".join(notes)


def apart(text: str) -> list[str]:
    """The notes of a text, in which other words may stand between them."""
    lines, found = text.replace("\r\n", "\n").split("\n"), []
    for at, line in enumerate(lines):
        if line.startswith(f"{_DASH}{SIGNER} ") and at >= 6:
            found.append("\n".join(lines[at - 6 : at + 1]) + "\n")
    return found


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
