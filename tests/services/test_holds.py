"""Locking a trial and what is in it: who asks, who confirms and who declines, and what waits for the lock."""

import pytest

from tests import builders
from tests.builders import TRIAL, World
from tests.services.test_signatures import code_of, hold
from trialdm.domain import roles
from trialdm.services import gates, people, studies
from trialdm.services.unit import Unit


def test_a_trial_is_locked_when_a_second_person_confirms_what_the_first_one_asked_for(world: World) -> None:
    builders.ask_for_lock(world)
    assert world.read("trial-manager", lambda unit: studies.state(unit, TRIAL)) == "follow_up"
    assert code_of(lambda: move_trial(world, "trial-manager", "lock")) == "HOLD.ASKED"
    assert code_of(lambda: hold(world, "trial-manager", "lock")) == "HOLD.SECOND"
    assert against_the_export(world) == [
        "The statistical analysis plan is not signed.",
        "The database is not locked: the trial is in follow-up.",
    ]
    builders.confirm_lock(world)
    assert world.read("trial-manager", lambda unit: studies.state(unit, TRIAL)) == "locked"
    assert against_the_export(world) == ["The statistical analysis plan is not signed."]
    assert code_of(lambda: move_trial(world, "trial-manager", "unlock")) == "HOLD.SECOND"
    hold(world, "data-manager", "ask-unlock", reason="an error in the primary outcome")
    hold(world, "trial-manager", "unlock")
    assert world.read("trial-manager", lambda unit: studies.state(unit, TRIAL)) == "follow_up"


def move_trial(world: World, role: str, event: str, reason: str = "as it is") -> str:
    return world.run(role, lambda unit: gates.move_trial(unit, TRIAL, event, reason=reason))


def against_the_export(world: World) -> list[str]:
    answer = world.read("statistician-unblinded", lambda unit: gates.ask(unit, TRIAL, "export-unblinded"))
    return [reason.message for reason in answer.reasons if reason.rule == "GOV-49"]


def test_a_lock_of_the_trial_that_is_declined_leaves_it_in_follow_up_and_nobody_ends_it(world: World) -> None:
    builders.ask_for_lock(world)
    hold(world, "data-manager", "decline-lock", reason="two casebooks are wrong")
    hold(world, "data-manager", "thaw", reason="to be put right")
    assert world.read("trial-manager", lambda unit: studies.state(unit, TRIAL)) == "follow_up"
    assert code_of(lambda: move_trial(world, "trial-manager", "end")) == "STATE.TRIAL"
    assert move_trial(world, "trial-manager", "lock") == "follow_up", "it is asked for again"


def test_a_trial_whose_data_are_not_locked_is_not_ended_whatever_its_state_says(world: World) -> None:
    world.run("trial-manager", lambda unit: studies.enter(unit, TRIAL, "trial", TRIAL, "lock", "locked"))
    assert code_of(lambda: move_trial(world, "trial-manager", "end")) == "STATE.LOCK"


@pytest.mark.parametrize("role", ["chief-investigator", "sponsor"])
def test_who_is_on_neither_side_of_a_lock_asks_for_none(world: World, role: str) -> None:
    for event in ("close", "follow-up"):
        move_trial(world, role, event)
    assert code_of(lambda: move_trial(world, role, "lock")) == "ROLE.HOLD.MOVE"


def test_every_role_that_may_hold_is_on_a_side_of_the_lock() -> None:
    assert roles.ACTIONS["hold.move"] == frozenset().union(*roles.LOCKED_BY)


def test_a_trial_that_is_not_clean_is_asked_to_be_locked_with_a_reason_only(world: World) -> None:
    builders.randomised(world)
    for event in ("close", "follow-up"):
        move_trial(world, "trial-manager", event)
    assert code_of(lambda: move_trial(world, "trial-manager", "lock", reason="")) == "HOLD.NOT_CLEAN"
    assert world.read("trial-manager", lambda unit: studies.state(unit, TRIAL, "hold", f"trial:{TRIAL}")) == "free"


def test_data_that_two_people_locked_before_the_end_of_follow_up_lock_the_trial_at_once(world: World) -> None:
    for role, event in (("data-manager", "freeze"), ("data-manager", "ask-lock"), ("trial-manager", "lock")):
        hold(world, role, event, reason="for the interim analysis")
    for event, state in (("close", "closed_recruitment"), ("follow-up", "follow_up"), ("lock", "locked")):
        assert move_trial(world, "trial-manager", event) == state


#: What is asked for -> the steps that lead there, the answer of the second person, and the one that declines.
ASKED = {
    "lock": (("freeze", "ask-lock"), "lock", "decline-lock", "frozen"),
    "unlock": (("freeze", "ask-lock", "lock", "ask-unlock"), "unlock", "decline-unlock", "locked"),
}


def ask_and_leave(world: World, ident: str, what: str) -> None:
    """The data manager asks, and holds no role any more afterwards."""
    for step in ASKED[what][0]:
        hold(world, "trial-manager" if step == "lock" else "data-manager", step, "participant", ident, reason="as it is")
    asker = world.actor("data-manager").email

    def leave(unit: Unit) -> None:
        people.end_role(unit, people.by_email(unit, asker), "data-manager", "*", "")

    world.run("system-administrator", leave)


@pytest.mark.parametrize("what", ASKED)
def test_what_somebody_asked_for_who_has_left_since_is_confirmed_by_the_other_side(world: World, what: str) -> None:
    ident = builders.ready(world)
    ask_and_leave(world, ident, what)
    confirm = ASKED[what][1]
    assert code_of(lambda: hold(world, "unblinded-data-manager", confirm, "participant", ident)) == "HOLD.SECOND"
    assert hold(world, "trial-manager", confirm, "participant", ident) == {"lock": "locked", "unlock": "free"}[what]


@pytest.mark.parametrize("role", ["trial-manager", "unblinded-data-manager", "data-manager"])
@pytest.mark.parametrize("what", ASKED)
def test_whoever_may_hold_declines_a_lock_and_who_asked_takes_it_back(world: World, what: str, role: str) -> None:
    ident = builders.ready(world)
    steps, _, decline, back = ASKED[what]
    for step in steps:
        hold(world, "trial-manager" if step == "lock" else "data-manager", step, "participant", ident, reason="as it is")
    assert code_of(lambda: hold(world, role, decline, "participant", ident)) == "HOLD.REASON"
    assert hold(world, role, decline, "participant", ident, reason="not yet") == back
