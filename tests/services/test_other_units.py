"""Randomisations beside the usual one: a second one of the same participants, and sites instead of participants."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import builders
from tests.builders import TRIAL, World
from tests.services.test_packages import csv_of, export, unblinded
from trialdm.domain.errors import Conflict, Forbidden, Refused, WrongState
from trialdm.services import (
    allocations,
    chains,
    epochs,
    factors,
    flow,
    gates,
    overview,
    packages,
    places,
    records,
    recruitment,
    schemes,
    studies,
    unblinding,
)
from trialdm.services.unit import SYSTEM

LATER: dict[str, Any] = {
    "scheme": "stage2",
    "after": "main",
    "method": "pbr",
    "sizes": [2],
    "arms": [{"code": 1, "name": "Letter", "label": "A letter"}, {"code": 2, "name": "Call", "label": "A telephone call"}],
    "factors": [{"name": "limb", "form": "CLIN", "visit": "V01", "item": "limb"}],
}
SITES: dict[str, Any] = {
    "scheme": "places",
    "unit": "site",
    "method": "minimisation",
    "imbalance": "range",
    "p": "1",
    "factors": [{"name": "size", "levels": ["large", "small"]}],
}


def with_protocol(world: World, **changes: Any) -> None:
    """Put a changed protocol in force, as an approved modification does."""

    def work(unit: Any) -> None:
        texts = json.loads(studies.definition(unit, TRIAL).texts)
        top = yaml.safe_load(texts[f"{TRIAL}/protocol.yaml"])
        if "allocation" in changes:
            for i, site in enumerate(top["sites"]):
                site["attributes"] = {"size": ("large", "small")[i // 2 % 2]}
            form = f"{TRIAL}/forms/rand.yaml"
            texts[form] = "\n".join(line for line in texts[form].splitlines() if "factor." not in line)
        studies.put_in_force(unit, {**texts, f"{TRIAL}/protocol.yaml": yaml.safe_dump({**top, **changes}, sort_keys=False)})

    world.run("trial-manager", work)
    with world.units.reading(SYSTEM) as unit:
        world.protocol = studies.protocol(unit, TRIAL)


def make(world: World, name: str) -> None:
    world.run("trial-manager", lambda unit: schemes.prepare(unit, TRIAL, name=name))
    world.run("sponsor", lambda unit: epochs.sign(unit, TRIAL, name=name))


def again(world: World, ident: str, key: str, role: str = "trial-coordinator") -> tuple[allocations.Allocated, bool]:
    return world.run(role, lambda unit: allocations.randomise(unit, TRIAL, ident, key, name="stage2"))


# --- a second randomisation ------------------------------------------------------------------------------------------


@pytest.fixture
def two_stages(world: World) -> World:
    with_protocol(world, later_allocations=[LATER])
    make(world, "stage2")
    return world


def test_a_second_randomisation_has_its_own_arms_numbers_keys_and_chain(two_stages: World) -> None:
    world, ident = two_stages, builders.randomised(two_stages)
    allocated, new = again(world, ident, f"key-{ident}")
    assert (new, allocated.number, allocated.arm) == (True, "S01-0001", None)
    assert again(world, ident, f"key-{ident}") == (allocated, False)
    with pytest.raises(Conflict) as twice:
        again(world, ident, "another key")
    assert twice.value.code == "ALLOC.ALREADY"
    with world.units.reading(SYSTEM) as unit:
        assert chains.verify_chain(unit, TRIAL) == 2
        assert allocations.all_arms(unit, world.protocol, "stage2").keys() == {ident}
        assert {value.factor for value in factors.side_by_side(unit, world.protocol, ident, name="stage2")} == {"limb"}


def test_blocks_of_the_second_randomisation_balance(two_stages: World) -> None:
    idents = [builders.randomised(two_stages) for _ in range(4)]
    for ident in idents:
        again(two_stages, ident, ident)
    with two_stages.units.reading(SYSTEM) as unit:
        assert sorted(allocations.all_arms(unit, two_stages.protocol, "stage2").values()) == [1, 1, 2, 2]


def test_the_first_randomisation_comes_first(two_stages: World) -> None:
    ident = builders.ready(two_stages)
    with pytest.raises(Refused, match="randomisation 'main'"):
        again(two_stages, ident, "k")


def test_only_who_is_ready_is_randomised_again(sqlite_world: World) -> None:
    later = {**LATER, "ready": {"form": "CLIN", "visit": "V01", "item": "opioid_pre"}}
    with_protocol(sqlite_world, later_allocations=[later])
    make(sqlite_world, "stage2")
    not_ready, is_ready = builders.randomised(sqlite_world, opioid_pre=0), builders.randomised(sqlite_world, opioid_pre=1)
    with pytest.raises(Refused, match="opioid"):
        again(sqlite_world, not_ready, "a")
    assert again(sqlite_world, is_ready, "b")[1]


def test_recruitment_may_be_over_when_the_second_randomisation_comes(sqlite_world: World) -> None:

    with_protocol(sqlite_world, later_allocations=[LATER])
    make(sqlite_world, "stage2")
    ident = builders.randomised(sqlite_world)
    sqlite_world.run("trial-manager", lambda unit: gates.move_trial(unit, TRIAL, "close"))
    assert again(sqlite_world, ident, "k")[1]


def test_both_randomisations_go_into_exports_and_a_blinded_one_names_no_arm(sqlite_world: World) -> None:
    with_protocol(sqlite_world, later_allocations=[LATER])
    make(sqlite_world, "stage2")
    again(sqlite_world, builders.randomised(sqlite_world), "k")
    for blinded in (True, False):
        with sqlite_world.units.reading(sqlite_world.actor("statistician-unblinded")) as unit:
            row = next(packages._participant_rows(unit, sqlite_world.protocol, blinded, sqlite_world.now))
        answers = json.loads(row.data)["answers"]
        assert answers["stage2_no"] == "S01-0001"
        assert ("stage2_arm" in answers, "arm" in answers) == (not blinded, not blinded)


# --- sites -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sites(world: World) -> World:
    with_protocol(world, allocation=SITES)
    make(world, "places")
    return world


def allocate(world: World, site: str, key: str = "k", role: str = "trial-manager") -> tuple[allocations.Allocated, bool]:
    return world.run(role, lambda unit: allocations.randomise_site(unit, TRIAL, site, f"{site} {key}"))


def test_sites_of_one_kind_are_shared_out_between_the_arms(sites: World) -> None:
    assert allocate(sites, "S01")[1]
    assert allocate(sites, "S02")[1]
    assert allocate(sites, "S01") == (allocate(sites, "S01")[0], False)
    with pytest.raises(Conflict):
        allocate(sites, "S01", "another key")
    with pytest.raises(Forbidden):
        allocate(sites, "S03", role="research-nurse")
    first, second = builders.screened(sites, "S01"), builders.screened(sites, "S02")
    with sites.units.reading(SYSTEM) as unit:
        assert {allocations.arm_of(unit, sites.protocol, first), allocations.arm_of(unit, sites.protocol, second)} == {1, 2}
        assert chains.verify_chain(unit, TRIAL) == 2


def test_a_participant_is_entered_under_the_arm_of_the_site(sites: World) -> None:
    ident = builders.ready(sites)
    with pytest.raises(WrongState) as early:
        sites.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k"))
    assert early.value.code == "ALLOC.SITE"
    allocate(sites, "S01")
    allocated, new = sites.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k"))
    assert (new, allocated.arm) == (True, None)
    assert sites.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k")) == (allocated, False)
    with pytest.raises(Conflict):
        sites.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "other"))
    told = sites.run("principal-investigator", lambda unit: unblinding.look(unit, TRIAL, ident))
    assert told.arm in ("TMR", "Standard")
    assert told.number == allocated.number
    seen = sites.read("trial-coordinator", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "V01", "CONS")))
    assert seen.status == "complete"


def entered(world: World, site: str = "S01") -> str:
    """A participant who was entered under the arm of their site."""
    ident = builders.ready(world, site)
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, f"key-{ident}"))
    return ident


def test_an_arm_stands_in_an_export_from_the_day_on_which_somebody_was_entered(sqlite_world: World, tmp_path: Path) -> None:
    world = sqlite_world
    with_protocol(world, allocation=SITES)
    make(world, "places")
    builders.screened(world)
    before = world.now
    world.now += timedelta(days=1)
    allocate(world, "S01")
    allocated = world.now
    world.now += timedelta(days=1)
    ident = entered(world)
    for moment, expected in ((before, set()), (allocated, set()), (world.now, {ident})):
        with world.units.reading(SYSTEM) as unit:
            assert set(allocations.all_arms(unit, world.protocol, until=moment)) == expected
    unblinded(world, tmp_path / "now")
    assert {row["participant"] for row in csv_of(tmp_path / "now", "participants") if row["arm"]} == {ident}
    export(world, tmp_path / "then", "statistician-unblinded", blinding="unblinded", as_of=allocated)
    assert [row["arm"] for row in csv_of(tmp_path / "then", "participants")] == [""]


def test_recruitment_and_flow_count_those_who_were_entered(sqlite_world: World) -> None:
    world = sqlite_world
    with_protocol(world, allocation=SITES)
    make(world, "places")
    allocate(world, "S01")
    builders.consented(world)
    entered(world)

    def counts(unit: Any) -> tuple[int, ...]:
        whole, home = recruitment.overall(unit, TRIAL), recruitment.randomised(unit, TRIAL)
        assert whole is not None
        sites = {row.code: row.randomised for row in overview.sites(unit, TRIAL)}
        return whole.randomised, home.randomised, sites["S01"], sites["S02"]

    assert world.read("trial-manager", counts) == (1, 1, 1, 0)
    found = world.read("trial-manager", lambda unit: flow.pooled(unit, TRIAL))
    assert [check.words for check in found.checks if not check.holds] == []
    assert next(row["number"] for row in flow.table(found) if row["box"] == "Randomised" and not row["line"]) == 1


def test_nobody_randomises_a_site_where_participants_are_randomised(sqlite_world: World) -> None:
    with pytest.raises(WrongState) as refused:
        allocate(sqlite_world, "S01")
    assert refused.value.code == "ALLOC.UNIT"
