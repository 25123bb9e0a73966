"""Saving forms: nothing is lost, nothing changes without a trace, nothing true is refused."""

import json
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Forbidden, Invalid, Missing, Refused, Stale, TrialError, Unanswered, Unconditional, WrongState
from trialdm.services import drafts, participants, places, records, removals, studies, trail
from trialdm.services.unit import LONDON, SYSTEM, Unit
from trialdm.store.tables import FormDraft, FormInstance, FormVersion

PAIN = {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}


def version_count(world: World, form: str) -> int:
    with world.units.reading(SYSTEM) as unit:
        ids = unit.session.scalars(select(FormInstance.id).where(FormInstance.form == form)).all()
        return len(unit.session.scalars(select(FormVersion).where(FormVersion.instance_id.in_(ids))).all())


def history(world: World, ident: str, visit: str, form: str, role: str = "research-nurse", row: int = 1) -> list[trail.Line]:
    return world.read(role, lambda unit: trail.of_form(unit, places.locate(unit, TRIAL, ident, visit, form, row)))


def test_a_form_is_read_back_as_it_was_saved(world: World) -> None:
    ident = builders.consented(world)
    saved = builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    seen = world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN")))
    assert (seen.status, seen.version, saved.version) == ("complete", 1, 1)
    assert seen.answers.values == {**PAIN, "pain_pre": 2}


