"""Serious adverse events: who answers what, the list that expectedness is judged against, what a death still needs, the listings, and
the coding of events."""

import contextlib
from datetime import timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World, put
from tests.services.test_versions import propose, take_up
from trialdm.domain import roles
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, TrialError
from trialdm.domain.ethics import Approval
from trialdm.services import approvals, dictionaries, notices, places, records, removals, safety, trail
from trialdm.services.records import Submission, View
from trialdm.services.unit import Unit

SITE = {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": "2026-03-10T08:00", "sae_reported": "2026-03-10T09:00"}
DOCTOR = {"sae_rel_pi": 3, "sae_proc": [1], "sae_narr": "Recovering."}
SPONSOR = {"sae_ci_aware": "2026-03-10", "sae_rel_ci": 3, "sae_exp": 1}


def say(world: World, ident: str, role: str, given: dict[str, Any], *, complete: bool = True, reason: str = "", **more: Any) -> View:
    """Save the serious event as a person does: what they answer, and nothing about the rest."""

    def work(unit: Unit) -> View:
        place = places.locate(unit, TRIAL, ident, "EV", more.get("form", "SAE"), more.get("row", 1))
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
        sqlite_world.run(role, lambda unit: removals.remove(unit, places.locate(unit, TRIAL, ident, "EV", "AE"), "a mistake"))


def test_the_sponsor_reads_no_other_form(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    for visit, form in (("EV", "AE"), ("V01", "CLIN"), ("V02", "SURG")):
        with pytest.raises(Forbidden):
            sqlite_world.read("sponsor", lambda unit, at=(visit, form): places.locate(unit, TRIAL, ident, *at))


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


SECOND = """  - id: PRE-TMR-EE
    version: "0.1"
"""


def test_a_judgement_keeps_its_list_and_a_later_one_takes_the_version_in_force(sqlite_world: World) -> None:
    """A further version of the list is in force from a day on: what was judged before stands against the one before."""
    world, begins = sqlite_world, TODAY + timedelta(days=10)
    later = f"""  - id: PRE-TMR-EE
    version: "0.2"
    from: {begins.isoformat()}
    expected: [Pneumonia, Loss of knee extension]
"""
    first = assessed(world)
    seq = propose(world, (f"{TRIAL}/protocol.yaml", SECOND, later + SECOND))
    take_up(world, seq, "S01")
    take_up(world, seq, "S02")
    names = [one["name"] for one in world.read("research-nurse", lambda unit: safety.expected_lists(unit, TRIAL)) if one["in_force"]]
    assert names == ["PRE-TMR-EE 0.1"]
    world.at(begins)
    assert [(one["name"], one["in_force"]) for one in world.read("research-nurse", lambda unit: safety.expected_lists(unit, TRIAL))] == [
        ("PRE-TMR-EE 0.2", True),
        ("PRE-TMR-EE 0.1", False),
    ]
    assert say(world, first, "chief-investigator", {"sae_rel_ci": 4}, reason="source").answers.values["sae_exp_list"] == "PRE-TMR-EE 0.1"
    again = say(world, first, "chief-investigator", {"sae_exp": 0, "sae_rec_sent": begins.isoformat()}, reason="source")
    assert again.answers.values["sae_exp_list"] == "PRE-TMR-EE 0.2"


# --- pregnancies and reinterventions ---------------------------------------------------------------------------------

DAYS = {"today": TODAY, "long": TODAY - timedelta(days=200)}
PREGNANCIES: list[tuple[str, dict[str, Any], dict[str, str], str, list[str]]] = [
    ("is reported", {"pg_weeks": 10, "pg_agree": 0}, {}, "PREG-01", ["principal-investigator", "safety-reviewer", "trial-manager"]),
    (
        "ends with a congenital anomaly",
        {"pg_weeks": 20, "pg_agree": 1, "pg_out": 1, "pg_out_date": TODAY.isoformat(), "pg_child": 2},
        {},
        "PREG-04",
        ["principal-investigator", "safety-reviewer"],
    ),
    (
        "should have ended",
        {"pg_known": DAYS["long"].isoformat(), "pg_weeks": 20, "pg_agree": 1},
        {"pg_out": "PE"},
        "PREG-05",
        ["research-nurse", "safety-reviewer"],
    ),
]


@pytest.mark.parametrize(("what", "given", "missing", "check", "told"), PREGNANCIES, ids=[row[0] for row in PREGNANCIES])
def test_a_pregnancy(sqlite_world: World, what: str, given: dict[str, Any], missing: dict[str, str], check: str, told: list[str]) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    seen = put(world, ident, "EV", "PREG", {"pg_known": TODAY.isoformat(), **given}, only=True, missing=missing)
    (found,) = [alert for alert in seen.alerts if alert.id == check]
    for role in ("principal-investigator", "safety-reviewer", "trial-manager", "research-nurse", "sponsor"):
        heard = any(found.message in one.text for one in world.read(role, notices.inbox))
        assert heard is (role in told), role


@pytest.mark.parametrize(
    ("given", "check"),
    [
        ({"pg_known": (TODAY + timedelta(days=1)).isoformat(), "pg_weeks": 3, "pg_agree": 0}, "PREG-02"),
        (
            {"pg_weeks": 30, "pg_agree": 1, "pg_out": 1, "pg_out_date": (TODAY + timedelta(days=1)).isoformat(), "pg_child": 1},
            "PREG-03",
        ),
    ],
)
def test_nothing_of_a_pregnancy_lies_in_the_future(sqlite_world: World, given: dict[str, Any], check: str) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Invalid) as refused:
        put(sqlite_world, ident, "EV", "PREG", {"pg_known": TODAY.isoformat(), **given}, only=True)
    form = sqlite_world.protocol.form("PREG")
    assert next(one.message for one in form.checks if one.id == check) in [detail.message for detail in refused.value.details]


@pytest.mark.parametrize(("planned", "alerts"), [(0, ["REOP-04"]), (1, [])])
def test_an_unplanned_reintervention_asks_for_the_adverse_event(sqlite_world: World, planned: int, alerts: list[str]) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    given = {"re_date": TODAY.isoformat(), "re_ind": 1, "re_planned": planned}
    seen = put(world, ident, "EV", "REOP", given, only=True, complete=False)
    assert [alert.id for alert in seen.alerts if alert.id == "REOP-04"] == alerts
    heard = [one for one in world.read("research-nurse", notices.inbox) if "unplanned reintervention" in one.text]
    assert len(heard) == len(alerts)


# --- listings --------------------------------------------------------------------------------------------------------

UNEXPECTED = {"sae_exp": 0, "sae_rec_sent": None}


def event(world: World, ident: str, term: str = "Pneumonia", **more: Any) -> None:
    given = {"ae_term": term, "ae_ser": 1, "ae_start": TODAY.isoformat(), "ae_ongoing": 1, "ae_end": None, "ae_outc": 3, **more}
    put(world, ident, "EV", "AE", given)


def test_the_line_listing_follows_an_event_from_state_to_state(world: World) -> None:
    ident = builders.randomised(world)
    event(world, ident)

    def line() -> safety.Serious:
        (found,) = world.read("safety-reviewer", lambda unit: safety.serious(unit, TRIAL))
        return found

    say(world, ident, "research-nurse", SITE)
    assert (line().state, line().event, line().age) == ("new", "Pneumonia", "60-69")
    say(world, ident, "principal-investigator", DOCTOR)
    assert line().state == "pi_assessed"
    say(world, ident, "chief-investigator", {**SPONSOR, "sae_exp": 0}, complete=False)
    assert line().state == "reportable"
    assert sorted((d.rule, d.due.isoformat()) for d in line().clocks) == [("GOV-30", "2026-03-11T08:00:00"), ("GOV-31", "2026-03-25")]
    say(world, ident, "safety-reviewer", {"sae_rec_sent": TODAY.isoformat()})
    assert line().state == "follow_up"
    (row,) = world.read("sponsor", lambda unit: safety.serious_table(unit, TRIAL))
    assert row["clock_committee"] == "2026-03-25 met"
    assert row["judged_against"] == "PRE-TMR-EE 0.1"
    assert "Recovering." not in str(row)


@pytest.mark.parametrize("role", sorted({role for role, _ in builders.CAST}))
def test_who_reads_the_listings(sqlite_world: World, role: str) -> None:
    for work in (safety.serious, safety.events, safety.lights):
        if role in ("chief-investigator", "sponsor", "safety-reviewer"):
            assert sqlite_world.read(role, lambda unit, work=work: work(unit, TRIAL)) == []
        else:
            with pytest.raises(Forbidden):
                sqlite_world.read(role, lambda unit, work=work: work(unit, TRIAL))


def test_an_open_recommendation_stands_above_the_listing_until_it_is_decided(sqlite_world: World) -> None:
    world = sqlite_world

    def waits() -> bool:
        return world.read("sponsor", lambda unit: safety.recommendation(unit, TRIAL)) is not None

    assert not waits()
    decide(world, "dmc", "pause")
    assert waits()
    decide(world, "tsc", "continue")
    assert not waits()


def decide(world: World, body: str, status: str) -> None:
    entry = world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, Approval(body, status, decided_on=TODAY)))
    with contextlib.suppress(TrialError):
        world.run("sponsor", lambda unit: approvals.check(unit, TRIAL, entry))


