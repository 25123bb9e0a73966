"""Scenarios that show the gate at work as a trial meets it. Others stand where their subject is: look for `test_ac_`."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, time
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TODAY, TRIAL, World, put, refusals
from tests.services.test_versions import TOP, propose
from trialdm.domain.errors import Conflict, Refused
from trialdm.domain.ethics import Approval, Document
from trialdm.instance import Instance
from trialdm.services import allocations, approvals, gates, packages, participants, places, records, register, studies
from trialdm.services.packages import Request
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import AuditEvent

CONSULTEE = {"con_route": 4, "con_capacity": 0, "con_cons_rel": 1, "con_no_personal": "none could be found"}

Entries = list[Approval | Document]


def furnished(empty: Instance, monkeypatch: pytest.MonkeyPatch, change: Callable[[Entries], Iterable[Approval | Document]]) -> World:
    """The usual world, with another register from the start on."""
    usual = builders.small_register
    monkeypatch.setattr(builders, "small_register", lambda protocol: list(change(usual(protocol))))
    builders.furnish(empty)
    return builders.around(empty)


def reasons(world: World, action: str, participant: str = "", site: str = "S01") -> dict[str, str]:
    def ask(unit: Unit) -> dict[str, str]:
        answer = participants.gate(unit, TRIAL, action, site=site, participant=participant)
        return {reason.rule: reason.message for reason in answer.reasons if reason.severity == "block"}

    return world.read("research-nurse" if action == "consent" else "trial-coordinator", ask)


def flagged(world: World, rule: str) -> list[str]:
    """Forms about which the trail holds that a fact broke this rule."""
    told = select(AuditEvent.entity_id).where(AuditEvent.action == "form.alert", AuditEvent.field == rule)
    with world.units.reading(SYSTEM) as unit:
        return list(unit.session.scalars(told))


def randomise(world: World, participant: str) -> None:
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, participant, f"key-{participant}"))


def test_ac_01_no_first_consent_before_the_trial_is_registered(empty: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site is open and the opinion favourable. A consent that was given all the same is kept and flagged; nobody is randomised."""
    world = furnished(empty, monkeypatch, lambda rows: [row for row in rows if getattr(row, "body", "") != "registry"])
    message = "Trial must be registered before the first participant."
    assert reasons(world, "consent") == {"GOV-09": message}
    ident = builders.ready(world)
    assert len(flagged(world, "GOV-09")) == 1
    with pytest.raises(Refused) as refusal:
        randomise(world, ident)
    assert refusal.value.code == "GATE.GOV-09"
    assert message in refusal.value.message
    assert "identifier" in refusal.value.needs
    registered = Approval("registry", "registered", "ISRCTN12345678", decided_on=TODAY)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, registered))
    assert reasons(world, "consent") == {}


def test_ac_02_a_condition_without_evidence_keeps_the_trial_shut(empty: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmet(rows: Entries) -> Entries:
        opinion = rows[0]
        assert isinstance(opinion, Approval)
        waits = tuple(replace(condition, met_on=None, evidence="") for condition in opinion.conditions)
        return [replace(opinion, conditions=waits), *rows[1:]]

    with pytest.raises(Refused) as refusal:
        furnished(empty, monkeypatch, unmet)
    assert refusal.value.code == "GATE.GOV-04"
    assert "Send the final leaflet" in refusal.value.message
    with empty.units.reading(SYSTEM) as unit:
        assert studies.state(unit, TRIAL) == "approved"
    world = builders.around(empty)
    assert [tried for tried, _ in refusals(world)] == ["open-trial"]
    (number,) = [a.entry for a in world.read("sponsor", lambda unit: register.read(unit, TRIAL)).approvals if a.body == "rec"]
    world.run("trial-manager", lambda unit: approvals.meet(unit, TRIAL, number, 0, TODAY, "letter of 10 March"))
    assert world.run("trial-manager", lambda unit: gates.move_trial(unit, TRIAL, "open")) == "open"


def test_ac_07_no_unblinded_export_without_a_signed_analysis_plan(world: World, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        world.run("statistician-blinded", lambda unit: packages.write(unit, TRIAL, tmp_path / "out", Request(blinding="unblinded")))
    against = {detail.code: detail.needs for detail in refusal.value.details if detail.code == "GATE.GOV-49"}
    assert against == {"GATE.GOV-49": "Lock the database first: one person asks for it, and another one confirms."}
    assert "The statistical analysis plan is not signed." in refusal.value.message
    assert [tried for tried, codes in refusals(world) if "GATE.GOV-49" in codes] == ["export-unblinded"]


def test_ac_17_a_recommended_pause_holds_randomisation_until_the_steering_committee_decides(world: World) -> None:
    ident = builders.ready(world)
    advice = Approval("dmc", "pause", decided_on=TODAY)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, advice))
    with pytest.raises(Refused) as refusal:
        randomise(world, ident)
    assert "pending TSC decision" in refusal.value.message
    world.at(date(2026, 3, 11))
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, Approval("tsc", "continue", decided_on=date(2026, 3, 11))))
    randomise(world, ident)


def test_ac_20_a_second_limb_is_not_randomised(world: World) -> None:
    """Neither under the number of the participant nor as somebody new."""
    ident = builders.randomised(world)
    with pytest.raises(Conflict) as again:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "another"))
    assert again.value.code == "ALLOC.ALREADY"
    other = builders.ready(world)
    put(world, other, "V01", "ELIG", {**builders.ELIGIBLE, "exc07_bilat": 1}, role="sub-investigator", reason="error: second limb")
    with pytest.raises(Refused) as refusal:
        randomise(world, other)
    assert "Another limb already randomised in this trial" in refusal.value.message


