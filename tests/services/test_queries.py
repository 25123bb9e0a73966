"""Queries in use: who asks, answers and closes, what a saved form does to them, and what a blinded reader never learns."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import CLINICAL, TRIAL, World, put
from trialdm.domain import query, roles
from trialdm.domain.crf import Answers
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, WrongState
from trialdm.domain.roles import Grant
from trialdm.services import casebooks, checks, holds, inbox, notices, participants, places, queries, trail
from trialdm.services.queries import Found, Line, Wanted
from trialdm.services.trail import Filter
from trialdm.services.unit import Unit
from trialdm.store.tables import Query

ASKED = "Please check this against the notes."


def planned(world: World, **changes: Any) -> dict[str, Any]:
    day = (builders.TODAY + builders.timedelta(days=3)).isoformat()
    return {**CLINICAL, "surg_date_plan": day, "surgeon_plan": 1, **changes}


def with_clinical(world: World) -> str:
    """A participant whose clinical form is complete."""
    ident = builders.consented(world)
    put(world, ident, "V01", "CLIN", planned(world))
    return ident


def ask(
    world: World, ident: str, item: str = "asa", *, role: str = "data-manager", form: str = "CLIN", visit: str = "V01", row: int = 1
) -> str:
    """Ask about an item; gives the id of the query."""
    return world.run(role, lambda unit: queries.ask(unit, places.locate(unit, TRIAL, ident, visit, form, row), item, ASKED).id)


def act(world: World, role: str, name: str, query_id: str, *words: str, site: str = "") -> None:
    world.run(role, lambda unit: getattr(queries, name)(unit, TRIAL, query_id, *words), site)


def one(world: World, query_id: str, role: str = "unblinded-data-manager") -> Found:
    return world.read(role, lambda unit: queries.one(unit, TRIAL, query_id))


def listed(world: World, role: str, at: str = "", **wanted: str) -> list[Line]:
    return world.read(role, lambda unit: queries.listed(unit, TRIAL, Wanted(**wanted)), at)


def change(world: World, ident: str, **given: Any) -> None:
    """Another answer on the complete clinical form."""
    put(world, ident, "V01", "CLIN", planned(world, **given), reason="transcription")


# --- the usual way ---------------------------------------------------------------------------------------------------


def test_a_query_is_asked_answered_and_closed(world: World) -> None:
    ident = with_clinical(world)
    about = ask(world, ident)
    assert [(q.number, q.state, q.place, q.label) for q in listed(world, "research-nurse")] == [("Q1", "open", "V01 CLIN asa", "ASA grade")]
    assert one(world, about, "research-nurse").may == ("answer",)
    world.now += builders.timedelta(days=9)
    assert listed(world, "data-manager")[0].age == 9
    act(world, "research-nurse", "answer", about, "confirmed", "The anaesthetic chart says so.")
    act(world, "data-manager", "close", about)
    found = one(world, about, "data-manager")
    assert [(step.act, step.response, step.value) for step in found.steps] == [
        ("open", "", 3),
        ("answer", "confirmed", 3),
        ("close", "", 3),
    ]
    assert found.line.state == "closed"
    world.now += builders.timedelta(days=30)
    assert listed(world, "data-manager")[0].age == 9
    lines = world.read("data-manager", lambda unit: trail.of_trial(unit, TRIAL, Filter(participant=ident)))
    assert [line.action for line in lines if line.action.startswith("query.") and line.field == "state"] == [
        "query.open",
        "query.answer",
        "query.close",
    ]


def test_queries_are_numbered_by_trial_and_restricted_ones_apart(world: World) -> None:
    ident = with_clinical(world)
    ask(world, ident)
    ask(world, ident, "", form="SURG", visit="V02", role="unblinded-data-manager")
    ask(world, ident, "pad")
    ask(world, ident, "", form="SURG", visit="V02", role="unblinded-data-manager")
    assert [line.number for line in listed(world, "unblinded-data-manager")] == ["Q1", "Q2", "R1", "R2"]
    assert [line.number for line in listed(world, "data-manager")] == ["Q1", "Q2"]
    assert one(world, "R2").line.form == "SURG"


def test_a_query_about_a_form_that_is_not_there_is_corrected_by_saving_it(world: World) -> None:
    ident = builders.consented(world)
    about = ask(world, ident, "", form="MOOD")
    with pytest.raises(Invalid, match="The form has not been saved since this was asked"):
        act(world, "research-nurse", "answer", about, "corrected", "")
    put(world, ident, "V01", "MOOD", {"phq_9": 0})
    act(world, "research-nurse", "answer", about, "corrected", "")
    assert one(world, about).line.state == "answered"


def test_corrected_needs_another_value_since_it_was_asked_last(world: World) -> None:
    ident = with_clinical(world)
    about = ask(world, ident)
    change(world, ident, pad=0, abpi=None, aetiol_main=3, dm_type=1)
    with pytest.raises(Invalid) as refusal:
        act(world, "research-nurse", "answer", about, "corrected", "Done")
    assert refusal.value.code == "QUERY.UNCHANGED"
    change(world, ident, asa=2)
    act(world, "research-nurse", "answer", about, "corrected", "Done")
    act(world, "data-manager", "reopen", about, "The chart says 4.")
    with pytest.raises(Invalid):
        act(world, "research-nurse", "answer", about, "corrected", "Done")


@pytest.mark.parametrize("closed", [False, True])
def test_what_was_confirmed_opens_again_when_it_changes(world: World, closed: bool) -> None:
    ident = with_clinical(world)
    about = ask(world, ident)
    act(world, "research-nurse", "answer", about, "confirmed", "")
    if closed:
        act(world, "data-manager", "close", about)
    change(world, ident, smoke=1)
    assert one(world, about).line.state == ("closed" if closed else "answered")
    change(world, ident, smoke=1, asa=2)
    found = one(world, about)
    assert found.line.state == "reopened"
    assert (found.steps[-1].by, found.steps[-1].text) == ("trialdm", "The answer was changed after it had been confirmed.")


def test_nothing_of_a_person_is_closed_by_a_change(sqlite_world: World) -> None:
    ident = with_clinical(sqlite_world)
    about = [ask(sqlite_world, ident), ask(sqlite_world, ident, role="monitor")]
    change(sqlite_world, ident, asa=2)
    assert [one(sqlite_world, ident).line.state for ident in about] == ["open", "open"]


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [role for role in roles.ROLES if role in {r for r, _ in builders.CAST}])
def test_who_asks_answers_and_closes(sqlite_world: World, role: str) -> None:
    world = sqlite_world
    ident = with_clinical(world)
    about = ask(world, ident)

    def allowed(work: Any) -> bool:
        try:
            world.run(role, work)
        except (Forbidden, Missing):
            return False
        return True

    here = roles.Grant(role, TRIAL, "S01" if roles.ROLES[role][1] else "")
    asks = allowed(lambda unit: queries.ask(unit, places.locate(unit, TRIAL, ident, "V01", "CLIN"), "pad", ASKED))
    assert asks is roles.may([here], "query.raise", TRIAL)
    answers = allowed(lambda unit: queries.answer(unit, TRIAL, about, "confirmed", ""))
    assert answers is (role in roles.FORM_ENTRY["baseline"])
    if not answers:
        act(world, "research-nurse", "answer", about, "confirmed", "")
    assert allowed(lambda unit: queries.close(unit, TRIAL, about)) is (role in ("data-manager", "unblinded-data-manager"))


def test_a_monitor_closes_what_a_monitor_asked(sqlite_world: World) -> None:
    world = sqlite_world
    ident = with_clinical(world)
    theirs, other = ask(world, ident, role="monitor"), ask(world, ident)
    for about in (theirs, other):
        act(world, "research-nurse", "answer", about, "confirmed", "")
    act(world, "monitor", "close", theirs)
    with pytest.raises(Forbidden):
        act(world, "monitor", "close", other)


def test_a_query_is_answered_at_its_own_site(sqlite_world: World) -> None:
    world = sqlite_world
    about = ask(world, with_clinical(world))
    assert listed(world, "research-nurse", "S02") == []
    with pytest.raises(Missing):
        act(world, "research-nurse", "answer", about, "confirmed", "", site="S02")


def test_a_query_is_taken_back_by_who_asked_or_a_data_manager_with_a_reason(sqlite_world: World) -> None:
    world = sqlite_world
    ident = with_clinical(world)
    theirs, other = ask(world, ident, role="trial-manager"), ask(world, ident)
    with pytest.raises(Invalid, match="why the query is cancelled"):
        act(world, "trial-manager", "cancel", theirs, " ")
    act(world, "trial-manager", "cancel", theirs, "Asked twice.")
    with pytest.raises(Forbidden):
        act(world, "trial-manager", "cancel", other, "Asked twice.")
    with pytest.raises(WrongState):
        act(world, "data-manager", "reopen", theirs, "Once more")


def test_words_hold_no_identifier(sqlite_world: World) -> None:
    world = sqlite_world
    about = ask(world, with_clinical(world))
    with pytest.raises(Invalid) as refusal:
        act(world, "research-nurse", "answer", about, "confirmed", "NHS number 943 476 5919")
    assert refusal.value.code == "GATE.GOV-41"
    with pytest.raises(Invalid, match="why it cannot be obtained"):
        act(world, "research-nurse", "answer", about, "unavailable", "")


def test_whoever_comes_second_is_told(sqlite_world: World) -> None:
    world = sqlite_world
    about = ask(world, with_clinical(world))
    world.run("research-nurse", lambda unit: queries.answer(unit, TRIAL, about, "confirmed", "", seen=1))
    with pytest.raises(Conflict) as refusal:
        world.run("sub-investigator", lambda unit: queries.answer(unit, TRIAL, about, "confirmed", "", seen=1))
    assert refusal.value.code == "QUERY.STALE"


# --- filters, figures, inbox -----------------------------------------------------------------------------------------


def test_lists_are_narrowed(sqlite_world: World) -> None:
    world = sqlite_world
    ident = with_clinical(world)
    first = ask(world, ident)
    world.now += builders.timedelta(days=20)
    ask(world, ident, role="monitor")
    act(world, "research-nurse", "answer", first, "confirmed", "")
    cases: dict[tuple[str, str], list[str]] = {
        ("state", "answered"): ["Q1"],
        ("state", "waiting"): ["Q2"],
        ("state", "unsettled"): ["Q1", "Q2"],
        ("origin", "monitor"): ["Q2"],
        ("band", "15-30"): ["Q1"],
        ("site", "S02"): [],
        ("form", "clin"): ["Q1", "Q2"],
        ("participant", ident): ["Q1", "Q2"],
    }
    for (name, value), numbers in cases.items():
        assert [line.number for line in listed(world, "data-manager", **{name: value})] == numbers, (name, value)
    with pytest.raises(Forbidden):
        listed(world, "research-nurse", site="S02")
    for name in ("state", "origin", "band"):
        with pytest.raises(Invalid):
            listed(world, "data-manager", **{name: "nonsense"})


def test_ageing_counts_by_site_and_form_and_gives_the_median_to_closing(sqlite_world: World) -> None:
    world = sqlite_world
    ident = with_clinical(world)
    first, _ = ask(world, ident), ask(world, ident, "", form="MOOD")
    world.now += builders.timedelta(days=10)
    act(world, "research-nurse", "answer", first, "confirmed", "")
    act(world, "data-manager", "close", first)
    report = world.read("data-manager", lambda unit: queries.ageing(unit, TRIAL))
    assert (report.overall.total, report.overall.bands["8-14"], report.overall.closed, report.overall.median) == (1, 1, 1, 10)
    assert [(one.key, one.total, one.median) for one in report.forms] == [("CLIN", 0, 10), ("MOOD", 1, None)]
    assert [one.key for one in report.sites] == ["S01"]
    assert report.table()[0] == {
        "by": "all", "of": "", "unsettled": 1, "0-7": 0, "8-14": 1, "15-30": 0, "31-60": 0, "over-60": 0, "closed": 1, "median_days": 10,
    }  # fmt: skip


def waiting(world: World, role: str) -> list[tuple[str, str]]:
    found = world.read(role, inbox.waiting)
    return [(one.kind, one.what) for one in found if one.kind in ("query", "answered")]


def test_what_waits_for_an_answer_or_for_closing_stands_in_the_inbox(sqlite_world: World) -> None:
    world = sqlite_world
    ident = with_clinical(world)
    about = [ask(world, ident), ask(world, ident, "", form="SURG", visit="V02", role="unblinded-data-manager")]
    assert waiting(world, "research-nurse") == [("query", "1 query, the oldest 0 days old")]
    assert waiting(world, "surgeon") == [("query", "1 query, the oldest 0 days old")]
    assert waiting(world, "principal-investigator") == [("query", "2 queries, the oldest 0 days old")]
    assert waiting(world, "data-manager") == []
    act(world, "research-nurse", "answer", about[0], "confirmed", "")
    act(world, "surgeon", "answer", about[1], "confirmed", "")
    assert waiting(world, "research-nurse") == []
    assert waiting(world, "data-manager") == [("answered", "1 query, the oldest 0 days old")]
    assert waiting(world, "unblinded-data-manager") == [("answered", "2 queries, the oldest 0 days old")]


# --- concealment -----------------------------------------------------------------------------------------------------


def operated(world: World) -> str:
    ident = builders.randomised(world)
    world.now += builders.timedelta(days=3)
    given = {"surg_done": 1, "surg_date": world.now.date().isoformat(), "surg_side": 1, "surg_level": 12}
    put(world, ident, "V02", "SURG", given, role="surgeon")
    return ident


def test_a_blinded_reader_learns_nothing_of_a_restricted_query(world: World) -> None:
    ident = operated(world)
    about = ask(world, ident, "proc_given", form="SURG", visit="V02", role="unblinded-data-manager")
    checked = world.run("unblinded-data-manager", lambda unit: checks.run(unit, TRIAL))
    assert checked.forms > 5
    for role, site in builders.CAST:
        if site == "S02" or not roles.may([roles.Grant(role, "*", site)], "query.see", TRIAL):
            continue
        seen = about in [line.id for line in listed(world, role)]
        assert seen is (role in roles.UNBLINDED), role
        if seen:
            continue
        assert not [line for line in listed(world, role) if line.restricted]
        assert not [line for line in listed(world, role) if line.number.startswith("R")]
        for name in (about, "R1"):
            with pytest.raises(Missing):
                world.read(role, lambda unit, name=name: queries.one(unit, TRIAL, name))
        lines = world.read(role, lambda unit: trail.of_trial(unit, TRIAL, Filter(participant=ident)))
        assert not [line for line in lines if line.entity == "query" and line.entity_id == about]
        assert not [m for m in world.read(role, notices.inbox) if "query" in m.subject.lower()]


def test_a_blinded_person_asks_about_nothing_restricted(sqlite_world: World) -> None:
    ident = operated(sqlite_world)
    for form, visit, item in (("SURG", "V02", ""), ("SURG", "V02", "proc_given")):
        with pytest.raises(Refused) as refusal:
            ask(sqlite_world, ident, item, form=form, visit=visit)
        assert refusal.value.code == "GATE.GOV-45"


def test_a_blinded_data_manager_runs_nothing_on_restricted_forms(world: World) -> None:
    operated(world)
    blind = world.read("data-manager", lambda unit: checks.run(unit, TRIAL, alerts=True, dry=True))
    full = world.read("unblinded-data-manager", lambda unit: checks.run(unit, TRIAL, alerts=True, dry=True))
    restricted = {form.code for form in world.protocol.forms if form.restricted}
    assert not {tally.form for tally in blind.lines()} & restricted
    assert full.forms > blind.forms


# --- edit checks in batch --------------------------------------------------------------------------------------------


def break_quietly(world: World, ident: str, form: str, **answers: Any) -> None:
    """Answers as an older version of the protocol let them through: written without a check, and confirmed by nobody."""

    def work(unit: Unit) -> None:
        place = places.locate(unit, TRIAL, ident, "V01", form)
        book = places.book(unit, place)
        stored = book.get(*place.key)
        assert stored is not None
        old = stored.answers(place.form)
        held = {name: value for name, value in {**old.values, **answers}.items() if value is not None}
        instance, version = casebooks.write(unit, book, place.key, stored.status, Answers(held, old.missing))
        unit.record("form.amend", instance, version, trial=TRIAL, entity="form", entity_id=instance.id)

    world.run("research-nurse", work)


def run(world: World, role: str = "data-manager", **wanted: Any) -> dict[str, Any]:
    return world.run(role, lambda unit: checks.run(unit, TRIAL, **wanted).to_json())


def states(world: World) -> list[tuple[str, str, str]]:
    return [(line.rule, line.item, line.state) for line in listed(world, "data-manager")]


def test_what_nobody_confirmed_is_asked_once(world: World) -> None:
    ident = with_clinical(world)
    assert run(world)["opened"] == 0
    break_quietly(world, ident, "CLIN", asa=None, smoke=None)
    preview = world.read("data-manager", lambda unit: checks.run(unit, TRIAL, dry=True).to_json())
    assert (preview["dry_run"], preview["opened"], states(world)) == (True, 2, [])
    done = run(world)
    assert (done["opened"], done["found"]["hard"]) == (2, 2)
    assert states(world) == [("CRF.REQUIRED", "asa", "open"), ("CRF.REQUIRED", "smoke", "open")]
    assert run(world)["opened"] == 0
    assert listed(world, "research-nurse")[0].text.startswith("ASA grade: answer it")
    change(world, ident)
    assert states(world) == [("CRF.REQUIRED", "asa", "closed"), ("CRF.REQUIRED", "smoke", "closed")]
    about = one(world, "Q1", "data-manager")
    assert (about.steps[-1].act, about.steps[-1].response, about.steps[-1].by) == ("settle", "corrected", "trialdm")
    break_quietly(world, ident, "CLIN", asa=None)
    assert run(world)["opened"] == 1


def test_a_run_closes_what_fires_no_more(sqlite_world: World) -> None:
    world = sqlite_world
    ident = with_clinical(world)
    break_quietly(world, ident, "CLIN", asa=None)
    run(world)
    break_quietly(world, ident, "CLIN", asa=3)
    assert run(world)["closed"] == 1
    assert states(world) == [("CRF.REQUIRED", "asa", "closed")]


def test_prompts_that_were_confirmed_are_not_asked_again(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.consented(world)
    put(world, ident, "V01", "PAIN", {"limb_worst": 3, "limb_avg": 5})
    done = run(world)
    assert (done["opened"], done["confirmed"] > 0) == (0, True)


def test_a_value_that_was_accepted_is_not_asked_about_again_until_it_changes(world: World) -> None:
    ident = builders.consented(world)
    put(world, ident, "V01", "PAIN", {"limb_worst": 6, "limb_avg": 5})
    break_quietly(world, ident, "PAIN", limb_worst=3)
    assert run(world, form="PAIN")["opened"] == 1
    (line,) = listed(world, "research-nurse")
    act(world, "research-nurse", "answer", line.id, "confirmed", "The diary says so too.")
    act(world, "data-manager", "close", line.id)
    assert run(world, form="PAIN")["opened"] == 0
    break_quietly(world, ident, "PAIN", limb_worst=2)
    assert run(world, form="PAIN")["opened"] == 1


def test_a_prompt_confirmed_in_saving_answers_its_query(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.consented(world)
    put(world, ident, "V01", "PAIN", {"limb_worst": 6, "limb_avg": 5})
    break_quietly(world, ident, "PAIN", limb_worst=3)
    run(world)
    put(world, ident, "V01", "PAIN", {"limb_worst": 3, "limb_avg": 4}, reason="transcription")
    (line,) = listed(world, "data-manager")
    assert (line.rule, line.state) == ("PAIN-03", "answered")


def test_alerts_ask_only_where_that_is_wanted(sqlite_world: World) -> None:
    world = sqlite_world
    ident = builders.consented(world)
    put(world, ident, "V01", "MOOD", {"phq_9": 2})
    assert (run(world)["opened"], run(world)["found"]["alert"]) == (0, 1)
    assert run(world, alerts=True)["opened"] == 1
    assert [(rule, state) for rule, _, state in states(world)] == [("MOOD-01", "open")]
    assert run(world)["closed"] == 0


@pytest.mark.parametrize("role", ["trial-manager", "monitor", "research-nurse", "statistician-blinded"])
def test_only_data_managers_run_the_checks(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden):
        run(sqlite_world, role)


def test_nothing_is_asked_in_a_trial_that_is_over(sqlite_world: World) -> None:
    world = sqlite_world
    about = ask(world, with_clinical(world))
    builders.lock(world)
    with pytest.raises(WrongState) as refusal:
        act(world, "research-nurse", "answer", about, "confirmed", "")
    assert refusal.value.code == "STATE.TRIAL"
    with world.units.reading(world.actor("data-manager")) as unit:
        assert unit.session.scalar(select(Query.state)) in query.UNSETTLED


#: Steps by which somebody locks, one after the other.
LOCK = (("data-manager", "freeze"), ("data-manager", "ask-lock"), ("trial-manager", "lock"))


def lock(world: World, scope: str, name: str, steps: int = len(LOCK)) -> None:
    for role, step in LOCK[:steps]:
        world.run(role, lambda unit, step=step: holds.move(unit, holds.target(unit, TRIAL, scope, name), step, reason="as it is"))


def _instance(world: World, ident: str, form: str) -> str:
    with world.units.reading(world.actor("data-manager")) as unit:
        return casebooks.read(unit, TRIAL, participants.known(unit, TRIAL, ident)).forms[("V01", form, 1)].instance.id


def may_ask(world: World, ident: str, form: str = "CLIN") -> bool:
    return world.read("data-manager", lambda unit: queries.may_ask(unit, places.locate(unit, TRIAL, ident, "V01", form)))


@pytest.mark.parametrize("scope", ["trial", "site", "participant", "form"])
def test_what_is_locked_is_not_asked_about_and_what_is_frozen_is(sqlite_world: World, scope: str) -> None:
    world, ident = sqlite_world, with_clinical(sqlite_world)
    name = {"trial": "", "site": "S01", "participant": ident, "form": _instance(world, ident, "CLIN")}[scope]
    lock(world, scope, name, steps=1)
    about = ask(world, ident)
    assert may_ask(world, ident)
    act(world, "research-nurse", "answer", about, "confirmed", "")
    for role, step in LOCK[1:]:
        world.run(role, lambda unit, step=step: holds.move(unit, holds.target(unit, TRIAL, scope, name), step, reason="as it is"))
    assert not may_ask(world, ident)
    for again in (lambda: ask(world, ident, "pad"), lambda: act(world, "data-manager", "reopen", about, "Look again.")):
        with pytest.raises(WrongState) as refusal:
            again()
        assert refusal.value.code == "STATE.HELD"
    act(world, "data-manager", "close", about)


def test_the_checks_ask_nothing_in_a_trial_that_is_locked(world: World) -> None:
    ident = builders.consented(world)
    put(world, ident, "V01", "PAIN", {"limb_worst": 6, "limb_avg": 5})
    break_quietly(world, ident, "PAIN", limb_worst=3)
    builders.lock(world)
    with pytest.raises(WrongState) as refusal:
        run(world)
    assert refusal.value.code == "STATE.TRIAL"
    assert states(world) == []


def test_the_checks_find_what_is_wrong_in_a_locked_casebook_and_ask_nothing(world: World) -> None:
    ident = builders.consented(world)
    put(world, ident, "V01", "PAIN", {"limb_worst": 6, "limb_avg": 5})
    break_quietly(world, ident, "PAIN", limb_worst=3)
    lock(world, "participant", ident)
    done = run(world)
    assert (done["opened"], done["found"]["soft"] > 0) == (0, True)
    assert states(world) == []


def test_nobody_takes_back_a_query_that_they_have_answered(world: World) -> None:
    """A data manager who also enters forms answers: another one closes or cancels."""
    ident = with_clinical(world)
    about = ask(world, ident)
    both = world.actor("research-nurse")
    both = replace(both, grants=(*both.grants, Grant("data-manager", TRIAL, "")))
    world.units.run(both, lambda unit: queries.answer(unit, TRIAL, about, "confirmed", ""))
    with pytest.raises(Forbidden) as refusal:
        world.units.run(both, lambda unit: queries.cancel(unit, TRIAL, about, "Settled on the telephone."))
    assert refusal.value.code == "QUERY.OWN_ANSWER"
    with world.units.reading(both) as unit:
        assert "cancel" not in queries.one(unit, TRIAL, about).may
    act(world, "data-manager", "cancel", about, "Asked twice.")