TOLD = "Found by the surgeon at the nerve"

BLINDED = sorted({role for role, _ in builders.CAST} - roles.UNBLINDED)


@pytest.mark.parametrize("role", BLINDED)
def test_no_blinded_role_reads_a_narrative(sqlite_world: World, role: str) -> None:
    world = sqlite_world
    ident = builders.randomised(world)
    event(world, ident)
    say(world, ident, "research-nurse", SITE)
    say(world, ident, "principal-investigator", {**DOCTOR, "sae_narr": TOLD})

    def read(unit: Unit) -> list[Any]:
        place = places.locate(unit, TRIAL, ident, "EV", "SAE")
        return [records.view(unit, place).to_json(), trail.of_form(unit, place), notices.inbox(unit)]

    for work in (read, *(lambda unit, table=table: table(unit, TRIAL) for table in TABLES)):
        with contextlib.suppress(Forbidden):
            assert TOLD not in str(world.read(role, work))
    assert TOLD in str(world.read("principal-investigator", read))


TABLES = (safety.serious_table, safety.events_table, safety.clocks_table)


# --- coding ----------------------------------------------------------------------------------------------------------

LLT = "10035664$Pneumonia$10035664$$$$$$$Y$$\n10000001$Old pneumonia$10035664$$$$$$$N$$\n10006451$Chest infection$10035664$$$$$$$Y$$\n"


