"""Serious adverse events: who answers what, the list that expectedness is judged against, and what a death still needs."""

from datetime import timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World, put
from trialdm.domain.errors import Forbidden, Invalid
from trialdm.services import notices, records
from trialdm.services.records import Submission, View
from trialdm.services.unit import Unit

SITE = {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": "2026-03-10T08:00", "sae_reported": "2026-03-10T09:00"}
DOCTOR = {"sae_rel_pi": 3, "sae_proc": [1], "sae_narr": "Recovering."}
SPONSOR = {"sae_ci_aware": "2026-03-10", "sae_rel_ci": 3, "sae_exp": 1}


def say(world: World, ident: str, role: str, given: dict[str, Any], *, complete: bool = True, reason: str = "", **more: Any) -> View:
    """Save the serious event as a person does: what they answer, and nothing about the rest."""

    def work(unit: Unit) -> View:
        place = records.locate(unit, TRIAL, ident, "EV", more.get("form", "SAE"), more.get("row", 1))
        view = records.view(unit, place)
        own = {n: v for n, v in view.answers.to_json()["answers"].items() if n not in view.of_others and place.form.by_name[n].typed_in}
        missing = {n: m for n, m in view.answers.missing.items() if n not in view.of_others and n not in given}
        sent = Submission({**own, **given}, missing, complete, reason, ("SAE-10",), view.version or None)
        return records.save(unit, place, sent)

    return world.run(role, work)


def assessed(world: World, **sponsor: Any) -> str:
    ident = builders.randomised(world)
    say(world, ident, "research-nurse", SITE)
    say(world, ident, "sub-investigator", DOCTOR)
    say(world, ident, "chief-investigator", {**SPONSOR, **sponsor})
    return ident


def test_site_doctor_and_sponsor_complete_one_form_together(world: World) -> None:
    ident = builders.randomised(world)
    assert say(world, ident, "research-nurse", SITE).status == "draft"
    assert say(world, ident, "principal-investigator", DOCTOR).status == "draft"
    seen = say(world, ident, "sponsor", SPONSOR)
    assert seen.status == "complete"
    assert seen.answers.values["sae_rel_pi"] == 3
    assert "sae_narr" not in seen.answers.values
    assert seen.answers.values["sae_exp_list"] == "PRE-TMR-EE 0.1"


@pytest.mark.parametrize(
    ("role", "given", "named"),
    [
        ("research-nurse", {"sae_rel_pi": 1}, "sae_rel_pi"),
        ("research-nurse", {"sae_exp": 0}, "sae_exp"),
        ("surgeon", {"sae_rel_pi": 1}, "sae_rel_pi"),
        ("principal-investigator", {"sae_rel_ci": 5}, "sae_rel_ci"),
        ("chief-investigator", {"sae_rel_pi": 1}, "sae_rel_pi"),
        ("sponsor", {"sae_crit": [1]}, "sae_crit"),
    ],
)
def test_nobody_changes_what_others_answer(sqlite_world: World, role: str, given: dict[str, Any], named: str) -> None:
    ident = assessed(sqlite_world)
    with pytest.raises(Forbidden) as refused:
        say(sqlite_world, ident, role, given, reason="source: read again")
    assert refused.value.code == "ROLE.ITEM"
    assert named in refused.value.message


@pytest.mark.parametrize("role", ["chief-investigator", "sponsor", "data-manager"])
def test_who_answers_single_items_neither_begins_nor_removes_a_form(sqlite_world: World, role: str) -> None:
    ident = builders.randomised(sqlite_world)
    form = "AE" if role == "data-manager" else "SAE"
    with pytest.raises(Forbidden) as refused:
        say(sqlite_world, ident, role, {}, form=form)
    assert refused.value.code == "ROLE.FORM"
    put(sqlite_world, ident, "EV", "AE", {"ae_ser": 0, "ae_start": TODAY.isoformat()})
    with pytest.raises(Forbidden):
        sqlite_world.run(role, lambda unit: records.remove(unit, records.locate(unit, TRIAL, ident, "EV", "AE"), "a mistake"))


def test_the_sponsor_reads_no_other_form(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    for visit, form in (("EV", "AE"), ("V01", "CLIN"), ("V02", "SURG")):
        with pytest.raises(Forbidden):
            sqlite_world.read("sponsor", lambda unit, at=(visit, form): records.locate(unit, TRIAL, ident, *at))


def test_relatedness_is_raised_by_the_doctor_and_told_to_the_sponsor(sqlite_world: World) -> None:
    """What the doctor raises above the sponsor's grade is saved, and the sponsor's side hears of it."""
    ident = assessed(sqlite_world)
    seen = say(sqlite_world, ident, "principal-investigator", {"sae_rel_pi": 5}, reason="source: read again")
    assert "SAE-06" in [alert.id for alert in seen.alerts]
    assert any(m.kind == "alert" and "may raise" in m.text for m in sqlite_world.read("sponsor", notices.inbox))


def test_relatedness_is_never_lowered_silently(world: World) -> None:
    ident = builders.randomised(world)
    say(world, ident, "research-nurse", SITE)
    say(world, ident, "principal-investigator", DOCTOR)
    say(world, ident, "chief-investigator", {"sae_rel_ci": 3}, complete=False)
    with pytest.raises(Invalid) as refused:
        say(world, ident, "principal-investigator", {"sae_rel_pi": 1}, complete=False)
    assert refused.value.code == "CRF.REASON_NEEDED"
    seen = say(world, ident, "principal-investigator", {"sae_rel_pi": 1}, complete=False, reason="source: the notes say otherwise")
    assert [alert.id for alert in seen.alerts if alert.id.startswith("SAFETY")] == ["SAFETY-01"]
    assert any("'Possible' became 'Unrelated'" in m.text for m in world.read("chief-investigator", notices.inbox))


def test_a_judgement_keeps_its_list_until_it_is_made_again(sqlite_world: World) -> None:
    world = sqlite_world
    ident = assessed(world)
    kept = say(world, ident, "chief-investigator", {"sae_rel_ci": 4}, reason="source: read again").answers.values
    assert kept["sae_exp_list"] == "PRE-TMR-EE 0.1"


@pytest.mark.parametrize(
    ("saved", "left"),
    [
        ((), ["enter the event in 'Adverse event'", "enter 'Serious adverse event'"]),
        (("AE",), ["enter 'Serious adverse event'"]),
        (("AE", "SAE"), []),
    ],
)
def test_a_death_says_what_is_still_to_do(sqlite_world: World, saved: tuple[str, ...], left: list[str]) -> None:
    world = sqlite_world
    ident = builders.randomised(world)
    world.now += timedelta(days=20)
    if "AE" in saved:
        put(world, ident, "EV", "AE", {"ae_term": "Sepsis", "ae_ser": 1, "ae_outc": 5, "ae_start": TODAY.isoformat()})
    if "SAE" in saved:
        say(world, ident, "research-nurse", {**SITE, "sae_crit": [1]})
    seen = put(world, ident, "EV", "DETH", {"dth_date": TODAY.isoformat(), "dth_cause": 2}, only=True)
    said = [alert.message for alert in seen.alerts if alert.id == "SAFETY-02"]
    assert len(said) == bool(left)
    assert all(part in said[0] for part in left)


def test_a_fatal_serious_event_asks_for_the_death_form(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    seen = say(sqlite_world, ident, "research-nurse", {**SITE, "sae_crit": [1]})
    assert "complete the form 'Death'" in next(a.message for a in seen.alerts if a.id == "SAFETY-02")
