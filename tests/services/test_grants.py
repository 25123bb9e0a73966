"""The service's PostgreSQL role: everything works under it, and it can change no table of record, drop no guard and define nothing."""

from dataclasses import replace

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests import builders
from tests.builders import TRIAL, World
from tests.conftest import Template, _administer
from trialdm.services import proof, redactions, sealing
from trialdm.services.unit import SYSTEM
from trialdm.store import engine as engines
from trialdm.store import grants
from trialdm.store.tables import APPEND_ONLY, REDACTABLE, AuditValue, Table


@pytest.fixture
def served(postgres_template: Template, tmp_path):
    """A furnished instance that is served under a role of its own."""
    lent = postgres_template.lent(tmp_path / "instance")
    world = next(lent)
    owner = world.instance.engine
    _administer(postgres_template.server, "DO $$ BEGIN CREATE ROLE service LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    with owner.begin() as connection:
        for statement in grants.statements("service", str(owner.url.database)):
            connection.execute(text(statement))
    engine = engines.connect(owner.url.set(username="service").render_as_string(hide_password=False))
    yield replace(world, instance=replace(world.instance, engine=engine), units=replace(world.units, engine=engine))
    engine.dispose()
    next(lent, None)


def test_a_trial_is_run_under_it(served: World) -> None:
    ident = builders.randomised(served)
    builders.put(served, ident, "V01", "DEMO", {"age_years": 61}, reason="typing")
    sealing.seal_all(served.units)
    with served.units.reading(SYSTEM) as unit:
        assert proof.verify(unit).findings == []


def test_a_value_is_removed_under_it_by_two_people(served: World) -> None:
    ident = builders.consented(served)
    builders.put(served, ident, "EV", "AE", {"ae_term": "Fell beside Anna Example", "ae_ser": 0, "ae_sev": 1})
    builders.put(served, ident, "EV", "AE", {"ae_term": "Fell", "ae_ser": 0, "ae_sev": 1}, reason="typing")
    with served.units.reading(SYSTEM) as unit:
        entry, *_ = unit.session.scalars(
            select(AuditValue.event_id).where(AuditValue.value == '"Fell beside Anna Example"', AuditValue.which == "new")
        )
    served.run("trial-manager", lambda unit: redactions.ask(unit, TRIAL, entry, "a name was typed"))
    assert served.run("sponsor", lambda unit: redactions.confirm(unit, TRIAL, entry)) >= 1


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_no_table_of_record_is_changed(served: World, table: str) -> None:
    """By right, or where a row has to be locked or a value removed by two people, by the guard that stands before every row."""
    guarded = table in (*REDACTABLE, "participant")
    if guarded:
        builders.consented(served)
    with served.instance.engine.connect() as connection:
        empty = connection.scalar(text(f'SELECT count(*) FROM "{table}"')) == 0
    update = f'UPDATE "{table}" SET {_column(table)} = {_column(table)}'
    for statement in (update, f'DELETE FROM "{table}"', f'TRUNCATE "{table}"'):
        if guarded and empty and statement == update:
            continue
        with pytest.raises(DBAPIError) as refused, served.instance.engine.begin() as connection:
            connection.execute(text(statement))
        assert "permission denied" in str(refused.value) or (guarded and "append-only" in str(refused.value)), statement


def _column(table: str) -> str:
    return f'"{Table.metadata.tables[table].columns.keys()[0]}"'


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER guard_audit_event_row ON audit_event",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
        "DROP TABLE audit_event",
        "CREATE TABLE more (x integer)",
        "CREATE OR REPLACE FUNCTION trialdm_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "SET session_replication_role = replica",
    ],
)
def test_no_guard_is_taken_away(served: World, statement: str) -> None:
    with pytest.raises(DBAPIError), served.instance.engine.begin() as connection:
        connection.execute(text(statement))
