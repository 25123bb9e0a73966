"""Every machine, state and event: the table of steps in `tests/spec/lifecycles.yaml` and nothing beside it."""

from typing import Any

import pytest

from tests.spec import table
from trialdm.domain.errors import WrongState
from trialdm.domain.lifecycle import BACK, INITIAL, LABELS, MACHINES, back, events, label, may, move

TABLE: dict[str, Any] = table("lifecycles")["machines"]
STATES = {
    name: sorted({machine["starts"], *(s for step in machine["steps"].values() for s in (*step["from"], step["to"]))})
    for name, machine in TABLE.items()
}
PAIRS = [(machine, state, event) for machine, rows in TABLE.items() for state in STATES[machine] for event in rows["steps"]]
ALLOWED = [(m, s, e) for m, s, e in PAIRS if s in TABLE[m]["steps"][e]["from"]]
REFUSED = [pair for pair in PAIRS if pair not in ALLOWED]


def test_the_table_is_the_whole_of_it() -> None:
    assert {name: list(steps) for name, steps in MACHINES.items()} == {name: list(m["steps"]) for name, m in TABLE.items()}
    assert {name: machine["starts"] for name, machine in TABLE.items()} == INITIAL
    given = {name: machine["back"] for name, machine in TABLE.items() if "back" in machine}
    assert {name: {event: list(sources) for event, sources in steps.items()} for name, steps in BACK.items()} == given


@pytest.mark.parametrize(("machine", "state", "event"), ALLOWED, ids="-".join)
def test_leads_on(machine: str, state: str, event: str) -> None:
    assert move(machine, state, event) == TABLE[machine]["steps"][event]["to"]
    assert may(machine, state, event)
    assert event in events(machine, state)


@pytest.mark.parametrize(("machine", "state", "event"), REFUSED, ids="-".join)
def test_is_refused_with_the_states_from_which_it_leads_on(machine: str, state: str, event: str) -> None:
    with pytest.raises(WrongState) as refusal:
        move(machine, state, event)
    assert refusal.value.code == f"STATE.{machine.upper()}"
    assert refusal.value.message == f"The {machine} is '{label(state)}': the step '{event}' does not lead on from there."
    assert all(label(source) in refusal.value.needs for source in TABLE[machine]["steps"][event]["from"])
    assert not may(machine, state, event)


@pytest.mark.parametrize(
    ("machine", "state", "needs"),
    [
        ("trial", "draft", "Steps from 'draft': configure."),
        ("trial", "archived", "Steps from 'archived': none."),
        ("site", "nowhere", "Steps from 'nowhere': none."),
        ("form", "complete", "Steps from 'complete': amend, verify, sign, remove."),
    ],
)
def test_an_unknown_step_is_refused(machine: str, state: str, needs: str) -> None:
    with pytest.raises(WrongState, match=f"There is no step 'jump' for a {machine}") as refusal:
        move(machine, state, "jump")
    assert refusal.value.needs == needs


@pytest.mark.parametrize("machine", TABLE)
def test_every_state_is_reached_from_the_first(machine: str) -> None:
    reached, waiting = set(), [INITIAL[machine]]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting += [move(machine, state, event) for event in events(machine, state)]
    assert reached == set(STATES[machine])


def test_nothing_leads_on_from_death_or_the_archive() -> None:
    assert events("participant", "died") == []
    assert events("trial", "archived") == []
    assert events("site", "closed") == []


@pytest.mark.parametrize(
    ("passed", "then"),
    [
        (["screened", "consented", "withdrawn"], "consented"),
        (["follow_up", "withdrawn", "died"], "follow_up"),
        (["operated", "lost", "follow_up", "lost"], "follow_up"),
        (["operated", "withdrawn", "operated", "died"], "operated"),
        (["completed", "died"], "completed"),
        (["died"], "screened"),
    ],
)
def test_an_end_that_is_taken_back_leads_to_the_state_before_it(passed: list[str], then: str) -> None:
    assert back("participant", passed, "reinstate") == then


@pytest.mark.parametrize("passed", [[], ["consented"], ["withdrawn", "follow_up"], ["follow_up", "completed"]])
def test_nothing_else_is_taken_back(passed: list[str]) -> None:
    with pytest.raises(WrongState, match="does not lead back") as refusal:
        back("participant", passed, "reinstate")
    assert refusal.value.needs == "It needs to be withdrawn or lost or died first."


def test_labels_are_for_people() -> None:
    every = {state for states in STATES.values() for state in states}
    assert set(LABELS) <= every
    assert not [state for state in every if "_" in label(state)]
