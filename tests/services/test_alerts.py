"""Alerts reach the roles that their check names, in the act by which they arise, and nobody who is blinded where they would tell."""

from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TRIAL, World, put
from trialdm.domain import roles
from trialdm.services import notices, places, records, trail
from trialdm.services.trail import Filter
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import Notice

THOUGHTS = {"phq_9": 1}


def told(world: World, role: str, site: str = "") -> list[str]:
    """Subjects of the alerts in somebody's inbox."""
    return [message.subject for message in world.read(role, notices.inbox, site) if message.kind == "alert"]


def recipients(world: World) -> set[str]:
    """Roles of everybody who was told of an alert."""
    with world.units.reading(SYSTEM) as unit:
        ids = set(unit.session.scalars(select(Notice.account_id).where(Notice.kind == "alert")))
    return {role for (role, _), actor in world.actors.items() if actor.id in ids}


def test_ac_12_thoughts_of_self_harm_reach_the_principal_investigator_in_the_same_act(world: World) -> None:
    """Whoever enters the answer reads on screen what to do and where the participant finds support at any hour."""
    ident = builders.consented(world)
    view = put(world, ident, "V01", "MOOD", THOUGHTS)
    assert [alert.id for alert in view.alerts] == ["MOOD-01"]
    assert "Samaritans 116 123" in view.alerts[0].message
    assert "999" in view.alerts[0].message
    message = next(m for m in world.read("principal-investigator", notices.inbox) if m.kind == "alert")
    assert message.made_at == world.now
    assert message.participant == ident
    assert f"Participant {ident} at site S01: Baseline" in message.text
    assert recipients(world) == {"principal-investigator"}


def test_an_alert_is_told_once_and_again_only_for_another_answer(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.consented(world)
    put(world, ident, "V01", "MOOD", THOUGHTS)
    answers = world.read("research-nurse", lambda unit: _answers(unit, ident))
    for changed, times in (({"gad_1": 3 - answers["gad_1"]}, 1), ({"phq_9": 2}, 2), ({"phq_9": 0}, 2), ({"phq_9": 1}, 3)):
        answers |= changed
        world.now += builders.timedelta(minutes=1)
        put(world, ident, "V01", "MOOD", answers, reason="source: read again", only=True)
        assert len(told(world, "principal-investigator")) == times, changed


def _answers(unit: Unit, ident: str) -> dict[str, Any]:
    place = places.locate(unit, TRIAL, ident, "V01", "MOOD")
    return dict(records.view(unit, place).to_json()["answers"])


def test_an_alert_stays_at_its_site(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world, "S02")
    put(sqlite_world, ident, "V01", "MOOD", THOUGHTS, site="S02")
    assert recipients(sqlite_world) == set()


def wrong_side(world: World) -> str:
    ident = builders.randomised(world)
    world.now += builders.timedelta(days=3)
    day = world.now.date().isoformat()
    put(world, ident, "V02", "SURG", {"surg_done": 1, "surg_date": day, "surg_side": 2, "surg_level": 12}, role="surgeon")
    return ident


def test_an_alert_of_a_restricted_form_reaches_only_who_reads_allocations(world: World) -> None:
    """The wrong side: the principal investigator is told, and no blinded role learns that there is an alert at all."""
    ident = wrong_side(world)
    assert [s for s in told(world, "principal-investigator") if s.endswith(f"participant {ident}")]
    assert recipients(world) <= roles.UNBLINDED
    with world.units.reading(SYSTEM) as unit:
        texts = unit.session.scalars(select(Notice.text).where(Notice.kind == "alert")).all()
    assert not [text for text in texts if "TMR" in text.replace("PRE-TMR", "")]
    for reader, seen in (("monitor", False), ("unblinded-data-manager", True)):
        lines = world.read(reader, lambda unit: trail.of_trial(unit, TRIAL, Filter(action="notice.send")))
        assert any(line.new == "an alert from a form" for line in lines) is seen, reader


@pytest.mark.parametrize(("dose", "reached"), [("119.0", False), ("120.0", True)])
def test_a_high_dose_of_opioids_reaches_the_principal_investigator(sqlite_world: World, dose: str, reached: bool) -> None:
    world = sqlite_world
    ident = builders.consented(world)
    given = {"an_any": 1, "an_class": 7, "an_opioid": 6, "an_route": 1, "an_dose": dose, "an_unit": 1, "an_days7": 7}
    put(world, ident, "V01", "ANLG", given)
    assert bool(told(world, "principal-investigator")) is reached
