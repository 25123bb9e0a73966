"""Unblinding: every way in which somebody learns an allocation on purpose, each recorded, each told to those who must know.

An emergency is the investigator's decision alone: at any hour, whatever the state of trial and site, without the gate, the
delegation log or anybody's consent; a reason is all it needs (ICH E6(R3) 2.11; EMA and MHRA on emergency unblinding). No
notice names the arm, and what somebody wrote as a reason is read only by people who see allocations, since it may name it.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from trialdm.domain import lifecycle
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Refused, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.services import allocations, casebooks, deviations, disclosures, notices, participants, places, register, studies
from trialdm.services.allocations import Allocated
from trialdm.services.places import Place
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store.tables import Account, Disclosure, Participant

#: Reasons for unblinding in an emergency, by the codes of the item that means `unblinding_reason`.
EMERGENCIES = {1: "Emergency care", 2: "Assessment of a serious adverse event"}

#: The code of the planned end of blinding.
PLANNED = 5

_LONGEST_REASON = 1000

#: States of a trial in which it may be unblinded as a whole, once two people have locked its database.
_LOCKED = ("locked", "ended", "archived")

#: Kinds of disclosure that chief investigator and trial manager read; the other readers of the log read all.
_TOLD = frozenset({"emergency", "planned"})


@dataclass(frozen=True)
class Unblinded:
    """What somebody is told: the arm with its full name, or neither in a drill.

    `at` is the moment of the unblinding; for a look, that of the allocation.
    """

    participant: str
    number: str
    at: str
    arm: str | None = None
    label: str | None = None
    drill: bool = False

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


# --- one participant -------------------------------------------------------------------------------------------------


def emergency(unit: Unit, trial: str, participant: str, reason: str, code: int = 1, *, drill: bool = False) -> Unblinded:
    """Unblind one participant now. A drill does and tells everything but the arm, and takes no right away.

    Raises Forbidden for other roles and sites, Invalid without a reason, WrongState for somebody not randomised.
    """
    protocol = studies.protocol(unit, trial)
    person = participants.find(unit, trial, participant, "allocation.unblind")
    unit.require_proof()
    said = _reason(reason)
    if code not in EMERGENCIES:
        raise Invalid("This is not a reason for unblinding in an emergency.", code="UNBLIND.REASON_CODE", needs=_choices())
    allocation = _allocation(unit, protocol, person)
    kind = "drill" if drill else "emergency"
    row = disclosures.note(unit, trial, person.id, unit.actor.id, kind, reason_code=str(code), reason_text=said)
    found = _found(unit, protocol, allocation, drill=drill)
    _record(unit, person, row, "allocation.drill" if drill else "allocation.unblind", found, said)
    if not drill:
        _write_form(unit, protocol, person, code)
        _chain(unit, protocol, person, code)
    _tell(unit, protocol, person, kind, ("chief-investigator", "trial-manager"), EMERGENCIES[code])
    unit.session.flush()
    return found


def planned(unit: Unit, trial: str, participant: str, visit: str) -> Unblinded:
    """Read the allocation to the participant at the end of their blinded time, at or after the visit that the protocol names.

    Raises WrongState where the protocol plans none or it is too early, and Conflict where the participant was told already.
    """
    protocol = studies.protocol(unit, trial)
    person = participants.find(unit, trial, participant, "allocation.tell")
    unit.require_proof()
    _time_has_come(unit, protocol, person, visit)
    allocation = _allocation(unit, protocol, person)
    if any(row.kind == "planned" for row in disclosures.of(unit, trial, person.id)):
        raise Conflict(f"Participant {person.id} has been told already.", code="UNBLIND.ALREADY", needs="Nothing.")
    row = disclosures.note(unit, trial, person.id, unit.actor.id, "planned", visit=visit, reason_code=str(PLANNED))
    found = _found(unit, protocol, allocation)
    _record(unit, person, row, "allocation.tell", found, "")
    _write_form(unit, protocol, person, PLANNED)
    _chain(unit, protocol, person, PLANNED)
    _tell(unit, protocol, person, "planned", ("trial-manager",), f"End of the blinded time, {protocol.visit(visit).label}")
    unit.session.flush()
    return found


def look(unit: Unit, trial: str, participant: str, *, name: str = "") -> Unblinded:
    """The allocation (by a later scheme where one is named), for somebody whose role reads it: each look is kept.

    Raises Refused (GOV-45) for everybody else.
    """
    protocol = studies.protocol(unit, trial)
    person = participants.known(unit, trial, participant)
    if not unit.sees_allocations(trial, person.site):
        participants.find(unit, trial, participant)
        raise Refused("Hidden to keep you blinded.", code="GATE.GOV-45", needs="An unblinded role at this site.")
    allocation = _allocation(unit, protocol, person, name)
    row = disclosures.note(unit, trial, person.id, unit.actor.id, "look")
    unit.record("allocation.look", row, trial=trial, entity="participant", entity_id=person.id, site=person.site)
    unit.session.flush()
    return replace(_found(unit, protocol, allocation, name), at=allocation.at)


def may_be_told(unit: Unit, protocol: Protocol, person: Participant) -> list[tuple[str, str]]:
    """Visits (code, label) of this participant at which they may be told their allocation now; none once they were."""
    if any(row.kind == "planned" for row in disclosures.of(unit, protocol.id, person.id)):
        return []
    found = []
    for visit in (visit for visit in protocol.visits if visit.kind == "scheduled"):
        try:
            _time_has_come(unit, protocol, person, visit.code)
        except WrongState:
            continue
        found.append((visit.code, visit.label))
    return found


def _time_has_come(unit: Unit, protocol: Protocol, person: Participant, code: str) -> None:
    """Raises WrongState unless the visit is late enough by the protocol, and has taken place or been given up."""
    if not protocol.participant_told_after:
        raise WrongState("The protocol plans to tell no participant.", code="UNBLIND.NOT_PLANNED", needs="A protocol that does.")
    after, visit = protocol.visit(protocol.participant_told_after), protocol.visit(code)
    needs = f"The visit '{after.label}' or a later one, on record."
    if visit.kind != "scheduled" or visit.number < after.number:
        raise WrongState(f"Participants are told after the visit '{after.label}', not at this one.", code="UNBLIND.EARLY", needs=needs)
    dated = protocol.meaning("visit_date")
    stored = casebooks.read(unit, protocol.id, person).get(code, dated[0].code, 1) if dated else None
    if dated is None or stored is None or not (stored.finished or stored.answers(dated[0]).values.get(dated[1].name)):
        raise WrongState(f"The visit '{visit.label}' is not on record yet.", code="UNBLIND.EARLY", needs=needs)


def _reasons(protocol: Protocol) -> dict[str, str]:
    """The reasons that the unblinding form offers, in words by code."""
    place = protocol.meaning("unblinding_reason")
    labels = place[1].codelist.labels if place and place[1].codelist else EMERGENCIES
    return {str(code): words for code, words in labels.items()}


def _reason(given: str) -> str:
    said = " ".join(given.split())
    if not said or len(said) > _LONGEST_REASON:
        raise Invalid(
            "Say why the allocation is needed.", code="UNBLIND.REASON", needs=f"One word is enough; at most {_LONGEST_REASON} characters."
        )
    return said


def _choices() -> str:
    return "One of: " + ", ".join(f"{code} ({words})" for code, words in EMERGENCIES.items()) + "."


def _allocation(unit: Unit, protocol: Protocol, person: Participant, name: str = "") -> Allocated:
    """Number and time of the allocation; no arm is opened. Raises WrongState where there is none."""
    found = allocations.shown(unit, protocol, person, name=name)
    if found is None:
        raise WrongState(f"Participant {person.id} has not been randomised.", code="ALLOC.NONE", needs="Nothing: there is no allocation.")
    return found


def _found(unit: Unit, protocol: Protocol, allocated: Allocated, name: str = "", *, drill: bool = False) -> Unblinded:
    """What is told. In a drill the arm stays sealed."""
    at = unit.now.isoformat(timespec="seconds")
    arm = None if drill else allocations.arm_by(unit, protocol, allocated.participant, name)
    if arm is None:
        return Unblinded(allocated.participant, allocated.number, at, drill=drill)
    return Unblinded(allocated.participant, allocated.number, at, arm.name, arm.label)


def _chain(unit: Unit, protocol: Protocol, person: Participant, code: int) -> None:
    """The unblinding as an event of the scheme, where the participant has a place of their own in it."""
    if protocol.scheme.unit == "participant":
        allocations.chain_event(unit, protocol, person.id, "unblinded", {"code": code})


def _record(unit: Unit, person: Participant, row: Disclosure, action: str, found: Unblinded, reason: str) -> None:
    """The fact in the open, the arm and the words of the reason for unblinded readers only."""
    about: dict[str, Any] = {"trial": row.trial_id, "entity": "participant", "entity_id": person.id, "site": person.site}
    unit.record(action, row, changes=[Change("kind", None, row.kind)], reason_code=row.reason_code, **about)
    arm = Change("arm", None, found.arm, "unblinded")
    unit.record(action, changes=[arm], reason_code=row.reason_code, reason_text=reason, **about)


def _write_form(unit: Unit, protocol: Protocol, person: Participant, code: int) -> None:
    """The row of the unblinding form, where the site's protocol has one."""
    protocol = studies.protocol_at(unit, protocol.id, person.site)
    where = protocol.meaning("unblinding_by")
    if where is None:
        return
    form, visit = where[0], protocol.visit(next(iter(where[0].visits)))
    given = {
        "unblinding_reason": code,
        "unblinding_by": unit.actor.staff_no,
        "unblinding_at": unit.now.astimezone(LONDON).replace(tzinfo=None).isoformat(timespec="minutes"),
    }
    answers = {item.name: given[item.means] for item in form.items if item.means in given}
    book = casebooks.read(unit, protocol.id, person)
    place = Place(protocol, person, visit, visit.code, form, places.next_row(book, form, visit.code))
    deviations.write_row(unit, place, book, answers, "form.finish", event="finish")


