"""Identities: who enters and sees them, what is on record, what two people do, and that none comes into the research database."""

import logging
import sqlite3
from dataclasses import replace
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from tests import builders, pathway
from tests.builders import TRIAL, World
from tests.identity.people import identifiers, kept, who, with_vault
from trialdm.demo.invented import invented
from trialdm.documents.page import html
from trialdm.domain import roles
from trialdm.domain.errors import Broken, Conflict, Forbidden, Invalid, Refused, TrialError, Unanswered, VaultAway, WrongState
from trialdm.identity.client import Asked
from trialdm.services import identities, packages, trail
from trialdm.services.identities import LIMITS, Look
from trialdm.services.packages import Request
from trialdm.services.unit import SYSTEM, Unit, Unproved
from trialdm.store.tables import AuditEvent, IdentityAct, Notice, Participant

WHY = "To ring about the visit tomorrow"


@pytest.fixture
def there(world: World) -> World:
    return with_vault(world)


@pytest.fixture
def one(sqlite_world: World) -> World:
    return with_vault(sqlite_world)


def added(world: World, number: int = 1, role: str = "research-nurse", site: str = "S01", **more: str) -> str:
    given = invented(number)
    return world.run(role, lambda unit: identities.add(unit, TRIAL, site, given, **more).id, site)


def refused(world: World, role: str, work: Any, site: str = "") -> TrialError:
    with pytest.raises(TrialError) as problem:
        world.run(role, work, site)
    return problem.value


def seen(world: World, ident: str, role: str = "research-nurse", site: str = "S01") -> dict[str, str]:
    look = world.run(role, lambda unit: identities.see(unit, TRIAL, ident, WHY), site)
    return world.read(role, lambda unit: identities.shown(unit, look), site).to_json()


# --- entering --------------------------------------------------------------------------------------------------------


def test_a_participant_is_added_with_an_identity_that_stands_in_the_vault_only(there: World) -> None:
    ident = added(there)
    assert seen(there, ident) == who(1).to_json()
    assert there.units.vault is not None
    assert there.units.vault.waiting() == []


def test_adding_needs_an_identity_or_a_reason_why_it_follows(there: World) -> None:
    assert refused(there, "research-nurse", lambda unit: identities.add(unit, TRIAL, "S01")).code == "IDENTITY.NEEDED"
    assert refused(there, "research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", later=".")).code == "REASON.WORDS"
    ident = there.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", later="Screened by telephone").id)
    assert refused(there, "research-nurse", lambda unit: identities.see(unit, TRIAL, ident, WHY)).code == "IDENTITY.NONE"
    there.run("research-nurse", lambda unit: identities.enter(unit, TRIAL, ident, invented(1)))
    assert seen(there, ident) == who(1).to_json()
    assert refused(there, "research-nurse", lambda unit: identities.enter(unit, TRIAL, ident, invented(2))).code == "IDENTITY.ENTERED"


def test_the_coordinator_adds_without_and_never_with_an_identity(one: World) -> None:
    assert refused(one, "trial-coordinator", lambda unit: identities.add(unit, TRIAL, "S01", invented(1))).code == "ROLE.IDENTITY.ENTER"
    one.run("trial-coordinator", lambda unit: identities.add(unit, TRIAL, "S01", later="The site enters it"))


def test_a_trial_that_keeps_no_identities_takes_none(audit: World) -> None:
    with_vault(audit)
    add = lambda unit: identities.add(unit, pathway.AUDIT, "S01", invented(1))  # noqa: E731
    assert refused(audit, "auditor", add, "S01").code == "IDENTITY.SITE_HELD"
    row = audit.run("auditor", lambda unit: identities.add(unit, pathway.AUDIT, "S01"), "S01")
    assert audit.read("auditor", lambda unit: unit.session.get(Participant, (pathway.AUDIT, row.id)), "S01")
    assert not (audit.instance.settings.folder / "apart").exists()


def test_a_duplicate_at_the_own_site_is_named_and_at_another_site_is_not(there: World) -> None:
    ident = added(there)
    own = refused(there, "research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", invented(1)))
    assert (type(own), own.code, own.shows) == (Conflict, "IDENTITY.DUPLICATE", {"participant": ident})
    other = refused(there, "research-nurse", lambda unit: identities.add(unit, TRIAL, "S02", invented(1)), "S02")
    assert (other.code, other.shows) == ("IDENTITY.DUPLICATE", {})
    assert ident not in f"{other.message}{other.needs}"
    asked = refused(there, "research-nurse", lambda unit: identities.duplicate(unit, TRIAL, invented(1), "S02"), "S02")
    assert (asked.code, asked.shows) == (other.code, other.shows)
    there.read("research-nurse", lambda unit: identities.duplicate(unit, TRIAL, invented(2), "S02"), "S02")
    with there.instance.engine.connect() as connection:
        assert len(connection.execute(select(Participant.id)).all()) == 1