def test_every_kept_answer_is_the_same_when_it_is_given_again(world: World) -> None:
    """Also that to a consent, and after another version of the protocol has been loaded that nobody uses yet."""
    builders.ready(world)
    propose(world, (TOP, "rand_window_days: {value: 14", "rand_window_days: {value: 1"))
    builders.randomised(world)
    world.at(TODAY, time(11))
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, Approval("rec", "withdrawn", decided_on=TODAY)))
    world.at(date(2026, 3, 11))
    found = world.read("trial-manager", lambda unit: list(gates.replay(unit, TRIAL)))
    acts = {row.act for row in found}
    assert {"form consent", "save CONS", "participant randomise", "randomise", "trial open"} <= acts
    assert [row for row in found if row.different] == []


@pytest.mark.parametrize(
    ("item", "more", "rule", "message"),
    [
        ("con_icf_ver", {}, "GOV-12", "The version of the ICF that was used is not recorded."),
        ("con_pis_ver", {}, "GOV-12", "The version of the PIS that was used is not recorded."),
        ("con_capacity", {}, "GOV-17", "It is not recorded whether the person had capacity."),
        ("con_route", {}, "GOV-17", "The route of consent is not recorded."),
        ("con_witness", {"con_route": 2}, "GOV-17", "It is not recorded whether a witness was present."),
        ("con_cons_team", CONSULTEE, "GOV-18", "It is not recorded whether the consultee is on the study team."),
    ],
)
def test_a_missing_reason_opens_no_gate(sqlite_world: World, item: str, more: dict[str, int], rule: str, message: str) -> None:
    """What a consent stands on is known, or nobody is randomised on it."""
    world = sqlite_world
    ident = builders.ready(world)
    with world.units.reading(world.actor("research-nurse")) as unit:
        said = records.view(unit, places.locate(unit, TRIAL, ident, "V01", "CONS")).answers.to_json()["answers"]
    given = {name: value for name, value in {**said, **more}.items() if name != item}
    put(world, ident, "V01", "CONS", given, only=True, missing={item: "NK"}, reason="source: read again")
    assert message in reasons_of(world, ident, rule)


def test_no_randomisation_without_a_planned_day(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.ready(world)
    with world.units.reading(world.actor("research-nurse")) as unit:
        form = records.view(unit, places.locate(unit, TRIAL, ident, "V01", "CLIN"))
        said = form.answers.to_json()["answers"]
    given = {n: v for n, v in said.items() if n != "surg_date_plan" and not form.place.form.by_name[n].value}
    put(world, ident, "V01", "CLIN", given, only=True, missing={"surg_date_plan": "NK"}, reason="source: read again")
    assert "No day is planned for the operation." in reasons_of(world, ident, "GOV-44")


def reasons_of(world: World, participant: str, rule: str) -> list[str]:
    def ask(unit: Unit) -> list[str]:
        answer = participants.gate(unit, TRIAL, "randomise", site="S01", participant=participant)
        assert not answer.allowed
        return [reason.message for reason in answer.reasons if reason.rule == rule]

    return world.read("trial-coordinator", ask)


def test_whoever_took_the_consent_was_delegated_for_it_on_the_day(world: World) -> None:
    ident = builders.ready(world)
    assessor = world.actor("blinded-assessor").staff_no
    with world.units.reading(world.actor("research-nurse")) as unit:
        said = records.view(unit, places.locate(unit, TRIAL, ident, "V01", "CONS")).answers.to_json()["answers"]
    saved = put(world, ident, "V01", "CONS", {**said, "con_taker": assessor}, only=True, reason="source: signed by another")
    told = f"Whoever took the consent is not delegated for it at site S01 on {TODAY.isoformat()}."
    assert [told in alert.message for alert in saved.alerts if alert.rule == "GOV-14"] == [True]
    assert told in reasons_of(world, ident, "GOV-14")


def test_whoever_operated_held_a_credential_on_the_day(world: World) -> None:
    ident = builders.randomised(world)
    world.at(date(2026, 3, 13))
    day = world.now.date().isoformat()
    with world.units.reading(world.actor("surgeon")) as unit:
        assert "surgeon_operated" in {item.means for item in places.locate(unit, TRIAL, ident, "V02", "SURG").form.items}
    saved = put(world, ident, "V02", "SURG", {"surg_done": 1, "surg_date": day, "surg_id": 2}, role="surgeon")
    assert f"Surgeon 2 is not credentialed for TMR on {day}." in [a.message.split(" A cred")[0] for a in saved.alerts if a.rule == "GOV-52"]


def test_a_consent_of_a_day_on_which_it_was_not_allowed_is_asked_for_again(world: World) -> None:
    """The opinion was suspended on the day of the consent and stands again today."""
    ident = builders.consented(world)
    world.at(date(2026, 3, 12))
    office: list[Approval] = [
        Approval("rec", "suspended", "25/NE/0001", decided_on=TODAY),
        Approval("rec", "favourable", "25/NE/0001", decided_on=date(2026, 3, 11)),
    ]
    for entry in office:
        number = world.run("trial-manager", lambda unit, entry=entry: approvals.record(unit, TRIAL, entry))
    world.run("sponsor", lambda unit: approvals.check(unit, TRIAL, number))
    told = reasons_of(world, ident, "GOV-13")
    assert told[0].startswith(f"The consent of {TODAY.isoformat()} was not allowed on its day: Preventive TMR may only be done inside")
