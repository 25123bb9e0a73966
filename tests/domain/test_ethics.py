"""The gate: for every rule at least one act that it allows and one that it refuses, and how answers are put together."""

import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest

from tests.domain.gate_cases import NURSE as PERSON
from tests.domain.gate_cases import STANDING, TODAY, case, having, line, protocol, shipped
from trialdm.domain.errors import Refused
from trialdm.domain.ethics import (
    ACTIONS,
    BODIES,
    GOOD,
    RULES,
    Answer,
    Approval,
    Capacity,
    Condition,
    ConsentGiven,
    Delegation,
    Document,
    Person,
    Register,
    Standing,
    Training,
    basis,
    case_of,
    gate,
    holds,
)
from trialdm.domain.protocol import Site
from trialdm.domain.roles import Grant

BLINDED_STATISTICIAN = Person("p4", "Statistician", (Grant("statistician-blinded", "pre-tmr"),))


def without(body: str) -> Register:
    return having(approvals=tuple(a for a in shipped().approvals if a.body != body))


def and_then(**row: Any) -> Register:
    """The shipped register with one more decision."""
    return having(approvals=(*shipped().approvals, Approval(**{"second_check_by": "sponsor", **row})))


def standing(**more: Any) -> Standing:
    return replace(STANDING, **more)


def consented(day: date, **documents: int) -> Standing:
    return standing(consent=ConsentGiven(datetime(day.year, day.month, day.day, 9, 0), documents or {"PIS": 2, "ICF": 2}))


def messages(answer: Answer, rule: str) -> list[str]:
    """What a rule says against the act; warnings apart."""
    return [reason.message for reason in answer.reasons if reason.rule == rule and reason.severity != "warn"]


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_stands_opposed_to_the_usual_case(action: str) -> None:
    answer = gate(case(action))
    assert [reason for reason in answer.reasons if reason.severity != "clock"] == []
    assert answer.allowed
    answer.require()


OPINION = "Preventive TMR may only be done inside a study with a favourable ethics opinion."
NOT_OPEN = "Site S01 was not open on 2026-04-20: it is"
NO_REGISTRY = "Trial must be registered before the first participant."

