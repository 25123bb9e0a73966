"""The vault: the same answers in this process and behind its socket, on SQLite and PostgreSQL; and what its database gives away."""

import os
import socket
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from tests.conftest import _address, _administer
from tests.identity.people import TRIAL, identifiers, kept, served, who
from trialdm.demo.invented import invented
from trialdm.domain import pseudonym
from trialdm.domain.errors import Broken, Conflict, Invalid, Missing, Refused, VaultAway
from trialdm.domain.identity import Vault, from_json
from trialdm.identity import keys, wire
from trialdm.identity.client import Asked
from trialdm.identity.server import Server
from trialdm.identity.tables import looked, person, sealed, versions
from trialdm.identity.vault import Kept


@pytest.fixture(params=["inside", "process", "postgres"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vault]:
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        name = f"vault{os.urandom(6).hex()}"
        _administer(server, f'CREATE DATABASE "{name}"')
        yield kept(tmp_path / "vault", _address(server, name))
        _administer(server, f'DROP DATABASE "{name}" WITH (FORCE)')
        return
    inner = kept(tmp_path / "vault")
    if request.param == "inside":
        yield inner
        return
    with tempfile.TemporaryDirectory() as short, served(inner, Path(short), (os.getuid(),)) as client:
        yield client


def put(vault: Vault, number: int, trial: str = TRIAL, **changed: str) -> str:
    like = vault.enter(trial, who(number, **changed), by="nurse")
    assert like.kind == "new"
    vault.settle(trial, like.participant)
    return like.participant


def test_an_identity_is_kept_under_a_pseudonym_and_shown(vault: Vault) -> None:
    ident = put(vault, 1)
    assert pseudonym.normalise(ident) == ident
    assert vault.show(TRIAL, ident, by="nurse") == who(1)
    with pytest.raises(Missing):
        vault.show("other", ident, by="nurse")


def test_every_duplicate_is_found_and_nobody_else(vault: Vault) -> None:
    idents = [put(vault, number) for number in range(30)]
    assert [vault.likeness(TRIAL, who(number)).participant for number in range(30)] == idents
    assert {vault.likeness(TRIAL, who(number)).kind for number in range(30, 60)} == {"new"}
    assert {vault.likeness("other", who(number)).kind for number in range(30)} == {"new"}
    again = vault.enter(TRIAL, who(3), by="nurse")
    assert (again.kind, again.participant) == ("same", idents[3])


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, "same"),
        ({"family_name": "Entirelyother", "born": "1990-01-01"}, "same"),
        ({"family_name": "Entirelyother", "given_name": "Nobody"}, "same"),
        ({"family_name": "Entirelyother", "given_name": "Nobody", "born": "1990-01-01"}, "number"),
        ({"nhs_number": "", "no_nhs_number": "Has lost it"}, "possible"),
        ({"nhs_number": "9990000018"}, "new"),
    ],
    ids=["all", "given name", "date", "number only", "no number", "another number"],
)
def test_two_identifiers_make_the_same_person(vault: Vault, changed: dict[str, str], kind: str) -> None:
    put(vault, 5)
    assert vault.likeness(TRIAL, who(5, **changed)).kind == kind


def test_another_person_of_the_same_name_is_taken_once_somebody_says_so(vault: Vault) -> None:
    put(vault, 5)
    twin = who(5, nhs_number="", no_nhs_number="Not registered")
    assert vault.enter(TRIAL, twin, by="nurse").kind == "possible"
    assert vault.enter(TRIAL, twin, by="nurse", different=True).kind == "new"


def test_what_is_pending_is_waited_for_then_settled_or_forgotten(vault: Vault) -> None:
    like = vault.enter(TRIAL, who(1), by="nurse")
    assert vault.likeness(TRIAL, who(1)).kind == "waiting"
    with pytest.raises(Missing):
        vault.show(TRIAL, like.participant, by="nurse")
    assert [(one.trial, one.participant) for one in vault.waiting()] == [(TRIAL, like.participant)]
    vault.withdraw(TRIAL, like.participant)
    assert vault.waiting() == []
    assert vault.likeness(TRIAL, who(1)).kind == "new"
    ident = put(vault, 1)
    vault.withdraw(TRIAL, ident)  # what is active is not forgotten
    assert vault.likeness(TRIAL, who(1)).kind == "same"


