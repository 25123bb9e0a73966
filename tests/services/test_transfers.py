"""A participant moves to another site: who sees them from then on, and what never changes."""

import json
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services.test_signatures import code_of, hold
from tests.services.test_versions import NEW_ITEM, propose, take_up
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, TrialError, WrongState
from trialdm.services import (
    allocations,
    factors,
    gates,
    holds,
    notices,
    overview,
    packages,
    participants,
    recruitment,
    screening,
    signatures,
    snapshots,
    trail,
    transfers,
)
from trialdm.services.trail import Filter
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import Allocation, SchemeEvent, Transfer

WHY = "Moved house; the hospital nearby takes over"


def move(world: World, ident: str, site: str = "S02", day: date = TODAY, why: str = WHY, role: str = "trial-manager") -> str:
    return world.run(role, lambda unit: transfers.transfer(unit, TRIAL, ident, site, day, why).site)


def found(world: World, ident: str, role: str, site: str) -> str:
    return world.read(role, lambda unit: participants.find(unit, TRIAL, ident).site, site)


def test_the_new_site_sees_the_participant_and_the_old_one_no_longer(world: World) -> None:
    ident = builders.randomised(world)
    with pytest.raises(Forbidden):
        found(world, ident, "research-nurse", "S02")
    assert move(world, ident) == "S02"
    assert found(world, ident, "research-nurse", "S02") == "S02"
    with pytest.raises(Forbidden, match="another site"):
        found(world, ident, "research-nurse", "S01")
    for role, site, seen in (("research-nurse", "S01", []), ("research-nurse", "S02", [ident]), ("trial-manager", "", [ident])):
        assert [row.id for row, _ in world.read(role, lambda unit: participants.listed(unit, TRIAL), site)] == seen
    assert builders.put(world, ident, "V03", "PAIN", role="research-nurse", site="S02").version == 1
    with pytest.raises(Forbidden):
        builders.put(world, ident, "V03", "EQ5D", role="research-nurse", site="S01")


def test_the_arm_goes_with_the_participant(world: World) -> None:
    """The surgeon of the new site reads the allocation, the one of the old site does not any more."""
    ident = builders.randomised(world)
    move(world, ident)
    with world.units.reading(world.actor("surgeon", "S02")) as unit:
        assert unit.sees_allocations(TRIAL, participants.find(unit, TRIAL, ident).site)
    with pytest.raises(Forbidden):
        found(world, ident, "surgeon", "S01")


def _allocation(world: World, ident: str) -> Any:
    with world.units.reading(SYSTEM) as unit:
        row = unit.session.scalars(select(Allocation).where(Allocation.participant_id == ident)).one()
        person = participants.known(unit, TRIAL, ident)
        events = [event.data for event in unit.session.scalars(select(SchemeEvent).order_by(SchemeEvent.i))]
        stands = (row.site, row.number, row.levels, row.arm_sealed, row.stratum)
        return stands, events, person.number, participants.screening_number(person), allocations.all_arms(unit, world.protocol)


def test_a_transfer_changes_nothing_of_the_allocation_or_the_ledger(world: World) -> None:
    ident = builders.randomised(world)
    before = _allocation(world, ident)
    move(world, ident)
    assert _allocation(world, ident) == before
    with world.units.reading(SYSTEM) as unit:
        shown = allocations.shown(unit, world.protocol, participants.known(unit, TRIAL, ident))
        assert shown
        assert shown.number == "S01-0001"
        assert not any(value.differs for value in factors.side_by_side(unit, world.protocol, ident))