#: (rule, action, what is different, the messages of that rule)
REFUSED: list[Any] = [
    ("GOV-02", "consent", {"register": without("rec")}, [OPINION]),
    ("GOV-02", "randomise", {"register": without("rec")}, [OPINION]),
    ("GOV-02", "operate", {"register": without("rec")}, [OPINION]),
    ("GOV-02", "consent", {"register": and_then(body="rec", status="suspended", decided_on=TODAY)}, [OPINION]),
    ("GOV-02", "consent", {"register": and_then(body="rec", status="withdrawn", decided_on=TODAY)}, [OPINION]),
    ("GOV-02", "consent", {"on": date(2025, 2, 23)}, [OPINION]),
    (
        "GOV-02",
        "consent",
        {"on": date(2025, 2, 24)},
        [
            "3 ethics conditions to be met before the start without evidence: Send the committee the contact details of "
            "the independent adviser named in the information sheet; Confirm how a positive answer about self-harm is acted on "
            "the same day at every site; Register the trial on a public registry before the first participant"
        ],
    ),
    ("GOV-03", "open-trial", {"register": without("rec")}, ["Ethics opinion is 'not submitted'. Recruitment cannot open."]),
    (
        "GOV-03",
        "open-trial",
        {"register": and_then(body="rec", status="further_information", decided_on=TODAY)},
        ["Ethics opinion is 'further information'. Recruitment cannot open."],
    ),
    (
        "GOV-03",
        "open-trial",
        {"register": and_then(body="rec", status="favourable", decided_on=date(2026, 1, 1), effective_to=date(2026, 4, 19))},
        ["Ethics opinion is 'expired on 2026-04-19'. Recruitment cannot open."],
    ),
    (
        "GOV-04",
        "open-trial",
        {
            "register": and_then(
                body="rec",
                status="favourable_with_conditions",
                decided_on=date(2026, 4, 1),
                conditions=(
                    Condition("Later", pre_start=False),
                    Condition("Met tomorrow", True, date(2026, 4, 21), "letter"),
                    Condition("No evidence", True, date(2026, 4, 1)),
                    Condition("Met", True, TODAY, "letter"),
                ),
            )
        },
        ["2 ethics conditions to be met before the start without evidence: Met tomorrow; No evidence"],
    ),
    ("GOV-05", "consent", {"register": without("hra_hcrw")}, ["No HRA and HCRW approval is in force for England."]),
    (
        "GOV-05",
        "randomise",
        {"register": without("nrs"), "site": protocol().site("S09")},
        ["No NHS Scotland management permission is in force for Scotland."],
    ),
    (
        "GOV-05",
        "activate-site",
        {"register": without("hsc"), "site": protocol().site("S14")},
        ["No HSC permission is in force for Northern Ireland."],
    ),
    (
        "GOV-05",
        "open-trial",
        {"register": having(approvals=tuple(a for a in shipped().approvals if a.body not in ("hra_hcrw", "nrs", "hsc")))},
        [
            "No HRA and HCRW approval is in force for England.",
            "No NHS Scotland management permission is in force for Scotland.",
            "No HRA and HCRW approval is in force for Wales.",
            "No HSC permission is in force for Northern Ireland.",
        ],
    ),
    (
        "GOV-06",
        "activate-site",
        {"on": date(2025, 5, 1)},
        ["Site S01 has not confirmed capacity and capability."],
    ),
    (
        "GOV-06",
        "activate-site",
        {"register": and_then(body="site_cc", site="S01", status="confirmed", decided_on=TODAY)},
        ["Site S01 has not confirmed capacity and capability."],
    ),
    ("GOV-08", "consent", {"site_state": "green_light"}, [f"{NOT_OPEN} green light given."]),
    ("GOV-08", "randomise", {"site_state": "suspended"}, [f"{NOT_OPEN} suspended."]),
    (
        "GOV-08",
        "consent",
        {"register": without("site_greenlight")},
        [f"{NOT_OPEN} without the sponsor's green light on that day."],
    ),
    (
        "GOV-08",
        "consent",
        {"register": and_then(body="site_greenlight", site="S01", status="suspended", decided_on=TODAY)},
        [f"{NOT_OPEN} without the sponsor's green light on that day."],
    ),
    ("GOV-09", "consent", {"register": without("registry")}, [NO_REGISTRY]),
    ("GOV-09", "randomise", {"register": without("registry")}, [NO_REGISTRY]),
    (
        "GOV-12",
        "consent",
        {"register": having(documents=())},
        [f"No {kind} is approved for use at site S01 on 2026-04-20." for kind in ("PIS", "ICF")],
    ),
    (
        "GOV-12",
        "randomise",
        {"participant": consented(date(2026, 4, 13), PIS=1, ICF=2)},
        ["PIS v1.0 was not approved for use at this site on 2026-04-13."],
    ),
    (
        "GOV-12",
        "randomise",
        {"site": protocol().site("S14"), "participant": consented(date(2026, 4, 12))},
        [f"{kind} v2.0 was not approved for use at this site on 2026-04-12." for kind in ("PIS", "ICF")],
    ),
    (
        "GOV-12",
        "randomise",
        {"participant": consented(date(2025, 5, 1), PIS=1, ICF=1)},
        [f"{kind} v1.0 was not approved for use at this site on 2025-05-01." for kind in ("PIS", "ICF")],
    ),
    ("GOV-12", "randomise", {"participant": consented(date(2026, 4, 13), PIS=9, ICF=2)}, ["PIS 9 is not on record."]),
    ("GOV-13", "operate", {"participant": standing(consent=None)}, ["No consent is on record for this participant."]),
    ("GOV-13", "save-form", {"participant": standing(consent=None)}, ["No consent is on record for this participant."]),
    (
        "GOV-13",
        "randomise",
        {"participant": consented(date(2026, 4, 21))},
        ["Consent is dated 2026-04-21, after 2026-04-20."],
    ),
    (
        "GOV-14",
        "consent",
        {"register": having(delegations=())},
        ["Nurse One is not delegated for taking consent at site S01 on 2026-04-20."],
    ),
    (
        "GOV-14",
        "save-form",
        {"form": protocol().form("ELIG"), "register": having(delegations=())},
        ["Nurse One is not delegated for confirming eligibility at site S01 on 2026-04-20."],
    ),
    (
        "GOV-14",
        "randomise",
        {"register": having(delegations=(line("p1", "S01", frozenset({"crf"})),), trainings=())},
        [
            "Nurse One is not delegated for randomising at site S01 on 2026-04-20.",
            "Nurse One has no valid training in good clinical practice on 2026-04-20.",
        ],
    ),
    (
        "GOV-14",
        "operate",
        {"register": having(trainings=(Training("p1", "gcp", date(2023, 1, 1), date(2026, 4, 19)),))},
        ["Nurse One has no valid training in good clinical practice on 2026-04-20."],
    ),
    ("GOV-40", "open-trial", {"register": without("insurance")}, ["No insurance or indemnity is in force."]),
    (
        "GOV-40",
        "consent",
        {"on": date(2031, 1, 1)},
        ["No insurance or indemnity is in force. It ended on 2030-12-31."],
    ),
    (
        "GOV-43",
        "save-form",
        {"participant": standing(withdrawal_level=3)},
        ["Participant allows no further data collection (full withdrawal)."],
    ),
    ("GOV-44", "randomise", {"trial_state": "paused"}, ["The trial is paused."]),
    ("GOV-44", "randomise", {"site_state": "suspended"}, ["Site S01 is suspended."]),
    ("GOV-44", "randomise", {"randomised_count": 220}, ["The target of 220 participants has been reached."]),
    ("GOV-44", "randomise", {"participant": standing(randomised=True)}, ["The participant has been randomised already."]),
    ("GOV-44", "randomise", {"participant": standing(state="withdrawn")}, ["The participant is recorded as withdrawn."]),
    ("GOV-44", "randomise", {"participant": standing(state="died")}, ["The participant is recorded as died."]),
    ("GOV-44", "randomise", {"participant": standing(consent=None)}, ["No valid consent is on record."]),
    ("GOV-44", "randomise", {"participant": standing(eligibility_complete=False)}, ["The eligibility form is not complete."]),
    (
        "GOV-44",
        "randomise",
        {"participant": standing(eligibility_failures=("Aged 18 or over", "Previous TMR"))},
        ["Eligibility is not met: Aged 18 or over; Previous TMR."],
    ),
    (
        "GOV-44",
        "randomise",
        {"participant": standing(eligibility_signed=False)},
        ["Eligibility has not been confirmed by a doctor."],
    ),
    (
        "GOV-44",
        "randomise",
        {"participant": standing(baseline_missing=("PAIN", "CLIN"))},
        ["Baseline is not complete: PAIN, CLIN."],
    ),
    ("GOV-44", "randomise", {"participant": standing(factors_missing=("limb",))}, ["The allocation needs answers to: limb."]),
    (
        "GOV-44",
        "randomise",
        {"participant": standing(surgery_planned=date(2026, 4, 19))},
        ["Surgery was planned for 2026-04-19, which has passed."],
    ),
    (
        "GOV-44",
        "randomise",
        {"participant": standing(surgery_planned=date(2026, 5, 5))},
        ["Surgery is planned for 2026-05-05, more than 14 days ahead."],
    ),
    ("GOV-45", "export-unblinded", {"person": PERSON}, ["Hidden to keep you blinded."]),
    ("GOV-45", "export-unblinded", {"person": PERSON, "unblinded": True}, ["Hidden to keep you blinded."]),
    ("GOV-45", "export-unblinded", {"person": BLINDED_STATISTICIAN}, ["Hidden to keep you blinded."]),
    (
        "GOV-45",
        "export-unblinded",
        {"person": Person("p3", "PI", (Grant("principal-investigator", "pre-tmr", "S01"),))},
        ["Hidden to keep you blinded."],
    ),
    ("GOV-49", "export-unblinded", {"register": shipped()}, ["The statistical analysis plan is not signed."]),
    ("GOV-49", "export-unblinded", {"trial_state": "follow_up"}, ["The database is not locked: the trial is in follow-up."]),
    ("GOV-52", "randomise", {"participant": standing(surgeon_planned=None)}, ["No nerve surgeon is named for the operation."]),
    (
        "GOV-52",
        "operate",
        {"participant": standing(surgeon_planned=8)},
        ["Surgeon 8 is not credentialed for TMR on 2026-04-30."],
    ),
    (
        "GOV-52",
        "randomise",
        {"register": having(credentials=(replace(shipped().credentials[0], valid_to=date(2026, 4, 29)),))},
        ["Surgeon 7 is not credentialed for TMR on 2026-04-30."],
    ),
    (
        "GOV-52",
        "randomise",
        {"register": having(credentials=(replace(shipped().credentials[0], cases=4),))},
        ["Surgeon 7 has 4 supervised TMR cases; 5 are needed."],
    ),
    (
        "GOV-52",
        "randomise",
        {"register": having(credentials=(replace(shipped().credentials[0], site="S02"),))},
        ["Surgeon 7 is not credentialed for TMR on 2026-04-30."],
    ),
]


