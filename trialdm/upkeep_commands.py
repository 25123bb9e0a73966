"""The commands that keep an instance: selfcheck, backup, restore. Part of the command line."""

from datetime import UTC, datetime
from pathlib import Path

import click

from trialdm import upkeep
from trialdm.domain.errors import Broken, Invalid
from trialdm.store import grants as sql
from trialdm.terminal import PATH, Terminal, pass_terminal


@click.command("selfcheck")
@pass_terminal
def selfcheck(terminal: Terminal) -> None:
    """Say what makes this instance unsafe: settings, keys, code, database, clock. Stops keep a live instance from serving."""
    found = upkeep.selfcheck(terminal.instance)
    lines = [f"{'STOP' if one.severity == 'stop' else 'warn'}  {one.code:10} {one.message} Mend: {one.needs}" for one in found]
    terminal.say([one.to_json() for one in found], "\n".join(lines) or "Nothing was found.")
    stops = [one for one in found if one.severity == "stop"]
    if stops:
        raise Broken(f"{len(stops)} of these would keep it from serving.", code="SELFCHECK.STOP", needs="What each line says.")


@click.command("grants")
@click.argument("role")
@pass_terminal
def grants(terminal: Terminal, role: str) -> None:
    """Write the SQL that gives a PostgreSQL role what the service needs and no more: for the owner of the tables, after each migration."""
    engine = terminal.instance.engine
    if engine.dialect.name != "postgresql":
        raise Invalid("This instance is on SQLite, which knows no roles.", code="DATABASE.KIND", needs="An instance on PostgreSQL.")
    if not role.replace("_", "").isalnum():
        raise Invalid(f"'{role}' cannot be a role.", code="DATABASE.ROLE", needs="Letters, digits and underscores.")
    found = list(sql.statements(role, str(engine.url.database)))
    terminal.say(found, "\n".join(f"{statement};" for statement in found))


@click.command("backup")
@click.option("--out", type=PATH, help="A new folder; by default one named by the moment, in backups/ beside the instance.")
@pass_terminal
def backup(terminal: Terminal, out: Path | None) -> None:
    """Copy database, settings, packages and a vault inside the service into a new folder, while in use; of keys only fingerprints."""
    folder = terminal.instance.settings.folder
    target = out or folder.parent / f"{folder.name}-backups" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    manifest = upkeep.back_up(terminal.instance, target)
    elsewhere = "the keys folder, and that of the vault," if manifest["vault"] else "the keys folder"
    words = f"Backed up {sum(manifest['rows'].values())} rows and {len(manifest['files'])} files into {target}. Keep {elsewhere} elsewhere."
    terminal.say({"folder": str(target), **manifest}, words)


@click.command("restore")
@click.argument("source", type=PATH)
@click.option("--keys", "keys_folder", type=PATH, required=True, help="The keys folder of the instance that was backed up.")
@click.option("--database", default="", help="Address of an empty database, for a backup of PostgreSQL.")
@click.option("--vault-keys", type=PATH, help="The keys folder of its identity vault, where the backup holds one.")
@click.option("--vault-database", default="", help="Address of an empty database for the vault, where that was PostgreSQL.")
@pass_terminal
def restore(terminal: Terminal, source: Path, keys_folder: Path, database: str, vault_keys: Path | None, vault_database: str) -> None:
    """Make an instance again from a backup, in the folder of --instance, and verify its audit trail."""
    found = upkeep.restore(
        source, terminal.folder, keys_folder, database_url=database, vault_keys=vault_keys, vault_database_url=vault_database
    )
    rows = sum(found["rows"].values())
    words = f"Restored {rows} rows of {found['began_at']} into {terminal.folder}. {found['entries']} entries of the trail hold."
    terminal.say(found, words)
