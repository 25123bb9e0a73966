"""Steps of a trial and of its sites: what leads on from here, who takes it, what stands against it, and what it starts."""

from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World, refusals
from trialdm.domain.errors import Forbidden, Invalid, Missing, Refused, TrialError, WrongState
from trialdm.domain.ethics import Approval
from trialdm.services import approvals, clocks, gates, steps


def course(world: World, role: str, site: str = "") -> steps.Course:
    return world.read(role, lambda unit: steps.course(unit, TRIAL, site))


def take(world: World, role: str, event: str, reason: str = "") -> str:
    return world.run(role, lambda unit: gates.move_trial(unit, TRIAL, event, reason=reason))


def refused(world: World, role: str, event: str, reason: str = "") -> TrialError:
    with pytest.raises(TrialError) as problem:
        take(world, role, event, reason)
    return problem.value


def test_the_course_says_who_takes_which_step_and_what_the_gate_says(world: World) -> None:
    found = course(world, "sponsor")
    assert found.state == "open"
    assert [(step.event, step.mine, step.answer is None or step.answer.allowed) for step in found.possible] == [
        ("pause", True, True),
        ("hold", True, True),
        ("close", True, True),
        ("terminate", True, True),
    ]
    assert [step.mine for step in course(world, "trial-manager").possible] == [False, False, True, False]
    assert not any(step.mine for step in course(world, "research-nurse").possible)
    assert [step.event for step in found.taken] == ["open", "approve", "submit", "configure", "create"]
    assert found.taken[0].by == "Trial-Manager"
    site = course(world, "trial-manager", "S03")
    assert (site.state, [step.event for step in site.possible]) == ("identified", ["select"])
    with pytest.raises(Missing):
        course(world, "trial-manager", "S99")


@pytest.mark.parametrize(
    ("role", "event", "reason", "kind", "code"),
    [
        ("trial-manager", "pause", "safety", Forbidden, "ROLE.FORBIDDEN"),
        ("sponsor", "pause", " ", Invalid, "STATE.REASON"),
        ("sponsor", "terminate", "", Invalid, "STATE.REASON"),
        ("sponsor", "archive", "", WrongState, "STATE.TRIAL"),
        ("sponsor", "vanish", "", WrongState, "STATE.TRIAL"),
    ],
)
def test_what_is_refused_and_kept_in_the_trail(world: World, role: str, event: str, reason: str, kind: type[Any], code: str) -> None:
    problem = refused(world, role, event, reason)
    assert isinstance(problem, kind)
    assert problem.code.startswith(code.split(".")[0])
    if code != "ROLE.FORBIDDEN":
        assert problem.code == code
    assert problem.needs
    assert course(world, "sponsor").state == "open"


def test_a_halt_needs_an_approved_restart_and_a_hold_does_not(world: World) -> None:
    assert take(world, "sponsor", "hold", "theatre closed") == "held"
    assert take(world, "sponsor", "release") == "open"
    assert take(world, "sponsor", "pause", "two serious events") == "paused"
    problem = refused(world, "sponsor", "resume")
    assert isinstance(problem, Refused)
    assert problem.code == "GATE.GOV-38"
    assert refusals(world)[-1][0] == "resume-trial"
    assert not next(step for step in course(world, "sponsor").possible if step.event == "resume").answer.allowed  # type: ignore[union-attr]


def test_from_closing_to_the_archive_each_step_starts_what_is_due(world: World) -> None:
    for event, state in (("close", "closed_recruitment"), ("follow-up", "follow_up"), ("lock", "follow_up")):
        assert take(world, "trial-manager", event, "a short trial") == state
    seen = course(world, "trial-manager")
    assert (seen.state, seen.hold) == ("follow_up", "lock_asked")
    assert [step.event for step in seen.possible] == ["terminate"], "the lock has been asked for; it is confirmed elsewhere"
    builders.confirm_lock(world)
    assert take(world, "sponsor", "end") == "ended"
    due = {d.key: d.due.isoformat() for d in world.read("sponsor", lambda unit: clocks.listed(unit, TRIAL)) if d.rule == "GOV-37"}
    assert due == {"end:declaration": "2026-06-08", "end:report": "2027-03-10"}
    assert take(world, "sponsor", "archive") == "archived"
    assert course(world, "sponsor").possible == []


def test_no_hold_is_released_without_an_opinion(world: World) -> None:
    take(world, "sponsor", "hold", "theatre closed")
    withdrawn = Approval("rec", "withdrawn", decided_on=TODAY)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, withdrawn))
    problem = refused(world, "sponsor", "release")
    assert "GATE.GOV-03" in {problem.code, *(detail.code for detail in problem.details)}