@pytest.mark.parametrize(("rule", "action", "different", "expected"), REFUSED)
def test_is_refused(rule: str, action: str, different: dict[str, Any], expected: list[str]) -> None:
    answer = gate(case(action, **different))
    assert messages(answer, rule) == expected
    assert not answer.allowed
    with pytest.raises(Refused) as refusal:
        answer.require()
    assert f"GATE.{rule}" in [detail.code for detail in refusal.value.details]
    assert all(detail.needs for detail in refusal.value.details)


#: (rule, action, what is different): close to a refusal, but allowed by this rule
ALLOWED: list[tuple[str, str, dict[str, Any]]] = [
    ("GOV-02", "consent", {"on": date(2025, 3, 17)}),
    ("GOV-02", "consent", {"register": and_then(body="rec", status="withdrawn", decided_on=date(2026, 4, 21))}),
    ("GOV-02", "consent", {"protocol": replace(protocol(), pathway="secondary"), "register": without("rec")}),
    ("GOV-03", "open-trial", {"on": date(2025, 2, 24)}),
    ("GOV-03", "open-trial", {"register": and_then(body="rec", status="favourable", decided_on=TODAY, effective_to=TODAY)}),
    ("GOV-04", "open-trial", {"on": date(2025, 3, 17)}),
    ("GOV-04", "open-trial", {"register": without("rec")}),
    ("GOV-05", "consent", {"register": without("nrs")}),
    ("GOV-05", "open-trial", {"register": without("hra_hcrw")}),
    ("GOV-05", "activate-site", {"site": protocol().site("S12")}),
    ("GOV-06", "activate-site", {"on": date(2025, 5, 2)}),
    ("GOV-08", "consent", {"on": date(2025, 5, 8)}),
    ("GOV-08", "consent", {"register": and_then(body="site_greenlight", site="S02", status="suspended", decided_on=TODAY)}),
    ("GOV-09", "consent", {"on": date(2025, 3, 17)}),
    ("GOV-12", "randomise", {"participant": consented(date(2026, 3, 1), PIS=1, ICF=1)}),
    ("GOV-12", "randomise", {"participant": consented(date(2026, 3, 2), PIS=2, ICF=2)}),
    ("GOV-12", "randomise", {"site": protocol().site("S14"), "participant": consented(date(2026, 4, 12), PIS=1, ICF=1)}),
    ("GOV-12", "randomise", {"site": protocol().site("S14"), "participant": consented(date(2026, 4, 13), PIS=2, ICF=2)}),
    ("GOV-13", "save-form", {"participant": standing(consent=None), "form": protocol().form("SCRN")}),
    ("GOV-13", "save-form", {"participant": standing(consent=None), "form": protocol().form("CONS")}),
    ("GOV-13", "save-form", {"participant": consented(date(2026, 4, 21))}),
    ("GOV-13", "operate", {"participant": consented(TODAY)}),
    ("GOV-14", "consent", {"register": having(delegations=(line("p1", "S01", frozenset({"consent"}), TODAY, end=TODAY),))}),
    ("GOV-14", "operate", {"register": having(trainings=(Training("p1", "gcp", TODAY),))}),
    ("GOV-40", "consent", {"on": date(2030, 12, 31)}),
    ("GOV-43", "save-form", {"participant": standing(withdrawal_level=2)}),
    ("GOV-43", "save-form", {"participant": standing(withdrawal_level=3), "form": protocol().form("DEVI")}),
    ("GOV-44", "randomise", {"randomised_count": 219}),
    ("GOV-44", "randomise", {"participant": standing(surgery_planned=TODAY)}),
    ("GOV-44", "randomise", {"participant": standing(surgery_planned=date(2026, 5, 4))}),
    ("GOV-45", "export-blinded", {"person": PERSON}),
    ("GOV-45", "export-unblinded", {"person": BLINDED_STATISTICIAN, "unblinded": True}),
    ("GOV-49", "export-unblinded", {"trial_state": "archived"}),
    ("GOV-52", "operate", {"register": having(credentials=(replace(shipped().credentials[0], cases=5),))}),
    ("GOV-52", "operate", {"participant": standing(surgery_planned=None)}),
]


