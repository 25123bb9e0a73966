"""Passwords: kept as Argon2id, and taken where they are not easily guessed. No rules of composition, no forced changes (ASVS 6.2)."""

import secrets
import threading
from collections.abc import Iterable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from trialdm.domain.errors import Detail, Invalid

SHORTEST = 12
LONGEST = 128

#: OWASP's floor for Argon2id; the number of hashes computed at once is capped so that a flood cannot take all memory.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_AT_ONCE = threading.BoundedSemaphore(4)
_NOBODYS_HASH = _HASHER.hash(secrets.token_hex(16))

#: From this score on a password withstands guessing at a service that slows it down (zxcvbn: 0 to 4).
_LEAST_SCORE = 3
_LOOKED_AT = 72


def hashed(password: str) -> str:
    """A password as it is kept. Raises Invalid for one that is too short or too long."""
    require_length(password)
    with _AT_ONCE:
        return _HASHER.hash(password)


def fits(kept: str, password: str) -> bool:
    """Whether this is the password that is kept; takes as long where nothing is."""
    with _AT_ONCE:
        try:
            return _HASHER.verify(kept or _NOBODYS_HASH, password) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False


def require_length(password: str) -> None:
    """Raises Invalid for a password that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise _refused(f"A password has from {SHORTEST} to {LONGEST} characters.")


def require_good(password: str, about: Iterable[str]) -> None:
    """Raises Invalid for a password that is easily guessed: a common one, or made of words `about` its person and this service."""
    from zxcvbn import zxcvbn  # which reads its lists of words when it is loaded

    require_length(password)
    words = [part for text in (*about, "trialdm") for part in (text, *text.replace("@", " ").replace(".", " ").split())]
    found = zxcvbn(password[:_LOOKED_AT], user_inputs=words)
    if found["score"] < _LEAST_SCORE:
        why = str(found["feedback"]["warning"] or "It is easily guessed").rstrip(".")
        raise _refused(f"This password would be guessed. {why}.")


def _refused(message: str) -> Invalid:
    needs = "Three or four words that do not belong together make a good one."
    return Invalid(message, code="PEOPLE.PASSWORD", needs=needs, details=[Detail("PEOPLE.PASSWORD", message, "password")])
