"""What cannot be true beside other forms, who may have assessed, and deviations whose rule is kept after all."""

from datetime import date, timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services.test_participation import operated
from tests.services.test_reinstating import dies
from trialdm.domain.errors import Invalid, TrialError, Unanswered
from trialdm.services import disclosures, places, records, removals
from trialdm.services.unit import Unit

WEEK_6 = TODAY + timedelta(days=42)


@pytest.fixture
def ident(sqlite_world: World) -> str:
    person = operated(sqlite_world)
    sqlite_world.at(WEEK_6)
    return person


def visited(world: World, ident: str, visit: str, day: date, **more: Any) -> records.View:
    given = {"vs_done": 1, "vs_date": day.isoformat(), "vs_mode": 3 if visit in ("V05", "V08") else 1, **more}
    missing = {} if "vs_assessor" in given or visit not in ("V04", "V06", "V07", "V09") else {"vs_assessor": "NK"}
    more = {"confirm": ()} if more.pop("unconfirmed", False) else {}
    given.pop("unconfirmed", None)
    return builders.put(world, ident, visit, "VISI", given, only=True, missing=missing, reason="source: the letter", **more)


def refusal(error: TrialError) -> list[str]:
    return [detail.code for detail in error.details]


def deviations(world: World, ident: str) -> list[tuple[int, str, Any, str]]:
    """Row, state, class and rule of each deviation that a visit opened."""

    def work(unit: Unit) -> list[tuple[int, str, Any, str]]:
        place = places.locate(unit, TRIAL, ident, "EV", "DEVI")
        rows = places.book(unit, place).rows("DEVI", "EV")
        said = [(s.instance.row, s.status, s.answers(place.form).values) for s in rows]
        rules = [(row, status, one.get("dv_class"), str(one.get("dv_desc")).split(" ")[0]) for row, status, one in said]
        return [one for one in rules if one[3].startswith("VISI")]

    return world.read("principal-investigator", work)


# --- days of visits --------------------------------------------------------------------------------------------------


def test_no_follow_up_lies_before_randomisation(sqlite_world: World, ident: str) -> None:
    with pytest.raises(Invalid) as refused:
        visited(sqlite_world, ident, "V04", TODAY - timedelta(days=3))
    assert refusal(refused.value) == ["VISI-11"]


@pytest.mark.parametrize(
    ("visit", "day", "asks"),
    [("V05", TODAY + timedelta(days=40), ["VISI-14"]), ("V04", WEEK_6, []), ("V05", TODAY + timedelta(days=42), ["VISI-14"])],
)
def test_a_day_that_belongs_to_another_visit_is_asked_about(
    sqlite_world: World, ident: str, visit: str, day: date, asks: list[str]
) -> None:
    if not asks:
        assert visited(sqlite_world, ident, visit, day, unconfirmed=True).status == "complete"
        return
    with pytest.raises(Unanswered) as asked:
        visited(sqlite_world, ident, visit, day, unconfirmed=True)
    assert refusal(asked.value) == asks


