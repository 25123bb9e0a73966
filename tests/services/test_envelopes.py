"""Envelopes: printed for a site, opened while the system is away, entered later; none is used twice, and the order is proved."""

import json
from collections import Counter
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text

from tests import builders
from tests.builders import TRIAL, World
from tests.services.test_signatures import hold
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Unanswered
from trialdm.domain.randomisation import ledger
from trialdm.services import allocations, chains, envelopes, ledgers, notices, participants, places
from trialdm.services.unit import SYSTEM
from trialdm.store import keys as sealing
from trialdm.store.tables import Allocation, SchemeEvent


def printed(world: World, count: int = 8, site: str = "S01") -> list[envelopes.Printed]:
    made = world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, TRIAL, site, count))
    world.now += timedelta(hours=2)
    return made


def enter(world: World, number: int, ident: str, *, opened: datetime | None = None, **more: bool) -> object:
    at = opened or world.now - timedelta(minutes=30)
    return world.run("trial-coordinator", lambda unit: envelopes.reconcile(unit, TRIAL, "S01", number, ident, at, **more))


def test_envelopes_are_balanced_in_blocks_and_sealed(world: World) -> None:
    made = printed(world, 8)
    assert [envelope.number for envelope in made] == list(range(1, 9))
    assert abs(Counter(e.arm for e in made)["TMR"] - 4) <= 1
    again = printed(world, 2)
    assert [envelope.number for envelope in again] == [9, 10]
    with world.instance.engine.connect() as connection:
        cells = list(connection.scalars(text("SELECT arm_sealed FROM envelope")))
    assert len({bytes(cell) for cell in cells}) == 10
    assert len({len(cell) for cell in cells}) == 1


def test_an_opened_envelope_becomes_an_external_event_that_later_allocations_count(world: World) -> None:
    made, ident = printed(world), builders.ready(world)
    opened = world.now - timedelta(minutes=30)
    allocated = enter(world, 1, ident, opened=opened)
    assert allocated.arm is None  # type: ignore[attr-defined]
    assert {1: "TMR", 2: "Standard"}[builders.arm_of(world, ident)] == made[0].arm
    with world.units.reading(SYSTEM) as unit:
        event = json.loads(unit.session.scalars(select(SchemeEvent)).one().data)
        assert participants.state(unit, TRIAL, participants.known(unit, TRIAL, ident)) == "randomised"
    assert (event["kind"], event["envelope"], event["opened_at"]) == ("external", "S01-1", opened.isoformat(timespec="seconds"))
    builders.randomised(world)
    whole = world.run("trial-manager", lambda unit: ledgers.ledger_file(unit, TRIAL))
    assert ledger.verify(whole, sealing.signed).places == 2
    with world.units.reading(SYSTEM) as unit:
        assert chains.verify_chain(unit, TRIAL) == 2


def test_an_envelope_is_used_once_and_a_participant_too(world: World) -> None:
    printed(world)
    first, second = builders.ready(world), builders.ready(world)
    enter(world, 1, first)
    with pytest.raises(Conflict) as again:
        enter(world, 1, second)
    assert again.value.code == "ALLOC.ENVELOPE_USED"
    assert first in again.value.message
    with pytest.raises(Conflict) as twice:
        enter(world, 2, first)
    assert twice.value.code == "ALLOC.ALREADY"
    with world.units.reading(SYSTEM) as unit:
        assert len(unit.session.scalars(select(Allocation)).all()) == 1


def test_an_envelope_out_of_order_needs_a_word_and_is_kept_and_reported(world: World) -> None:
    printed(world)
    first, second = builders.ready(world), builders.ready(world)
    with pytest.raises(Unanswered, match="Envelope 1 of site S01 comes before this one"):
        enter(world, 2, first)
    enter(world, 2, first, confirmed=True, opened=world.now - timedelta(minutes=30))
    enter(world, 1, second, opened=world.now - timedelta(minutes=10))
    found = world.read("trial-coordinator", lambda unit: envelopes.account(unit, TRIAL))
    assert [(entry.number, entry.state, entry.fault) for entry in found[:3]] == [
        (1, "used", ""),
        (2, "used", "opened before 1"),
        (3, "sealed", ""),
    ]
    assert not envelopes.to_json(found)["in_order"]
    told = world.read("trial-manager", notices.inbox)
    assert any("out of order" in notice.subject for notice in told)


def test_entered_in_another_order_than_opened_is_no_fault(sqlite_world: World) -> None:
    printed(sqlite_world)
    first, second = builders.ready(sqlite_world), builders.ready(sqlite_world)
    enter(sqlite_world, 2, second, confirmed=True, opened=sqlite_world.now - timedelta(minutes=10))
    enter(sqlite_world, 1, first, opened=sqlite_world.now - timedelta(minutes=40))
    found = sqlite_world.read("trial-coordinator", lambda unit: envelopes.account(unit, TRIAL))
    assert not any(entry.fault for entry in found)


def test_somebody_not_ready_whose_envelope_was_opened_is_recorded_with_a_deviation(sqlite_world: World) -> None:
    """The eligibility form was not signed: the fact stands, and says which rule it broke."""
    printed(sqlite_world)
    ident = builders.ready(sqlite_world)
    builders.put(
        sqlite_world, ident, "V01", "ELIG", {**builders.ELIGIBLE, "exc01_emerg": 1}, role="sub-investigator", reason="source: read again"
    )
    enter(sqlite_world, 1, ident)
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert participants.state(unit, TRIAL, participants.known(unit, TRIAL, ident)) == "randomised"
    view = builders_view(sqlite_world, ident)
    assert "Eligibility is not met" in view