def test_a_data_manager_codes_an_event_with_a_trace(world: World) -> None:
    ident = builders.randomised(world)
    event(world, ident, "Pneumonia")
    (waiting,) = world.read("data-manager", lambda unit: dictionaries.uncoded(unit, TRIAL))
    assert [term.code for term in waiting.suggestions] == ["L0102"]
    world.run("data-manager", lambda unit: dictionaries.give(unit, TRIAL, ident, 1, "L0102"))
    assert world.read("data-manager", lambda unit: dictionaries.uncoded(unit, TRIAL)) == []
    place = world.read("data-manager", lambda unit: places.locate(unit, TRIAL, ident, "EV", "AE"))
    lines = world.read("data-manager", lambda unit: trail.of_form(unit, place))
    assert [(line.new, line.reason) for line in lines if line.field == "ae_code"] == [("L0102", "other: coded as Pneumonia")]
    with pytest.raises(Missing):
        world.run("data-manager", lambda unit: dictionaries.give(unit, TRIAL, ident, 1, "X1"))
    with pytest.raises(Forbidden):
        world.run("research-nurse", lambda unit: dictionaries.give(unit, TRIAL, ident, 1, "L0101"))


def test_a_licensed_dictionary_is_loaded_once(world: World) -> None:
    def load(file: str, text: str, version: str = "27.1") -> int:
        return world.run("data-manager", lambda unit: dictionaries.load(unit, TRIAL, file, text, name="MedDRA", version=version))

    assert load("llt.asc", LLT) == 2
    assert load("pt.asc", "10035664$Pneumonia$$10021881$$$$$$$\n10016173$Fall$$10022117$$$$$$$\n") == 1
    assert load("llt.asc", LLT) == 0
    assert load("terms.csv", "code,term,up\n1,Something,\n", "local") == 1
    with pytest.raises(Conflict):
        load("terms.csv", "code,term,up\n10035664,Lung trouble,\n")
    for text in ("", "a,b\n1,2\n", "code,term\n,Something\n", "code,term\n1234567890123,Something\n"):
        with pytest.raises(Invalid):
            load("terms.csv", text)
    found = world.read("data-manager", lambda unit: dictionaries.listed(unit, TRIAL))
    assert [(one.name, one.version, one.terms) for one in found] == [("own list", "1.0", 30), ("MedDRA", "27.1", 3), ("MedDRA", "local", 1)]