@pytest.mark.parametrize(("rule", "action", "different"), ALLOWED)
def test_is_allowed_by_the_rule(rule: str, action: str, different: dict[str, Any]) -> None:
    assert messages(gate(case(action, **different)), rule) == []


# --- how answers are put together ------------------------------------------------------------------------------------


def test_all_reasons_at_once() -> None:
    blank = Standing(id="x", state="screened")
    answer = gate(
        case(
            "randomise",
            register=Register(),
            participant=blank,
            trial_state="draft",
            site_state="identified",
            randomised_count=500,
        )
    )
    assert list(dict.fromkeys(reason.rule for reason in answer.reasons)) == [
        "GOV-02", "GOV-05", "GOV-08", "GOV-09", "GOV-12", "GOV-13", "GOV-14", "GOV-40", "GOV-44", "GOV-52",
    ]  # fmt: skip
    with pytest.raises(Refused) as refusal:
        answer.require()
    error = refusal.value
    assert error.code == "GATE.GOV-02"
    assert len(error.details) == len(answer.reasons) == len(set(answer.reasons))
    assert all(reason.message in error.message for reason in answer.reasons if reason.severity == "block")


@pytest.mark.parametrize(
    ("action", "different", "skipped"),
    [
        ("randomise", {}, ""),
        ("randomise", {"participant": None}, "13 17 18 19 26 32 44 52 20"),
        ("randomise", {"person": None}, "14 16"),
        ("consent", {"person": None, "participant": None}, "14 16 17 18 19"),
        ("save-form", {"participant": None}, "13 20 26 43"),
        ("export-unblinded", {"person": None}, "45"),
        ("open-trial", {}, ""),
        ("consent", {"site": None}, "05 08 12 14 17 18 19"),
        ("activate-site", {"site": None}, "05 06 07"),
        ("randomise", {"site": None}, "05 08 12 14 19 26 44"),
    ],
)
def test_what_was_not_evaluated_is_said(action: str, different: dict[str, Any], skipped: str) -> None:
    assert set(gate(case(action, **different)).not_evaluated) == {f"GOV-{number}" for number in skipped.split()}


