"""Trials: loading a protocol, the definition in force, and the states of trial and sites."""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from threading import Lock
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select

from trialdm.definitions.protocols import load_protocol
from trialdm.domain import lifecycle
from trialdm.domain.errors import Missing, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.services import reach
from trialdm.services.unit import LONDON, Change, Unit, remember
from trialdm.store.tables import Definition, DefinitionUse, Status, Trial

#: States of a trial in which the version that is loaded is in force at once.
_LOADABLE = ("draft", "configured")

#: States in which a later version may be proposed: it goes live site by site.
_RUNNING = ("submitted", "approved", "open", "paused", "held", "closed_recruitment", "follow_up")

PROPOSED, IN_FORCE = "proposed", "in_force"

#: Protocols that were read before, by the hash of their texts.
_KNOWN: dict[str, Protocol] = {}
_MOST_KNOWN = 32

#: Held while a protocol is read: a server that has just started reads it once, not once for each request that waits for it.
_READING = Lock()


def parsed(row: Definition) -> Protocol:
    """The protocol that a loaded version defines."""
    found = _KNOWN.get(row.sha256)
    if found is not None:
        return found
    with _READING:
        found = _KNOWN.get(row.sha256)
        if found is None:
            if len(_KNOWN) >= _MOST_KNOWN:
                _KNOWN.clear()
            found = _KNOWN[row.sha256] = load_protocol(json.loads(row.texts))
    return found


# --- loading ---------------------------------------------------------------------------------------------------------


def load(unit: Unit, texts: Mapping[str, str]) -> Protocol:
    """Load a protocol from the texts of its files: a new trial, the next version of a draft, or a proposal for a running trial.

    A proposed version changes nothing until a site takes it up. Raises BadDefinition with every problem, WrongState for a trial
    that has ended, and Invalid for a version that cannot go live: without a name of its own, or in conflict with what is stored.
    """
    protocol = load_protocol(texts)
    unit.require("trial.configure", protocol.id)
    stored = json.dumps(dict(texts), sort_keys=True, ensure_ascii=False)
    sha256 = hashlib.sha256(stored.encode()).hexdigest()
    if unit.session.get(Trial, protocol.id) is None:
        _found(unit, protocol)
        _put(unit, protocol, stored, sha256)
        return protocol
    current = state(unit, protocol.id)
    if current in _LOADABLE:
        if definition(unit, protocol.id).sha256 != sha256:
            _put(unit, protocol, stored, sha256)
        return protocol
    if all(row.sha256 != sha256 for row in loaded(unit, protocol.id)):
        if current not in _RUNNING:
            raise WrongState(
                f"Trial {protocol.id} is {lifecycle.label(current)}: its protocol is fixed.",
                code="STATE.TRIAL",
                needs="A trial that has not ended takes a further version.",
            )
        known = [row.version for row in loaded(unit, protocol.id)]
        reach.require_proposable(unit, parsed(definition(unit, protocol.id)), alive(unit, protocol.id), known, protocol)
        _put(unit, protocol, stored, sha256, PROPOSED)
    return protocol


def put_in_force(unit: Unit, texts: Mapping[str, str]) -> Protocol:
    """The next version of a protocol that is in use, at every site at once: it replaces the trial's definition.

    What it may change, and who agreed, has been checked.
    """
    protocol = load_protocol(texts)
    stored = json.dumps(dict(texts), sort_keys=True, ensure_ascii=False)
    _put(unit, protocol, stored, hashlib.sha256(stored.encode()).hexdigest())
    return protocol


def _put(unit: Unit, protocol: Protocol, stored: str, sha256: str, as_state: str = IN_FORCE) -> None:
    before = loaded(unit, protocol.id)
    row = Definition(
        trial_id=protocol.id,
        seq=before[-1].seq + 1 if before else 1,
        version=protocol.version,
        sha256=sha256,
        texts=stored,
        loaded_at=unit.now,
        loaded_by=unit.actor.id,
        state=as_state,
    )
    replaced = definition(unit, protocol.id).sha256 if before else None
    unit.add(row)
    unit.record(
        "protocol.propose" if as_state == PROPOSED else "protocol.load",
        row,
        trial=protocol.id,
        entity="trial",
        entity_id=protocol.id,
        changes=[Change("definition", replaced, sha256), Change("version", None, protocol.version)],
    )
    unit.session.flush()
    unit.remembered.clear()
    if as_state == IN_FORCE:
        new_sites(unit, protocol)


