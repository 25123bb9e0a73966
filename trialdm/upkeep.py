"""Keeping an instance: backups while it runs, restoring one, and the check of what would make it unsafe.

A backup holds the database, the settings and the packages, and of the keys only their fingerprints: whoever finds it reads nothing that is
sealed. Keys are kept apart, and are needed to restore.
"""

import hashlib
import hmac
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select, text

import trialdm
from trialdm import instance as instances
from trialdm import settings as files
from trialdm.domain.errors import Broken, Conflict, Invalid
from trialdm.instance import Instance
from trialdm.services import trail
from trialdm.services.unit import SYSTEM
from trialdm.store import backup as copies
from trialdm.store import engine as database
from trialdm.store import migrate
from trialdm.store.tables import AuditEvent

MANIFEST = "manifest.json"

_FORMAT = 1
_HALF = ".part"


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
    shutil.copyfile(instance.settings.folder / files.FILE, half / files.FILE)
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
        "files": {name: _digest(half / name) for name in sorted(_files(half))},
    }
    (half / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    _write_through(half)
    half.rename(target)
    return manifest


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


def restore(source: Path, folder: Path, keys_folder: Path, *, database_url: str = "") -> dict[str, Any]:
    """An instance again from a backup and its keys, in a new folder; gives the manifest and how many entries of the trail hold.

    Raises Invalid and Broken for a backup or keys that are not what they were; nothing is left of the folder then.
    """
    manifest = read(source)
    if files.exists(folder):
        raise Conflict(f"There is an instance in {folder} already.", code="BACKUP.EXISTS", needs="An empty folder.")
    if manifest["revision"] != migrate.newest():
        needs = f"trialdm {manifest['version']}, and then 'trialdm migrate'."
        raise Invalid(f"This backup stands at {manifest['revision']}.", code="BACKUP.VERSION", needs=needs)
    wrong = [name for name, known in manifest["keys"].items() if _fingerprints(keys_folder).get(name) != known]
    if wrong:
        raise Broken(f"The key '{wrong[0]}' is not the one of this backup.", code="BACKUP.KEYS", needs="The keys folder of that instance.")
    kind = "postgresql" if database_url.startswith("postgresql") else "sqlite"
    if kind != manifest["database"]:
        raise Invalid(f"This is a backup of {manifest['database']}.", code="BACKUP.DATABASE", needs="An empty database of the same kind.")
    try:
        return {**manifest, "entries": _put_back(source, folder, keys_folder, manifest, database_url)}
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _put_back(source: Path, folder: Path, keys_folder: Path, manifest: dict[str, Any], database_url: str) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = [line for line in (source / files.FILE).read_text("utf-8").splitlines() if not line.startswith("database_url")]
    address = [f'database_url = "{database_url}"'] if database_url else []
    (folder / files.FILE).write_text("\n".join([*address, *kept]) + "\n", "utf-8")
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
        with opened.units.reading(SYSTEM) as unit:
            return trail.verify(unit)
    finally:
        opened.engine.dispose()


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
    found = [*_settings(instance), *_secrets(instance), *_code(instance), *_database(instance.engine), *_clock(instance)]
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
