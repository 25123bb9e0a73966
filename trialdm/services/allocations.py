"""Randomising one participant (or one site) exactly once, and who may read the result.

An allocation holds the scheme's row, so that events come one after another; the event, its hash, the allocation, the
answer's key and the audit entries are one transaction, and the arm leaves the process only after it has committed. How a
scheme comes to be, and how it is kept, is in `schemes`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import crf, lifecycle
from trialdm.domain.errors import Conflict, Invalid, WrongState
from trialdm.domain.protocol import Arm, Protocol
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.randomisation import ledger
from trialdm.domain.randomisation.schemes import Placed, stratum_of
from trialdm.services import casebooks, chains, disclosures, gates, holds, notices, participants, register, schemes, signatures, studies
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store.tables import Allocation, Idempotency, Participant, Scheme, SchemeEvent, Status

ROUTE = "randomise"
METHOD_VERSION = "trial-rand/v1"


@dataclass(frozen=True)
class Allocated:
    """One allocation, for whoever asked; `arm` is None for somebody who may not see it."""

    participant: str
    number: str
    at: str
    arm: str | None = None

    def to_json(self) -> dict[str, str]:
        answer = {"participant": self.participant, "number": self.number, "at": self.at}
        return answer if self.arm is None else {**answer, "arm": self.arm}


# --- randomising -----------------------------------------------------------------------------------------------------


def randomise(unit: Unit, trial: str, participant: str, key: str, *, name: str = "") -> tuple[Allocated, bool]:
    """Randomise one participant once; gives the allocation as the caller may see it, and whether it is new.

    `name` is the scheme, the trial's first one where left out. The same key gives the same answer again, whoever sends it.
    Raises Refused with every reason of the gate, WrongState where the participant is frozen or locked, and Conflict where the key
    was used for somebody else or the participant is randomised already.
    """
    protocol = studies.protocol(unit, trial)
    definition = protocol.scheme_named(name)
    person = participants.find(unit, trial, participant, "participant.randomise")
    if definition.unit == "site":
        return _enter(unit, protocol, definition, person, key)
    row = schemes.locked(unit, protocol, definition.name)
    register.lock(unit, trial, shared=True)
    earlier = _answered(unit, trial, definition, key, person.id)
    existing = unit.session.get(Allocation, (trial, definition.name, person.id))
    if existing is not None:
        seen = _as_seen(unit, protocol, existing)
        if earlier:
            return _told(unit, person, seen), False
        raise Conflict(
            f"Participant {person.id} was randomised already, as {existing.number}.",
            code="ALLOC.ALREADY",
            needs="Nothing: one participant is randomised once.",
            shows={"allocation": seen.to_json()},
        )
    holds.require_free(unit, trial, person)
    book = casebooks.hold(unit, person)
    first, local = definition is protocol.scheme, studies.protocol_at(unit, trial, person.site)
    ready = participants.readiness(unit, protocol, book) if first else participants.readiness_again(unit, protocol, book, definition)
    answer = gates.require(unit, trial, "randomise", site=person.site, participant=ready)
    schemes.require_live(unit, row)
    levels = participants.levels(local, book, definition)
    made = _allocate(unit, protocol, definition, row, person.id, person.enrolled_site, levels, key, answer)
    if first:
        studies.move(unit, trial, "participant", person.id, "randomise", gate=answer, site=person.site)
        write_record(unit, protocol, person, made.number, levels, unit.now)
        book.allocated_at = unit.now
    notices.announce(unit, protocol, person)
    return _told(unit, person, _as_seen(unit, protocol, made)), True


def hindrance(unit: Unit, protocol: Protocol, person: Participant, name: str = "") -> WrongState | None:
    """Why nobody can randomise this participant now, apart from the approvals and what is known of them; None where nothing is."""
    return schemes.hindrance(unit, protocol, name) or holds.against_change(holds.over(unit, protocol.id, person))


def _told(unit: Unit, person: Participant, seen: Allocated) -> Allocated:
    """Keep that whoever randomised has read the arm, where their role reads it."""
    if seen.arm is not None:
        row = disclosures.note(unit, person.trial_id, person.id, unit.actor.id, "look")
        unit.record("allocation.look", row, trial=person.trial_id, entity="participant", entity_id=person.id, site=person.site)
    return seen


def randomise_site(unit: Unit, trial: str, site: str, key: str, *, name: str = "") -> tuple[Allocated, bool]:
    """Allocate one site of a scheme whose unit is the site. As `randomise`, for the trial's office."""
    protocol = studies.protocol(unit, trial)
    definition = protocol.scheme_named(name)
    place = protocol.site(site)
    unit.require("allocation.prepare", trial)
    if definition.unit != "site":
        raise WrongState("This scheme allocates participants, not sites.", code="ALLOC.UNIT", needs="Randomise participants.")
    row = schemes.locked(unit, protocol, definition.name)
    register.lock(unit, trial, shared=True)
    earlier = _answered(unit, trial, definition, key, site)
    existing = unit.session.get(Allocation, (trial, definition.name, site))
    if existing is not None and not earlier:
        raise Conflict(f"Site {site} was allocated already.", code="ALLOC.ALREADY", needs="Nothing: a site is allocated once.")
    if existing is not None:
        return _as_seen(unit, protocol, existing), False
    holds.require_site_free(unit, trial, site)
    schemes.require_live(unit, row)
    answer = gates.require(unit, trial, "activate-site", site=site)
    levels = {factor.name: place.attributes[factor.name] for factor in definition.factors}
    made = _allocate(unit, protocol, definition, row, site, site, levels, key, answer)
    return _as_seen(unit, protocol, made), True