def test_somebody_of_the_same_name_is_another_person_once_somebody_says_how_they_know(one: World) -> None:
    added(one)
    twin = {**invented(1), "nhs_number": "", "no_nhs_number": "Lives abroad"}
    assert refused(one, "research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", twin)).code == "IDENTITY.POSSIBLE"
    naming = f"Not {invented(1)['family_name']}"
    assert refused(one, "research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", twin, different=naming)).code == "IDENTITY.REASON"
    one.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", twin, different="Both were in the room"))


def test_what_is_not_committed_leaves_nothing_in_the_vault(there: World) -> None:
    def fail(unit: Unit) -> None:
        identities.add(unit, TRIAL, "S01", invented(1))
        raise Invalid("after all not")

    assert refused(there, "research-nurse", fail).message == "after all not"
    assert there.units.vault is not None
    assert there.units.vault.waiting() == []
    added(there)


def test_nothing_is_added_while_the_vault_is_away_and_without_identity_all_goes_on(one: World, tmp_path: Path) -> None:
    with_vault(one, Asked(tmp_path / "nowhere", tmp_path / "nothing"))
    problem = refused(one, "research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", invented(1)))
    assert isinstance(problem, VaultAway)
    one.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", later="The vault does not answer"))


# --- looking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(roles.ROLES))
def test_only_staff_of_the_own_site_who_may_consent_see_an_identity(one: World, role: str) -> None:
    ident = added(one)
    if (role, "S01") not in one.actors and (role, "") not in one.actors:
        return
    if role in ("principal-investigator", "sub-investigator", "research-nurse"):
        assert seen(one, ident, role) == who(1).to_json()
        return
    assert isinstance(refused(one, role, lambda unit: identities.see(unit, TRIAL, ident, WHY)), Forbidden)


def test_staff_of_another_site_see_nothing(one: World) -> None:
    ident = added(one)
    assert refused(one, "research-nurse", lambda unit: identities.see(unit, TRIAL, ident, WHY), "S02").code == "ROLE.SITE"


def test_a_look_is_on_record_before_the_vault_is_asked(there: World) -> None:
    ident = added(there)
    look = there.run("research-nurse", lambda unit: identities.see(unit, TRIAL, ident, WHY))
    with there.instance.engine.connect() as connection:
        entries = connection.execute(select(AuditEvent.stream, AuditEvent.entity_id).where(AuditEvent.action == "identity.see")).all()
    assert [tuple(entry) for entry in entries] == [("identity", ident)]
    for wrong in (Look(TRIAL, ident, "none"), Look(TRIAL, "other", look.id)):
        with pytest.raises(Forbidden):
            there.read("research-nurse", lambda unit, wrong=wrong: identities.shown(unit, wrong))
    with pytest.raises(Forbidden):
        there.read("principal-investigator", lambda unit: identities.shown(unit, look))
    there.now += timedelta(minutes=3)
    with pytest.raises(Forbidden):
        there.read("research-nurse", lambda unit: identities.shown(unit, look))


def test_a_look_that_is_not_committed_shows_nothing(one: World) -> None:
    ident = added(one)
    looks: list[Look] = []

    def fail(unit: Unit) -> None:
        looks.append(identities.see(unit, TRIAL, ident, WHY))
        raise Invalid("after all not")

    refused(one, "research-nurse", fail)
    with pytest.raises(Forbidden):
        one.read("research-nurse", lambda unit: identities.shown(unit, looks[0]))


def test_five_looks_an_hour_are_the_most(there: World) -> None:
    ident = added(there)
    for _ in range(5):
        seen(there, ident)
    problem = refused(there, "research-nurse", lambda unit: identities.see(unit, TRIAL, ident, WHY))
    assert (type(problem), problem.code) == (Refused, "IDENTITY.OFTEN")
    assert ("identity.see", ["IDENTITY.OFTEN"]) in builders.refusals(there)
    seen(there, ident, "principal-investigator")
    there.now += timedelta(minutes=61)
    there.run("research-nurse", lambda unit: identities.see(unit, TRIAL, ident, WHY))


