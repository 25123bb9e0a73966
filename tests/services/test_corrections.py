"""What goes wrong with allocations: recorded with a reason, shown side by side, exported, and never undone."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Conflict, Forbidden, Invalid
from trialdm.services import allocations, chains, corrections, factors, places, records, schemes
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import Allocation, AllocationNote, Scheme, SchemeEvent


def values(world: World, ident: str) -> dict[str, factors.Values]:
    with world.units.reading(SYSTEM) as unit:
        return {value.factor: value for value in factors.side_by_side(unit, world.protocol, ident)}


def correct(world: World, ident: str, **given: object) -> records.View:
    """Change answers of the clinical form after randomisation."""
    planned = {"surg_date_plan": (builders.TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    return builders.put(world, ident, "V01", "CLIN", {**builders.CLINICAL, **planned, **given}, reason="source: read again")


def deviations(world: World, ident: str) -> list[str]:
    with world.units.reading(world.actor("unblinded-data-manager")) as unit:
        found = []
        for row in range(1, 9):
            view = records.view(unit, places.locate(unit, TRIAL, ident, "EV", "DEVI", row))
            if view.version:
                found.append(f"{view.answers.values['dv_type']} {view.answers.values['dv_desc']}")
        return found


def chain(world: World) -> list[dict[str, object]]:
    with world.units.reading(SYSTEM) as unit:
        assert chains.verify_chain(unit, TRIAL)
        return [json.loads(event.data) for event in unit.session.scalars(select(SchemeEvent).order_by(SchemeEvent.i))]


def test_a_factor_corrected_after_randomisation_leaves_the_allocation_and_keeps_both_values(world: World) -> None:
    ident = builders.randomised(world, opioid_pre=0)
    saved = correct(world, ident, opioid_pre=1)
    assert [alert.id for alert in saved.alerts if alert.deviation == 3] == ["ALLOC-01"]
    found = values(world, ident)
    assert (found["opioid_pre"].randomised, found["opioid_pre"].corrected, found["opioid_pre"].verified) == ("0", "1", "")
    assert found["opioid_pre"].differs
    assert not found["limb"].differs
    last = chain(world)[-1]
    assert (last["kind"], last["about"], last["levels"]["opioid_pre"]) == ("corrected", 1, "1")  # type: ignore[index]
    assert any(text.startswith("3 ALLOC-01 at V01 CLIN") for text in deviations(world, ident))
    with world.units.reading(SYSTEM) as unit:
        assert json.loads(unit.session.scalars(select(Allocation)).one().levels)["opioid_pre"] == "0"


def test_a_correction_is_noted_once_and_again_when_it_changes_again(world: World) -> None:
    ident = builders.randomised(world, opioid_pre=0)
    correct(world, ident, opioid_pre=1)
    correct(world, ident, opioid_pre=1, asa=2)
    correct(world, ident, opioid_pre=0)
    with world.units.reading(SYSTEM) as unit:
        assert [note.kind for note in unit.session.scalars(select(AllocationNote))] == ["corrected", "corrected"]
    assert values(world, ident)["opioid_pre"].corrected == "0"


def test_counts_stay_as_randomised_unless_the_scheme_says_otherwise(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world, opioid_pre=0)
    correct(sqlite_world, ident, opioid_pre=1)
    with sqlite_world.units.reading(SYSTEM) as unit:
        row = unit.session.scalars(select(Scheme).where(Scheme.trial_id == TRIAL)).one()
        margins = chains.running(unit, row).allocator.state.margins["min"]
        place = [factor["name"] for factor in schemes.config(row)["factors"]].index("opioid_pre")
        assert sum(margins.at(place, "0")) == 1
        assert sum(margins.at(place, "1")) == 0


@pytest.mark.parametrize(("code", "deviation"), [(1, "1 ALLOC-02"), (3, "3 ALLOC-02")])
def test_an_allocation_in_error_is_marked_and_stays(world: World, code: int, deviation: str) -> None:
    ident = builders.randomised(world)
    reason = "Found not to meet the criteria after the form was read again"
    world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, ident, code, reason))
    assert chain(world)[-1]["kind"] == "in_error"
    assert reason not in json.dumps(chain(world))
    assert any(text.startswith(deviation) for text in deviations(world, ident))
    with pytest.raises(Conflict):
        world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, ident, code, reason))
    second = builders.ready(world)
    allocated, _ = world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, second, "next"))
    assert allocated.number == "S01-0002"


def test_a_person_randomised_twice_keeps_both_allocations_and_the_second_names_the_first(sqlite_world: World) -> None:
    first, second = builders.randomised(sqlite_world), builders.randomised(sqlite_world)
    said = "Came back after moving house; nobody noticed"
    with pytest.raises(Invalid, match="other number"):
        sqlite_world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, second, 2, said))
    sqlite_world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, second, 2, said, other=first))
    assert chain(sqlite_world)[-1]["other"] == first
    assert len([e for e in chain(sqlite_world) if e["kind"] == "allocated"]) == 2


@pytest.mark.parametrize(
    ("role", "code", "reason", "refusal"),
    [
        ("research-nurse", 1, "found not to be eligible", Forbidden),
        ("trial-manager", 7, "found not to be eligible", Invalid),
        ("trial-manager", 1, "oops", Invalid),
    ],
)
def test_who_may_mark_an_error_and_how(sqlite_world: World, role: str, code: int, reason: str, refusal: type[Exception]) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(refusal):
        sqlite_world.run(role, lambda unit: corrections.in_error(unit, TRIAL, ident, code, reason))


def test_a_monitor_verifies_the_values_against_the_source(world: World) -> None:
    ident = builders.randomised(world, opioid_pre=0)
    read = {name: value.randomised for name, value in values(world, ident).items()}
    found = world.run("monitor", lambda unit: corrections.verify(unit, TRIAL, ident, read))
    assert not any(value.differs for value in found)
    assert not [text for text in deviations(world, ident) if "ALLOC-03" in text]
    world.run("monitor", lambda unit: corrections.verify(unit, TRIAL, ident, {**read, "opioid_pre": "1"}))
    assert values(world, ident)["opioid_pre"].verified == "1"
    assert any(text.startswith("3 ALLOC-03") for text in deviations(world, ident))
    with pytest.raises(Invalid, match="'9' is not a level of 'limb'"):
        world.run("monitor", lambda unit: corrections.verify(unit, TRIAL, ident, {**read, "limb": "9"}))


def test_every_absent_factor_is_named_at_once_and_an_unknown_one_before(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    read = {name: value.randomised for name, value in values(sqlite_world, ident).items()}

    def refusal(levels: dict[str, str]) -> str:
        with pytest.raises(Invalid) as refused:
            sqlite_world.run("monitor", lambda unit: corrections.verify(unit, TRIAL, ident, levels))
        assert refused.value.code == "ALLOC.LEVEL"
        return refused.value.message

    some = {name: level for name, level in read.items() if name not in ("limb", "site")}
    named = [name for name in read if name in ("limb", "site")]
    assert refusal(some) == f"Name every factor: {', '.join(named)} are missing."
    assert refusal({**read, "limb": " "}) == "Name every factor: limb is missing."
    assert refusal({**some, "lim": "1"}) == "There is no factor 'lim'."


def test_all_three_values_go_into_exports(sqlite_world: World) -> None:
    from trialdm.services import packages

    ident = builders.randomised(sqlite_world, opioid_pre=0)
    correct(sqlite_world, ident, opioid_pre=1)
    read = {name: value.corrected or value.randomised for name, value in values(sqlite_world, ident).items()}
    sqlite_world.run("monitor", lambda unit: corrections.verify(unit, TRIAL, ident, read))
    sqlite_world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, ident, 1, "not eligible after all"))
    with sqlite_world.units.reading(sqlite_world.actor("statistician-blinded")) as unit:
        rows = list(packages._participant_rows(unit, sqlite_world.protocol, True, sqlite_world.now))
    answers = json.loads(rows[0].data)["answers"]
    assert [answers[f"opioid_pre_{end}"] for end in ("rand", "corr", "ver")] == [0, 1, 1]
    assert answers["rand_error"] == 1
    assert "arm" not in answers