def _found(unit: Unit, protocol: Protocol) -> None:
    trial = Trial(id=protocol.id, created_at=unit.now, created_by=unit.actor.id)
    unit.add(trial)
    unit.record("trial.create", trial, trial=protocol.id, entity="trial", entity_id=protocol.id)
    unit.session.flush()
    enter(unit, protocol.id, "trial", protocol.id, "create", "ended" if protocol.historical else lifecycle.INITIAL["trial"])


def new_sites(unit: Unit, protocol: Protocol) -> None:
    """Sites that came with a version enter their lifecycle."""
    known = states(unit, protocol.id, "site")
    for site in protocol.sites:
        if site.code not in known:
            first = "closed" if protocol.historical else lifecycle.INITIAL["site"]
            enter(unit, protocol.id, "site", site.code, "create", first)


# --- what is in force ------------------------------------------------------------------------------------------------


def loaded(unit: Unit, trial: str) -> list[Definition]:
    """Every version that was ever loaded, oldest first; without their texts, which are read when they are asked for."""
    return _versions(unit, trial)[0]


def uses(unit: Unit, trial: str) -> list[DefinitionUse]:
    """From which day each site uses which version, as recorded, days to come included."""
    return _versions(unit, trial)[1]


def _versions(unit: Unit, trial: str) -> tuple[list[Definition], list[DefinitionUse]]:
    def find() -> tuple[list[Definition], list[DefinitionUse]]:
        joined = (DefinitionUse.trial_id == Definition.trial_id) & (DefinitionUse.seq == Definition.seq)
        wanted = select(Definition, DefinitionUse).outerjoin(DefinitionUse, joined).where(Definition.trial_id == trial)
        rows = unit.session.execute(wanted.order_by(Definition.seq, DefinitionUse.from_day)).all()
        return list(dict.fromkeys(row for row, _ in rows)), [use for _, use in rows if use is not None]

    return remember(unit, ("definitions", trial), find)


def live(unit: Unit, trial: str) -> dict[int, list[str]]:
    """The versions that are in use today, oldest first, with the sites that took them up: none for one in force everywhere."""
    used: dict[int, list[str]] = {}
    for use in uses(unit, trial):
        if use.from_day <= unit.today:
            used.setdefault(use.seq, []).append(use.site)
    return {row.seq: used.get(row.seq, []) for row in loaded(unit, trial) if row.state == IN_FORCE or row.seq in used}


def alive(unit: Unit, trial: str) -> list[Protocol]:
    """The protocols that some site works with today, oldest first."""
    rows, in_use = {row.seq: row for row in loaded(unit, trial)}, live(unit, trial)
    newest = max((seq for seq in in_use if rows[seq].state == IN_FORCE), default=0)
    return [parsed(rows[seq]) for seq in in_use if seq >= newest]


def definition(unit: Unit, trial: str) -> Definition:
    """The definition of the trial as a whole: the newest one that is in force, or in use at some site today.

    It decides about sites, the allocation and exports. Raises Missing for an unknown trial.
    """

    def find() -> Definition:
        rows = loaded(unit, trial)
        if not rows:
            raise Missing(f"There is no trial '{trial}'.", code="TRIAL.UNKNOWN")
        newest = max(live(unit, trial), default=0)
        return next(row for row in rows if row.seq == newest)

    return remember(unit, ("definition", trial), find)


def definition_at(unit: Unit, trial: str, site: str) -> Definition:
    """The definition that a site works with today: the newest one in force, or taken up by the site.

    A site that came with a later version works with the trial's. Raises Missing for an unknown trial.
    """

    def find() -> Definition:
        whole = definition(unit, trial)
        mine = [row for row in loaded(unit, trial) if row.state == IN_FORCE or site in live(unit, trial).get(row.seq, ())]
        if not mine or mine[-1].seq == whole.seq:
            return whole
        known = any(one.code == site for one in parsed(mine[-1]).sites)
        return mine[-1] if known else whole

    return remember(unit, ("definition", trial, site), find)


def used_since(unit: Unit, trial: str, site: str) -> date:
    """From which day a site has worked with its definition: the day that was recorded, or that of loading."""
    row = definition_at(unit, trial, site)
    recorded = [use.from_day for use in uses(unit, trial) if use.seq == row.seq and use.site == site]
    return recorded[0] if recorded else row.loaded_at.astimezone(LONDON).date()


def protocol(unit: Unit, trial: str) -> Protocol:
    """The protocol of the trial as a whole (see `definition`). Raises Missing for an unknown trial."""
    return parsed(definition(unit, trial))


def protocol_at(unit: Unit, trial: str, site: str) -> Protocol:
    """The protocol that a site works with today (see `definition_at`). Raises Missing for an unknown trial."""
    return parsed(definition_at(unit, trial, site))


