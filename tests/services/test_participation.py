"""What follows from a death or a withdrawal: what may be saved, what is still expected, who is reminded (AC-11, AC-19)."""

from datetime import date, timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World
from trialdm.domain.errors import Refused
from trialdm.services import gates, holds, overview, participants, places, records, studies
from trialdm.web.grids import casebook_grid

PAIN = {"rlp_worst": 3, "plp_worst": 2}


def operated(world: World) -> str:
    """Somebody who was operated on three days after randomisation."""
    ident = builders.randomised(world)
    world.at(TODAY + timedelta(days=3))
    builders.put(world, ident, "V02", "SURG", {"surg_done": 1, "surg_date": world.now.date().isoformat()}, role="surgeon")
    return ident


def reminded(world: World) -> list[tuple[str, str]]:
    """What a nurse is reminded of: kind and visit."""
    return [(task.kind, task.visit) for task in world.read("research-nurse", lambda unit: overview.tasks(unit, TRIAL))]


@pytest.mark.parametrize("step", ["freeze", "close"])
def test_nobody_is_ready_to_randomise_where_nobody_is_randomised(sqlite_world: World, step: str) -> None:
    world = sqlite_world
    builders.ready(world)
    assert ("randomise", "") in reminded(world)
    if step == "close":
        world.run("trial-manager", lambda unit: gates.move_trial(unit, TRIAL, step, reason="enough"))
    else:
        world.run("data-manager", lambda unit: holds.move(unit, holds.target(unit, TRIAL, "site", "S01"), step, reason="a check"))
    assert ("randomise", "") not in reminded(world)


def cells(world: World, ident: str, visit: str) -> dict[str, str]:
    """What the page of a participant says of the forms of a visit."""

    def work(unit: Any) -> dict[str, str]:
        row = participants.find(unit, TRIAL, ident)
        protocol = studies.protocol_at(unit, TRIAL, row.site)
        grid = casebook_grid(overview.grid(unit, protocol, row), protocol, lambda kind: True)
        at = [column.code for column in grid.columns].index(visit)
        return {form.code: cell.words for form, line in grid.rows if (cell := line[at])}

    return world.read("research-nurse", work)


def status(world: World, ident: str, code: int, day: date) -> None:
    builders.put(world, ident, "EV", "STAT", {"st_status": code, "st_date": day.isoformat()}, only=True)


def state(world: World, ident: str) -> str:
    return world.read("trial-coordinator", lambda unit: studies.state(unit, TRIAL, "participant", ident))


def test_ac_11_a_participant_dies_at_month_5(sqlite_world: World) -> None:
    """AC-11: reminders stop; the visits from 6 months on are not expected. The flow counts it once: see test_flow."""
    world, ident = sqlite_world, operated(sqlite_world)
    world.at(TODAY + timedelta(days=3 + 95))
    assert ("due", "V05") in reminded(world)
    died = TODAY + timedelta(days=3 + 150)
    world.at(died + timedelta(days=1))
    assert ("overdue", "V05") in reminded(world)
    builders.put(world, ident, "EV", "DETH", {"dth_date": died.isoformat(), "dth_cause": 1}, only=True)
    assert (state(world, ident), reminded(world)) == ("died", [])
    assert set(cells(world, ident, "V06").values()) == set(cells(world, ident, "V09").values()) == {"Not expected"}
    assert cells(world, ident, "V05")["VISI"] == "Overdue", "the visit of month 3 was missed before the death"
    world.at(died + timedelta(days=60))
    assert reminded(world) == []


def test_ac_19_a_participant_withdraws_at_level_3(world: World) -> None:
    """AC-19: saving new data is refused, data to date are kept, and what was said of the withdrawal can still be said."""
    ident = operated(world)
    builders.put(world, ident, "V02", "VISI", {"vs_done": 1, "vs_date": world.now.date().isoformat()}, complete=False)
    world.at(TODAY + timedelta(days=3 + 40))
    status(world, ident, 3, world.now.date())
    for visit, form, answers in (("V04", "PAIN", PAIN), ("EV", "AE", {}), ("V02", "VISI", {"vs_done": 1})):
        with pytest.raises(Refused) as refused:
            builders.put(world, ident, visit, form, answers)
        assert refused.value.code == "GATE.GOV-43", form
        assert refused.value.needs == "Nothing: data to date are kept, and no new data may be recorded."
    kept = world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN")))
    assert kept.answers.values["limb_worst"] == 5
    assert reminded(world) == [], "no visit, and no draft that can no longer be saved"
    builders.put(world, ident, "EV", "DEVI", complete=False)


#: Code of the change, state that follows, whether the visit at six weeks is still expected, whether an operation note is.
CODES = [
    (1, "operated", True, True),
    (2, "withdrawn", False, True),
    (3, "withdrawn", False, False),
    (4, "lost", False, False),
    (5, "operated", True, True),
    (6, "withdrawn", False, False),
    (7, "withdrawn", False, False),
]


@pytest.mark.parametrize(("code", "then", "visits", "routine"), CODES)
def test_what_is_expected_after_a_change_of_participation(sqlite_world: World, code: int, then: str, visits: bool, routine: bool) -> None:
    """Codes 1 and 5 end the treatment only: follow-up goes on."""
    ident = operated(sqlite_world)
    sqlite_world.at(TODAY + timedelta(days=3 + 42))
    status(sqlite_world, ident, code, sqlite_world.now.date())
    assert state(sqlite_world, ident) == then
    assert (("due", "V04") in reminded(sqlite_world)) is visits
    assert (cells(sqlite_world, ident, "V04")["PAIN"] == "Due now") is visits
    assert (cells(sqlite_world, ident, "V03")["DISC"] == "Not started") is routine
