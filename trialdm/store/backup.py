"""A copy of a database while it is in use, and the database again from the copy.

SQLite gives the copy itself (its online backup, never a copy of the file, which lacks what is not written through); PostgreSQL is copied
table by table in one transaction that sees one moment.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, text

from trialdm.domain.errors import Broken
from trialdm.store import migrate
from trialdm.store.tables import Table

SQLITE_FILE = "trialdm.db"
TABLES_FOLDER = "tables"


def copy(engine: Engine, folder: Path, tables: MetaData = Table.metadata) -> dict[str, int]:
    """Copy a database into a folder; gives the rows of each table. Raises Broken where the copy is not sound."""
    if engine.dialect.name == "sqlite":
        return _copy_sqlite(engine, folder / SQLITE_FILE, tables)
    return _copy_tables(engine, folder / TABLES_FOLDER, tables)


def put_back(
    folder: Path, engine: Engine, tables: MetaData = Table.metadata, create: Callable[[Engine], None] = migrate.upgrade
) -> dict[str, int]:
    """Fill a new, empty database from a copy; gives the rows of each table. `create` makes the tables where they are not copied too."""
    if engine.dialect.name == "sqlite":
        shutil.copyfile(folder / SQLITE_FILE, _file_of(engine))
        return _counted_sqlite(_file_of(engine), tables)
    create(engine)
    return _put_tables_back(folder / TABLES_FOLDER, engine, tables)


def _names(tables: MetaData) -> list[str]:
    """Every table, each after those that it refers to."""
    return [table.name for table in tables.sorted_tables]


def _file_of(engine: Engine) -> Path:
    return Path(str(engine.url.database))


def _copy_sqlite(engine: Engine, target: Path, tables: MetaData) -> dict[str, int]:
    with closing(sqlite3.connect(_file_of(engine), timeout=30)) as source, closing(sqlite3.connect(target)) as copied:
        source.backup(copied)
        copied.execute("PRAGMA journal_mode = DELETE")
        (answer,) = copied.execute("PRAGMA integrity_check").fetchone()
    if answer != "ok":
        raise Broken(
            f"The copy of the database is not sound: {answer}.", code="BACKUP.DATABASE", needs="Look at the disk, then 'audit verify'."
        )
    return _counted_sqlite(target, tables)


def _counted_sqlite(file: Path, tables: MetaData) -> dict[str, int]:
    with closing(sqlite3.connect(file)) as connection:
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in _names(tables)}


def _copy_tables(engine: Engine, folder: Path, tables: MetaData) -> dict[str, int]:
    folder.mkdir()
    counts = {}
    with closing(engine.raw_connection()) as borrowed:
        connection: Any = borrowed.driver_connection
        connection.rollback()
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for name in _names(tables):
                with (
                    (folder / f"{name}.copy").open("wb") as file,
                    cursor.copy(f'COPY "{name}" ({_columns(tables, name)}) TO STDOUT') as rows,
                ):
                    for part in rows:
                        file.write(part)
                counts[name] = cursor.rowcount
        connection.rollback()
    return counts


def _columns(tables: MetaData, name: str) -> str:
    return ", ".join(f'"{column.name}"' for column in tables.tables[name].columns)


def _put_tables_back(folder: Path, engine: Engine, tables: MetaData) -> dict[str, int]:
    counts = {}
    with engine.begin() as connection:
        with connection.connection.cursor() as cursor:
            for name in _names(tables):
                with cursor.copy(f'COPY "{name}" ({_columns(tables, name)}) FROM STDIN') as rows:
                    for part in _parts(folder / f"{name}.copy"):
                        rows.write(part)
                counts[name] = cursor.rowcount
        for table, column in _counters(tables):
            counter = f"pg_get_serial_sequence('\"{table}\"', '{column}')"
            newest = f'SELECT setval({counter}, greatest(coalesce(max("{column}"), 1), 1)) FROM "{table}"'
            connection.execute(text(newest))
    return counts


def _counters(tables: MetaData) -> Iterator[tuple[str, str]]:
    """Columns that the database counts by itself."""
    for table in tables.sorted_tables:
        for column in table.primary_key.columns:
            if column.autoincrement is True:
                yield table.name, column.name


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while part := source.read(1 << 20):
            yield part
