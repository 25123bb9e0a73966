"""Sealing the trail: entries get a place in the tree of their trial and stream, and the tree a signed checkpoint.

Places are given here and not when an entry is written, so that nobody waits for anybody, and an entry that was committed late
falls into the next batch. A batch is one transaction: cut off, it leaves nothing. One holder seals at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, text

from trialdm.domain import audit, notes
from trialdm.domain.errors import Broken
from trialdm.domain.merkle import Frontier
from trialdm.services.unit import SYSTEM, Unit, Units
from trialdm.store import keys as signing
from trialdm.store import rows
from trialdm.store.tables import AuditEvent, AuditLeaf, Checkpoint, RowSeal, Table

#: Entries that one transaction seals: a writer waits no longer than this takes.
BATCH = 5000

#: Numbers are given before the commit, so that one may come late: how far back the next batch looks for it.
LATE = 20_000

#: The lock that a sealer holds on PostgreSQL; on SQLite every writing transaction is alone.
_LOCK = 7235489201

#: Rows that one entry takes over in an instance of an earlier version.
_TAKEN_AT_ONCE = 500


@dataclass(frozen=True)
class Batch:
    """What one transaction sealed: how many entries, and the number of the last one. `held` where another sealer is at work."""

    sealed: int
    last: int
    held: bool = False


def seal_all(units: Units, since: int = 0) -> Batch:
    """Seal everything that was committed; `since` is the last number of an earlier run of this process, 0 looks at every entry."""
    sealed, last = 0, since
    while True:
        done = units.run(SYSTEM, lambda unit, last=last: seal(unit, max(0, last - LATE)))  # type: ignore[misc]
        sealed, last = sealed + done.sealed, max(last, done.last)
        if done.held or done.sealed < BATCH:
            return Batch(sealed, last, done.held)


def seal(unit: Unit, since: int = 0) -> Batch:
    """Seal the first entries after this number that have no place yet.

    Raises Broken where a tree does not stand as its last checkpoint says: a tree that was changed is not built upon.
    """
    postgresql = unit.session.get_bind().dialect.name == "postgresql"
    if postgresql and not unit.session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
        return Batch(0, since, held=True)
    found = unit.session.execute(_waiting(since)).all()
    for (trial, stream), events in groupby(sorted(found, key=lambda row: (row.trial_id, row.stream, row.seq)), _tree):
        _extend(unit, trial, stream, list(events))
    return Batch(len(found), max((row.seq for row in found), default=since))


def _waiting(since: int) -> Select[Any]:
    columns = [getattr(AuditEvent, name) for name in audit.ORDER]
    return (
        select(AuditEvent.seq, AuditEvent.mac, func.coalesce(RowSeal.mac, "").label("rows_mac"), *columns)
        .join(AuditLeaf, AuditLeaf.event_id == AuditEvent.event_id, isouter=True)
        .join(RowSeal, RowSeal.event_id == AuditEvent.event_id, isouter=True)
        .where(AuditEvent.seq > since, AuditLeaf.event_id.is_(None))
        .order_by(AuditEvent.seq)
        .limit(BATCH)
    )


def _tree(row: Row[Any]) -> tuple[str, str]:
    return row.trial_id, row.stream


def _extend(unit: Unit, trial: str, stream: str, events: Sequence[Row[Any]]) -> None:
    before = newest(unit, trial, stream)
    tree = standing(unit, before) if before else Frontier()
    leaves = []
    for event in events:
        hashed = audit.leaf(event.seq, event[3:], event.mac, event.rows_mac)
        leaves.append({"trial_id": trial, "stream": stream, "leaf_index": tree.size, "event_id": event.event_id, "leaf_hash": hashed})
        tree.append(hashed)
    unit.session.execute(insert(Table.metadata.tables["audit_leaf"]), leaves)
    unit.session.execute(insert(Table.metadata.tables["checkpoint"]), [_signed(unit, trial, stream, tree, before)])


def _signed(unit: Unit, trial: str, stream: str, tree: Frontier, before: Checkpoint | None) -> dict[str, Any]:
    public = signing.public_key(unit.keys.sealing)
    row = {
        "trial_id": trial,
        "stream": stream,
        "size": tree.size,
        "root": tree.root.hex(),
        "prev_size": before.size if before else 0,
        "prev": before.root if before else "",
        "peaks": tree.to_text(),
        "at": unit.now,
        "key_id": notes.key_id(public).hex(),
    }
    signed = said(public, Checkpoint(**row, signature="")).text()
    return row | {"signature": signing.sign(unit.keys.sealing, signed)}


def said(public: str, row: Checkpoint) -> notes.Checkpoint:
    """What a stored checkpoint says."""
    name = notes.origin(public, row.trial_id, row.stream)
    return notes.Checkpoint(name, row.size, bytes.fromhex(row.root), row.at, (row.prev_size, bytes.fromhex(row.prev)))


def as_note(public: str, row: Checkpoint) -> str:
    """A stored checkpoint as the signed note that is given away."""
    return notes.note(said(public, row), public, row.signature)


def newest(unit: Unit, trial: str, stream: str) -> Checkpoint | None:
    """The last checkpoint of a tree."""
    wanted = select(Checkpoint).where(Checkpoint.trial_id == trial, Checkpoint.stream == stream)
    return unit.session.scalars(wanted.order_by(Checkpoint.size.desc()).limit(1)).first()


def standing(unit: Unit, row: Checkpoint) -> Frontier:
    """The tree that a checkpoint stands for. Raises Broken where row or signature were changed."""
    public = signing.public_key(unit.keys.sealing)
    try:
        tree = Frontier.from_text(row.size, row.peaks)
        sound = tree.root.hex() == row.root and signing.signed(public, said(public, row).text(), row.signature)
    except ValueError:
        sound = False
    if not sound:
        raise Broken(
            f"The checkpoint of {row.trial_id} ({row.stream}) at {row.size} entries is not the one that was signed: nothing is sealed.",
            code="AUDIT.CHECKPOINT",
            needs="Find out what was changed ('audit verify'); restore the database from a backup.",
        )
    return tree


def all_newest(unit: Unit) -> list[Checkpoint]:
    """The last checkpoint of every tree."""
    largest = (
        select(Checkpoint.trial_id, Checkpoint.stream, func.max(Checkpoint.size).label("size"))
        .group_by(Checkpoint.trial_id, Checkpoint.stream)
        .subquery()
    )
    here = (Checkpoint.trial_id == largest.c.trial_id) & (Checkpoint.stream == largest.c.stream) & (Checkpoint.size == largest.c.size)
    return list(unit.session.scalars(select(Checkpoint).join(largest, here).order_by(Checkpoint.trial_id, Checkpoint.stream)))


# --- instances of an earlier version ---------------------------------------------------------------------------------


def take_over(unit: Unit) -> int:
    """Seal the rows of an instance of an earlier version as they are, once; gives how many.

    What was done to them before is not proved by it: the entry says from when on they are.
    """
    if unit.session.scalar(select(RowSeal.event_id).limit(1)) is not None:
        return 0
    count = 0
    for table, kind in rows.of_record().items():
        found: Iterable[Any] = unit.session.scalars(select(kind).execution_options(yield_per=_TAKEN_AT_ONCE)).partitions(_TAKEN_AT_ONCE)
        for some in found:
            seals = [rows.seal(unit.keys.audit, row) for row in some]
            unit.take_over(table, seals)
            count += len(seals)
            unit.session.expunge_all()
    return count
