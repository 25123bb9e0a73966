"""Separation of duties: what no one person may do alone or know together. One row for each attempt, each refused by its code.

The numbers are those of the sponsor's list of duties: (1) assessor and allocation, (2) randomiser and factors, (3) requester
and approver, (4) the two statisticians, (5) the system administrator and clinical values, (7) surgeon and assessor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.routing import AnyConverter
from werkzeug.test import TestResponse

from tests import builders
from tests.builders import PASSWORD, TODAY, TRIAL, World
from tests.doors import app_of
from trialdm.definitions.people import PersonEntry
from trialdm.documents import page
from trialdm.domain.errors import TrialError
from trialdm.domain.ethics import Approval
from trialdm.services import allocations, approvals, delegations, factors, packages, people, places, records, sessions, trail, unblinding
from trialdm.services.unit import SYSTEM, Unit


def corrected(world: World, ident: str, role: str) -> Any:
    """Change an answer that the allocation used."""
    planned = {"surg_date_plan": (TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    return builders.put(world, ident, "V01", "CLIN", {**builders.CLINICAL, **planned, "opioid_pre": 1}, role=role, reason="wrong before")


def randomised_by(world: World, role: str) -> str:
    ident = builders.ready(world)
    world.run(role, lambda unit: allocations.randomise(unit, TRIAL, ident, "key"))
    return ident


def operated(world: World) -> str:
    """A participant on whom surgeon 1 operated."""
    ident = builders.randomised(world)
    given = {"surg_done": 1, "surg_id": 1, "surg_date": TODAY.isoformat()}
    builders.put(world, ident, "V02", "SURG", given, role="surgeon", complete=False, only=True)
    return ident


def becomes_assessor(world: World, role: str) -> None:
    """The person with a role gives it up and becomes a blinded assessor with a line of the log."""
    account = world.actor(role).email

    world.run("system-administrator", lambda unit: people.end_role(unit, people.by_email(unit, account), role, "*", "S01"))
    world.run("trial-manager", lambda unit: people.give(unit, people.by_email(unit, account), "blinded-assessor", TRIAL, "S01"))
    given = {"tasks": ("crf", "assess"), "start": TODAY, "site": "S01"}
    world.run("trial-manager", lambda unit: delegations.transcribe(unit, TRIAL, people.by_email(unit, account), **given))
    with world.units.reading(SYSTEM) as unit:
        world.actors[("blinded-assessor", "S01")] = people.actor(unit, people.by_email(unit, account), "test")


def assess(world: World, ident: str, role: str = "blinded-assessor") -> Any:
    answers = {"rlp_any": 0, "plp_any": 0, "plp_sens": 0, "pain_assist": 1}
    return builders.put(world, ident, "V04", "PAIN", answers, only=True, role=role)


def give(world: World, by: str, role: str, whom: str, site: str = "") -> Any:
    email = builders.email(whom, site) if "@" not in whom else whom
    return world.run(by, lambda unit: people.give(unit, people.by_email(unit, email), role, TRIAL, site))


# --- the attempts ----------------------------------------------------------------------------------------------------


def looks(world: World) -> Any:
    ident = builders.randomised(world)
    return world.run("blinded-assessor", lambda unit: unblinding.look(unit, TRIAL, ident))


def opens_the_operation(world: World) -> Any:
    ident = operated(world)
    return world.read("blinded-assessor", lambda unit: places.locate(unit, TRIAL, ident, "V02", "SURG"))


def assesses_with_knowledge(world: World) -> Any:
    """The surgeon who looked at an allocation and is an assessor now."""
    ident = builders.randomised(world)
    world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident))
    becomes_assessor(world, "surgeon")
    return assess(world, ident)


def randomiser_corrects(world: World) -> Any:
    return corrected(world, randomised_by(world, "research-nurse"), "research-nurse")


def randomiser_blanks(world: World) -> Any:
    ident = randomised_by(world, "sub-investigator")

    def work(unit: Unit) -> Any:
        place = places.locate(unit, TRIAL, ident, "V01", "CLIN")
        stored = records.view(unit, place)
        said = stored.answers.to_json()
        answers = {key: value for key, value in said["answers"].items() if key != "opioid_pre"}
        missing = {**said["missing"], "opioid_pre": "NK"}
        return records.save(unit, place, records.Submission(answers, missing, True, "not known", version=stored.version))

    return world.run("sub-investigator", work)


def checks_own_entry(world: World) -> Any:
    entry = Approval("rec", "favourable", "26/NE/0009", decided_on=TODAY, supersedes="25/NE/0001")
    number = world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, entry))
    return world.run("trial-manager", lambda unit: approvals.check(unit, TRIAL, number))


def gives_own_role(world: World) -> Any:
    return give(world, "trial-manager", "sponsor", "trial-manager")


def proposes_own_line(world: World) -> Any:
    own = world.actor("principal-investigator").email
    given = {"tasks": ("assess",), "start": TODAY, "site": "S01"}
    return world.run("principal-investigator", lambda unit: delegations.propose(unit, TRIAL, people.by_email(unit, own), **given))


def countersigns_own_line(world: World) -> Any:
    own = world.actor("principal-investigator").email
    given = {"tasks": ("assess",), "start": TODAY, "site": "S01"}
    line = world.run("trial-manager", lambda unit: delegations.propose(unit, TRIAL, people.by_email(unit, own), **given))
    world.run("principal-investigator", lambda unit: delegations.sign(unit, TRIAL, line))
    return world.run("principal-investigator", lambda unit: delegations.countersign(unit, TRIAL, line))


def loads(world: World, **said: Any) -> Any:
    own = world.actor("trial-manager").email
    entry = PersonEntry(own, "Me", **{"roles": (), "delegations": (), "trainings": (), "credential": None, **said})
    return world.run("trial-manager", lambda unit: delegations.load(unit, TRIAL, [entry]))


LINE = {"tasks": ["crf"], "start": TODAY, "signed_by_pi": True}


def trains_self(world: World) -> Any:
    own = world.actor("trial-manager").email
    return world.run("trial-manager", lambda unit: delegations.train(unit, TRIAL, people.by_email(unit, own), kind="gcp", on=TODAY))


def was_unblinded(world: World) -> Any:
    """The unblinded statistician whose role has ended is given the blinded one."""
    email = world.actor("statistician-unblinded").email
    admin = "system-administrator"
    world.run(admin, lambda unit: people.end_role(unit, people.by_email(unit, email), "statistician-unblinded", "*"))
    return give(world, admin, "statistician-blinded", email)


def surgeon_assesses(world: World) -> Any:
    ident = operated(world)
    becomes_assessor(world, "surgeon")
    return assess(world, ident)


def operating_investigator_assesses(world: World) -> Any:
    """A principal investigator who operated and would enter the outcome under the role of an investigator."""
    pi = world.actor("principal-investigator").email
    given = {"site": "S01", "valid_from": TODAY, "cases": 8}
    number = world.run("trial-manager", lambda unit: delegations.credential(unit, TRIAL, people.by_email(unit, pi), **given))
    ident = builders.randomised(world)
    operation = {"surg_done": 1, "surg_id": number, "surg_date": TODAY.isoformat()}
    builders.put(world, ident, "V02", "SURG", operation, role="surgeon", complete=False, only=True)
    return assess(world, ident, "principal-investigator")


@dataclass(frozen=True)
class Duty:
    """One attempt, and the code by which it is refused; `tried` is what the trail says was tried."""

    number: int
    words: str
    attempt: Callable[[World], Any]
    code: str
    tried: str = ""


DUTIES = (
    Duty(1, "an assessor asks for an allocation", looks, "GATE.GOV-45"),
    Duty(1, "an assessor opens the record of the operation", opens_the_operation, "GATE.GOV-45"),
    Duty(1, "an assessor who knows the allocation assesses", assesses_with_knowledge, "ROLE.UNBLINDED_ASSESSOR", "form.see"),
    Duty(2, "whoever randomised corrects a factor", randomiser_corrects, "ROLE.RANDOMISER", "save-form"),
    Duty(2, "whoever randomised blanks a factor", randomiser_blanks, "ROLE.RANDOMISER", "save-form"),
    Duty(3, "whoever recorded an opinion checks it", checks_own_entry, "REGISTER.OWN", "register.check"),
    Duty(3, "somebody gives themselves a role", gives_own_role, "PEOPLE.OWN_ROLE", "people.manage"),
    Duty(3, "somebody loads a role for themselves", lambda w: loads(w, roles=(("sponsor", ""),)), "PEOPLE.OWN_ROLE", "people.manage"),
    Duty(3, "somebody proposes a line for themselves", proposes_own_line, "PEOPLE.OWN_LINE", "delegation.propose"),
    Duty(3, "somebody countersigns their own line", countersigns_own_line, "GATE.GOV-15", "delegate"),
    Duty(3, "somebody loads a line for themselves", lambda w: loads(w, delegations=(LINE,)), "PEOPLE.OWN_LINE", "delegation.propose"),
    Duty(3, "somebody records their own training", trains_self, "PEOPLE.OWN_LINE", "training.record"),
    Duty(
        3, "somebody loads their own training", lambda w: loads(w, trainings=({"kind": "gcp", "on": TODAY},)),
        "PEOPLE.OWN_LINE", "training.record",
    ),
    Duty(
        3, "somebody loads their own credential",
        lambda w: loads(w, credential={"surgeon": 9, "site": "S01", "valid_from": TODAY, "cases": 9}), "PEOPLE.OWN_LINE", "training.record",
    ),
    Duty(
        4, "the blinded statistician is made the unblinded one",
        lambda w: give(w, "trial-manager", "statistician-unblinded", "statistician-blinded"), "PEOPLE.SEPARATION",
    ),
    Duty(
        4, "the unblinded statistician is made the blinded one",
        lambda w: give(w, "trial-manager", "statistician-blinded", "statistician-unblinded"), "PEOPLE.SEPARATION",
    ),
    Duty(4, "who was the unblinded statistician is made the blinded one", was_unblinded, "PEOPLE.SEPARATION"),
    Duty(
        7, "a surgeon is made an assessor", lambda w: give(w, "trial-manager", "blinded-assessor", "surgeon", "S01"),
        "PEOPLE.SEPARATION",
    ),
    Duty(7, "a surgeon who operated assesses", surgeon_assesses, "ROLE.OPERATED", "form.see"),
    Duty(7, "an investigator who operated assesses", operating_investigator_assesses, "ROLE.OPERATED", "form.see"),
)  # fmt: skip


@pytest.mark.parametrize("duty", DUTIES, ids=[f"({duty.number}) {duty.words}" for duty in DUTIES])
def test_separation_of_duties(sqlite_world: World, duty: Duty) -> None:
    with pytest.raises(TrialError) as refused:
        duty.attempt(sqlite_world)
    assert refused.value.code == duty.code
    assert refused.value.needs
    if duty.tried:
        assert (duty.tried, duty.code) in [(tried, codes[0]) for tried, codes in builders.refusals(sqlite_world)]


# --- what another person may -----------------------------------------------------------------------------------------


def test_another_person_corrects_a_factor_and_the_randomiser_everything_else(world: World) -> None:
    """(2)"""
    ident = randomised_by(world, "research-nurse")
    builders.put(world, ident, "V01", "EQ5D", {}, role="research-nurse", reason="read again")
    assert corrected(world, ident, "sub-investigator").status == "complete"
    with world.units.reading(world.actor("monitor")) as unit:
        (used,) = factors.used(unit, world.protocol, factors.person(unit, TRIAL, ident))
    assert ("opioid_pre", "0", "1") in [(value.factor, value.randomised, value.corrected) for value in used.values]


def test_whoever_did_not_operate_assesses(sqlite_world: World) -> None:
    """(7)"""
    ident = operated(sqlite_world)
    assert assess(sqlite_world, ident).status == "complete"
    assert assess(sqlite_world, builders.randomised(sqlite_world), "sub-investigator").status == "complete"


# --- the system administrator ----------------------------------------------------------------------------------------


def marked(world: World) -> tuple[str, str]:
    """A participant with an answer that stands nowhere else, and that answer."""
    ident = operated(world)
    builders.put(world, ident, "V04", "PAIN", {"rlp_worst": 7, "rlp_any": 1}, role="blinded-assessor")
    builders.put(world, ident, "EV", "AE", {"ae_term": "Zebrafinch fever"}, only=True, complete=False, role="research-nurse")
    return ident, "Zebrafinch"


def addresses(world: World, ident: str) -> tuple[FlaskClient, list[str]]:
    """A browser of the administrator, and every address that is read by GET, filled in for one participant."""
    app = app_of(world)
    client = app.test_client()
    secret = world.run("system-administrator", lambda unit: sessions.sign_in(unit, "admin@trial.example", PASSWORD))
    assert secret
    client.set_cookie("trialdm", secret)
    with world.units.reading(SYSTEM) as unit:
        line = delegations.lines(unit, TRIAL)[0].id
    known = {
        "trial": TRIAL, "participant": ident, "visit": "EV", "form": "AE", "row": 1, "site": "S01", "seq": 1, "line": line,
        "step": "end", "kind": "html", "name": "roles",
    }  # fmt: skip
    found = []
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or set()) and "static" not in rule.endpoint:
            with app.test_request_context():
                chosen = {name: min(one.items) for name, one in rule._converters.items() if isinstance(one, AnyConverter)}
                found.append(str(rule.build({name: known.get(name, 1) for name in rule.arguments} | chosen)[1]))
    return client, found


@pytest.fixture
def _laid_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """PDF files as the text that they are made from: what a compressed file holds could not be searched."""
    monkeypatch.setattr(page, "pdf", str.encode)


def text_of(answer: TestResponse) -> str:
    """What can be read of an answer."""
    return answer.get_data().decode("utf-8", "replace")


@pytest.mark.usefixtures("_laid_open")
def test_a_system_administrator_reads_no_clinical_value_on_any_page_or_address(sqlite_world: World) -> None:
    """(5) Neither the answers nor the number of a participant, on no page and at no address of the API; no export either."""
    ident, value = marked(sqlite_world)
    client, paths = addresses(sqlite_world, ident)
    assert len(paths) > 50
    answers = {path: client.get(path) for path in paths}
    assert any(answer.status_code == 200 for answer in answers.values())
    assert not [path for path, answer in answers.items() if value in text_of(answer)]
    held = {path: answer for path, answer in answers.items() if ident in text_of(answer)}
    assert not [path for path, answer in held.items() if answer.status_code == 200]
    for blinding in packages.BLINDINGS:
        asked = packages.Request(blinding=blinding, reason="curious")
        with pytest.raises(TrialError) as refused:
            sqlite_world.read("system-administrator", lambda unit, asked=asked: packages.write(unit, TRIAL, "nowhere", asked))  # type: ignore[arg-type]
        assert refused.value.code in ("ROLE.EXPORT.BLINDED", "GATE.GOV-45")
    with pytest.raises(TrialError) as refused:
        sqlite_world.read("system-administrator", lambda unit: trail.of_trial(unit, TRIAL, trail.Filter()))
    assert refused.value.code == "ROLE.AUDIT.SEE"


@pytest.mark.usefixtures("_laid_open")
def test_the_same_addresses_show_the_answer_to_a_nurse(sqlite_world: World) -> None:
    """(5) The addresses of the test above do hold the answer, for somebody who may read it."""
    ident, value = marked(sqlite_world)
    client, paths = addresses(sqlite_world, ident)
    email = sqlite_world.actor("research-nurse").email
    secret = sqlite_world.run("research-nurse", lambda unit: sessions.sign_in(unit, email, PASSWORD))
    client.set_cookie("trialdm", str(secret))
    assert [path for path in paths if value in text_of(client.get(path))]
