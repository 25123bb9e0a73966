"""A scheme from freezing to its reveal: who takes which step in which state, what each refusal is called, and what a machine finds.

Each table is one rule; the refusals' codes stand beside the cases.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml
from sqlalchemy import select, text

from tests import builders
from tests.builders import ROOT, TRIAL, World
from tests.independent import verifier
from trialdm import instance as instances
from trialdm.definitions import sources
from trialdm.domain import roles
from trialdm.domain.errors import TrialError
from trialdm.domain.randomisation import escrow, ledger
from trialdm.services import (
    allocations,
    balance,
    chains,
    corrections,
    envelopes,
    epochs,
    ledgers,
    notices,
    participants,
    schemes,
    studies,
    unblinding,
)
from trialdm.services.unit import SYSTEM, Actor, Unit
from trialdm.store import keys as sealing
from trialdm.store.tables import Allocation, ListSlot, Scheme, SchemeEvent

OTHER = "other"

PROTOCOL: dict[str, Any] = {
    "trial": {
        "id": OTHER,
        "short_title": "Other",
        "title": "Another trial",
        "version": "1.0",
        "study_type": "non-ctimp",
        "target": {"participants": 20, "months": 6},
    },
    "arms": [
        {"code": 1, "name": "TMR", "label": "Targeted muscle reinnervation"},
        {"code": 2, "name": "Standard", "label": "Standard nerve handling"},
        {"code": 3, "name": "Waiting", "label": "No operation yet"},
    ],
    "sites": [{"code": "S01", "name": "Northbridge Royal Infirmary", "nation": "ENG"}],
    "visits": [{"code": "V01", "number": 1, "label": "Baseline", "kind": "event"}],
    "allocation": {
        "scheme": "main",
        "method": "minimisation",
        "imbalance": "range",
        "p": "4/5",
        "factors": [{"name": "limb", "form": "BASE", "visit": "V01", "item": "limb"}, {"name": "site"}],
    },
}
BASE = """
form: BASE
title: Baseline
kind: baseline
visits: {V01: required}
items: [{name: limb, label: Limb, type: code, codes: {1: Lower, 2: Upper}}]
"""
LIMB = {"name": "limb", "form": "BASE", "visit": "V01", "item": "limb"}
LIST = {"scheme": "main", "method": "list", "factors": [LIMB]}
CORRECTED = {**PROTOCOL["allocation"], "counts": "as_corrected"}


def files(version: str = "1.0", **parts: Any) -> dict[str, str]:
    """The files of the small trial, with other parts."""
    found = {**PROTOCOL, "trial": {**PROTOCOL["trial"], "version": version}, **parts}
    return {f"{OTHER}/protocol.yaml": yaml.safe_dump(found), f"{OTHER}/forms/base.yaml": BASE}


def load(world: World, **parts: Any) -> None:
    world.run("trial-manager", lambda unit: studies.load(unit, files(**parts)))


def refused(world: World, role: str, work: Callable[[Unit], object]) -> str:
    """The code of the refusal; `ok` where it was done."""
    try:
        world.run(role, work)
    except TrialError as problem:
        return problem.code
    return "ok"


def allocate(world: World, limbs: list[int], site: str = "S01") -> list[str]:
    """Allocate new participants one after the other, without the forms that the gate would ask for."""
    return [world.run("research-nurse", lambda unit, limb=limb: allocate_one(unit, limb, site), site) for limb in limbs]


def allocate_one(unit: Unit, limb: int, site: str = "S01") -> str:
    protocol = studies.protocol(unit, OTHER)
    studies.enter(unit, OTHER, "trial", OTHER, "open", "open")
    studies.enter(unit, OTHER, "site", site, "open", "open")
    person = participants.add(unit, OTHER, site)
    studies.enter(unit, OTHER, "participant", person.id, "x", "eligible")
    row = schemes.locked_live(unit, protocol, "main")
    given = {"limb": str(limb), "site": site}
    levels = {factor.name: given[factor.name] for factor in protocol.scheme.factors}
    allocations._allocate(unit, protocol, protocol.scheme, row, person.id, site, levels, person.id, {})
    return person.id


def state(world: World, epoch: int = 0, trial: str = OTHER) -> str:
    with world.units.reading(SYSTEM) as unit:
        return studies.state(unit, trial, "scheme", f"main/{epoch}")


def forget() -> None:
    """As after a restart: nothing of a scheme is kept in memory."""
    chains._RUNNING.clear()


# --- who may ---------------------------------------------------------------------------------------------------------

ACTS: dict[str, Callable[[Unit], object]] = {
    "prepare": lambda unit: schemes.prepare(unit, OTHER),
    "import": lambda unit: schemes.import_list(unit, OTHER, GOOD),
    "contribute": lambda unit: schemes.contribute(unit, OTHER, "0badcafe"),
    "sign": lambda unit: epochs.sign(unit, OTHER),
    "pause": lambda unit: schemes.move(unit, OTHER, "pause", reason="the server is moved"),
    "resume": lambda unit: schemes.move(unit, OTHER, "resume"),
    "close": lambda unit: schemes.move(unit, OTHER, "close"),
    "withdraw": lambda unit: schemes.move(unit, OTHER, "withdraw"),
    "escrow": lambda unit: ledgers.draw_share(unit, OTHER),
    "recover": lambda unit: ledgers.recover(unit, OTHER, "", ""),
    "amend": lambda unit: epochs.amend(unit, OTHER, files("1.1", allocation={**PROTOCOL["allocation"], "p": "3/4"}), reason="Amendment 1"),
    "ledger": lambda unit: ledgers.ledger_file(unit, OTHER),
    "reveal": lambda unit: ledgers.reveal(unit, OTHER),
    "balance": lambda unit: balance.report(unit, OTHER),
    "status": lambda unit: schemes.status(unit, OTHER),
    "randomise": lambda unit: allocate_one(unit, 1),
}

#: step -> who may take it; everybody else is refused by the name of the right.
WHO: dict[str, tuple[str, str]] = {
    "prepare": ("PREPARE", "trial-manager statistician-unblinded"),
    "import": ("PREPARE", "trial-manager statistician-unblinded"),
    "escrow": ("CUSTODY", "trial-manager statistician-unblinded statistician-blinded chief-investigator sponsor dmc"),
    "recover": ("PREPARE", "trial-manager statistician-unblinded"),
    "amend": ("PREPARE", "trial-manager statistician-unblinded"),
    "contribute": (
        "CONTRIBUTE",
        "trial-manager statistician-unblinded statistician-blinded chief-investigator sponsor dmc monitor inspector",
    ),
    "sign": ("SIGN", "trial-manager statistician-unblinded statistician-blinded chief-investigator sponsor"),
    "pause": ("MOVE", "trial-manager statistician-unblinded sponsor"),
    "resume": ("MOVE", "trial-manager statistician-unblinded sponsor"),
    "withdraw": ("MOVE", "trial-manager statistician-unblinded sponsor"),
    "close": ("MOVE", "trial-manager statistician-unblinded sponsor"),
    "ledger": ("LEDGER", "trial-manager statistician-unblinded statistician-blinded sponsor dmc monitor inspector"),
    "reveal": ("REVEAL", "statistician-unblinded"),
    "balance": ("BALANCE", "statistician-unblinded dmc"),
}


@pytest.mark.parametrize("act", WHO)
def test_who_may(sqlite_world: World, act: str) -> None:
    """Rights come before states: a person without the right learns nothing of the state from the refusal."""
    load(sqlite_world)
    right, allowed = WHO[act]
    for role in roles.ROLES:
        holder = somebody(sqlite_world, role)
        try:
            sqlite_world.units.run(holder, ACTS[act])
            code = "ok"
        except TrialError as problem:
            code = problem.code
        assert (code == f"ROLE.ALLOCATION.{right}") is (role not in allowed.split()), (role, code)


def somebody(world: World, role: str) -> Actor:
    """A person of the cast who holds only this role; for roles that the cast lacks, another account with it."""
    if (role, "S01" if roles.ROLES[role][1] else "") in world.actors:
        return world.actor(role)
    return replace(world.actor("blinded-assessor"), grants=(roles.Grant(role, "*", "S01" if roles.ROLES[role][1] else ""),))


# --- in which state --------------------------------------------------------------------------------------------------

GOOD = "number,arm,limb\n1,TMR,1\n2,Standard,1\n1,Standard,2\n"

#: A state -> the steps that lead there.
PATH: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "committed": ("prepare",),
    "contributed": ("prepare", "contribute"),
    "live": ("prepare", "contribute", "sign"),
    "paused": ("prepare", "sign", "pause"),
    "closed": ("prepare", "sign", "close"),
    "superseded": ("prepare", "sign", "amend", "sign"),
    "revealed": ("prepare", "sign", "lock", "reveal"),
}
BY = {
    "prepare": "trial-manager",
    "contribute": "chief-investigator",
    "sign": "sponsor",
    "reveal": "statistician-unblinded",
    "balance": "statistician-unblinded",
    "randomise": "research-nurse",
}
_NONE, _STATE = "ALLOC.NOT_PREPARED", "STATE.SCHEME"

#: state -> what each step answers there; `ok` where it is done. A dot stands for "this step is out of turn".
STATES = """
            prepare contribute sign  pause resume close escrow amend ledger reveal       randomise         balance status