def protocols(unit: Unit) -> list[Protocol]:
    """Every trial of the instance in which the person has a role."""
    trials = unit.session.scalars(select(Trial.id).order_by(Trial.id)).all()
    return [protocol(unit, trial) for trial in trials if unit.may("trial.see", trial)]


# --- states ----------------------------------------------------------------------------------------------------------


_NEWEST_STATUS = (
    select(Status)
    .where(Status.trial_id == bindparam("trial"), Status.machine == bindparam("machine"), Status.subject == bindparam("subject"))
    .order_by(Status.seq.desc())
    .limit(1)
)


def _status(unit: Unit, trial: str, machine: str, subject: str) -> Status | None:
    return unit.session.scalars(_NEWEST_STATUS, {"trial": trial, "machine": machine, "subject": subject}).first()


def state(unit: Unit, trial: str, machine: str = "trial", subject: str = "") -> str:
    """The state of the trial, or of a site or participant of it."""
    row = remember(unit, ("state", trial, machine, subject or trial), lambda: _status(unit, trial, machine, subject or trial))
    return row.state if row else lifecycle.INITIAL[machine]


_OF_BOTH = (
    select(Status.machine, Status.state)
    .where(
        Status.trial_id == bindparam("trial"),
        or_(
            and_(Status.machine == "trial", Status.subject == bindparam("trial")),
            and_(Status.machine == "site", Status.subject == bindparam("site")),
        ),
    )
    .order_by(Status.seq)
)


def read_states(unit: Unit, trial: str, site: str) -> None:
    """Read the states of the trial and of a site at once, for an act that looks at both; `state` gives them."""
    keys = {machine: ("state", trial, machine, subject) for machine, subject in (("trial", trial), ("site", site))}
    if not any(key in unit.remembered for key in keys.values()):
        newest = {row.machine: row for row in unit.session.execute(_OF_BOTH, {"trial": trial, "site": site})}
        unit.remembered.update({key: newest.get(machine) for machine, key in keys.items()})


def locked(unit: Unit, trial: str) -> bool:
    """Whether two people have locked the database of the trial: one asked for it, and another one confirmed."""
    return state(unit, trial, "hold", f"trial:{trial}") in lifecycle.LOCKED


def states(unit: Unit, trial: str, machine: str) -> dict[str, str]:
    """The states of all sites, or of all participants, of a trial."""
    newest = (
        select(Status.subject, func.max(Status.seq).label("seq"))
        .where(Status.trial_id == trial, Status.machine == machine)
        .group_by(Status.subject)
        .subquery()
    )
    rows = unit.session.execute(
        select(Status.subject, Status.state).where(
            Status.trial_id == trial, Status.machine == machine, Status.subject == newest.c.subject, Status.seq == newest.c.seq
        )
    )
    return {subject: found for subject, found in rows}


def history(unit: Unit, trial: str, machine: str, subject: str) -> list[Status]:
    """Every transition of one thing, oldest first."""
    return list(
        unit.session.scalars(
            select(Status).where(Status.trial_id == trial, Status.machine == machine, Status.subject == subject).order_by(Status.seq)
        )
    )


def enter(
    unit: Unit,
    trial: str,
    machine: str,
    subject: str,
    event: str,
    new: str,
    *,
    reason: str = "",
    gate: Mapping[str, Any] | None = None,
    site: str = "",
    stream: str = "open",
) -> None:
    """Write a transition whose rules have been checked, with the gate's answer that allowed it; `stream` says who reads of it."""
    before = _status(unit, trial, machine, subject)
    row = Status(
        trial_id=trial,
        machine=machine,
        subject=subject,
        seq=before.seq + 1 if before else 1,
        event=event,
        state=new,
        at=unit.now,
        by=unit.actor.id,
        reason=reason,
        gate=json.dumps(gate) if gate else "",
    )
    unit.add(row)
    unit.record(
        f"{machine}.{event}",
        row,
        trial=trial,
        entity=machine,
        entity_id=subject,
        changes=[Change("state", before.state if before else None, new, stream)],
        reason_text=reason,
        site=site,
    )
    unit.session.flush()
    unit.remembered[("state", trial, machine, subject)] = row


def move(
    unit: Unit,
    trial: str,
    machine: str,
    subject: str,
    event: str,
    *,
    reason: str = "",
    gate: Mapping[str, Any] | None = None,
    site: str = "",
    stream: str = "open",
) -> str:
    """Take one step of a lifecycle. Raises WrongState where the step does not lead on from here."""
    new = lifecycle.move(machine, state(unit, trial, machine, subject), event)
    enter(unit, trial, machine, subject, event, new, reason=reason, gate=gate, site=site, stream=stream)
    return new