def test_readiness_of_the_trial_is_judged_without_a_participant() -> None:
    answer = gate(case("randomise", participant=None, trial_state="paused"))
    assert messages(answer, "GOV-44") == ["The trial is paused."]
    assert "GOV-44" in answer.not_evaluated


def test_a_clock_does_not_refuse() -> None:
    answer = gate(case("open-trial", register=without("registry")))
    assert answer.allowed
    assert [(r.rule, r.severity, r.message) for r in answer.reasons] == [("GOV-09", "clock", "Registration is due by 2025-05-25.")]
    answer.require()


@pytest.mark.parametrize("action", ACTIONS)
def test_a_historical_trial_is_not_gated(action: str) -> None:
    past = replace(protocol(), origin="historical")
    answer = gate(case(action, protocol=past, register=Register(), trial_state="draft"))
    assert answer.allowed
    assert answer.reasons == ()
    assert answer.not_evaluated == tuple(rule.id for rule in RULES if action in rule.actions and holds(rule, past))


def test_the_answer_as_json() -> None:
    assert gate(case("randomise", trial_state="paused")).to_json() == {
        "allowed": False,
        "action": "randomise",
        "on": "2026-04-20",
        "reasons": [{"rule": "GOV-44", "severity": "block", "message": "The trial is paused.", "needs": "The trial open to recruitment."}],
        "not_evaluated": [],
    }


# --- the register ----------------------------------------------------------------------------------------------------

ENGLAND, SCOTLAND = Site("S01", "One", "ENG"), Site("S09", "Nine", "SCO")


def rec(status: str, **days: date) -> Approval:
    return Approval("rec", status, second_check_by="sponsor", **days)


def rows(*approvals: Approval) -> Register:
    return Register(approvals=approvals)


JAN, FEB, MAR = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)