committed   ok      ok         ok    .     .      .     ok     .     ok     ALLOC.REVEAL ALLOC.NOT_SIGNED  ok      ok
contributed ok      .          ok    .     .      .     ok     .     ok     ALLOC.REVEAL ALLOC.NOT_SIGNED  ok      ok
live        ok      .          .     ok    .      ok    ok     ok    ok     ALLOC.REVEAL ok                ok      ok
paused      ok      .          .     .     ok     ok    ok     ok    ok     ALLOC.REVEAL ALLOC.PAUSED      ok      ok
closed      ok      .          .     .     .      .     ok     .     ok     ALLOC.REVEAL ALLOC.CLOSED      ok      ok
revealed    ok      .          .     .     .      .     ok     .     ok     ok           STATE.HELD        ok      ok
"""
HEADING, *ROWS = [line.split() for line in STATES.strip().splitlines()]


def reach(world: World, found: str) -> None:
    """Bring the small trial's scheme into a state."""
    load(world)
    for act in PATH[found]:
        if act == "lock":
            world.run("trial-manager", lambda unit: builders.locked_as_entered(unit, OTHER))
        else:
            world.run(BY.get(act, "trial-manager"), ACTS[act])


#: Steps that lead out of a state, or into another epoch, where they are done.
MOVES = ("contribute", "sign", "pause", "resume", "close", "amend", "randomise")
TABLE = {row[0]: dict(zip(HEADING, row[1:], strict=True)) for row in ROWS}


def done(world: World, act: str) -> str:
    return refused(world, BY.get(act, "trial-manager"), ACTS[act]).replace(_STATE, ".")


@pytest.mark.parametrize("name", TABLE)
def test_what_leaves_a_scheme_in_its_state(sqlite_world: World, name: str) -> None:
    """Refused steps change nothing, and neither do steps that only read or write down."""
    reach(sqlite_world, name)

    def stands() -> tuple[str, list[tuple[str, str]]]:
        schemes_now = [row for row in rows(sqlite_world, Scheme) if row.trial_id == OTHER]
        return state(sqlite_world), [(row.commit, row.contribution) for row in schemes_now]

    before = stands()
    assert before[0] == name
    wanted = {act: code for act, code in TABLE[name].items() if code != "ok" or act not in MOVES}
    assert {act: done(sqlite_world, act) for act in wanted} == wanted
    assert stands() == before


@pytest.mark.parametrize(
    ("name", "act"), [(name, act) for name, row in TABLE.items() for act, code in row.items() if code == "ok" and act in MOVES]
)
def test_steps_that_are_taken(sqlite_world: World, name: str, act: str) -> None:
    reach(sqlite_world, name)
    assert done(sqlite_world, act) == "ok"
    reached = {"contribute": "contributed", "sign": "live", "pause": "paused", "resume": "live", "close": "closed"}
    assert state(sqlite_world) == reached.get(act, name)


@pytest.mark.parametrize("act", [act for act in HEADING if act not in ("prepare", "balance")])
def test_before_anybody_committed_every_step_names_what_is_lacking(sqlite_world: World, act: str) -> None:
    load(sqlite_world)
    assert refused(sqlite_world, BY.get(act, "trial-manager"), ACTS[act]) == _NONE


def test_a_superseded_epoch_takes_no_step_and_the_new_one_allocates(world: World) -> None:
    reach(world, "superseded")
    assert (state(world, 0), state(world, 1)) == ("superseded", "live")
    allocate(world, [1])
    with world.units.reading(SYSTEM) as unit:
        assert [row.epoch for row in unit.session.scalars(select(Allocation))] == [1]


def test_committing_twice_gives_the_commitment_that_stands(world: World) -> None:
    load(world)
    first, again = (world.run("trial-manager", lambda unit: schemes.prepare(unit, OTHER).commit) for _ in range(2))
    assert first == again


#: step -> the code by which whoever prepared the scheme is refused.
OWN = {"contribute": "ALLOC.OWN_CONTRIBUTION", "sign": "ALLOC.OWN_SIGNATURE"}


