"""Giving checkpoints away, and receipts of single entries: what somebody outside holds, the owner of the database cannot take back.

How many entries nobody blinded may read would tell of allocations. A text for everybody therefore names their trees by the digest of
the signed note only; a file in the folder of the settings, and a receipt, are for those who see all.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from trialdm.domain import audit, merkle, notes
from trialdm.domain.errors import Forbidden, Invalid, Missing, WrongState
from trialdm.services import notices, sealing
from trialdm.services.unit import Change, Unit
from trialdm.store import keys as signing
from trialdm.store.tables import Account, Anchor, AuditEvent, AuditLeaf, Checkpoint, Outgoing, RowSeal

_ABOUT = "Checkpoints of the audit trail of trialdm. Keep this outside the platform: 'trialdm audit verify --anchor FILE' compares it.\n"


def public_key(unit: Unit) -> str:
    """The public half of the key that signs checkpoints, in hex."""
    return signing.public_key(unit.keys.sealing)


def complete(unit: Unit) -> str:
    """The newest checkpoint of every tree, as signed notes."""
    public = public_key(unit)
    found = [sealing.as_note(public, row) for row in sealing.all_newest(unit)]
    return "\n".join([_ABOUT, *found, f"key {notes.verifier_key(public)}\n"])


def for_everybody(unit: Unit, trial: str) -> str:
    """The same of one trial and of the accounts, with the digest alone of trees that a blinded reader may not count."""
    public = public_key(unit)
    found = [(row, sealing.as_note(public, row)) for row in sealing.all_newest(unit) if row.trial_id in (trial, "*")]
    shown = [note for row, note in found if row.stream == "open"]
    named = [f"sealed {notes.origin(public, row.trial_id, row.stream)} {digest(note)}\n" for row, note in found if row.stream != "open"]
    return "\n".join([_ABOUT, *shown, "".join(named), f"key {notes.verifier_key(public)}\n"])


def digest(note: str) -> str:
    """By which a note is named without being shown."""
    return hashlib.sha256(note.encode()).hexdigest()


def to_file(unit: Unit, folder: Path) -> Path:
    """Write the newest checkpoints to a file of today in a folder, and note that they were given away. Raises Invalid where that fails."""
    out = folder / f"trialdm-{public_key(unit)[:8]}-{unit.today.isoformat()}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        waiting = out.with_suffix(".part")
        waiting.write_text(complete(unit), "utf-8")
        os.replace(waiting, out)
    except OSError as problem:
        raise Invalid(f"{out} cannot be written: {problem.strerror}.", code="FILE.UNWRITABLE") from None
    for row in sealing.all_newest(unit):
        noted(unit, row, "file", out.name)
    return out


def by_mail(unit: Unit, trial: str) -> int:
    """Send the newest checkpoints of a trial to its sponsor; gives how many mails wait."""
    accounts = notices.holders(unit, trial, ("sponsor",))
    addresses = unit.session.scalars(select(Account.email).where(Account.id.in_(accounts)).order_by(Account.staff_no)).all()
    body = for_everybody(unit, trial)
    for address in addresses:
        unit.add(
            Outgoing(
                id=uuid.uuid4().hex,
                trial_id=trial,
                to=address,
                subject=f"Audit trail of {trial}: checkpoints of {unit.today.isoformat()}",
                body=body,
                state="waiting",
                tries=0,
                message="",
                made_at=unit.now,
                sent_at=None,
            )
        )
    if addresses:
        for row in sealing.all_newest(unit):
            if row.trial_id in (trial, "*"):
                noted(unit, row, "mail", "sponsor")
    return len(addresses)


def noted(unit: Unit, row: Checkpoint, kind: str, place: str, token: bytes = b"") -> None:
    """Keep that a checkpoint was given away in a way, once."""
    if unit.session.get(Anchor, (row.trial_id, row.stream, row.size, kind)) is not None:
        return
    about = {"trial_id": row.trial_id, "stream": row.stream, "size": row.size}
    anchor = Anchor(**about, kind=kind, place=place, token=token, at=unit.now, by=unit.actor.id)
    unit.add(anchor)
    said = [Change("size", None, row.size, row.stream), Change("kind", None, kind, row.stream)]
    unit.record("audit.anchor", anchor, trial=row.trial_id, entity="checkpoint", entity_id=row.stream, changes=said)


def due(unit: Unit, kind: str) -> bool:
    """Whether nothing was given away in this way today."""
    newest = unit.session.scalars(select(Anchor.at).where(Anchor.kind == kind).order_by(Anchor.at.desc()).limit(1)).first()
    return newest is None or newest.date() < unit.now.date()


# --- receipts --------------------------------------------------------------------------------------------------------

FORMAT = "trialdm receipt 1"


def require_all(unit: Unit, trial: str) -> None:
    """Raises Forbidden for a reader from whom entries of the trial are kept: places and numbers would tell how many."""
    unit.require("audit.see", trial)
    whole = unit.sites("audit.see", trial) is None and unit.sees_allocations(trial, None)
    if not whole:
        raise Forbidden(
            "Numbers and places of entries are for those who read the whole trail.",
            code="ROLE.AUDIT_WHOLE",
            needs="A role that is unblinded and sees every site. What you may read yourself is in the list of the trail.",
        )


def streams(unit: Unit, trial: str) -> tuple[str, ...]:
    """The streams that somebody reads whole from whom nothing of the trial is kept; looks at identities are for those who watch them."""
    watches = unit.sites("identity.trail", trial) is None
    return audit.STREAMS if watches else tuple(stream for stream in audit.STREAMS if stream != "identity")


def receipt(unit: Unit, trial: str, event_id: str) -> dict[str, Any]:
    """That an entry stands in the trail: the entry, its place, the way from there to the root, and the signed root.

    Raises Missing where there is no such entry, and WrongState where it waits to be sealed.
    """
    require_all(unit, trial)
    there = (AuditEvent.event_id == event_id, AuditEvent.trial_id == trial, AuditEvent.stream.in_(streams(unit, trial)))
    event = unit.session.scalars(select(AuditEvent).where(*there)).first()
    if event is None:
        raise Missing("There is no such entry.", code="AUDIT.NO_ENTRY")
    place = unit.session.scalars(select(AuditLeaf).where(AuditLeaf.event_id == event_id)).first()
    row = sealing.newest(unit, event.trial_id, event.stream)
    if place is None or row is None:
        raise WrongState("The entry is not sealed yet.", code="AUDIT.UNSEALED", needs="Ask again in some seconds, or run 'audit seal'.")
    of_tree = (AuditLeaf.trial_id == event.trial_id, AuditLeaf.stream == event.stream, AuditLeaf.leaf_index < row.size)
    leaves = list(unit.session.scalars(select(AuditLeaf.leaf_hash).where(*of_tree).order_by(AuditLeaf.leaf_index)))
    rows_mac = unit.session.scalar(select(RowSeal.mac).where(RowSeal.event_id == event_id))
    return {
        "format": FORMAT,
        "entry": {"seq": event.seq, **{name: getattr(event, name) for name in audit.ORDER}, "mac": event.mac, "rows_mac": rows_mac or ""},
        "leaf_index": place.leaf_index,
        "proof": [part.hex() for part in merkle.inclusion(leaves, place.leaf_index)],
        "checkpoint": sealing.as_note(public_key(unit), row),
        "public_key": public_key(unit),
    }


def verify_receipt(document: Any, public: str) -> notes.Checkpoint:
    """Check a receipt with nothing but the public key; gives the checkpoint that it leads to. Raises Invalid for one that does not hold."""
    try:
        entry = document["entry"]
        checkpoint, key_id, signature = notes.read(document["checkpoint"])
        hashed = audit.leaf(entry["seq"], [entry[name] for name in audit.ORDER], entry["mac"], entry["rows_mac"])
        path = [bytes.fromhex(part) for part in document["proof"]]
        origin = notes.origin(public, entry["trial_id"], entry["stream"])
        holds = (
            document["format"] == FORMAT
            and key_id == notes.key_id(public)
            and checkpoint.origin == origin
            and signing.signed(public, checkpoint.text(), signature)
            and merkle.included(hashed, document["leaf_index"], checkpoint.size, path, checkpoint.root)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        holds = False
    if not holds:
        raise Invalid(
            "This receipt does not hold.", code="AUDIT.RECEIPT", needs="The receipt as it was given, and the key of its instance."
        )
    return checkpoint


def read_folder(folder: Path | None) -> Iterator[str]:
    """The texts that were given away into the folder of the settings."""
    if folder is not None and folder.is_dir():
        for path in sorted(folder.glob("trialdm-*.txt")):
            yield path.read_text("utf-8", errors="replace")
