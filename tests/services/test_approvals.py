"""The register of approvals: recorded by one person and checked by another, letters kept, conditions met, nothing lost; and bad input,
each refused by a rule that says what would mend it and kept in the trail as an attempt."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import ROOT, TODAY, TRIAL, World
from tests.services import test_modifications
from tests.services.test_delegations import newcomer, propose
from trialdm.definitions import sources
from trialdm.definitions.sources import BadDefinition
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, TrialError
from trialdm.domain.ethics import Approval, Condition, Document, Fact
from trialdm.instance import Instance
from trialdm.services import allocations, approvals, delegations, gates, participants, people, register, studies, trail
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import Evidence

OPINION = Approval(
    "rec",
    "favourable_with_conditions",
    "26/NE/0009",
    submitted_on=TODAY - timedelta(days=30),
    decided_on=TODAY,
    supersedes="25/NE/0001",
    conditions=(Condition("Name the independent adviser", True), Condition("Send a summary at the end")),
)
PERMISSION = Approval("hra_hcrw", "granted", "654321", ("ENG", "WAL"), decided_on=TODAY, supersedes="123456")
TOMORROW, YESTERDAY = TODAY + timedelta(days=1), TODAY - timedelta(days=1)


def record(world: World, entry: Approval | Document = OPINION, by: str = "trial-manager") -> int:
    return world.run(by, lambda unit: approvals.record(unit, TRIAL, entry))


def one(world: World, number: int) -> Approval:
    return world.read("monitor", lambda unit: approvals.one(unit, TRIAL, number))


def checked(world: World, number: int, by: str = "sponsor") -> None:
    world.run(by, lambda unit: approvals.check(unit, TRIAL, number))


def stands(world: World, body: str, on: date = TODAY, **where: str) -> str:
    """The reference of what is in force on a day."""
    with world.units.reading(SYSTEM) as unit:
        found = register.read(unit, TRIAL).standing(body, on, **where)
        return found.ref if found else ""


def whole(world: World) -> None:
    """Every entry of the trail is as it was written."""
    with world.units.reading(SYSTEM) as unit:
        assert trail.verify(unit) > 0


# --- recording and checking ------------------------------------------------------------------------------------------


def test_an_opinion_counts_once_another_person_has_checked_it(world: World) -> None:
    number = record(world)
    assert [a.entry for a in world.read("sponsor", lambda unit: approvals.waiting(unit, TRIAL))] == [number]
    assert stands(world, "rec") == "25/NE/0001"
    with pytest.raises(Forbidden) as refused:
        checked(world, number, "trial-manager")
    assert (refused.value.code, refused.value.needs) == ("REGISTER.OWN", "Another person who may check approvals.")
    assert ("register.check", ["REGISTER.OWN"]) in builders.refusals(world)
    assert one(world, number).waits_for_check
    checked(world, number)
    found = one(world, number)
    assert (found.recorded_by, found.second_check_by) == (world.actor("trial-manager").id, world.actor("sponsor").id)
    assert stands(world, "rec") == "26/NE/0009"
    with pytest.raises(Conflict) as again:
        checked(world, number, "chief-investigator")
    assert again.value.code == "REGISTER.CHECKED"
    whole(world)


def test_what_needs_no_check_counts_at_once(world: World) -> None:
    number = record(world, PERMISSION)
    assert stands(world, "hra_hcrw", nation="ENG") == "654321"
    with pytest.raises(Conflict):
        checked(world, number)


def test_who_recorded_and_who_checked_are_who_acts_whatever_the_entry_says(sqlite_world: World) -> None:
    number = record(sqlite_world, replace(OPINION, recorded_by="somebody", second_check_by="another"))
    found = one(sqlite_world, number)
    assert (found.recorded_by, found.second_check_by) == (sqlite_world.actor("trial-manager").id, "")


@pytest.mark.parametrize("role", ["principal-investigator", "research-nurse", "chief-investigator", "data-manager", "system-administrator"])
def test_only_the_office_records(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden) as refused:
        record(sqlite_world, by=role)
    assert refused.value.code == "ROLE.APPROVALS.RECORD"
    assert ("approvals.record", ["ROLE.APPROVALS.RECORD"]) in builders.refusals(sqlite_world)


def test_an_approval_that_is_withdrawn_stands_no_more_and_nothing_is_lost(world: World) -> None:
    before = len(world.read("monitor", lambda unit: register.read(unit, TRIAL).approvals))
    record(world, Approval("hra_hcrw", "withdrawn", "123456", ("ENG", "WAL"), decided_on=TODAY))
    assert [stands(world, "hra_hcrw", day, nation="ENG") for day in (YESTERDAY, TODAY)] == ["123456", ""]
    assert len(world.read("monitor", lambda unit: register.read(unit, TRIAL).approvals)) == before + 1


CANNOT_BE: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown body": ({"body": "council"}, "REGISTER.STATUS"),
    "a status that the body does not give": ({"status": "granted"}, "REGISTER.STATUS"),
    "an opinion about one site": ({"site": "S01"}, "REGISTER.SITE"),
    "a green light for no site": ({"body": "site_greenlight", "status": "granted", "ref": ""}, "REGISTER.SITE"),
    "a reference of another form": ({"ref": "2026/NE/9"}, "REGISTER.REF"),
    "without a day": ({"decided_on": None}, "REGISTER.DAY"),
    "in force before it was decided": ({"effective_from": YESTERDAY}, "REGISTER.DAY"),
    "it ends before it begins": ({"effective_to": YESTERDAY}, "REGISTER.DAY"),
}


@pytest.mark.parametrize("case", CANNOT_BE)
def test_decisions_that_cannot_be(sqlite_world: World, case: str) -> None:
    said, code = CANNOT_BE[case]
    with pytest.raises(Invalid) as refused:
        record(sqlite_world, replace(OPINION, **said))
    assert refused.value.code == code
    assert refused.value.needs


def test_a_site_that_does_not_exist(sqlite_world: World) -> None:
    with pytest.raises(Missing):
        record(sqlite_world, Approval("site_siv", "held", site="S99", decided_on=TODAY))


# --- letters ---------------------------------------------------------------------------------------------------------

LETTER = b"%PDF Dear chief investigator, the committee gives a favourable opinion."


def keep(world: World, content: bytes = LETTER, name: str = "opinion.pdf", sha256: str = "") -> str:
    return world.run("trial-manager", lambda unit: approvals.keep(unit, TRIAL, name, content, sha256))


def test_a_letter_is_kept_once_with_its_digest_and_given_back_as_it_was(world: World) -> None:
    digest = hashlib.sha256(LETTER).hexdigest()
    assert keep(world) == keep(world, sha256=f" {digest[:32].upper()} {digest[32:]}") == digest
    kept: Evidence = world.read("principal-investigator", lambda unit: approvals.file(unit, TRIAL, digest))
    assert (kept.name, kept.content, kept.media_type) == ("opinion.pdf", LETTER, "application/pdf")
    assert world.read("monitor", lambda unit: approvals.files(unit, TRIAL)) == {digest: "opinion.pdf"}
    with pytest.raises(Missing):
        world.read("monitor", lambda unit: approvals.file(unit, TRIAL, "0" * 64))
    with pytest.raises(Forbidden):
        world.read("system-administrator", lambda unit: approvals.file(unit, TRIAL, digest))
    whole(world)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("letter.exe", b"x", "FILE.TYPE"),
        ("letter", b"x", "FILE.TYPE"),
        ("letter.pdf", b"", "FILE.SIZE"),
        ("letter.pdf", b"<script>", "FILE.TYPE"),
        ("letter.png", b"%PDF", "FILE.TYPE"),
        ("letter.jpg", b"MZ\x90\0", "FILE.TYPE"),
        ("letter.docx", b"%PDF", "FILE.TYPE"),
        ("letter.txt", b"MZ\x90\0", "FILE.TYPE"),
    ],
)
def test_files_that_are_not_taken(sqlite_world: World, name: str, content: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        keep(sqlite_world, content, name)
    assert (refused.value.code, bool(refused.value.needs)) == (code, True)


# --- conditions ------------------------------------------------------------------------------------------------------


def meet(world: World, number: int, condition: int = 0, on: date = TODAY, evidence: str = "Letter of 10 March 2026") -> None:
    world.run("trial-manager", lambda unit: approvals.meet(unit, TRIAL, number, condition, on, evidence))


def test_ac_02_a_condition_without_evidence_blocks_until_it_is_met(world: World) -> None:
    number = record(world)
    checked(world, number)

    def open_conditions(on: date) -> list[str]:
        with world.units.reading(SYSTEM) as unit:
            return [r.message for r in gates.ask(unit, TRIAL, "open-trial", on=on).reasons if r.rule == "GOV-04"]

    (reason,) = open_conditions(TODAY)
    assert reason == "1 ethics condition to be met before the start without evidence: Name the independent adviser"
    meet(world, number)
    assert open_conditions(TODAY) == []
    (met, later) = one(world, number).conditions
    assert (met.met_on, met.evidence, later.met_on) == (TODAY, "Letter of 10 March 2026", None)
    with pytest.raises(Conflict) as refused:
        meet(world, number, evidence="Another letter")
    assert refused.value.code == "REGISTER.MET"
    assert one(world, number).conditions == (met, later)


@pytest.mark.parametrize(
    ("said", "code"),
    [({"condition": 5}, "REGISTER.CONDITION"), ({"evidence": " "}, "REGISTER.EVIDENCE"), ({"on": TOMORROW}, "REGISTER.FUTURE")],
)
def test_conditions_that_cannot_be_met(sqlite_world: World, said: dict[str, Any], code: str) -> None:
    number = record(sqlite_world)
    with pytest.raises(TrialError) as refused:
        meet(sqlite_world, number, **said)
    assert refused.value.code == code


# --- documents -------------------------------------------------------------------------------------------------------


def take_up(world: World, code: int = 2, on: date = TODAY, by: str = "principal-investigator", site: str = "S01") -> None:
    world.run(by, lambda unit: approvals.take_up(unit, TRIAL, "ICF", code, site, on))


def revoke(world: World, code: int = 2, on: date = TODAY, reason: str = "A wrong telephone number") -> None:
    world.run("sponsor", lambda unit: approvals.revoke(unit, TRIAL, "ICF", code, on, reason))


def approve(world: World, version: Document) -> None:
    """A version with an approval of its own, as an ethics folder has it."""
    world.run("trial-manager", lambda unit: register.add(unit, TRIAL, version))


def used(world: World, on: date, site: str = "S01") -> str:
    with world.units.reading(SYSTEM) as unit:
        found = register.read(unit, TRIAL).current_document("ICF", world.protocol.site(site), on)
        return found.version if found else ""


def test_a_site_uses_a_version_from_its_own_day_on(world: World) -> None:
    approve(world, Document("ICF", 3, "3.0", YESTERDAY, TODAY, TOMORROW))
    take_up(world, 3, TODAY + timedelta(days=7))
    assert [used(world, TODAY + timedelta(days=days)) for days in (1, 6, 7)] == ["2.0", "2.0", "3.0"]
    assert used(world, TOMORROW, "S02") == "3.0"


@pytest.mark.parametrize("by", ["principal-investigator", "trial-manager"])
def test_what_a_site_uses_already_is_not_taken_up_again_at_a_later_day(sqlite_world: World, by: str) -> None:
    for day in (TODAY, TOMORROW):
        with pytest.raises(Conflict) as refused:
            take_up(sqlite_world, 2, day, by)
        assert (refused.value.code, bool(refused.value.needs)) == ("REGISTER.UPTAKE", True)
    assert used(sqlite_world, TODAY) == "2.0"


def test_a_revoked_version_is_out_of_use_from_its_day_on_and_is_not_revoked_again(world: World) -> None:
    revoke(world)
    assert [used(world, day) for day in (YESTERDAY, TODAY)] == ["2.0", ""]
    with pytest.raises(Conflict) as refused:
        revoke(world, on=TODAY + timedelta(days=30))
    assert refused.value.code == "REGISTER.REVOKED"
    assert used(world, TODAY) == ""
    with pytest.raises(Invalid) as silent:
        revoke(world, 1, reason=" ")
    assert silent.value.code == "REGISTER.REASON"
    with pytest.raises(Refused) as past:
        revoke(world, 1, YESTERDAY)
    assert (past.value.code, past.value.needs) == ("REGISTER.PAST", "From today on.")
    whole(world)


NOT_A_VERSION: dict[str, tuple[dict[str, Any], type[TrialError], str]] = {
    "an unknown kind": ({"kind": "POSTER"}, Invalid, "REGISTER.KIND"),
    "a version that is there": ({"version": "2.0"}, Conflict, "REGISTER.TWICE"),
    "no version": ({"version": "three"}, Invalid, "REGISTER.VERSION"),
    "dated in the future": ({"dated": TOMORROW}, Refused, "REGISTER.FUTURE"),
    "approved in the future": ({"approved_on": TOMORROW}, Refused, "REGISTER.FUTURE"),
    "with a modification that is not on record": ({"modification": "SM09"}, Invalid, "REGISTER.MODIFICATION"),
    "approved by itself although the trial is open": ({}, Refused, "GATE.GOV-22"),
    "at a site that does not exist": ({"approved_on": None, "sites": {"S99": TODAY}}, Missing, "SITE.UNKNOWN"),
}


@pytest.mark.parametrize("case", NOT_A_VERSION)
def test_versions_that_cannot_be(sqlite_world: World, case: str) -> None:
    said, kind, code = NOT_A_VERSION[case]
    with pytest.raises(kind) as refused:
        record(sqlite_world, replace(Document("ICF", 3, "3.0", YESTERDAY, TODAY, TODAY), **said))
    assert refused.value.code == code


# --- files of an ethics folder ---------------------------------------------------------------------------------------

FOLDER = ROOT / "ethics" / TRIAL


def test_an_ethics_folder_is_taken_up_once_with_its_letters(world: World) -> None:
    world.at(date(2026, 11, 20))
    texts, letters = sources.read_folder(FOLDER), sources.read_letters(FOLDER)

    def load(texts: dict[str, str] = texts) -> int:
        return world.run("trial-manager", lambda unit: approvals.load(unit, TRIAL, texts, letters=letters))

    added = load()
    assert added == 56
    assert load() == 0
    opinion = next(a for a in world.read("monitor", lambda unit: register.read(unit, TRIAL).approvals) if a.ref == "25/NE/9001")
    manager = world.actor("trial-manager").id
    assert (opinion.waits_for_check, opinion.recorded_by, opinion.second_check_by) == (True, manager, ""), "the trial is open"
    with pytest.raises(Forbidden):
        checked(world, opinion.entry, "trial-manager")
    checked(world, opinion.entry)
    assert not one(world, opinion.entry).waits_for_check
    kept: Evidence = world.read("monitor", lambda unit: approvals.file(unit, TRIAL, opinion.sha256))
    assert kept.content == letters[opinion.letter]
    changed = {path: text.replace("decided_on: 2025-02-24", "decided_on: 2027-02-24") for path, text in texts.items()}
    with pytest.raises(BadDefinition) as bad:
        load(changed)
    assert any("which is in the future" in problem.message for problem in bad.value.problems)
    assert [tried for tried, _ in builders.refusals(world)][-1] == "register.load"
    whole(world)


def test_the_second_checks_of_a_folder_count_while_the_trial_is_set_up(empty: Instance) -> None:
    empty.units.run(SYSTEM, lambda unit: people.first(unit, "admin@trial.example", "Admin", builders.PASSWORD))
    units = replace(empty.units, clock=lambda: datetime(2026, 11, 20, 10, tzinfo=UTC))
    with units.reading(SYSTEM) as unit:
        admin = people.actor(unit, people.by_email(unit, "admin@trial.example"), "test")
    units.run(admin, lambda unit: people.add(unit, "manager@trial.example", "Manager", builders.PASSWORD, [("trial-manager", "")]))
    with units.reading(SYSTEM) as unit:
        manager = people.actor(unit, people.by_email(unit, "manager@trial.example"), "test")
    units.run(manager, lambda unit: studies.load(unit, sources.read_folder(ROOT / "protocols" / TRIAL)))
    units.run(manager, lambda unit: approvals.load(unit, TRIAL, sources.read_folder(FOLDER)))
    with units.reading(manager) as unit:
        assert approvals.waiting(unit, TRIAL) == []


# --- as it stood -----------------------------------------------------------------------------------------------------


def test_the_register_as_it_stood_on_a_day(world: World) -> None:
    record(world, Approval("insurance", "withdrawn", decided_on=YESTERDAY))
    number = record(world)

    def rows(on: date, site: str = "S01") -> dict[str, tuple[str, bool]]:
        found = world.read("monitor", lambda unit: approvals.as_of(unit, TRIAL, on, site))
        return {row["body"]: (row["status"], row["in_force"]) for row in found}

    past, today = rows(YESTERDAY - timedelta(days=1)), rows(TODAY)
    assert (past["insurance"], today["insurance"]) == (("in_force", True), ("withdrawn", False))
    assert today["rec"] == ("favourable_with_conditions", True), "the earlier opinion stands while the new one waits for its check"
    assert (rows(date(2026, 2, 1))["ICF"], today["ICF"]) == (("version 1.0", True), ("version 2.0", True))
    assert rows(date(2024, 12, 31))["rec"] == ("not recorded", False)
    checked(world, number)
    assert rows(TODAY)["rec"] == ("favourable_with_conditions", True)
    with pytest.raises(Missing):
        rows(TODAY, "S99")


def test_a_dated_fact_starts_what_counts_from_it(sqlite_world: World) -> None:
    with pytest.raises(Refused) as refused:
        sqlite_world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("usm", TOMORROW, text="stopped")))
    assert (refused.value.code, bool(refused.value.needs)) == ("REGISTER.FUTURE", True)
    with pytest.raises(Invalid):
        sqlite_world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("rain", TODAY)))


# --- bad input -------------------------------------------------------------------------------------------------------


def randomise(world: World, ident: str) -> None:
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, "key"))


def consent(world: World, ident: str, **said: Any) -> None:
    """The consent form corrected, with a reason."""
    at = (world.now - timedelta(hours=1)).replace(tzinfo=None)
    given = {
        "con_pis_ver": 2, "con_icf_ver": 2, "con_dtm": at.isoformat(timespec="minutes"), "con_route": 1, "con_capacity": 1, "con_copy": 1,
        "con_pis_date": (at.date() - timedelta(days=2)).isoformat(), "con_taker": world.actor("research-nurse").staff_no, **said,
    }  # fmt: skip
    builders.put(world, ident, "V01", "CONS", given, reason="source: read again")


def with_a_revoked_form(world: World) -> None:
    ident = builders.ready(world)
    revoke(world)
    randomise(world, ident)


def takes_up_a_revoked_form(world: World) -> None:
    revoke(world)
    take_up(world)


def with_a_consultee_of_the_team(world: World) -> None:
    ident = builders.ready(world)
    consent(world, ident, con_route=4, con_capacity=0, con_cons_rel=1, con_cons_team=1, con_no_personal="none could be found")
    randomise(world, ident)


def gives_own_role(world: World) -> None:
    own = world.actor("trial-manager").email
    world.run("trial-manager", lambda unit: people.give(unit, people.by_email(unit, own), "sponsor", TRIAL))


def without_the_signature(world: World) -> None:
    """A nurse who has signed her own line, which the principal investigator has not."""
    newcomer(world)
    line = propose(world)
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, line))
    builders.put(world, builders.consented(world), "V01", "EQ5D", role="newcomer")


def consent_after_the_baseline(world: World) -> None:
    """Baseline was done on the day before the consent that is entered now."""
    ident = builders.ready(world)
    builders.put(world, ident, "V01", "VISI", {"vs_done": 1, "vs_date": YESTERDAY.isoformat()}, reason="source: the diary")
    randomise(world, ident)


def consent_before_the_form_was_there(world: World) -> None:
    """A consent dated back to a day on which the site still used version 1.0."""
    ident = builders.ready(world)
    consent(world, ident, con_dtm="2026-02-01T10:00", con_pis_date="2026-01-30")
    randomise(world, ident)


def in_a_nation_without_permission(world: World) -> None:
    record(world, Approval("nrs", "withdrawn", decided_on=TODAY, nations=("SCO",)))
    for event in ("select", "set-up", "confirm", "green-light", "activate"):
        world.run("trial-manager", lambda unit, event=event: gates.move_site(unit, TRIAL, "S09", event))


@dataclass(frozen=True)
class Bad:
    """Bad input: the rule that refuses it, words of the reason and of what would mend it, and what the trail says was tried."""

    words: str
    attempt: Callable[[World], Any]
    code: str
    reason: str
    needs: str
    tried: str


BAD = (
    Bad(
        "overlapping approvals", lambda w: record(w, replace(PERMISSION, supersedes="")),
        "REGISTER.OVERLAP", "123456 is in force over the same days", "supersedes 123456", "register.record",
    ),
    Bad(
        "an approval dated in the future", lambda w: record(w, replace(OPINION, decided_on=TOMORROW)),
        "REGISTER.FUTURE", "dated 2026-03-11, which is in the future", "The day on the letter", "register.record",
    ),
    Bad(
        "use of a revoked document: a consent", with_a_revoked_form,
        "GATE.GOV-12", "It was revoked on 2026-03-10", "An approved ICF", "randomise",
    ),
    Bad(
        "use of a revoked document: a site takes it up", takes_up_a_revoked_form,
        "GATE.GOV-12", "was revoked on 2026-03-10", "A version that is approved and not revoked", "register.uptake",
    ),
    Bad(
        "a letter whose hash does not match", lambda w: keep(w, sha256="ab" * 32),
        "REGISTER.HASH", "is not the one that was named", "the digest of this file", "evidence.keep",
    ),
    Bad(
        "a consultee who is on the study team", with_a_consultee_of_the_team,
        "GATE.GOV-18", "Nominated consultee is on the study team", "no connection with the study", "randomise",
    ),
    Bad("a self-granted role", gives_own_role, "PEOPLE.OWN_ROLE", "own account", "another person", "people.manage"),
    Bad(
        "a delegation without the signature of the principal investigator", without_the_signature,
        "GATE.GOV-14", "is not delegated for completing case report forms", "signed by the principal investigator", "save-form",
    ),
    Bad(
        "a back-dated consent: it is dated after the baseline", consent_after_the_baseline,
        "GATE.GOV-13", "Procedure recorded before consent", "The right dates on both forms", "randomise",
    ),
    Bad(
        "a back-dated consent: before its form was in use", consent_before_the_form_was_there,
        "GATE.GOV-12", "ICF v2.0 was not approved for use at this site on 2026-02-01", "Re-consent with ICF v1.0", "randomise",
    ),
    Bad(
        "a site in a nation without approval", in_a_nation_without_permission,
        "GATE.GOV-05", "No NHS Scotland management permission is in force for Scotland", "NHS Scotland management permission for Scotland",
        "activate-site",
    ),
)  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.words for bad in BAD])
def test_bad_input_is_refused_with_its_rule_and_the_mend_and_kept_as_an_attempt(world: World, bad: Bad) -> None:
    with pytest.raises(TrialError) as refused:
        bad.attempt(world)
    problem = refused.value
    assert bad.code in {problem.code, *(detail.code for detail in problem.details)}
    assert bad.reason in problem.message
    assert bad.needs in problem.needs
    tried, codes = builders.refusals(world)[-1]
    assert tried == bad.tried
    assert bad.code in codes
    whole(world)


def test_a_consent_that_was_entered_late_is_warned_of(sqlite_world: World) -> None:
    ident = builders.screened(sqlite_world)
    late = (TODAY - timedelta(days=9)).isoformat()
    consent(sqlite_world, ident, con_dtm=f"{late}T10:00", con_pis_date=late)
    answer = sqlite_world.read("monitor", lambda unit: participants.gate(unit, TRIAL, "randomise", participant=ident))
    assert ("GOV-13", "warn") in {(reason.rule, reason.severity) for reason in answer.reasons}
    (reason,) = [reason for reason in answer.reasons if reason.rule == "GOV-13" and reason.severity == "warn"]
    assert "(back-dated)" in reason.message
    consent(sqlite_world, ident, con_dtm=f"{late}T11:00", con_pis_date=late)
    corrected = sqlite_world.read("monitor", lambda unit: participants.gate(unit, TRIAL, "randomise", participant=ident))
    assert ("GOV-13", "warn") in {(found.rule, found.severity) for found in corrected.reasons}


UPTAKE_TOO_EARLY = {
    "not approved": ("", 0, "GATE.GOV-12"),
    "the site may object": ("favourable", 0, "GATE.GOV-24"),
    "planned for day 35 while the site may object": ("favourable", 35, "GATE.GOV-24"),
}


@pytest.mark.parametrize("case", UPTAKE_TOO_EARLY)
def test_nobody_goes_round_a_modification_by_taking_up_its_document(sqlite_world: World, case: str) -> None:
    opinion, days, code = UPTAKE_TOO_EARLY[case]
    world = sqlite_world
    test_modifications.propose(world)
    record(world, Document("ICF", 3, "3.0", YESTERDAY, None, TODAY, modification=test_modifications.REF))
    if opinion:
        test_modifications.steps(world, "submit", "validate", opinion)
        test_modifications.step(world, "notify", "S01")
    for by in ("principal-investigator", "trial-manager"):
        with pytest.raises(Refused) as refused:
            take_up(world, 3, TODAY + timedelta(days=days), by)
        assert (refused.value.code, bool(refused.value.needs)) == (code, True)
    assert builders.refusals(world)[-1] == ("register.uptake", [code])
    world.at(TODAY + timedelta(days=35))
    if opinion:
        take_up(world, 3, TODAY + timedelta(days=36))