def _tell(unit: Unit, protocol: Protocol, person: Participant, kind: str, wanted: tuple[str, ...], why: str) -> None:
    drill = "DRILL: " if kind == "drill" else ""
    when = unit.now.astimezone(LONDON)
    words = {
        "drill": "This was a drill: no allocation was shown.",
        "emergency": "The allocation was shown to this person only. An assessor who has learned it is replaced for this participant.",
        "planned": "The allocation was read to be told to the participant.",
    }
    notices.tell(
        unit,
        protocol.id,
        notices.holders(unit, protocol.id, wanted, person.site),
        kind,
        f"{drill}{disclosures.KINDS['emergency' if drill else kind]} of participant {person.id}",
        f"{drill}{unit.actor.name} unblinded participant {person.id} at site {person.site} on {when:%d %B %Y} at {when:%H:%M}. "
        f"Reason: {why}. {words[kind]}",
        person.id,
    )


# --- the whole trial -------------------------------------------------------------------------------------------------


def end_of_trial(unit: Unit, trial: str) -> str:
    """Ask for the unblinding of the whole trial, or confirm what another person asked for; gives the state of its blinding.

    Raises WrongState before the database is locked, and Forbidden for the person who asked.
    """
    studies.definition(unit, trial)
    unit.require("trial.unblind", trial)
    unit.require_proof()
    register.lock(unit, trial)
    state = studies.state(unit, trial)
    if not may_be_unblinded(unit, trial):
        raise WrongState(
            f"The trial is {lifecycle.label(state)}: it is not unblinded before its database is locked.",
            code="UNBLIND.NOT_LOCKED",
            needs="The trial locked by two people: one asks for it, and another one confirms.",
        )
    if blinding(unit, trial) != "asked":
        return _moved(unit, trial, "ask")
    if asked_by(unit, trial) == unit.actor.id:
        raise Forbidden(
            "You asked for it: somebody else confirms.", code="UNBLIND.SAME_PERSON", needs="Another unblinded statistician or sponsor."
        )
    return _moved(unit, trial, "confirm")


