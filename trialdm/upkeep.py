"""Keeping an instance: backups while it runs, restoring one, and the check of what would make it unsafe.

A backup holds the database, the settings and the packages, and the database of an identity vault that runs inside the service; of the keys
only their fingerprints: whoever finds it reads nothing that is sealed. Keys are kept apart, and are needed to restore.
"""

import hashlib
import hmac
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, exists, func, inspect, select, text
from sqlalchemy.engine import make_url

import trialdm
from trialdm import instance as instances
from trialdm import settings as files
from trialdm.domain.errors import Broken, Conflict, Invalid
from trialdm.identity import tables as identities_tables
from trialdm.instance import Instance
from trialdm.services import identities, trail
from trialdm.services.unit import SYSTEM
from trialdm.settings import Settings
from trialdm.store import backup as copies
from trialdm.store import engine as database
from trialdm.store import migrate
from trialdm.store.tables import Anchor, AuditEvent, AuditLeaf, IdentityAct, OutsideWay, WebSession

MANIFEST = "manifest.json"

#: In the folder of the instance: when the newest backup was made, and where.
NEWEST = "newest-backup.json"

_FORMAT = 1
_HALF = ".part"
_VAULT = "vault"


# --- backups ---------------------------------------------------------------------------------------------------------


def back_up(instance: Instance, target: Path) -> dict[str, Any]:
    """Write a backup into a new folder, while the instance is in use; gives its manifest. Interrupted, it leaves no folder of that name.

    Raises Conflict where the folder is there already.
    """
    if target.exists():
        raise Conflict(f"There is {target} already.", code="BACKUP.EXISTS", needs="Another folder: a backup never replaces one.")
    half = target.with_name(target.name + _HALF)
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700, parents=True)
    began = datetime.now(UTC)
    rows = copies.copy(instance.engine, half)
    vault = _vault_copied(instance.settings, half / _VAULT)
    (half / files.FILE).write_text("\n".join(_without_addresses(instance.settings.folder)) + "\n", "utf-8")
    if instance.settings.exports_folder.is_dir():
        shutil.copytree(instance.settings.exports_folder, half / "exports", ignore=shutil.ignore_patterns(f"*{_HALF}"))
    manifest = {
        "format": _FORMAT,
        "began_at": began.isoformat(timespec="seconds"),
        "version": trialdm.__version__,
        "revision": migrate.newest(),
        "database": instance.engine.dialect.name,
        "rows": rows,
        "keys": _fingerprints(instance.settings.keys_folder),
        "vault": vault,
        "files": {name: _digest(half / name) for name in sorted(_files(half))},
    }
    manifest["code"] = _code_of(manifest, instance.settings.keys_folder)
    (half / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    _write_through(half)
    half.rename(target)
    newest = {"at": began.isoformat(timespec="seconds"), "folder": str(target.resolve())}
    (instance.settings.folder / NEWEST).write_text(json.dumps(newest) + "\n", "utf-8")
    return manifest


def _vault_copied(settings: Settings, folder: Path) -> dict[str, Any] | None:
    """The vault inside the service, copied after the research database: whoever stands there stands here. None where there is none."""
    if settings.vault.mode != "inside":
        return None
    file = make_url(settings.vault.database_url)
    if file.get_backend_name() == "sqlite" and not Path(str(file.database)).is_file():
        return None
    engine = identities_tables.connect(settings.vault.database_url)
    if not inspect(engine).has_table(identities_tables.person.name):
        return None
    folder.mkdir()
    rows = copies.copy(engine, folder, identities_tables.metadata)
    return {"database": engine.dialect.name, "rows": rows, "keys": _fingerprints(settings.vault.folder / "keys")}


def _without_addresses(folder: Path) -> list[str]:
    """The settings without the addresses of databases, which may hold a password and are given anew on restoring."""
    return [line for line in (folder / files.FILE).read_text("utf-8").splitlines() if not line.startswith("database_url")]


def _code_of(manifest: dict[str, Any], keys_folder: Path) -> str:
    """What only somebody with the keys can write under a manifest: a backup that was changed is not restored as if it were whole."""
    said = json.dumps({name: value for name, value in manifest.items() if name != "code"}, sort_keys=True)
    return hmac.digest((keys_folder / "audit.key").read_bytes(), b"backup|" + said.encode(), "sha256").hex()


def _fingerprints(folder: Path) -> dict[str, str]:
    """Of each key by what it can be known again, and not made."""
    return {path.stem: hmac.digest(path.read_bytes(), b"fingerprint", "sha256").hex()[:32] for path in sorted(folder.glob("*.key"))}


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != MANIFEST:
            yield path.relative_to(folder).as_posix()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_through(folder: Path) -> None:
    """Everything is on the disk before the folder gets its name."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read(source: Path) -> dict[str, Any]:
    """The manifest of a backup whose files are all there, as they were written. Raises Invalid, and Broken naming the file that differs."""
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        raise Invalid(f"{source} is no finished backup.", code="BACKUP.UNKNOWN", needs="A folder that 'trialdm backup' wrote.") from None
    if manifest.get("format") != _FORMAT:
        raise Invalid("This backup is of another kind.", code="BACKUP.UNKNOWN", needs="The version of trialdm that wrote it.")
    there = set(_files(source))
    for name in sorted(there ^ manifest["files"].keys()):
        raise Broken(f"{name} {'does not belong to' if name in there else 'is lacking in'} the backup.", code="BACKUP.FILE")
    for name, digest in manifest["files"].items():
        if _digest(source / name) != digest:
            raise Broken(f"{name} is not as it was written.", code="BACKUP.FILE", needs="Another backup.")
    return manifest


def restore(
    source: Path, folder: Path, keys_folder: Path, *, database_url: str = "", vault_keys: Path | None = None, vault_database_url: str = ""
) -> dict[str, Any]:
    """An instance again from a backup and its keys, in a new folder; gives the manifest and how many entries of the trail hold.

    A backup with an identity vault needs the keys of the vault too.

    Raises Invalid and Broken for a backup or keys that are not what they were; nothing is left of the folder then.
    """
    manifest = read(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"There is something in {folder} already.", code="BACKUP.EXISTS", needs="An empty folder, or none.")
    if manifest["revision"] != migrate.newest():
        needs = f"trialdm {manifest['version']}, and then 'trialdm migrate'."
        raise Invalid(f"This backup stands at {manifest['revision']}.", code="BACKUP.VERSION", needs=needs)
    _require_same(manifest["keys"], keys_folder, "The keys folder of that instance.")
    _require_kind(manifest["database"], database_url)
    held = manifest.get("vault")
    if held:
        if vault_keys is None:
            raise Invalid(
                "This backup holds an identity vault, which is of no use without its keys.",
                code="BACKUP.VAULT_KEYS",
                needs="--vault-keys with the keys folder of that vault.",
            )
        _require_same(held["keys"], vault_keys, "The keys folder of that vault.")
        _require_kind(held["database"], vault_database_url)
    if not hmac.compare_digest(str(manifest.get("code", "")), _code_of(manifest, keys_folder)):
        raise Broken("The manifest was changed after the backup was made.", code="BACKUP.CODE", needs="Another backup.")
    try:
        _settings_put_back(source, folder, database_url, vault_database_url)
        if held and vault_keys:
            _vault_put_back(source, files.load(folder), vault_keys, held["rows"])
        return {**manifest, "entries": _put_back(source, folder, keys_folder, manifest)}
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _require_same(known: dict[str, str], keys_folder: Path, needs: str) -> None:
    """Raises Broken for a key that is not the one of the backup."""
    there = _fingerprints(keys_folder)
    for name, fingerprint in known.items():
        if there.get(name) != fingerprint:
            raise Broken(f"The key '{name}' is not the one of this backup.", code="BACKUP.KEYS", needs=needs)


def _require_kind(database: str, url: str) -> None:
    if ("postgresql" if url.startswith("postgresql") else "sqlite") != database:
        raise Invalid(f"This is a backup of {database}.", code="BACKUP.DATABASE", needs="An empty database of the same kind.")


def _settings_put_back(source: Path, folder: Path, database_url: str, vault_database_url: str) -> None:
    """The settings of the backup, with the addresses of the new databases."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = _without_addresses(source)
    if database_url:
        lines.insert(0, f'database_url = "{database_url}"')
    if vault_database_url:
        if "[vault]" not in lines:
            lines.append("[vault]")
        lines.insert(lines.index("[vault]") + 1, f'database_url = "{vault_database_url}"')
    (folder / files.FILE).write_text("\n".join(lines) + "\n", "utf-8")


def _vault_put_back(source: Path, settings: Settings, keys_folder: Path, rows: dict[str, int]) -> None:
    """The vault beside the instance. Raises Conflict where one is there already, which is never replaced."""
    place = settings.vault.folder
    if place.exists():
        raise Conflict(f"There is a vault in {place} already.", code="BACKUP.EXISTS", needs="Settings that name a folder of its own.")
    place.mkdir(mode=0o700, parents=True)
    shutil.copytree(keys_folder, place / "keys")
    engine = identities_tables.connect(settings.vault.database_url)
    if copies.put_back(source / _VAULT, engine, identities_tables.metadata, identities_tables.metadata.create_all) != rows:
        raise Broken("The restored vault does not have the rows of the backup.", code="BACKUP.ROWS", needs="Another backup.")


def _put_back(source: Path, folder: Path, keys_folder: Path, manifest: dict[str, Any]) -> int:
    shutil.copytree(keys_folder, folder / "keys")
    if (source / "exports").is_dir():
        shutil.copytree(source / "exports", folder / "exports")
    engine = database.connect(files.load(folder).database_url)
    rows = copies.put_back(source, engine)
    engine.dispose()
    if rows != manifest["rows"]:
        raise Broken("The restored tables do not have the rows of the backup.", code="BACKUP.ROWS", needs="Another backup.")
    opened = instances.open_folder(folder)
    try:
        with opened.engine.begin() as connection:  # nobody is signed in to what was restored
            connection.execute(delete(WebSession))
            connection.execute(delete(OutsideWay))
        if manifest.get("vault"):
            _agree(opened)
        with opened.units.reading(SYSTEM) as unit:
            return trail.verify(unit)
    finally:
        opened.engine.dispose()


def _agree(opened: Instance) -> None:
    """The vault was copied a little later: whoever was entered between the two copies is forgotten there, and can be entered again."""
    with opened.units.reading(SYSTEM) as unit:
        entered = unit.session.execute(
            select(IdentityAct.trial_id, IdentityAct.participant_id).where(IdentityAct.act.in_(("enter", "shred")))
        )
        kept = instances.kept_vault(opened.settings)
        kept.doubt({(row.trial_id, row.participant_id) for row in entered})
        identities.reconcile(unit, 0)


# --- the check of what would be unsafe -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One thing that the check found: a stop keeps a live instance from serving, a warning does not."""

    code: str
    severity: str
    message: str
    needs: str

    def to_json(self) -> dict[str, str]:
        return vars(self).copy()


_MOST_SKEW_SECONDS = 2


def selfcheck(instance: Instance) -> list[Found]:
    """What makes this instance unsafe, the stops first."""
    found = [*_settings(instance), *_secrets(instance), *_code(instance), *_database(instance.engine), *_clock(instance), *_care(instance)]
    return sorted(found, key=lambda one: one.severity != "stop")


def _settings(instance: Instance) -> Iterator[Found]:
    s = instance.settings
    if s.world != "live":
        yield Found(
            "WORLD", "warn", "Nothing is real in this instance.", "An instance that is neither a demonstration nor a test, for a trial."
        )
        return
    if not s.secure_cookies:
        yield Found("COOKIES", "stop", "Sessions would travel without HTTPS.", "secure_cookies = true, behind HTTPS.")
    if not s.second_factor:
        yield Found("FACTOR", "stop", "People sign in by password alone.", "second_factor = true.")
    if not s.address.startswith("https://"):
        yield Found(
            "ADDRESS", "stop", "The address of the service is not set: security keys could not be bound to it.", 'address = "https://..."'
        )
    if s.today is not None:
        yield Found("TODAY", "stop", "The day is pinned.", "No 'today' in the settings.")
    if s.mail is None:
        yield Found(
            "MAIL", "warn", "No mail is sent: nobody is told of deadlines, safety or their account.", "A table [mail] in the settings."
        )


def _secrets(instance: Instance) -> Iterator[Found]:
    folder = instance.settings.keys_folder
    contents: dict[bytes, str] = {}
    for path in [folder, *sorted(folder.glob("*.key")), instance.settings.folder / files.FILE]:
        if path.name != files.FILE and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Found(
                "KEYS.OPEN",
                "stop",
                f"{path.name} can be read by others than the service's user.",
                "chmod 700 for the folder, 600 for keys.",
            )
        if path.suffix != ".key":
            continue
        content = path.read_bytes()
        if len(set(content)) < 8:
            yield Found("KEYS.WEAK", "stop", f"{path.name} is no random key.", "A key that 'trialdm init' made.")
        if content in contents:
            yield Found("KEYS.SAME", "stop", f"{path.name} and {contents[content]} are the same.", "A key of its own for each purpose.")
        contents[content] = path.name


def _code(instance: Instance) -> Iterator[Found]:
    """Whoever gets into the service must not be able to change the program: it would outlive every mend (INFINITERED, 2023-25)."""
    package = Path(trialdm.__file__).parent
    written = next((path for path in [package, *package.rglob("*.py")] if os.access(path, os.W_OK)), None)
    if written is not None:
        severity = "stop" if instance.settings.world == "live" and os.geteuid() != 0 else "warn"
        yield Found(
            "CODE", severity, "The service's user can change the program itself.", "Code that belongs to another user, and is read-only."
        )
    if os.environ.get("FLASK_DEBUG") or os.environ.get("PYTHONINSPECT"):
        yield Found("DEBUG", "stop", "The program is told to run as for a developer.", "No FLASK_DEBUG, no PYTHONINSPECT.")


def _database(engine: Engine) -> Iterator[Found]:
    """Settings of SQLite are set and read back with every connection (`store.engine`); those of PostgreSQL belong to its server."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                if connection.scalar(text(f"SHOW {name}")) == "off":
                    yield Found("DATABASE", "stop", f"PostgreSQL runs with {name} off: a commit may be lost.", f"{name} = on.")
            return
        if connection.scalar(text("PRAGMA quick_check")) != "ok":
            yield Found("DATABASE", "stop", "The database file is damaged.", "The newest backup.")


def _clock(instance: Instance) -> Iterator[Found]:
    now = instance.units.clock()
    with instance.units.reading(SYSTEM) as unit:
        newest = unit.session.scalar(select(func.max(AuditEvent.at_utc)))
        server = unit.session.scalar(text("SELECT clock_timestamp()")) if instance.engine.dialect.name != "sqlite" else None
    if newest and (datetime.fromisoformat(newest) - now).total_seconds() > _MOST_SKEW_SECONDS:
        yield Found("CLOCK", "stop", f"The audit trail goes on until {newest}, which is to come.", "The right time on this machine.")
    if isinstance(server, datetime) and instance.settings.today is None and abs((server - now).total_seconds()) > _MOST_SKEW_SECONDS:
        yield Found(
            "CLOCK",
            "stop",
            "The clocks of this machine and of the database differ by more than two seconds.",
            "One source of time for both.",
        )


#: How long entries may wait to be sealed, and how old the newest backup and the newest checkpoint elsewhere may be.
_MOST_WAIT = timedelta(days=1)


def _care(instance: Instance) -> Iterator[Found]:
    """What keeps a live instance from being lost or doubted: a vault of its own, sealed entries, checkpoints elsewhere, backups."""
    s, now = instance.settings, instance.units.clock()
    if s.world != "live":
        return
    if s.vault.mode == "inside":
        yield Found(
            "VAULT",
            "warn",
            "Identities are kept inside the service: whoever gets into it reaches both.",
            'mode = "process" in [vault], with the vault under a user of its own; see /help/identities.',
        )
    with instance.units.reading(SYSTEM) as unit:
        waits = select(func.min(AuditEvent.at_utc)).where(~exists().where(AuditLeaf.event_id == AuditEvent.event_id))
        oldest = unit.session.scalar(waits)
        away = unit.session.scalar(select(func.max(Anchor.at)))
    if oldest and now - datetime.fromisoformat(oldest) > _MOST_WAIT:
        yield Found(
            "CHECKPOINTS", "warn", f"Entries of the trail wait since {oldest[:16]} to be sealed.", "'trialdm serve' with its worker."
        )
    if not (s.anchors.folder or s.anchors.mail or s.anchors.stamp_address):
        yield Found("ANCHORS", "warn", "No checkpoint of the trail lies elsewhere.", "A table [anchors] in the settings; see /help/audit.")
    elif away is None or now - away > 2 * _MOST_WAIT:
        since = f"since {away:%Y-%m-%d}" if away else "yet"
        yield Found("ANCHORS", "warn", f"No checkpoint of the trail was given away {since}.", "'trialdm serve' with its worker.")
    made = _newest_backup(s.folder / NEWEST)
    if made is None or now - made > _MOST_WAIT:
        words = f"The newest backup is of {made:%Y-%m-%d %H:%M}." if made else "No backup of this instance is known."
        yield Found("BACKUP", "warn", words, "'trialdm backup' every night, to another machine.")


def _newest_backup(file: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(file.read_text("utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require_safe(instance: Instance) -> None:
    """Raises Broken with everything that keeps a live instance from serving."""
    if instance.settings.world != "live":
        return
    stops = [one for one in selfcheck(instance) if one.severity == "stop"]
    if stops:
        raise Broken(
            "This instance is not safe to serve: " + " ".join(one.message for one in stops),
            code="SELFCHECK.STOP",
            needs=" ".join(one.needs for one in stops),
        )
