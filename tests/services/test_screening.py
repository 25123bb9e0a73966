"""The screening log: one line for everybody who was considered, for those who may see it."""

from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World
from trialdm.domain.errors import Forbidden, Missing
from trialdm.services import screening

SEEN = {
    "scr_date": TODAY.isoformat(),
    "scr_age_band": 2,
    "scr_sex": 2,
    "scr_limb": 1,
    "scr_aetiol": 1,
    "scr_eligible": 1,
    "scr_approached": 1,
}


def log(world: World, role: str = "trial-coordinator", at: str = "", **asked: Any) -> list[tuple[str, str, list[int]]]:
    """Number, outcome and codes of the reasons, line by line."""
    found = world.read(role, lambda unit: screening.log(unit, TRIAL, **asked), at)
    return [(line.number, line.outcome, sorted(line.reasons)) for line in found]


def test_everybody_who_was_considered_is_in_the_log_of_their_site(world: World) -> None:
    declined, not_yet, elsewhere = builders.screened(world), builders.screened(world), builders.screened(world, "S02")
    builders.put(world, declined, "V00", "SCRN", {**SEEN, "scr_consented": 0, "scr_reason": [3, 5]}, only=True)
    not_eligible = {name: value for name, value in SEEN.items() if name != "scr_approached"} | {"scr_eligible": 0, "scr_reason": [1]}
    builders.put(world, elsewhere, "V00", "SCRN", not_eligible, only=True, site="S02", complete=False)
    lines = [("S01-S-0001", "declined", [3, 5]), ("S01-S-0002", "open", []), ("S02-S-0001", "not-eligible", [1])]
    assert log(world) == lines
    assert log(world, site="S02") == lines[2:]
    assert log(world, came="declined") == log(world, reason=5) == lines[:1]
    assert log(world, "research-nurse", "S01") == lines[:2]
    assert {line.participant for line in world.read("monitor", lambda unit: screening.log(unit, TRIAL))} == {declined, not_yet, elsewhere}


def test_nobody_reads_the_log_of_another_site(sqlite_world: World) -> None:
    builders.screened(sqlite_world, "S02")
    with pytest.raises(Forbidden):
        log(sqlite_world, "research-nurse", "S01", site="S02")
    with pytest.raises(Forbidden):
        log(sqlite_world, "statistician-blinded")
    with pytest.raises(Missing):
        log(sqlite_world, site="S99")


def test_a_line_holds_no_answer_about_the_person(sqlite_world: World) -> None:
    ident = builders.screened(sqlite_world)
    builders.put(sqlite_world, ident, "V00", "SCRN", {**SEEN, "scr_consented": 0, "scr_reason": [3], "scr_decl_txt": "Too far"}, only=True)
    found = sqlite_world.read("trial-coordinator", lambda unit: screening.log(unit, TRIAL))[0].to_json()
    assert found == {
        "number": "S01-S-0001",
        "participant": ident,
        "site": "S01",
        "screened_on": TODAY.isoformat(),
        "outcome": "declined",
        "reasons": [3],
    }