@pytest.mark.parametrize("reason", ["", ".", "seen in 999 000 0018", "x" * 301, "NAME"])
def test_a_reason_says_something_and_names_nobody(one: World, reason: str) -> None:
    ident = added(one)
    given = reason.replace("NAME", f"ring {invented(1)['family_name']}")
    problem = refused(one, "research-nurse", lambda unit: identities.see(unit, TRIAL, ident, given))
    assert isinstance(problem, Invalid)
    assert invented(1)["family_name"] not in problem.message


@pytest.mark.parametrize("minutes", [None, 1, 6])
def test_on_pages_somebody_has_just_proved_who_they_are(one: World, minutes: int | None) -> None:
    ident = added(one)
    proved = None if minutes is None else one.now - timedelta(minutes=minutes)
    person = replace(one.actor("research-nurse"), door="web", proved_at=proved)
    if minutes == 1:
        assert one.units.run(person, lambda unit: identities.see(unit, TRIAL, ident, WHY)).participant == ident
        return
    with pytest.raises(Unproved):
        one.units.run(person, lambda unit: identities.see(unit, TRIAL, ident, WHY))


def test_looks_are_read_in_the_trail_by_those_who_watch_over_identities_only(there: World) -> None:
    ident = added(there)
    seen(there, ident)

    def looks(role: str, site: str = "") -> list[str]:
        lines = there.read(role, lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(participant=ident)), site)
        return [line.reason for line in lines if line.action == "identity.see"]

    assert looks("principal-investigator") == looks("sponsor") == [f"other: {WHY}"]
    for role in ("research-nurse", "sub-investigator", "data-manager", "unblinded-data-manager", "trial-manager", "monitor"):
        assert looks(role) == []


# --- two people ------------------------------------------------------------------------------------------------------


def test_somebody_of_elsewhere_looks_once_after_a_second_person_agreed(there: World) -> None:
    ident = added(there)
    asked = there.run("research-nurse", lambda unit: identities.ask(unit, TRIAL, ident, "Came to our emergency room"), "S02")
    early = refused(there, "research-nurse", lambda unit: identities.open_asked(unit, TRIAL, asked), "S02")
    assert early.code == "IDENTITY.CLOSED"
    there.run("chief-investigator", lambda unit: identities.decide(unit, TRIAL, asked, "Rang the ward, it is so", agree=True))
    assert refused(there, "trial-manager", lambda unit: identities.open_asked(unit, TRIAL, asked)).code == "IDENTITY.NOT_YOURS"
    look = there.run("research-nurse", lambda unit: identities.open_asked(unit, TRIAL, asked), "S02")
    assert there.read("research-nurse", lambda unit: identities.shown(unit, look), "S02") == who(1)
    again = refused(there, "research-nurse", lambda unit: identities.open_asked(unit, TRIAL, asked), "S02")
    assert again.code == "IDENTITY.CLOSED"
    with there.instance.engine.connect() as connection:
        told = connection.execute(select(Notice.account_id, Notice.text).where(Notice.kind == "identity")).all()
    assert {there.actor("principal-investigator").id, there.actor("sponsor").id} <= {row.account_id for row in told}
    assert not [row for row in told if invented(1)["family_name"] in row.text]


def test_nobody_confirms_their_own_request_and_it_ends(there: World) -> None:
    ident = added(there)
    asked = there.run("trial-manager", lambda unit: identities.ask(unit, TRIAL, ident, "The site does not answer"))
    own = refused(there, "trial-manager", lambda unit: identities.decide(unit, TRIAL, asked, "I agree", agree=True))
    assert own.code == "IDENTITY.SAME_PERSON"
    there.run("sponsor", lambda unit: identities.decide(unit, TRIAL, asked, "The need is real", agree=True))
    twice = refused(there, "chief-investigator", lambda unit: identities.decide(unit, TRIAL, asked, "No need", agree=False))
    assert twice.code == "IDENTITY.CLOSED"
    there.now += timedelta(minutes=61)
    assert refused(there, "trial-manager", lambda unit: identities.open_asked(unit, TRIAL, asked)).code == "IDENTITY.CLOSED"
    assert [row.state for row in there.read("trial-manager", lambda unit: identities.requests(unit, TRIAL))] == ["ended"]


def test_what_was_declined_is_not_opened_and_who_may_decide_is_told(one: World) -> None:
    ident = added(one)
    asked = one.run("trial-coordinator", lambda unit: identities.ask(unit, TRIAL, ident, "A letter came back"))
    assert [row.decides for row in one.read("principal-investigator", lambda unit: identities.requests(unit, TRIAL))] == [True]
    assert one.read("research-nurse", lambda unit: identities.requests(unit, TRIAL), "S02") == []
    one.run("principal-investigator", lambda unit: identities.decide(unit, TRIAL, asked, "We ring ourselves", agree=False))
    assert refused(one, "trial-coordinator", lambda unit: identities.open_asked(unit, TRIAL, asked)).code == "IDENTITY.CLOSED"


