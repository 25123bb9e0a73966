"""The vault's keys: a folder of its own, one file for each version, and the only place of the vault that seals and opens.

A key-encryption key (`kek-N`) wraps the key of each person; an index key (`index-N`) makes blind indexes, another one for each
trial. A key is read when it is needed and never kept: once its file is gone, what it wrapped cannot be read.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trialdm.domain.errors import Broken

_NONCE = 12


def make(folder: Path, name: str, version: int) -> None:
    """A new key. Raises FileExistsError rather than replace one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(_path(folder, name, version), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())


def versions(folder: Path, name: str) -> list[int]:
    """The versions of a key that there are."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob(f"{name}-*.key"))


def destroy(folder: Path, name: str, version: int) -> None:
    """Take a key away for good: its file is written over first."""
    path = _path(folder, name, version)
    with path.open("r+b") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def load(folder: Path, name: str, version: int) -> bytes:
    """A key. Raises Broken where it is absent or damaged."""
    try:
        content = _path(folder, name, version).read_bytes()
    except FileNotFoundError:
        content = b""
    if len(content) != 32:
        raise Broken(
            f"Version {version} of the vault's key '{name}' is absent or damaged.", code="VAULT.KEY", needs="Restore the vault's keys."
        )
    return content


def _path(folder: Path, name: str, version: int) -> Path:
    return folder / f"{name}-{version}.key"


def fresh_key() -> bytes:
    """The 256-bit key of one person."""
    return secrets.token_bytes(32)


def seal(key: bytes, plain: bytes, bound_to: str) -> bytes:
    """Random nonce and ciphertext of a value that belongs to the place named by `bound_to`."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to.encode())


def unseal(key: bytes, value: bytes, bound_to: str) -> bytes:
    """The value again. Raises Broken where it was changed or moved."""
    try:
        return AESGCM(key).decrypt(value[:_NONCE], value[_NONCE:], bound_to.encode())
    except InvalidTag:
        raise Broken("A sealed identity was changed or moved.", code="VAULT.SEAL") from None


def blind(key: bytes, trial: str, content: bytes) -> bytes:
    """The blind index of a value in a trial: nobody without the key can make or compare it."""
    of_trial = hmac.new(key, f"index|v1|{trial}".encode(), hashlib.sha256).digest()
    return hmac.new(of_trial, content, hashlib.sha256).digest()
