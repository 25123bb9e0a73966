"""Trials: loading a protocol, the definition in force, and the states of trial and sites."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import func, select

from trialdm.definitions.protocols import load_protocol
from trialdm.domain import lifecycle
from trialdm.domain.errors import Missing, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.services.unit import Change, Unit, remember
from trialdm.store.tables import Definition, Status, Trial

#: States of a trial in which a protocol may be loaded: later versions come by an approved modification.
_LOADABLE = ("draft", "configured")


@lru_cache(maxsize=16)
def _parsed(sha256: str, texts: str) -> Protocol:
    return load_protocol(json.loads(texts))


def load(unit: Unit, texts: Mapping[str, str]) -> Protocol:
    """Load a protocol from the texts of its files: a new trial, or the next version of a draft.

    Raises BadDefinition with every problem, and WrongState for a trial that has been submitted.
    """
    protocol = load_protocol(texts)
    unit.require("trial.configure", protocol.id)
    stored = json.dumps(dict(texts), sort_keys=True, ensure_ascii=False)
    sha256 = hashlib.sha256(stored.encode()).hexdigest()
    newest = _newest(unit, protocol.id) if unit.session.get(Trial, protocol.id) else None
    if newest and newest.sha256 == sha256:
        return protocol
    if newest:
        current = state(unit, protocol.id)
        if current not in _LOADABLE:
            raise WrongState(
                f"Trial {protocol.id} is {lifecycle.label(current)}: its protocol is fixed.",
                code="STATE.TRIAL",
                needs="A change to a submitted protocol is a modification.",
            )
    else:
        _found(unit, protocol)
    _put(unit, protocol, stored, sha256, newest)
    return protocol


def put_in_force(unit: Unit, texts: Mapping[str, str]) -> Protocol:
    """The next version of a protocol that is in use. What it may change, and who agreed, has been checked."""
    protocol = load_protocol(texts)
    stored = json.dumps(dict(texts), sort_keys=True, ensure_ascii=False)
    _put(unit, protocol, stored, hashlib.sha256(stored.encode()).hexdigest(), definition(unit, protocol.id))
    return protocol


def _put(unit: Unit, protocol: Protocol, stored: str, sha256: str, newest: Definition | None) -> None:
    row = Definition(
        trial_id=protocol.id,
        seq=newest.seq + 1 if newest else 1,
        version=protocol.version,
        sha256=sha256,
        texts=stored,
        loaded_at=unit.now,
        loaded_by=unit.actor.id,
    )
    unit.add(row)
    unit.record(
        "protocol.load",
        row,
        trial=protocol.id,
        entity="trial",
        entity_id=protocol.id,
        changes=[Change("definition", newest.sha256 if newest else None, sha256), Change("version", None, protocol.version)],
    )
    unit.session.flush()
    unit.remembered.clear()
    _new_sites(unit, protocol)


def _found(unit: Unit, protocol: Protocol) -> None:
    trial = Trial(id=protocol.id, created_at=unit.now, created_by=unit.actor.id)
    unit.add(trial)
    unit.record("trial.create", trial, trial=protocol.id, entity="trial", entity_id=protocol.id)
    unit.session.flush()
    enter(unit, protocol.id, "trial", protocol.id, "create", "ended" if protocol.historical else lifecycle.INITIAL["trial"])


def _new_sites(unit: Unit, protocol: Protocol) -> None:
    known = states(unit, protocol.id, "site")
    for site in protocol.sites:
        if site.code not in known:
            first = "closed" if protocol.historical else lifecycle.INITIAL["site"]
            enter(unit, protocol.id, "site", site.code, "create", first)


def _newest(unit: Unit, trial: str) -> Definition | None:
    return unit.session.scalars(select(Definition).where(Definition.trial_id == trial).order_by(Definition.seq.desc()).limit(1)).first()


def definition(unit: Unit, trial: str) -> Definition:
    """The definition in force. Raises Missing for an unknown trial."""

    def find() -> Definition:
        row = _newest(unit, trial)
        if row is None:
            raise Missing(f"There is no trial '{trial}'.", code="TRIAL.UNKNOWN")
        return row

    return remember(unit, ("definition", trial), find)


def protocol(unit: Unit, trial: str) -> Protocol:
    """The protocol in force. Raises Missing for an unknown trial."""
    row = definition(unit, trial)
    return _parsed(row.sha256, row.texts)


def protocols(unit: Unit) -> list[Protocol]:
    """Every trial of the instance in which the person has a role."""
    trials = unit.session.scalars(select(Trial.id).order_by(Trial.id)).all()
    return [protocol(unit, trial) for trial in trials if unit.may("trial.see", trial)]


# --- states ----------------------------------------------------------------------------------------------------------


def _status(unit: Unit, trial: str, machine: str, subject: str) -> Status | None:
    return unit.session.scalars(
        select(Status)
        .where(Status.trial_id == trial, Status.machine == machine, Status.subject == subject)
        .order_by(Status.seq.desc())
        .limit(1)
    ).first()


def state(unit: Unit, trial: str, machine: str = "trial", subject: str = "") -> str:
    """The state of the trial, or of a site or participant of it."""
    row = remember(unit, ("state", trial, machine, subject or trial), lambda: _status(unit, trial, machine, subject or trial))
    return row.state if row else lifecycle.INITIAL[machine]


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
) -> None:
    """Write a transition whose rules have been checked, with the gate's answer that allowed it."""
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
        changes=[Change("state", before.state if before else None, new)],
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
) -> str:
    """Take one step of a lifecycle. Raises WrongState where the step does not lead on from here."""
    new = lifecycle.move(machine, state(unit, trial, machine, subject), event)
    enter(unit, trial, machine, subject, event, new, reason=reason, gate=gate, site=site)
    return new