@pytest.mark.parametrize("act", OWN)
@pytest.mark.parametrize("preparer", ["trial-manager", "statistician-unblinded"])
def test_whoever_prepared_neither_contributes_nor_signs(sqlite_world: World, act: str, preparer: str) -> None:
    load(sqlite_world)
    sqlite_world.run(preparer, ACTS["prepare"])
    assert refused(sqlite_world, preparer, ACTS[act]) == OWN[act]
    assert state(sqlite_world) == "committed"


@pytest.mark.parametrize(
    ("typed", "dice", "given"),
    [
        ("0badcafe", False, "0badcafe"),
        (" 0BAD cafe\n", False, "0badcafe"),
        ("1 2 3 4 5 6", True, hashlib.sha256(b"123456").hexdigest()),
        ("", False, "ALLOC.CONTRIBUTION"),
        ("0bad caf", False, "ALLOC.CONTRIBUTION"),
        ("six", False, "ALLOC.CONTRIBUTION"),
        ("1 2 7", True, "ALLOC.CONTRIBUTION"),
        ("", True, "ALLOC.CONTRIBUTION"),
    ],
)
def test_what_counts_as_a_contribution(sqlite_world: World, typed: str, dice: bool, given: str) -> None:
    load(sqlite_world)
    sqlite_world.run("trial-manager", ACTS["prepare"])
    code = refused(sqlite_world, "sponsor", lambda unit: schemes.contribute(unit, OTHER, typed, dice=dice))
    with sqlite_world.units.reading(SYSTEM) as unit:
        held = unit.session.scalars(select(Scheme).where(Scheme.trial_id == OTHER)).one().contribution
    assert (code, held) == (("ok", given) if not given.startswith("ALLOC") else (given, ""))


def test_whoever_contributed_may_sign(sqlite_world: World) -> None:
    """A contribution is made blind: only the person who prepared the scheme is kept from its other steps."""
    load(sqlite_world)
    sqlite_world.run("trial-manager", ACTS["prepare"])
    sqlite_world.run("sponsor", ACTS["contribute"])
    assert refused(sqlite_world, "sponsor", ACTS["sign"]) == "ok"


def test_a_contribution_changes_every_allocation_and_the_specification(sqlite_world: World) -> None:
    """Neither side steers: the same master gives other allocations once somebody else has added something."""
    load(sqlite_world)
    sqlite_world.run("trial-manager", ACTS["prepare"])

    def found(unit: Unit) -> tuple[str, str, bytes]:
        row = schemes.needed(unit, studies.protocol(unit, OTHER))
        return row.commit, schemes.specification_hash(row), schemes.keys(unit, row).root

    with sqlite_world.units.reading(SYSTEM) as unit:
        before = found(unit)
    sqlite_world.run("sponsor", ACTS["contribute"])
    with sqlite_world.units.reading(SYSTEM) as unit:
        after = found(unit)
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2] != after[2]


# --- worlds ----------------------------------------------------------------------------------------------------------

SEED = bytes(range(32))


def test_a_seed_is_refused_in_a_live_instance(world: World) -> None:
    load(world)
    assert refused(world, "trial-manager", lambda unit: schemes.prepare(unit, OTHER, seed=SEED)) == "ALLOC.TEST_SEED"
    with world.units.reading(SYSTEM) as unit:
        assert schemes.newest(unit, studies.protocol(unit, OTHER)) is None


@pytest.mark.parametrize(("seed", "code"), [(SEED, "ok"), (SEED[:31], "ALLOC.SEED"), (b"", "ALLOC.SEED")])
def test_a_test_instance_takes_a_seed_of_32_bytes(sqlite_world: World, seed: bytes, code: str) -> None:
    load(sqlite_world)
    sqlite_world.units = replace(sqlite_world.units, world="test")
    assert refused(sqlite_world, "trial-manager", lambda unit: schemes.prepare(unit, OTHER, seed=seed)) == code


@pytest.mark.parametrize(("made", "used"), [("test", "live"), ("live", "test")])
def test_a_scheme_of_one_world_allocates_nothing_in_the_other(world: World, made: str, used: str) -> None:
    load(world)
    world.units = replace(world.units, world=made)
    world.run("trial-manager", ACTS["prepare"])
    world.run("sponsor", ACTS["sign"])
    world.units = replace(world.units, world=used)
    assert refused(world, "research-nurse", ACTS["randomise"]) == "ALLOC.WORLD"
    assert rows(world, Allocation) == []


def test_a_test_world_may_be_revealed_at_any_time(sqlite_world: World) -> None:
    sqlite_world.units = replace(sqlite_world.units, world="test")
    reach(sqlite_world, "live")
    allocate(sqlite_world, [1])
    assert refused(sqlite_world, "statistician-unblinded", ACTS["reveal"]) == "ok"
    assert state(sqlite_world) == "live"


def test_a_live_scheme_is_revealed_only_when_the_database_is_locked(sqlite_world: World) -> None:
    reach(sqlite_world, "live")
    assert refused(sqlite_world, "statistician-unblinded", ACTS["reveal"]) == "ALLOC.REVEAL"
    for found in ("closed_recruitment", "follow_up", "locked"):
        sqlite_world.run("trial-manager", lambda unit, found=found: studies.enter(unit, OTHER, "trial", OTHER, "x", found))
        assert refused(sqlite_world, "statistician-unblinded", ACTS["reveal"]) == "ALLOC.REVEAL", found
    sqlite_world.run("trial-manager", lambda unit: studies.enter(unit, OTHER, "hold", f"trial:{OTHER}", "lock", "locked"))
    assert refused(sqlite_world, "statistician-unblinded", ACTS["reveal"]) == "ok", "and once two people have locked it"
    assert state(sqlite_world) == "revealed"


def rows(world: World, table: type[Any]) -> list[Any]:
    with world.units.reading(SYSTEM) as unit:
        return list(unit.session.scalars(select(table)))


# --- a list made elsewhere -------------------------------------------------------------------------------------------