def _enter(unit: Unit, protocol: Protocol, definition: Definition, person: Participant, key: str) -> tuple[Allocated, bool]:
    """Where sites are allocated a participant is entered under the arm of the site: no draw, but the same gate and the same key."""
    trial = protocol.id
    register.lock(unit, trial, shared=True)
    earlier = _answered(unit, trial, definition, key, person.id)
    site = unit.session.get(Allocation, (trial, definition.name, person.enrolled_site))
    if site is None:
        raise WrongState(f"Site {person.enrolled_site} has not been allocated.", code="ALLOC.SITE", needs="The site's allocation.")
    if earlier:
        return _entered(unit, person, site), False
    if _in_the_trial(unit, person):
        raise Conflict(f"Participant {person.id} was entered already.", code="ALLOC.ALREADY", needs="Nothing: one is entered once.")
    holds.require_free(unit, trial, person)
    book = casebooks.hold(unit, person)
    answer = gates.require(unit, trial, "randomise", site=person.site, participant=participants.readiness(unit, protocol, book))
    unit.add(_answer(unit, definition, trial, key, person.id))
    studies.move(unit, trial, "participant", person.id, "randomise", gate=answer, site=person.site)
    found = _entered(unit, person, site)
    write_record(unit, protocol, person, found.number, {}, unit.now)
    return found, True


def _entered(unit: Unit, person: Participant, site: Allocation) -> Allocated:
    """A participant under the allocation of their site."""
    arm = chains.unseal_arm(unit, site) if unit.sees_allocations(person.trial_id, person.site) else None
    return Allocated(person.id, f"{person.enrolled_site}-{person.number:04d}", site.at.isoformat(timespec="seconds"), arm)


def _in_the_trial(unit: Unit, person: Participant) -> bool:
    return participants.state(unit, person.trial_id, person) not in ("screened", "consented", "eligible", "ineligible")


def record_historical(unit: Unit, protocol: Protocol, person: Participant) -> None:
    """The allocation of a participant of a finished trial: the next place of its list."""
    row = schemes.locked_live(unit, protocol, protocol.scheme.name)
    key = f"history-{person.id}"
    made = _allocate(unit, protocol, protocol.scheme, row, person.id, person.enrolled_site, {}, key, {"historical": True})
    write_record(unit, protocol, person, made.number, {}, unit.now)
    casebooks.read(unit, protocol.id, person).allocated_at = unit.now


