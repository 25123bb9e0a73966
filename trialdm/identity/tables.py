"""The vault's tables. They hold no identifier in clear: sealed fields, blind indexes, pseudonyms and who looked.

The settings of SQLite are those of the research database: see help/decisions/0002-sqlite-settings.md for why.
"""

import sqlite3
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    NullPool,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url

READING = "vault_reading"

metadata = MetaData()

#: `state` is pending, active or shredded; `kek` the version of the key that wraps the person's own. `number` and `name` are the
#: blind indexes by the key in force, those with `next_` by the one that is being brought in.
person = Table(
    "vault_person",
    metadata,
    Column("id", Text, primary_key=True),
    Column("trial", Text, nullable=False),
    Column("participant", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("kek", Integer, nullable=False),
    Column("wrapped", LargeBinary),
    Column("number", LargeBinary),
    Column("name", LargeBinary, index=True),
    Column("next_number", LargeBinary),
    Column("next_name", LargeBinary, index=True),
    UniqueConstraint("trial", "participant"),
    UniqueConstraint("trial", "number"),
    UniqueConstraint("trial", "next_number"),
)

sealed = Table(
    "vault_field",
    metadata,
    Column("person", Text, ForeignKey("vault_person.id"), primary_key=True),
    Column("field", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

#: Who was shown or asked what, without what it was.
looked = Table(
    "vault_look",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False, index=True),
    Column("act", Text, nullable=False),
    Column("trial", Text, nullable=False),
    Column("participant", Text, nullable=False),
)

#: Versions of the keys in force: `kek`, `index`, and `next_index` while one is brought in (0 otherwise).
versions = Table("vault_version", metadata, Column("name", Text, primary_key=True), Column("number", Integer, nullable=False))

_PRAGMAS = {
    "foreign_keys": "ON",
    "journal_mode": "DELETE",
    "synchronous": "EXTRA",
    "secure_delete": "ON",
    "trusted_schema": "OFF",
    "mmap_size": "0",
}


def connect(url: str) -> Engine:
    """The engine of the vault's database. Values stay out of its logs and errors; nothing is kept open between two questions."""
    engine = create_engine(url, hide_parameters=True, poolclass=NullPool, **_arguments(url))
    if make_url(url).get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _arguments(url: str) -> dict[str, Any]:
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": 30, "check_same_thread": False}}
    return {"isolation_level": "READ COMMITTED"}


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for name, value in _PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}").close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READING) else "BEGIN IMMEDIATE")
