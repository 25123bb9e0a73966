"""Time stamps of checkpoints by somebody outside (RFC 3161): proof that what a checkpoint covers stood so before a moment.

Only the digest of a signed note leaves the instance. Stamps are optional: the package `rfc3161-client`, the address of a service and the
certificate that its stamps lead to.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import requests
from cryptography.x509 import Certificate, load_pem_x509_certificates
from sqlalchemy import select

from trialdm.domain.errors import Broken, Invalid
from trialdm.services import anchors, sealing
from trialdm.services.unit import Unit
from trialdm.store.tables import Anchor, Checkpoint

KIND = "rfc3161"

_PATIENCE_SECONDS = 15
_LONGEST = 65_536

Key = tuple[str, str, int]


def wanted(unit: Unit) -> dict[Key, str]:
    """The newest checkpoints that have no stamp yet: trial, stream and size with their signed note."""
    public = anchors.public_key(unit)
    kept = select(Anchor.trial_id, Anchor.stream, Anchor.size).where(Anchor.kind == KIND)
    stamped = {tuple(row) for row in unit.session.execute(kept)}
    found = {(row.trial_id, row.stream, row.size): sealing.as_note(public, row) for row in sealing.all_newest(unit)}
    return {key: note for key, note in found.items() if key not in stamped}


def ask(address: str, certificates: Path, note: str) -> bytes:
    """The stamp of a note, verified. Asked outside of any transaction. Raises Broken where the service does not give a good one."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = (
        TimestampRequestBuilder().data(note.encode()).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True).cert_request(cert_request=True)
    )
    built = request.build()
    try:
        headers = {"Content-Type": "application/timestamp-query"}
        answer = requests.post(address, data=built.as_bytes(), headers=headers, timeout=_PATIENCE_SECONDS, allow_redirects=False)
        answer.raise_for_status()
    except requests.RequestException as problem:
        message = f"The time-stamp service does not answer: {type(problem).__name__}."
        raise Broken(message, code="AUDIT.STAMP", needs="Try again later.") from None
    token = answer.content[:_LONGEST]
    verified(token, note, trusted(certificates), nonce=built.nonce)
    return token


def trusted(certificates: Path) -> list[Certificate]:
    """The certificates that stamps lead to. Raises Invalid."""
    try:
        return load_pem_x509_certificates(certificates.read_bytes())
    except (OSError, ValueError):
        raise Invalid(f"{certificates} holds no certificate.", code="AUDIT.STAMP", needs="A PEM file of the time-stamp service.") from None


def verified(token: bytes, note: str, roots: Iterable[Certificate], *, nonce: int | None = None) -> datetime:
    """When a note was stamped. Raises Broken for a stamp of something else, or one that leads to no trusted certificate."""
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    builder = VerifierBuilder(roots=list(roots), nonce=nonce)
    try:
        found = decode_timestamp_response(token)
        builder.build().verify(found, hashlib.sha256(note.encode()).digest())
        moment: datetime = found.tst_info.gen_time
    except (VerificationError, ValueError):
        raise Broken("This is no good time stamp of the checkpoint.", code="AUDIT.STAMP", needs="Ask for another one.") from None
    return moment


def keep(unit: Unit, key: Key, token: bytes) -> None:
    """Keep the stamp of a checkpoint."""
    row = unit.session.get_one(Checkpoint, key)
    anchors.noted(unit, row, KIND, "time-stamp service", token)


def judged(unit: Unit, certificates: Path | None) -> tuple[list[tuple[Key, datetime]], list[Key]]:
    """Every stamp that is kept, as stamped when, and those that are no good stamp of their checkpoint; none without certificates."""
    if certificates is None:
        return [], []
    roots, public = trusted(certificates), anchors.public_key(unit)
    good: list[tuple[Key, datetime]] = []
    bad: list[Key] = []
    for row in unit.session.scalars(select(Anchor).where(Anchor.kind == KIND).order_by(Anchor.at)):
        key = (row.trial_id, row.stream, row.size)
        checkpoint = unit.session.get(Checkpoint, key)
        try:
            good.append((key, verified(row.token, sealing.as_note(public, checkpoint) if checkpoint else "", roots)))
        except Broken:
            bad.append(key)
    return good, bad
