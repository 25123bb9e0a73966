"""A withdrawal, a loss or a death that was entered by mistake: corrected or removed by the investigator alone, and everything follows."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services.test_participation import PAIN, operated, state, status
from trialdm.domain.errors import TrialError
from trialdm.services import notices, participants, places, removals, studies
from trialdm.services.casebooks import read as casebook
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import AuditEvent

DAY = TODAY + timedelta(days=40)


@pytest.fixture
def ident(world: World) -> str:
    """Somebody who was operated on, at six weeks."""
    person = operated(world)
    world.at(DAY)
    return person


def correct(
    world: World, ident: str, code: int, role: str = "principal-investigator", reason: str = "source: it was another person"
) -> None:
    given = {"st_status": code, "st_date": DAY.isoformat()}
    builders.put(world, ident, "EV", "STAT", given, only=True, role=role, reason=reason)


def remove(
    world: World, ident: str, form: str, role: str = "principal-investigator", reason: str = "the wrong participant", row: int = 1
) -> None:
    world.run(role, lambda unit: removals.remove(unit, places.locate(unit, TRIAL, ident, "EV", form, row), reason))


def dies(world: World, ident: str) -> None:
    builders.put(world, ident, "EV", "DETH", {"dth_date": DAY.isoformat(), "dth_cause": 1}, only=True)


def events(world: World, ident: str) -> list[str]:
    with world.units.reading(SYSTEM) as unit:
        return [row.event for row in studies.history(unit, TRIAL, "participant", ident)]


def level(world: World, ident: str) -> int:
    def work(unit: Unit) -> int:
        person = participants.find(unit, TRIAL, ident)
        return participants.withdrawal_level(studies.protocol(unit, TRIAL), casebook(unit, TRIAL, person))

    return world.read("trial-coordinator", work)


def told(world: World, role: str = "trial-manager") -> list[str]:
    return [one.subject for one in world.read(role, notices.inbox) if one.kind == "participation"]


def refusal(work: Callable[[], None]) -> str:
    with pytest.raises(TrialError) as refused:
        work()
    return refused.value.code


#: What was entered, what it is corrected to, the state and the level that follow, and whether the investigator is needed.
CORRECTIONS = [
    (3, 1, "operated", 1, True),
    (3, 2, "withdrawn", 2, True),
    (7, 3, "withdrawn", 3, True),
    (2, 4, "lost", 0, True),
    (4, 1, "operated", 1, False),
    (1, 3, "withdrawn", 3, False),
    (4, 3, "withdrawn", 3, False),
    (2, 3, "withdrawn", 3, False),
    (5, 1, "operated", 1, False),
]


@pytest.mark.parametrize(("entered", "corrected", "then", "allows", "by_investigator"), CORRECTIONS)
def test_a_correction_takes_the_participant_to_where_they_stand(
    sqlite_world: World, entered: int, corrected: int, then: str, allows: int, by_investigator: bool
) -> None:
    world, ident = sqlite_world, operated(sqlite_world)
    world.at(DAY)
    status(world, ident, entered, DAY)
    if by_investigator:
        assert refusal(lambda: correct(world, ident, corrected, "research-nurse")) == "ROLE.PARTICIPANT.REINSTATE"
        assert (level(world, ident), told(world)) == (level_of(entered), [])
    correct(world, ident, corrected, "principal-investigator" if by_investigator else "research-nurse")
    assert (state(world, ident), level(world, ident)) == (then, allows)
    assert bool(told(world)) is by_investigator


def level_of(code: int) -> int:
    return {1: 1, 2: 2, 3: 3, 4: 0, 5: 1, 7: 4}[code]


def test_a_withdrawal_entered_by_mistake_is_removed_with_a_reason_and_data_are_collected_again(world: World, ident: str) -> None:
    status(world, ident, 3, DAY)
    assert refusal(lambda: builders.put(world, ident, "V04", "PAIN", PAIN))
    assert state(world, ident) == "withdrawn"
    for role in ("research-nurse", "sub-investigator"):
        assert refusal(lambda role=role: remove(world, ident, "STAT", role)) == "ROLE.PARTICIPANT.REINSTATE"
    assert refusal(lambda: remove(world, ident, "STAT", reason=" ")) == "CRF.REASON_NEEDED"
    remove(world, ident, "STAT")
    assert (state(world, ident), level(world, ident)) == ("operated", 0)
    assert builders.put(world, ident, "V04", "PAIN", PAIN).status == "complete"
    assert events(world, ident)[-3:] == ["operate", "withdraw", "reinstate"]
    assert told(world) == [f"Participant {ident}: a change of participation was taken back"]
    assert told(world, "research-nurse") == []
    with world.units.reading(SYSTEM) as unit:
        rows = unit.session.scalars(select(AuditEvent).where(AuditEvent.action == "participant.reinstate")).all()
    assert [(row.actor_id, row.reason_text_commit != "") for row in rows] == [(world.actor("principal-investigator").id, True)]


def test_a_death_entered_for_the_wrong_person_leads_back_to_what_still_stands(world: World, ident: str) -> None:
    status(world, ident, 2, DAY)
    dies(world, ident)
    assert state(world, ident) == "died"
    assert refusal(lambda: remove(world, ident, "DETH", "research-nurse")) == "ROLE.PARTICIPANT.REINSTATE"
    remove(world, ident, "DETH")
    assert (state(world, ident), events(world, ident)[-2:]) == ("withdrawn", ["reinstate", "withdraw"])
    dies_again = TODAY + timedelta(days=60)
    world.at(dies_again)
    builders.put(world, ident, "EV", "DETH", {"dth_date": dies_again.isoformat(), "dth_cause": 1}, only=True, row=2)
    assert state(world, ident) == "died"
    remove(world, ident, "STAT")
    assert state(world, ident) == "died", "a withdrawal that goes does not bring anybody back to life"
    remove(world, ident, "DETH", row=2)
    assert state(world, ident) == "operated"


def test_a_draft_is_removed_by_whoever_enters_the_form_and_one_that_is_put_back_counts_once_it_is_finished(
    world: World, ident: str
) -> None:
    builders.put(world, ident, "EV", "STAT", {"st_status": 3, "st_date": DAY.isoformat()}, only=True, complete=False)
    remove(world, ident, "STAT", "research-nurse")
    assert (state(world, ident), told(world)) == ("operated", [])
    world.run("research-nurse", lambda unit: removals.restore(unit, places.locate(unit, TRIAL, ident, "EV", "STAT"), "it was right"))
    correct(world, ident, 3, "research-nurse", reason="")
    assert (state(world, ident), level(world, ident)) == ("withdrawn", 3)


def test_one_withdrawal_of_two_leaves_the_other(sqlite_world: World) -> None:
    world, ident = sqlite_world, operated(sqlite_world)
    world.at(DAY)
    status(world, ident, 2, DAY)
    builders.put(world, ident, "EV", "STAT", {"st_status": 7, "st_date": DAY.isoformat()}, only=True, row=2)
    assert refusal(lambda: remove(world, ident, "STAT", "research-nurse", row=2)) == "ROLE.PARTICIPANT.REINSTATE"
    remove(world, ident, "STAT", row=2)
    assert (state(world, ident), level(world, ident)) == ("withdrawn", 2)


def visit(world: World, ident: str, code: str, day: date, **given: Any) -> None:
    world.at(day)
    said = given or {"vs_done": 1, "vs_date": day.isoformat(), "vs_mode": 3}
    builders.put(world, ident, code, "VISI", said, reason="source: entered for the wrong person", role="research-nurse")


END = TODAY + timedelta(days=650)


def test_a_last_visit_that_did_not_take_place_leads_back_into_follow_up(world: World, ident: str) -> None:
    visit(world, ident, "V04", DAY)
    visit(world, ident, "V09", END)
    assert state(world, ident) == "completed"
    visit(world, ident, "V09", END, vs_done=0, vs_notdone=1)
    assert state(world, ident) == "follow_up"
    assert events(world, ident)[-3:] == ["correct", "operate", "follow-up"]
    visit(world, ident, "V04", END, vs_done=0, vs_notdone=1)
    assert state(world, ident) == "operated"


def test_a_withdrawal_leads_on_from_the_end_and_its_removal_back_to_it(world: World, ident: str) -> None:
    visit(world, ident, "V09", END)
    status(world, ident, 3, END)
    assert state(world, ident) == "withdrawn"
    remove(world, ident, "STAT")
    assert state(world, ident) == "completed"


def test_an_operation_that_was_not_done_leads_back(world: World, ident: str) -> None:
    not_done = {"surg_done": 0}
    builders.put(world, ident, "V02", "SURG", not_done, role="surgeon", reason="source: it was called off")
    assert (state(world, ident), events(world, ident)[-2:]) == ("not_operated", ["correct", "not-operate"])


def test_a_withdrawal_is_put_off_by_the_investigator_alone(world: World, ident: str) -> None:
    status(world, ident, 3, DAY)
    later = {"st_status": 3, "st_date": (DAY + timedelta(days=3)).isoformat()}
    earlier = {"st_status": 3, "st_date": (DAY - timedelta(days=3)).isoformat()}
    world.at(DAY + timedelta(days=5))

    def put(given: dict[str, Any], role: str) -> None:
        builders.put(world, ident, "EV", "STAT", given, only=True, role=role, reason="source: the letter")

    put(earlier, "research-nurse")
    assert refusal(lambda: put(later, "research-nurse")) == "ROLE.PARTICIPANT.REINSTATE"
    put(later, "principal-investigator")
    assert state(world, ident) == "withdrawn"