def test_a_participant_has_one_identity(vault: Vault) -> None:
    like = vault.enter(TRIAL, who(1), by="nurse", participant="K7QF-2M9X-CC")
    assert like.participant == "K7QF-2M9X-CC"
    with pytest.raises(Conflict) as refused:
        vault.enter(TRIAL, who(2), by="nurse", participant="K7QF-2M9X-CC")
    assert refused.value.code == "IDENTITY.ENTERED"


def test_the_vault_answers_which_kinds_stand_in_a_text_and_nothing_more(vault: Vault) -> None:
    ident = put(vault, 1)
    given = who(1)
    assert vault.contains(TRIAL, ident, f"{given.given_name} {given.family_name} rang") == ("full_name",)
    assert vault.contains(TRIAL, ident, "The wound is dry.") == ()
    assert vault.contains(TRIAL, "K7QF-2M9X-CC", given.family_name) == ()


def test_a_person_looks_at_five_in_an_hour_and_each_is_noted(vault: Vault) -> None:
    ident = put(vault, 1)
    for _ in range(5):
        vault.show(TRIAL, ident, by="nurse")
    with pytest.raises(Refused) as refused:
        vault.show(TRIAL, ident, by="nurse")
    assert refused.value.code == "IDENTITY.OFTEN"
    assert vault.show(TRIAL, ident, by="other nurse") == who(1)


def test_a_world_takes_its_own_numbers_only(vault: Vault) -> None:
    real = who(1).to_json() | {"nhs_number": "9434765919"}
    with pytest.raises(Invalid) as refused:
        vault.enter(TRIAL, from_json(real), by="nurse")
    assert [detail.place for detail in refused.value.details] == ["nhs_number"]
    assert "9434765919" not in f"{refused.value.message}{refused.value.details}"


def test_shredding_leaves_a_tombstone_and_lets_the_person_come_again(vault: Vault) -> None:
    ident = put(vault, 1)
    at = vault.shred(TRIAL, ident, by="manager")
    assert vault.shred(TRIAL, ident, by="manager") == at
    with pytest.raises(Missing):
        vault.show(TRIAL, ident, by="nurse")
    assert vault.contains(TRIAL, ident, who(1).family_name) == ()
    assert put(vault, 1) != ident


def test_ten_at_the_same_moment_make_one_participant(vault: Vault) -> None:
    with ThreadPoolExecutor(10) as pool:
        kinds = list(pool.map(lambda _: vault.enter(TRIAL, who(1), by="nurse").kind, range(10)))
    assert sorted(kinds) == ["new"] + ["waiting"] * 9


# --- the database ----------------------------------------------------------------------------------------------------


def test_the_vaults_files_hold_no_identifier(tmp_path: Path) -> None:
    vault = kept(tmp_path / "vault")
    for number in range(50):
        put(vault, number)
    content = b"".join(path.read_bytes() for path in (tmp_path / "vault").rglob("*") if path.is_file())
    assert [word for number in range(50) for word in identifiers(invented(number)) if word in content] == []
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "vault" / "keys").iterdir()] == [0o600, 0o600]


def test_the_same_value_is_sealed_differently_each_time_and_nonces_do_not_repeat(tmp_path: Path) -> None:
    vault = kept(tmp_path / "vault")
    for number in range(20):
        put(vault, 5, f"trial-{number}")
    with vault._reading() as connection:
        values = list(connection.scalars(select(sealed.c.value)))
        numbers = list(connection.scalars(select(person.c.number)))
    assert len({value[:12] for value in values}) == len({value[12:] for value in values}) == len(values)
    assert len(set(numbers)) == 20  # the same person in another trial has another index


