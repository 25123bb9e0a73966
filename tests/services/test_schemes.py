"""The other methods through the service: stratified permuted blocks, and a list made elsewhere."""

import hashlib
from collections import Counter, defaultdict

import pytest
import yaml
from sqlalchemy import select

from tests.builders import World
from trialdm.domain.errors import Conflict, Invalid, WrongState
from trialdm.domain.randomisation import commitment
from trialdm.domain.randomisation.blocks import Blocks, block
from trialdm.domain.randomisation.schemes import fake_arms
from trialdm.services import allocations, chains, epochs, participants, schemes, studies
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import Allocation, ListSlot, Scheme, SchemeEvent

PROTOCOL = """
trial: {id: other, short_title: Other, title: Another trial, version: "1.0", study_type: non-ctimp, target: {participants: 20, months: 6}}
arms: [{code: 1, name: TMR, label: Targeted muscle reinnervation}, {code: 2, name: Standard, label: Standard nerve handling}]
sites: [{code: S01, name: Northbridge Royal Infirmary, nation: ENG}]
visits: [{code: V01, number: 1, label: Baseline, kind: event}]
"""

BASE = """
form: BASE
title: Baseline
kind: baseline
visits: {V01: required}
items: [{name: limb, label: Limb, type: code, codes: {1: Lower, 2: Upper}}]
"""


def load_with(world: World, allocation: dict[str, object]) -> None:
    """Load a small trial with this allocation."""
    texts = {"other/protocol.yaml": PROTOCOL + yaml.safe_dump({"allocation": allocation}), "other/forms/base.yaml": BASE}
    world.run("trial-manager", lambda unit: studies.load(unit, texts))


BLOCKS = {
    "scheme": "main",
    "method": "pbr",
    "sizes": [2, 4],
    "factors": [{"name": "limb", "form": "BASE", "visit": "V01", "item": "limb"}],
}
LIST = {**BLOCKS, "method": "list"}
LIST.pop("sizes")


def allocate(world: World, limbs: list[int]) -> None:
    """Allocate participants one after the other, with this limb each, without the forms that the gate would ask for."""

    def work(unit: Unit) -> None:
        protocol = studies.protocol(unit, "other")
        for limb in limbs:
            studies.enter(unit, "other", "trial", "other", "open", "open")
            studies.enter(unit, "other", "site", "S01", "open", "open")
            person = participants.add(unit, "other", "S01")
            studies.enter(unit, "other", "participant", person.id, "x", "eligible")
            row = schemes.locked_live(unit, protocol, "main")
            levels = {"limb": str(limb)}
            allocations._allocate(unit, protocol, protocol.scheme, row, person.id, "S01", levels, person.id, {})

    world.run("research-nurse", work)


def arms(world: World) -> dict[str, list[str]]:
    """Arms in order, by stratum."""
    with world.units.reading(SYSTEM) as unit:
        found: dict[str, list[str]] = defaultdict(list)
        for row in unit.session.scalars(select(Allocation).where(Allocation.trial_id == "other").order_by(Allocation.seq)):
            found[row.stratum].append(chains.unseal_arm(unit, row))
    return found


def test_blocks_are_those_of_the_keys_and_balance_within_each_stratum(world: World) -> None:
    load_with(world, BLOCKS)
    world.run("trial-manager", lambda unit: schemes.prepare(unit, "other"))
    world.run("sponsor", lambda unit: epochs.sign(unit, "other"))
    allocate(world, [1, 2, 1, 1, 1, 2, 1, 1, 1, 1])
    with world.units.reading(SYSTEM) as unit:
        scheme = unit.session.scalars(select(Scheme).where(Scheme.trial_id == "other")).one()
        keys = schemes.keys(unit, scheme)
    names = fake_arms(keys.config)
    assert arms(world) == {
        "1": [names[Blocks(keys, "1").arm(slot)] for slot in range(8)],
        "2": [names[Blocks(keys, "2").arm(slot)] for slot in range(2)],
    }
    assert len(block(keys, "1", 0)) in (2, 4)


def test_nothing_of_the_future_is_stored_for_a_derived_scheme(world: World) -> None:
    load_with(world, BLOCKS)
    world.run("trial-manager", lambda unit: schemes.prepare(unit, "other"))
    with world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(ListSlot)).all() == []
        scheme = unit.session.scalars(select(Scheme).where(Scheme.trial_id == "other")).one()
        keys = schemes.keys(unit, scheme)
        assert keys.master not in scheme.master_sealed
        assert scheme.commit == commitment.Keys(keys.config, keys.master).commit.hex()


def the_list(*rows: tuple[int, str, str]) -> str:
    return "\n".join(["number,arm,limb", *(f"{n},{arm},{limb}" for n, arm, limb in rows)]) + "\n"


GOOD = the_list((1, "TMR", "1"), (2, "Standard", "1"), (1, "Standard", "2"), (3, "Standard", "1"))


def test_a_list_is_followed_in_order_and_runs_out_with_a_clear_word(world: World) -> None:
    load_with(world, LIST)
    world.run("trial-manager", lambda unit: schemes.import_list(unit, "other", GOOD))
    world.run("sponsor", lambda unit: epochs.sign(unit, "other", sha256=hashlib.sha256(GOOD.encode()).hexdigest()))
    allocate(world, [1, 1, 2, 1])
    assert arms(world) == {"1": ["TMR", "Standard", "Standard"], "2": ["Standard"]}
    with pytest.raises(WrongState) as refused:
        allocate(world, [2])
    assert refused.value.code == "ALLOC.EXHAUSTED"
    with world.units.reading(SYSTEM) as unit:
        kinds = Counter('"kind":"external"' in row.data for row in unit.session.scalars(select(SchemeEvent)))
    assert kinds == {True: 4}


def test_the_places_of_a_list_are_sealed_one_by_one(world: World) -> None:
    load_with(world, LIST)
    world.run("trial-manager", lambda unit: schemes.import_list(unit, "other", GOOD))
    with world.units.reading(SYSTEM) as unit:
        cells = [row.arm_sealed for row in unit.session.scalars(select(ListSlot))]
    assert len(set(cells)) == len(cells) == 4
    assert len({len(cell) for cell in cells}) == 1
    assert not any(b"TMR" in cell for cell in cells)
    with pytest.raises(Conflict):
        world.run("trial-manager", lambda unit: schemes.import_list(unit, "other", GOOD))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("number,arm\n1,TMR\n", "ALLOC.LIST_HEADER"),
        ("number,arm,limb\n", "ALLOC.LIST_EMPTY"),
        (the_list((1, "TMR", "7")), "ALLOC.LEVEL"),
        (the_list((1, "Placebo", "1")), "ALLOC.ARM"),
        (the_list((2, "TMR", "1"), (1, "TMR", "1")), "ALLOC.ORDER"),
        (the_list((1, "TMR", "1"), (1, "TMR", "1")), "ALLOC.ORDER"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_whole(sqlite_world: World, text: str, code: str) -> None:
    load_with(sqlite_world, LIST)
    with pytest.raises(Invalid) as refused:
        sqlite_world.run("trial-manager", lambda unit: schemes.import_list(unit, "other", text))
    assert code in [refused.value.code, *(detail.code for detail in refused.value.details)]
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(ListSlot)).all() == []