@pytest.mark.parametrize(
    ("register", "on", "stands"),
    [
        (rows(rec("favourable", decided_on=FEB)), JAN, False),
        (rows(rec("favourable", decided_on=FEB)), FEB, True),
        (rows(rec("favourable", decided_on=JAN, effective_from=FEB)), JAN, False),
        (rows(rec("favourable", decided_on=JAN, effective_to=FEB)), FEB, True),
        (rows(rec("favourable", decided_on=JAN, effective_to=FEB)), MAR, False),
        (rows(rec("unfavourable", decided_on=JAN)), FEB, False),
        (rows(rec("favourable")), MAR, False),
        (rows(rec("favourable", decided_on=JAN), rec("withdrawn", decided_on=FEB)), JAN, True),
        (rows(rec("favourable", decided_on=JAN), rec("withdrawn", decided_on=FEB)), MAR, False),
        (rows(rec("withdrawn", decided_on=FEB), rec("favourable", decided_on=JAN)), MAR, False),
        (rows(rec("withdrawn", decided_on=JAN), rec("favourable", decided_on=JAN)), JAN, True),
        (rows(rec("favourable", decided_on=JAN), rec("withdrawn", decided_on=JAN)), JAN, False),
    ],
)
def test_the_newest_decision_that_has_begun_stands(register: Register, on: date, stands: bool) -> None:
    assert (register.standing("rec", on) is not None) is stands


@pytest.mark.parametrize(
    ("nations", "nation", "stands"), [((), "SCO", True), (("ENG", "WAL"), "WAL", True), (("ENG", "WAL"), "SCO", False)]
)
def test_an_approval_covers_its_nations(nations: tuple[str, ...], nation: str, stands: bool) -> None:
    register = rows(Approval("hra_hcrw", "granted", nations=nations, decided_on=JAN))
    assert (register.standing("hra_hcrw", FEB, nation=nation) is not None) is stands


def pis(code: int, starts: date, **more: Any) -> Document:
    return Document("PIS", code, f"{code}.0", starts, **{"approved_on": JAN, "effective_from": starts, **more})


TWO = (pis(1, JAN, superseded_on=MAR), pis(2, MAR, sites={"S01": date(2026, 4, 1)}))


@pytest.mark.parametrize(
    ("documents", "site", "on", "code"),
    [
        ((), ENGLAND, MAR, None),
        ((pis(1, FEB),), ENGLAND, JAN, None),
        ((pis(1, FEB),), ENGLAND, FEB, 1),
        ((pis(1, JAN, approved_on=None),), ENGLAND, MAR, None),
        ((pis(1, JAN, approved_on=MAR),), ENGLAND, FEB, None),
        ((pis(1, JAN, nations=("SCO",)),), ENGLAND, FEB, None),
        ((pis(1, JAN, nations=("SCO",)),), SCOTLAND, FEB, 1),
        ((pis(1, JAN, superseded_on=FEB),), ENGLAND, date(2026, 1, 31), 1),
        ((pis(1, JAN, superseded_on=FEB),), ENGLAND, FEB, None),
        (TWO, ENGLAND, date(2026, 2, 28), 1),
        (TWO, ENGLAND, date(2026, 3, 31), 1),
        (TWO, ENGLAND, date(2026, 4, 1), 2),
        (TWO, SCOTLAND, MAR, 2),
        (TWO[::-1], SCOTLAND, MAR, 2),
        ((pis(2, JAN), pis(1, JAN)), ENGLAND, FEB, 2),
        ((pis(1, JAN, superseded_on=FEB), pis(2, date(2026, 5, 1), nations=("SCO",))), ENGLAND, MAR, None),
    ],
)
def test_the_version_in_use_at_a_site(documents: tuple[Document, ...], site: Site, on: date, code: int | None) -> None:
    current = Register(documents=documents).current_document("PIS", site, on)
    assert (current.code if current else None) == code


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        (line("p1", "S01", frozenset({"consent"}), FEB), True),
        (line("p1", "", frozenset({"consent"}), FEB), True),
        (line("p1", "S01", frozenset({"consent"}), FEB, end=FEB), True),
        (line("p1", "S01", frozenset({"consent"}), MAR), False),
        (line("p1", "S01", frozenset({"consent"}), JAN, end=JAN), False),
        (line("p1", "S02", frozenset({"consent"}), JAN), False),
        (line("p2", "S01", frozenset({"consent"}), JAN), False),
        (line("p1", "S01", frozenset({"crf"}), JAN), False),
        (line("p1", "S01", frozenset({"consent"}), JAN, countersigned_on=None), False),
        (line("p1", "S01", frozenset({"consent"}), JAN, signed_on=None), False),
        (line("p1", "S01", frozenset({"consent"}), JAN, countersigned_on=MAR), False),
    ],
)
def test_delegation(line: Delegation, allowed: bool) -> None:
    assert Register(delegations=(line,)).delegated("p1", "S01", "consent", FEB) is allowed


