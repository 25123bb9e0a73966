"""Concealment: nobody who is blinded can tell from anything they are given which arm anybody has, or will have.

The twins are the proof (`tests.twins`): whatever a blinded person is given by a service or a command must be the same in both.
"""

import base64
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from tests import builders
from tests.builders import TRIAL, World
from tests.twins import BLINDED, COUNT, DIFFERENT, EXCHANGED, MAY_UNBLIND, Twins, plain, twins_of
from trialdm import instance as instances
from trialdm.cli import run
from trialdm.domain import roles
from trialdm.domain.errors import Forbidden, TrialError
from trialdm.services import (
    allocations,
    balance,
    chains,
    checks,
    derivations,
    envelopes,
    flow,
    inbox,
    ledgers,
    notices,
    packages,
    people,
    queries,
    reconsents,
    recruitment,
    schemes,
    screening,
    theatre,
    trail,
    unblinding,
)
from trialdm.services.unit import SYSTEM, Actor, Unit
from trialdm.store.tables import Account, Allocation, AuditValue, Outgoing, Scheme


def as_text(found: Any) -> str:
    return plain(json.dumps(found, default=str, ensure_ascii=False, sort_keys=True))


def answer(work: Any) -> str:
    """What a person is given, or the words of the refusal."""
    try:
        return as_text(work())
    except TrialError as problem:
        return as_text([problem.code, problem.message, problem.needs, [vars(detail) for detail in problem.details]])


def test_the_arms_of_the_twins_are_exchanged(twins: Twins) -> None:
    arms = [[builders.arm_of(world, ident) for ident in twins.idents] for world in twins.worlds]
    assert [one != other for one, other in zip(*arms, strict=True)] == [place in EXCHANGED for place in range(COUNT)]
    assert arms[0].count(1) != arms[1].count(1)


# --- what services give ------------------------------------------------------------------------------------------------

#: What a person may ask for or try; every answer and every refusal must be the same in both twins.
ASKED: dict[str, Any] = {
    "allocation status": lambda unit, who: schemes.status(unit, TRIAL),
    "ledger without what is random": lambda unit, who: [
        {**event, "arm_commit": ""} for event in ledgers.ledger_file(unit, TRIAL)["events"]
    ],
    "queries": lambda unit, who: [line.to_json() for line in queries.listed(unit, TRIAL)],
    "age of queries": lambda unit, who: queries.ageing(unit, TRIAL).table(),
    "restricted query": lambda unit, who: queries.one(unit, TRIAL, "R1").to_json(),
    "edit checks": lambda unit, who: checks.run(unit, TRIAL, alerts=True, dry=True).to_json(),
    "reveal": lambda unit, who: ledgers.reveal(unit, TRIAL),
    "balance": lambda unit, who: str(balance.report(unit, TRIAL)) if who != "dmc" else "",
    "look": lambda unit, who: vars(unblinding.look(unit, TRIAL, _ident(unit))),
    "theatre check": lambda unit, who: vars(theatre.confirm(unit, TRIAL, _ident(unit), {})),
    "unblinding": lambda unit, who: (
        vars(unblinding.emergency(unit, TRIAL, _ident(unit), "Bleeding and nobody knows", 1)) if who not in MAY_UNBLIND else ""
    ),
    "unblinding log": lambda unit, who: unblinding.log(unit, TRIAL),
    "randomise again": lambda unit, who: vars(allocations.randomise(unit, TRIAL, _ident(unit), "another key")[0]),
    "trail": lambda unit, who: [line.to_json() for line in trail.of_trial(unit, TRIAL, trail.Filter())],
    "inbox": lambda unit, who: [one.to_json() for one in inbox.waiting(unit)],
    "notices": lambda unit, who: [(m.kind, m.subject, m.text) for m in notices.inbox(unit)],
    "flow": lambda unit, who: str(flow.pooled(unit, TRIAL)),
    "flow by arm": lambda unit, who: str(flow.by_arm(unit, TRIAL)),
    "derived items": lambda unit, who: _derived(derivations.of_trial(unit, TRIAL)),
    "derived items, restricted": lambda unit, who: _derived(derivations.of_trial_restricted(unit, TRIAL)),
    "derived items of one": lambda unit, who: derivations.of_person(unit, TRIAL, _ident(unit)).to_json(),
    "derived items of one, restricted": lambda unit, who: derivations.of_person_restricted(unit, TRIAL, _ident(unit)).to_json(),
    "recruitment": lambda unit, who: str(recruitment.by_site(unit, TRIAL)),
    "screening log": lambda unit, who: [line.to_json() for line in screening.log(unit, TRIAL)],
    "consent again": lambda unit, who: [line.to_json() for line in reconsents.listed(unit, TRIAL)],
    "envelopes": lambda unit, who: [entry.to_json() for entry in envelopes.account(unit, TRIAL)],
}


def _derived(found: derivations.Everybody) -> Any:
    return found.table("participant"), found.table("visit"), [tally.to_json() for tally in found.tallies()]


def _ident(unit: Unit) -> str:
    return unit.session.scalars(select(Allocation).where(Allocation.seq == DIFFERENT)).one().participant_id


