"""Consent again: a new version makes a worklist by site as it comes into use there, and stops or warns at visits."""

import json
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services import test_modifications
from trialdm.domain.errors import Forbidden, Refused
from trialdm.domain.ethics import Document
from trialdm.services import overview, places, reconsents, register
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import FormInstance, FormVersion

NEXT = TODAY + timedelta(days=1)
LATER = TODAY + timedelta(days=5)


def new_version(world: World, asks: str, **more: Any) -> None:
    """Consent form 3.0, in use from the next day on; from another day where a site says so."""
    version = Document("ICF", 3, "3.0", TODAY, TODAY, NEXT, reconsent=asks, **more)
    world.run("trial-manager", lambda unit: register.add(unit, TRIAL, version))


def worklist(world: World, role: str = "trial-coordinator", at: str = "", site: str = "") -> list[tuple[str, str, str | None]]:
    """Participant, urgency and day of being done, line by line."""
    found = world.read(role, lambda unit: reconsents.listed(unit, TRIAL, site), at)
    return [(line.participant, line.renewal.urgency, line.to_json()["done"]) for line in found]


def renew(world: World, ident: str, code: int = 3, site: str = "S01") -> None:
    at = (world.now - timedelta(hours=1)).replace(tzinfo=None)
    given = {
        "con_pis_ver": 2,
        "con_icf_ver": code,
        "con_pis_date": (at.date() - timedelta(days=1)).isoformat(),
        "con_dtm": at.isoformat(timespec="minutes"),
        "con_route": 1,
        "con_capacity": 1,
        "con_taker": world.actor("research-nurse", site).staff_no,
        "con_recons": 1,
        "con_copy": 1,
    }
    builders.put(world, ident, "EV", "CONS", given, site=site)


def test_a_new_version_asks_site_by_site_as_it_comes_into_use_there(world: World) -> None:
    first, second = builders.consented(world), builders.consented(world, "S02")
    new_version(world, "block", sites={"S02": LATER})
    assert worklist(world) == []
    world.at(NEXT)
    assert worklist(world) == [(first, "block", None)]
    world.at(LATER)
    assert {ident for ident, _, _ in worklist(world)} == {first, second}
    renew(world, first)
    assert worklist(world) == [(second, "block", None), (first, "block", LATER.isoformat())]


def test_site_staff_see_their_own_site_only(sqlite_world: World) -> None:
    first, second = builders.consented(sqlite_world), builders.consented(sqlite_world, "S02")
    new_version(sqlite_world, "warn")
    sqlite_world.at(NEXT)
    assert [ident for ident, _, _ in worklist(sqlite_world, "research-nurse", "S01")] == [first]
    assert [ident for ident, _, _ in worklist(sqlite_world, "trial-coordinator", site="S02")] == [second]
    found = sqlite_world.read("research-nurse", lambda unit: reconsents.listed(unit, TRIAL, "S02"), "S02")
    assert [line.participant for line in found] == [second]
    with pytest.raises(Forbidden):
        sqlite_world.read("research-nurse", lambda unit: reconsents.listed(unit, TRIAL, "S02"), "S01")
    with pytest.raises(Forbidden):
        worklist(sqlite_world, "statistician-blinded")


#: Kind of form that is saved after the new version, and what the gate makes of it where the version blocks.
AT_VISITS = [
    ("a visit waits", "V01", "PAIN", {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}, False),
    ("what happened is recorded", "EV", "DETH", {"dth_date": NEXT.isoformat(), "dth_cause": 1}, True),
]


@pytest.mark.parametrize(("visit", "form", "answers", "saved"), [row[1:] for row in AT_VISITS], ids=[row[0] for row in AT_VISITS])
def test_a_version_that_blocks(sqlite_world: World, visit: str, form: str, answers: dict[str, Any], saved: bool) -> None:
    ident = builders.consented(sqlite_world)
    new_version(sqlite_world, "block")
    sqlite_world.at(NEXT)
    if saved:
        assert builders.put(sqlite_world, ident, visit, form, answers, only=True).status == "complete"
        return
    with pytest.raises(Refused) as refused:
        builders.put(sqlite_world, ident, visit, form, answers, only=True)
    assert refused.value.code == "GATE.GOV-26"
    assert "Re-consent with ICF v3.0 is due before this visit." in refused.value.message
    renew(sqlite_world, ident)
    assert builders.put(sqlite_world, ident, visit, form, answers, only=True).status == "complete"


