"""A migration that is cut off anywhere leaves the database as it was, and is completed by running it again."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.builders import ROOT
from tests.conftest import _address, _administer
from tests.interrupted import EVERY, Cut, cut, dying, held, stand_at, steps_of
from trialdm import instance as instances
from trialdm import settings
from trialdm.cli import run
from trialdm.domain.errors import Broken
from trialdm.store import engine as engines
from trialdm.store import keys, migrate

#: Where an instance may stand: at nothing, or at any version but the last.
STANDS = (None, *migrate.released()[:-1])

#: How many statements of each are taken in the suite.
_SOME = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'old.db'}"
        return
    server, name = request.getfixturevalue("postgres_server"), f"m{uuid.uuid4().hex[:12]}"
    _administer(server, f'CREATE DATABASE "{name}"')
    yield _address(server, name)
    _administer(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    engine = engines.connect(address)
    yield engine
    engine.dispose()


def taken(steps: int) -> list[int]:
    """The statements before which it is cut off: the first, the commit, and some between; every one where that is asked for."""
    if os.environ.get(EVERY):
        return list(range(1, steps + 1))
    return sorted({1, steps, *range(2, steps, max(1, steps // _SOME))})


def kept(engine: Engine) -> dict[str, Any]:
    """What an instance of the first version held, as it is read today."""
    statements = {
        "account": "SELECT id, email, staff_no FROM account",
        "allocation": 'SELECT participant_id, "number", kind, site, site_no FROM allocation',
        "definition": "SELECT version, state FROM definition",
        "form": "SELECT id, form, status FROM form_instance",
        "states": "SELECT machine, subject, state FROM status ORDER BY machine",
    }
    with engine.connect() as connection:
        return {name: [tuple(row) for row in connection.execute(text(words))] for name, words in statements.items()}


KEPT = {
    "account": [("a", "a@x.org", 1)],
    "allocation": [("P1", "S01-0007", "allocated", "S01", 7)],
    "definition": [("1.0", "in_force")],
    "form": [("f", "PAIN", "complete")],
    "states": [("scheme", "main/0", "live"), ("trial", "t", "open")],
}


@pytest.mark.parametrize("stands", STANDS)
def test_cut_off_at_any_statement_nothing_is_half_migrated_and_it_is_completed_afterwards(engine: Engine, stands: str | None) -> None:
    stand_at(engine, stands)
    before = held(engine)
    assert before["stands at"] == stands
    steps = steps_of(engine)
    assert held(engine) == before
    for at in taken(steps):
        with pytest.raises(Cut), dying(engine, at, cut):
            migrate.upgrade(engine)
        assert held(engine) == before, f"cut off before statement {at} of {steps}"
    migrate.upgrade(engine)
    assert migrate.revision(engine) == migrate.newest()
    assert stands is None or kept(engine) == KEPT


def test_a_database_of_any_version_becomes_the_same_as_a_new_one(tmp_path: Path) -> None:
    """The tables and guards, whichever version they began with."""
    schemas = []
    for stands in STANDS:
        engine = engines.connect(f"sqlite:///{tmp_path / f'{stands}.db'}")
        stand_at(engine, stands)
        migrate.upgrade(engine)
        schemas.append(held(engine)["schema"])
        engine.dispose()
    assert all(one == schemas[0] for one in schemas)


@pytest.mark.parametrize("stands", STANDS[1:] if os.environ.get(EVERY) else ["0001"])
def test_a_migration_whose_process_is_killed_leaves_the_database_as_it_was(address: str, tmp_path: Path, stands: str) -> None:
    folder = tmp_path / "instance"
    settings.create(folder, database_url=address, test=True)
    keys.create(folder / "keys")
    engine = engines.connect(address)
    stand_at(engine, stands)
    before, steps = held(engine), steps_of(engine)
    for at in {2, steps // 2, steps} if os.environ.get(EVERY) else {steps}:
        engine.dispose()
        command = [sys.executable, "-m", "tests.interrupted", "migrate", str(folder), str(at)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert held(engine) == before, f"killed before statement {at} of {steps}"
    engine.dispose()
    assert run(["--instance", str(folder), "migrate"]) == 0
    assert kept(engine) == KEPT
    engine.dispose()
    instances.open_folder(folder).engine.dispose()


def test_an_older_program_touches_nothing_that_a_newer_one_has_worked_with(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "instance"
    instance = instances.create(folder, database_url=address)
    with instance.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = held(instance.engine)
    for act in (lambda: instances.open_folder(folder), lambda: migrate.upgrade(instance.engine)):
        with pytest.raises(Broken, match="stands at 9999") as refused:
            act()
        assert refused.value.code == "DATABASE.NEWER"
    for command in ("migrate", "selfcheck", "serve"):
        assert run(["--instance", str(folder), command]) == 5
        assert "a newer one has worked with it" in capsys.readouterr().err
    assert held(instance.engine) == before
    instance.engine.dispose()
