"""The flow and the recruitment of a trial from what is saved: who reads them, what they count, and that the pooled one is blind."""

from datetime import timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services.test_participation import operated
from tests.services.test_screening import SEEN
from trialdm.domain.errors import Forbidden, Refused
from trialdm.services import flow, recruitment, trail


def counted(world: World, role: str = "trial-manager") -> dict[str, int]:
    """Numbers of the pooled flow that are not zero, by box and line."""
    rows = flow.table(world.read(role, lambda unit: flow.pooled(unit, TRIAL)))
    return {f"{row['box']} | {row['line']}".removesuffix(" | "): row["number"] for row in rows if row["number"]}


def test_the_flow_counts_what_is_on_record_and_a_death_once(world: World) -> None:
    """AC-11: dies at month 5 after everything was recorded; the flow counts it once, and later visits under the death."""
    declined = builders.screened(world)
    builders.put(world, declined, "V00", "SCRN", {**SEEN, "scr_consented": 0, "scr_reason": [3]}, only=True)
    builders.consented(world)
    ident = operated(world)
    day = TODAY + timedelta(days=3 + 42)
    world.at(day)
    builders.put(world, ident, "V04", "VISI", {"vs_done": 1, "vs_date": day.isoformat()})
    died = TODAY + timedelta(days=3 + 150)
    world.at(died + timedelta(days=300))
    builders.put(world, ident, "EV", "DETH", {"dth_date": died.isoformat(), "dth_cause": 1}, only=True)
    found = counted(world)
    assert (
        found.items()
        >= {
            "Assessed for eligibility": 3,
            "Not consented": 1,
            "Not consented | Reason: Declined": 1,
            "Consented": 2,
            "Not randomised | Consented, not randomised yet": 1,
            "Randomised": 1,
            "Received surgery": 1,
            "6 weeks: followed up": 1,
            "3 months: followed up | Missed": 1,
            "6 months: followed up | Died before": 1,
            "24 months: followed up | Died before": 1,
            "With the primary outcome | Without it so far": 1,
            "Where everybody stands | Died": 1,
        }.items()
    )
    assert sum(number for name, number in found.items() if name.startswith("Where everybody stands")) == 3
    result = world.read("trial-manager", lambda unit: flow.pooled(unit, TRIAL))
    assert [check for check in result.checks if not check.holds] == []
    assert result.conflicts == ()


def test_who_has_the_primary_outcome(sqlite_world: World) -> None:
    world, ident = sqlite_world, operated(sqlite_world)
    day = TODAY + timedelta(days=3 + 365)
    world.at(day)
    answers = {"rlp_any": 0, "plp_any": 0}
    builders.put(world, ident, "V07", "PAIN", answers, role="blinded-assessor", complete=False, only=True)
    assert counted(world)["With the primary outcome"] == 1
    builders.put(world, ident, "EV", "STAT", {"st_status": 7, "st_date": day.isoformat()}, only=True)
    assert "With the primary outcome" not in counted(world), "data that may not be used are not analysed"


def test_by_arm_is_for_those_who_read_allocations_and_is_recorded(world: World) -> None:
    ident = operated(world)
    arm = builders.arm_of(world, ident)
    found = world.run("statistician-unblinded", lambda unit: flow.by_arm(unit, TRIAL))
    labels = [group.label for group in found.groups if group.boxes[0].count == 1]
    assert labels == [next(a.label for a in world.protocol.arms if a.code == arm)]
    lines = world.read("sponsor", lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(action="report.read")))
    assert [line.reason for line in lines] == ["RP-02 by arm"]
    for role in ("trial-manager", "chief-investigator"):
        with pytest.raises(Refused) as refused:
            world.run(role, lambda unit: flow.by_arm(unit, TRIAL))
        assert refused.value.code == "GATE.GOV-45"


@pytest.mark.parametrize("role", ["research-nurse", "statistician-blinded", "surgeon", "principal-investigator"])
def test_others_read_no_flow(sqlite_world: World, role: str) -> None:
    for ask in (flow.pooled, flow.by_arm):
        with pytest.raises(Forbidden):
            sqlite_world.run(role, lambda unit, ask=ask: ask(unit, TRIAL))


def paces(world: World, role: str, site: str = "") -> list[tuple[Any, ...]]:
    found = world.read(role, lambda unit: recruitment.by_site(unit, TRIAL), site)
    return [(pace.site, pace.randomised, pace.expected, pace.rating) for pace in found]


def test_recruitment_by_site_against_the_target(world: World) -> None:
    """The sites opened in January 2025: by March 2026, 15 of 18 months have begun. S01 has a target of 22, S02 of 20."""
    builders.randomised(world)
    builders.consented(world, "S02")
    assert paces(world, "trial-manager") == [("S01", 1, 18, "red"), ("S02", 0, 17, "red")]
    assert paces(world, "principal-investigator") == [("S01", 1, 18, "red")]
    assert world.read("principal-investigator", lambda unit: recruitment.overall(unit, TRIAL)) is None
    whole = world.read("trial-manager", lambda unit: recruitment.overall(unit, TRIAL))
    assert whole is not None
    last = whole.months[-1]
    assert (last.month, last.screened, last.consented, last.randomised, last.total, last.expected) == ("2026-03", 2, 2, 1, 1, 183)
    home = world.read("research-nurse", lambda unit: recruitment.randomised(unit, TRIAL))
    assert [(m.month, m.total, m.expected) for m in home.months] == [(m.month, m.total, m.expected) for m in whole.months]
    with pytest.raises(Forbidden):
        paces(world, "research-nurse")