#: What is wrong with a list -> the file, and the code of each detail in order.
LISTS: dict[str, tuple[str, list[str]]] = {
    "nothing": (GOOD, []),
    "nothing, columns in another order": ("limb,number,arm\n1,1,TMR\n2,1,Standard\n", []),
    "nothing, a mark at the start as Excel writes it": ("\ufeff" + GOOD, []),
    "nothing, with balanced blocks": (
        "number,arm,limb,block\n1,TMR,1,1\n2,Standard,1,1\n3,Waiting,1,1\n1,Waiting,2,1\n2,TMR,2,1\n3,Standard,2,1\n",
        [],
    ),
    "a block that lacks an arm": (
        "number,arm,limb,block\n1,TMR,1,1\n2,Standard,1,1\n3,TMR,1,1\n1,Waiting,2,1\n2,TMR,2,1\n3,Standard,2,1\n",
        ["ALLOC.BLOCK"],
    ),
    "a block that was left": (
        "number,arm,limb,block\n1,TMR,1,a\n2,TMR,1,b\n3,Standard,1,b\n4,Waiting,1,b\n5,Standard,1,a\n6,Waiting,1,a\n"
        "1,TMR,2,a\n2,Standard,2,a\n3,Waiting,2,a\n",
        ["ALLOC.BLOCK"],
    ),
    "a number left out": ("number,arm,limb\n1,TMR,1\n3,TMR,1\n1,TMR,2\n", ["ALLOC.ORDER"]),
    "a number twice": ("number,arm,limb\n1,TMR,1\n1,TMR,1\n1,TMR,2\n", ["ALLOC.ORDER"]),
    "numbers in another order": ("number,arm,limb\n2,TMR,1\n1,TMR,1\n1,TMR,2\n", ["ALLOC.ORDER", "ALLOC.ORDER"]),
    "a stratum that is absent": ("number,arm,limb\n1,TMR,1\n", ["ALLOC.STRATA"]),
    "an arm that there is not": ("number,arm,limb\n1,Placebo,1\n1,TMR,2\n", ["ALLOC.ARM"]),
    "an arm in other letters": ("number,arm,limb\n1,tmr,1\n1,TMR,2\n", ["ALLOC.ARM"]),
    "a level that there is not": ("number,arm,limb\n1,TMR,1\n1,TMR,2\n1,TMR,3\n", ["ALLOC.LEVEL"]),
    "a level left empty": ("number,arm,limb\n1,TMR,1\n1,TMR,2\n1,TMR,\n", ["ALLOC.LEVEL"]),
    "a column too few": ("number,arm\n1,TMR\n", ["ALLOC.LIST_HEADER"]),
    "a column too many": ("number,arm,limb,name\n1,TMR,1,Ann\n", ["ALLOC.LIST_HEADER"]),
    "a cell too few": ("number,arm,limb\n1,TMR\n1,TMR,1\n1,TMR,2\n", ["ALLOC.LEVEL"]),
    "a cell too many": ("number,arm,limb\n1,TMR,1,9\n1,TMR,2\n", ["ALLOC.LIST_CELLS"]),
    "no place": ("number,arm,limb\n", ["ALLOC.LIST_EMPTY"]),
    "nothing at all": ("", ["ALLOC.LIST_HEADER"]),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_taken_whole_or_not_at_all(sqlite_world: World, name: str) -> None:
    load(sqlite_world, allocation=LIST)
    content, expected = LISTS[name]
    found: list[str] = []
    try:
        sqlite_world.run("trial-manager", lambda unit: schemes.import_list(unit, OTHER, content))
    except TrialError as problem:
        found = [detail.code for detail in problem.details] or [problem.code]
    assert found == expected
    assert bool(rows(sqlite_world, ListSlot)) is (not expected)


#: What the signer types -> the code.
DIGEST = hashlib.sha256(GOOD.encode()).hexdigest()
TYPED = {
    "": "ALLOC.SHA256",
    "00" * 32: "ALLOC.SHA256",
    DIGEST[:-1]: "ALLOC.SHA256",
    DIGEST: "ok",
    DIGEST.upper(): "ok",
    f" {DIGEST[:32]} {DIGEST[32:]} ": "ok",
}


@pytest.mark.parametrize("typed", TYPED)
def test_the_signer_of_a_list_types_its_sha256(sqlite_world: World, typed: str) -> None:
    load(sqlite_world, allocation=LIST)
    sqlite_world.run("trial-manager", ACTS["import"])
    assert refused(sqlite_world, "sponsor", lambda unit: epochs.sign(unit, OTHER, sha256=typed)) == TYPED[typed]
    assert state(sqlite_world) == ("live" if TYPED[typed] == "ok" else "committed")


def test_a_derived_scheme_has_no_sha256_to_type_and_takes_no_list(sqlite_world: World) -> None:
    load(sqlite_world)
    assert refused(sqlite_world, "trial-manager", ACTS["import"]) == "ALLOC.LIST"
    sqlite_world.run("trial-manager", ACTS["prepare"])
    assert refused(sqlite_world, "sponsor", lambda unit: epochs.sign(unit, OTHER, sha256=DIGEST)) == "ALLOC.SHA256"


def test_a_list_that_runs_out_allocates_nobody_and_leaves_the_other_stratum(world: World) -> None:
    load(world, allocation=LIST)
    assert refused(world, "trial-manager", ACTS["prepare"]) == "ALLOC.LIST"
    world.run("trial-manager", ACTS["import"])
    world.run("sponsor", lambda unit: epochs.sign(unit, OTHER, sha256=DIGEST))
    allocate(world, [1, 1])
    assert refused(world, "research-nurse", lambda unit: allocate_one(unit, 1)) == "ALLOC.EXHAUSTED"
    allocate(world, [2])
    assert refused(world, "research-nurse", lambda unit: allocate_one(unit, 2)) == "ALLOC.EXHAUSTED"
    assert [(row.stratum, row.slot, row.number) for row in rows(world, Allocation)] == [
        ("1", 0, "S01-0001"),
        ("1", 1, "S01-0002"),
        ("2", 0, "S01-0003"),
    ]


def test_a_longer_list_is_an_amendment_that_starts_where_it_starts(world: World) -> None:
    load(world, allocation=LIST)
    world.run("trial-manager", ACTS["import"])
    world.run("sponsor", lambda unit: epochs.sign(unit, OTHER, sha256=DIGEST))
    allocate(world, [2])
    longer = "number,arm,limb\n1,Waiting,1\n1,Waiting,2\n2,TMR,2\n"
    assert refused(world, "trial-manager", ACTS["import"]) == "ALLOC.ALREADY"
    changed = files("1.1", allocation=LIST)
    world.run("trial-manager", lambda unit: epochs.amend(unit, OTHER, changed, reason="The list ran out", list_text=longer))
    digest = hashlib.sha256(longer.encode()).hexdigest()
    assert refused(world, "sponsor", lambda unit: epochs.sign(unit, OTHER, sha256=DIGEST)) == "ALLOC.SHA256"
    world.run("sponsor", lambda unit: epochs.sign(unit, OTHER, sha256=digest))
    allocate(world, [2, 2])
    with world.units.reading(SYSTEM) as unit:
        made = unit.session.scalars(select(Allocation).order_by(Allocation.epoch, Allocation.seq))
        assert [chains.unseal_arm(unit, row) for row in made] == ["Standard", "Waiting", "TMR"]


# --- what may be wrong at the moment of randomising --------------------------------------------------------------------


def randomise(world: World, ident: str) -> str:
    return refused(world, "trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, f"key-{ident}"))


def test_a_level_that_the_scheme_does_not_know(sqlite_world: World) -> None:
    reach(sqlite_world, "live")
    assert refused(sqlite_world, "research-nurse", lambda unit: allocate_one(unit, 7)) == "ALLOC.LEVEL"
    assert rows(sqlite_world, Allocation) == []


def test_a_factor_changed_after_eligibility_is_used_as_it_stands_when_randomising(world: World) -> None:
    ident = builders.ready(world, opioid_pre=0)
    planned = {"surg_date_plan": (builders.TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    builders.put(world, ident, "V01", "CLIN", {**builders.CLINICAL, **planned, "opioid_pre": 1}, reason="source: read again")
    assert randomise(world, ident) == "ok"
    made = rows(world, Allocation)[0]
    assert json.loads(made.levels)["opioid_pre"] == "1"
    assert json.loads(rows(world, SchemeEvent)[0].data)["levels"]["opioid_pre"] == "1"


def test_a_paused_scheme_allocates_nobody_until_it_is_resumed(world: World) -> None:
    ident = builders.ready(world)
    world.run("trial-manager", lambda unit: schemes.move(unit, TRIAL, "pause", reason="the list of sites is checked"))
    assert randomise(world, ident) == "ALLOC.PAUSED"
    world.run("sponsor", lambda unit: schemes.move(unit, TRIAL, "resume"))
    assert randomise(world, ident) == "ok"


def test_a_clock_that_was_put_back_allocates_nobody_and_hinders_no_emergency(world: World) -> None:
    first, second = builders.randomised(world), builders.ready(world)
    noon = world.now
    world.now -= timedelta(seconds=1)
    assert randomise(world, second) == "ALLOC.CLOCK"
    shown = world.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, first, "Anaphylaxis in recovery", 1))
    assert shown.arm in ("TMR", "Standard")
    moments = [json.loads(row.data)["at"] for row in rows(world, SchemeEvent)]
    assert moments == [noon.isoformat(timespec="microseconds")] * 2
    world.now = noon
    assert randomise(world, second) == "ok"
    whole = world.run("trial-manager", lambda unit: ledgers.ledger_file(unit, TRIAL))
    assert verifier.verify(whole).good
    assert ledger.verify(whole, sealing.signed).holds


# --- what somebody changed in the database -----------------------------------------------------------------------------


def change(world: World, table: str, statement: str, **values: Any) -> None:
    """Change rows behind the program's back, as the owner of the database can: without its guards."""
    sqlite = world.instance.engine.dialect.name == "sqlite"
    with world.instance.engine.begin() as connection:
        for when in ("update", "delete") if sqlite else ("row",):
            connection.execute(text(f"DROP TRIGGER guard_{table}_{when}" + ("" if sqlite else f" ON {table}")))
        connection.execute(text(statement), values)


def other_arm(world: World, ident: str) -> bytes:
    """The other arm, sealed with the instance's own key as only the program can."""
    with world.units.reading(SYSTEM) as unit:
        row = unit.session.get(Allocation, (TRIAL, "main", ident))
        assert row is not None
        arm = "TMR" if chains.unseal_arm(unit, row) == "Standard" else "Standard"
        return chains.seal_arm(unit, world.protocol.scheme, TRIAL, row.epoch, ident, arm)


#: What was changed -> the statement on a scheme of three events, and the code with which nothing is allocated.
CHANGED: dict[str, tuple[str, str, str]] = {
    "a level of an event": (
        "scheme_event",
        'UPDATE scheme_event SET data = replace(data, \'"limb":"1"\', \'"limb":"2"\') WHERE i = 1',
        "ALLOC.CHAIN",
    ),
    "a participant of an event": (
        "scheme_event",
        "UPDATE scheme_event SET data = replace(data, :ident, '0000-0000-00') WHERE i = 2",
        "ALLOC.CHAIN",
    ),
    "the hash of an event": ("scheme_event", "UPDATE scheme_event SET hash = :zero WHERE i = 2", "ALLOC.CHAIN"),
    "the hash of the last event": ("scheme_event", "UPDATE scheme_event SET hash = :zero WHERE i = 3", "ALLOC.CHAIN"),
    "the first event taken out": ("scheme_event", "DELETE FROM scheme_event WHERE i = 1", "ALLOC.CHAIN"),
    "the last event taken out": ("scheme_event", "DELETE FROM scheme_event WHERE i = 3", "ALLOC.CHAIN"),
    "the arm of an allocation": ("allocation", "UPDATE allocation SET arm_sealed = :sealed WHERE participant_id = :ident", "ALLOC.CHAIN"),
    "the arm of another allocation": (
        "allocation",
        "UPDATE allocation SET arm_sealed = (SELECT a.arm_sealed FROM allocation a WHERE a.seq = 2) WHERE participant_id = :ident",
        "KEYS.SEAL",
    ),
    "an allocation taken out": ("allocation", "DELETE FROM allocation WHERE participant_id = :ident", "ALLOC.CHAIN"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_nothing_is_allocated_after_something_was_changed(sqlite_world: World, name: str) -> None:
    """Found by the first allocation of a process that has not read the scheme before."""
    idents = [builders.randomised(sqlite_world) for _ in range(3)]
    following = builders.ready(sqlite_world)
    table, statement, code = CHANGED[name]
    given = {"ident": idents[1], "zero": "00" * 32, "sealed": other_arm(sqlite_world, idents[1])}
    change(sqlite_world, table, statement, **{key: value for key, value in given.items() if f":{key}" in statement})
    forget()
    assert randomise(sqlite_world, following) == code
    assert following not in [row.participant_id for row in rows(sqlite_world, Allocation)]
    assert len(rows(sqlite_world, SchemeEvent)) <= 3


@pytest.mark.parametrize("name", ["the hash of the last event", "the last event taken out"])
def test_a_process_that_has_read_the_scheme_checks_the_head_again(world: World, name: str) -> None:
    for _ in range(3):
        builders.randomised(world)
    following = builders.ready(world)
    table, statement, code = CHANGED[name]
    change(world, table, statement, **({"zero": "00" * 32} if ":zero" in statement else {}))
    assert randomise(world, following) == code


@pytest.mark.parametrize("name", ["a level of an event", "the arm of an allocation", "an allocation taken out"])
def test_a_balance_report_is_refused_also_where_the_scheme_was_read_before_the_change(sqlite_world: World, name: str) -> None:
    """The report says that the chain holds and that every arm was derived again: so it reads everything, whatever is remembered."""
    idents = [builders.randomised(sqlite_world) for _ in range(3)]
    table, statement, code = CHANGED[name]
    given = {"ident": idents[1], "sealed": other_arm(sqlite_world, idents[1])}
    builders.randomised(sqlite_world)
    change(sqlite_world, table, statement, **{key: value for key, value in given.items() if f":{key}" in statement})
    assert refused(sqlite_world, "statistician-unblinded", lambda unit: balance.report(unit, TRIAL)) == code


# --- custodians --------------------------------------------------------------------------------------------------------


def written(world: World) -> tuple[str, str]:
    """Both shares of one pair, each drawn by its own custodian."""
    first, second = (world.run(role, lambda unit: ledgers.draw_share(unit, TRIAL)[2]) for role in ("sponsor", "chief-investigator"))
    return first, second


@contextmanager
def replaced_key(world: World) -> Iterator[World]:
    """The same instance after the key that seals allocations was lost and another one put in its place."""
    folder = world.instance.settings.folder
    (world.instance.settings.keys_folder / "allocation.key").write_bytes(bytes(range(7, 39)))
    forget()
    instance = instances.open_folder(folder)
    try:
        yield builders.around(instance, now=world.now)
    finally:
        instance.engine.dispose()


def test_two_shares_put_the_master_back_before_anybody_was_allocated(world: World) -> None:
    first, second = written(world)
    ident = builders.ready(world)
    with replaced_key(world) as again:
        assert randomise(again, ident) == "KEYS.SEAL"
        again.run("trial-manager", lambda unit: ledgers.recover(unit, TRIAL, second, first))
        assert randomise(again, ident) == "ok"
        whole = again.run("trial-manager", lambda unit: ledgers.ledger_file(unit, TRIAL))
    assert ledger.verify(whole, sealing.signed).holds


def test_two_shares_put_the_arms_back_too(sqlite_world: World) -> None:
    """The arms of a derived scheme follow from the master, so a trial that has allocated goes on after its key was lost."""
    idents = [builders.randomised(sqlite_world) for _ in range(3)]
    arms = [builders.arm_of(sqlite_world, ident) for ident in idents]
    first, second = written(sqlite_world)
    following = builders.ready(sqlite_world)
    with replaced_key(sqlite_world) as again:
        again.run("trial-manager", lambda unit: ledgers.recover(unit, TRIAL, first, second))
        assert randomise(again, following) == "ok"
        assert [builders.arm_of(again, ident) for ident in idents] == arms
        shown = again.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, idents[0], "Anaphylaxis in recovery", 1))
    assert shown.arm in ("TMR", "Standard")


def test_nobody_draws_both_shares_and_the_office_is_told(world: World) -> None:
    def draw(role: str) -> int:
        return world.run(role, lambda unit: ledgers.draw_share(unit, TRIAL)[1])

    assert [draw("sponsor"), draw("sponsor"), draw("chief-investigator")] == [1, 1, 2]
    assert draw("chief-investigator") == 1
    told = world.read("statistician-unblinded", notices.inbox)
    assert [notice.kind for notice in told] == ["escrow"] * 4
    with world.units.reading(SYSTEM) as unit:
        assert schemes.described(unit, schemes.needed(unit, world.protocol))["escrowed"]


# --- what nobody has signed yet --------------------------------------------------------------------------------------


def test_a_commitment_that_nobody_signed_is_withdrawn_and_made_anew(world: World) -> None:
    load(world)
    first = world.run("trial-manager", lambda unit: schemes.prepare(unit, OTHER).commit)
    world.run("trial-manager", ACTS["withdraw"])
    assert refused(world, "sponsor", ACTS["sign"]) == "ALLOC.NOT_PREPARED"
    second = world.run("trial-manager", lambda unit: schemes.prepare(unit, OTHER).commit)
    assert first != second
    world.run("sponsor", ACTS["sign"])
    assert refused(world, "trial-manager", ACTS["withdraw"]) == "STATE.SCHEME"
    world.run("research-nurse", ACTS["randomise"])
    whole = world.run("trial-manager", lambda unit: ledgers.ledger_file(unit, OTHER))
    assert (whole["config"]["epoch"], [event["kind"] for event in whole["events"]]) == (1, ["allocated"])
    assert ledger.verify(whole, sealing.signed).holds


def test_an_amendment_that_nobody_signed_is_withdrawn_and_another_one_made(sqlite_world: World) -> None:
    reach(sqlite_world, "live")
    sqlite_world.run("trial-manager", ACTS["amend"])
    assert refused(sqlite_world, "trial-manager", ACTS["amend"]) == "STATE.SCHEME"
    standing = sqlite_world.read("trial-manager", lambda unit: schemes.status(unit, OTHER))
    assert (standing["epoch"], standing["state"], standing["next"]["epoch"], standing["next"]["state"]) == (0, "live", 1, "committed")
    sqlite_world.run("trial-manager", ACTS["withdraw"])
    sqlite_world.run("research-nurse", ACTS["randomise"])
    assert sqlite_world.run("trial-manager", lambda unit: ledgers.ledger_file(unit, OTHER))["config"]["epoch"] == 0
    sqlite_world.run("trial-manager", ACTS["amend"])
    sqlite_world.run("sponsor", ACTS["sign"])
    sqlite_world.run("research-nurse", ACTS["randomise"])
    whole = sqlite_world.run("trial-manager", lambda unit: ledgers.ledger_file(unit, OTHER))
    assert (whole["config"]["epoch"], [event["kind"] for event in whole["events"]]) == (2, ["epoch", "allocated"])
    revealed = locked_and_revealed(sqlite_world)
    assert ledger.verify(whole, sealing.signed, reveal=revealed).holds


def test_a_protocol_changed_after_the_commitment_is_not_signed(sqlite_world: World) -> None:
    load(sqlite_world)
    sqlite_world.run("trial-manager", ACTS["prepare"])
    texts = files("1.1", allocation={**PROTOCOL["allocation"], "p": "3/4"})
    sqlite_world.run("trial-manager", lambda unit: studies.load(unit, texts))
    assert refused(sqlite_world, "sponsor", ACTS["sign"]) == "ALLOC.STALE"
    sqlite_world.run("trial-manager", ACTS["withdraw"])
    sqlite_world.run("trial-manager", ACTS["prepare"])
    sqlite_world.run("sponsor", ACTS["sign"])


def locked_and_revealed(world: World) -> dict[str, object]:
    world.run("trial-manager", lambda unit: builders.locked_as_entered(unit, OTHER))
    return world.run("statistician-unblinded", ACTS["reveal"])  # type: ignore[return-value]


def miscopied(share: str) -> str:
    return ("1" if share[0] != "1" else "2") + share[1:]


#: Which shares somebody brings -> the code.
SHARES: dict[str, tuple[Callable[[tuple[str, str], tuple[str, str]], tuple[str, str]], str]] = {
    "both": (lambda one, _: one, "ok"),
    "both, in the other order": (lambda one, _: (one[1], one[0]), "ok"),
    "in capitals, in one line": (lambda one, _: (one[0].upper().replace(" ", ""), one[1]), "ok"),
    "with the remarks of the file": (lambda one, _: (f"# Share 1 of 2\n{one[0]}\n", one[1]), "ok"),
    "the same share twice": (lambda one, _: (one[0], one[0]), "ALLOC.SHARE"),
    "shares of two makings": (lambda one, two: (one[0], two[1]), "ALLOC.SHARE"),
    "one copied wrongly": (lambda one, _: (miscopied(one[0]), one[1]), "ALLOC.SHARE"),
    "one cut off": (lambda one, _: (one[0][:-9], one[1]), "ALLOC.SHARE"),
    "one empty": (lambda one, _: (one[0], ""), "ALLOC.SHARE"),
    "no hexadecimal": (lambda one, _: (one[0], "a share"), "ALLOC.SHARE"),
}


@pytest.mark.parametrize("name", SHARES)
def test_which_shares_give_the_master_back(sqlite_world: World, name: str) -> None:
    one, two = written(sqlite_world), written(sqlite_world)
    pick, code = SHARES[name]
    given = pick(one, two)
    assert refused(sqlite_world, "trial-manager", lambda unit: ledgers.recover(unit, TRIAL, *given)) == code


def test_one_share_says_nothing_about_the_master(sqlite_world: World) -> None:
    with sqlite_world.units.reading(SYSTEM) as unit:
        row = schemes.needed(unit, sqlite_world.protocol)
        master = schemes.keys(unit, row).master
    for share in written(sqlite_world):
        assert master.hex() not in share.replace(" ", "")
        assert escrow.read(share) != master


# --- amendments --------------------------------------------------------------------------------------------------------

DROPPED = [*PROTOCOL["arms"][:2], {**PROTOCOL["arms"][2], "closed": True}]
SECOND_SITE = [*PROTOCOL["sites"], {"code": "S02", "name": "Eastmoor General Hospital", "nation": "ENG"}]

#: An amendment -> the parts of the file that it changes.
AMENDMENTS: dict[str, dict[str, Any]] = {
    "probability changed": {"allocation": {**PROTOCOL["allocation"], "p": "3/4"}},
    "arm dropped": {"arms": DROPPED},
    "site added": {"sites": SECOND_SITE},
    "factor taken away": {"allocation": {**PROTOCOL["allocation"], "factors": [LIMB]}},
    "factor held constant": {"allocation": {**PROTOCOL["allocation"], "strata": ["limb"]}},
    "another method": {"allocation": {"scheme": "main", "method": "pbr", "sizes": [3, 6], "factors": [LIMB]}},
    "no factor any more": {"allocation": {"scheme": "main", "method": "simple"}},
    "an urn by stratum": {"allocation": {"scheme": "main", "method": "urn", "w": 1, "alpha": 0, "beta": 1, "factors": [LIMB]}},
    "a block urn by stratum": {"allocation": {"scheme": "main", "method": "blockurn", "lambda": 2, "factors": [LIMB]}},
    "ratio changed": {"arms": [{**PROTOCOL["arms"][0], "ratio": 2}, *PROTOCOL["arms"][1:]]},
}


def locked(world: World) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every epoch's ledger and reveal, once the database is locked."""
    world.now += timedelta(minutes=5)
    world.run("trial-manager", lambda unit: builders.locked_as_entered(unit, OTHER))
    with world.units.reading(SYSTEM) as unit:
        count = len(schemes.epochs(unit, OTHER, "main"))
    found = []
    for epoch in range(count):
        whole = world.run("trial-manager", lambda unit, epoch=epoch: ledgers.ledger_file(unit, OTHER, epoch=epoch))
        reveal = world.run("statistician-unblinded", lambda unit, epoch=epoch: ledgers.reveal(unit, OTHER, epoch=epoch))
        found.append((json.loads(json.dumps(whole)), json.loads(json.dumps(reveal))))
    return found


@pytest.mark.parametrize("name", AMENDMENTS)
def test_an_amendment_carries_the_history_and_both_ledgers_verify(sqlite_world: World, name: str) -> None:
    reach(sqlite_world, "live")
    allocate(sqlite_world, [1, 2, 1, 1, 2, 2, 1])
    changed = files("1.1", **AMENDMENTS[name])
    row = sqlite_world.run("trial-manager", lambda unit: epochs.amend(unit, OTHER, changed, reason="Amendment 1, 25/NE/0001"))
    assert (row.epoch, state(sqlite_world, 0), state(sqlite_world, 1)) == (1, "live", "committed")
    sqlite_world.now += timedelta(minutes=5)
    allocate(sqlite_world, [2])
    assert refused(sqlite_world, "trial-manager", ACTS["sign"]) == "ALLOC.OWN_SIGNATURE"
    sqlite_world.run("chief-investigator", ACTS["contribute"])
    allocate(sqlite_world, [1])
    sqlite_world.run("sponsor", ACTS["sign"])
    assert (state(sqlite_world, 0), state(sqlite_world, 1)) == ("superseded", "live")
    sqlite_world.now += timedelta(minutes=5)
    forget()
    allocate(sqlite_world, [1, 2, 1])
    if name == "site added":
        allocate(sqlite_world, [1, 2], "S02")
    forget()
    allocate(sqlite_world, [2, 1])
    assert [row.epoch for row in rows(sqlite_world, Allocation)].count(0) == 9
    before, after = locked(sqlite_world)
    assert after[0]["events"][0]["previous"] == before[0]["heads"][-1]["hash"] == verifier.hashes(before[0])[-1].hex()
    assert verifier.verify(*before).faults == []
    assert verifier.verify(*after, before=[before]).faults == []
    for whole, reveal in (before, after):
        assert ledger.verify(whole, sealing.signed, reveal=reveal).faults == ()
    if name == "arm dropped":
        assert "Waiting" not in after[1]["arms"].values()
        assert "Waiting" not in after[1]["counts"]["strata"]["min"]


#: An amendment that is refused -> the parts of the file, its version, the reason given, and the code.
REFUSED_AMENDMENTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "nothing changed": ({}, "1.1", "Amendment 1", "ALLOC.SAME"),
    "the same version": ({"arms": DROPPED}, "1.0", "Amendment 1", "ALLOC.VERSION"),
    "no reason": ({"arms": DROPPED}, "1.1", "", "ALLOC.REASON"),
    "an arm gone": ({"arms": PROTOCOL["arms"][:2]}, "1.1", "Amendment 1", "ALLOC.ARM"),
    "an arm under another code": ({"arms": [*PROTOCOL["arms"][:2], {**PROTOCOL["arms"][2], "code": 4}]}, "1.1", "Amendment 1", "ALLOC.ARM"),
    "another title": ({"visits": [{**PROTOCOL["visits"][0], "label": "Start"}]}, "1.1", "Amendment 1", "ALLOC.AMENDMENT"),
}


@pytest.mark.parametrize("name", REFUSED_AMENDMENTS)
def test_amendments_that_are_refused_leave_the_epoch_in_use(sqlite_world: World, name: str) -> None:
    reach(sqlite_world, "live")
    parts, version, reason, code = REFUSED_AMENDMENTS[name]
    found = refused(sqlite_world, "trial-manager", lambda unit: epochs.amend(unit, OTHER, files(version, **parts), reason=reason))
    assert found == code
    assert len(rows(sqlite_world, Scheme)) == 2
    allocate(sqlite_world, [1])


def test_a_second_amendment_waits_for_the_signature_of_the_first(sqlite_world: World) -> None:
    reach(sqlite_world, "live")
    sqlite_world.run("trial-manager", ACTS["amend"])
    assert refused(sqlite_world, "trial-manager", ACTS["amend"]) == "STATE.SCHEME"


def test_an_epoch_that_was_paused_hands_its_pause_to_the_next_one(world: World) -> None:
    """A signature under an amendment lifts nobody's stop."""
    reach(world, "live")
    world.run("trial-manager", ACTS["amend"])
    world.run("trial-manager", ACTS["pause"])
    assert refused(world, "research-nurse", ACTS["randomise"]) == "ALLOC.PAUSED"
    world.run("sponsor", ACTS["sign"])
    assert refused(world, "research-nurse", ACTS["randomise"]) == "ALLOC.PAUSED"
    world.run("trial-manager", ACTS["resume"])
    allocate(world, [1])


def test_three_epochs_hang_together(world: World) -> None:
    reach(world, "live")
    allocate(world, [1, 2, 1])
    for number, p in ((1, "3/4"), (2, "2/3")):
        changed = files(f"1.{number}", allocation={**PROTOCOL["allocation"], "p": p})
        world.now += timedelta(minutes=5)
        world.run("trial-manager", lambda unit, changed=changed: epochs.amend(unit, OTHER, changed, reason="Another probability"))
        world.run("sponsor", ACTS["sign"])
        world.now += timedelta(minutes=5)
        forget()
        allocate(world, [1, 2])
    made = locked(world)
    for epoch, (whole, reveal) in enumerate(made):
        assert verifier.verify(whole, reveal, before=made[:epoch]).faults == []
        assert ledger.verify(whole, sealing.signed, reveal=reveal).faults == ()


# --- corrections on both sides of an amendment -------------------------------------------------------------------------


def as_corrected(version: str, p: str) -> dict[str, str]:
    """The files of PRE-TMR, counting as corrected."""
    texts = dict(sources.read_folder(ROOT / "protocols" / TRIAL))
    top = f"{TRIAL}/protocol.yaml"
    for old, new in (('version: "1.0"', f'version: "{version}"'), ('p: "4/5"', f'p: "{p}"\n  counts: as_corrected')):
        texts[top] = texts[top].replace(old, new, 1)
    return texts


def amend(world: World, version: str, p: str) -> None:
    world.now += timedelta(minutes=5)
    texts = as_corrected(version, p)
    world.run("trial-manager", lambda unit: epochs.amend(unit, TRIAL, texts, reason="Counts follow corrections"))
    world.run("sponsor", lambda unit: epochs.sign(unit, TRIAL))
    world.now += timedelta(minutes=5)


def correct(world: World, ident: str) -> None:
    planned = {"surg_date_plan": (builders.TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    changed = {**builders.CLINICAL, **planned, "opioid_pre": 1}
    builders.put(world, ident, "V01", "CLIN", changed, reason="source: read again")


def in_error(world: World, ident: str) -> None:
    world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, ident, 1, "Not eligible after all"))


#: What is found about a participant of the epoch before: what is done before the amendment, and what after it.
Found = Callable[[World, str], None]
FINDINGS: dict[str, tuple[tuple[Found, ...], tuple[Found, ...]]] = {
    "corrected before": ((correct,), ()),
    "in error before": ((in_error,), ()),
    "corrected, then in error": ((correct, in_error), ()),
    "in error, then corrected": ((in_error, correct), ()),
    "corrected after": ((), (correct,)),
    "in error after": ((), (in_error,)),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_found_about_an_earlier_epoch_stops_nothing(sqlite_world: World, name: str) -> None:
    """The counts of an epoch are those committed to with its first event, whatever is found about earlier ones afterwards."""
    world = sqlite_world
    before, after = FINDINGS[name]
    amend(world, "1.1", "4/5")
    idents = [builders.randomised(world, opioid_pre=0) for _ in range(3)]
    for find in before:
        find(world, idents[1])
    amend(world, "1.2", "3/4")
    builders.randomised(world)
    world.now += timedelta(minutes=5)
    for find in after:
        find(world, idents[1])
    forget()
    assert randomise(world, builders.ready(world)) == "ok"
    builders.lock(world)
    made = []
    for epoch in range(3):
        whole = world.run("trial-manager", lambda unit, epoch=epoch: ledgers.ledger_file(unit, TRIAL, epoch=epoch))
        made.append((whole, world.run("statistician-unblinded", lambda unit, epoch=epoch: ledgers.reveal(unit, TRIAL, epoch=epoch))))
    for epoch, (whole, reveal) in enumerate(made):
        assert ledger.verify(whole, sealing.signed, reveal=reveal).faults == ()
        assert verifier.verify(whole, reveal, before=made[:epoch]).faults == []


def test_an_envelope_of_an_arm_that_was_dropped_since_is_still_recorded(sqlite_world: World) -> None:
    """An envelope that was opened is a fact: it is recorded, or refused with a word about what to do, never with a failure."""
    load(sqlite_world, allocation={"scheme": "main", "method": "simple"})
    sqlite_world.run("trial-manager", ACTS["prepare"])
    sqlite_world.run("sponsor", ACTS["sign"])
    printed = sqlite_world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, OTHER, "S01", 12))
    number = next(envelope.number for envelope in printed if envelope.arm == "Waiting")
    changed = files("1.1", allocation={"scheme": "main", "method": "simple"}, arms=DROPPED)
    sqlite_world.run("trial-manager", lambda unit: epochs.amend(unit, OTHER, changed, reason="Arm 3 is closed"))
    sqlite_world.run("sponsor", ACTS["sign"])
    sqlite_world.now += timedelta(hours=2)

    def enter(unit: Unit) -> None:
        studies.enter(unit, OTHER, "trial", OTHER, "open", "open")
        studies.enter(unit, OTHER, "site", "S01", "open", "open")
        person = participants.add(unit, OTHER, "S01")
        envelopes.reconcile(unit, OTHER, "S01", number, person.id, sqlite_world.now - timedelta(hours=1), confirmed=True)

    assert refused(sqlite_world, "research-nurse", enter) in ("ok", "ALLOC.ARM")