def test_a_version_that_warns_is_kept_with_the_form_and_told_where_it_is_entered(world: World) -> None:
    ident = builders.consented(world)
    new_version(world, "warn")
    world.at(NEXT)

    def watch() -> list[str]:
        def work(unit: Any) -> list[str]:
            place = places.locate(unit, TRIAL, ident, "V01", "PAIN")
            return [reason.message for reason in overview.entry(unit, place)[1] if reason.rule == "GOV-26"]

        return world.read("research-nurse", work)

    assert watch() == ["Re-consent with ICF v3.0 is due before this visit."]
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}, only=True)
    with world.units.reading(SYSTEM) as unit:
        saved = select(FormVersion.gate).join(FormInstance, FormInstance.id == FormVersion.instance_id).where(FormInstance.form == "PAIN")
        kept = json.loads(unit.session.scalars(saved).one())
    assert ("GOV-26", "warn") in [(reason["rule"], reason["severity"]) for reason in kept["reasons"]]
    renew(world, ident)
    assert watch() == []


def test_those_for_whom_nothing_is_to_come_are_not_asked(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    new_version(sqlite_world, "block")
    sqlite_world.at(NEXT)
    builders.put(sqlite_world, ident, "EV", "STAT", {"st_status": 3, "st_date": NEXT.isoformat()}, only=True)
    assert worklist(sqlite_world) == []


def test_a_line_says_why(sqlite_world: World) -> None:
    builders.consented(sqlite_world)
    version = Document("ICF", 3, "3.0", date(2026, 3, 1), TODAY, NEXT, reconsent="warn")
    sqlite_world.run("trial-manager", lambda unit: register.add(unit, TRIAL, version))
    sqlite_world.at(NEXT)
    found = sqlite_world.read("trial-manager", lambda unit: reconsents.listed(unit, TRIAL))
    line = {key: value for key, value in found[0].to_json().items() if key != "participant"}
    assert line == {
        "site": "S01", "kind": "ICF", "from": "ICF v2.0 (2026-01-05)", "to": "ICF v3.0 (2026-03-01)", "modification": None, "why": None,
        "since": NEXT.isoformat(), "urgency": "warn", "done": None,
    }  # fmt: skip


@pytest.mark.parametrize("names", ["the modification", "the document"])
def test_a_line_names_the_modification_whichever_names_the_other(sqlite_world: World, names: str) -> None:
    builders.consented(sqlite_world)
    version = Document("ICF", 3, "3.0", TODAY, None, TODAY, reconsent="warn", modification="SM01" if names == "the document" else "")
    sqlite_world.run("trial-manager", lambda unit: register.add(unit, TRIAL, version))
    documents = (("ICF", 3),) if names == "the modification" else ()
    test_modifications.approved(sqlite_world, "S01", documents=documents)
    test_modifications.step(sqlite_world, "agree", "S01")
    (line,) = sqlite_world.read("trial-manager", lambda unit: reconsents.listed(unit, TRIAL))
    assert (line.to_json()["modification"], line.to_json()["why"]) == ("SM01", "Longer follow-up")


def test_who_regained_capacity_is_asked_again(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.consented(world)
    world.at(LATER)
    lost = {"cap_lost": TODAY.isoformat(), "cap_plan": 1, "cap_regained": NEXT.isoformat()}
    builders.put(world, ident, "EV", "CAPA", lost)
    (line,) = world.read("research-nurse", lambda unit: reconsents.listed(unit, TRIAL))
    assert (line.participant, line.why, line.renewal.since, line.renewal.urgency) == (ident, "Capacity was regained", NEXT, "warn")
    renew(world, ident, code=2)
    assert worklist(world) == []
