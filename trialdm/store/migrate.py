"""Bringing a database to the tables of this version. All that is to be done is one transaction: interrupted, it leaves nothing."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from trialdm.domain.errors import Broken

_FOLDER = Path(__file__).parent / "migrations"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Run every migration that the database has not seen. Raises Broken for one that a newer version has changed."""
    require_known(revision(engine))
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def revision(engine: Engine) -> str | None:
    """The migration that the database stands at; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def require_known(stands: str | None) -> None:
    """Raises Broken for a migration that this version does not have: a newer one made it, and knows what it means."""
    if stands is not None and stands not in released():
        raise Broken(
            f"The database stands at {stands}, which this version of trialdm does not know: a newer one has worked with it.",
            code="DATABASE.NEWER",
            needs="That version of trialdm or a later one. Nothing was changed.",
        )


@cache
def released() -> tuple[str, ...]:
    """Every migration of this version, the first one first. Their files do not change while it runs."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return tuple(script.revision for script in ScriptDirectory.from_config(config).walk_revisions())[::-1]


def newest() -> str:
    """The migration that this version of trialdm needs."""
    return released()[-1]
