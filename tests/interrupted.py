"""Migrations that are cut off: at a statement by a fault, or by killing the process that runs them.

The suite takes some statements of each migration. `python -m tests.interrupted` takes every one, on SQLite and PostgreSQL.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, event, inspect, text

from tests.builders import ROOT
from trialdm.cli import run
from trialdm.store import migrate

#: Set where every statement is wanted.
EVERY = "TRIALDM_EVERY_STATEMENT"

_THEN = "2025-01-06T09:00:00.000000+00:00"

#: What an instance of the first version held.
_FIRST = [
    f"INSERT INTO account VALUES ('a', 'a@x.org', 'A', 1, 'x', 'active', '{_THEN}', 'a')",
    f"INSERT INTO trial VALUES ('t', '{_THEN}', 'a')",
    f"INSERT INTO definition VALUES ('t', 1, '1.0', 'x', '{{}}', '{_THEN}', 'a')",
    f"INSERT INTO participant VALUES ('t', 'P1', 'S01', 1, '{_THEN}', 'a')",
    f"INSERT INTO status VALUES ('t', 'trial', 't', 1, 'open', 'open', '{_THEN}', 'a', '', '')",
    "INSERT INTO form_instance VALUES ('t', 'f', 'P1', 'V01', 'PAIN', 1, 'complete', 1, 0)",
    f"INSERT INTO scheme VALUES ('t', 'main', 0, 'live', '{{}}', '', '', {{bytes}}, 1, 1, '', '{_THEN}', 'a')",
    f"INSERT INTO allocation VALUES ('t', 'main', 'P1', 0, 1, 0, 'min', 0, '{{}}', 'S01-0007', {{bytes}}, '{_THEN}', 'a', '{{}}')",
]

_BYTES = {"sqlite": "x'00'", "postgresql": "'\\x00'::bytea"}


class Cut(Exception):
    """The fault by which a migration is cut off."""


def cut() -> None:
    raise Cut


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def dying(engine: Engine | type[Engine], at: int, how: Callable[[], None]) -> Iterator[list[int]]:
    """Die before the statement of this number; a commit is one of them. Gives the number of those that were begun."""
    count = [0]

    def step(*_: Any) -> None:
        count[0] += 1
        if count[0] == at:
            how()

    event.listen(engine, "before_cursor_execute", step)
    event.listen(engine, "commit", step)
    try:
        yield count
    finally:
        event.remove(engine, "before_cursor_execute", step)
        event.remove(engine, "commit", step)


def stand_at(engine: Engine, revision: str | None) -> None:
    """Bring an empty database to this migration, with what an instance of the first version held."""
    if revision is None:
        return
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), migrate.released()[0])
        for statement in _FIRST:
            connection.exec_driver_sql(statement.replace("{bytes}", _BYTES[engine.dialect.name]))
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), revision)


def held(engine: Engine) -> dict[str, Any]:
    """All that a database holds: its tables, guards and rows, and the migration that it stands at."""
    with engine.connect() as connection:
        found: dict[str, Any] = {"stands at": migrate.revision(engine)}
        for table in inspect(connection).get_table_names():
            found[table] = sorted(map(str, connection.execute(text(f'SELECT * FROM "{table}"'))))
        for name, statement in _SCHEMA[engine.dialect.name].items():
            found[name] = sorted(map(str, connection.execute(text(statement))))
    return found


_SCHEMA = {
    "sqlite": {"schema": "SELECT type, name, tbl_name, sql FROM sqlite_master"},
    "postgresql": {
        "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'public'",
        "constraints": "SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype <> 't'",
        "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "guards": "SELECT tgname, tgrelid::regclass::text, tgenabled FROM pg_trigger WHERE NOT tgisinternal",
        "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    },
}


def steps_of(engine: Engine) -> int:
    """The statements of bringing a database to the newest migration, with the commit; nothing is kept."""

    def stop(_: Any) -> None:
        raise Cut

    with dying(engine, 0, cut) as count:
        event.listen(engine, "commit", stop)
        try:
            migrate.upgrade(engine)
        except Cut:
            return count[0]
        finally:
            event.remove(engine, "commit", stop)
    raise AssertionError("nothing was committed")


def main(argv: list[str]) -> int:
    """Every statement of every migration; with `migrate FOLDER N` the command itself, killed before its statement N."""
    if argv[:1] == ["migrate"]:
        with dying(Engine, int(argv[2]), killed):
            return run(["--instance", argv[1], "migrate"])
    os.environ[EVERY] = "1"
    return int(pytest.main(["-q", f"--rootdir={ROOT}", str(ROOT / "tests" / "faults" / "test_interrupted_migrations.py"), *argv]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
