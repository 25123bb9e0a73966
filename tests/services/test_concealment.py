"""Concealment: nobody who is blinded can tell from anything they are given which arm anybody has, or will have.

Two twins are the proof: instances that differ in nothing but the master, by which one participant of several has the other arm.
Whatever a blinded person reads must be the same in both.
"""

import base64
import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from tests import builders
from tests.builders import PASSWORD, TRIAL, World
from tests.independent.verifier import Deriver
from tests.independent.verifier import Keys as IndependentKeys
from trialdm import instance as instances
from trialdm.cli import run
from trialdm.domain import roles
from trialdm.domain.errors import Forbidden, TrialError
from trialdm.services import (
    allocations,
    balance,
    chains,
    checks,
    corrections,
    derivations,
    envelopes,
    flow,
    inbox,
    ledgers,
    notices,
    packages,
    people,
    places,
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
from trialdm.store import keys as sealing
from trialdm.store.tables import Account, Allocation, AuditValue, Outgoing, Scheme

BLINDED = [role for role in roles.ROLES if role not in roles.UNBLINDED]

#: Roles that may learn an allocation on purpose: an emergency is no leak.
MAY_UNBLIND = ("chief-investigator", "safety-reviewer")

COUNT, DIFFERENT = 4, 1


@dataclass(frozen=True)
class Twins:
    """Two worlds, their participants in order, and the one whose arm is another one in each."""

    worlds: tuple[World, World]
    idents: tuple[str, ...]

    @property
    def different(self) -> str:
        return self.idents[DIFFERENT]


def masters(config: dict[str, Any], levels: list[dict[str, str]]) -> tuple[bytes, bytes]:
    """Two masters by which only one of the participants has another arm."""
    seen: dict[tuple[str, ...], bytes] = {}
    for number in range(10_000):
        master = number.to_bytes(32, "big")
        deriver = Deriver(IndependentKeys(config, master))
        arms = tuple(deriver.allocated(i, given) for i, given in enumerate(levels, 1))
        other = tuple({"TMR": "Standard", "Standard": "TMR"}[arm] if place == DIFFERENT else arm for place, arm in enumerate(arms))
        if other in seen:
            return seen[other], master
        seen[arms] = master
    raise AssertionError("no two such masters")


def give_master(world: World, master: bytes) -> None:
    """Put this master into a scheme that has not allocated, as if it had been drawn."""

    def work(unit: Unit) -> None:
        row = unit.session.scalars(select(Scheme)).one()
        row.master_sealed = sealing.seal(unit.keys.allocation, master, schemes.master_bound(row))
        unit.remembered.clear()
        found = schemes.keys(unit, row)
        row.commit, row.head = found.commit.hex(), found.genesis.hex()
        unit.covered(row)

    world.units.run(SYSTEM, work)


def live_a_little(world: World) -> tuple[str, ...]:
    """Randomise four, unblind one in an emergency, correct a factor, mark an error, spoil an envelope, and ask by the arm."""
    world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, TRIAL, "S01", 2))
    idents = []
    for _ in range(COUNT):
        world.now += timedelta(minutes=10)
        idents.append(builders.randomised(world))
    emergency = "Bleeding, and the next step depends on it"
    planned = {"surg_date_plan": (builders.TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    changed = {**builders.CLINICAL, **planned, "opioid_pre": 1}
    ident = idents[DIFFERENT]
    by_arm = {1: "proc_given", 2: "surg_level"}[builders.arm_of(world, ident)]

    def ask(unit: Unit, form: str, visit: str, item: str) -> None:
        queries.ask(unit, places.locate(unit, TRIAL, ident, visit, form), item, "Please check this.")

    later: list[Callable[[], Any]] = [
        lambda: world.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, ident, emergency, 1)),
        lambda: builders.put(world, ident, "V01", "CLIN", changed, reason="source: read again"),
        lambda: world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, ident, 1, "Not eligible after all")),
        lambda: world.run("trial-coordinator", lambda unit: envelopes.spoil(unit, TRIAL, "S01", 1, world.now, "Fell into a wash basin")),
        lambda: world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident)),
        lambda: world.run("unblinded-data-manager", lambda unit: ask(unit, "SURG", "V02", by_arm)),
        lambda: world.run("data-manager", lambda unit: ask(unit, "CLIN", "V01", "asa")),
        lambda: world.run("unblinded-data-manager", lambda unit: checks.run(unit, TRIAL, alerts=True)),
    ]
    for happen in later:
        world.now += timedelta(minutes=1)
        happen()
    return tuple(idents)


