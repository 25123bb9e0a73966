"""Randomising: one participant, one allocation, once, and nobody blinded sees the arm."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from tests import builders
from tests.api.test_concealment import browser
from tests.builders import TRIAL, World
from tests.services.test_signatures import hold, sign_casebook
from trialdm.domain.errors import Conflict, Forbidden, Refused, WrongState
from trialdm.domain.randomisation import ledger
from trialdm.services import allocations, participants, places, schemes, signatures
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import Allocation, AuditEvent, AuditValue, Scheme, SchemeEvent, Status


def test_a_ready_participant_gets_a_number_and_the_coordinator_sees_no_arm(world: World) -> None:
    ident = builders.ready(world)
    allocated, new = world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    assert new
    assert allocated.number == "S01-0001"
    assert allocated.to_json().keys() == {"participant", "number", "at"}


def test_the_investigator_sees_the_arm(world: World) -> None:
    ident = builders.ready(world)
    allocated, _ = world.run("principal-investigator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    assert allocated.arm in ("TMR", "Standard")


def test_the_same_key_gives_the_same_answer_and_allocates_nothing(world: World) -> None:
    ident = builders.ready(world)
    first, _ = world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    again, new = world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    assert (again, new) == (first, False)
    with world.units.reading(SYSTEM) as unit:
        assert len(unit.session.scalars(select(Allocation)).all()) == 1


def test_the_same_key_from_another_person_gives_the_answer_as_they_may_see_it(world: World) -> None:
    ident = builders.ready(world)
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    seen, new = world.run("principal-investigator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    assert (new, seen.arm in ("TMR", "Standard")) == (False, True)


def test_another_key_for_the_same_participant_is_a_conflict_that_shows_the_allocation(world: World) -> None:
    ident = builders.randomised(world)
    with pytest.raises(Conflict) as refused:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "another"))
    assert refused.value.code == "ALLOC.ALREADY"
    assert refused.value.shows["allocation"].keys() == {"participant", "number", "at"}


def test_a_key_of_another_participant_is_a_conflict(world: World) -> None:
    first, second = builders.ready(world), builders.ready(world)
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, first, "k1"))
    with pytest.raises(Conflict) as refused:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, second, "k1"))
    assert refused.value.code == "ALLOC.KEY_USED"


def test_every_reason_is_given_at_once(world: World) -> None:
    ident = builders.screened(world)
    with pytest.raises(Refused) as refused:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    rules = [detail.code for detail in refused.value.details]
    assert {"GATE.GOV-13", "GATE.GOV-44", "GATE.GOV-52"} <= set(rules)
    assert rules.count("GATE.GOV-44") >= 3
    with world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(Allocation)).all() == []


@pytest.mark.parametrize("role", ["blinded-assessor", "monitor", "data-manager", "statistician-unblinded", "surgeon"])
def test_other_roles_may_not_randomise(sqlite_world: World, role: str) -> None:
    ident = builders.ready(sqlite_world)
    with pytest.raises(Forbidden):
        sqlite_world.run(role, lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))


def test_the_events_form_the_chain_of_the_scheme(world: World) -> None:
    for _ in range(3):
        builders.randomised(world)
    with world.units.reading(SYSTEM) as unit:
        scheme = unit.session.scalars(select(Scheme)).one()
        events = [json.loads(row.data) for row in unit.session.scalars(select(SchemeEvent).order_by(SchemeEvent.i))]
        assert ledger.verify_chain(schemes.keys(unit, scheme).genesis, events, bytes.fromhex(scheme.head))
        assert [event["seq"] for event in events] == [0, 1, 2]
        assert not any("arm" in event for event in events)


def test_minimisation_balances_and_each_site_counts_its_own(sqlite_world: World) -> None:
    idents = [builders.randomised(sqlite_world, site) for site in ("S01", "S02", "S01", "S01", "S02", "S02", "S01", "S01") * 2]
    arms = sqlite_world.read("statistician-unblinded", lambda unit: allocations.all_arms(unit, sqlite_world.protocol))
    assert set(arms) == set(idents)
    assert abs(list(arms.values()).count(1) - list(arms.values()).count(2)) <= 6


def test_no_arm_stands_in_the_open_anywhere_in_the_database(sqlite_world: World) -> None:
    """Arms are sealed, and the audit values that name them belong to the unblinded stream."""
    for _ in range(4):
        builders.randomised(sqlite_world)
    with sqlite_world.units.reading(SYSTEM) as unit:
        unblinded = set(unit.session.scalars(select(AuditEvent.event_id).where(AuditEvent.stream == "unblinded")))
        for row in unit.session.scalars(select(AuditValue)):
            if row.value in ('"TMR"', '"Standard"'):
                assert row.event_id in unblinded
        for table in ("allocation", "form_version", "scheme_event", "status", "idempotency"):
            for found in unit.session.execute(text(f"SELECT * FROM {table}")):
                assert not any(cell in ("TMR", "Standard") for cell in found)
                assert not any('"TMR"' in str(cell) and "rand" in str(cell) for cell in found)


def test_the_gates_answer_is_stored_with_the_act(world: World) -> None:
    ident = builders.randomised(world)
    with world.units.reading(SYSTEM) as unit:
        stored = json.loads(unit.session.get(Allocation, (TRIAL, "main", ident)).gate)
        assert stored["allowed"] is True
        moved = unit.session.scalars(select(Status).where(Status.subject == ident, Status.event == "randomise")).one()
        assert json.loads(moved.gate) == stored


def test_the_allocation_record_has_the_levels_and_no_arm(world: World) -> None:
    from trialdm.services import records, unblinding

    ident = builders.randomised(world, limb=2, amp_level_plan=24, aetiol_main=5)
    world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident))
    seen = world.read("surgeon", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "R", "RAND")))
    assert seen.answers.values["rand_f_limb"] == 2
    assert seen.answers.values["rand_f_aetgrp"] == 2
    assert seen.answers.values["rand_arm"] == builders.arm_of(world, ident)
    with pytest.raises(Refused):
        world.read("research-nurse", lambda unit: places.locate(unit, TRIAL, ident, "R", "RAND"))


def test_a_withdrawn_opinion_stops_the_next_allocation(world: World) -> None:
    from trialdm.domain.ethics import Approval
    from trialdm.services import approvals

    first, second = builders.ready(world), builders.ready(world)
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, first, "k1"))
    withdrawn = Approval("rec", "withdrawn", decided_on=builders.TODAY)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, withdrawn))
    with pytest.raises(Refused) as refused:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, second, "k2"))
    assert "GATE.GOV-02" in [detail.code for detail in refused.value.details]


def test_a_factor_changed_after_eligibility_was_confirmed_is_named_and_a_new_confirmation_lifts_it(world: World) -> None:
    ident = builders.ready(world, opioid_pre=0)
    world.now += timedelta(minutes=5)
    planned = {"surg_date_plan": (builders.TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    builders.put(world, ident, "V01", "CLIN", {**builders.CLINICAL, **planned, "opioid_pre": 1}, reason="source: read again")
    with pytest.raises(Refused, match="Changed since a doctor confirmed eligibility: Has the person taken an opioid") as refused:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    assert refused.value.code == "GATE.GOV-44"
    world.now += timedelta(minutes=5)
    builders.put(world, ident, "V01", "ELIG", builders.ELIGIBLE, role="sub-investigator", reason="source: opioid use read again")
    assert world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))[1]


#: Steps by which something is held.
HELD = {"frozen": ("freeze",), "lock asked": ("freeze", "ask-lock"), "locked": ("freeze", "ask-lock", "lock")}


def keep(world: World, scope: str, ident: str, steps: tuple[str, ...]) -> None:
    name = {"trial": "", "site": "S01", "participant": ident}[scope]
    for step in steps:
        hold(world, "trial-manager" if step == "lock" else "data-manager", step, scope, name, reason="as it is")


@pytest.mark.parametrize("scope", ["trial", "site", "participant"])
@pytest.mark.parametrize("held", HELD)
def test_nobody_is_randomised_who_is_frozen_or_locked(sqlite_world: World, held: str, scope: str) -> None:
    """An act still to come is refused, and says what would allow it; the page says so before the button."""
    world, ident = sqlite_world, builders.ready(sqlite_world)
    keep(world, scope, ident, HELD[held])
    with pytest.raises(WrongState) as refusal:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    assert refusal.value.code == "STATE.HELD"
    with world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(Allocation)).all() == []
        found = allocations.hindrance(unit, world.protocol, participants.known(unit, TRIAL, ident))
    assert found is not None
    assert found.message == refusal.value.message
    page = browser(world, "trial-coordinator").get(f"/trials/{TRIAL}/participants/{ident}/randomise").get_data(as_text=True)
    assert found.message in page
    assert "Randomise now" not in page


def test_the_answer_of_a_key_is_given_again_while_the_participant_is_held(world: World) -> None:
    ident = builders.ready(world)
    first, _ = world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    keep(world, "participant", ident, HELD["locked"])
    again, new = world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    assert (again, new) == (first, False)


def test_the_record_of_an_allocation_asks_for_the_signature_under_the_casebook_again(world: World) -> None:
    ident = builders.ready(world)
    sign_casebook(world, ident)
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k1"))
    marks = world.read("monitor", lambda unit: signatures.of_casebook(unit, TRIAL, ident))
    assert (marks.signature, marks.voided is not None) == (None, True)
    sign_casebook(world, ident)
