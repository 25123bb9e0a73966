"""Signing, verifying, freezing and locking: who does it, what a change makes void, and what a hold keeps from being changed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from tests import builders
from tests.builders import PASSWORD, TRIAL, World
from trialdm.domain import signing
from trialdm.domain.errors import Broken, Refused, TrialError, WrongState
from trialdm.services import (
    casebooks,
    dictionaries,
    holds,
    imports,
    participants,
    places,
    records,
    removals,
    signatures,
    studies,
    trail,
    verification,
)
from trialdm.services.records import Submission
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import AuditEvent, FormInstance, FormVersion


def sign(world: World, ident: str, *forms: tuple[str, str], role: str = "principal-investigator", password: str = PASSWORD) -> Any:
    """Sign forms of a participant, by visit and code."""

    def work(unit: Unit) -> Any:
        book = casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident))
        return signatures.sign(unit, studies.protocol(unit, TRIAL), book, {(*at, 1): None for at in forms}, password)

    return world.run(role, work)


def sign_casebook(world: World, ident: str, role: str = "principal-investigator", password: str = PASSWORD) -> Any:
    def work(unit: Unit) -> Any:
        book = casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident))
        return signatures.sign_casebook(unit, studies.protocol(unit, TRIAL), book, password)

    return world.run(role, work)


def verify(world: World, ident: str, visit: str, form: str, items: list[str] | None = None, role: str = "monitor") -> str:
    def work(unit: Unit) -> str:
        book = casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident))
        return verification.verify(unit, studies.protocol(unit, TRIAL), book, (visit, form, 1), items)

    return world.run(role, work)


def hold(world: World, role: str, event: str, scope: str = "trial", ident: str = "", reason: str = "") -> str:
    return world.run(role, lambda unit: holds.move(unit, holds.target(unit, TRIAL, scope, ident), event, reason=reason))


def status(world: World, ident: str, visit: str, form: str) -> str:
    with world.units.reading(SYSTEM) as unit:
        return unit.session.scalars(
            select(FormInstance.status).where(
                FormInstance.participant_id == ident, FormInstance.visit == visit, FormInstance.form == form, FormInstance.row == 1
            )
        ).one()


def amend(world: World, ident: str, reason: str = "source: the notes say otherwise", **answers: Any) -> None:
    """Change answers of the demographic form; everything else on it stays."""
    kept = {name: value for name, value in _document(world, ident).items() if not isinstance(value, dict)}
    builders.put(world, ident, "V01", "DEMO", {**kept, "bmi": None} | answers, only=True, reason=reason)


def code_of(act: Callable[[], Any]) -> str:
    with pytest.raises(TrialError) as refused:
        act()
    return refused.value.code


# --- signing ---------------------------------------------------------------------------------------------------------


def test_a_signature_shows_name_role_time_and_meaning_and_is_bound_to_the_form(world: World) -> None:
    ident = builders.ready(world)
    (act,) = sign(world, ident, ("V01", "DEMO"))
    assert status(world, ident, "V01", "DEMO") == "signed"
    assert (act.name, act.role) == ("Principal-Investigator S01", "Principal investigator")
    assert act.meaning == signing.MEANINGS["form"]
    assert act.at == world.now
    with world.units.reading(SYSTEM) as unit:
        assert signatures.check(unit, TRIAL) == 1


@pytest.mark.parametrize("role", ["research-nurse", "monitor", "data-manager", "chief-investigator"])
def test_who_signs_nothing(sqlite_world: World, role: str) -> None:
    ident = builders.ready(sqlite_world)
    assert code_of(lambda: sign(sqlite_world, ident, ("V01", "DEMO"), role=role)) == "ROLE.FORM.SIGN"
    assert status(sqlite_world, ident, "V01", "DEMO") == "complete"


def test_a_wrong_password_signs_nothing_and_is_counted(world: World) -> None:
    ident = builders.ready(world)
    assert sign(world, ident, ("V01", "DEMO"), password="not mine") is None
    assert status(world, ident, "V01", "DEMO") == "complete"
    with world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(AuditEvent.action).where(AuditEvent.action == "sign.fail")).all() == ["sign.fail"]
    for _ in range(5):
        sign(world, ident, ("V01", "DEMO"), password="not mine")
    assert sign(world, ident, ("V01", "DEMO")) is None, "after many wrong ones even the right one has to wait"


def test_a_draft_or_a_signed_form_is_not_signed(sqlite_world: World) -> None:
    ident = builders.ready(sqlite_world)
    builders.put(sqlite_world, ident, "V01", "NPQ", complete=False)
    assert code_of(lambda: sign(sqlite_world, ident, ("V01", "NPQ"))) == "SIGN.NOT_READY"
    sign(sqlite_world, ident, ("V01", "DEMO"))
    assert code_of(lambda: sign(sqlite_world, ident, ("V01", "DEMO"))) == "SIGN.NOT_READY"


TAMPERED = [
    ("UPDATE form_act SET by = 'somebody' WHERE act = 'sign'", "SIGN.SEAL"),
    ("UPDATE form_act SET meaning = 'approved' WHERE act = 'sign'", "SIGN.SEAL"),
    ("UPDATE form_act SET at = '2026-03-09T10:00:00.000000+00:00' WHERE act = 'sign'", "SIGN.SEAL"),
    ("UPDATE form_version SET data = replace(data, '\"age_years\":60', '\"age_years\":61')", "SIGN.CONTENT"),
    ("UPDATE form_act SET instance_id = (SELECT id FROM form_instance WHERE form = 'PAIN') WHERE act = 'sign'", "SIGN.CONTENT"),
]


@pytest.mark.parametrize(("statement", "code"), TAMPERED)
def test_a_signature_that_was_moved_or_altered_is_found(sqlite_world: World, statement: str, code: str) -> None:
    ident = builders.ready(sqlite_world)
    sign(sqlite_world, ident, ("V01", "DEMO"))
    with sqlite_world.instance.engine.begin() as connection:
        for table in ("form_act", "form_version"):
            connection.execute(text(f"DROP TRIGGER guard_{table}_update"))
        connection.exec_driver_sql(statement)
    with sqlite_world.units.reading(SYSTEM) as unit, pytest.raises(Broken) as broken:
        signatures.check(unit, TRIAL)
    assert broken.value.code == code


# --- what a change does ----------------------------------------------------------------------------------------------


def trail_of(world: World, ident: str, form: str) -> list[tuple[str, str]]:
    """Action and field of every entry about a form, oldest first."""
    with world.units.reading(SYSTEM) as unit:
        instance = unit.session.scalars(
            select(FormInstance.id).where(FormInstance.participant_id == ident, FormInstance.form == form)
        ).one()
        rows = unit.session.execute(
            select(AuditEvent.action, AuditEvent.field).where(AuditEvent.entity_id == instance).order_by(AuditEvent.seq)
        )
        return [(action, field) for action, field in rows]


def test_a_change_makes_signature_and_verification_void_and_says_so(world: World) -> None:
    ident = builders.ready(world)
    verify(world, ident, "V01", "DEMO")
    assert status(world, ident, "V01", "DEMO") == "verified"
    sign(world, ident, ("V01", "DEMO"))
    before = len(trail_of(world, ident, "DEMO"))
    amend(world, ident, age_years=61)
    assert status(world, ident, "V01", "DEMO") == "complete"
    assert trail_of(world, ident, "DEMO")[before:] == [
        ("form.amend", "status"),
        ("form.amend", "age_years"),
        ("form.void", "verified"),
        ("form.void", "signature"),
    ]
    marks = world.read("monitor", lambda unit: _marks(unit, ident, "DEMO"))
    assert (marks.signature, marks.verified("age_years"), marks.verified("sex")) == (None, False, True)
    assert marks.voided[1].text == "Research-Nurse S01 changed 'Age at consent'"
    assert verify(world, ident, "V01", "DEMO", ["age_years"]) == "verified", "everything else is verified still"


def _marks(unit: Unit, ident: str, form: str) -> signing.Marks:
    book = casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident))
    return signatures.marks(unit, TRIAL, book.forms[("V01", form, 1)].instance.id)


def test_saving_without_a_change_voids_nothing(sqlite_world: World) -> None:
    ident = builders.ready(sqlite_world)
    sign(sqlite_world, ident, ("V01", "DEMO"))
    amend(sqlite_world, ident, age_years=60)
    assert status(sqlite_world, ident, "V01", "DEMO") == "signed"


def test_any_change_voids_signature_and_verification_with_one_entry_for_each_changed_item(sqlite_world: World) -> None:
    """Whatever is changed on a signed and verified form: the form is only complete, and each changed item has one entry."""
    world, ident = sqlite_world, builders.ready(sqlite_world)
    items = {"weight_kg": ["70.0", "80.0", "81.5"], "height_cm": ["160.0", "170.0", None], "educ": [0, 1, None], "employ": [1, 2, None]}

    @settings(max_examples=25, deadline=None)
    @given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in items.items()}))
    def check(change: dict[str, Any]) -> None:
        if status(world, ident, "V01", "DEMO") != "signed":
            verify(world, ident, "V01", "DEMO")
            sign(world, ident, ("V01", "DEMO"))
        before, old = len(trail_of(world, ident, "DEMO")), _document(world, ident)
        amend(world, ident, **change)
        new, fields = _document(world, ident), [field for _, field in trail_of(world, ident, "DEMO")[before:]]
        changed = {name for name in {*old, *new} if old.get(name) != new.get(name)}
        assert status(world, ident, "V01", "DEMO") == ("complete" if changed else "signed")
        assert {name: fields.count(name) for name in changed} == dict.fromkeys(changed, 1)
        marks = world.read("monitor", lambda unit: _marks(unit, ident, "DEMO"))
        assert (marks.signature is None) == bool(changed)
        assert not any(marks.verified(name) for name in changed)

    check()


def _document(world: World, ident: str) -> dict[str, Any]:
    with world.units.reading(SYSTEM) as unit:
        data = unit.session.scalars(
            select(FormVersion.data)
            .join(FormInstance, FormInstance.id == FormVersion.instance_id)
            .where(FormInstance.participant_id == ident, FormInstance.form == "DEMO")
            .order_by(FormVersion.seq.desc())
        ).first()
        found: dict[str, Any] = json.loads(data)
        return {**found["answers"], **{name: {"missing": why} for name, why in found["missing"].items()}}


# --- what stands beside a signature ----------------------------------------------------------------------------------

#: Form -> items that an investigator does not sign.
BESIDE = {
    "AE": {"ae_code"},
    "SAE": {"sae_ci_aware", "sae_rel_ci", "sae_exp", "sae_exp_list", "sae_rec_due", "sae_rec_sent"},
}


def test_what_no_investigator_gives_stands_beside_their_signature(sqlite_world: World) -> None:
    found = {form.code: set(signing.beside(form)) for form in sqlite_world.protocol.forms}
    assert {code: items for code, items in found.items() if items} == BESIDE


def signed_event(world: World) -> str:
    """Somebody with an adverse event, whose casebook is signed."""
    ident = builders.randomised(world)
    builders.put(world, ident, "EV", "AE", {"ae_term": "Pneumonia", "ae_ser": 0, "ae_sev": 2, "ae_outc": 3, "ae_cd": 1})
    sign_casebook(world, ident)
    return ident


def code(world: World, ident: str, given: str) -> None:
    world.run("data-manager", lambda unit: dictionaries.give(unit, TRIAL, ident, 1, given))


def regrade(world: World, ident: str, severity: int) -> None:
    """Another severity of the event; everything else of it stays."""

    def work(unit: Unit) -> None:
        place = places.locate(unit, TRIAL, ident, "EV", "AE")
        view = records.view(unit, place)
        answers = {name: raw for name, raw in view.to_json()["answers"].items() if place.form.by_name[name].typed_in}
        soft = tuple(check.id for check in place.form.checks if check.severity == "soft")
        missing = dict(view.answers.missing)
        records.save(unit, place, Submission({**answers, "ae_sev": severity}, missing, False, "source", soft, view.version))

    world.run("research-nurse", work)


def test_a_signed_event_is_coded_and_stays_signed(world: World) -> None:
    ident = signed_event(world)
    before = len(trail_of(world, ident, "AE"))
    assert [one.term for one in world.read("data-manager", lambda unit: dictionaries.uncoded(unit, TRIAL))] == ["Pneumonia"]
    code(world, ident, "L0102")
    assert status(world, ident, "EV", "AE") == "signed"
    assert trail_of(world, ident, "AE")[before:] == [("form.annotate", "ae_code")]
    assert world.read("monitor", lambda unit: signatures.of_casebook(unit, TRIAL, ident)).signature is not None
    with world.units.reading(SYSTEM) as unit:
        assert signatures.check(unit, TRIAL) > 5
    regrade(world, ident, 3)
    assert status(world, ident, "EV", "AE") == "complete"
    assert world.read("monitor", lambda unit: signatures.of_casebook(unit, TRIAL, ident)).signature is None


def test_an_event_is_coded_after_a_full_withdrawal_and_not_changed(sqlite_world: World) -> None:
    """A code is no new data of the participant."""
    world, ident = sqlite_world, signed_event(sqlite_world)
    today = world.now.date().isoformat()
    builders.put(world, ident, "EV", "STAT", {"st_status": 3, "st_date": today, "st_reason": None})
    with pytest.raises(Refused) as refused:
        regrade(world, ident, 3)
    assert refused.value.code == "GATE.GOV-43"
    code(world, ident, "L0102")
    assert world.read("data-manager", lambda unit: dictionaries.uncoded(unit, TRIAL)) == []


def test_a_verified_event_that_is_coded_has_its_code_still_to_be_verified(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    builders.put(world, ident, "EV", "AE", {"ae_term": "Pneumonia", "ae_ser": 0})
    verify(world, ident, "EV", "AE")
    code(world, ident, "L0102")
    assert status(world, ident, "EV", "AE") == "complete"


def test_only_what_is_under_the_seal_voids_it(sqlite_world: World) -> None:
    """Whatever is coded and changed in whatever order: the signature holds until something that it covers is another answer."""
    world, ident = sqlite_world, signed_event(sqlite_world)
    stands = {"severity": 2, "code": "L0101"}
    code(world, ident, "L0101")

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(["severity", "code"]), st.integers(1, 3)), max_size=4))
    def check(steps: list[tuple[str, int]]) -> None:
        if status(world, ident, "EV", "AE") != "signed":
            sign(world, ident, ("EV", "AE"))
        touched = False
        for what, number in steps:
            new: Any = number if what == "severity" else f"L010{number}"
            regrade(world, ident, new) if what == "severity" else code(world, ident, new)
            touched |= what == "severity" and new != stands["severity"]
            stands[what] = new
        with world.units.reading(SYSTEM) as unit:
            signatures.check(unit, TRIAL)
        assert (status(world, ident, "EV", "AE") == "signed") is not touched

    check()


LATER = [
    "UPDATE form_version SET data = replace(data, '\"ae_sev\":2', '\"ae_sev\":1') WHERE seq = 2",
    "UPDATE form_version SET data = replace(data, '\"ae_sev\":2', '\"ae_sev\":1') WHERE seq = 1",
    "UPDATE form_version SET data = replace(data, '\"ae_sev\":2', '\"ae_sev\":1')",
    "UPDATE form_act SET version = 2 WHERE act = 'sign'",
]


@pytest.mark.parametrize("statement", LATER)
def test_what_is_altered_after_the_coding_is_found(sqlite_world: World, statement: str) -> None:
    ident = signed_event(sqlite_world)
    code(sqlite_world, ident, "L0102")
    with sqlite_world.instance.engine.begin() as connection:
        for table in ("form_act", "form_version"):
            connection.execute(text(f"DROP TRIGGER guard_{table}_update"))
        connection.exec_driver_sql(statement)
    with sqlite_world.units.reading(SYSTEM) as unit, pytest.raises(Broken) as broken:
        signatures.check(unit, TRIAL)
    assert broken.value.code == "SIGN.CONTENT"


# --- verifying -------------------------------------------------------------------------------------------------------


def test_a_form_is_verified_once_everything_that_is_sampled_of_it_is(world: World) -> None:
    ident = builders.ready(world)
    assert verify(world, ident, "V01", "CONS", ["con_dtm"]) == "complete"
    answers = world.read("monitor", lambda unit: _readable(unit, ident))
    assert verify(world, ident, "V01", "CONS", answers) == "verified"


def _readable(unit: Unit, ident: str) -> list[str]:
    protocol, person = studies.protocol(unit, TRIAL), participants.find(unit, TRIAL, ident)
    stored = casebooks.read(unit, TRIAL, person).forms[("V01", "CONS", 1)]
    return verification.readable(unit, protocol, person, protocol.form("CONS"), stored)


def test_a_blinded_monitor_verifies_nothing_that_is_restricted(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    builders.put(sqlite_world, ident, "V02", "SURG", {"surg_done": 1, "surg_side": 1, "surg_level": 12}, role="surgeon")
    assert code_of(lambda: verify(sqlite_world, ident, "V02", "SURG")) == "GATE.GOV-45"
    assert verify(sqlite_world, ident, "V02", "SURG", role="unblinded-data-manager") == "verified"


def test_progress_counts_what_the_reader_may_see(sqlite_world: World) -> None:
    ident = builders.ready(sqlite_world)
    done, waiting = sqlite_world.read("monitor", lambda unit: verification.progress(unit, TRIAL))
    assert sqlite_world.read("research-nurse", lambda unit: verification.progress(unit, TRIAL))[1] == [], "a site is not told"
    assert waiting
    assert done["S01"][0] == 0
    assert {(one.participant, one.form) for one in waiting} >= {(ident, "CONS"), (ident, "ELIG")}
    verify(sqlite_world, ident, "V01", "CONS")
    after, _ = sqlite_world.read("monitor", lambda unit: verification.progress(unit, TRIAL))
    assert after["S01"] == (1, done["S01"][1])


# --- freezing and locking --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["trial", "site", "participant", "form"])
def test_what_is_frozen_takes_no_change_until_it_is_thawed(world: World, scope: str) -> None:
    ident = builders.ready(world)
    instance = world.read("data-manager", lambda unit: _instance(unit, ident))
    name = {"trial": "", "site": "S01", "participant": ident, "form": instance}[scope]
    hold(world, "data-manager", "freeze", scope, name)
    assert code_of(lambda: amend(world, ident, age_years=61)) == "STATE.HELD"
    hold(world, "data-manager", "thaw", scope, name, reason="two answers were found to be wrong")
    amend(world, ident, age_years=61)


def _instance(unit: Unit, ident: str) -> str:
    return casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident)).forms[("V01", "DEMO", 1)].instance.id


def test_a_lock_needs_two_people_of_two_kinds_and_signed_casebooks(world: World) -> None:
    ident = builders.randomised(world)
    hold(world, "data-manager", "freeze", "participant", ident)
    with pytest.raises(WrongState) as against:
        hold(world, "data-manager", "ask-lock", "participant", ident)
    assert [detail.code for detail in against.value.details] == ["HOLD.SIGNATURE"]
    sign_casebook(world, ident)
    hold(world, "data-manager", "ask-lock", "participant", ident)
    assert code_of(lambda: hold(world, "data-manager", "lock", "participant", ident)) == "HOLD.SECOND"
    assert code_of(lambda: hold(world, "unblinded-data-manager", "lock", "participant", ident)) == "HOLD.SECOND"
    assert hold(world, "trial-manager", "lock", "participant", ident) == "locked"
    assert code_of(lambda: builders.put(world, ident, "EV", "AE")) == "STATE.HELD"
    assert code_of(lambda: sign(world, ident, ("V01", "DEMO"))) == "STATE.HELD"


def test_unlocking_needs_two_people_and_a_reason_and_what_changes_is_signed_again(world: World) -> None:
    ident = builders.randomised(world)
    sign_casebook(world, ident)
    hold(world, "data-manager", "freeze", "participant", ident)
    hold(world, "data-manager", "ask-lock", "participant", ident)
    hold(world, "trial-manager", "lock", "participant", ident)
    assert code_of(lambda: hold(world, "data-manager", "ask-unlock", "participant", ident)) == "HOLD.REASON"
    hold(world, "data-manager", "ask-unlock", "participant", ident, reason="the age is wrong")
    assert code_of(lambda: amend(world, ident, age_years=61)) == "STATE.HELD"
    hold(world, "trial-manager", "unlock", "participant", ident)
    amend(world, ident, age_years=61)
    with pytest.raises(WrongState):
        hold(world, "data-manager", "freeze", "participant", ident) and hold(world, "data-manager", "ask-lock", "participant", ident)


def test_the_casebook_is_signed_as_a_whole_and_any_change_asks_for_it_again(world: World) -> None:
    ident = builders.randomised(world)
    assert code_of(lambda: sign_casebook(world, ident, "sub-investigator")) == "ROLE.CASEBOOK.SIGN"
    sign_casebook(world, ident)
    assert status(world, ident, "V01", "DEMO") == "signed"
    assert code_of(lambda: sign_casebook(world, ident)) == "SIGN.NOT_READY"
    builders.put(world, ident, "EV", "AE", {"ae_ser": 0})
    marks = world.read("monitor", lambda unit: signatures.of_casebook(unit, TRIAL, ident))
    assert marks.signature is None
    assert marks.voided is not None
    sign_casebook(world, ident)


# --- rows that were entered by mistake -------------------------------------------------------------------------------


def test_a_row_is_removed_with_a_reason_and_can_be_restored(world: World) -> None:
    ident = builders.randomised(world)
    for row in (1, 2):
        builders.put(world, ident, "V01", "ANLG", {"an_any": 1, "an_class": 1, "an_drug": "paracetamol"}, row=row, reason="late")

    def place(unit: Unit, row: int = 2) -> places.Place:
        return places.locate(unit, TRIAL, ident, "V01", "ANLG", row)

    assert code_of(lambda: world.run("research-nurse", lambda unit: removals.remove(unit, place(unit), " "))) == "CRF.REASON_NEEDED"
    world.run("research-nurse", lambda unit: removals.remove(unit, place(unit), "entered twice"))
    book = world.read("research-nurse", lambda unit: casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident)))
    assert [s.instance.row for s in book.rows("ANLG", "V01")] == [1]
    assert places.next_row(book, world.protocol.form("ANLG"), "V01") == 3
    at_once = world.read("monitor", lambda unit: casebooks.whole(unit, TRIAL, [participants.find(unit, TRIAL, ident)])[ident])
    assert (set(at_once.forms), set(at_once.removed)) == (set(book.forms), set(book.removed)), "however it is read, no rule sees the row"
    assert code_of(lambda: builders.put(world, ident, "V01", "ANLG", {"an_any": 1}, row=2, version=2)) == "CRF.REMOVED"
    world.run("research-nurse", lambda unit: removals.restore(unit, place(unit), "it was another medicine"))
    assert world.read("research-nurse", lambda unit: records.view(unit, place(unit)).status) == "draft"
    assert [act for act, _ in trail_of_row(world, ident, 2)][-2:] == ["form.remove", "form.restore"]


def trail_of_row(world: World, ident: str, row: int) -> list[tuple[str, str]]:
    with world.units.reading(SYSTEM) as unit:
        instance = unit.session.scalars(
            select(FormInstance.id).where(FormInstance.participant_id == ident, FormInstance.form == "ANLG", FormInstance.row == row)
        ).one()
        rows = unit.session.execute(
            select(AuditEvent.action, AuditEvent.field).where(AuditEvent.entity_id == instance).order_by(AuditEvent.seq)
        )
        return [(action, field) for action, field in rows]


@pytest.mark.parametrize(("visit", "form"), [("V01", "DEMO"), ("EV", "DEVI")])
def test_what_has_consequences_is_corrected_not_removed(sqlite_world: World, visit: str, form: str) -> None:
    ident = builders.randomised(sqlite_world)
    if form == "DEVI":
        day = builders.TODAY.isoformat()
        builders.put(sqlite_world, ident, visit, form, {"dv_type": 6, "dv_date": day, "dv_found": day})

    def work(unit: Unit) -> None:
        removals.remove(unit, places.locate(unit, TRIAL, ident, visit, form), "by mistake")

    assert code_of(lambda: sqlite_world.run("research-nurse", work)) == "CRF.NOT_REMOVABLE"


# --- what blinded people read of it ----------------------------------------------------------------------------------


def reintervened(world: World) -> str:
    """Somebody with a reintervention of which the surgeon has said everything."""
    ident = builders.randomised(world)
    operated = {"surg_done": 1, "surg_date": builders.TODAY.isoformat(), "surg_side": 1, "surg_level": 12}
    builders.put(world, ident, "V02", "SURG", operated, role="surgeon")
    again = {"re_date": builders.TODAY.isoformat(), "re_type": [5], "re_ind": 4, "re_planned": 0, "re_crossover": 0}
    builders.put(world, ident, "EV", "REOP", again, role="surgeon")
    return ident


def read_by(world: World, role: str, ident: str, form: str = "REOP") -> list[trail.Line]:
    return world.read(role, lambda unit: trail.of_form(unit, places.locate(unit, TRIAL, ident, "EV", form)))


def test_marks_and_their_end_tell_a_blinded_reader_of_no_restricted_item(sqlite_world: World) -> None:
    world = sqlite_world
    ident = reintervened(world)
    verify(world, ident, "EV", "REOP", ["re_ind", "re_type", "re_crossover"], role="unblinded-data-manager")
    changed = {"re_crossover": 1, "re_type": [6], "re_ind": 3}
    builders.put(world, ident, "EV", "REOP", changed, role="surgeon", reason="source: the operation note")
    told = {
        (line.action, str(value)) for line in read_by(world, "monitor", ident) for value in (line.old, line.new) if line.field == "verified"
    }
    assert told == {("form.verify", "['re_ind']"), ("form.verify", "None"), ("form.void", "['re_ind']"), ("form.void", "[]")}
    everything = "".join(f"{line.old}{line.new}{line.reason}" for line in read_by(world, "unblinded-data-manager", ident))
    assert "re_crossover" in everything


def test_a_reason_that_goes_with_restricted_answers_only_is_hidden_with_them(sqlite_world: World) -> None:
    world = sqlite_world
    ident = reintervened(world)
    sign(world, ident, ("EV", "REOP"))
    stored = world.read("surgeon", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "REOP"))).answers.to_json()
    given = {name: value for name, value in stored["answers"].items() if name not in ("re_days", "re_type")}
    builders.put(world, ident, "EV", "REOP", {**given, "re_type": [6]}, only=True, role="surgeon", reason="source: TMR after all")
    assert "TMR after all" in "".join(line.reason for line in read_by(world, "unblinded-data-manager", ident))
    assert "TMR after all" not in "".join(line.reason for line in read_by(world, "monitor", ident))


SERIOUS = {
    "sae_ae_no": 1,
    "sae_crit": [3],
    "sae_aware": f"{builders.TODAY}T08:00",
    "sae_reported": f"{builders.TODAY}T09:00",
    "sae_rel_pi": 1,
}
SERIOUS |= {"sae_proc": [4], "sae_narr": "A fall."}


def test_who_has_verified_everything_already_may_say_so_again(sqlite_world: World) -> None:
    """A blinded monitor verified all that they read; then only the restricted narrative changes, and the form is to be verified again."""
    world = sqlite_world
    ident = builders.randomised(world)
    builders.put(world, ident, "EV", "SAE", SERIOUS, role="principal-investigator")
    judged = {"sae_ci_aware": builders.TODAY.isoformat(), "sae_rel_ci": 1, "sae_exp": 1}
    builders.put(world, ident, "EV", "SAE", judged, role="chief-investigator", only=True)
    assert verify(world, ident, "EV", "SAE") == "verified"
    given = {name: value for name, value in SERIOUS.items() if name != "sae_narr"} | {"sae_narr": "A fall at home."}
    builders.put(world, ident, "EV", "SAE", given, only=True, role="principal-investigator", reason="source: more is known")
    assert status(world, ident, "EV", "SAE") == "complete"
    assert verify(world, ident, "EV", "SAE") == "verified"
    moved = [(line.action, line.new) for line in read_by(world, "monitor", ident, "SAE") if line.field == "status"]
    assert moved[-1] == ("form.verify", "verified")


def test_what_was_read_is_what_is_signed_or_marked(sqlite_world: World) -> None:
    """A page or a program says which version was read: nothing is signed or marked of another one."""
    world = sqlite_world
    ident = builders.ready(world)
    at = ("V01", "DEMO", 1)

    def act(role: str, work: Callable[[Unit, casebooks.Casebook], Any]) -> Any:
        return world.run(role, lambda unit: work(unit, casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident))))

    with world.units.reading(world.actor("principal-investigator")) as unit:
        seen = signatures.standing(unit, TRIAL, ident)
    amend(world, ident, age_years=61)
    acts: list[tuple[str, Callable[[Unit, casebooks.Casebook], Any]]] = [
        ("principal-investigator", lambda unit, book: signatures.sign(unit, world.protocol, book, {at: 1}, PASSWORD)),
        ("principal-investigator", lambda unit, book: signatures.sign_casebook(unit, world.protocol, book, PASSWORD, seen=seen)),
        ("monitor", lambda unit, book: verification.verify(unit, world.protocol, book, at, None, seen=1)),
    ]
    assert [code_of(lambda role=role, work=work: act(role, work)) for role, work in acts] == ["CRF.STALE"] * 3
    assert status(world, ident, "V01", "DEMO") == "complete"
    builders.put(world, ident, "EV", "AE", {"ae_term": "Fall", "ae_ser": 0})
    builders.put(world, ident, "EV", "AE", {"ae_term": "Fall at home", "ae_ser": 0}, reason="source")

    def strike(unit: Unit) -> None:
        removals.remove(unit, places.locate(unit, TRIAL, ident, "EV", "AE"), "by mistake", 1)

    assert code_of(lambda: world.run("research-nurse", strike)) == "CRF.STALE"
    assert act("monitor", lambda unit, book: verification.verify(unit, world.protocol, book, at, None, seen=2)) == "verified"


@pytest.mark.parametrize(("form", "where", "told"), [("REOP", "EV,1", False), ("PAIN", "V01,1", True)])
def test_the_reason_of_an_import_is_hidden_where_its_answers_may_be(sqlite_world: World, form: str, where: str, told: bool) -> None:
    world = sqlite_world
    file = f"participant,visit,row\n{reintervened(world)},{where}\n"
    world.run("unblinded-data-manager", lambda unit: imports.load(unit, TRIAL, form, file, reason="crossed over"))
    for role, reads in (("monitor", told), ("unblinded-data-manager", True)):
        lines = world.read(role, lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(action="form.import")))
        assert ("crossed over" in "".join(line.reason for line in lines)) == reads


def test_a_hold_on_a_restricted_form_is_told_to_the_unblinded_only(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.randomised(world)
    with world.units.reading(SYSTEM) as unit:
        one = unit.session.scalars(select(FormInstance.id).where(FormInstance.participant_id == ident, FormInstance.form == "RAND")).one()
    hold(world, "unblinded-data-manager", "freeze", "form", one, reason="the arm is looked at")
    for role, told in (("monitor", []), ("unblinded-data-manager", ["the arm is looked at"])):
        lines = world.read(role, lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(action="hold.freeze")))
        assert [line.reason for line in lines] == told


def test_the_step_that_goes_on_is_first_and_nobody_is_offered_their_own_confirmation(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.ready(world)

    def steps(role: str) -> list[str]:
        return world.read(role, lambda unit: holds.steps(unit, holds.target(unit, TRIAL, "participant", ident)))

    hold(world, "data-manager", "freeze", "participant", ident)
    assert steps("data-manager") == ["thaw", "ask-lock"]
    hold(world, "data-manager", "ask-lock", "participant", ident, reason="a short trial")
    assert (steps("data-manager"), steps("trial-manager")) == (["decline-lock"], ["lock", "decline-lock"])
    hold(world, "trial-manager", "lock", "participant", ident, reason="a short trial")
    hold(world, "trial-manager", "ask-unlock", "participant", ident, reason="an error was found")
    assert (steps("trial-manager"), steps("data-manager")) == (["decline-unlock"], ["unlock", "decline-unlock"])


@pytest.mark.parametrize(("scope", "says"), [("participant", False), ("site", False), ("trial", True)])
def test_of_whom_something_hidden_is_unfinished_no_blinded_reader_learns(sqlite_world: World, scope: str, says: bool) -> None:
    world = sqlite_world
    ident = builders.ready(world)
    given = {"dv_type": 4, "dv_desc": "What"}
    builders.put(world, ident, "EV", "DEVI", given, only=True, role="principal-investigator", complete=False)
    named = {"participant": ident, "site": "S01", "trial": ""}[scope]

    def told(role: str) -> str:
        found = world.read(role, lambda unit: holds.against(unit, holds.target(unit, TRIAL, scope, named)))
        return "; ".join(detail.message for detail in found)

    assert ("hidden" in told("data-manager")) == says
    assert "1 form not finished" in told("unblinded-data-manager")


def test_nobody_is_added_to_a_trial_that_is_frozen(sqlite_world: World) -> None:
    hold(sqlite_world, "data-manager", "freeze", reason="an inspection")
    with pytest.raises(WrongState) as refused:
        sqlite_world.run("research-nurse", lambda unit: participants.add(unit, TRIAL, "S01"))
    assert refused.value.code == "STATE.HELD"


def test_the_trail_has_no_gap_for_a_blinded_reader(sqlite_world: World) -> None:
    world = sqlite_world
    ident = reintervened(world)
    verify(world, ident, "EV", "REOP", ["re_type"], role="unblinded-data-manager")
    first = world.read("monitor", lambda unit: trail.of_trial(unit, TRIAL, trail.Filter()))
    assert [line.seq for line in first] == list(range(1, len(first) + 1))
    rest = world.read("monitor", lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(after=40)))
    assert [(line.seq, line.action, line.field) for line in rest[:5]] == [(line.seq, line.action, line.field) for line in first[40:45]]