@pytest.mark.parametrize("role", ["monitor", "data-manager", "statistician-blinded", "surgeon", "blinded-assessor", "sponsor"])
def test_others_do_not_even_ask(one: World, role: str) -> None:
    ident = added(one)
    assert refused(one, role, lambda unit: identities.ask(unit, TRIAL, ident, "Would like to know")).code == "ROLE.IDENTITY.ASK"


def test_the_own_site_looks_without_asking(one: World) -> None:
    ident = added(one)
    assert refused(one, "research-nurse", lambda unit: identities.ask(unit, TRIAL, ident, "Came today")).code == "IDENTITY.OWN"


# --- shredding -------------------------------------------------------------------------------------------------------


def test_two_people_shred_an_identity_and_the_certificate_states_its_limits(there: World) -> None:
    ident = added(there)
    assert not there.run("trial-manager", lambda unit: identities.shred(unit, TRIAL, ident, "Asked for by the participant"))
    own = refused(there, "trial-manager", lambda unit: identities.shred(unit, TRIAL, ident, "Asked for by the participant"))
    assert own.code == "IDENTITY.SAME_PERSON"
    seen(there, ident)
    assert there.run("sponsor", lambda unit: identities.shred(unit, TRIAL, ident, "Retention is over"))
    assert isinstance(refused(there, "research-nurse", lambda unit: identities.see(unit, TRIAL, ident, WHY)), WrongState)
    document = html(there.read("sponsor", lambda unit: identities.certificate(unit, TRIAL, ident)))
    assert all(escape(limit) in document for limit in LIMITS)
    assert ident in document
    assert not [word for word in identifiers(invented(1)) if word.decode() in document]
    assert added(there) != ident  # who was shredded can take part again
    there.read("principal-investigator", lambda unit: identities.certificate(unit, TRIAL, ident))
    with pytest.raises(Forbidden):
        there.read("research-nurse", lambda unit: identities.certificate(unit, TRIAL, ident))