def may_be_unblinded(unit: Unit, trial: str) -> bool:
    """Whether the trial is over, and its database locked by two people."""
    return studies.state(unit, trial) in _LOCKED and studies.locked(unit, trial)


def blinding(unit: Unit, trial: str) -> str:
    """Whether the trial is blinded, asked to be unblinded, or unblinded."""
    return studies.state(unit, trial, "blinding", trial)


def asked_by(unit: Unit, trial: str) -> str:
    """The account that asked for the unblinding of the trial; empty where nobody did."""
    return next((row.by for row in studies.history(unit, trial, "blinding", trial) if row.event == "ask"), "")


def _moved(unit: Unit, trial: str, event: str) -> str:
    reached = studies.move(unit, trial, "blinding", trial, event)
    title = studies.protocol(unit, trial).short_title
    told = ("chief-investigator", "trial-manager", "sponsor", "statistician-unblinded")
    words = {
        "ask": f"{unit.actor.name} asked to unblind trial {title} as a whole. Another unblinded statistician or the sponsor confirms it.",
        "confirm": f"{unit.actor.name} confirmed it: trial {title} is unblinded. Everybody who sees participants may read allocations.",
    }
    notices.tell(unit, trial, notices.holders(unit, trial, told), "blinding", f"Unblinding of trial {title}", words[event])
    return reached


# --- the log ---------------------------------------------------------------------------------------------------------


def log(unit: Unit, trial: str) -> list[dict[str, Any]]:
    """Who learned which allocation when and why, newest first; never the arm.

    Chief investigator and trial manager read emergencies and planned unblindings. Words of a reason are left out for people
    who see no allocations.
    """
    why = _reasons(studies.protocol(unit, trial))
    unit.require("unblinding.see", trial)
    whole = {"statistician-unblinded", "sponsor", "inspector"}
    everything = any(grant.role in whole and grant.covers(trial, None) for grant in unit.actor.grants)
    rows = unit.session.execute(
        select(Disclosure, Participant.site, Account.name)
        .join(Participant, (Participant.trial_id == Disclosure.trial_id) & (Participant.id == Disclosure.participant_id))
        .join(Account, Account.id == Disclosure.account_id)
        .where(Disclosure.trial_id == trial)
        .order_by(Disclosure.at.desc(), Disclosure.id)
    )
    return [
        {
            "participant": row.participant_id,
            "site": site,
            "kind": row.kind,
            "person": name,
            "at": row.at.isoformat(timespec="seconds"),
            "visit": row.visit,
            "reason_code": row.reason_code,
            "why": why.get(row.reason_code, ""),
            "reason": row.reason_text if unit.sees_allocations(trial, site) else "",
        }
        for row, site, name in rows
        if everything or row.kind in _TOLD
    ]