def test_a_correction_at_the_new_site_is_no_change_of_the_factor_site(world: World) -> None:
    ident = builders.randomised(world)
    move(world, ident)
    clinical = {**builders.CLINICAL, "surg_date_plan": (TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1, "opioid_pre": 1}
    builders.put(world, ident, "V01", "CLIN", clinical, site="S02", reason="source_correction")
    with world.units.reading(SYSTEM) as unit:
        values = factors.side_by_side(unit, world.protocol, ident)
    assert [value.factor for value in values if value.differs] == ["opioid_pre"]


def test_whoever_joins_the_old_site_next_takes_the_next_number(world: World) -> None:
    ident = builders.randomised(world)
    move(world, ident)
    with world.units.reading(SYSTEM) as unit:
        assert (row := participants.known(unit, TRIAL, ident)).number == 1
        assert (row.site, row.enrolled_site) == ("S02", "S01")
    numbers = []
    for site in ("S01", "S02"):
        other = builders.screened(world, site)
        with world.units.reading(SYSTEM) as unit:
            numbers.append(participants.screening_number(participants.known(unit, TRIAL, other)))
    assert numbers == ["S01-S-0002", "S02-S-0001"]


def test_recruitment_counts_at_the_site_that_enrolled(world: World) -> None:
    ident = builders.randomised(world)
    move(world, ident)
    rows = {row.code: (row.screened, row.randomised) for row in world.read("trial-manager", lambda unit: overview.sites(unit, TRIAL))}
    assert (rows["S01"], rows["S02"]) == ((1, 1), (0, 0))
    paces = world.read("trial-manager", lambda unit: recruitment.by_site(unit, TRIAL))
    assert [(pace.site, pace.randomised) for pace in paces if pace.randomised] == [("S01", 1)]
    log = world.read("trial-manager", lambda unit: screening.log(unit, TRIAL, site="S01"))
    assert [(entry.number, entry.site) for entry in log] == [("S01-S-0001", "S01")]
    assert world.read("research-nurse", lambda unit: screening.log(unit, TRIAL), "S02") == []


def _exported(world: World, blinded: bool, as_of: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Keys of every row, and what the participants' table says of sites."""

    def work(unit: Unit) -> dict[str, list[tuple[Any, ...]]]:
        books = snapshots.books(unit, world.protocol, as_of)
        permitted = packages.permissions.read(unit, world.protocol, books, as_of)
        made = packages._tables(unit, world.protocol, blinded, as_of, permitted, books, lambda step: None)
        return {table.name: [(row.participant, row.site, row.visit, row.row) for row in rows] for table, rows in made}

    return world.read("statistician-unblinded", work)


def test_keys_of_exports_stay_and_the_current_site_stands_beside_them(world: World) -> None:
    ident = builders.randomised(world)
    builders.put(world, ident, "V03", "PAIN")
    earlier = world.now
    before = {blinded: _exported(world, blinded, earlier) for blinded in (True, False)}
    world.now += timedelta(hours=1)
    move(world, ident)
    for blinded in (True, False):
        assert _exported(world, blinded, world.now) == before[blinded]

    def sites(as_of: Any) -> list[tuple[str, Any, Any]]:
        with world.units.reading(SYSTEM) as unit:
            rows = list(packages._participant_rows(unit, world.protocol, True, as_of))
        answers = [json.loads(row.data)["answers"] for row in rows]
        return [(row.site, said["current_site"], said.get("transferred_on")) for row, said in zip(rows, answers, strict=True)]

    assert sites(earlier) == [("S01", "S01", None)]
    assert sites(world.now) == [("S01", "S02", TODAY.isoformat())]
    with world.units.reading(SYSTEM) as unit:
        assert snapshots.last_change(unit, world.protocol, blinded=True) == world.now


def test_a_participant_may_move_on_and_back(world: World) -> None:
    ident = builders.randomised(world)
    later = TODAY + timedelta(days=5)
    move(world, ident)
    world.at(later)
    assert move(world, ident, "S01", later) == "S01"
    with world.units.reading(SYSTEM) as unit:
        person = participants.known(unit, TRIAL, ident)
        assert [(m.seq, m.site) for m in participants.transfers(unit, person)] == [(1, "S02"), (2, "S01")]
        days = [TODAY - timedelta(days=1), TODAY, TODAY + timedelta(days=4), later]
        assert [participants.site_on(unit, person, day) for day in days] == ["S01", "S02", "S02", "S01"]


def _refused(code: str, kind: type[TrialError], **given: Any) -> Any:
    return pytest.param(given, code, kind, id=f"{code} {' '.join(f'{k}={v}' for k, v in given.items())}")


@pytest.mark.parametrize(
    ("given", "code", "kind"),
    [
        _refused("TRANSFER.ALREADY", Conflict, site="S01"),
        _refused("STATE.SITE", WrongState, site="S03"),
        _refused("SITE.UNKNOWN", Missing, site="S99"),
        _refused("TRANSFER.DAY", Invalid, day=TODAY + timedelta(days=1)),
        _refused("TRANSFER.DAY", Invalid, day=TODAY - timedelta(days=1)),
        _refused("TRANSFER.REASON", Invalid, why="  "),
        _refused("TRANSFER.REASON", Invalid, why="x" * 301),
        _refused("ROLE.PARTICIPANT.TRANSFER", Forbidden, role="principal-investigator"),
        _refused("ROLE.PARTICIPANT.TRANSFER", Forbidden, role="research-nurse"),
        _refused("ROLE.PARTICIPANT.TRANSFER", Forbidden, role="sponsor"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(sqlite_world: World, given: dict[str, Any], code: str, kind: type[TrialError]) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(kind) as refused:
        move(sqlite_world, ident, **given)
    assert refused.value.code == code
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(Transfer)).all() == []


def test_nobody_is_transferred_before_randomisation(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    with pytest.raises(WrongState) as refused:
        move(sqlite_world, ident)
    assert refused.value.code == "STATE.PARTICIPANT"
    assert "added at the other site" in refused.value.needs


def test_the_investigators_of_both_sites_are_told_and_the_trail_keeps_it(world: World) -> None:
    ident = builders.randomised(world)
    move(world, ident)
    told = [m for m in world.read("principal-investigator", notices.inbox, "S01") if m.kind == "transfer"]
    assert len(told) == 1
    assert "from site S01 to site S02" in told[0].text
    assert told[0].participant == "", "the old site sees them no longer: nothing leads there"
    kept = world.read("trial-manager", lambda unit: trail.of_trial(unit, TRIAL, Filter(action="participant.transfer")))
    assert [(line.field, line.old, line.new, line.reason) for line in kept] == [
        ("", None, None, WHY),
        ("site", "S01", "S02", WHY),
        ("transferred_on", None, TODAY.isoformat(), WHY),
    ]


def test_the_trail_of_a_site_goes_with_the_participant(world: World) -> None:
    ident, stays = builders.randomised(world), builders.screened(world)
    move(world, ident)

    def about(site: str) -> set[str]:
        asked = [Filter(participant=ident), Filter(participant=ident, action="participant.transfer")]
        pages = [world.read("research-nurse", partial(trail.of_trial, trial=TRIAL, wanted=one), site) for one in asked]
        return {line.action for lines in pages for line in lines}

    assert about("S01") == set()
    assert {"participant.add", "participant.transfer", "form.finish"} <= about("S02")
    own = world.read("research-nurse", lambda unit: trail.of_trial(unit, TRIAL, Filter(participant=stays)), "S01")
    assert [line.action for line in own] == ["participant.add", "participant.create"]


def test_a_later_gate_judges_the_consent_by_the_site_that_took_it(world: World) -> None:
    ident = builders.randomised(world)
    world.at(TODAY + timedelta(days=2))
    move(world, ident, day=TODAY + timedelta(days=1))
    answer = world.read("trial-manager", lambda unit: participants.gate(unit, TRIAL, "operate", participant=ident))
    assert "GOV-21" not in {reason.rule for reason in answer.reasons if reason.severity == "block"}, answer.reasons


def test_a_site_that_works_with_an_earlier_version_receives_nobody_entered_under_a_later_one(world: World) -> None:
    ident = builders.randomised(world)
    seq = propose(world, NEW_ITEM)
    take_up(world, seq, "S01")
    builders.put(world, ident, "V03", "EQ5D")
    with pytest.raises(WrongState) as refused:
        move(world, ident)
    assert refused.value.code == "TRANSFER.VERSION"
    assert refused.value.message == f"Site S02 works with protocol 1.0; forms of participant {ident} were entered under 1.1."
    assert refused.value.needs == "Site S02 takes up version 1.1 first."
    protocol = world.protocol
    offered = world.read("trial-manager", lambda unit: transfers.may_receive(unit, protocol, participants.known(unit, TRIAL, ident)))
    assert offered == []
    take_up(world, seq, "S02")
    assert move(world, ident) == "S02"


def test_lists_by_site_and_number_are_in_one_order_after_a_transfer(world: World) -> None:
    """Two sites each have a number 1: once one of the two moves, their place among the others' still follows from something."""
    first, second = builders.randomised(world, "S02"), builders.randomised(world, "S01")
    move(world, second)
    for ident, site in ((first, "S02"), (second, "S02")):
        builders.put(world, ident, "V03", "EQ5D", site=site)
    expected = [second, first]
    protocol = world.protocol
    listed = world.read("trial-manager", lambda unit: [row.id for row, _ in participants.listed(unit, TRIAL)])
    to_sign = world.read("sub-investigator", lambda unit: [one.participant for one in signatures.waiting(unit, protocol)], "S02")
    with world.units.reading(world.actor("data-manager")) as unit:
        against = holds.against(unit, holds.target(unit, TRIAL, "site", "S02"))
    words = " ".join(detail.message for detail in against)
    assert (listed, to_sign) == (expected, expected)
    assert words.index(second) < words.index(first)


@pytest.mark.parametrize("scope", ["trial", "site", "participant"])
@pytest.mark.parametrize("steps", [("freeze",), ("freeze", "ask-lock", "lock"), ("freeze", "ask-lock", "lock", "ask-unlock")])
def test_nobody_moves_out_of_what_is_frozen_or_locked(sqlite_world: World, scope: str, steps: tuple[str, ...]) -> None:
    world = sqlite_world
    ident = builders.randomised(world)
    keep(world, steps, scope, {"trial": "", "site": "S01", "participant": ident}[scope])
    assert code_of(lambda: move(world, ident)) == "STATE.HELD"
    protocol = world.protocol
    assert not world.read("trial-manager", lambda unit: transfers.waits(unit, protocol, participants.known(unit, TRIAL, ident)))
    assert world.read("trial-manager", lambda unit: participants.known(unit, TRIAL, ident).site) == "S01"


@pytest.mark.parametrize("steps", [("freeze",), ("freeze", "ask-lock", "lock")])
def test_nobody_moves_into_a_site_that_is_frozen_or_locked(world: World, steps: tuple[str, ...]) -> None:
    ident = builders.randomised(world)
    keep(world, steps, "site", "S02")
    assert code_of(lambda: move(world, ident)) == "STATE.HELD"
    protocol = world.protocol
    assert world.read("trial-manager", lambda unit: transfers.may_receive(unit, protocol, participants.known(unit, TRIAL, ident))) == []


def keep(world: World, steps: tuple[str, ...], scope: str, name: str) -> None:
    for step in steps:
        hold(world, "trial-manager" if step == "lock" else "data-manager", step, scope, name, reason="as it is")


def test_nobody_moves_in_a_trial_that_is_locked_or_over(world: World) -> None:
    ident = builders.randomised(world)
    builders.lock(world)
    assert code_of(lambda: move(world, ident)) == "STATE.TRIAL"
    world.run("sponsor", lambda unit: gates.move_trial(unit, TRIAL, "end"))
    assert code_of(lambda: move(world, ident)) == "STATE.TRIAL"
