"""The check before surgery: agreement shows the allocation; a difference shows nothing, and is kept and told."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Forbidden, Invalid, Refused, WrongState
from trialdm.services import notices, places, records, theatre
from trialdm.services.theatre import Outcome
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import Disclosure, TheatreCheck

RIGHT = {"side": 1, "limb": 1, "level": 12}


def confirm(world: World, ident: str, role: str = "surgeon", site: str = "S01", **found: Any) -> Outcome:
    return world.run(role, lambda unit: theatre.confirm(unit, TRIAL, ident, {**RIGHT, **found}), site)


def checks(world: World) -> list[TheatreCheck]:
    with world.units.reading(SYSTEM) as unit:
        return list(unit.session.scalars(select(TheatreCheck)))


def looks(world: World) -> list[str]:
    with world.units.reading(SYSTEM) as unit:
        return [row.kind for row in unit.session.scalars(select(Disclosure))]


@pytest.mark.parametrize("role", ["surgeon", "principal-investigator"])
def test_agreement_is_kept_and_shows_the_allocation(world: World, role: str) -> None:
    ident = builders.randomised(world)
    shown = confirm(world, ident, role).require()
    assert shown.arm == world.protocol.arm(builders.arm_of(world, ident)).name
    assert [(row.agrees, json.loads(row.found)) for row in checks(world)] == [(1, RIGHT)]
    assert looks(world) == ["look"]


def test_words_do_as_well_as_codes(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    assert confirm(sqlite_world, ident, side="left", limb=" LOWER ", level="Transtibial").agrees


@pytest.mark.parametrize(
    ("found", "codes"),
    [
        ({"side": 2}, ["THEATRE.WRONG_SIDE"]),
        ({"limb": 2}, ["THEATRE.WRONG_LIMB"]),
        ({"level": 15}, ["THEATRE.WRONG_LEVEL"]),
        ({"side": 2, "level": 15}, ["THEATRE.WRONG_SIDE", "THEATRE.WRONG_LEVEL"]),
    ],
)
def test_a_difference_stops_shows_nothing_and_is_kept_and_told(world: World, found: dict[str, int], codes: list[str]) -> None:
    ident = builders.randomised(world)
    outcome = confirm(world, ident, **found)
    assert (outcome.agrees, outcome.allocated) == (False, None)
    with pytest.raises(WrongState) as stopped:
        outcome.require()
    assert (stopped.value.code, [detail.code for detail in stopped.value.details]) == (codes[0], codes)
    assert not any(word in str(stopped.value) for word in ("Left", "Transtibial", "TMR", "Standard"))
    assert [row.agrees for row in checks(world)] == [0]
    assert looks(world) == []
    for role in ("principal-investigator", "trial-manager"):
        (message,) = [m for m in world.read(role, notices.inbox) if m.kind == "theatre"]
        assert all(part in message.text for part in found)


@pytest.mark.parametrize("found", [{"side": 3}, {"side": ""}, {"level": "somewhere"}, {"limb": None}])
def test_what_cannot_be_read_is_asked_for_again(sqlite_world: World, found: dict[str, Any]) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Invalid) as refused:
        confirm(sqlite_world, ident, **found)
    assert [detail.place for detail in refused.value.details] == list(found)
    assert checks(sqlite_world) == []


@pytest.mark.parametrize("role", ["research-nurse", "blinded-assessor", "trial-manager", "chief-investigator", "unblinded-data-manager"])
def test_who_may_not_check(sqlite_world: World, role: str) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Forbidden):
        confirm(sqlite_world, ident, role)


def test_the_gate_is_asked(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Refused) as refused:
        confirm(sqlite_world, ident, "sub-investigator")
    assert refused.value.code == "GATE.GOV-14"
    with pytest.raises(Forbidden):
        confirm(sqlite_world, ident, "surgeon", "S02")


def test_nobody_is_checked_before_the_randomisation(sqlite_world: World) -> None:
    ident = builders.ready(sqlite_world)
    with pytest.raises(WrongState) as refused:
        confirm(sqlite_world, ident)
    assert refused.value.code == "ALLOC.NONE"


# --- the operation ---------------------------------------------------------------------------------------------------


def operate(world: World, ident: str) -> records.View:
    given = {
        "surg_done": 1,
        "surg_date": (builders.TODAY + timedelta(days=3)).isoformat(),
        "surg_level": 12,
        "surg_side": 1,
        "proc_given": 1 if builders.arm_of(world, ident) == 1 else 2,
        "anaes": 1,
        "time_in": "08:00",
        "time_ks": "08:40",
        "time_ke": "10:10",
        "intraop_comp": [0],
        "accid_unblind": 0,
        "surg_id": 1,
        "surg_tmr_n": 9,
        "closure": 1,
    }
    return builders.put(world, ident, "V02", "SURG", given, role="surgeon")


def deviations(world: World, ident: str) -> list[str]:
    def work(unit: Unit) -> list[str]:
        book = places.book(unit, places.locate(unit, TRIAL, ident, "EV", "DEVI"))
        return [str(s.answers(world.protocol.form("DEVI")).values.get("dv_desc", "")) for s in book.rows("DEVI", "EV")]

    return world.read("principal-investigator", work)


@pytest.mark.parametrize(("checked_on", "found"), [(3, {}), (2, {}), (3, {"side": 2}), (None, {})])
def test_an_operation_without_an_agreeing_check_on_the_day_is_kept_and_opens_a_deviation(
    world: World, checked_on: int | None, found: dict[str, int]
) -> None:
    ident = builders.randomised(world)
    if checked_on is not None:
        world.at(builders.TODAY + timedelta(days=checked_on))
        confirm(world, ident, **found)
    world.at(builders.TODAY + timedelta(days=3))
    saved = operate(world, ident)
    agreed = checked_on == 3 and not found
    assert saved.status == "complete"
    assert ("THEATRE-01" in {alert.id for alert in saved.alerts}) is not agreed
    assert any("re-confirmed" in text for text in deviations(world, ident)) is not agreed
