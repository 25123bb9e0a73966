"""Rehearsals through the service: what is simulated, who may see it, the background, and the signature."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.builders import TRIAL, World
from tests.services.test_schemes import BASE, BLOCKS, LIST, PROTOCOL, load_with
from trialdm.definitions.sources import BadDefinition
from trialdm.domain.errors import Conflict, Forbidden, Invalid, WrongState
from trialdm.domain.roles import Grant
from trialdm.rehearsal.simulate import compare, sha256
from trialdm.services import packages, rehearsals, schemes, studies, trail
from trialdm.services.jobs import Jobs
from trialdm.services.rehearsals import Asked, Plan
from trialdm.services.unit import SYSTEM, Actor

SMALL = Asked(trials=20, participants=30)

STATISTICIAN = "statistician-blinded"


def planned(world: World, asked: Asked = SMALL, *, trial: str = TRIAL, role: str = STATISTICIAN) -> Plan:
    return world.read(role, lambda unit: rehearsals.plan(unit, trial, asked))


def against(*texts: str) -> Asked:
    return replace(SMALL, against=tuple((f"other{i}.yaml", text) for i, text in enumerate(texts, 1)))


# --- what is simulated -----------------------------------------------------------------------------------------------


def test_the_own_scheme_is_the_one_that_was_committed_to(world: World) -> None:
    plan = planned(world, Asked(trials=20))
    with world.units.reading(SYSTEM) as unit:
        row = schemes.newest(unit, world.protocol)
        assert row is not None
        assert plan.configs == (schemes.config(row),)
        assert rehearsals.configuration(unit, TRIAL, p="3/4") == {**schemes.config(row), "p": "3/4"}
    assert plan.participants == world.protocol.target_participants
    assert plan.recruitment.sites["S01"] == 22
    assert plan.recruitment.factors["limb"] == {"1": 1.0, "2": 1.0}
    assert rehearsals.run(plan)[0].data["config"]["method"] == "minimisation"


def test_before_a_commitment_it_is_the_protocols(world: World) -> None:
    load_with(world, BLOCKS)
    plan = planned(world, trial="other", role="trial-manager")
    assert plan.configs[0]["sizes"] == [2, 4]
    assert plan.recruitment.sites == {"S01": 1.0}, "a site without a target"


def test_schemes_side_by_side_meet_the_same_people(world: World) -> None:
    text = '[{"method": "bigstick", "mti": 3, "factors": ["site"]}, {"method": "simple"}]'
    plan = planned(world, against(text))
    made = rehearsals.run(plan)
    assert [rehearsal.name for rehearsal in made][1:] == ["big stick 3 by site", "simple"]
    alone = compare([plan.configs[1]], plan.recruitment, trials=20, participants=30, seed=1)
    assert alone[0].data["imbalance"]["overall"] == made[1].data["imbalance"]["overall"]


def test_schemes_of_one_name_are_told_apart(world: World) -> None:
    made = rehearsals.run(planned(world, against("{method: minimisation, imbalance: range, p: 4/5}")))
    assert [rehearsal.name.partition("), ")[2] for rehearsal in made] == ["burn_in 10", "burn_in none"]


def test_assumptions_replace_the_shares(world: World) -> None:
    text = "sites: {S01: 3, S02: 1}\nfactors: {limb: {1: 85, 2: 15}}\nslots: 4"
    plan = planned(world, replace(against("{method: pbr, sizes: [2], factors: [limb]}"), assume=("who.yaml", text)))
    assert plan.recruitment.sites == {"S01": 3, "S02": 1}
    assert plan.recruitment.factors["limb"] == {"1": 85, "2": 15}
    found = rehearsals.run(plan)[1].data["strata"]
    assert (found["number"], found["list"]["runs_out"]["rate"]) == (2, 1)


MISTAKES = [
    ("method: bigstick", "", "other1.yaml:1: method bigstick needs 'mti'"),
    ("- {method: pbr, sizes: [2]}\n- {method: pbr, sizes: [3]}", "", "other1.yaml:2: block size 3 is not a multiple of 2"),
    ("{method: chen, mti: 3, p: 2/3, mtii: 2}", "", "other1.yaml:1: unknown key 'mtii': did you mean 'mti'?"),
    ("{method: simple, factors: [nose]}", "", "other1.yaml:1: the scheme has no factor 'nose': it has site, limb"),
    ("method: list", "", "other1.yaml:1: a list made elsewhere has no rule that could be rehearsed"),
    ("- 3", "", "other1.yaml:1: keys with their values are expected here"),
    ("method: [", "", "other1.yaml:2: not YAML"),
    ("", "sites: {S01: 1, S99: 1}", "who.yaml:1: there is no site 'S99': the trial has S01, S02"),
    ("", "factors:\n  nose: {1: 1}", "who.yaml:2: there is no factor 'nose': the scheme has limb"),
    ("", "factors:\n  site: {S01: 1}", "who.yaml:2: the shares of the sites stand under 'sites'"),
    ("", "factors:\n  limb:\n    3: 1", "who.yaml:3: there is no level '3': limb has 1, 2"),
    ("", "factors: {limb: {1: 0}}", "who.yaml:1: at least one share must be above 0"),
    ("", "sites: {S01: -1}", "who.yaml:1: S01: must be greater than or equal to 0"),
]


@pytest.mark.parametrize(("other", "who", "said"), MISTAKES)
def test_every_mistake_is_named_with_its_place(sqlite_world: World, other: str, who: str, said: str) -> None:
    asked = replace(against(other) if other else SMALL, assume=("who.yaml", who) if who else None)
    with pytest.raises(BadDefinition) as refused:
        planned(sqlite_world, asked)
    assert any(str(problem).startswith(said) for problem in refused.value.problems), refused.value.problems


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(trials=0), "from 1 to 100,000"),
        (Asked(participants=0), "from 1 to 10,000"),
        (Asked(seed=-1), "The seed"),
        (Asked(trials=100_000, participants=10_000), "at most 50,000,000"),
        (Asked(own=False), "these are 0"),
        (against(*(f"{{method: bigstick, mti: {mti}}}" for mti in (2, 3, 4, 5))), "these are 5"),
        (against("{method: bigstick, mti: 3}", "{method: bigstick, mti: 3}"), "given twice"),
        (against("{method: maximal, mti: 300, n: 400}"), "n times mti may be at most 20,000"),
    ],
)
def test_what_cannot_be_rehearsed_is_refused_before(sqlite_world: World, asked: Asked, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        planned(sqlite_world, asked)
    assert said in " ".join(detail.message for detail in refused.value.details)


def test_a_list_has_no_rule_but_its_length_is_rehearsed(world: World) -> None:
    load_with(world, LIST)
    with pytest.raises(Invalid, match="there is no rule to rehearse"):
        planned(world, trial="other", role="trial-manager")
    rows = [f"{number},{arm},{limb}" for limb in (1, 2) for number, arm in enumerate(["TMR", "Standard"] * (3 + limb), 1)]
    world.run("trial-manager", lambda unit: schemes.import_list(unit, "other", "\n".join(["number,arm,limb", *rows])))
    plan = planned(world, against("{method: pbr, sizes: [2, 4]}"), trial="other", role="trial-manager")
    assert plan.slots == 8, "the shortest stratum"
    assert rehearsals.run(plan)[0].data["strata"]["list"]["runs_out"]["rate"] == 1
    unlike = planned(world, against("method: simple"), trial="other", role="trial-manager")
    assert unlike.slots is None, "other strata"


def test_sites_that_are_allocated_have_the_levels_of_their_attributes(world: World) -> None:
    allocation = {"method": "pbr", "sizes": [2], "unit": "site", "factors": [{"name": "size", "levels": ["large", "small"]}]}
    sites = [
        {"code": f"S0{i}", "name": "A site", "nation": "ENG", "attributes": {"size": size}}
        for i, size in enumerate(["large", "small", "small"], 1)
    ]
    top = {**yaml.safe_load(PROTOCOL), "sites": sites, "allocation": allocation}
    texts = {"other/protocol.yaml": yaml.safe_dump(top, sort_keys=False), "other/forms/base.yaml": BASE}
    world.run("trial-manager", lambda unit: studies.load(unit, texts))
    plan = planned(world, Asked(trials=20, against=(("x", "{method: bigstick, mti: 2}"),)), trial="other", role="trial-manager")
    assert (plan.participants, plan.recruitment.sites) == (3, {})
    assert plan.recruitment.factors == {"size": {"large": 1.0, "small": 2.0}}
    assert len(rehearsals.run(plan)) == 2


def test_alternatives_can_be_rehearsed_as_they_are_offered(world: World) -> None:
    offered = world.read(STATISTICIAN, lambda unit: rehearsals.alternatives(unit, TRIAL))
    assert len(offered) >= 6
    for name, text in offered:
        assert planned(world, replace(against(text), own=False)).names == [name]


# --- who may ---------------------------------------------------------------------------------------------------------


def with_also(actor: Actor, role: str, site: str = "") -> Actor:
    return replace(actor, grants=(*actor.grants, Grant(role, TRIAL, site)))


@pytest.mark.parametrize(
    ("role", "also", "sees"),
    [
        (STATISTICIAN, "", True),
        ("statistician-unblinded", "", True),
        ("trial-manager", "", True),
        ("chief-investigator", "", True),
        ("sponsor", "", True),
        ("chief-investigator", "principal-investigator", False),
        ("trial-manager", "trial-coordinator", False),
        (STATISTICIAN, "auditor", False),
        ("trial-coordinator", "", False),
        ("research-nurse", "", False),
        ("data-manager", "", False),
    ],
)
def test_settings_are_hidden_from_whoever_recruits(sqlite_world: World, role: str, also: str, sees: bool) -> None:
    actor = sqlite_world.actor(role)
    actor = with_also(actor, also, "" if also == "trial-coordinator" else "S01") if also else actor
    with sqlite_world.units.reading(actor) as unit:
        assert schemes.may_see_specification(unit, TRIAL) is sees
        if not sees:
            for work in (
                lambda: rehearsals.jobs(unit, TRIAL),
                lambda: rehearsals.job(unit, TRIAL, "x"),
                lambda: rehearsals.plan(unit, TRIAL, SMALL),
            ):
                with pytest.raises(Forbidden):
                    work()


@pytest.mark.parametrize("role", ["chief-investigator", "sponsor"])
def test_who_signs_does_not_run(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden):
        planned(sqlite_world, role=role)


# --- the background --------------------------------------------------------------------------------------------------


def asked_for(world: World, asked: Asked = SMALL) -> str:
    return world.run(STATISTICIAN, lambda unit: rehearsals.ask_for(unit, TRIAL, asked).id)


def finished(world: World, tmp_path: Path, ident: str) -> None:
    jobs = Jobs(world.units, tmp_path)
    jobs.ask_for_rehearsal(TRIAL, ident)
    assert jobs.run_pending() == 1


def test_a_rehearsal_in_the_background_gives_the_figures_of_its_plan(world: World, tmp_path: Path) -> None:
    ident = asked_for(world, against("{method: simple}"))
    expected = rehearsals.run(planned(world, against("{method: simple}")))
    with pytest.raises(WrongState):
        world.read(STATISTICIAN, lambda unit: rehearsals.result(rehearsals.job(unit, TRIAL, ident)))
    finished(world, tmp_path, ident)
    row = world.read("sponsor", lambda unit: rehearsals.job(unit, TRIAL, ident))
    assert (row.state, row.done, row.total) == ("done", 40, 40)
    assert sha256(rehearsals.result(row)) == sha256(expected)
    assert json.loads(rehearsals.figures(row)) == [dict(rehearsal.data) for rehearsal in expected]
    assert world.read("sponsor", lambda unit: [job.id for job in rehearsals.jobs(unit, TRIAL)]) == [ident]


def test_one_that_was_cut_off_is_taken_up_again(world: World, tmp_path: Path) -> None:
    ident = asked_for(world)
    jobs = Jobs(world.units, tmp_path)
    jobs._stopping.set()
    jobs.ask_for_rehearsal(TRIAL, ident)
    jobs.run_pending()
    assert world.read(STATISTICIAN, lambda unit: rehearsals.job(unit, TRIAL, ident).state) == "working"
    again = Jobs(world.units, tmp_path)
    again._requeue()
    assert again.run_pending() == 1
    assert world.read(STATISTICIAN, lambda unit: rehearsals.job(unit, TRIAL, ident).state) == "done"


def test_a_long_rehearsal_holds_up_no_package(sqlite_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, running, enough = sqlite_world, threading.Event(), threading.Event()

    def long(*_: object) -> None:
        running.set()
        enough.wait(60)

    monkeypatch.setattr(rehearsals, "run", long)
    asked_for(world)
    jobs = Jobs(world.units, tmp_path)
    jobs.start()
    assert running.wait(30)
    package = world.run(STATISTICIAN, lambda unit: packages.ask_for(unit, TRIAL, packages.Request(("csv",))).id)
    jobs.ask_for_export(TRIAL, package)
    for _ in range(300):
        if world.read(STATISTICIAN, lambda unit: packages.job(unit, TRIAL, package).state) == "done":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the package was not made")
    enough.set()
    jobs.stop()


def test_one_that_fails_says_so(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ident = asked_for(world)

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(rehearsals, "run", broken)
    finished(world, tmp_path, ident)
    row = world.read(STATISTICIAN, lambda unit: rehearsals.job(unit, TRIAL, ident))
    assert (row.state, row.result) == ("failed", "[]")
    assert "fault of the program" in row.message


# --- the signature ---------------------------------------------------------------------------------------------------


def test_a_second_person_signs_what_they_read(world: World, tmp_path: Path) -> None:
    ident = asked_for(world)
    with pytest.raises(WrongState):
        world.run("sponsor", lambda unit: rehearsals.sign(unit, TRIAL, ident, ""))
    finished(world, tmp_path, ident)
    digest = world.read("sponsor", lambda unit: sha256(rehearsals.result(rehearsals.job(unit, TRIAL, ident))))
    for role, given, refusal in (
        (STATISTICIAN, digest, Forbidden),
        ("trial-manager", digest, Forbidden),
        ("research-nurse", digest, Forbidden),
        ("sponsor", "0" * 64, Conflict),
    ):
        with pytest.raises(refusal):
            world.run(role, lambda unit, given=given: rehearsals.sign(unit, TRIAL, ident, given))
    world.run("sponsor", lambda unit: rehearsals.sign(unit, TRIAL, ident, digest))
    row = world.read(STATISTICIAN, lambda unit: rehearsals.job(unit, TRIAL, ident))
    assert row.signed_by == world.actor("sponsor").id
    with pytest.raises(Conflict):
        world.run("chief-investigator", lambda unit: rehearsals.sign(unit, TRIAL, ident, digest))


def test_the_trail_tells_no_hash_by_which_settings_could_be_tried(world: World, tmp_path: Path) -> None:
    finished(world, tmp_path, asked_for(world))

    def fields(role: str) -> dict[str, set[str]]:
        actions = ("rehearsal.ask", "rehearsal.done")
        asked = {action: trail.Filter(action=action) for action in actions}
        return {a: {line.field for line in world.read(role, lambda unit, a=a: trail.of_trial(unit, TRIAL, asked[a]))} for a in actions}

    assert fields("trial-coordinator") == {"rehearsal.ask": {"trials", "participants", "seed"}, "rehearsal.done": set()}
    assert fields("unblinded-data-manager")["rehearsal.done"] == {"sha256"}
    with world.units.reading(SYSTEM) as unit:
        assert trail.verify(unit) > 0