class Gone:
    """A vault that goes away when it is to shred."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def shred(self, *_: Any, **__: Any) -> str:
        raise VaultAway("away")


def test_a_shredding_that_was_cut_off_is_done_by_the_reconciler(one: World) -> None:
    ident, inner = added(one), one.units.vault
    assert inner is not None
    one.run("trial-manager", lambda unit: identities.shred(unit, TRIAL, ident, "Asked for by the participant"))
    with_vault(one, Gone(inner))
    assert one.run("sponsor", lambda unit: identities.shred(unit, TRIAL, ident, "Retention is over"))
    with_vault(one, inner)
    assert inner.contains(TRIAL, ident, invented(1)["family_name"]) == ("name",)
    with one.units.reading(SYSTEM) as unit:
        assert identities.reconcile(unit, 10)["shredded"] == 1
    assert inner.contains(TRIAL, ident, invented(1)["family_name"]) == ()


# --- forms -----------------------------------------------------------------------------------------------------------


def consented(world: World, number: int = 1) -> str:
    ident = builders.consented(world)
    world.run("research-nurse", lambda unit: identities.enter(unit, TRIAL, ident, invented(number)))
    return ident


def term(world: World, ident: str, words: str, confirm: tuple[str, ...] = ()) -> Any:
    return builders.put(world, ident, "EV", "AE", {"ae_term": words, "ae_ser": 0, "ae_sev": 1}, confirm=("AE-09", *confirm))


@pytest.mark.parametrize(
    ("words", "kind"),
    [("{given_name} {family_name} fell", "full_name"), ("Fall, born {born}", "born"), ("Fall, see {nhs_number}", ""), ("{phone}", "phone")],
)
def test_the_participants_own_identifiers_are_refused_in_a_form(there: World, words: str, kind: str) -> None:
    ident = consented(there)
    with pytest.raises(Invalid) as problem:
        term(there, ident, words.format(**invented(1)))
    assert problem.value.code == "GATE.GOV-41"
    said = f"{problem.value.message}{problem.value.details}"
    assert not [word for word in identifiers(invented(1)) if word.decode() in said]


def test_a_name_alone_is_asked_about_and_confirmed(there: World) -> None:
    ident = consented(there)
    words = f"{invented(1)['family_name']} fracture"
    with pytest.raises(Unanswered) as asked:
        term(there, ident, words)
    assert [detail.code for detail in asked.value.details] == ["GOV-41.ae_term.name"]
    assert term(there, ident, words, ("GOV-41.ae_term.name",)).status == "complete"


def test_a_reason_for_change_and_a_note_do_not_name_the_participant(one: World) -> None:
    ident, name = consented(one), invented(1)["given_name"]
    builders.put(one, ident, "V01", "DEMO", {"age_years": 60})
    with pytest.raises(Invalid) as problem:
        builders.put(one, ident, "V01", "DEMO", {"age_years": 61}, reason=f"other: {name} said so")
    assert problem.value.code == "GATE.GOV-41"
    with pytest.raises(Invalid):
        builders.put(one, ident, "V01", "DEMO", {"age_years": 61}, reason="source", notes={"any": f"{name} said so"})
    assert builders.put(one, ident, "V01", "DEMO", {"age_years": 61}, reason="other: said so on the ward").version == 2


def test_words_about_nobody_and_other_people_raise_no_alarm(one: World) -> None:
    ident = consented(one)
    assert term(one, ident, f"Cough, as {invented(2)['family_name']} had").status == "complete"


def test_forms_are_saved_while_the_vault_is_away_and_say_that_nothing_was_checked(there: World, tmp_path: Path) -> None:
    ident = consented(there)
    with_vault(there, Asked(tmp_path / "nowhere", tmp_path / "nothing"))
    with pytest.raises(Unanswered) as asked:
        term(there, ident, "Cough")
    assert [detail.code for detail in asked.value.details] == ["GOV-41.UNCHECKED"]
    assert term(there, ident, "Cough", ("GOV-41.UNCHECKED",)).status == "complete"
    builders.put(there, ident, "V01", "DEMO", {"age_years": 60})  # no free text: nothing to check


# --- nowhere else ----------------------------------------------------------------------------------------------------


def everything(world: World) -> bytes:
    """Every value of every table, and of SQLite the very file."""
    engine = world.instance.engine
    with engine.connect() as connection:
        found = [repr(row) for name in inspect(engine).get_table_names() for row in connection.execute(text(f'SELECT * FROM "{name}"'))]
    content = "\n".join(found).encode()
    if engine.dialect.name == "sqlite":
        sqlite3.connect(str(engine.url.database)).close()
        content += Path(str(engine.url.database)).read_bytes()
    return content


def scanned(world: World, count: int, folder: Path, caplog: pytest.LogCaptureFixture) -> list[bytes]:
    """Identifiers of so many people that stand in the research database, in logs or in an export; also what was refused leaves none."""
    caplog.set_level(logging.DEBUG)
    idents = [added(world, number) for number in range(count)]
    for number in (0, 1):
        refused(world, "research-nurse", lambda unit, number=number: identities.add(unit, TRIAL, "S01", invented(number)))
        seen(world, idents[number])
    world.read("statistician-blinded", lambda unit: packages.write(unit, TRIAL, folder, Request(formats=("csv", "sav"))))
    content = everything(world) + caplog.text.encode()
    content += b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert idents[0].encode() in content
    return [word for number in range(count) for word in identifiers(invented(number)) if word in content]


def test_no_identifier_stands_in_the_research_database_logs_or_exports(
    there: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert scanned(there, 50, tmp_path / "out", caplog) == []


def test_acts_about_identities_are_never_changed(one: World) -> None:
    added(one)
    with one.instance.engine.connect() as connection:
        assert connection.execute(select(IdentityAct.act)).scalars().all() == ["enter"]
        for statement in ("UPDATE identity_act SET act = 'x'", "DELETE FROM identity_act"):
            with pytest.raises(Exception, match="append-only"):
                connection.execute(text(statement))


def test_the_reconciler_asks_nothing_of_a_vault_that_no_trial_uses(tmp_path: Path, empty: Any) -> None:
    with empty.units.reading(SYSTEM) as unit:
        assert identities.reconcile(unit, 0) == {"active": 0, "forgotten": 0, "shredded": 0}
    assert not (empty.settings.folder / "vault").exists()


def test_what_a_damaged_vault_says_names_nobody(one: World) -> None:
    ident = added(one)
    vault = kept(one.instance.settings.folder / "apart")
    with vault._writing() as connection:
        connection.execute(text("UPDATE vault_field SET value = zeroblob(40)"))
    with pytest.raises(Broken) as problem:
        seen(one, ident)
    assert problem.value.code == "VAULT.SEAL"
