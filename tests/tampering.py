"""What the owner of a database can do to it behind the program's back: one change at a time, with no guard in the way, taken back after.

Used by the tests of the proof, and a thousand times at random by `python -m tests.bench tamper`.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, delete, func, insert, select, update
from sqlalchemy.orm import Session

from trialdm.services import proof
from trialdm.services.proof import Report
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store import rows
from trialdm.store.tables import Table as Base

#: Tables of the trail itself, beside those of record.
TRAIL = ("audit_event", "audit_value", "row_seal", "audit_leaf", "checkpoint")

METADATA = Base.metadata.tables


@dataclass(frozen=True)
class Done:
    """A change that was made: the table, the rows that it touched (by primary key), and the column where it is one."""

    table: str
    keys: tuple[tuple[Any, ...], ...]
    column: str = ""


@contextmanager
def unguarded(world: Any) -> Iterator[Connection]:
    """A connection of somebody whom nothing stops; whatever they did is taken back at the end."""
    engine = world.instance.engine
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            guards = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
            for guard in guards:
                connection.exec_driver_sql(f'DROP TRIGGER "{guard}"')
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        try:
            yield connection
        finally:
            connection.rollback()


def verified(world: Any, connection: Connection, given_away: Sequence[str] = ()) -> Report:
    """What the proof says of the database as this connection sees it."""
    with Session(bind=connection, expire_on_commit=False, autoflush=False) as session:
        report = proof.verify(Unit(session, SYSTEM, world.now, world.units.keys), given_away)
        session.expunge_all()
    return report


# --- kinds of changes ------------------------------------------------------------------------------------------------


def edit(connection: Connection, table: Table, chance: random.Random) -> Done | None:
    """Another value in one column of one row."""
    row = _some(connection, table, chance, 1)
    column = chance.choice([column.name for column in table.columns if not column.primary_key])
    if not row:
        return None
    value = _other(table.c[column], row[0]._mapping[column], chance)
    connection.execute(update(table).where(_is(table, row[0])).values({column: value}))
    return Done(table.name, (_key(table, row[0]),), column)


def remove(connection: Connection, table: Table, chance: random.Random) -> Done | None:
    """One row away."""
    row = _some(connection, table, chance, 1)
    if not row:
        return None
    connection.execute(delete(table).where(_is(table, row[0])))
    return Done(table.name, (_key(table, row[0]),))


def add(connection: Connection, table: Table, chance: random.Random) -> Done | None:
    """A row that looks like another one."""
    row = _some(connection, table, chance, 1)
    if not row:
        return None
    values = dict(row[0]._mapping)
    for column in table.columns:
        unique = any(column.name in [c.name for c in constraint.columns] for constraint in table.constraints if _uniquely(constraint))
        if unique and column.name != "trial_id":
            values[column.name] = _other(column, values[column.name], chance)
    connection.execute(insert(table).values(values))
    return Done(table.name, (tuple(values[column.name] for column in table.primary_key),))


def swap(connection: Connection, table: Table, chance: random.Random) -> Done | None:
    """Two rows that change places: everything but their keys."""
    found = _some(connection, table, chance, 2)
    unique = {c.name for constraint in table.constraints if _uniquely(constraint) for c in constraint.columns}
    columns = [column.name for column in table.columns if column.name not in unique]
    if len(found) < 2 or not columns or all(found[0]._mapping[c] == found[1]._mapping[c] for c in columns):
        return None
    for one, other in (found, found[::-1]):
        connection.execute(update(table).where(_is(table, one)).values({c: other._mapping[c] for c in columns}))
    return Done(table.name, tuple(_key(table, row) for row in found))


KINDS: Mapping[str, Callable[[Connection, Table, random.Random], Done | None]] = {
    "edit": edit,
    "delete": remove,
    "insert": add,
    "swap": swap,
}


def reorder(connection: Connection, chance: random.Random) -> Done:
    """Two entries that change their numbers."""
    table = METADATA["audit_event"]
    one, other = _some(connection, table, chance, 2)
    for old, new in ((one.seq, -1), (other.seq, one.seq), (-1, other.seq)):
        connection.execute(update(table).where(table.c.seq == old).values(seq=new))
    return Done(table.name, ((one.seq,), (other.seq,)))


def cut(connection: Connection, chance: random.Random, *, everything: bool) -> Done:
    """The newest entries away, with their values, seals, leaves and checkpoints, and (`everything`) the rows that they account for."""
    events, leaves, seals = METADATA["audit_event"], METADATA["audit_leaf"], METADATA["row_seal"]
    last = connection.execute(select(func.max(events.c.seq))).scalar_one()
    gone = select(events.c.event_id).where(events.c.seq > last - chance.randint(1, 20))
    if everything:
        for sealed in connection.execute(select(seals.c.rows).where(seals.c.event_id.in_(gone))).scalars().all():
            for seal in proof.row_seals.from_text(sealed):
                table = METADATA[seal.table]
                same = [column == value for column, value in zip(table.primary_key, seal.key, strict=True)]
                connection.execute(delete(table).where(and_(*same)))
    least = connection.execute(
        select(leaves.c.trial_id, leaves.c.stream, func.min(leaves.c.leaf_index))
        .where(leaves.c.event_id.in_(gone))
        .group_by(leaves.c.trial_id, leaves.c.stream)
    ).all()
    for trial, stream, index in least:
        points = METADATA["checkpoint"]
        connection.execute(delete(points).where(points.c.trial_id == trial, points.c.stream == stream, points.c.size > index))
        connection.execute(delete(leaves).where(leaves.c.trial_id == trial, leaves.c.stream == stream, leaves.c.leaf_index >= index))
    for name in ("audit_value", "row_seal"):
        connection.execute(delete(METADATA[name]).where(METADATA[name].c.event_id.in_(gone)))
    connection.execute(delete(events).where(events.c.event_id.in_(gone)))
    return Done("audit_event", ())


def filled(connection: Connection) -> list[str]:
    """The tables in which there is something to change."""
    names = [*rows.of_record(), *TRAIL]
    return [name for name in names if connection.execute(select(func.count()).select_from(METADATA[name])).scalar_one()]


# --- rows and values -------------------------------------------------------------------------------------------------


def _some(connection: Connection, table: Table, chance: random.Random, count: int) -> list[Row[Any]]:
    size = connection.execute(select(func.count()).select_from(table)).scalar_one()
    places = chance.sample(range(size), min(count, size))
    ordered = select(table).order_by(*table.primary_key).limit(1)
    return [connection.execute(ordered.offset(place)).one() for place in places]


def _key(table: Table, row: Row[Any]) -> tuple[Any, ...]:
    return tuple(row._mapping[column.name] for column in table.primary_key)


def _is(table: Table, row: Row[Any]) -> Any:
    return and_(*(column == row._mapping[column.name] for column in table.primary_key))


def _uniquely(constraint: Any) -> bool:
    return type(constraint).__name__ in ("PrimaryKeyConstraint", "UniqueConstraint")


def _other(column: Any, value: Any, chance: random.Random) -> Any:
    """Another value that the column takes."""
    if value is None:
        value = {"Text": "", "Integer": 0, "LargeBinary": b""}.get(type(column.type).__name__, datetime(2026, 1, 1, tzinfo=UTC))
        return value.date() if type(column.type).__name__ == "Day" else value
    if isinstance(value, str):
        return value + chance.choice("abcdefgh")
    if isinstance(value, int):
        return value + chance.randint(1, 10**6)
    if isinstance(value, bytes):
        place = chance.randrange(len(value)) if value else 0
        return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :] if value else b"x"
    return value + timedelta(days=1)