@pytest.mark.parametrize("role", BLINDED)
def test_services_give_a_blinded_person_the_same_in_both_twins(twins: Twins, role: str) -> None:
    for name, ask in ASKED.items():
        given = []
        for world in twins.worlds:
            actor = world.actor(role)
            given.append(answer(lambda world=world, actor=actor, ask=ask: rolled_back(world, actor, lambda unit: ask(unit, role))))
        assert given[0] == given[1], name


class _Undo(Exception):
    pass


def rolled_back(world: World, actor: Actor, work: Any) -> Any:
    """What a use case gives; nothing of it is kept."""
    found: list[Any] = []

    def once(unit: Unit) -> None:
        found.append(work(unit))
        raise _Undo

    with pytest.raises(_Undo):
        world.units.run(actor, once)
    return found[0]


@pytest.mark.parametrize("role", ["data-manager", "trial-manager", "statistician-blinded"])
def test_a_blinded_export_is_the_same_in_both_twins(twins: Twins, tmp_path: Path, role: str) -> None:
    files: list[dict[str, str]] = []
    for number, world in enumerate(twins.worlds):
        folder = tmp_path / str(number)
        folder.mkdir()
        request = packages.Request(formats=("csv",))
        world.run(role, lambda unit, folder=folder, request=request: packages.write(unit, TRIAL, folder, request))
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        files.append({str(path.relative_to(folder)): plain(path.read_bytes().decode("utf-8", "replace")) for path in found})
    assert set(files[0]) == set(files[1])
    assert any(name.endswith(".csv") for name in files[0])
    for name, content in files[0].items():
        assert content == files[1][name], name
        assert not re.search(r"\brand_arm\b|(?<!PRE-)\bTMR\b.*,Standard\b", content) or not name.endswith(".csv")


def test_mails_say_nothing_and_are_the_same(twins: Twins) -> None:
    told = []
    for world in twins.worlds:
        with world.units.reading(SYSTEM) as unit:
            mails = list(unit.session.scalars(select(Outgoing)))
        assert mails
        told.append(sorted((mail.to, mail.subject, mail.body) for mail in mails))
        assert not any(re.search(r"(?<!PRE-)\bTMR\b|Standard\b", mail.subject + mail.body) for mail in mails)
    assert plain(str(told[0])) == plain(str(told[1]))


#: Command lines that print something about participants or allocations.
COMMANDS = [
    ("participant", "list", TRIAL),
    ("allocation", "status", TRIAL),
    ("allocation", "account", TRIAL),
    ("allocation", "factors", TRIAL, "IDENT"),
    ("allocation", "show", TRIAL, "IDENT"),
    ("unblinding", TRIAL),
    ("notices",),
    ("audit", TRIAL),
    ("randomise", TRIAL, "IDENT", "--key", "another"),
    ("derived", TRIAL),
    ("derived", TRIAL, "--restricted"),
    ("derived", TRIAL, "--participant", "IDENT"),
    ("report", "balance", TRIAL, "--out", "OUT"),
]


@pytest.mark.parametrize("role", BLINDED)
def test_commands_print_a_blinded_person_the_same_in_both_twins(
    twins: Twins, role: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for command in COMMANDS:
        if command[0] == "report" and role == "dmc":
            continue
        printed = []
        for world in twins.worlds:
            words = [{"IDENT": twins.different, "OUT": str(tmp_path / "balance.html")}.get(word, word) for word in command]
            capsys.readouterr()
            code = run(["--instance", str(world.instance.settings.folder), "--as", world.actor(role).email, "--json", *words])
            out, err = capsys.readouterr()
            printed.append((code, without_clock(out), without_clock(err)))
            assert not re.search(r'"arm"|"(TMR|Standard)"', out), command
        assert printed[0] == printed[1], command
    assert not (tmp_path / "balance.html").exists()


def without_clock(content: str) -> str:
    """Commands run at the real time; everything else must be the same."""
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:.+]+", "T", plain(content))


def test_only_the_unblinded_statistician_and_the_committee_read_counts_by_arm(twins: Twins) -> None:
    world = twins.worlds[0]
    may = set()
    for role in roles.ROLES:
        try:
            rolled_back(world, world.actor(role), lambda unit: balance.report(unit, TRIAL))
            may.add(role)
        except Forbidden:
            continue
    assert may == {"statistician-unblinded", "dmc"}


# --- logs --------------------------------------------------------------------------------------------------------------