def _route(definition: Definition) -> str:
    """Where keys are looked up: each randomisation has its own."""
    return f"{ROUTE}/{definition.name}" if definition.after else ROUTE


def _answer(unit: Unit, definition: Definition, trial: str, key: str, subject: str) -> Idempotency:
    return Idempotency(trial_id=trial, route=_route(definition), account_id=unit.actor.id, key=key, subject=subject, created_at=unit.now)


def _answered(unit: Unit, trial: str, definition: Definition, key: str, subject: str) -> bool:
    """Whether this key was answered before for the same subject. Raises Conflict where it was for another."""
    if not key or len(key) > 200:
        raise Invalid("Randomising needs an idempotency key of 1 to 200 characters.", code="ALLOC.KEY_NEEDED")
    earlier = unit.session.scalars(
        select(Idempotency).where(Idempotency.trial_id == trial, Idempotency.route == _route(definition), Idempotency.key == key).limit(1)
    ).first()
    if earlier is not None and earlier.subject != subject:
        raise Conflict("This key was used to randomise another participant.", code="ALLOC.KEY_USED", needs="A new key.")
    return earlier is not None


def _allocate(
    unit: Unit,
    protocol: Protocol,
    definition: Definition,
    row: Scheme,
    subject: str,
    site: str,
    levels: Mapping[str, str],
    key: str,
    gate: Mapping[str, Any],
) -> Allocation:
    """The next place of a held scheme for this subject: event, allocation, answer and audit entry."""
    at = chains.moment(unit, row)
    state, config = chains.running(unit, row), schemes.config(row)
    known = ledger.levels_of(config, levels)
    if known is None:
        raise Invalid(
            "The factors are not those of the scheme in use.",
            code="ALLOC.LEVEL",
            needs="An amended scheme is in use once it is signed.",
        )
    listed = config["method"] == "list"
    if listed:
        stratum = stratum_of(config, known)
        slot = state.allocator.state.slots.get(stratum, 0)
        arm = schemes.from_list(unit, row, stratum, slot)
        placed = Placed(row.places, stratum, slot, 0, tuple(known))
    else:
        placed = state.allocator.next(known)
        arm = state.allocator.arm(placed)
    return place(
        unit,
        protocol,
        definition,
        row,
        placed,
        kind="external" if listed else "allocated",
        at=at,
        arm=arm,
        subject=subject,
        site=site,
        levels=levels,
        key=key,
        gate=gate,
    )


def place(
    unit: Unit,
    protocol: Protocol,
    definition: Definition,
    row: Scheme,
    placed: Placed,
    *,
    kind: str,
    at: str,
    arm: str,
    subject: str,
    site: str,
    levels: Mapping[str, str],
    key: str,
    gate: Mapping[str, Any],
    **said: Any,
) -> Allocation:
    """Store a place of a held scheme: the event with `said` in it, the allocation, the key's answer and the audit entry."""
    trial = protocol.id
    event = ledger.placing_event(
        schemes.keys(unit, row),
        chains.head(row),
        kind=kind,
        stratum=placed.stratum,
        levels=levels,
        participant=subject,
        at=at,
        arm=arm,
        **said,
    )
    site_no = _next_at_site(unit, row, site)
    made = Allocation(
        trial_id=trial,
        scheme=row.name,
        participant_id=subject,
        epoch=row.epoch,
        event=event["i"],
        kind=kind,
        seq=event["seq"],
        stratum=placed.stratum,
        slot=placed.slot,
        levels=json.dumps(dict(levels)),
        site=site,
        site_no=site_no,
        number=f"{site}-{site_no:04d}",
        arm_sealed=chains.seal_arm(unit, definition, trial, row.epoch, subject, arm),
        at=unit.now,
        by=unit.actor.id,
        gate=json.dumps(gate),
    )
    unit.add(made, _answer(unit, definition, trial, key, subject))
    chains.advance(unit, row, event)
    unit.record(
        "participant.randomise" if definition.unit == "participant" else "site.randomise",
        made,
        trial=trial,
        entity=definition.unit,
        entity_id=subject,
        changes=[Change("number", None, made.number), Change("arm", None, arm, "unblinded")],
        site=site,
    )
    unit.session.flush()
    return made


