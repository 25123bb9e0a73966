"""The instance's own secrets, and the only place that seals and opens.

Each key is 32 random bytes in a file that only the service's user may read. Sealing is AES-256-GCM with a random nonce;
the associated data bind a sealed value to its row, so that moving it elsewhere makes it unreadable. Signing is Ed25519.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trialdm.domain.errors import Broken

NAMES = ("audit", "allocation", "signing", "accounts", "sealing")

#: Keys that instances of earlier versions do not have yet.
_LATER = ("signing", "accounts", "sealing")

_NONCE = 12


@dataclass(frozen=True)
class Keys:
    """`audit` authenticates rows of the trail; `allocation` seals masters, lists and arms; `signing` signs heads of ledgers.

    `accounts` seals secrets of second factors, and makes the links by which people set their passwords; `sealing` signs
    checkpoints of the trail.
    """

    audit: bytes
    allocation: bytes
    signing: bytes
    accounts: bytes
    sealing: bytes


def create(folder: Path) -> Keys:
    """Make the keys of a new instance. Raises FileExistsError rather than replace one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in NAMES:
        _make(folder, name)
    return load(folder)


def complete(folder: Path) -> Keys:
    """The keys of an instance of an earlier version, with those made that it did not have yet."""
    for name in _LATER:
        if not (folder / f"{name}.key").exists():
            _make(folder, name)
    return load(folder)


def replace_lost(folder: Path) -> bool:
    """A new allocation key where the old one is gone; what that one sealed stays closed until the master is recovered."""
    if (folder / "allocation.key").exists():
        return False
    _make(folder, "allocation")
    return True


def _make(folder: Path, name: str) -> None:
    handle = os.open(folder / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(32))


def load(folder: Path) -> Keys:
    """The keys of an instance. Raises Broken where one is absent or of a wrong length."""
    found = {}
    for name in NAMES:
        path = folder / f"{name}.key"
        content = path.read_bytes() if path.is_file() else b""
        if len(content) != 32:
            raise Broken(
                f"The key '{name}' of this instance is absent or damaged.",
                code="KEYS.ABSENT",
                needs="Restore the keys folder. Where only the allocation key is lost for good, 'allocation recover' makes a new one.",
            )
        found[name] = content
    return Keys(**found)


def fresh(count: int) -> bytes:
    """Random bytes that follow no seed, in no world."""
    return secrets.token_bytes(count)


def label(key: bytes, named: str) -> str:
    """A name for a thing that says nothing of it and that nobody without the key can guess: 128 bits in hex, always the same."""
    return hmac.new(key, b"label|" + named.encode(), hashlib.sha256).hexdigest()[:32]


def seal(key: bytes, plain: bytes, bound_to: str) -> bytes:
    """Nonce and ciphertext of a value that belongs to the place named by `bound_to`."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to.encode())


def unseal(key: bytes, sealed: bytes, bound_to: str) -> bytes:
    """The value again. Raises Broken where it was changed or moved."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to.encode())
    except InvalidTag:
        raise Broken("A sealed value was changed or moved.", code="KEYS.SEAL") from None


def sign(key: bytes, line: str) -> str:
    """The Ed25519 signature of a line of ASCII, in hex."""
    return Ed25519PrivateKey.from_private_bytes(key).sign(line.encode("ascii")).hex()


def public_key(key: bytes) -> str:
    """The public half of a signing key, in hex."""
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex()


def signed(public: str, line: str, signature: str) -> bool:
    """Whether this signature of the line was made with the private half of the key. Nonsense in place of hex is no signature."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), line.encode("ascii"))
    except (InvalidSignature, ValueError):
        return False
    return True