@pytest.mark.parametrize("what", ["field", "row", "trial"])
def test_a_value_that_was_moved_is_refused(tmp_path: Path, what: str) -> None:
    vault = kept(tmp_path / "vault")
    one, other = put(vault, 1), put(vault, 2)
    with vault._writing() as connection:
        ids = {row.participant: row.id for row in connection.execute(select(person))}
        at = sealed.c.person == ids[one]
        if what == "field":
            moved = connection.scalar(select(sealed.c.value).where(at, sealed.c.field == "given_name"))
            connection.execute(update(sealed).where(at, sealed.c.field == "family_name").values(value=moved))
        elif what == "row":
            moved = connection.scalar(select(sealed.c.value).where(sealed.c.person == ids[other], sealed.c.field == "given_name"))
            connection.execute(update(sealed).where(at, sealed.c.field == "given_name").values(value=moved))
        else:
            connection.execute(update(person).where(person.c.id == ids[one]).values(trial="other"))
    with pytest.raises(Broken) as refused:
        vault.show("other" if what == "trial" else TRIAL, one, by="nurse")
    assert refused.value.code == "VAULT.SEAL"


def test_identities_without_their_keys_are_not_given_new_ones(tmp_path: Path) -> None:
    put(kept(tmp_path / "vault"), 1)
    for path in (tmp_path / "vault" / "keys").iterdir():
        path.unlink()
    with pytest.raises(Broken) as refused:
        kept(tmp_path / "vault").likeness(TRIAL, who(1))
    assert refused.value.code == "VAULT.KEY"


# --- rotation --------------------------------------------------------------------------------------------------------


def test_keys_are_changed_while_others_read_and_write(tmp_path: Path) -> None:
    vault = kept(tmp_path / "vault")
    idents = [put(vault, number) for number in range(25)]
    faults: list[BaseException] = []
    stopped = threading.Event()

    def read() -> None:
        other = kept(tmp_path / "vault")
        try:
            while not stopped.is_set():
                for number in (0, 12, 24):
                    assert other.contains(TRIAL, idents[number], who(number).family_name) == ("name",)
                    assert other.likeness(TRIAL, who(number)).participant == idents[number]
        except BaseException as fault:
            faults.append(fault)

    def write() -> None:
        other = kept(tmp_path / "vault")
        try:
            for number in range(100, 115):
                put(other, number)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work) for work in (read, write)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        vault.rotate_wrapping(batch=4)
        vault.retire_wrapping()
        vault.rotate_index(batch=4)
    stopped.set()
    for thread in threads:
        thread.join()
    assert faults == []
    everybody = [*range(25), *range(100, 115)]
    assert {vault.likeness(TRIAL, who(number)).kind for number in everybody} == {"same", "possible"}  # one in twelve has no number
    assert keys.versions(tmp_path / "vault" / "keys", "kek") == keys.versions(tmp_path / "vault" / "keys", "index") == [3]


def test_a_retired_key_makes_an_old_backup_unreadable(tmp_path: Path) -> None:
    vault = kept(tmp_path / "vault")
    ident = put(vault, 1)
    backup = (tmp_path / "vault" / "vault.db").read_bytes()
    vault.rotate_wrapping()
    vault.shred(TRIAL, ident, by="manager")
    (tmp_path / "vault" / "vault.db").write_bytes(backup)
    assert kept(tmp_path / "vault").show(TRIAL, ident, by="nurse") == who(1)  # a backup is as good as the keys that are left
    vault.rotate_wrapping()
    vault.retire_wrapping()
    (tmp_path / "vault" / "vault.db").write_bytes(backup)
    with pytest.raises(Broken) as refused:
        kept(tmp_path / "vault").show(TRIAL, ident, by="nurse")
    assert refused.value.code == "VAULT.KEY"


def test_a_key_in_use_is_not_retired_and_a_rotation_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    vault = kept(tmp_path / "vault")
    for number in range(5):
        put(vault, number)
    keys.make(vault.place.keys, "kek", 2)
    with vault._writing() as connection:
        connection.execute(update(versions).where(versions.c.name == "kek").values(number=2))
    with pytest.raises(Conflict) as refused:
        vault.retire_wrapping()
    assert refused.value.code == "VAULT.IN_USE"
    assert vault.rotate_wrapping() == (2, 5)
    assert vault.retire_wrapping() == [1]


