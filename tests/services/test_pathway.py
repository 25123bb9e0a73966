"""The treatment pathway beside the trial: who sees which cases, what the gate says to a procedure, notices, lists and reviews."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import TRIAL, World
from tests.pathway import AUDIT, case, followed, notified, operated, today
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, TrialError, WrongState
from trialdm.domain.ethics import ACTIONS, Fact
from trialdm.services import (
    allocations,
    approvals,
    cases,
    clocks,
    gates,
    governance,
    imports,
    overview,
    packages,
    participants,
    places,
    records,
    rehearsals,
    schemes,
    studies,
    trail,
)
from trialdm.services.packages import Request
from trialdm.services.unit import Unit

DAY = date(2025, 11, 3)


def refused(world: World, name: str, work: Callable[[Unit], Any], site: str = "S01") -> TrialError:
    with pytest.raises(TrialError) as refusal:
        world.run(name, work, site)
    return refusal.value


# --- the gate --------------------------------------------------------------------------------------------------------


def test_ac_13_a_primary_procedure_is_refused_and_pointed_to_the_trial(audit: World) -> None:
    notified(audit)
    ident = case(audit)
    for complete in (True, False):
        with pytest.raises(Refused) as refusal:
            operated(audit, ident, DAY, au_timing=1, complete=complete)
        assert refusal.value.code == "GATE.GOV-59"
        assert "trial" in refusal.value.needs
        assert "incident" in refusal.value.needs


def test_ac_14_without_a_notice_to_the_governance_lead_it_is_refused_and_says_what_to_do(audit: World) -> None:
    ident = case(audit)
    with pytest.raises(Refused) as refusal:
        operated(audit, ident, DAY)
    assert refusal.value.code == "GATE.GOV-53"
    assert refusal.value.message.endswith("Inform the clinical governance lead first.")
    assert "page of the organisation" in refusal.value.needs
    entry = audit.run("auditor", lambda unit: governance.inform(unit, AUDIT, "S01", DAY - timedelta(days=1), "By letter"), "S01")
    with pytest.raises(Refused, match="has not confirmed the notice"):
        operated(audit, ident, DAY)
    audit.run("lead", lambda unit: governance.confirm(unit, AUDIT, "S01", entry, DAY), "S01")
    assert operated(audit, ident, DAY).alerts == ()


def test_a_procedure_before_the_notice_is_saved_and_flagged(audit: World) -> None:
    notified(audit, on=DAY + timedelta(days=7))
    view = operated(audit, case(audit), DAY)
    assert view.status == "complete"
    (alert,) = view.alerts
    assert alert.id == "GOV-53"
    assert "came before the clinical governance lead confirmed the notice" in alert.message


def test_ac_16_selection_by_a_team_is_asked_for_under_final_guidance_only(audit: World) -> None:
    notified(audit)
    final = operated(audit, case(audit), DAY, au_mdt=0)
    assert [alert.id for alert in final.alerts] == ["GOV-55"]
    audit.run("manager-of-audit", lambda unit: governance.follow(unit, AUDIT, "consultation-2025", unit.today, "A demonstration"))
    draft = operated(audit, case(audit), DAY, au_mdt=0)
    assert draft.alerts == ()
    audit.run("manager-of-audit", lambda unit: governance.follow(unit, AUDIT, "IPG804", unit.today, "Published"))
    again = operated(audit, case(audit), DAY, au_mdt=0)
    assert [alert.id for alert in again.alerts] == ["GOV-55"]
    with audit.units.reading(audit.actor("manager-of-audit")) as unit:
        assert governance.followed(unit, studies.protocol(unit, AUDIT)).version.terms["treat"] == "secondary procedure"


@pytest.mark.parametrize(
    "given",
    [{"au_uncert": 0}, {"au_uncert": None}, {"au_sdm_date": None}, {"au_sdm_date": (DAY + timedelta(days=1)).isoformat()}],
    ids=["not explained", "unknown", "no conversation", "conversation afterwards"],
)
def test_without_a_shared_decision_it_is_refused_until_the_lapse_was_reported_and_then_flagged(audit: World, given: dict[str, Any]) -> None:
    notified(audit)
    ident = case(audit)
    with pytest.raises(Refused) as refusal:
        operated(audit, ident, DAY, **given)
    assert refusal.value.code == "GATE.GOV-54"
    assert operated(audit, ident, DAY, complete=False, **given).status == "draft"
    shown = {"au_uncert": 0} if given == {"au_uncert": None} else given
    other = case(audit)
    view = operated(audit, other, DAY, **shown, au_lapse_date=(DAY + timedelta(days=3)).isoformat())
    assert {alert.id for alert in view.alerts} == {"GOV-54"}


def test_a_surgeon_without_credential_is_flagged_and_an_unlisted_one_can_be_entered(audit: World) -> None:
    notified(audit, on=date(2024, 12, 1))
    early = operated(audit, case(audit), date(2024, 12, 20))
    assert [alert.id for alert in early.alerts] == ["GOV-52"]
    unlisted = operated(audit, case(audit), DAY, au_surgeon=None)
    assert (unlisted.status, [alert.id for alert in unlisted.alerts]) == ("complete", ["GOV-52"])


def test_the_answer_is_kept_with_the_form_and_can_be_given_again(audit: World) -> None:
    notified(audit, on=DAY + timedelta(days=7))
    operated(audit, case(audit), DAY)
    operated(audit, case(audit), DAY, complete=False, au_sdm_date=None)
    with audit.units.reading(audit.actor("sponsor-of-audit")) as unit:
        answers = [one for one in gates.replay(unit, AUDIT) if one.act == "save AUD1"]
    assert [one.different for one in answers] == ["", ""]


def test_the_number_is_filled_and_the_states_follow(audit: World) -> None:
    notified(audit)
    ident = case(audit)
    view = operated(audit, ident, DAY)
    assert view.answers.values["au_id"] == "S01-A-0001"
    followed(audit, ident, "M03", DAY + timedelta(days=90))

    def states(unit: Unit) -> list[str]:
        return [row.state for row in studies.history(unit, AUDIT, "case", ident)]

    assert audit.read("lead", states) == ["recorded", "operated", "follow_up"]
    month = audit.read("lead", lambda unit: records.view(unit, places.locate(unit, AUDIT, ident, "M03", "AUD2")))
    assert month.answers.values["au2_month"] == 3


def test_a_case_that_was_ended_by_mistake_goes_on(audit: World) -> None:
    notified(audit)
    ident = case(audit)
    operated(audit, ident, DAY)
    followed(audit, ident, "M03", DAY + timedelta(days=90))
    found = []
    for why in (1, 2, 0):

        def end(unit: Unit, why: int = why) -> str:
            place = places.locate(unit, AUDIT, ident, "END", cases.END)
            version = records.view(unit, place).version or None
            answers = {"au3_reason": why, "au3_date": today(audit).isoformat()}
            records.save(unit, place, records.Submission(answers, {}, True, "source: the letter", (), version))
            return studies.state(unit, AUDIT, "case", ident)

        found.append(audit.run("auditor", end))
    assert found == ["died", "closed", "follow_up"]


# --- who sees which --------------------------------------------------------------------------------------------------


def test_clinicians_see_what_they_entered_or_operated_on_and_leads_everything_of_their_organisation(audit: World) -> None:
    notified(audit)
    notified(audit, "S02")
    mine, theirs, elsewhere = case(audit), case(audit, name="second"), case(audit, "S02")
    operated(audit, theirs, DAY, name="second", au_surgeon=1)

    def seen(name: str, site: str = "S01") -> set[str]:
        return audit.read(name, lambda unit: {row.id for row, _ in participants.listed(unit, AUDIT)}, site)

    assert seen("auditor") == {mine, theirs}
    assert seen("second") == {theirs}
    assert seen("lead") == {mine, theirs}
    assert seen("auditor", "S02") == seen("lead", "S02") == {elsewhere}
    assert seen("sponsor-of-audit") == seen("inspector-of-audit") == {mine, theirs, elsewhere}
    assert refused(audit, "second", lambda unit: participants.find(unit, AUDIT, mine)).code == "ROLE.OWN_CASES"
    assert refused(audit, "auditor", lambda unit: participants.find(unit, AUDIT, elsewhere)).code == "ROLE.SITE"
    assert refused(audit, "lead", lambda unit: participants.add(unit, AUDIT, "S01")).code == "ROLE.CASE.ADD"


OVER_PARTICIPANTS: list[Callable[[Unit, str, str], Any]] = [
    lambda unit, trial, ident: participants.find(unit, trial, ident),
    lambda unit, trial, ident: participants.listed(unit, trial),
    lambda unit, trial, ident: participants.add(unit, trial, "S01"),
    lambda unit, trial, ident: trail.of_trial(unit, trial, trail.Filter()),
    lambda unit, trial, ident: packages.ask_for(unit, trial, Request()),
    lambda unit, trial, ident: imports.read_file(unit, trial, "AUD1", "participant,visit\n"),
]


@pytest.mark.parametrize("work", OVER_PARTICIPANTS[:5])
@pytest.mark.parametrize("role", ["auditor", "second", "lead"])
def test_the_people_of_the_audit_reach_no_participant_of_the_trial(sqlite_audit: World, role: str, work: Callable[..., Any]) -> None:
    ident = builders.screened(sqlite_audit)
    assert isinstance(refused(sqlite_audit, role, lambda unit: work(unit, TRIAL, ident)), Forbidden)


@pytest.mark.parametrize("work", OVER_PARTICIPANTS[:5])
@pytest.mark.parametrize(("role", "site"), [key for key in builders.CAST if key[0] != "sponsor"], ids="-".join)
def test_the_people_of_the_trial_reach_no_case(sqlite_audit: World, role: str, site: str, work: Callable[..., Any]) -> None:
    """In the furnished world every role of the trial is held for all studies of the instance, the audit among them."""
    notified(sqlite_audit)
    ident = case(sqlite_audit)
    assert isinstance(refused(sqlite_audit, role, lambda unit: work(unit, AUDIT, ident), site or "S01"), Forbidden)
    actor = sqlite_audit.actors[(role, site)]
    with sqlite_audit.units.reading(actor) as unit:
        assert overview.tasks(unit, AUDIT) == []
        assert not unit.may("case.report", AUDIT)


# --- nobody is allocated ---------------------------------------------------------------------------------------------

OF_ALLOCATION: list[Callable[[Unit, str], Any]] = [
    lambda unit, ident: schemes.prepare(unit, AUDIT),
    lambda unit, ident: allocations.randomise(unit, AUDIT, ident, "key"),
    lambda unit, ident: schemes.needed(unit, studies.protocol(unit, AUDIT)),
    lambda unit, ident: rehearsals.ask_for(unit, AUDIT, rehearsals.Asked(trials=10)),
    lambda unit, ident: gates.ask(unit, AUDIT, "randomise", site="S01"),
]


@pytest.mark.parametrize("work", OF_ALLOCATION)
def test_there_is_no_allocation(sqlite_audit: World, work: Callable[[Unit, str], Any]) -> None:
    ident = case(sqlite_audit)
    problem = refused(sqlite_audit, "trial-manager", lambda unit: work(unit, ident))
    assert (type(problem), problem.code) == (Missing, "ALLOC.NO_SCHEME")


def test_every_other_question_to_the_gate_has_an_answer(audit: World) -> None:
    with audit.units.reading(audit.actor("manager-of-audit")) as unit:
        for action in ACTIONS:
            if action not in ("randomise",):
                gates.ask(unit, AUDIT, action, site="S01")


def test_packages_hold_cases_and_nothing_of_an_allocation(audit: World, tmp_path: Any) -> None:
    notified(audit)
    ident = case(audit)
    operated(audit, ident, DAY)
    with audit.units.reading(audit.actor("sponsor-of-audit")) as unit:
        manifest = packages.write(unit, AUDIT, tmp_path / "out", Request(formats=("csv",)))
    assert {table["name"] for table in manifest["tables"]} == {"participants", "visits", "aud1", "aud2", "aud3"}
    header = next((tmp_path / "out").rglob("participants.csv")).read_text("utf-8").splitlines()[0]
    assert "rand" not in header
    assert "arm" not in header


# --- governance ------------------------------------------------------------------------------------------------------


def test_a_notice_is_confirmed_by_somebody_else_once(audit: World) -> None:
    day = today(audit)
    entry = audit.run("auditor", lambda unit: governance.inform(unit, AUDIT, "S01", day, "Letter"), "S01")
    wrong = [
        (Invalid, "lead", lambda unit: governance.confirm(unit, AUDIT, "S01", entry, day - timedelta(days=1))),
        (Missing, "lead", lambda unit: governance.confirm(unit, AUDIT, "S01", entry + 1, day)),
        (Forbidden, "auditor", lambda unit: governance.confirm(unit, AUDIT, "S01", entry, day)),
        (Forbidden, "lead", lambda unit: governance.inform(unit, AUDIT, "S01", day, "Letter")),
        (Refused, "auditor", lambda unit: governance.inform(unit, AUDIT, "S01", day + timedelta(days=1), "Letter")),
        (Invalid, "auditor", lambda unit: governance.inform(unit, AUDIT, "S01", day, " ")),
    ]
    for kind, name, work in wrong:
        assert isinstance(refused(audit, name, work), kind)
    audit.run("lead", lambda unit: governance.confirm(unit, AUDIT, "S01", entry, day), "S01")
    again = refused(audit, "lead", lambda unit: governance.confirm(unit, AUDIT, "S01", entry, day))
    assert isinstance(again, Conflict)


def test_a_person_with_both_roles_does_not_confirm_their_own_notice(audit: World) -> None:
    from trialdm.services import people

    def both(unit: Unit) -> None:
        people.give(unit, people.by_email(unit, "lead.s01@audit.example"), "auditor", AUDIT, "S01")

    audit.run("system-administrator", both)
    with audit.units.reading(audit.actor("lead", "S01")) as unit:
        actor = people.actor(unit, people.by_email(unit, "lead.s01@audit.example"), "test")
    day = today(audit)
    entry = audit.units.run(actor, lambda unit: governance.inform(unit, AUDIT, "S01", day, "Letter"))
    with pytest.raises(Forbidden, match="own notice"):
        audit.units.run(actor, lambda unit: governance.confirm(unit, AUDIT, "S01", entry, day))


def test_procedures_of_a_month_are_compared_with_the_audit(audit: World) -> None:
    notified(audit, on=date(2025, 10, 1))
    for _ in range(2):
        operated(audit, case(audit), DAY)
    audit.run("lead", lambda unit: governance.list_procedures(unit, AUDIT, "S01", "2025-11", 3, "Theatre list"), "S01")
    found = audit.read("lead", lambda unit: governance.organisation(unit, AUDIT, "S01"))
    november = next(month for month in found.months if month.month == "2025-11")
    assert (november.procedures, november.audited, november.gap) == (3, 2, 1)
    late = [due for due in found.deadlines if due.rule == "GOV-56" and due.late(today(audit))]
    assert "1 procedure of 2025-11 without audit entry" in [due.title for due in late]
    operated(audit, case(audit), DAY)
    closed = audit.read("lead", lambda unit: governance.organisation(unit, AUDIT, "S01"))
    assert closed.unaudited == 0
    for month, problem in (("2026-03", Refused), ("2026-13", Invalid)):
        assert isinstance(refused(audit, "lead", lambda unit, m=month: governance.list_procedures(unit, AUDIT, "S01", m, 1, "x")), problem)


def test_a_review_is_planned_held_and_closed(audit: World) -> None:
    notified(audit)
    day = today(audit)

    def act(work: Callable[..., Any], *given: Any) -> Any:
        return audit.run("lead", lambda unit: work(unit, AUDIT, "S01", *given), "S01")

    def state() -> str:
        return audit.read("lead", lambda unit: governance.organisation(unit, AUDIT, "S01")).reviews[-1].state

    assert act(governance.plan_review, day + timedelta(days=3)) == 1
    assert state() == "planned"
    with pytest.raises(WrongState):
        act(governance.agree_action, 1, "Ask for theatre time")
    assert act(governance.hold_review, day, "Minutes in the governance folder") == 1
    assert state() == "held"
    assert act(governance.agree_action, 1, "Ask for theatre time") == 1
    assert state() == "actions_open"
    act(governance.close_action, 1, 1, "Granted")
    assert state() == "closed"
    with pytest.raises(Conflict):
        act(governance.close_action, 1, 1, "Again")
    assert isinstance(refused(audit, "auditor", lambda unit: governance.hold_review(unit, AUDIT, "S01", unit.today, "x")), Forbidden)
    due = [d for d in audit.read("lead", lambda unit: clocks.listed(unit, AUDIT)) if d.rule == "GOV-57"]
    assert [d.done for d in due] == [None, day]


def test_appraisals_are_those_of_the_operator(audit: World) -> None:
    notified(audit)
    operated(audit, case(audit), DAY)
    day = today(audit)
    audit.run("auditor", lambda unit: governance.appraise(unit, AUDIT, "S01", 1, day, "With the clinical director"), "S01")
    assert isinstance(refused(audit, "second", lambda unit: governance.appraise(unit, AUDIT, "S01", 1, day, "x")), Forbidden)
    assert isinstance(refused(audit, "lead", lambda unit: governance.appraise(unit, AUDIT, "S01", 3, day, "x")), Missing)
    due = [d for d in audit.read("lead", lambda unit: clocks.listed(unit, AUDIT)) if d.rule == "GOV-58"]
    assert [(d.due, d.done) for d in due] == [(date(2027, 3, 10), None), (date(2026, 11, 3), day)]


def test_a_trial_has_no_organisations(audit: World) -> None:
    for work in (
        lambda unit: governance.organisation(unit, TRIAL, "S01"),
        lambda unit: governance.inform(unit, TRIAL, "S01", unit.today, "x"),
        lambda unit: governance.follow(unit, TRIAL, "IPG804", unit.today, "x"),
        lambda unit: cases.require_pathway(unit, TRIAL),
    ):
        assert refused(audit, "lead", work).code == "PATHWAY.TRIAL"


def test_a_fact_of_the_trial_office_stays_with_it(audit: World) -> None:
    fact = Fact("governance-seen", today(audit), "S01")
    assert isinstance(refused(audit, "auditor", lambda unit: approvals.state(unit, AUDIT, fact)), Forbidden)