@pytest.mark.parametrize("steps", [("freeze",), ("freeze", "ask-lock", "lock")])
def test_an_envelope_for_somebody_frozen_or_locked_is_entered_with_a_deviation(world: World, steps: tuple[str, ...]) -> None:
    printed(world)
    ident = builders.ready(world)
    for step in steps:
        hold(world, "trial-manager" if step == "lock" else "data-manager", step, "participant", ident, reason="as it is")
    enter(world, 1, ident)
    with world.units.reading(SYSTEM) as unit:
        assert participants.state(unit, TRIAL, participants.known(unit, TRIAL, ident)) == "randomised"
    assert f"Participant {ident} is {'locked' if 'lock' in steps else 'frozen'} since 10 March 2026" in builders_view(world, ident)


def builders_view(world: World, ident: str) -> str:
    from trialdm.services import records

    with world.units.reading(world.actor("unblinded-data-manager")) as unit:
        return str(records.view(unit, places.locate(unit, TRIAL, ident, "EV", "DEVI", 1)).answers.values.get("dv_desc"))


def test_a_spoilt_envelope_is_accounted_for_and_not_used_again(sqlite_world: World) -> None:
    printed(sqlite_world)
    at = sqlite_world.now - timedelta(minutes=5)
    with pytest.raises(Invalid, match="what happened"):
        sqlite_world.run("research-nurse", lambda unit: envelopes.spoil(unit, TRIAL, "S01", 1, at, "wet"))
    sqlite_world.run("research-nurse", lambda unit: envelopes.spoil(unit, TRIAL, "S01", 1, at, "Fell into the sink, unreadable"))
    with pytest.raises(Conflict):
        enter(sqlite_world, 1, builders.ready(sqlite_world))
    enter(sqlite_world, 2, builders.ready(sqlite_world))


@pytest.mark.parametrize(
    ("number", "shift", "refusal"),
    [(99, timedelta(minutes=-5), Missing), (1, timedelta(minutes=5), Invalid), (1, timedelta(days=-30), Invalid)],
    ids=["no such envelope", "in the future", "before it was printed"],
)
def test_what_cannot_be_is_refused(sqlite_world: World, number: int, shift: timedelta, refusal: type[Exception]) -> None:
    printed(sqlite_world)
    ident = builders.ready(sqlite_world)
    with pytest.raises(refusal):
        enter(sqlite_world, number, ident, opened=sqlite_world.now + shift)


@pytest.mark.parametrize("role", ["trial-manager", "trial-coordinator", "chief-investigator", "statistician-blinded", "surgeon"])
def test_only_the_unblinded_statistician_makes_envelopes(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden):
        sqlite_world.run(role, lambda unit: envelopes.prepare(unit, TRIAL, "S01", 4))


def test_an_envelope_of_another_site_is_refused(sqlite_world: World) -> None:
    printed(sqlite_world)
    ident = builders.ready(sqlite_world, "S02")
    with pytest.raises(Conflict, match="belongs to site S02"):
        enter(sqlite_world, 1, ident)


def test_the_online_system_and_envelopes_never_give_the_same_number(sqlite_world: World) -> None:
    printed(sqlite_world)
    enter(sqlite_world, 1, builders.ready(sqlite_world))
    ident = builders.ready(sqlite_world)
    allocated, _ = sqlite_world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "k"))
    assert allocated.number == "S01-0002"


def test_the_same_entry_again_gives_the_same_answer(world: World) -> None:
    printed(world)
    ident, opened = builders.ready(world), world.now - timedelta(minutes=30)
    first = enter(world, 1, ident, opened=opened)
    world.now += timedelta(minutes=5)
    assert enter(world, 1, ident, opened=opened) == first
    with pytest.raises(Conflict) as other:
        enter(world, 1, ident, opened=opened + timedelta(minutes=1))
    assert other.value.code == "ALLOC.ENVELOPE_USED"
    with world.units.reading(SYSTEM) as unit:
        assert len(unit.session.scalars(select(SchemeEvent)).all()) == 1


def test_an_earlier_one_opened_in_the_same_minute_is_a_fault_where_it_was_said_to_be_sealed(sqlite_world: World) -> None:
    printed(sqlite_world)
    at = sqlite_world.now - timedelta(minutes=30)
    enter(sqlite_world, 2, builders.ready(sqlite_world), confirmed=True, opened=at)
    enter(sqlite_world, 1, builders.ready(sqlite_world), opened=at)
    enter(sqlite_world, 3, builders.ready(sqlite_world), opened=at)
    found = sqlite_world.read("trial-coordinator", lambda unit: envelopes.account(unit, TRIAL))
    assert [(entry.in_order, entry.fault) for entry in found[:3]] == [
        (True, ""),
        (False, "opened in the same minute as 1"),
        (True, ""),
    ]


def test_whoever_may_not_see_the_account_is_told_who_enters_envelopes(sqlite_world: World) -> None:
    with pytest.raises(Forbidden) as refused:
        sqlite_world.read("surgeon", lambda unit: envelopes.account(unit, TRIAL))
    assert refused.value.code == "ROLE.ALLOCATION.RECONCILE"
    assert "Research nurse" in refused.value.needs
