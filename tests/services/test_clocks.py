"""Deadlines from the database: what is recorded ends them, whoever owes them is reminded once, and nothing in a reminder identifies."""

from datetime import date

import pytest
from sqlalchemy import select

from tests.builders import TODAY, TRIAL, World, consented, put, randomised
from trialdm.domain.errors import Conflict, Forbidden, Missing, Refused
from trialdm.domain.ethics import Fact
from trialdm.services import approvals, clocks, gates, inbox
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import Notice, Outgoing


def due(world: World, rule: str, role: str = "trial-manager") -> list[tuple[str, str, str]]:
    def work(unit: Unit) -> list[tuple[str, str, str]]:
        return [(d.key, d.due.isoformat(), d.state(clocks.now(unit))) for d in clocks.listed(unit, TRIAL) if d.rule == rule]

    return world.read(role, work)


def usm(world: World) -> str:
    number = world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("usm", TODAY, text="needle count changed")))
    return f"usm:{number}"


def test_an_urgent_safety_measure_starts_a_deadline_that_somebody_records_as_met(world: World) -> None:
    key = usm(world)
    assert due(world, "GOV-27") == [(key, "2026-03-13", "soon")]
    world.at(date(2026, 3, 14))
    assert due(world, "GOV-27") == [(key, "2026-03-13", "overdue")]
    world.run("sponsor", lambda unit: clocks.meet(unit, TRIAL, key, date(2026, 3, 12), "letter to the committee"))
    assert due(world, "GOV-27") == [(key, "2026-03-13", "met")]
    with pytest.raises(Conflict):
        world.run("sponsor", lambda unit: clocks.meet(unit, TRIAL, key, date(2026, 3, 12), "again"))


def test_only_the_office_records_and_nothing_in_the_future(world: World) -> None:
    key = usm(world)
    with pytest.raises(Forbidden):
        world.run("research-nurse", lambda unit: clocks.meet(unit, TRIAL, key, TODAY, ""))
    with pytest.raises(Refused) as refusal:
        world.run("sponsor", lambda unit: clocks.meet(unit, TRIAL, key, date(2026, 3, 11), ""))
    assert refusal.value.code == "REGISTER.FUTURE"
    with pytest.raises(Missing):
        world.run("sponsor", lambda unit: clocks.meet(unit, TRIAL, "registration", TODAY, ""))


def test_a_halt_is_to_be_notified(world: World) -> None:
    world.run("sponsor", lambda unit: gates.move_trial(unit, TRIAL, "pause", reason="safety"))
    assert due(world, "GOV-36") == [("pause:2026-03-10", "2026-03-25", "open")]


def test_a_serious_event_that_nobody_reported_reminds_its_owners_once_for_each_day(world: World) -> None:
    ident = randomised(world)
    world.at(date(2026, 3, 11))
    given = {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": "2026-03-10T09:00"}
    put(world, ident, "EV", "SAE", given, only=True, complete=False)
    assert [row[1:] for row in due(world, "GOV-30")] == [("2026-03-11T09:00:00", "overdue")]
    assert world.units.run(SYSTEM, lambda unit: clocks.remind(unit, TRIAL)) == 1
    assert world.units.run(SYSTEM, lambda unit: clocks.remind(unit, TRIAL)) == 0
    with world.units.reading(SYSTEM) as unit:
        told = unit.session.scalars(select(Notice).where(Notice.kind == "deadline")).all()
        mails = unit.session.scalars(select(Outgoing.body)).all()
    assert {notice.account_id for notice in told} == {world.actor(role).id for role in ("principal-investigator", "safety-reviewer")}
    assert "11 March 2026, 09:00" in told[0].text
    assert not any(ident in text for text in (*(notice.text for notice in told), *mails))
    world.at(date(2026, 3, 18))
    assert world.units.run(SYSTEM, lambda unit: clocks.remind(unit, TRIAL)) == 1


def test_a_site_sees_its_own_deadlines_and_those_of_the_trial(world: World) -> None:
    usm(world)
    ident = randomised(world)
    put(world, ident, "EV", "SAE", {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": "2026-03-10T08:00"}, only=True, complete=False)
    assert len(due(world, "GOV-30", "principal-investigator")) == 1
    other = world.read("research-nurse", lambda unit: [d.rule for d in clocks.listed(unit, TRIAL)], "S02")
    assert "GOV-27" in other
    assert "GOV-30" not in other


BREACH = "Sponsor's review of a potential serious breach"


def breach(world: World, ident: str, kind: int, row: int) -> None:
    """A deviation that may be a serious breach; those of kind 4 are restricted."""
    day = TODAY.isoformat()
    said = {"dv_type": kind, "dv_class": 3, "dv_date": day, "dv_found": day, "dv_desc": "Said once", "dv_capa": "None yet"}
    put(world, ident, "EV", "DEVI", said, role="principal-investigator", only=True, row=row)


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        ("blinded-assessor", 1),
        ("trial-coordinator", 1),
        ("trial-manager", 1),
        ("statistician-blinded", 1),
        ("research-nurse", 1),
        ("principal-investigator", 2),
        ("surgeon", 2),
        ("statistician-unblinded", 2),
        ("sponsor", 2),
    ],
)
def test_a_restricted_breach_is_for_who_reads_allocations_and_for_the_sponsor_who_cannot_tell_it_from_others(
    sqlite_world: World, role: str, seen: int
) -> None:
    ident = consented(sqlite_world)
    breach(sqlite_world, ident, 96, 1)
    breach(sqlite_world, ident, 4, 501)

    def work(unit: Unit) -> list[dict[str, object]]:
        return [clocks.describe(d, clocks.now(unit)) for d in clocks.listed(unit, TRIAL) if d.rule == "GOV-39"]

    found = sqlite_world.read(role, work)
    assert [d["title"] for d in found] == [BREACH] * seen
    assert "restricted" not in str(found)
    keys = {str(d.pop("key")) for d in found}
    assert len(keys) == seen
    assert not any(key.endswith((":1", ":501")) or ident in key for key in keys)
    assert "501" not in str(found)


def test_the_sponsor_is_reminded_of_a_restricted_breach_and_records_its_review_as_met(sqlite_world: World) -> None:
    breach(sqlite_world, consented(sqlite_world), 4, 501)
    ((key, due_on, _),) = due(sqlite_world, "GOV-39", "sponsor")
    sqlite_world.at(date.fromisoformat(due_on))
    assert [one.what for one in sqlite_world.read("sponsor", inbox.waiting) if one.kind == "deadline"] == [BREACH]
    sqlite_world.units.run(SYSTEM, lambda unit: clocks.remind(unit, TRIAL))
    with sqlite_world.units.reading(SYSTEM) as unit:
        told = {(notice.account_id, notice.subject) for notice in unit.session.scalars(select(Notice).where(Notice.kind == "deadline"))}
    assert told == {(sqlite_world.actor("sponsor").id, f"{BREACH}: due today, {due_on}")}
    with pytest.raises(Missing):
        sqlite_world.run("trial-manager", lambda unit: clocks.meet(unit, TRIAL, key, TODAY, "reviewed"))
    sqlite_world.run("sponsor", lambda unit: clocks.meet(unit, TRIAL, key, TODAY, "reviewed"))
    assert due(sqlite_world, "GOV-39", "sponsor") == [(key, due_on, "met")]
