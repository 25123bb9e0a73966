"""Two people at the register at once: whoever comes second waits, and then sees what the first has written."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests import pathway
from tests.builders import TODAY, TRIAL, World
from tests.pathway import AUDIT
from trialdm.domain.errors import TrialError
from trialdm.domain.ethics import Approval, Condition, Document, Fact
from trialdm.services import approvals, clocks, governance, register
from trialdm.services.unit import Actor, Unit

Work = Callable[[Unit], Any]

_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


@pytest.fixture
def postgres_world(postgres_template: Any, tmp_path: Path) -> Iterator[World]:
    yield from postgres_template.lent(tmp_path / "instance")


def at_once(world: World, first: tuple[Actor, Work], second: tuple[Actor, Work]) -> Any:
    """The first has written and not committed yet when the second begins. Gives the second's result, or the code that refused it."""
    became: list[Any] = []

    def begin() -> None:
        try:
            became.append(world.units.run(*second))
        except TrialError as refusal:
            became.append(refusal.code)

    other = threading.Thread(target=begin)

    def work(unit: Unit) -> None:
        first[1](unit)
        other.start()
        with world.instance.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as looking:
            for _ in range(200):
                if looking.scalar(_WAITING):
                    return
                time.sleep(0.05)
        raise AssertionError("the second did not wait for the first")

    world.units.run(first[0], work)
    other.join()
    return became[0]


def record(world: World, entry: Approval | Document) -> int:
    return world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, entry))


def supported(ref: str) -> Work:
    return lambda unit: approvals.record(unit, TRIAL, Approval("cag", "supported", ref, decided_on=TODAY))


def new_form(unit: Unit) -> int:
    return approvals.record(unit, TRIAL, Document("ICF", 3, "3.0", TODAY, None, TODAY))


def opinion(world: World) -> int:
    conditions = (Condition("Name the independent adviser", True),)
    return record(world, Approval("rec", "favourable", "26/NE/0009", decided_on=TODAY, supersedes="25/NE/0001", conditions=conditions))


def revoked(day: date) -> Work:
    return lambda unit: approvals.revoke(unit, TRIAL, "ICF", 2, day, "A wrong telephone number")


def test_decisions_over_the_same_days(postgres_world: World) -> None:
    manager, sponsor = (postgres_world.actor(role) for role in ("trial-manager", "sponsor"))
    assert at_once(postgres_world, (manager, supported("22/CAG/0001")), (sponsor, supported("22/CAG/0002"))) == "REGISTER.OVERLAP"


def test_one_version_recorded_by_two(postgres_world: World) -> None:
    manager, sponsor = (postgres_world.actor(role) for role in ("trial-manager", "sponsor"))
    assert at_once(postgres_world, (manager, new_form), (sponsor, new_form)) == "REGISTER.TWICE"


def test_two_checks_of_one_decision(postgres_world: World) -> None:
    number = opinion(postgres_world)
    sponsor, chief = (postgres_world.actor(role) for role in ("sponsor", "chief-investigator"))

    def check(unit: Unit) -> None:
        approvals.check(unit, TRIAL, number)

    assert at_once(postgres_world, (sponsor, check), (chief, check)) == "REGISTER.CHECKED"


def test_one_condition_met_twice(postgres_world: World) -> None:
    number = opinion(postgres_world)
    manager, sponsor = (postgres_world.actor(role) for role in ("trial-manager", "sponsor"))

    def meet(unit: Unit) -> None:
        approvals.meet(unit, TRIAL, number, 0, TODAY, "Letter of that day")

    assert at_once(postgres_world, (manager, meet), (sponsor, meet)) == "REGISTER.MET"


def test_one_version_revoked_by_two(postgres_world: World) -> None:
    manager, sponsor = (postgres_world.actor(role) for role in ("trial-manager", "sponsor"))
    later = revoked(TODAY + timedelta(days=30))
    assert at_once(postgres_world, (manager, revoked(TODAY)), (sponsor, later)) == "REGISTER.REVOKED"


def test_a_site_takes_up_what_is_being_revoked(postgres_world: World) -> None:
    sponsor, investigator = (postgres_world.actor(role) for role in ("sponsor", "principal-investigator"))

    def take_up(unit: Unit) -> None:
        approvals.take_up(unit, TRIAL, "ICF", 2, "S01", TODAY)

    assert at_once(postgres_world, (sponsor, revoked(TODAY)), (investigator, take_up)) == "GATE.GOV-12"


def test_one_deadline_met_twice(postgres_world: World) -> None:
    measure = postgres_world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("usm", TODAY, text="A new needle")))
    manager, sponsor = (postgres_world.actor(role) for role in ("trial-manager", "sponsor"))

    def meet(unit: Unit) -> None:
        clocks.meet(unit, TRIAL, f"usm:{measure}", TODAY, "Letter of that day")

    assert at_once(postgres_world, (manager, meet), (sponsor, meet)) == "CLOCK.MET"


def test_governance_of_an_organisation(postgres_world: World) -> None:
    world = pathway.beside(postgres_world)
    lead = world.actor("lead")
    notice = world.run("auditor", lambda unit: governance.inform(unit, AUDIT, "S01", TODAY, "Letter of that day"))

    def both(work: Work) -> Any:
        return at_once(world, (lead, work), (lead, work))

    assert both(lambda unit: governance.confirm(unit, AUDIT, "S01", notice, TODAY)) == "PATHWAY.CONFIRMED"
    assert both(lambda unit: governance.hold_review(unit, AUDIT, "S01", TODAY, "Minutes")) == 2
    assert both(lambda unit: governance.agree_action(unit, AUDIT, "S01", 1, "Another table")) == 2
    assert both(lambda unit: governance.close_action(unit, AUDIT, "S01", 1, 1, "Done")) == "PATHWAY.CLOSED"


def test_what_was_read_before_the_turn_came_is_read_again(postgres_world: World) -> None:
    manager, sponsor = (postgres_world.actor(role) for role in ("trial-manager", "sponsor"))

    def count(unit: Unit) -> tuple[int, int]:
        before = len(register.read(unit, TRIAL).approvals)
        register.lock(unit, TRIAL)
        return before, len(register.read(unit, TRIAL).approvals)

    before, after = at_once(postgres_world, (manager, supported("22/CAG/0001")), (sponsor, count))
    assert after == before + 1