@pytest.mark.parametrize(("on", "found"), [(date(2025, 4, 30), False), (date(2025, 5, 1), True), (date(2027, 5, 1), True),
                                           (date(2027, 5, 2), False)])  # fmt: skip
def test_a_credential_is_valid_between_its_days(on: date, found: bool) -> None:
    assert (shipped().credential(7, on) is not None) is found


def test_a_credential_belongs_to_its_site() -> None:
    assert shipped().credential(7, TODAY, site="S01")
    assert shipped().credential(7, TODAY, site="S02") is None


@pytest.mark.parametrize("status", ["favourable", "submitted"])
def test_what_is_only_asked_for_does_not_stand(status: str) -> None:
    asked = Register(approvals=(Approval("rec", status, submitted_on=TODAY),))
    assert asked.standing("rec", TODAY) is None
    assert (asked.latest("rec", TODAY) is None) is (status in GOOD)


def test_the_latest_of_several_credentials_counts() -> None:
    first = shipped().credentials[0]
    assert having(credentials=(first, replace(first, cases=20))).credential(7, TODAY) == replace(first, cases=20)


def test_the_tables_fit_together() -> None:
    assert {status for statuses in BODIES.values() for status in statuses} >= GOOD


# --- what the register refuses, and what it keeps ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "overlaps"),
    [
        ({"ref": "A"}, {"ref": "B"}, True),
        ({"ref": "A"}, {"ref": "A"}, False),
        ({"ref": "A"}, {"ref": "B", "supersedes": "A"}, False),
        ({"ref": "A", "effective_to": FEB}, {"ref": "B", "decided_on": MAR}, False),
        ({"ref": "A", "effective_to": MAR}, {"ref": "B", "decided_on": MAR}, True),
        ({"ref": "A", "nations": ("ENG",)}, {"ref": "B", "nations": ("SCO",)}, False),
        ({"ref": "A", "site": "S01"}, {"ref": "B", "site": "S02"}, False),
        ({"ref": "A"}, {"ref": "B", "status": "withdrawn"}, False),
    ],
)
def test_two_decisions_in_force_over_the_same_days(old: dict[str, Any], new: dict[str, Any], overlaps: bool) -> None:
    first, second = (Approval(**{"body": "insurance", "status": "in_force", "decided_on": JAN, **raw}) for raw in (old, new))
    assert (Register(approvals=(first,)).overlapping(second) is not None) is overlaps


def test_what_waits_for_a_second_person_does_not_stand() -> None:
    waits = Approval("rec", "favourable", decided_on=JAN, recorded_by="a")
    assert Register(approvals=(waits,)).standing("rec", FEB) is None
    assert Register(approvals=(replace(waits, second_check_by="a"),)).standing("rec", FEB) is None
    assert Register(approvals=(replace(waits, second_check_by="b"),)).standing("rec", FEB)


def test_a_revoked_document_is_not_used() -> None:
    both = (pis(1, JAN), pis(2, FEB, revoked_on=MAR))
    assert Register(documents=both).current_document("PIS", ENGLAND, FEB) == both[1]
    assert Register(documents=both).current_document("PIS", ENGLAND, MAR) == both[0]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_kept_case_gives_the_same_answer_again(action: str) -> None:
    for different in ({}, {"trial_state": "paused"}, {"site_state": "suspended"}, {"person": None}):
        asked = case(action, **different)
        kept = json.loads(json.dumps(basis(asked)))
        assert gate(case_of(kept, asked.protocol, asked.register)) == gate(asked)


def test_a_kept_participant_is_the_same_again() -> None:
    consent = ConsentGiven(datetime(2026, 4, 1, 9, 30), {"PIS": 2}, 3, 0, None, 1, "no relative", TODAY, TODAY)
    standing_ = replace(STANDING, consent=consent, capacity=Capacity(TODAY, True, TODAY), baseline_missing=("PAIN",), procedure_on=TODAY)
    asked = case("randomise", participant=standing_)
    assert case_of(json.loads(json.dumps(basis(asked))), asked.protocol, asked.register).participant == standing_