def _next_at_site(unit: Unit, row: Scheme, site: str) -> int:
    last = unit.session.scalar(
        select(func.max(Allocation.site_no)).where(
            Allocation.trial_id == row.trial_id, Allocation.scheme == row.name, Allocation.site == site
        )
    )
    return (last or 0) + 1


def chain_event(unit: Unit, protocol: Protocol, participant: str, kind: str, said: Mapping[str, Any], *, name: str = "") -> int:
    """Add an event about a place already taken (`in_error`, `corrected`, `unblinded`) to the chain; gives its number.

    `said` is what it says beside its kind, place and time; never an arm, never words that somebody typed. The caller records
    the act. It is refused for nothing but an allocation that does not exist: what happened, happened, also while a scheme is
    paused or a clock is wrong (the event then has the time of the one before).
    """
    made = unit.session.get(Allocation, (protocol.id, protocol.scheme_named(name).name, participant))
    if made is None:
        raise WrongState(f"Participant {participant} has not been randomised.", code="ALLOC.NONE", needs="Nothing.")
    rows = {row.epoch: row for row in schemes.epochs(unit, protocol.id, made.scheme)}
    row = schemes.held(unit, rows[made.epoch])
    last = unit.session.get(SchemeEvent, (row.trial_id, row.name, row.epoch, row.events))
    at = max(unit.now.isoformat(timespec="microseconds"), json.loads(last.data)["at"] if last else "")
    event = ledger.later_event(chains.head(row), kind=kind, participant=participant, at=at, about=made.event, said=said)
    return chains.advance(unit, row, event)


def _as_seen(unit: Unit, protocol: Protocol, row: Allocation) -> Allocated:
    """An allocation as the actor may see it, by the site that looks after the participant now."""
    person = unit.session.get(Participant, (protocol.id, row.participant_id))
    arm = chains.unseal_arm(unit, row) if unit.sees_allocations(protocol.id, person.site if person else row.site) else None
    return Allocated(row.participant_id, row.number, row.at.isoformat(timespec="seconds"), arm)


def write_record(unit: Unit, protocol: Protocol, person: Participant, number: str, levels: Mapping[str, str], at: datetime) -> None:
    """The allocation record in the casebook, without the arm. `at` is when the participant was randomised."""
    at_site = studies.protocol_at(unit, protocol.id, person.site)
    form = next((f for f in at_site.forms if f.kind == "system" and any(i.system == "rand_arm" for i in f.items)), None)
    if form is None:
        return
    visit = next(iter(form.visits))
    local = at.astimezone(LONDON).replace(tzinfo=None).isoformat(timespec="minutes")
    given = {"rand_no": number, "rand_dtm": local, "rand_by": unit.actor.name, "rand_method": METHOD_VERSION}
    answers: dict[str, Any] = {}
    for item in form.items:
        if item.system in given:
            answers[item.name] = given[item.system]
        elif item.system.startswith("factor."):
            level = levels.get(item.system.removeprefix("factor."))
            if level is not None:
                answers[item.name] = int(level)
    blank = lifecycle.INITIAL["form"]
    status = lifecycle.move("form", blank, "finish")
    book, read = casebooks.read(unit, protocol.id, person), crf.load(form, {"answers": answers, "missing": {}})
    place = (visit, form.code, 1)
    instance, version = casebooks.write(unit, book, place, status, read, restricted=form.restricted)
    unit.record(
        "form.finish",
        instance,
        version,
        trial=protocol.id,
        entity="form",
        entity_id=instance.id,
        changes=[Change(name, None, value, "unblinded") for name, value in answers.items()]
        + [Change("status", blank, status, "unblinded")],
        site=person.site,
    )
    signatures.void(unit, protocol, book, book.forms[place], [], "the system added a form")