def test_every_answered_item_is_one_audit_entry_and_so_is_every_change(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    first = [line for line in history(world, ident, "V01", "PAIN") if line.field != "status"]
    assert {line.field for line in first} == {*PAIN, "pain_pre"}
    builders.put(world, ident, "V01", "PAIN", {**PAIN, "limb_worst": 9}, only=True, reason="source: misread the notes")
    changed = history(world, ident, "V01", "PAIN")[len(first) + 1 :]
    assert [(line.field, line.old, line.new, line.reason) for line in changed] == [
        ("limb_worst", 6, 9, "source: misread the notes"),
        ("pain_pre", 2, 3, "source: misread the notes"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ({"limb_avg": 4}, {"limb_avg": None}, 4, None),
        ({"limb_avg": None}, {"limb_avg": 4}, None, 4),
        ({"limb_avg": 4}, {"limb_avg": "ND"}, 4, {"missing": "ND"}),
        ({"limb_avg": "ND"}, {"limb_avg": "NK"}, {"missing": "ND"}, {"missing": "NK"}),
        ({"limb_avg": 0}, {"limb_avg": None}, 0, None),
    ],
)
def test_changes_from_and_to_nothing_are_recorded(sqlite_world: World, before: Any, after: Any, old: Any, new: Any) -> None:
    ident = builders.consented(sqlite_world)

    def save(part: dict[str, Any]) -> None:
        answers = {**PAIN, **{k: v for k, v in part.items() if not isinstance(v, str)}}
        missing = {k: v for k, v in part.items() if isinstance(v, str)}
        answers = {k: v for k, v in answers.items() if k not in missing}
        builders.put(sqlite_world, ident, "V01", "PAIN", answers, only=True, complete=False, missing=missing)

    save(before)
    save(after)
    line = next(line for line in reversed(history(sqlite_world, ident, "V01", "PAIN")) if line.field == "limb_avg")
    assert (line.old, line.new) == (old, new)


def test_saving_what_is_there_already_makes_no_version(world: World) -> None:
    ident = builders.consented(world)
    for _ in range(2):
        builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    assert version_count(world, "PAIN") == 1


def test_two_people_saving_the_same_form_lose_nothing(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    builders.put(world, ident, "V01", "PAIN", {**PAIN, "limb_worst": 8}, only=True, reason="source", version=1)
    with pytest.raises(Stale) as refused:
        builders.put(world, ident, "V01", "PAIN", {**PAIN, "limb_worst": 3}, only=True, reason="typing", version=1, role="sub-investigator")
    assert refused.value.code == "CRF.STALE"
    seen = world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN")))
    assert (seen.answers.values["limb_worst"], seen.version) == (8, 2)


def test_a_change_must_say_what_it_starts_from(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    with pytest.raises(Unconditional):
        builders.put(world, ident, "V01", "PAIN", {**PAIN, "limb_worst": 3}, only=True, reason="typing", version=None)


def test_a_complete_form_is_changed_only_with_a_reason(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    with pytest.raises(Invalid) as refused:
        builders.put(world, ident, "V01", "PAIN", {**PAIN, "limb_worst": 8}, only=True)
    assert refused.value.code == "CRF.REASON_NEEDED"
    assert version_count(world, "PAIN") == 1


BAD = [
    ({"limb_worst": "seven"}, "CRF.TYPE"),
    ({"limb_worst": 11}, "CRF.RANGE"),
    ({"limb_worst": True}, "CRF.TYPE"),
    ({"pain_assist": 9}, "CRF.CODE"),
    ({"no_such_item": 1}, "CRF.UNKNOWN_ITEM"),
    ({"limb_worst": None}, "CRF.REQUIRED"),
]


@pytest.mark.parametrize(("change", "code"), BAD)
def test_what_cannot_be_is_refused_and_nothing_is_kept(sqlite_world: World, change: dict[str, Any], code: str) -> None:
    ident = builders.consented(sqlite_world)
    with pytest.raises(Invalid) as refused:
        builders.put(sqlite_world, ident, "V01", "PAIN", {**PAIN, **change}, only=True)
    assert code in [detail.code for detail in refused.value.details]
    assert version_count(sqlite_world, "PAIN") == 0


def test_a_soft_check_asks_and_the_answer_is_recorded(world: World) -> None:
    ident = builders.consented(world)
    odd = {**PAIN, "limb_avg": 8}
    with pytest.raises(Unanswered) as asked:
        builders.put(world, ident, "V01", "PAIN", odd, only=True, confirm=())
    assert [detail.code for detail in asked.value.details] == ["PAIN-03"]
    builders.put(world, ident, "V01", "PAIN", odd, only=True, confirm=("PAIN-03", "PAIN-01"))
    confirmed = [line.field for line in history(world, ident, "V01", "PAIN") if line.action == "form.confirm"]
    assert confirmed == ["PAIN-03"]


def test_answers_to_hidden_questions_are_kept_until_somebody_decides(world: World) -> None:
    ident = builders.randomised(world)
    given = {"rlp_any": 1, "rlp_worst": 5, "rlp_avg": 3, "rlp_now": 2, "rlp_freq": 3, "plp_any": 0, "plp_sens": 0, "pain_assist": 1}
    builders.put(world, ident, "V04", "PAIN", given, only=True)
    with pytest.raises(Unanswered) as asked:
        builders.put(world, ident, "V04", "PAIN", {**given, "rlp_any": 0}, only=True, confirm=(), reason="source")
    assert asked.value.details[0].code == "CRF.HIDDEN"
    assert "rlp_worst" in asked.value.details[0].place
    saved = builders.put(world, ident, "V04", "PAIN", {**given, "rlp_any": 0}, only=True, confirm=("CRF.HIDDEN",), reason="source")
    assert "rlp_worst" not in saved.answers.values
    removed = {line.field: line.old for line in history(world, ident, "V04", "PAIN") if line.new is None and line.old is not None}
    assert removed["rlp_worst"] == 5


def test_rows_are_saved_by_themselves_and_summed_up(world: World) -> None:
    ident = builders.randomised(world)
    opioid = {
        "an_any": 1,
        "an_class": 8,
        "an_opioid": 10,
        "an_drug": "fentanyl",
        "an_route": 2,
        "an_dose": "25",
        "an_unit": 2,
        "an_days7": 7,
    }
    first = builders.put(world, ident, "V04", "ANLG", opioid, only=True)
    assert str(first.answers.values["an_ome"]) == "60.0"
    methadone = {**opioid, "an_opioid": 11, "an_drug": "methadone", "an_route": 1, "an_unit": 1}
    second = builders.put(world, ident, "V04", "ANLG", methadone, only=True, row=2)
    assert "an_ome" not in second.answers.values
    assert str(second.summary["ome_total"]) == "60.0"
    assert any(alert.id == "ANLG-06" for alert in second.alerts)


def test_no_data_before_consent(world: World) -> None:
    ident = builders.screened(world)
    with pytest.raises(Refused) as refused:
        builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    assert refused.value.code == "GATE.GOV-13"


def test_nobody_enters_data_who_is_not_delegated(world: World) -> None:
    ident = builders.consented(world)
    world.at(builders._START - timedelta(days=30))
    with pytest.raises(Refused) as refused:
        builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    assert "GATE.GOV-14" in [detail.code for detail in refused.value.details]


@pytest.mark.parametrize("role", ["trial-manager", "monitor", "data-manager", "trial-coordinator"])
def test_the_trials_office_does_not_enter_data(sqlite_world: World, role: str) -> None:
    ident = builders.consented(sqlite_world)
    with pytest.raises(Forbidden) as refused:
        builders.put(sqlite_world, ident, "V01", "PAIN", PAIN, role=role, only=True)
    assert refused.value.code == "ROLE.FORM"


def test_a_participant_of_another_site_is_refused(world: World) -> None:
    ident = builders.consented(world)
    with pytest.raises(Forbidden) as refused:
        builders.put(world, ident, "V01", "PAIN", PAIN, site="S02", only=True)
    assert refused.value.code == "ROLE.SITE"


def test_a_typing_error_in_the_pseudonym_is_told(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    wrong = ("1" if ident[0] != "1" else "2") + ident[1:]
    with pytest.raises(Invalid) as refused:
        sqlite_world.read("research-nurse", lambda unit: places.locate(unit, TRIAL, wrong, "V01", "PAIN"))
    assert refused.value.code == "PARTICIPANT.WRITTEN"


@pytest.mark.parametrize(
    ("visit", "form", "row"), [("V02", "PAIN", 1), ("V99", "PAIN", 1), ("V01", "NOPE", 1), ("V01", "PAIN", 2), ("U", "PAIN", 1)]
)
def test_places_that_do_not_exist(sqlite_world: World, visit: str, form: str, row: int) -> None:
    ident = builders.consented(sqlite_world)
    with pytest.raises(Missing):
        sqlite_world.read("research-nurse", lambda unit: places.locate(unit, TRIAL, ident, visit, form, row))


def test_a_consent_on_a_superseded_form_is_kept_flagged_and_blocks_the_randomisation(world: World) -> None:
    ident = builders.consented(world, documents=1)
    book = world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "DEVI")))
    assert "GOV-12" in str(book.answers.values["dv_desc"])
    assert book.status == "draft"
    answer = world.read("trial-coordinator", lambda unit: participants.gate(unit, TRIAL, "randomise", participant=ident))
    assert "GOV-12" in {reason.rule for reason in answer.reasons}


def test_an_operation_on_the_wrong_side_is_kept_and_flagged_where_blinded_people_do_not_see_it(world: World) -> None:
    ident = builders.randomised(world)
    world.at(builders.TODAY + timedelta(days=3))
    given = {
        "surg_done": 1,
        "surg_date": (builders.TODAY + timedelta(days=3)).isoformat(),
        "surg_level": 12,
        "surg_side": 2,
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
    saved = builders.put(world, ident, "V02", "SURG", given, role="surgeon")
    assert "SURG-10" in {alert.id for alert in saved.alerts}
    assert world.read("trial-coordinator", lambda unit: studies.state(unit, TRIAL, "participant", ident)) == "operated"

    def deviation(unit: Unit) -> records.View:
        return records.view(unit, places.locate(unit, TRIAL, ident, "EV", "DEVI", 501))

    with pytest.raises(Refused) as hidden:
        world.read("research-nurse", deviation)
    assert hidden.value.code == "GATE.GOV-45"
    assert world.read("principal-investigator", deviation).answers.values["dv_type"] == 96


def test_full_withdrawal_ends_the_collection_of_data(world: World) -> None:
    ident = builders.randomised(world)
    day = world.now.astimezone(LONDON).date().isoformat()
    builders.put(world, ident, "EV", "STAT", {"st_status": 3, "st_date": day, "st_reason": None})
    with pytest.raises(Refused) as refused:
        builders.put(world, ident, "V04", "PAIN", {"rlp_any": 0, "plp_any": 0, "plp_sens": 0, "pain_assist": 1}, only=True)
    assert refused.value.code == "GATE.GOV-43"
    assert world.read("trial-coordinator", lambda unit: studies.state(unit, TRIAL, "participant", ident)) == "withdrawn"


def test_a_locked_trial_takes_no_form(world: World) -> None:
    ident = builders.consented(world)
    builders.lock(world)
    with pytest.raises(WrongState):
        builders.put(world, ident, "V01", "PAIN", PAIN, only=True)


def test_a_blinded_nurse_keeps_what_the_surgeon_wrote(world: World) -> None:
    """Restricted items of a form that both fill: the nurse neither sees nor changes them, and does not lose them."""
    ident = builders.randomised(world)
    day = world.now.astimezone(LONDON).date().isoformat()
    technique = {"re_date": day, "re_type": [5], "re_nerve": [2], "re_ind": 4, "re_planned": 0, "re_crossover": 0}
    builders.put(world, ident, "EV", "REOP", technique, role="surgeon", only=True)
    seen = world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "REOP")))
    assert not {"re_type", "re_nerve", "re_crossover"} & set(seen.answers.values)
    builders.put(world, ident, "EV", "REOP", {"re_date": day, "re_ind": 1, "re_planned": 0}, only=True, reason="source")
    kept = world.read("surgeon", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "REOP")))
    assert (kept.answers.values["re_type"], kept.answers.values["re_ind"]) == ((5,), 1)
    with pytest.raises(Refused):
        builders.put(world, ident, "EV", "REOP", {**technique, "re_type": [7]}, only=True, reason="source")


