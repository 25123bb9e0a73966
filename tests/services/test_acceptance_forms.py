"""Scenarios of a site's day: what a form accepts, asks, refuses, works out and causes. Others stand where their subject is."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TODAY, TRIAL, World, put
from trialdm.domain.errors import Invalid, Unanswered
from trialdm.services import allocations, places, records
from trialdm.services.records import View
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import AuditEvent

OPERATED = {"surg_done": 1, "surg_date": TODAY.isoformat(), "surg_side": 1, "surg_level": 12, "proc_given": 1}


def in_arm(world: World, arm: int) -> str:
    """A participant of this arm who has been operated on today."""
    ident = next(one for one in iter(lambda: builders.randomised(world), "") if builders.arm_of(world, one) == arm)
    put(world, ident, "V02", "SURG", OPERATED, role="surgeon")
    return ident


def summary(world: World, ident: str, visit: str, form: str, role: str) -> dict[str, object]:
    return dict(world.read(role, lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, visit, form))).summary)


def deviations(world: World) -> list[str]:
    with world.units.reading(SYSTEM) as unit:
        return list(
            unit.session.scalars(select(AuditEvent.field).where(AuditEvent.action == "deviation.open", AuditEvent.field == "dv_type"))
        )


def test_ac_08_a_nerve_treated_by_rpni_for_want_of_a_target_is_no_deviation(world: World) -> None:
    """Tibial nerve, RPNI, no suitable target, in the TMR arm: partial delivery until every required nerve is treated, then full."""
    ident = in_arm(world, 1)
    before = len(deviations(world))
    for row, (nerve, technique) in enumerate([(2, 2), (4, 1), (5, 1), (6, 1)], 1):
        given = {"nv_nerve": nerve, "nv_found": 1, "nv_tech": technique, "nv_reason": 1, "nv_muscle": 2, "nv_motor_id": 1, "nv_nonfunc": 1}
        put(world, ident, "V02", "NERV", given, role="surgeon", row=row)
        assert summary(world, ident, "V02", "NERV", "surgeon")["tmr_delivered"] == (1 if row == 4 else 2)
    assert len(deviations(world)) == before


def test_ac_09_an_average_above_the_worst_pain_is_asked_about_and_kept_when_confirmed(world: World) -> None:
    ident = builders.randomised(world)
    given = {"rlp_any": 0, "plp_sens": 1, "plp_any": 1, "plp_worst": 5, "plp_avg": 8, "plp_now": 4, "plp_freq": 2, "pain_assist": 1}
    with pytest.raises(Unanswered) as asked:
        put(world, ident, "V03", "PAIN", given, only=True, confirm=())
    checks = tuple(detail.code for detail in asked.value.details)
    assert all("plp_avg" in detail.place for detail in asked.value.details)
    kept = put(world, ident, "V03", "PAIN", given, only=True, confirm=checks)
    assert (kept.answers.values["plp_avg"], kept.answers.values["plp_worst"]) == (8, 5)
    with world.units.reading(SYSTEM) as unit:
        said = unit.session.scalars(select(AuditEvent.field).where(AuditEvent.action == "form.confirm")).all()
    assert set(checks) <= set(said), "the prompt and that it was answered stand in the trail"


@pytest.mark.parametrize("typed", ["999 000 0018", "9990000018", "see 999-000-0018 for details"])
def test_ac_10_an_nhs_number_in_free_text_is_refused_by_gov_41(sqlite_world: World, typed: str) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Invalid) as refused:
        put(sqlite_world, ident, "EV", "AE", {"ae_term": typed})
    assert [(detail.code, detail.place) for detail in refused.value.details] == [("GATE.GOV-41", "ae_term")]


DASH = {f"dash_{n}": 3 for n in range(1, 31)}


@pytest.mark.parametrize(("answered", "score"), [(26, None), (27, "50.0"), (30, "50.0")])
def test_ac_18_the_dash_needs_27_answers(sqlite_world: World, answered: int, score: str | None) -> None:
    """((sum of n answers / n) - 1) x 25: with every answer 3 the score is 50."""
    ident = builders.randomised(sqlite_world, limb=2, amp_level_plan=22)
    given = {"up_status": 0, **dict.fromkeys(list(DASH)[:answered], 3)}
    missing = dict.fromkeys(list(DASH)[answered:], "ND")
    kept = put(sqlite_world, ident, "V04", "FUNU", given, only=True, missing=missing)
    assert kept.answers.to_json()["answers"].get("dash_total") == score


def test_ac_21_an_operation_20_days_after_the_allocation_is_a_deviation_and_the_allocation_stands(world: World) -> None:
    ident = builders.randomised(world)
    before, arm = len(deviations(world)), builders.arm_of(world, ident)
    world.at(TODAY + timedelta(days=20))
    given = {**OPERATED, "surg_date": (TODAY + timedelta(days=20)).isoformat(), "proc_given": 1 if arm == 1 else 2}
    put(world, ident, "V02", "SURG", given, role="surgeon")
    assert len(deviations(world)) > before
    assert builders.arm_of(world, ident) == arm
    assert len(world.read("statistician-unblinded", lambda unit: allocations.all_arms(unit, world.protocol))) == 1


PATCH = {"an_any": 1, "an_class": 8, "an_route": 2, "an_days7": 7, "an_unit": 2}


def medicine(world: World, **given: object) -> tuple[str, View]:
    ident = builders.randomised(world)
    return ident, put(world, ident, "V03", "ANLG", {**given, "an_start": None, "an_stop": None}, only=True)


def test_ac_22_a_fentanyl_patch_of_25_micrograms_an_hour_is_60_mg_of_morphine_a_day(world: World) -> None:
    ident, kept = medicine(world, **PATCH, an_drug="fentanyl", an_opioid=10, an_dose="25")
    assert kept.answers.to_json()["answers"]["an_ome"] == "60.0"
    assert summary(world, ident, "V03", "ANLG", "research-nurse")["ome_total"] == 60


def test_ac_22_methadone_has_no_fixed_factor_and_is_said_to_be_left_out(world: World) -> None:
    ident, kept = medicine(world, **{**PATCH, "an_route": 1, "an_unit": 1}, an_drug="methadone", an_opioid=11, an_dose="30")
    assert "an_ome" not in kept.answers.values
    assert [alert.id for alert in kept.alerts] == ["ANLG-06"]
    assert summary(world, ident, "V03", "ANLG", "research-nurse")["ome_nc_n"] == 1
