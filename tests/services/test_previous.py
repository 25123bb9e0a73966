"""The answers of the visit before: where the protocol lets them be read, to whom, and what is never among them."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.crf import Form
from trialdm.services import places, previous
from trialdm.services.previous import Earlier

MEDICINE = {"an_any": 1, "an_class": 1, "an_drug": "paracetamol", "an_opioid": None, "an_route": 1, "an_days7": 7}


def medicines(world: World, days: int = 7, visit: str = "V01", **sent: object) -> str:
    ident = builders.consented(world)
    builders.put(world, ident, visit, "ANLG", {**MEDICINE, "an_days7": days}, **sent)  # type: ignore[arg-type]
    return ident


def before(
    world: World,
    ident: str,
    visit: str = "V04",
    form: str = "ANLG",
    role: str = "research-nurse",
    alter: Callable[[Form], Form] = lambda f: f,
) -> Earlier | None:
    def work(unit: builders.Unit) -> Earlier | None:
        place = places.locate(unit, TRIAL, ident, visit, form)
        return previous.answers(unit, replace(place, form=alter(place.form)))

    return world.read(role, work)


@pytest.mark.parametrize("visit", ["V03", "V04", "V09", "U01"])
def test_the_latest_earlier_visit_is_at_hand(world: World, visit: str) -> None:
    found = before(world, medicines(world), visit)
    assert found
    assert (found.visit.code, found.rows[0][0], found.rows[0][1].values["an_drug"]) == ("V01", 1, "paracetamol")


def test_the_first_visit_and_events_have_nothing_before_them(sqlite_world: World) -> None:
    assert before(sqlite_world, medicines(sqlite_world), "V01") is None


def test_a_draft_is_not_at_hand(sqlite_world: World) -> None:
    assert before(sqlite_world, medicines(sqlite_world, complete=False)) is None


def test_only_forms_of_which_the_protocol_says_so(sqlite_world: World) -> None:
    assert {form.code for form in sqlite_world.protocol.forms if form.previous} == {"ANLG", "FUNL", "FUNU"}
    ident = medicines(sqlite_world)
    assert before(sqlite_world, ident, alter=lambda form: replace(form, previous=False)) is None


def test_an_assessor_is_led_by_nothing(sqlite_world: World) -> None:
    assert before(sqlite_world, medicines(sqlite_world), role="blinded-assessor") is None


@pytest.mark.parametrize(("role", "sees"), [("research-nurse", False), ("surgeon", True)])
def test_restricted_answers_are_left_out_for_a_blinded_reader(sqlite_world: World, role: str, *, sees: bool) -> None:
    def closed(form: Form) -> Form:
        return replace(form, items=tuple(replace(item, restricted=item.name == "an_drug") for item in form.items))

    found = before(sqlite_world, medicines(sqlite_world), role=role, alter=closed)
    assert found
    assert ("an_drug" in found.rows[0][1].values) is sees
    assert "an_days7" in found.rows[0][1].values