def test_stored_documents_are_the_answers_in_their_json_forms(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    builders.put(
        sqlite_world, ident, "V01", "DEMO", {"age_years": 60, "sex": 1, "height_cm": "171.5", "weight_kg": "80.0", "birth_ym": None}
    )
    with sqlite_world.units.reading(SYSTEM) as unit:
        row = unit.session.execute(
            select(FormVersion.data).join(FormInstance, FormInstance.id == FormVersion.instance_id).where(FormInstance.form == "DEMO")
        ).scalar_one()
    stored = json.loads(row)["answers"]
    assert (stored["height_cm"], stored["bmi"]) == ("171.5", "27.2")


# --- what was typed and not saved ------------------------------------------------------------------------------------


def test_what_was_typed_is_kept_for_the_person_alone_and_is_no_version(world: World) -> None:
    ident = builders.consented(world)
    typed = {"answer.age_years": ["61"], "answer.ethnic": ["4"], "missing.height_cm": ["ND"]}

    def place(unit: Unit) -> places.Place:
        return places.locate(unit, TRIAL, ident, "V01", "DEMO")

    world.run("research-nurse", lambda unit: drafts.keep(unit, place(unit), typed, 0))
    mine = world.read("research-nurse", lambda unit: drafts.of(unit, place(unit)))
    assert mine is not None
    assert (mine.fields, mine.version, mine.at) == (typed, 0, world.now)
    assert world.read("sub-investigator", lambda unit: drafts.of(unit, place(unit))) is None
    assert world.read("research-nurse", lambda unit: records.view(unit, place(unit)).version) == 0
    with world.units.reading(SYSTEM) as unit:
        stored = unit.session.scalars(select(FormDraft.data)).one()
        assert not any(name.partition(".")[2] in stored for name in typed)
    world.run("research-nurse", lambda unit: drafts.drop(unit, place(unit)))
    assert world.read("research-nurse", lambda unit: drafts.of(unit, place(unit))) is None


def test_a_draft_that_was_moved_to_another_form_cannot_be_read(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.consented(sqlite_world)
    world.run("research-nurse", lambda unit: drafts.keep(unit, places.locate(unit, TRIAL, ident, "V01", "DEMO"), {"answer.sex": ["1"]}, 0))
    with world.instance.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE form_draft SET form = 'CLIN'")
    assert world.read("research-nurse", lambda unit: drafts.of(unit, places.locate(unit, TRIAL, ident, "V01", "CLIN"))) is None


def test_a_row_that_was_put_back_is_changed_with_a_reason_only(world: World) -> None:
    ident = builders.randomised(world)
    builders.put(world, ident, "EV", "AE", {"ae_term": "Cough", "ae_ser": 0, "ae_sev": 1})

    def place(unit: Unit) -> places.Place:
        return places.locate(unit, TRIAL, ident, "EV", "AE")

    world.run("research-nurse", lambda unit: removals.remove(unit, place(unit), "entered twice"))
    world.run("research-nurse", lambda unit: removals.restore(unit, place(unit), "it was not"))
    with pytest.raises(Invalid) as refused:
        builders.put(world, ident, "EV", "AE", {"ae_term": "Cough", "ae_ser": 0, "ae_sev": 2})
    assert refused.value.code == "CRF.REASON_NEEDED"
    assert builders.put(world, ident, "EV", "AE", {"ae_term": "Cough", "ae_ser": 0, "ae_sev": 2}, reason="source").status == "complete"


def test_a_reason_that_identifies_somebody_is_not_kept(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.consented(sqlite_world)
    builders.put(world, ident, "V01", "DEMO", {"age_years": 60})
    with pytest.raises(Invalid) as refused:
        builders.put(world, ident, "V01", "DEMO", {"age_years": 61}, reason="other: seen in the notes of 999.000.0018")
    assert refused.value.code == "GATE.GOV-41"


@pytest.mark.parametrize(
    ("reason", "accepted"),
    [
        ("typing", True),
        ("source: the letter", True),
        ("Read wrongly", True),
        ("other: seen", True),
        ("other", False),
        ("x", False),
        (": .", False),
    ],
)
def test_a_reason_says_something(sqlite_world: World, reason: str, accepted: bool) -> None:
    world, ident = sqlite_world, builders.consented(sqlite_world)
    builders.put(world, ident, "V01", "DEMO", {"age_years": 60})
    if accepted:
        assert builders.put(world, ident, "V01", "DEMO", {"age_years": 61}, reason=reason).version == 2
        return
    with pytest.raises(Invalid) as refused:
        builders.put(world, ident, "V01", "DEMO", {"age_years": 61}, reason=reason)
    assert refused.value.code == "REASON.WORDS"


def test_what_is_said_to_a_prompt_is_kept_shown_and_in_the_trail(world: World) -> None:
    """AC-09: an average above the worst is asked about, and can be answered with a reason."""
    ident, said = builders.consented(world), "Typed as on the paper, see the diary"
    given = {"limb_worst": 4, "limb_avg": 6, "pain_assist": 1}
    with pytest.raises(Unanswered) as asked:
        builders.put(world, ident, "V01", "PAIN", given, only=True, confirm=())
    code = asked.value.details[0].code
    builders.put(world, ident, "V01", "PAIN", given, only=True, confirm=(code,), notes={code: f" {said} ", "PAIN-99": "nothing"})

    def shown(unit: Unit) -> list[tuple[str, str]]:
        place = places.locate(unit, TRIAL, ident, "V01", "PAIN")
        return records.answered(unit, place, records.view(unit, place))

    assert world.read("monitor", shown) == [(asked.value.details[0].message, said)]
    trailed = [line.new for line in history(world, ident, "V01", "PAIN") if line.action == "form.confirm"]
    assert trailed == [f"{asked.value.details[0].message} Answer: {said}"]
    builders.put(world, ident, "V01", "PAIN", {**given, "limb_avg": 3}, only=True, reason="source")
    assert world.read("monitor", shown) == []


@pytest.mark.parametrize(("words", "code"), [("seen in 999 000 0018", "GATE.GOV-41"), ("x" * 501, "CRF.NOTE")], ids=["number", "long"])
def test_what_is_said_to_a_prompt_is_short_and_names_nobody(sqlite_world: World, words: str, code: str) -> None:
    world, ident = sqlite_world, builders.consented(sqlite_world)
    given = {"limb_worst": 4, "limb_avg": 6, "pain_assist": 1}
    with pytest.raises(Unanswered) as asked:
        builders.put(world, ident, "V01", "PAIN", given, only=True, confirm=())
    rule = asked.value.details[0].code
    with pytest.raises(Invalid) as refused:
        builders.put(world, ident, "V01", "PAIN", given, only=True, confirm=(rule,), notes={rule: words})
    assert (refused.value.code, version_count(world, "PAIN")) == (code, 0)


def test_restricted_rows_of_an_open_form_answer_alike_whether_they_are_there_or_not(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    for row in (501, 530):
        with pytest.raises(Refused) as hidden:
            world.read("research-nurse", lambda unit, row=row: places.locate(unit, TRIAL, ident, "EV", "DEVI", row))
        assert hidden.value.code == "GATE.GOV-45"


@pytest.mark.parametrize("row", [0, 10_000, 10**20])
def test_a_row_that_no_form_has_is_not_there(sqlite_world: World, row: int) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    with pytest.raises(Missing):
        world.read("research-nurse", lambda unit: places.locate(unit, TRIAL, ident, "EV", "AE", row))


def test_a_crossover_opens_a_deviation_among_the_restricted_ones(sqlite_world: World) -> None:
    """Its number leaves no gap that a blinded reader could see."""
    world = sqlite_world
    ident = next(one for one in iter(lambda: builders.randomised(world), "") if builders.arm_of(world, one) == 2)
    builders.put(
        world,
        ident,
        "V02",
        "SURG",
        {"surg_done": 1, "surg_date": builders.TODAY.isoformat(), "surg_side": 1, "surg_level": 12},
        role="surgeon",
    )
    reop = {"re_date": builders.TODAY.isoformat(), "re_type": [5], "re_ind": 4, "re_planned": 0, "re_crossover": 1}
    builders.put(world, ident, "EV", "REOP", reop, role="surgeon")
    with world.units.reading(SYSTEM) as unit:
        rows = unit.session.scalars(select(FormInstance.row).where(FormInstance.participant_id == ident, FormInstance.form == "DEVI")).all()
    assert rows
    assert min(rows) > 500


def test_an_import_gives_no_item_that_names_other_roles(sqlite_world: World) -> None:
    """The sponsor's and the investigator's assessments are theirs by every door."""
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    builders.put(world, ident, "EV", "AE", {"ae_term": "Cough", "ae_ser": 0, "ae_sev": 1})

    def bring(unit: Unit) -> None:
        place = places.locate(unit, TRIAL, ident, "EV", "SAE")
        records.save(unit, place, records.Submission({"sae_rel_pi": 1}, {}, False, "r", (), None), imported=True)

    with pytest.raises(Forbidden) as refused:
        world.run("unblinded-data-manager", bring)
    assert refused.value.code == "ROLE.ITEM"


DEVIATION = {
    "dv_class": 1,
    "dv_date": builders.TODAY.isoformat(),
    "dv_found": builders.TODAY.isoformat(),
    "dv_desc": "What",
    "dv_capa": "Done",
}


def deviations(world: World, ident: str) -> dict[int, Any]:
    """Type of each deviation by its row."""

    def work(unit: Unit) -> dict[int, Any]:
        place = places.locate(unit, TRIAL, ident, "EV", "DEVI")
        return {s.instance.row: s.answers(place.form).values.get("dv_type") for s in places.book(unit, place).rows("DEVI", "EV")}

    return world.read("principal-investigator", work)


def test_a_deviation_takes_its_number_among_those_that_the_same_people_see(sqlite_world: World) -> None:
    """Typed by hand: what row was asked for, what was typed, and where it stands. Blinded people see 1, 2 and 3 without a gap."""
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    typed = [(1, 6, 1), (2, 4, 501), (2, 6, 2), (502, 96, 3), (4, 5, 502)]
    for row, kind, stands in typed:
        view = builders.put(world, ident, "EV", "DEVI", {**DEVIATION, "dv_type": kind}, only=True, role="principal-investigator", row=row)
        assert view.place.row == stands
    assert deviations(world, ident) == {1: 6, 2: 6, 3: 96, 501: 4, 502: 5}


@pytest.mark.parametrize("complete", [True, False])
def test_a_row_that_blinded_people_have_seen_does_not_vanish(sqlite_world: World, complete: bool) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    place = {"only": True, "role": "principal-investigator", "complete": complete, "reason": "source"}
    builders.put(world, ident, "EV", "DEVI", {**DEVIATION, "dv_type": 6} if complete else {"dv_desc": "What"}, **place)
    with pytest.raises(WrongState) as refused:
        builders.put(world, ident, "EV", "DEVI", {**DEVIATION, "dv_type": 4}, **place)
    assert refused.value.code == "CRF.ROW_OPEN"
    view = builders.put(world, ident, "EV", "DEVI", {**DEVIATION, "dv_type": 4}, row=2, **place)
    assert view.place.row == 501
    builders.put(world, ident, "EV", "DEVI", {**DEVIATION, "dv_type": 6}, row=501, **place)
    assert set(deviations(world, ident)) == {1, 501}


@pytest.mark.parametrize("version", [None, 1, 7])
def test_a_blinded_person_is_told_the_same_of_a_restricted_row_whatever_version_they_name(sqlite_world: World, version: int | None) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    builders.put(world, ident, "EV", "DEVI", {**DEVIATION, "dv_type": 4}, only=True, role="principal-investigator")
    place = world.read("principal-investigator", lambda unit: places.locate(unit, TRIAL, ident, "EV", "DEVI", 501))
    with pytest.raises(Refused) as refused:
        world.run("research-nurse", lambda unit: records.save(unit, place, records.Submission({}, version=version)))
    assert refused.value.code == "GATE.GOV-45"


def test_a_blinded_person_records_no_deviation_of_a_restricted_type(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    with pytest.raises(TrialError) as refused:
        builders.put(world, ident, "EV", "DEVI", {**DEVIATION, "dv_type": 4}, only=True)
    assert (refused.value.code, deviations(world, ident)) == ("GATE.GOV-45", {})


def test_the_last_open_number_leads_to_no_row_that_stands(sqlite_world: World) -> None:
    """Somebody used row 500: new rows take the lowest free number, never one that is restricted or stands already."""
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    put = partial(builders.put, world, ident, "EV", "DEVI", only=True, role="principal-investigator")
    put({**DEVIATION, "dv_type": 4})
    put({**DEVIATION, "dv_type": 6}, row=500)
    assert [put({**DEVIATION, "dv_type": kind}, row=600).place.row for kind in (6, 96, 5)] == [1, 2, 600]
    assert deviations(world, ident) == {1: 6, 2: 96, 500: 6, 501: 4, 600: 5}


def test_a_new_row_of_a_form_without_hidden_ones_goes_on_from_the_last(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    for row in (1, 500, 501):
        builders.put(world, ident, "EV", "AE", {"ae_term": "Cough", "ae_ser": 0, "ae_sev": 1}, row=row)

    def free(unit: Unit) -> int:
        place = places.locate(unit, TRIAL, ident, "EV", "AE")
        return places.next_row(places.book(unit, place), place.form, "EV")

    assert world.read("research-nurse", free) == 502


def test_a_doctor_confirms_what_a_nurse_completed_by_saving_it_unchanged(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "CLIN", builders.CLINICAL)
    builders.put(world, ident, "V01", "DEMO", {"age_years": 60, "sex": 2})
    view = builders.put(world, ident, "V01", "ELIG", builders.ELIGIBLE)
    sent = {"only": True, "complete": True, "missing": dict(view.answers.missing)}
    form = world.protocol.form("ELIG")
    answers = {name: value for name, value in view.answers.to_json()["answers"].items() if form.by_name[name].typed_in}

    def state() -> str:
        return world.read("research-nurse", lambda unit: studies.state(unit, TRIAL, "participant", ident))

    assert state() == "consented"
    assert builders.put(world, ident, "V01", "ELIG", answers, role="research-nurse", **sent).version == 1
    assert builders.put(world, ident, "V01", "ELIG", answers, role="principal-investigator", **sent).version == 2
    assert state() == "eligible"
    assert builders.put(world, ident, "V01", "ELIG", answers, role="principal-investigator", **sent).version == 2
    assert "confirmed by a doctor" in history(world, ident, "V01", "ELIG")[-1].reason
