"""Migrations: they make what the models say, and an instance of an earlier version keeps what it holds."""

import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, text

from tests.builders import World
from trialdm.store import engine as engines
from trialdm.store import migrate
from trialdm.store.tables import Participant, Scheme, Table, Trial

_THEN = datetime(2025, 1, 6, 9, tzinfo=UTC)


def test_the_migrations_make_what_the_models_say(world: World) -> None:
    with world.instance.engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_every_append_only_table_is_guarded(sqlite_world: World) -> None:
    from trialdm.store.tables import APPEND_ONLY

    with sqlite_world.instance.engine.connect() as connection:
        found = set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")))
    assert {f"guard_{table}_{what}" for table in APPEND_ONLY for what in ("update", "delete", "insert")} <= found


def test_an_instance_of_the_first_version_keeps_its_allocations(tmp_path: Path) -> None:
    engine = engines.connect(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0001")
        connection.execute(insert(Trial).values(id="t", created_at=_THEN, created_by="a"))
        connection.execute(insert(Participant).values(trial_id="t", id="P1", site="S01", number=1, added_at=_THEN, added_by="a"))
        row = {"trial_id": "t", "name": "main", "epoch": 0, "world": "live", "config": "{}", "commit": "", "contribution": ""}
        row |= {"master_sealed": b"x", "events": 1, "places": 1, "head": "", "created_at": _THEN, "created_by": "a"}
        connection.execute(insert(Scheme).values(**row))
        connection.execute(
            text(
                "INSERT INTO allocation VALUES ('t', 'main', 'P1', 0, 1, 0, 'min', 0, '{}', 'S01-0007', x'00', "
                "'2025-01-06T09:00:00.000000+00:00', 'a', '{}')"
            )
        )
    migrate.upgrade(engine)
    with engine.connect() as connection:
        kept = connection.execute(text('SELECT participant_id, kind, site, site_no, "number" FROM allocation')).one()
        assert tuple(kept) == ("P1", "allocated", "S01", 7, "S01-0007")
        assert connection.execute(text("SELECT subject, state FROM status WHERE machine = 'scheme'")).one() == ("main/0", "live")
        with pytest.raises(Exception, match="append-only"):
            connection.execute(text("DELETE FROM allocation"))
    engine.dispose()


def test_an_instance_of_the_second_version_keeps_its_protocol_in_force(tmp_path: Path) -> None:
    engine = engines.connect(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0002")
        connection.execute(insert(Trial).values(id="t", created_at=_THEN, created_by="a"))
        connection.execute(text("INSERT INTO definition VALUES ('t', 1, '1.0', 'x', '{}', '2025-01-06T09:00:00.000000+00:00', 'a')"))
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version, state FROM definition")).one() == ("1.0", "in_force")
        connection.execute(text("INSERT INTO definition_use VALUES ('t', 'S01', 1, '2025-01-06', 'm', '2025-01-06T09:00:00+00:00', 'a')"))
        with pytest.raises(Exception, match="append-only"):
            connection.execute(text("UPDATE definition_use SET from_day = '2025-01-07'"))
        with pytest.raises(Exception, match="append-only"):
            connection.execute(text("UPDATE definition SET state = 'proposed'"))
    engine.dispose()