# --- reading ---------------------------------------------------------------------------------------------------------


def arm_of(unit: Unit, protocol: Protocol, participant: str) -> int | None:
    """The arm's code, for rules of restricted forms and for readers whose right has been checked."""
    arm = arm_by(unit, protocol, participant)
    return arm.code if arm else None


def arm_by(unit: Unit, protocol: Protocol, participant: str, name: str = "") -> Arm | None:
    """The arm of a participant (or of their site) by one scheme; the caller has checked the right to it."""
    definition = protocol.scheme_named(name)
    row = unit.session.get(Allocation, (protocol.id, definition.name, _subject(unit, protocol, definition, participant)))
    if row is None:
        return None
    arm = chains.unseal_arm(unit, row)
    arms = protocol.arms if definition is protocol.scheme else definition.arms
    return next(one for one in arms if one.name == arm)


def _subject(unit: Unit, protocol: Protocol, definition: Definition, participant: str) -> str:
    """Who was allocated for a participant: they themselves, or their site."""
    if definition.unit == "participant":
        return participant
    person = unit.session.get(Participant, (protocol.id, participant))
    return person.enrolled_site if person else ""


def shown(unit: Unit, protocol: Protocol, person: Participant, *, name: str = "") -> Allocated | None:
    """The number and time of a participant's allocation, for everybody who sees the participant. Never the arm: that is looked up
    on purpose, and recorded (`unblinding.look`)."""
    definition = protocol.scheme_named(name)
    row = unit.session.get(Allocation, (protocol.id, definition.name, person.enrolled_site if definition.unit == "site" else person.id))
    if row is None:
        return None
    if definition.unit == "site":
        return replace(_entered(unit, person, row), arm=None) if _in_the_trial(unit, person) else None
    return replace(_as_seen(unit, protocol, row), arm=None)


def all_arms(unit: Unit, protocol: Protocol, name: str = "", *, until: datetime | None = None) -> dict[str, int]:
    """The arm's code of everybody who was randomised by one scheme (up to a moment); the caller has checked the right to it."""
    definition = protocol.scheme_named(name)
    made = select(Allocation).where(Allocation.trial_id == protocol.id, Allocation.scheme == definition.name)
    rows = unit.session.scalars(made.where(Allocation.at <= until) if until else made)
    arms = protocol.arms if definition is protocol.scheme else definition.arms
    codes = {arm.name: arm.code for arm in arms}
    found = {row.participant_id: codes[chains.unseal_arm(unit, row)] for row in rows}
    if definition.unit == "participant":
        return found
    sites = dict(unit.session.execute(select(Participant.id, Participant.enrolled_site).where(Participant.trial_id == protocol.id)).all())
    entered = [ident for ident, at in randomised(unit, protocol).items() if until is None or at <= until]
    return {ident: found[sites[ident]] for ident in entered if sites[ident] in found}


def randomised(unit: Unit, protocol: Protocol) -> dict[str, datetime]:
    """When each participant was randomised by the first scheme: allocated, or entered under the arm of their site. Raises Missing
    where nobody is allocated."""
    if protocol.scheme.unit == "site":
        rows = select(Status.subject, Status.at).where(
            Status.trial_id == protocol.id, Status.machine == "participant", Status.event.in_(lifecycle.RANDOMISING)
        )
    else:
        rows = select(Allocation.participant_id, Allocation.at).where(
            Allocation.trial_id == protocol.id, Allocation.scheme == protocol.scheme.name
        )
    return {ident: at for ident, at in unit.session.execute(rows)}
