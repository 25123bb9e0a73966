"""Learning an allocation: who may, what is kept and told, and that nobody blinded reads an arm in any of it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain import roles
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Refused, WrongState
from trialdm.domain.roles import Grant
from trialdm.services import (
    allocations,
    chains,
    delegations,
    disclosures,
    gates,
    ledgers,
    mail,
    notices,
    participants,
    people,
    places,
    records,
    studies,
    trail,
    unblinding,
)
from trialdm.services.unit import LONDON, SYSTEM, Actor, Unit
from trialdm.store.tables import AuditEvent, AuditValue, Disclosure, FormInstance, Notice, Outgoing, SchemeEvent

#: What would tell an arm: names and labels of PRE-TMR.
TELLING = ('TMR"', "Standard", "Targeted muscle", "Standard nerve")

REASON = "Bleeding in the residual limb, TMR or not decides"


def actor(world: World, role: str) -> Actor:
    """Somebody who holds this role only, made where the furnished world has nobody."""
    email = f"{role}.extra@trial.example"
    with world.units.reading(SYSTEM) as unit:
        known = {account.email for account, _ in people.everybody(unit)}
    site = "S01" if roles.ROLES[role][1] else ""
    if email not in known:
        world.run("system-administrator", lambda unit: people.add(unit, email, f"Extra {role}", builders.PASSWORD, [(role, site)]))
    with world.units.reading(SYSTEM) as unit:
        return people.actor(unit, people.by_email(unit, email), "test")


def rows(world: World, table: type[Any]) -> list[Any]:
    with world.units.reading(SYSTEM) as unit:
        return list(unit.session.scalars(select(table)))


def unblind(world: World, ident: str, role: str = "principal-investigator", **more: Any) -> unblinding.Unblinded:
    return world.run(role, lambda unit: unblinding.emergency(unit, TRIAL, ident, REASON, **more))


def arm_name(world: World, ident: str) -> str:
    return world.protocol.arm(builders.arm_of(world, ident)).name


def inbox(world: World, role: str, kind: str = "") -> list[notices.Message]:
    return [message for message in world.read(role, notices.inbox) if kind in ("", message.kind)]


# --- an emergency ----------------------------------------------------------------------------------------------------


def test_an_emergency_shows_the_arm_and_leaves_every_trace(world: World) -> None:
    ident = builders.randomised(world)
    found = unblind(world, ident)
    assert (found.arm, found.number, found.drill) == (arm_name(world, ident), "S01-0001", False)
    assert found.label == world.protocol.arm(builders.arm_of(world, ident)).label
    kept = rows(world, Disclosure)
    assert [(row.kind, row.account_id, row.participant_id) for row in kept] == [
        ("emergency", world.actor("principal-investigator").id, ident)
    ]
    form = world.read("surgeon", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "UNBL")))
    assert form.status == "complete"
    assert (form.answers.values["ub_reason"], form.answers.values["ub_by"]) == (1, world.actor("principal-investigator").staff_no)
    event = json.loads(rows(world, SchemeEvent)[-1].data)
    assert (event["kind"], event["participant"], event["code"]) == ("unblinded", ident, 1)
    with world.units.reading(SYSTEM) as unit:
        assert chains.verify_chain(unit, TRIAL) == 2
        assert trail.verify(unit) > 0


@pytest.mark.parametrize("role", list(roles.ROLES))
def test_who_may_unblind_in_an_emergency(sqlite_world: World, role: str) -> None:
    ident = builders.randomised(sqlite_world)
    somebody = actor(sqlite_world, role)

    def work(unit: Unit) -> unblinding.Unblinded:
        return unblinding.emergency(unit, TRIAL, ident, REASON)

    if role in ("principal-investigator", "sub-investigator", "chief-investigator", "safety-reviewer"):
        assert sqlite_world.units.run(somebody, work).arm == arm_name(sqlite_world, ident)
    else:
        with pytest.raises(Forbidden):
            sqlite_world.units.run(somebody, work)
        assert rows(sqlite_world, Disclosure) == []


def test_another_sites_investigator_may_not(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Forbidden) as refused:
        sqlite_world.run("sub-investigator", lambda unit: unblinding.emergency(unit, TRIAL, ident, REASON), "S02")
    assert refused.value.code == "ROLE.SITE"


def test_an_emergency_waits_for_no_state_gate_or_delegation(world: World) -> None:
    ident = builders.randomised(world)
    world.run("sponsor", lambda unit: gates.move_trial(unit, TRIAL, "pause", reason="safety"))
    world.run("trial-manager", lambda unit: gates.move_site(unit, TRIAL, "S01", "suspend", reason="no surgeon"))
    assert unblind(world, ident, "sub-investigator").arm
    builders.lock(world)
    assert unblind(world, ident, "chief-investigator").arm


def test_one_word_is_reason_enough_in_an_emergency(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    found = sqlite_world.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, ident, " Sepsis "))
    assert found.arm == arm_name(sqlite_world, ident)
    assert [row.reason_text for row in rows(sqlite_world, Disclosure)] == ["Sepsis"]


@pytest.mark.parametrize("reason", ["", "  ", "\n\t", "x " * 600])
def test_a_reason_is_needed(sqlite_world: World, reason: str) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Invalid) as refused:
        sqlite_world.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, ident, reason))
    assert refused.value.code == "UNBLIND.REASON"
    with pytest.raises(Invalid):
        sqlite_world.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, ident, REASON, 3))


def test_nobody_who_was_not_randomised_is_unblinded(sqlite_world: World) -> None:
    ident = builders.ready(sqlite_world)
    with pytest.raises(WrongState) as refused:
        unblind(sqlite_world, ident)
    assert refused.value.code == "ALLOC.NONE"


def test_chief_investigator_and_trial_manager_are_told_at_once_without_the_arm(world: World) -> None:
    ident = builders.randomised(world)
    unblind(world, ident)
    for role in ("chief-investigator", "trial-manager"):
        (message,) = inbox(world, role, "emergency")
        assert (message.participant, message.read_at) == (ident, None)
        assert not any(word in message.text + message.subject for word in ("TMR ", "Standard", "Targeted", REASON))
    assert inbox(world, "research-nurse") == []
    addresses = {row.to for row in rows(world, Outgoing) if "emergency" in row.body}
    assert addresses == {world.actor(role).email for role in ("chief-investigator", "trial-manager")}


# --- a drill ---------------------------------------------------------------------------------------------------------


def test_a_drill_tells_everybody_and_shows_nothing(world: World) -> None:
    ident = builders.randomised(world)
    found = unblind(world, ident, drill=True)
    assert (found.arm, found.label, found.drill) == (None, None, True)
    assert [row.kind for row in rows(world, Disclosure)] == ["drill"]
    (message,) = inbox(world, "trial-manager", "drill")
    assert message.subject.startswith("DRILL")
    assert message.text.startswith("DRILL")
    assert all("DRILL" in row.subject and "DRILL" in row.body for row in rows(world, Outgoing) if "emergency" in row.body)
    assert [row for row in rows(world, FormInstance) if row.form == "UNBL"] == []
    assert [json.loads(row.data)["kind"] for row in rows(world, SchemeEvent)] == ["allocated"]


def test_a_drill_opens_no_sealed_arm(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ident = builders.randomised(sqlite_world)
    monkeypatch.setattr(allocations, "arm_of", lambda *_: pytest.fail("an arm was opened"))
    assert unblind(sqlite_world, ident, drill=True).arm is None


# --- looking ---------------------------------------------------------------------------------------------------------

UNBLINDED_HERE = sorted(roles.UNBLINDED)


@pytest.mark.parametrize("role", list(roles.ROLES))
def test_a_look_is_for_unblinded_roles_and_is_kept(sqlite_world: World, role: str) -> None:
    ident = builders.randomised(sqlite_world)
    somebody = actor(sqlite_world, role)
    if role in UNBLINDED_HERE:
        assert sqlite_world.units.run(somebody, lambda unit: unblinding.look(unit, TRIAL, ident)).arm == arm_name(sqlite_world, ident)
        assert [(row.kind, row.account_id) for row in rows(sqlite_world, Disclosure)] == [("look", somebody.id)]
        assert "allocation.look" in {event.action for event in rows(sqlite_world, AuditEvent)}
    else:
        with pytest.raises((Forbidden, Refused)) as refused:
            sqlite_world.units.run(somebody, lambda unit: unblinding.look(unit, TRIAL, ident))
        assert not any(word in str(refused.value) for word in ("TMR", "Standard"))
        assert rows(sqlite_world, Disclosure) == []


def test_the_allocation_record_shows_the_arm_to_whoever_has_asked_for_it(world: World) -> None:
    ident = builders.randomised(world)

    def seen(unit: Unit) -> Any:
        return records.view(unit, places.locate(unit, TRIAL, ident, "R", "RAND")).answers.values.get("rand_arm")

    assert world.read("surgeon", seen) is None
    world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident))
    assert world.read("surgeon", seen) == builders.arm_of(world, ident)
    assert world.read("principal-investigator", seen) is None


# --- assessors -------------------------------------------------------------------------------------------------------


def assess(world: World, ident: str, who: Actor) -> Any:
    """Save an outcome as this assessor."""
    world.actors[("blinded-assessor", "S01")] = who
    return builders.put(
        world, ident, "V04", "PAIN", {"rlp_any": 0, "plp_any": 0, "plp_sens": 0, "pain_assist": 1}, only=True, role="blinded-assessor"
    )


def another(world: World, email: str = "second.assessor@trial.example") -> Actor:
    """A second assessor at S01, delegated and trained."""

    def add(unit: Unit) -> None:
        account = people.add(unit, email, "Second Assessor", builders.PASSWORD, [("blinded-assessor", "S01")])
        delegations.train(unit, TRIAL, account, kind="gcp", on=builders._START)
        delegations.transcribe(unit, TRIAL, account, tasks=("crf", "assess"), start=builders._START, site="S01")

    world.run("trial-manager", add)
    with world.units.reading(SYSTEM) as unit:
        return people.actor(unit, people.by_email(unit, email), "test")


def disclosed(world: World, ident: str, account: str, kind: str) -> None:
    def work(unit: Unit) -> None:
        row = disclosures.note(unit, TRIAL, ident, account, kind)
        unit.record("allocation.learned", row, trial=TRIAL, entity="participant", entity_id=ident)

    world.run("principal-investigator", work)


@pytest.mark.parametrize("kind", ["emergency", "planned", "accidental", "look"])
def test_an_assessor_who_knows_assesses_no_more_and_another_one_does(world: World, kind: str) -> None:
    ident, other = builders.randomised(world), builders.randomised(world)
    knowing, second = world.actor("blinded-assessor"), another(world)
    disclosed(world, ident, knowing.id, kind)
    with pytest.raises(Forbidden) as refused:
        assess(world, ident, knowing)
    assert refused.value.code == "ROLE.UNBLINDED_ASSESSOR"
    assert "another assessor" in refused.value.message
    assert assess(world, other, knowing).status == "complete"
    assert assess(world, ident, second).status == "complete"


def test_a_drill_takes_no_right_away(world: World) -> None:
    ident = builders.randomised(world)
    disclosed(world, ident, world.actor("blinded-assessor").id, "drill")
    assert assess(world, ident, world.actor("blinded-assessor")).status == "complete"


def test_an_assessor_who_is_chief_investigator_too_loses_the_right_by_their_own_emergency(world: World) -> None:
    ident = builders.randomised(world)
    who = another(world)
    world.run("system-administrator", lambda unit: people.give(unit, people.by_email(unit, who.email), "chief-investigator", TRIAL))
    with world.units.reading(SYSTEM) as unit:
        who = people.actor(unit, people.by_email(unit, who.email), "test")
    world.units.run(who, lambda unit: unblinding.emergency(unit, TRIAL, ident, REASON, drill=True))
    assert assess(world, ident, who).status == "complete"
    world.units.run(who, lambda unit: unblinding.emergency(unit, TRIAL, ident, REASON))
    with pytest.raises(Forbidden) as refused:
        builders.put(world, ident, "V04", "NEUR", role="blinded-assessor")
    assert refused.value.code == "ROLE.UNBLINDED_ASSESSOR"


@pytest.mark.parametrize(
    ("held", "kind", "assesses"),
    [
        (["blinded-assessor"], "outcome", True),
        (["blinded-assessor"], "visit", True),
        (["blinded-assessor"], "baseline", False),
        (["blinded-assessor", "research-nurse"], "outcome", True),
        (["blinded-assessor", "research-nurse"], "visit", False),
        (["research-nurse"], "outcome", False),
        (["surgeon"], "outcome", False),
        ([], "outcome", False),
    ],
)
def test_who_acts_as_an_assessor(held: list[str], kind: str, assesses: bool) -> None:
    grants = [Grant(role, TRIAL, "S01") for role in held]
    assert roles.assesses(grants, kind, TRIAL, "S01") is assesses
    assert not roles.assesses(grants, kind, TRIAL, "S02")


# --- an accident -----------------------------------------------------------------------------------------------------


def accident(world: World, ident: str, staff_no: int, **more: Any) -> None:
    local = world.now.astimezone(LONDON).replace(tzinfo=None) - timedelta(hours=1)
    given = {"ub_reason": 3, "ub_by": staff_no, "ub_dtm": local.isoformat(timespec="minutes")}
    builders.put(world, ident, "EV", "UNBL", given, only=True, role="principal-investigator", **more)


def test_an_accident_recorded_by_hand_costs_the_named_assessor_the_right(world: World) -> None:
    ident = builders.randomised(world)
    assessor = world.actor("blinded-assessor")
    accident(world, ident, assessor.staff_no, complete=False)
    assert assess(world, ident, assessor).status == "complete"
    accident(world, ident, assessor.staff_no)
    (row,) = rows(world, Disclosure)
    assert (row.kind, row.account_id, row.by) == ("accidental", assessor.id, world.actor("principal-investigator").id)
    assert row.at == (world.now - timedelta(hours=1)).replace(second=0, microsecond=0)
    with pytest.raises(Forbidden):
        builders.put(world, ident, "V04", "NEUR", role="blinded-assessor")
    for role in ("chief-investigator", "trial-manager"):
        (message,) = inbox(world, role, "accidental")
        assert assessor.name in message.text


def test_an_accident_is_counted_once(world: World) -> None:
    ident = builders.randomised(world)
    staff_no = world.actor("blinded-assessor").staff_no
    accident(world, ident, staff_no)
    accident(world, ident, staff_no, row=2)
    assert len(rows(world, Disclosure)) == 1


# --- planned ---------------------------------------------------------------------------------------------------------


def visited(world: World, ident: str, visit: str) -> None:
    world.at(builders.TODAY + timedelta(days=370))
    day = world.now.astimezone(LONDON).date().isoformat()
    builders.put(world, ident, visit, "VISI", {"vs_done": 1, "vs_date": day, "vs_mode": 1})


def test_a_participant_is_told_after_the_visit_that_the_protocol_names(world: World) -> None:
    ident = builders.randomised(world)
    for visit in ("V07", "V06", "V01", "EV"):
        with pytest.raises(WrongState) as refused:
            world.run("principal-investigator", lambda unit, visit=visit: unblinding.planned(unit, TRIAL, ident, visit))
        assert refused.value.code == "UNBLIND.EARLY"
    assert offered(world, ident) == []
    visited(world, ident, "V07")
    assert offered(world, ident) == ["V07"]
    found = world.run("principal-investigator", lambda unit: unblinding.planned(unit, TRIAL, ident, "V07"))
    assert found.arm == arm_name(world, ident)
    assert [(row.kind, row.visit) for row in rows(world, Disclosure)] == [("planned", "V07")]
    form = world.read("surgeon", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "EV", "UNBL")))
    assert form.answers.values["ub_reason"] == 5
    assert len(inbox(world, "trial-manager", "planned")) == 1
    assert inbox(world, "chief-investigator", "planned") == []
    with pytest.raises(Conflict):
        world.run("chief-investigator", lambda unit: unblinding.planned(unit, TRIAL, ident, "V07"))
    assert offered(world, ident) == []


def offered(world: World, ident: str) -> list[str]:
    """Visits after which the participant may be told now."""

    def work(unit: Unit) -> list[str]:
        return [code for code, _ in unblinding.may_be_told(unit, world.protocol, participants.find(unit, TRIAL, ident))]

    return world.read("chief-investigator", work)


@pytest.mark.parametrize("role", ["surgeon", "research-nurse", "trial-manager", "blinded-assessor", "statistician-unblinded"])
def test_who_may_not_tell_the_participant(sqlite_world: World, role: str) -> None:
    ident = builders.randomised(sqlite_world)
    with pytest.raises(Forbidden):
        sqlite_world.run(role, lambda unit: unblinding.planned(unit, TRIAL, ident, "V07"))


# --- the whole trial -------------------------------------------------------------------------------------------------


def test_two_people_unblind_the_trial_and_only_when_it_is_locked(world: World) -> None:
    ident = builders.randomised(world)
    with pytest.raises(WrongState) as early:
        world.run("sponsor", lambda unit: unblinding.end_of_trial(unit, TRIAL))
    assert early.value.code == "UNBLIND.NOT_LOCKED"
    builders.ask_for_lock(world)
    with pytest.raises(WrongState) as asked:
        world.run("sponsor", lambda unit: unblinding.end_of_trial(unit, TRIAL))
    assert asked.value.code == "UNBLIND.NOT_LOCKED", "one person asked for the lock, and nobody confirmed it"
    with pytest.raises(Refused) as reveal:
        world.run("statistician-unblinded", lambda unit: ledgers.reveal(unit, TRIAL))
    assert reveal.value.code == "ALLOC.REVEAL"
    builders.confirm_lock(world)
    assert world.run("statistician-unblinded", lambda unit: unblinding.end_of_trial(unit, TRIAL)) == "asked"
    with pytest.raises(Refused):
        world.run("research-nurse", lambda unit: unblinding.look(unit, TRIAL, ident))
    with pytest.raises(Forbidden) as same:
        world.run("statistician-unblinded", lambda unit: unblinding.end_of_trial(unit, TRIAL))
    assert same.value.code == "UNBLIND.SAME_PERSON"
    with pytest.raises(Forbidden):
        world.run("trial-manager", lambda unit: unblinding.end_of_trial(unit, TRIAL))
    assert world.run("sponsor", lambda unit: unblinding.end_of_trial(unit, TRIAL)) == "unblinded"
    assert world.run("research-nurse", lambda unit: unblinding.look(unit, TRIAL, ident)).arm == arm_name(world, ident)
    with pytest.raises(WrongState):
        world.run("sponsor", lambda unit: unblinding.end_of_trial(unit, TRIAL))


def test_afterwards_people_who_see_participants_see_allocations_of_their_sites_and_others_do_not(world: World) -> None:
    builders.randomised(world)
    builders.lock(world)
    for role in ("sponsor", "statistician-unblinded"):
        world.run(role, lambda unit: unblinding.end_of_trial(unit, TRIAL))
    for role, site, sees in (
        ("research-nurse", "S01", True),
        ("research-nurse", "S02", False),
        ("research-nurse", None, False),
        ("monitor", "S01", True),
        ("monitor", None, True),
        ("sponsor", "S01", False),
        ("statistician-blinded", None, True),
    ):
        assert world.read(role, lambda unit, site=site: unit.sees_allocations(TRIAL, site)) is sees, (role, site)


# --- the log ---------------------------------------------------------------------------------------------------------


def test_the_log_names_everything_but_the_arm(world: World) -> None:
    ident = builders.randomised(world)
    world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident))
    unblind(world, ident)
    unblind(world, ident, drill=True)
    for role in ("statistician-unblinded", "sponsor"):
        assert sorted(row["kind"] for row in world.read(role, lambda unit: unblinding.log(unit, TRIAL))) == ["drill", "emergency", "look"]
    for role in ("chief-investigator", "trial-manager"):
        assert [row["kind"] for row in world.read(role, lambda unit: unblinding.log(unit, TRIAL))] == ["emergency"]
    with pytest.raises(Forbidden):
        world.read("blinded-assessor", lambda unit: unblinding.log(unit, TRIAL))
    assert [row["why"] for row in world.read("trial-manager", lambda unit: unblinding.log(unit, TRIAL))] == ["Emergency care"]
    reasons = {row["reason"] for row in world.read("statistician-unblinded", lambda unit: unblinding.log(unit, TRIAL))}
    assert REASON in reasons
    for role in ("sponsor", "chief-investigator", "trial-manager"):
        said = json.dumps(world.read(role, lambda unit: unblinding.log(unit, TRIAL)))
        assert REASON not in said
        assert not any(word in said for word in TELLING)
    with world.units.reading(actor(world, "inspector")) as unit:
        assert not any(word in json.dumps(unblinding.log(unit, TRIAL)) for word in TELLING)


# --- concealment -----------------------------------------------------------------------------------------------------


def everything(world: World) -> str:
    """One participant through all of it."""
    ident = builders.randomised(world)
    world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident))
    unblind(world, ident)
    unblind(world, ident, drill=True)
    accident(world, ident, world.actor("blinded-assessor").staff_no, row=2)
    visited(world, ident, "V07")
    world.run("sub-investigator", lambda unit: unblinding.planned(unit, TRIAL, ident, "V07"))
    return ident


def told(world: World, role: str, ident: str) -> str:
    """Everything that the services say to somebody about a participant."""

    def read(unit: Unit) -> str:
        found: list[Any] = [message.to_json() for message in notices.inbox(unit)]
        after = 0
        while unit.may("audit.see", TRIAL) and (lines := trail.of_trial(unit, TRIAL, trail.Filter(after=after, participant=ident))):
            found += [line.to_json() for line in lines]
            after = lines[-1].seq
        return json.dumps(found, ensure_ascii=False)

    somebody = actor(world, role)
    with world.units.reading(somebody) as unit:
        return read(unit)


@pytest.mark.parametrize("role", [role for role in roles.ROLES if role not in roles.UNBLINDED])
def test_no_blinded_role_reads_an_arm_in_notices_or_trail(sqlite_world: World, role: str) -> None:
    actor(sqlite_world, role)
    ident = everything(sqlite_world)
    said = told(sqlite_world, role, ident)
    assert not [word for word in (*TELLING, REASON) if word in said]


def test_no_mail_and_no_notice_names_an_arm_and_no_mail_a_participant(world: World) -> None:
    ident = everything(world)
    for row in rows(world, Outgoing):
        assert not any(word in row.subject + row.body for word in ("Standard", "Targeted", ident, "S01-")), row.body
    for row in rows(world, Notice):
        assert not any(word in row.subject + row.text for word in ("Standard", "Targeted", "TMR ", REASON)), row.text


def test_open_entries_of_the_trail_hold_neither_arm_nor_words_of_a_reason(world: World) -> None:
    everything(world)
    with world.units.reading(SYSTEM) as unit:
        hidden = set(unit.session.scalars(select(AuditEvent.event_id).where(AuditEvent.stream == "unblinded")))
        for row in unit.session.scalars(select(AuditValue).where(AuditValue.event_id.not_in(hidden))):
            assert row.value not in ('"TMR"', '"Standard"')
            assert REASON not in row.value


def test_the_trail_shows_an_arm_only_to_unblinded_readers_who_have_asked(world: World) -> None:
    ident = builders.randomised(world)

    def arms(unit: Unit) -> list[Any]:
        lines = trail.of_trial(unit, TRIAL, trail.Filter(participant=ident, action="participant.randomise"))
        return [line.new for line in lines if line.field == "arm"]

    assert world.read("surgeon", arms) == [trail.HIDDEN]
    assert world.read("research-nurse", arms) == []
    world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident))
    assert world.read("surgeon", arms) == [arm_name(world, ident)]
    assert world.read("principal-investigator", arms) == [trail.HIDDEN]
    unblind(world, ident, "chief-investigator")
    assert world.read("chief-investigator", arms) == []


# --- notices and their readers ---------------------------------------------------------------------------------------


def test_the_surgical_team_of_the_site_is_told_of_an_allocation_and_nobody_blinded(world: World) -> None:
    ident = builders.randomised(world)
    for role in ("surgeon", "principal-investigator", "sub-investigator"):
        (message,) = inbox(world, role)
        assert (message.kind, message.participant) == ("allocation", ident)
    assert world.read("surgeon", notices.inbox, "S02") == []
    for role in ("research-nurse", "blinded-assessor", "trial-coordinator", "trial-manager", "chief-investigator"):
        assert inbox(world, role) == []


def test_a_restricted_notice_goes_to_nobody_blinded_whoever_is_named(world: World) -> None:
    ident = builders.ready(world)
    named = [world.actor(role).id for role in ("surgeon", "surgeon", "research-nurse", "trial-manager")]

    def send(unit: Unit) -> int:
        return notices.tell(unit, TRIAL, named, "allocation", "Subject", "Text", ident, restricted=True)

    assert world.run("trial-coordinator", send) == 1
    assert len(inbox(world, "surgeon")) == 1
    assert world.run("trial-coordinator", lambda unit: notices.tell(unit, TRIAL, named, "blinding", "S", "T", restricted=True)) == 0


def test_a_notice_is_read_once_and_by_its_owner_only(world: World) -> None:
    builders.randomised(world)
    (message,) = inbox(world, "surgeon")
    assert world.read("surgeon", notices.unread_count) == 1
    with pytest.raises(Exception, match="no such notice"):
        world.run("principal-investigator", lambda unit: notices.read(unit, message.id))
    world.run("surgeon", lambda unit: notices.read(unit, message.id))
    first = inbox(world, "surgeon")[0].read_at
    world.at(builders.TODAY + timedelta(days=1))
    world.run("surgeon", lambda unit: notices.read(unit, message.id))
    assert inbox(world, "surgeon")[0].read_at == first
    assert world.read("surgeon", notices.unread_count) == 0


def test_somebody_who_is_no_longer_unblinded_no_longer_reads_restricted_notices(world: World) -> None:
    builders.randomised(world)
    surgeon = world.actor("surgeon")
    world.run("trial-manager", lambda unit: people.end_role(unit, people.by_email(unit, surgeon.email), "surgeon", "*", "S01"))
    with world.units.reading(SYSTEM) as unit:
        left = people.actor(unit, people.by_email(unit, surgeon.email), "test")
    with world.units.reading(left) as unit:
        assert notices.inbox(unit) == []


def test_roles_that_ended_and_closed_accounts_are_told_nothing(world: World) -> None:
    with world.units.reading(SYSTEM) as unit:
        before = notices.holders(unit, TRIAL, ("surgeon", "trial-manager"), "S01")
    assert before == [world.actor("trial-manager").id, world.actor("surgeon").id]
    surgeon = world.actor("surgeon").email
    world.run("trial-manager", lambda unit: people.end_role(unit, people.by_email(unit, surgeon), "surgeon", "*", "S01"))
    with world.units.reading(SYSTEM) as unit:
        assert notices.holders(unit, TRIAL, ("surgeon",), "S01") == []
        assert notices.holders(unit, TRIAL, ("surgeon",), "S02") == [world.actor("surgeon", "S02").id]


def test_every_mail_waits_where_no_server_is_set(world: World) -> None:
    builders.randomised(world)
    with world.units.reading(SYSTEM) as unit:
        assert mail.status(unit) == {"waiting": 3, "sent": 0, "failed": 0, "last_error": ""}
        assert studies.state(unit, TRIAL) == "open"
