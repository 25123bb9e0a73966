"""What the treatment pathway owes by which day, its reviews, and the versions of the guidance."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trialdm.domain import guidance, pathway
from trialdm.domain.ethics import Credential, Fact, Register
from trialdm.domain.ethics.clocks import deadlines
from trialdm.domain.ethics.deadline import Audited, Deadline, Situation
from trialdm.domain.guidance import CONSULTATION, IPG804, Difference
from trialdm.domain.protocol import Protocol

TODAY = date(2026, 5, 10)
SEEN = Fact("governance-seen", date(2026, 1, 20), "S01", about="1", entry=2)
SURGEON = Credential(7, "p7", "Ms Seven", "S01", date(2025, 1, 1), None, 9)


def protocol(**params: int) -> Protocol:
    """As much of a protocol as deadlines look at."""
    return cast(
        Protocol,
        SimpleNamespace(
            param=lambda name, default: params.get(name, default),
            guidance={"id": "IPG804"},
            treats=True,
            historical=False,
            sites=[SimpleNamespace(code="S01")],
        ),
    )


def register(*facts: Fact) -> Register:
    return Register(credentials=(SURGEON,), facts=(SEEN, *facts))


def done(on: date, day: date, site: str = "S01", surgeon: int | None = 7) -> Audited:
    return Audited(site, on, day, surgeon)


def listed(month: str, number: int, on: date) -> Fact:
    return Fact("procedures", on, "S01", about=month, number=number)


def due(rule: str, on_record: Register, *cases: Audited, **params: int) -> list[Deadline]:
    at = Situation(TODAY, protocol(**params), on_record, audited=cases)
    return [one for one in sorted(deadlines(at, pathway.CLOCKS), key=lambda one: one.due) if one.rule == rule]


# --- everybody is audited (GOV-56) -----------------------------------------------------------------------------------

COMPARED = "Procedures of 2026-02 compared with audit records"
FEBRUARY = done(date(2026, 2, 3), date(2026, 2, 5))


@pytest.mark.parametrize(
    ("facts", "cases", "title", "day", "met"),
    [
        ([], [], COMPARED, date(2026, 3, 31), None),
        ([listed("2026-02", 0, date(2026, 3, 4))], [], COMPARED, date(2026, 3, 31), date(2026, 3, 4)),
        ([listed("2026-02", 1, date(2026, 3, 4))], [], "1 procedure of 2026-02 without audit entry", date(2026, 3, 31), None),
        ([listed("2026-02", 3, date(2026, 3, 4))], [FEBRUARY], "2 procedures of 2026-02 without audit entry", date(2026, 3, 31), None),
        (
            [listed("2026-02", 2, date(2026, 3, 4))],
            [FEBRUARY, done(date(2026, 2, 9), date(2026, 4, 20))],
            COMPARED,
            date(2026, 3, 31),
            date(2026, 4, 20),
        ),
        (
            [listed("2026-02", 5, date(2026, 3, 4)), listed("2026-02", 1, date(2026, 3, 9))],
            [FEBRUARY],
            COMPARED,
            date(2026, 3, 31),
            date(2026, 3, 9),
        ),
    ],
    ids=["no list", "none", "one not audited", "two not audited", "entered late", "list corrected"],
)  # fmt: skip
def test_a_month_is_compared_by_the_end_of_the_next(facts: list[Fact], cases: list[Audited], title: str, day: date, met: date) -> None:
    found = {one.title: one for one in due("GOV-56", register(*facts), *cases)}
    assert (found[title].due, found[title].done, found[title].site) == (day, met, "S01")
    assert found[title].late(TODAY) is (met is None or met > day)


def test_months_run_from_the_confirmation_or_the_first_procedure_to_the_last_one_that_has_ended() -> None:
    def months(on_record: Register, *cases: Audited) -> list[str]:
        return [month.month for month in pathway.months(on_record, cases, "S01", TODAY)]

    assert months(register()) == ["2026-01", "2026-02", "2026-03", "2026-04"]
    assert months(register(), done(date(2025, 12, 30), TODAY))[0] == "2025-12"
    assert months(Register()) == []
    assert months(Register(), done(TODAY, TODAY)) == []
    assert months(register(), done(date(2025, 1, 1), TODAY, site="S02"))[0] == "2026-01"


# --- reviews (GOV-57) ------------------------------------------------------------------------------------------------


def test_a_review_is_due_within_six_months_of_the_last_one() -> None:
    assert [(one.due, one.done) for one in due("GOV-57", register())] == [(date(2026, 7, 20), None)]
    held = Fact("review-held", date(2026, 4, 1), "S01", about="1", text="Minutes")
    assert [(one.due, one.done) for one in due("GOV-57", register(held), review_months=2)] == [
        (date(2026, 3, 20), date(2026, 4, 1)),
        (date(2026, 6, 1), None),
    ]
    assert due("GOV-57", Register()) == []


def test_the_states_of_a_review_follow_from_its_facts() -> None:
    day = date(2026, 4, 1)
    facts = [
        (Fact("review-planned", day, "S01", about="1", text="2026-04-20"), "planned"),
        (Fact("review-held", day, "S01", about="1", text="Minutes"), "held"),
        (Fact("review-action", day, "S01", about="1", text="Act", number=1), "actions_open"),
        (Fact("review-closed", day, "S01", about="1", text="Done", number=1), "closed"),
    ]
    for count, (_, state) in enumerate(facts, 1):
        (review,) = pathway.reviews(register(*(fact for fact, _ in facts[:count])), "S01", TODAY)
        assert review.state == state
        assert review.planned_for == date(2026, 4, 20)
    assert pathway.reviews(register(*(fact for fact, _ in facts)), "S02", TODAY) == []


# --- appraisals (GOV-58) ---------------------------------------------------------------------------------------------


def test_an_operator_is_appraised_within_a_year_of_the_first_procedure_and_of_the_last_appraisal() -> None:
    first = done(date(2025, 2, 1), date(2025, 2, 2))
    title = "Outcomes of Ms Seven discussed at the annual appraisal"
    key, by = "appraisal:S01:7:2025-02-01", date(2026, 2, 1)
    assert due("GOV-58", register(), first) == [
        Deadline(key, "GOV-58", title, date(2025, 2, 1), by, ("governance-lead",), None, "S01", person="p7")
    ]
    held = Fact("appraisal", date(2026, 3, 1), "S01", person="p7", number=7)
    assert [(one.due, one.done) for one in due("GOV-58", register(held), first)] == [
        (date(2026, 2, 1), date(2026, 3, 1)),
        (date(2027, 3, 1), None),
    ]
    assert due("GOV-58", register()) == []
    assert due("GOV-58", register(), replace(first, surgeon=None)) == []


# --- the guidance ----------------------------------------------------------------------------------------------------


def test_what_changes_from_the_consultation_to_the_final_guidance() -> None:
    found = {one.what: (one.before, one.after) for one in guidance.differences(CONSULTATION, IPG804)}
    assert found["To treat pain that has developed"] == ("to treat", "secondary procedure")
    assert found["The pain"] == ("intractable pain", "problematic pain")
    assert found["Rule GOV-55"] == ("", "asked for (questions au_mdt, au_mdt_who)")
    assert found["Randomised trials preferred"][1] == ""
    assert found["Selection by a multidisciplinary team"][0] == ""
    assert found["Prevention in research only"][0].startswith("1.5:")
    assert found["Prevention in research only"][1].startswith("1.6:")


def test_the_way_back_is_the_same_turned_round_and_nothing_changes_to_itself() -> None:
    forth, back = guidance.differences(CONSULTATION, IPG804), guidance.differences(IPG804, CONSULTATION)
    assert back == [Difference(one.what, one.after, one.before) for one in forth]
    assert guidance.differences(IPG804, IPG804) == []


def test_every_version_has_words_for_every_term_and_known_topics() -> None:
    for version in guidance.VERSIONS.values():
        assert set(version.terms) == set(guidance.TERMS)
        assert set(version.paragraphs) <= set(guidance.TOPICS)
    assert set(guidance.RULE_TOPICS.values()) <= set(guidance.TOPICS)


@pytest.mark.parametrize(
    ("stated", "facts", "followed", "final"),
    [
        ({"id": "IPG804", "status": "final"}, [], "IPG804", True),
        ({"status": "draft"}, [], "consultation-2025", False),
        ({"id": "IPG804"}, [("consultation-2025", 1)], "consultation-2025", False),
        ({"id": "IPG804"}, [("consultation-2025", 1), ("IPG804", 2)], "IPG804", True),
        ({"id": "IPG804"}, [("consultation-2025", 20)], "IPG804", True),
    ],
)
def test_the_guidance_that_is_followed(stated: dict[str, str], facts: list[tuple[str, int]], followed: str, final: bool) -> None:
    on_record = Register(facts=tuple(Fact("guidance", date(2026, 5, day), about=about) for about, day in facts))
    made: Any = SimpleNamespace(guidance=stated)
    assert guidance.in_use(made, on_record, TODAY).id == followed
    assert guidance.final(made, on_record, TODAY) is final
