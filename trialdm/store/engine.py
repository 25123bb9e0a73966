"""The database connection, with the settings that give the guarantees.

SQLite: every writing transaction begins with BEGIN IMMEDIATE (the driver's own BEGIN is off), rollback journal with
synchronous=EXTRA, foreign keys and recursive triggers on. PostgreSQL: READ COMMITTED with explicit row locks, a lock time-out.
See help/decisions/0002-sqlite-settings.md for why.
"""

import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

READ_ONLY = "trialdm_read_only"

_BUSY_SECONDS = 30

_PRAGMAS = {
    "foreign_keys": ("ON", 1),
    "journal_mode": ("DELETE", "delete"),
    "synchronous": ("EXTRA", 3),
    "recursive_triggers": ("ON", 1),
    "trusted_schema": ("OFF", 0),
    "cell_size_check": ("ON", 1),
    "secure_delete": ("ON", 1),
    "mmap_size": ("0", 0),
}


class UnsafeDatabase(RuntimeError):
    """The database does not take a setting that the guarantees need."""


def connect(url: str) -> Engine:
    """The engine for a database address (`sqlite:///file` or `postgresql+psycopg://...`).

    Values stay out of its logs and errors: an arm could be among them.
    """
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(url, hide_parameters=True, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_size=10, max_overflow=30)
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def read_only(engine: Engine) -> Engine:
    """The same database for reading: no write lock is taken."""
    return engine.execution_options(**{READ_ONLY: True})


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for name, (value, expected) in _PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}").close()
        row = connection.execute(f"PRAGMA {name}").fetchone()
        # An in-memory database keeps its journal in memory, and a build without mmap answers nothing.
        if row and row[0] != expected and row[0] != "memory":
            raise UnsafeDatabase(f"SQLite answers {name}={row[0]} where {expected} is needed")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READ_ONLY)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '20s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
    connection.commit()


#: PostgreSQL: serialisation failure, deadlock, lock not available. SQLite says so in words.
_TRY_AGAIN = frozenset({"40001", "40P01", "55P03"})


def try_again(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is run again."""
    state = getattr(error.orig, "sqlstate", None)
    return state in _TRY_AGAIN or "database is locked" in str(error.orig) or "database table is locked" in str(error.orig)