def twins_of(template: Any, folder: Path) -> Twins:
    """The two instances, with somebody for every role."""
    worlds, known = [], []
    first = template.copy(folder / "first")
    with first.units.reading(SYSTEM) as unit:
        config = schemes.config(unit.session.scalars(select(Scheme)).one())
    level = {"site": "S01", "limb": "1", "amp_prox": "0", "aetiol_grp": "1", "opioid_pre": "0", "pain_pre": "1"}
    first.instance.engine.dispose()
    for name, master in zip(("one", "other"), masters(config, [level] * COUNT), strict=True):
        world = template.copy(folder / name)
        with_everybody(world)
        world.units = replace(world.units, entropy=random.Random(11).randbytes)
        give_master(world, master)
        known.append(live_a_little(world))
        worlds.append(world)
    assert known[0] == known[1]
    return Twins((worlds[0], worlds[1]), known[0])


def with_everybody(world: World) -> None:
    """Somebody for every role."""
    for role in roles.ROLES:
        site = "S01" if roles.ROLES[role][1] else ""
        if (role, site) not in world.actors:
            world.run("system-administrator", lambda unit, role=role, site=site: newcomer(unit, role, site))
            with world.units.reading(SYSTEM) as unit:
                world.actors[(role, site)] = people.actor(unit, people.by_email(unit, builders.email(role, site)), "test")


def newcomer(unit: Unit, role: str, site: str) -> None:
    people.add(unit, builders.email(role, site), f"Extra {role}", PASSWORD, [(role, site)])


@pytest.fixture(scope="module")
def twins(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    found = twins_of(sqlite_template, tmp_path_factory.mktemp("twins"))
    yield found
    for world in found.worlds:
        world.instance.engine.dispose()


#: What differs between any two instances: random names of things, salts, commitments and signatures, in hexadecimal or base64.
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{12,}\b|(?<=nonce[=-])[\w\"'-]+|(?<=value=\")[\w-]{40,}")


def plain(content: str) -> str:
    """Text without what is random."""
    return _RANDOM.sub("#", content)


def as_text(found: Any) -> str:
    return plain(json.dumps(found, default=str, ensure_ascii=False, sort_keys=True))


def answer(work: Any) -> str:
    """What a person is given, or the words of the refusal."""
    try:
        return as_text(work())
    except TrialError as problem:
        return as_text([problem.code, problem.message, problem.needs, [vars(detail) for detail in problem.details]])


def test_the_twins_differ_in_one_arm_only(twins: Twins) -> None:
    arms = [[builders.arm_of(world, ident) for ident in twins.idents] for world in twins.worlds]
    assert [one != other for one, other in zip(*arms, strict=True)] == [place == DIFFERENT for place in range(COUNT)]


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


def test_sealed_arms_have_one_length_and_no_two_are_equal(twins: Twins) -> None:
    for world in twins.worlds:
        for table in ("allocation", "envelope"):
            sealed = [as_bytes(value) for name, column, value in cells(world) if (name, column) == (table, "arm_sealed")]
            assert len({len(cell) for cell in sealed}) == 1
            assert len(set(sealed)) == len(sealed)


def test_rows_of_the_twins_differ_in_nothing_but_what_is_sealed_or_salted(twins: Twins) -> None:
    """Also somebody who reads the database: apart from the unblinded stream, no cell tells the arm by its value or its length.

    Refused attempts are left out: other tests make some of them in one of the worlds only.
    """
    unblinded = set()
    for world in twins.worlds:
        with world.instance.engine.connect() as connection:
            unblinded |= set(connection.scalars(text("SELECT event_id FROM audit_event WHERE stream = 'unblinded' OR action = 'refused'")))
    found: list[list[tuple[str, str, int]]] = []
    for world in twins.worlds:
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
