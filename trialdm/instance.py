"""An instance, opened: its settings, database, keys and clock put together. The doors and the demonstration start from here."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import Engine

from trialdm import settings as files
from trialdm.domain.errors import Broken
from trialdm.domain.identity import Vault
from trialdm.identity.client import Asked
from trialdm.identity.vault import Kept, Place
from trialdm.services.unit import Entropy, Units
from trialdm.settings import Settings
from trialdm.store import engine as database
from trialdm.store import keys, migrate

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Instance:
    """One opened instance."""

    settings: Settings
    engine: Engine
    units: Units


def clock(today: date | None) -> Clock:
    """The moment in UTC: the real one, or the real time of day on a pinned day."""
    if today is None:
        return lambda: datetime.now(UTC)
    return lambda: datetime.combine(today, datetime.now(UTC).time(), UTC)


def create(
    folder: Path, *, database_url: str = "", demo: bool = False, test: bool = False, today: date | None = None, second_factor: bool = True
) -> Instance:
    """A new, empty instance: settings, keys and tables."""
    settings = files.create(folder, database_url=database_url, demo=demo, test=test, today=today, second_factor=second_factor)
    keys.create(settings.keys_folder)
    engine = database.connect(settings.database_url)
    migrate.upgrade(engine)
    return _open(settings, engine)


def open_folder(folder: Path) -> Instance:
    """An existing instance. Raises NoInstance, and Broken for a database that needs migrating."""
    settings = files.load(folder)
    engine = database.connect(settings.database_url)
    try:
        _require_current(migrate.revision(engine))
    except Broken:
        engine.dispose()
        raise
    return _open(settings, engine)


def _require_current(stands: str | None) -> None:
    migrate.require_known(stands)
    if stands != migrate.newest():
        raise Broken(
            f"The database stands at {stands or 'nothing'}; this version needs {migrate.newest()}.",
            code="DATABASE.MIGRATE",
            needs="Run 'trialdm migrate' (after a backup).",
        )


def _open(settings: Settings, engine: Engine, entropy: Entropy = secrets.token_bytes) -> Instance:
    units = Units(engine, keys.load(settings.keys_folder), clock(settings.today), entropy, settings.world, vault(settings))
    return Instance(settings, engine, units)


def vault(settings: Settings) -> Vault:
    """The vault as the research service reaches it: inside, or behind its socket. Nothing is opened or made before it is asked."""
    if settings.vault.mode == "process":
        return Asked(settings.vault.socket, settings.vault.token, settings.vault.views_per_hour)
    return kept_vault(settings, inside=True)


def kept_vault(settings: Settings, *, inside: bool = False, pseudonyms: Entropy = secrets.token_bytes) -> Kept:
    """The vault itself, for its own process and for whoever keeps it. Only a demonstration gives it a seeded source of pseudonyms."""
    place = Place(settings.vault.folder, settings.vault.database_url, settings.world, settings.vault.views_per_hour)
    return Kept(place, clock(settings.today), pseudonyms, inside=inside)
