"""Backups while people work, restoring on both databases, backups that are damaged or cut off, and the check before serving."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TRIAL, World
from tests.conftest import _address, _administer
from tests.identity.people import identifiers, kept, with_vault
from trialdm import instance as instances
from trialdm import settings, upkeep
from trialdm.demo.invented import invented
from trialdm.domain.errors import Broken, TrialError
from trialdm.services import anchors, identities, sealing, sessions, trail
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import Participant


def participants_of(instance: instances.Instance) -> set[str]:
    with instance.units.reading(SYSTEM) as unit:
        return set(unit.session.scalars(select(Participant.id)))


@pytest.fixture
def elsewhere(world: World, request: pytest.FixtureRequest) -> str:
    """The address of an empty database for what is restored: none is needed for SQLite."""
    if world.instance.engine.dialect.name == "sqlite":
        return ""
    server = request.getfixturevalue("postgres_server")
    _administer(server, "DROP DATABASE IF EXISTS restored WITH (FORCE)")
    _administer(server, "CREATE DATABASE restored")
    return _address(server, "restored")


def test_a_backup_is_restored_with_everything_in_it_and_goes_on(world: World, elsewhere: str, tmp_path: Path) -> None:
    ident = builders.randomised(world)
    kept = world.instance.settings.keys_folder
    manifest = upkeep.back_up(world.instance, tmp_path / "backup")
    after = builders.consented(world)
    assert not list((tmp_path / "backup").rglob("*.key"))
    for path in (tmp_path / "backup").rglob("*"):
        assert not path.is_file() or (kept / "audit.key").read_bytes() not in path.read_bytes()
    found = upkeep.restore(tmp_path / "backup", tmp_path / "again", kept, database_url=elsewhere)
    assert found["entries"] > 100
    assert found["rows"] == manifest["rows"]
    again = instances.open_folder(tmp_path / "again")
    assert participants_of(again) == participants_of(world.instance) - {after}
    restored = builders.like(world, again)
    builders.put(restored, ident, "EV", "AE", {"ae_term": "Cough", "ae_ser": 0, "ae_sev": 1})
    assert builders.randomised(restored) != ident, "places and numbers go on where they stood"
    with again.units.reading(SYSTEM) as unit:
        assert trail.verify(unit) > found["entries"]
    again.engine.dispose()


def test_a_backup_while_people_work_holds_whatever_was_told_to_be_saved_before(world: World, tmp_path: Path) -> None:
    told: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            told.append(builders.consented(world))

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(3):
            before = set(told)
            upkeep.back_up(world.instance, tmp_path / f"backup-{number}")
            manifest = upkeep.read(tmp_path / f"backup-{number}")
            assert manifest["rows"]["participant"] >= len(before)
    finally:
        stop.set()
        writer.join()
    assert told


#: What happens to a backup -> how restoring it is refused.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit of the database": (lambda folder: flip(folder / "trialdm.db"), "BACKUP.FILE"),
    "a setting": (lambda folder: (folder / "settings.toml").write_text("demo = true\n"), "BACKUP.FILE"),
    "a file more": (lambda folder: (folder / "more").write_text("x"), "BACKUP.FILE"),
    "a file less": (lambda folder: (folder / "settings.toml").unlink(), "BACKUP.FILE"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "BACKUP.UNKNOWN"),
    "half a manifest": (lambda folder: (folder / "manifest.json").write_text("{"), "BACKUP.UNKNOWN"),
    "another kind": (lambda folder: changed(folder, format=9), "BACKUP.UNKNOWN"),
    "another version": (lambda folder: changed(folder, revision="0001"), "BACKUP.VERSION"),
    "rows that are not there": (lambda folder: changed(folder, rows={"participant": 7}), "BACKUP.CODE"),
    "another database": (lambda folder: changed(folder, database="postgresql"), "BACKUP.DATABASE"),
    "other keys": (lambda folder: changed(folder, keys={"audit": "0" * 32}), "BACKUP.KEYS"),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def changed(folder: Path, **about: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **about}))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_restores_nothing(sqlite_world: World, tmp_path: Path, damage: str) -> None:
    upkeep.back_up(sqlite_world.instance, tmp_path / "backup")
    work, code = DAMAGES[damage]
    work(tmp_path / "backup")
    with pytest.raises(TrialError) as refused:
        upkeep.restore(tmp_path / "backup", tmp_path / "again", sqlite_world.instance.settings.keys_folder)
    assert refused.value.code == code
    assert not (tmp_path / "again").exists()


def test_an_entry_that_was_changed_in_the_backup_is_found_on_restoring(sqlite_world: World, tmp_path: Path) -> None:
    builders.consented(sqlite_world)
    folder = tmp_path / "backup"
    upkeep.back_up(sqlite_world.instance, folder)
    import sqlite3

    with sqlite3.connect(folder / "trialdm.db") as connection:
        connection.execute("DROP TRIGGER guard_audit_event_update")
        connection.execute("UPDATE audit_event SET actor_role = 'Monitor' WHERE seq = 40")
    connection.close()
    changed(folder, files={**upkeep_files(folder), "trialdm.db": upkeep._digest(folder / "trialdm.db")})
    with pytest.raises(Broken) as refused:
        upkeep.restore(folder, tmp_path / "again", sqlite_world.instance.settings.keys_folder)
    assert refused.value.code == "BACKUP.CODE", "whoever has no keys cannot write a manifest that fits"
    changed(folder, code=upkeep._code_of(json.loads((folder / "manifest.json").read_text()), sqlite_world.instance.settings.keys_folder))
    with pytest.raises(Broken) as refused:
        upkeep.restore(folder, tmp_path / "again", sqlite_world.instance.settings.keys_folder)
    assert refused.value.code.startswith("AUDIT.")


def upkeep_files(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / "manifest.json").read_text())["files"])


def test_restoring_takes_nothing_away_and_lets_nobody_in(sqlite_world: World, tmp_path: Path) -> None:
    email = sqlite_world.actor("monitor").email
    secret = sqlite_world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, builders.PASSWORD))
    upkeep.back_up(sqlite_world.instance, tmp_path / "backup")
    there = tmp_path / "there"
    there.mkdir()
    (there / "thesis.txt").write_text("mine")
    with pytest.raises(TrialError) as refused:
        upkeep.restore(tmp_path / "backup", there, sqlite_world.instance.settings.keys_folder)
    assert (refused.value.code, (there / "thesis.txt").read_text()) == ("BACKUP.EXISTS", "mine")
    upkeep.restore(tmp_path / "backup", tmp_path / "again", sqlite_world.instance.settings.keys_folder)
    again = instances.open_folder(tmp_path / "again")
    with again.units.reading(SYSTEM) as unit:
        assert sessions.session_of(unit, secret or "") is None
    again.engine.dispose()


def test_a_backup_never_replaces_another_and_one_that_was_cut_off_is_none(sqlite_world: World, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    half = tmp_path / "backup.part"
    half.mkdir()
    (half / "trialdm.db").write_text("cut off")
    with pytest.raises(TrialError):
        upkeep.read(half)
    upkeep.back_up(sqlite_world.instance, target)
    assert not half.exists()
    with pytest.raises(TrialError) as refused:
        upkeep.back_up(sqlite_world.instance, target)
    assert refused.value.code == "BACKUP.EXISTS"


def test_a_backup_that_is_killed_leaves_no_folder_that_looks_finished(sqlite_world: World, tmp_path: Path) -> None:
    folder = sqlite_world.instance.settings.folder
    for number in range(4):
        target = tmp_path / f"killed-{number}"
        command = [sys.executable, "-m", "trialdm", "--instance", str(folder), "backup", "--out", str(target)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(0.9 + number * 0.15)
            process.send_signal(signal.SIGKILL)
        if target.exists():
            upkeep.read(target)


# --- with an identity vault inside the service ------------------------------------------------------------------------


@pytest.fixture
def with_identity(sqlite_world: World) -> tuple[World, str, dict[str, str]]:
    """An instance whose own vault holds an identity; the participant, and who that is."""
    world = housed(sqlite_world, sqlite_world.instance)
    given = invented(1)
    entered = world.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", given))
    return world, entered.id, given


def housed(world: World, instance: instances.Instance) -> World:
    """The world with the vault of an instance, which takes invented people."""
    return with_vault(world, kept(instance.settings.vault.folder))


def seen(world: World, ident: str) -> dict[str, str]:
    look = world.run("research-nurse", lambda unit: identities.see(unit, TRIAL, ident, "telephoned about the visit"))
    return world.read("research-nurse", lambda unit: identities.shown(unit, look)).to_json()


def test_an_identity_is_seen_again_after_restoring_with_the_keys_of_both(
    with_identity: tuple[World, str, dict[str, str]], tmp_path: Path
) -> None:
    world, ident, given = with_identity
    known = seen(world, ident)
    place = world.instance.settings.vault.folder
    manifest = upkeep.back_up(world.instance, tmp_path / "backup")
    assert manifest["vault"]["rows"]["vault_person"] == 1
    assert set(manifest["vault"]["keys"]) == {"kek-1", "index-1"}
    for path in (tmp_path / "backup").rglob("*"):
        if path.is_file():
            assert not any(word in path.read_bytes() for word in identifiers(given))
            assert (place / "keys" / "kek-1.key").read_bytes() not in path.read_bytes()
    keys = {"vault_keys": place / "keys"}
    found = upkeep.restore(tmp_path / "backup", tmp_path / "again", world.instance.settings.keys_folder, **keys)
    assert found["entries"] > 0
    again = instances.open_folder(tmp_path / "again")
    restored = housed(builders.like(world, again), again)
    assert seen(restored, ident) == known
    again.engine.dispose()


def test_who_came_into_the_vault_after_the_research_database_was_copied_can_be_entered_again(
    with_identity: tuple[World, str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, ident, _ = with_identity
    late, copied = invented(2), upkeep._vault_copied

    def a_little_later(*about: Any) -> Any:
        world.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", late))
        return copied(*about)

    monkeypatch.setattr(upkeep, "_vault_copied", a_little_later)
    manifest = upkeep.back_up(world.instance, tmp_path / "backup")
    assert manifest["vault"]["rows"]["vault_person"] == 2
    keys = {"vault_keys": world.instance.settings.vault.folder / "keys"}
    upkeep.restore(tmp_path / "backup", tmp_path / "again", world.instance.settings.keys_folder, **keys)
    again = instances.open_folder(tmp_path / "again")
    restored = housed(builders.like(world, again), again)
    assert seen(restored, ident)
    assert restored.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", late))
    again.engine.dispose()


@pytest.mark.parametrize(("given", "code"), [("none", "BACKUP.VAULT_KEYS"), ("other", "BACKUP.KEYS"), ("there", "BACKUP.EXISTS")])
def test_a_vault_is_restored_with_its_own_keys_and_over_nothing(
    with_identity: tuple[World, str, dict[str, str]], tmp_path: Path, given: str, code: str
) -> None:
    world, _, _ = with_identity
    own = world.instance.settings
    if given == "there":
        with (own.folder / "settings.toml").open("a") as file:
            file.write(f'[vault]\nfolder = "{own.vault.folder}"\n')
    upkeep.back_up(world.instance, tmp_path / "backup")
    before = {path.name: path.read_bytes() for path in own.vault.folder.rglob("*") if path.is_file()}
    chosen = {"none": None, "other": own.keys_folder, "there": own.vault.folder / "keys"}[given]
    with pytest.raises(TrialError) as refused:
        upkeep.restore(tmp_path / "backup", tmp_path / "again", own.keys_folder, vault_keys=chosen)
    assert refused.value.code == code
    assert not (tmp_path / "again").exists()
    assert {path.name: path.read_bytes() for path in own.vault.folder.rglob("*") if path.is_file()} == before


# --- the check -------------------------------------------------------------------------------------------------------


def found(world: World, **about: Any) -> dict[str, str]:
    """What the check finds of an instance with these settings, beside what depends on who runs the tests."""
    instance = replace(world.instance, settings=replace(world.instance.settings, **about))
    instance.settings.keys_folder.chmod(0o700)
    return {one.code: one.severity for one in upkeep.selfcheck(instance) if one.code != "CODE"}


SAFE = {"secure_cookies": True, "second_factor": True, "address": "https://trial.example"}

#: What a live instance that is new is warned of.
CARE = {"MAIL": "warn", "VAULT": "warn", "ANCHORS": "warn", "BACKUP": "warn", "CHECKPOINTS": "warn"}
#: Settings of a live instance -> what is found.
SETTINGS: list[tuple[dict[str, Any], dict[str, str]]] = [
    (SAFE, CARE),
    ({**SAFE, "secure_cookies": False}, {"COOKIES": "stop", **CARE}),
    ({**SAFE, "second_factor": False}, {"FACTOR": "stop", **CARE}),
    ({**SAFE, "address": "http://trial.example"}, {"ADDRESS": "stop", **CARE}),
    ({**SAFE, "today": builders.TODAY}, {"TODAY": "stop", **CARE}),
    ({"test": True}, {"WORLD": "warn"}),
]


@pytest.mark.parametrize(("given", "wanted"), SETTINGS)
def test_unsafe_settings_are_found(sqlite_world: World, given: dict[str, Any], wanted: dict[str, str]) -> None:
    assert found(sqlite_world, **given) == wanted


def test_keys_that_others_read_or_that_are_no_keys_are_found(sqlite_world: World) -> None:
    keys = sqlite_world.instance.settings.keys_folder
    (keys / "audit.key").chmod(0o644)
    (keys / "signing.key").write_bytes(b"\0" * 32)
    shutil.copyfile(keys / "allocation.key", keys / "accounts.key")
    assert {"KEYS.OPEN", "KEYS.WEAK", "KEYS.SAME"} <= found(sqlite_world, **SAFE).keys()


def test_a_clock_that_went_back_is_found(sqlite_world: World) -> None:
    builders.consented(sqlite_world)
    sqlite_world.now = sqlite_world.now.replace(year=sqlite_world.now.year - 1)
    assert found(replace_clock(sqlite_world), **SAFE)["CLOCK"] == "stop"


def replace_clock(world: World) -> World:
    """The instance with the clock of the test."""
    return replace(world, instance=replace(world.instance, units=world.units))


def test_a_postgresql_that_may_lose_a_commit_is_found(world: World) -> None:
    if world.instance.engine.dialect.name == "sqlite":
        assert "DATABASE" not in found(world, **SAFE)
    else:
        assert found(world, **SAFE)["DATABASE"] == "stop", "the server of the tests is such a one"


def test_what_a_live_instance_lacks_in_care_is_warned_of_until_it_is_there(world: World, tmp_path: Path) -> None:
    """The vault apart, entries sealed, checkpoints elsewhere, a backup of last night; each warning goes with its cause."""
    world.now = datetime.now(UTC)
    builders.screened(world)
    vault = replace(world.instance.settings.vault, mode="process")
    away = settings.Anchors(tmp_path / "away")

    def missing(**about: Any) -> set[str]:
        return {name for name in found(replace_clock(world), **SAFE, **about) if name in CARE} - {"MAIL"}

    assert missing() == {"VAULT", "ANCHORS", "BACKUP", "CHECKPOINTS"}
    assert missing(vault=vault) == {"ANCHORS", "BACKUP", "CHECKPOINTS"}
    sealing.seal_all(world.units)
    assert missing(vault=vault) == {"ANCHORS", "BACKUP"}
    assert missing(vault=vault, anchors=away) == {"ANCHORS", "BACKUP"}, "nothing was given away yet"
    world.units.run(SYSTEM, lambda unit: anchors.to_file(unit, tmp_path / "away"))
    assert missing(vault=vault, anchors=away) == {"BACKUP"}
    upkeep.back_up(world.instance, tmp_path / "backup")
    assert missing(vault=vault, anchors=away) == set()
    world.now += timedelta(days=3)
    assert missing(vault=vault, anchors=away) == {"ANCHORS", "BACKUP", "CHECKPOINTS"}, "the entry about the anchor waits"
    (world.instance.settings.folder / upkeep.NEWEST).write_text("{")
    assert "BACKUP" in missing(vault=vault, anchors=away)


def test_a_live_instance_that_is_unsafe_is_not_served(sqlite_world: World) -> None:
    folder = sqlite_world.instance.settings.folder
    command = [sys.executable, "-m", "trialdm", "--instance", str(folder), "serve", "--port", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=60)
    assert done.returncode == 5
    assert "SELFCHECK.STOP" in done.stderr
    assert "second_factor = true" in done.stderr