def test_a_baseline_before_consent_is_kept_and_becomes_a_major_deviation(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.consented(world)
    visited(world, ident, "V01", TODAY - timedelta(days=9))
    assert [(kind, rule) for _, _, kind, rule in deviations(world, ident)] == [(2, "VISI-12")]


def test_no_visit_lies_after_the_death_and_no_death_before_a_visit(sqlite_world: World, ident: str) -> None:
    world = sqlite_world
    dies(world, ident)
    world.at(WEEK_6 + timedelta(days=5))
    with pytest.raises(Invalid) as refused:
        visited(world, ident, "V04", WEEK_6 + timedelta(days=2))
    assert refusal(refused.value) == ["CRF.AFTER_DEATH"]
    visited(world, ident, "V04", TODAY + timedelta(days=38))
    given = {"dth_date": (TODAY + timedelta(days=30)).isoformat(), "dth_cause": 1}
    with pytest.raises(Invalid) as refused:
        builders.put(world, ident, "EV", "DETH", given, only=True, reason="source: the letter", role="principal-investigator")
    assert refusal(refused.value) == ["CRF.AFTER_DEATH"]


# --- assessors -------------------------------------------------------------------------------------------------------


def number(world: World, role: str, site: str = "S01") -> int:
    return world.actor(role, site).staff_no


#: Who is named as assessor, and whether that is accepted.
ASSESSORS = [
    ("blinded-assessor", "S01", True),
    ("research-nurse", "S01", True),
    ("research-nurse", "S02", False),
    ("sub-investigator", "S02", False),
    ("surgeon", "S01", False),
    ("principal-investigator", "S01", False),
    ("trial-manager", "S01", False),
]


@pytest.mark.parametrize(("role", "site", "accepted"), ASSESSORS, ids=str)
def test_only_somebody_of_the_site_who_is_blind_can_have_assessed(
    sqlite_world: World, ident: str, role: str, site: str, accepted: bool
) -> None:
    named = number(sqlite_world, role, site)
    if accepted:
        assert visited(sqlite_world, ident, "V04", WEEK_6, vs_assessor=named).status == "complete"
        return
    with pytest.raises(Invalid) as refused:
        visited(sqlite_world, ident, "V04", WEEK_6, vs_assessor=named)
    assert refusal(refused.value) == ["CRF.CODE"]
    assert "people of this site" in refused.value.details[0].message


#: Who is named as the person who took the consent: anybody of the site is, delegated or not, since it is a fact.
TAKERS = [
    ("research-nurse", "S01", True),
    ("blinded-assessor", "S01", True),
    ("research-nurse", "S02", False),
    ("trial-manager", "S01", False),
]


@pytest.mark.parametrize(("role", "site", "accepted"), TAKERS, ids=str)
def test_whoever_took_a_consent_works_at_the_site(sqlite_world: World, role: str, site: str, accepted: bool) -> None:
    ident = builders.ready(sqlite_world)
    with sqlite_world.units.reading(sqlite_world.actor("research-nurse")) as unit:
        said = records.view(unit, places.locate(unit, TRIAL, ident, "V01", "CONS")).answers.to_json()["answers"]
    given = {**said, "con_taker": number(sqlite_world, role, site)}
    reason = "source: the signed form"
    if accepted:
        assert builders.put(sqlite_world, ident, "V01", "CONS", given, only=True, reason=reason).answers.values["con_taker"]
        return
    with pytest.raises(Invalid) as refused:
        builders.put(sqlite_world, ident, "V01", "CONS", given, only=True, reason=reason)
    assert refusal(refused.value) == ["CRF.CODE"]


def test_somebody_who_learned_the_allocation_assesses_no_more_and_stays_where_they_were_named(sqlite_world: World, ident: str) -> None:
    world, assessor = sqlite_world, sqlite_world.actor("blinded-assessor")
    visited(world, ident, "V04", WEEK_6, vs_assessor=assessor.staff_no)

    def learns(unit: Unit) -> None:
        row = disclosures.note(unit, TRIAL, ident, assessor.id, "accidental", reason_code="3")
        unit.record("allocation.learned", row, trial=TRIAL, entity="participant", entity_id=ident)

    world.run("principal-investigator", learns)
    later = WEEK_6 + timedelta(days=49)
    world.at(later)
    assert visited(world, ident, "V04", WEEK_6 + timedelta(days=1), vs_assessor=assessor.staff_no).version == 2
    world.at(TODAY + timedelta(days=182))
    with pytest.raises(Invalid):
        visited(world, ident, "V06", TODAY + timedelta(days=182), vs_assessor=assessor.staff_no)


# --- serious events --------------------------------------------------------------------------------------------------


def serious(world: World, ident: str, event: int) -> records.View:
    return builders.put(world, ident, "EV", "SAE", {"sae_ae_no": event}, only=True, complete=False)


def test_a_serious_event_without_an_event_is_saved_and_says_so(sqlite_world: World, ident: str) -> None:
    world = sqlite_world
    assert [(one.code, one.message[-21:]) for one in serious(world, ident, 1).alerts] == [("CRF.NO_EVENT", "(recorded: none yet).")]
    builders.put(world, ident, "EV", "AE", {"ae_term": "Fall", "ae_ser": 1})
    assert serious(world, ident, 2).alerts[0].message.endswith("(recorded: 1: Fall).")
    assert serious(world, ident, 1).alerts == ()
    with pytest.raises(TrialError) as named:
        world.run("research-nurse", lambda unit: removals.remove(unit, places.locate(unit, TRIAL, ident, "EV", "AE"), "by mistake"))
    assert named.value.code == "CRF.NAMED"


# --- deviations that were none ---------------------------------------------------------------------------------------


def test_a_deviation_that_a_typing_error_opened_is_settled_by_its_correction(world: World) -> None:
    ident = operated(world)
    wrong, right = TODAY + timedelta(days=60), WEEK_6
    world.at(wrong)
    visited(world, ident, "V04", wrong)
    assert deviations(world, ident)[-1][1:] == ("draft", 1, "VISI-02")
    visited(world, ident, "V04", right)
    assert deviations(world, ident)[-1][1:] == ("complete", 0, "VISI-02")
    visited(world, ident, "V04", wrong)
    assert [one[1:] for one in deviations(world, ident)[-2:]] == [("complete", 0, "VISI-02"), ("draft", 1, "VISI-02")]


def test_a_deviation_that_somebody_has_worked_on_is_theirs_to_settle(sqlite_world: World, ident: str) -> None:
    world, wrong = sqlite_world, TODAY + timedelta(days=60)
    world.at(wrong)
    visited(world, ident, "V04", wrong)
    row = deviations(world, ident)[-1][0]
    view = world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "DEVI", row)))
    said = {**view.answers.to_json()["answers"], "dv_capa": "Asked the clinic"}
    builders.put(world, ident, "EV", "DEVI", said, row=row, only=True, complete=False)
    visited(world, ident, "V04", WEEK_6)
    assert deviations(world, ident)[-1][1:] == ("draft", 1, "VISI-02")


def test_a_draft_opens_no_deviation(sqlite_world: World, ident: str) -> None:
    world, late = sqlite_world, TODAY + timedelta(days=60)
    world.at(late)
    before = deviations(world, ident)
    builders.put(world, ident, "V04", "VISI", {"vs_done": 1, "vs_date": late.isoformat()}, only=True, complete=False)
    assert deviations(world, ident) == before