def test_no_log_record_names_an_arm_or_the_master(sqlite_world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Every logger at its most talkative, and every statement logged, while somebody is randomised, refused, and unblinded."""
    ident = builders.ready(sqlite_world)
    with sqlite_world.units.reading(SYSTEM) as unit:
        master = schemes.keys(unit, unit.session.scalars(select(Scheme)).one()).master
    chains._RUNNING.clear()
    reason = "Bleeding, and the next step depends on it"
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.INFO, "sqlalchemy.engine"):
        again = instances.open_folder(sqlite_world.instance.settings.folder)
        talkative = builders.around(again, now=sqlite_world.now)
        talkative.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
        with pytest.raises(TrialError):
            talkative.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k2"))
        shown = talkative.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, ident, reason, 1))
        again.engine.dispose()
    assert any(record.name == "sqlalchemy.engine.Engine" for record in caplog.records)
    said = [record.getMessage() for record in caplog.records]
    leaks = [line for line in said if f'"{shown.arm}"' in line or f"'{shown.arm}'" in line or master.hex() in line or repr(master) in line]
    assert leaks == []


def test_a_constraint_of_the_database_is_refused_without_the_values_of_the_row(sqlite_world: World) -> None:
    """What a driver says about a refused row holds the row; what a person and a log are told does not."""

    def twice(unit: Unit) -> None:
        for _ in range(2):
            unit.session.add(AuditValue(event_id="x" * 32, which="new", salt=b"", value='"Standard"'))
            unit.session.flush()
            unit.session.expunge_all()

    with pytest.raises(Exception) as refused:  # noqa: PT011
        sqlite_world.run("trial-manager", twice)
    chain = [refused.value, refused.value.__cause__, refused.value.__context__]
    assert not any("Standard" in str(problem) for problem in chain if problem is not None)


# --- the database itself -----------------------------------------------------------------------------------------------


def cells(world: World) -> Iterator[tuple[str, str, Any]]:
    """Every cell of every table, with the names of its table and column."""
    with world.instance.engine.connect() as connection:
        for table in inspect(world.instance.engine).get_table_names():
            for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
                yield from ((table, column, value) for column, value in row.items())


def shapes(secret: bytes) -> list[bytes]:
    """A secret as it may have been written down."""
    number = int.from_bytes(secret, "big")
    written = [
        secret.hex(),
        secret.hex().upper(),
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode(),
        str(number),
    ]
    return [secret, secret[::-1], *(form.encode() for form in written)]


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_whoever_prepares_a_scheme_leaves_nothing_in_clear_that_predicts(world: World) -> None:
    """Neither the master nor the keys that follow from it nor any future arm stands in any table."""
    with world.units.reading(SYSTEM) as unit:
        keys = schemes.keys(unit, unit.session.scalars(select(Scheme)).one())
    secrets = [keys.master, keys.root, keys.stratum("min"), keys.stratum("simple"), keys.nonce(1)]
    forms = [form for secret in secrets for form in shapes(secret)]
    for table, column, value in cells(world):
        assert not any(form in as_bytes(value) for form in forms), (table, column)
        if not (table == "definition" and column == "texts"):
            assert as_bytes(value) not in (b"TMR", b"Standard", b'"TMR"', b'"Standard"'), (table, column)


def test_the_files_of_an_instance_hold_no_master(sqlite_world: World) -> None:
    builders.randomised(sqlite_world)
    with sqlite_world.units.reading(SYSTEM) as unit:
        master = schemes.keys(unit, unit.session.scalars(select(Scheme)).one()).master
    sqlite_world.instance.engine.dispose()
    files = [path for path in sqlite_world.instance.settings.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not any(form in content for form in shapes(master)), path.name


@pytest.fixture(scope="module")
def unoperated(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Twins in which nobody has done anything yet that follows from an arm."""
    found = twins_of(sqlite_template, tmp_path_factory.mktemp("unoperated"), until_operated=True)
    yield found
    for world in found.worlds:
        world.instance.engine.dispose()


def test_sealed_arms_have_one_length_and_no_two_are_equal(twins: Twins) -> None:
    for world in twins.worlds:
        for table in ("allocation", "envelope"):
            sealed = [as_bytes(value) for name, column, value in cells(world) if (name, column) == (table, "arm_sealed")]
            assert len({len(cell) for cell in sealed}) == 1
            assert len(set(sealed)) == len(sealed)


def test_rows_of_the_twins_differ_in_nothing_but_what_is_sealed_or_salted(unoperated: Twins) -> None:
    """Also somebody who reads the database: apart from the unblinded stream, no cell tells the arm by its value or its length."""
    unblinded = set()
    for world in unoperated.worlds:
        with world.instance.engine.connect() as connection:
            unblinded |= set(connection.scalars(text("SELECT event_id FROM audit_event WHERE stream = 'unblinded' OR action = 'refused'")))
    found: list[list[tuple[str, str, int]]] = []
    for world in unoperated.worlds:
        with world.instance.engine.connect() as connection:
            values = connection.execute(text("SELECT event_id, value FROM audit_value ORDER BY rowid")).all()
        told = [("audit_value", "value", plain(value)) for event, value in values if event not in unblinded]
        rest = [(t, c, len(as_bytes(v))) for t, c, v in cells(world) if t not in ("audit_value", "audit_event")]
        found.append(sorted(map(str, [*told, *rest])))
    assert found[0] == found[1]


def test_accounts_exist_for_every_role(twins: Twins) -> None:
    with twins.worlds[0].units.reading(SYSTEM) as unit:
        held = {grant.role for account in unit.session.scalars(select(Account)) for grant in people.grants(unit, account.id)}
    assert held == set(roles.ROLES)