# --- the socket ------------------------------------------------------------------------------------------------------


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: the address of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_another_user_and_another_token_get_no_answer(tmp_path: Path, short: Path) -> None:
    inner = kept(tmp_path / "vault")
    with served(inner, short, (os.getuid() + 1,)) as client, pytest.raises(VaultAway):
        client.likeness(TRIAL, who(1))
    with served(inner, short, (os.getuid(),)) as client:
        assert client.likeness(TRIAL, who(1)).kind == "new"
        (short / "token").write_text("another token of more than 32 letters")
        with pytest.raises(VaultAway) as refused:
            client.likeness(TRIAL, who(1))
    assert refused.value.code == "VAULT.TOKEN"
    assert stat.S_IMODE((tmp_path / "vault" / "keys").stat().st_mode) == 0o700


def test_a_vault_that_is_away_is_said_to_be_away_in_time(short: Path) -> None:
    (short / "token").write_text("t")
    with pytest.raises(VaultAway):
        Asked(short / "s", short / "token").likeness(TRIAL, who(1))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short / "s"))
        silent.listen()
        client = Asked(short / "s", short / "token", patience=0.1)
        with pytest.raises(VaultAway):
            client.likeness(TRIAL, who(1))
        client.patience = 3600
        with pytest.raises(VaultAway):  # it is left alone for a while: whoever asks holds locks
            client.likeness(TRIAL, who(1))


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_the_socket_is_for_its_user_or_group_only(tmp_path: Path, short: Path, mode: int) -> None:
    with Server(kept(tmp_path), short / "s", "t" * 32, (os.getuid(),), mode):
        assert stat.S_IMODE((short / "s").stat().st_mode) == mode


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("!I", wire.LARGEST + 1),
        struct.pack("!I", 3) + b"{}}",
        struct.pack("!I", 2) + b"[]",
        struct.pack("!I", 100_000) + b"[" * 100_000,
    ],
    ids=["large", "no JSON", "no object", "deep"],
)
def test_nonsense_is_refused_and_the_next_one_answered(tmp_path: Path, short: Path, sent: bytes) -> None:
    with served(kept(tmp_path / "vault"), short, (os.getuid(),)) as client:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(short / "s"))
            connection.sendall(sent)
            assert wire.receive(connection)["code"] == "VAULT.MESSAGE"
        assert client.likeness(TRIAL, who(1)).kind == "new"


@pytest.mark.parametrize("ask", ["everybody", "", "_open", "rotate_wrapping"])
def test_nothing_but_its_questions_is_answered(tmp_path: Path, short: Path, ask: str) -> None:
    with served(kept(tmp_path / "vault"), short, (os.getuid(),)) as client, pytest.raises(VaultAway) as refused:
        client._ask(ask)
    assert refused.value.code == "VAULT.MESSAGE"


def test_a_fault_says_nothing_of_what_it_was_about(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"fault about {who(1).family_name}")

    monkeypatch.setattr(Kept, "likeness", fail)
    with served(kept(tmp_path / "vault"), short, (os.getuid(),)) as client, pytest.raises(VaultAway) as refused:
        client.likeness(TRIAL, who(1))
    assert refused.value.code == "VAULT.FAULT"
    assert who(1).family_name not in caplog.text + refused.value.message


def test_the_vaults_log_names_who_looked_and_no_identifier(tmp_path: Path) -> None:
    vault = kept(tmp_path / "vault")
    ident = put(vault, 1)
    vault.show(TRIAL, ident, by="nurse")
    with vault._reading() as connection:
        assert [(row.by, row.act, row.participant) for row in connection.execute(select(looked))] == [("nurse", "show", ident)]
        columns = set(connection.scalars(text("SELECT name FROM pragma_table_info('vault_look')")))
    assert columns == {"id", "at", "by", "act", "trial", "participant"}
