"""Modifications from proposal to practice: the committee, the days of sites to object, and the documents that come with one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services import test_versions
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, TrialError, WrongState
from trialdm.domain.ethics import Answer, Document, Fact, Modification, Step
from trialdm.services import allocations, approvals, clocks, gates, modifications, participants, places, records, register, trail, versions
from trialdm.services.unit import SYSTEM, Unit

REF = "SM01"
DAY_20, DAY_35 = (TODAY + timedelta(days=days) for days in (20, 35))
NEW_FORM = Document("ICF", 3, "3.0", TODAY, None, TODAY)
NEW_SHEET = Document("PIS", 3, "3.0", TODAY, None, TODAY)


def change(**said: Any) -> Modification:
    """A substantial modification of the information for participants, for all sites."""
    usual = Modification(REF, "Longer follow-up", ("participant_information",), "substantial", "A", TODAY)
    return replace(usual, **said)


def propose(world: World, by: str = "trial-manager", **said: Any) -> int:
    def work(unit: Unit) -> int:
        tool = approvals.keep(unit, TRIAL, "tool.pdf", b"%PDF output of the tool")
        return modifications.propose(unit, TRIAL, change(**{"tool": tool, **said}))

    return world.run(by, work)


def step(world: World, event: str, site: str = "", on: date | None = None, *, by: str = "sponsor", ref: str = REF) -> None:
    day = on or world.now.date()
    note = "letter of the site's office" if event in ("agree", "object") else ""
    world.run(by, lambda unit: modifications.step(unit, TRIAL, ref, Step(event, day, site, note=note)), site)


def steps(world: World, *events: str, **said: Any) -> None:
    for event in events:
        step(world, event, **said)


def approved(world: World, *sites: str, **said: Any) -> None:
    """Proposed, given a favourable opinion, and sent to sites, all on one day."""
    propose(world, **said)
    steps(world, "submit", "validate", "favourable")
    for site in sites:
        step(world, "notify", site)


def known(world: World, ref: str = REF) -> Modification:
    return world.read("monitor", lambda unit: modifications.one(unit, TRIAL, ref))


def asked(world: World, action: str, **about: Any) -> Answer:
    return world.read("monitor", lambda unit: participants.gate(unit, TRIAL, action, **about))


def in_use(world: World, kind: str, site: str, on: date) -> str:
    with world.units.reading(SYSTEM) as unit:
        found = register.read(unit, TRIAL).current_document(kind, world.protocol.site(site), on)
        return found.version if found else ""


# --- through the committee -------------------------------------------------------------------------------------------


def test_a_modification_goes_its_way_through_the_committee(world: World) -> None:
    propose(world)
    way = {"submit": "submitted", "validate": "valid", "ask": "further_information", "answer": "answered", "favourable": "favourable"}
    for days, (event, state) in enumerate(way.items(), start=1):
        world.at(TODAY + timedelta(days=days))
        step(world, event)
        assert known(world).state(world.now.date()) == state
    found = known(world)
    assert [s.event for s in found.steps] == list(way)
    assert [found.state(TODAY + timedelta(days=days)) for days in (0, 2, 4)] == ["classified", "valid", "answered"]
    assert found.approved_from == TODAY + timedelta(days=5)
    with world.units.reading(SYSTEM) as unit:
        assert trail.verify(unit) > 0


def test_the_days_of_committee_and_sites_are_counted(world: World) -> None:
    approved(world, "S01", "S02")

    def due(rule: str) -> list[tuple[str, str, str]]:
        def work(unit: Unit) -> list[tuple[str, str, str]]:
            now = clocks.now(unit)
            return [(d.key, d.last_day.isoformat(), d.state(now)) for d in clocks.listed(unit, TRIAL) if d.rule == rule]

        return world.read("trial-manager", work)

    assert [(key.rpartition(":")[2], state) for key, _, state in due("GOV-22")] == [("submit", "met"), ("validate", "met")]
    last = DAY_35.isoformat()
    assert due("GOV-24") == [(f"objection:{REF}:{site}", last, "open") for site in ("S01", "S02")]
    world.at(DAY_20)
    step(world, "object", "S02", by="trial-manager")
    assert [state for _, _, state in due("GOV-24")] == ["open", "met"]
    world.at(DAY_35 + timedelta(days=1))
    assert [state for _, _, state in due("GOV-24")] == ["met", "met"], "silence is no objection"


CANNOT_BE: dict[str, tuple[dict[str, Any], type[TrialError], str]] = {
    "without a title": ({"title": " "}, Invalid, "MODIFICATION.NAME"),
    "nothing is changed": ({"changes": ()}, Invalid, "MODIFICATION.CHANGES"),
    "an unknown change": ({"changes": ("weather",)}, Invalid, "MODIFICATION.CHANGES"),
    "an unknown category": ({"category": "D"}, Invalid, "MODIFICATION.CATEGORY"),
    "without the output of the Modification Tool": ({"tool": ""}, Refused, "GATE.GOV-21"),
    "the digest of a file that nobody has kept": ({"tool": "ab" * 32}, Invalid, "MODIFICATION.TOOL"),
    "an unknown class": ({"kind": "large"}, Refused, "GATE.GOV-21"),
    "lighter than usual, unexplained": ({"kind": "minor"}, Invalid, "GATE.GOV-23"),
    "a version of the protocol that nobody loaded": ({"proposes": "9.0"}, Invalid, "MODIFICATION.VERSION"),
    "a document that is not on record": ({"documents": (("ICF", 9),)}, Invalid, "MODIFICATION.DOCUMENT"),
    "a document that is approved already": ({"documents": (("ICF", 2),)}, Invalid, "MODIFICATION.DOCUMENT"),
}


@pytest.mark.parametrize("case", CANNOT_BE)
def test_what_cannot_be_proposed(sqlite_world: World, case: str) -> None:
    said, kind, code = CANNOT_BE[case]
    with pytest.raises(kind) as refused:
        propose(sqlite_world, **said)
    assert refused.value.code == code
    assert refused.value.needs
    with pytest.raises(Missing):
        known(sqlite_world)


def test_a_lighter_class_is_justified_and_a_reference_is_given_once(sqlite_world: World) -> None:
    propose(sqlite_world, kind="minor", justification="A spelling mistake in the sheet")
    assert known(sqlite_world).justification == "A spelling mistake in the sheet"
    with pytest.raises(Conflict) as refused:
        propose(sqlite_world)
    assert refused.value.code == "MODIFICATION.TWICE"


def test_whoever_proposed_it_does_not_record_the_opinion(world: World) -> None:
    propose(world)
    steps(world, "submit", "validate", by="trial-manager")
    with pytest.raises(Forbidden) as refused:
        step(world, "favourable", by="trial-manager")
    assert refused.value.code == "REGISTER.OWN"
    assert ("modification.favourable", ["REGISTER.OWN"]) in builders.refusals(world)
    step(world, "favourable", by="sponsor")


@pytest.mark.parametrize("role", ["principal-investigator", "chief-investigator", "research-nurse", "data-manager", "monitor"])
def test_only_the_office_proposes(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden) as refused:
        sqlite_world.run(role, lambda unit: modifications.propose(unit, TRIAL, change(tool="x")))
    assert refused.value.code == "ROLE.MODIFICATION.PROPOSE"


Attempt = Callable[[World], Any]
YESTERDAY = TODAY - timedelta(days=1)

WRONG_STEPS: dict[str, tuple[Sequence[tuple[str, str]], Attempt, type[TrialError], str]] = {
    "decided before it was submitted": ((), lambda w: step(w, "favourable"), WrongState, "STATE.MODIFICATION"),
    "a substantial one acknowledged instead of decided": (
        (("submit", ""),),
        lambda w: step(w, "acknowledge"),
        WrongState,
        "STATE.MODIFICATION",
    ),
    "an unknown step": ((), lambda w: step(w, "dance"), WrongState, "STATE.MODIFICATION"),
    "before the day of the step before": ((("submit", ""),), lambda w: step(w, "validate", on=YESTERDAY), WrongState, "STATE.MODIFICATION"),
    "a step that lies in the future": ((), lambda w: step(w, "submit", on=DAY_20), Refused, "REGISTER.FUTURE"),
    "a step at a site without the site": ((), lambda w: step(w, "notify"), Invalid, "MODIFICATION.SITE"),
    "a step of the committee at a site": ((), lambda w: step(w, "submit", "S01"), Invalid, "MODIFICATION.SITE"),
    "an unknown site": ((), lambda w: step(w, "notify", "S99"), Missing, "SITE.UNKNOWN"),
    "an unknown modification": ((), lambda w: step(w, "submit", ref="SM99"), Missing, "MODIFICATION.UNKNOWN"),
    "a site told before there was a modification": (
        (),
        lambda w: step(w, "notify", "S01", TODAY - timedelta(days=40)),
        WrongState,
        "STATE.MODIFICATION",
    ),
    "a site that agrees before it was told": (
        (("notify", "S01"),),
        lambda w: step(w, "agree", "S01", YESTERDAY),
        WrongState,
        "STATE.MODIFICATION",
    ),
    "a nurse agrees for the site": (
        (("notify", "S01"),),
        lambda w: step(w, "agree", "S01", by="research-nurse"),
        Forbidden,
        "ROLE.MODIFICATION.SITE",
    ),
    "the investigator of another site": (
        (("notify", "S02"),),
        lambda w: w.run("principal-investigator", lambda unit: modifications.step(unit, TRIAL, REF, Step("agree", TODAY, "S02"))),
        Forbidden,
        "ROLE.MODIFICATION.SITE",
    ),
    "into practice without an opinion": (
        (("submit", ""), ("notify", "S01"), ("agree", "S01")),
        lambda w: step(w, "implement", "S01"),
        Refused,
        "GATE.GOV-22",
    ),
    "into practice where the site was not told": (
        (("submit", ""), ("validate", ""), ("favourable", "")),
        lambda w: step(w, "implement", "S01"),
        Refused,
        "GATE.GOV-24",
    ),
    "into practice while the site may object": (
        (("submit", ""), ("validate", ""), ("favourable", ""), ("notify", "S01")),
        lambda w: step(w, "implement", "S01"),
        Refused,
        "GATE.GOV-24",
    ),
    "planned for day 35 while the site may object": (
        (("submit", ""), ("validate", ""), ("favourable", ""), ("notify", "S01")),
        lambda w: step(w, "implement", "S01", DAY_35),
        Refused,
        "GATE.GOV-24",
    ),
    "into practice where the site objected": (
        (("submit", ""), ("validate", ""), ("favourable", ""), ("notify", "S01"), ("object", "S01")),
        lambda w: (w.at(DAY_35), step(w, "implement", "S01")),
        WrongState,
        "STATE.MODIFICATION",
    ),
}


@pytest.mark.parametrize("case", WRONG_STEPS)
def test_steps_that_are_refused(sqlite_world: World, case: str) -> None:
    before, attempt, kind, code = WRONG_STEPS[case]
    propose(sqlite_world)
    for event, site in before:
        step(sqlite_world, event, site)
    taken = known(sqlite_world).steps
    with pytest.raises(kind) as refused:
        attempt(sqlite_world)
    assert refused.value.code == code
    assert refused.value.needs or kind in (Missing, Invalid)
    assert known(sqlite_world).steps == taken
    if kind in (Refused, Forbidden):
        assert code in builders.refusals(sqlite_world)[-1][1]


# --- site by site ----------------------------------------------------------------------------------------------------


def consented_on(world: World, code: int) -> str:
    return builders.consented(world, documents=code)


def consents_on_the_new_form(world: World) -> str:
    """A participant who is ready but for a consent on version 3 of both documents."""
    ident = builders.ready(world)
    at = (world.now - timedelta(hours=2)).replace(tzinfo=None)
    given = {
        "con_pis_ver": 3, "con_icf_ver": 3, "con_dtm": at.isoformat(timespec="minutes"), "con_route": 1, "con_capacity": 1, "con_copy": 1,
        "con_pis_date": (at.date() - timedelta(days=2)).isoformat(), "con_taker": world.actor("research-nurse").staff_no,
    }  # fmt: skip
    builders.put(world, ident, "V01", "CONS", given, reason="source: read again")
    return ident


def with_documents(world: World, *sites: str, **said: Any) -> None:
    """The modification with a new protocol version, a new information sheet and a new consent form, sent to these sites."""
    test_versions.propose(world, test_versions.NEW_ITEM)
    for document in (NEW_SHEET, NEW_FORM):
        world.run("trial-manager", lambda unit, document=document: approvals.record(unit, TRIAL, document))
    approved(world, *sites, proposes="1.1", documents=(("PIS", 3), ("ICF", 3)), **said)


def test_ac_03_a_consent_on_the_new_form_while_the_site_may_object_is_refused_by_gov_12_and_names_day_35(world: World) -> None:
    """Category A, the site was told 20 days ago: the consent is kept as a fact and flagged, and nobody is randomised on it."""
    with_documents(world, "S01")
    world.at(DAY_20)
    ident = consents_on_the_new_form(world)
    words = f"was told of modification {REF} on {TODAY.isoformat()} and has until day 35, {DAY_35.isoformat()}, to object"
    (form,) = [r for r in asked(world, "consent", participant=ident).reasons if r.rule == "GOV-12" and r.message.startswith("ICF")]
    assert form.message == f"ICF v3.0 was not approved for use at this site on {DAY_20.isoformat()}. Site S01 {words}."
    assert form.needs == "Re-consent with ICF v2.0 (2026-01-05)."
    flagged = world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "DEVI")))
    assert words in str(flagged.answers.values["dv_desc"])
    with pytest.raises(Refused) as refused:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "key"))
    assert refused.value.code == "GATE.GOV-12"
    assert words in refused.value.message
    assert "Re-consent with ICF v2.0" in refused.value.needs
    assert builders.refusals(world)[-1] == ("randomise", ["GATE.GOV-12"])


def test_documents_and_protocol_go_into_practice_site_by_site(world: World) -> None:
    with_documents(world, "S01", "S02")
    world.at(DAY_20)
    with pytest.raises(Refused) as refused:
        step(world, "implement", "S01")
    assert f"Site S01 has until {DAY_35.isoformat()} to raise an objection." in refused.value.message
    step(world, "object", "S02", by="sponsor")
    world.at(DAY_35)
    step(world, "implement", "S01", by="principal-investigator")
    found = known(world)
    assert [found.site_state(site, DAY_35) for site in ("S01", "S02", "S03")] == ["implemented", "objected", "not_told"]
    for kind in ("PIS", "ICF"):
        assert [in_use(world, kind, site, DAY_35) for site in ("S01", "S02", "S03")] == ["3.0", "2.0", "2.0"]
        assert in_use(world, kind, "S01", DAY_35 - timedelta(days=1)) == "2.0"
    newest = world.read("trial-manager", lambda unit: versions.listed(unit, TRIAL)[0])
    assert (newest.version, dict(newest.sites)) == ("1.1", {"S01": DAY_35})
    ident = consents_on_the_new_form(world)
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "key"))
    with world.units.reading(world.actor("monitor")) as unit:
        assert [replayed for replayed in gates.replay(unit, TRIAL) if replayed.different] == []
    step(world, "agree", "S02")
    step(world, "implement", "S02")
    assert in_use(world, "ICF", "S02", DAY_35) == "3.0"


def test_a_site_that_agrees_needs_not_wait(world: World) -> None:
    with_documents(world, "S01")
    world.at(DAY_20)
    step(world, "agree", "S01", by="principal-investigator")
    step(world, "implement", "S01", DAY_20 + timedelta(days=7), by="principal-investigator")
    assert [in_use(world, "ICF", "S01", DAY_20 + timedelta(days=days)) for days in (6, 7)] == ["2.0", "3.0"]


def test_a_document_may_name_its_modification_instead(world: World) -> None:
    approved(world, "S01")
    document = replace(NEW_FORM, modification=REF)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, document))
    assert [in_use(world, "ICF", "S01", day) for day in (DAY_20, DAY_35)] == ["2.0", "3.0"]
    assert in_use(world, "ICF", "S02", DAY_35) == "2.0", "this site was not told"


@pytest.mark.parametrize("category", ["A", "C"])
def test_a_minor_modification_needs_no_committee(world: World, category: str) -> None:
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, NEW_FORM))
    propose(world, kind="minor", changes=("wording",), category=category, documents=(("ICF", 3),))
    if category == "A":
        steps(world, "notify", "agree", site="S01")
    step(world, "implement", "S01")
    assert in_use(world, "ICF", "S01", TODAY) == "3.0"


def test_of_an_important_detail_is_acknowledged(world: World) -> None:
    propose(world, kind="important_detail", changes=("sample_size",), category="C")
    with pytest.raises(Refused) as refused:
        step(world, "implement", "S01")
    assert (refused.value.code, "has not been acknowledged" in refused.value.message) == ("GATE.GOV-22", True)
    steps(world, "submit", "acknowledge")
    step(world, "implement", "S01")
    assert known(world).site_state("S01", TODAY) == "implemented"


def test_who_consented_before_consents_again_where_the_new_form_asks_for_it(world: World) -> None:
    ident = builders.ready(world)
    approved(world, "S01")
    document = replace(NEW_FORM, modification=REF, reconsent="block")
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, document))
    step(world, "agree", "S01")
    step(world, "implement", "S01")
    with pytest.raises(Refused) as refused:
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "key"))
    assert "Re-consent with ICF v3.0 is due before this visit." in refused.value.message
    assert "GATE.GOV-26" in {detail.code for detail in refused.value.details}


def test_a_version_that_a_newer_one_replaced_is_not_taken_up(world: World) -> None:
    """Every site has gone on to version 1.2 before the modification of 1.1 reaches this one."""
    test_versions.propose(world, test_versions.NEW_ITEM)
    approved(world, proposes="1.1", kind="minor", justification="nothing new for participants", category="C")
    newest = test_versions.propose(world, test_versions.NEW_ITEM, version="1.2")
    for site in world.protocol.sites:
        test_versions.take_up(world, newest, site.code)
    with pytest.raises(WrongState) as refused:
        step(world, "implement", "S01")
    assert refused.value.code == "VERSION.OLDER"


def test_the_list_says_where_each_stands(sqlite_world: World) -> None:
    approved(sqlite_world, "S01")
    (row,) = sqlite_world.read("monitor", lambda unit: modifications.listed(unit, TRIAL))
    assert (row["ref"], row["class"], row["state"], row["approved"]) == (REF, "substantial", "favourable", True)
    assert {site: state for site, state in row["sites"].items() if state != "not_told"} == {"S01": "notified"}
    with pytest.raises(Forbidden):
        sqlite_world.read("system-administrator", lambda unit: modifications.listed(unit, TRIAL))


def test_another_number_of_days_counts_for_documents_as_for_the_step(world: World) -> None:
    """A protocol that gives sites 50 days: on day 35 the old version is still the one to use."""
    seq = test_versions.propose(world, (test_versions.TOP, "site_objection_days: {value: 35", "site_objection_days: {value: 50"))
    test_versions.take_up(world, seq, "S02")
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, NEW_FORM))
    approved(world, "S01", documents=(("ICF", 3),))
    assert in_use(world, "ICF", "S01", DAY_35) == "2.0"
    assert in_use(world, "ICF", "S01", TODAY + timedelta(days=50)) == "3.0"


# --- what is past stays as it was ------------------------------------------------------------------------------------


def test_a_site_does_not_object_once_its_days_are_over(sqlite_world: World) -> None:
    world = sqlite_world
    with_documents(world, "S01", "S02")
    world.at(TODAY + timedelta(days=40))
    with pytest.raises(WrongState) as refused:
        step(world, "object", "S01", by="principal-investigator")
    assert (refused.value.code, DAY_35.isoformat() in refused.value.needs) == ("GATE.GOV-24", True)
    assert in_use(world, "ICF", "S01", DAY_35) == "3.0"
    step(world, "object", "S02", DAY_35 - timedelta(days=1))
    assert in_use(world, "ICF", "S02", DAY_35) == "2.0", "an objection in time counts although it is recorded late"


def test_a_minor_modification_that_is_sent_after_all_stays_in_practice(sqlite_world: World) -> None:
    world = sqlite_world
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, NEW_FORM))
    propose(world, kind="minor", changes=("wording",), category="C", documents=(("ICF", 3),))
    step(world, "implement", "S01")
    world.at(DAY_20)
    steps(world, "submit", "validate")
    assert [in_use(world, "ICF", "S01", day) for day in (TODAY, DAY_20)] == ["3.0", "3.0"]
    step(world, "unfavourable")
    assert not known(world).approved(DAY_20)


def test_putting_into_practice_what_is_in_use_already_changes_no_day_before(sqlite_world: World) -> None:
    """Nobody objected within 35 days: the form has been in use since, when the step is recorded on day 40."""
    world = sqlite_world
    with_documents(world, "S01")
    world.at(TODAY + timedelta(days=40))
    step(world, "implement", "S01")
    assert in_use(world, "ICF", "S01", DAY_35) == "3.0"


def test_a_restart_is_not_what_notified_the_halt(sqlite_world: World) -> None:
    world = sqlite_world
    world.run("sponsor", lambda unit: gates.move_trial(unit, TRIAL, "pause", reason="two serious events"))
    for ref, change_ in (("SM01", "halt"), ("SM02", "restart")):
        with pytest.raises(Refused) as refused:
            world.run("sponsor", lambda unit: gates.move_trial(unit, TRIAL, "resume", reason="reviewed"))
        assert refused.value.code == "GATE.GOV-38"
        propose(world, ref=ref, changes=(change_,), category="C")
        steps(world, "submit", "validate", "favourable", ref=ref)
    world.run("sponsor", lambda unit: gates.move_trial(unit, TRIAL, "resume", reason="reviewed"))


@pytest.mark.parametrize("opinion", ["favourable", "unfavourable"])
def test_a_document_is_approved_by_its_modification_whatever_it_says_itself(sqlite_world: World, opinion: str) -> None:
    world = sqlite_world
    propose(world, category="C")
    document = replace(NEW_FORM, approved_on=TODAY, modification=REF)
    with pytest.raises(Invalid) as refused:
        world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, document))
    assert (refused.value.code, bool(refused.value.needs)) == ("REGISTER.MODIFICATION", True)
    world.run("trial-manager", lambda unit: register.add(unit, TRIAL, document))
    world.at(DAY_20)
    assert in_use(world, "ICF", "S01", DAY_20) == "2.0"
    steps(world, "submit", "validate", opinion)
    assert in_use(world, "ICF", "S01", DAY_20) == ("3.0" if opinion == "favourable" else "2.0")
    assert in_use(world, "ICF", "S01", TODAY) == "2.0"


def test_once_the_trial_is_open_a_version_comes_with_a_modification(sqlite_world: World) -> None:
    with pytest.raises(Refused) as refused:
        sqlite_world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, replace(NEW_FORM, approved_on=TODAY)))
    assert (refused.value.code, "modification" in refused.value.needs) == ("GATE.GOV-22", True)
    assert builders.refusals(sqlite_world)[-1] == ("register.record", ["GATE.GOV-22"])


def test_what_was_taken_back_is_not_read_by_anybody_else(sqlite_world: World) -> None:
    """Putting a protocol version into practice forgets what was read, but not that the register has changed."""
    world = sqlite_world
    test_versions.propose(world, test_versions.NEW_ITEM)
    approved(world, "S01", proposes="1.1")
    step(world, "agree", "S01")

    def work(unit: Unit) -> None:
        modifications.step(unit, TRIAL, REF, Step("implement", TODAY, "S01"))
        modifications.listed(unit, TRIAL)
        raise Missing("The page could not be built.")

    with pytest.raises(Missing):
        world.run("sponsor", work)
    world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("usm", TODAY, text="As many rows as were taken back")))
    with world.units.reading(SYSTEM) as unit:
        assert register.read(unit, TRIAL) == register.under(world.protocol, register.as_of(unit, TRIAL, None))
