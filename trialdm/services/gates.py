"""Asking the gate: the case of one act as the database knows it, the answer, and keeping the answer with the act.

A kept answer holds what it stood on, so that anybody can give it again from the register of that moment (`replay`).
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import bindparam, func, select

from trialdm.definitions.protocols import load_protocol
from trialdm.domain import ethics, guidance, lifecycle
from trialdm.domain.errors import Invalid, Refused, WrongState
from trialdm.domain.ethics import Answer, Case, Person
from trialdm.domain.protocol import Protocol
from trialdm.services import register, studies
from trialdm.services.unit import LONDON, NOBODY, SYSTEM, Change, Unit
from trialdm.store.tables import Allocation, AuditEvent, AuditValue, Definition, FormInstance, FormVersion, RegisterEntry, Scheme, Status


def person(unit: Unit) -> Person | None:
    """The actor as the gate knows them; None for the system and for nobody."""
    return None if unit.actor in (SYSTEM, NOBODY) else Person(unit.actor.id, unit.actor.name, unit.actor.grants)


def case(unit: Unit, trial: str, action: str, *, site: str = "", on: date | None = None, **about: Any) -> Case:
    """Everything that the rules may look at, for one act on one day (today unless another is named).

    `about` are further fields of the case: `participant`, `form`, `modification` and so on.
    """
    protocol, day = studies.parsed(_definition(unit, trial, action, site)), on or unit.today
    if site and day >= unit.today:
        studies.read_states(unit, trial, site)
    return Case(
        action=action,
        on=day,
        protocol=protocol,
        register=register.read(unit, trial),
        trial_state=_state_on(unit, protocol, "trial", trial, day),
        site=protocol.site(site) if site else None,
        site_state=_state_on(unit, protocol, "site", site, day) if site else "",
        person=person(unit),
        randomised_count=_randomised(unit, protocol) if action == "randomise" else 0,
        lock_confirmed=action != "export-unblinded" or _state_on(unit, protocol, "hold", f"trial:{trial}", day) in lifecycle.LOCKED,
        unblinded=action == "export-unblinded" and _state_on(unit, protocol, "blinding", trial, day) == "unblinded",
        guidance_final=guidance.final(protocol, register.read(unit, trial), day),
        **about,
        **_ends(unit, protocol, action),
    )


def _definition(unit: Unit, trial: str, action: str, site: str) -> Definition:
    """The definition that an act is judged by: a form that is saved by the one its site works with, everything else by the trial's."""
    return studies.definition_at(unit, trial, site) if action == "save-form" and site else studies.definition(unit, trial)


#: Acts that look at when the trial was halted or ended.
_OF_THE_END = frozenset({"pause-trial", "resume-trial", "end-trial", "destroy-records"})


def _ends(unit: Unit, protocol: Protocol, action: str) -> dict[str, Any]:
    """Since when the trial has been halted, and on which day it ended; only for acts that look at it."""
    if action not in _OF_THE_END:
        return {}
    history = studies.history(unit, protocol.id, "trial", protocol.id)
    days = {row.event: row.at.astimezone(LONDON).date() for row in history}
    halted = days.get("pause") if history and history[-1].state == "paused" else None
    return {"halted_on": halted, "ended_on": days.get("end") or days.get("terminate")}


def ask(unit: Unit, trial: str, action: str, **about: Any) -> Answer:
    """The gate's answer for one act (see `case`)."""
    return ethics.gate(case(unit, trial, action, **about))


def require(unit: Unit, trial: str, action: str, **about: Any) -> dict[str, Any]:
    """The answer that allows an act, as it is kept with it. Raises Refused with every reason against it."""
    found = case(unit, trial, action, **about)
    unit.attempt(trial, found.action, site=found.site.code if found.site else "")
    answer = ethics.gate(found)
    answer.require()
    return kept(unit, found, answer)


def kept(unit: Unit, found: Case, answer: Answer) -> dict[str, Any]:
    """An answer with what it stood on, and the number of the definition of the trial."""
    definition = _definition(unit, found.protocol.id, found.action, found.site.code if found.site else "")
    return {**answer.to_json(), "basis": ethics.basis(found), "definition": definition.seq}


def judge(unit: Unit, trial: str, action: str, **about: Any) -> tuple[Answer, dict[str, Any]]:
    """The gate's answer to a fact, whoever did it, and the same answer as it is kept; it refuses nothing."""
    found = replace(case(unit, trial, action, **about), person=None)
    answer = ethics.gate(found)
    return answer, kept(unit, found, answer)


_PLACES = select(func.sum(Scheme.places)).where(Scheme.trial_id == bindparam("trial"), Scheme.name == bindparam("scheme"))


def _randomised(unit: Unit, protocol: Protocol) -> int:
    """How many participants have been randomised: as the scheme counts its places, and not by counting rows."""
    if protocol.scheme.unit == "participant":
        return int(unit.session.scalar(_PLACES, {"trial": protocol.id, "scheme": protocol.scheme.name}) or 0)
    steps = select(func.count()).where(
        Status.trial_id == protocol.id, Status.machine == "participant", Status.event.in_(lifecycle.RANDOMISING)
    )
    return unit.session.scalar(steps) or 0


def _state_on(unit: Unit, protocol: Protocol, machine: str, subject: str, day: date) -> str:
    """The state at the end of a day that has passed, or the present one."""
    if day >= unit.today:
        return studies.state(unit, protocol.id, machine, subject)
    end = datetime.combine(day + timedelta(days=1), time.min, LONDON).astimezone(UTC)
    row = unit.session.scalars(
        select(Status)
        .where(Status.trial_id == protocol.id, Status.machine == machine, Status.subject == subject, Status.at < end)
        .order_by(Status.seq.desc())
        .limit(1)
    ).first()
    return row.state if row else lifecycle.INITIAL[machine]


# --- steps of lifecycles ---------------------------------------------------------------------------------------------

#: Steps of a lifecycle that the gate decides.
GATED = {
    ("trial", "configure"): "configure-trial",
    ("trial", "open"): "open-trial",
    ("trial", "pause"): "pause-trial",
    ("trial", "resume"): "resume-trial",
    ("trial", "release"): "open-trial",
    ("trial", "end"): "end-trial",
    ("trial", "terminate"): "end-trial",
    ("site", "activate"): "activate-site",
    ("site", "resume"): "activate-site",
}

#: Steps of the trial that stop or restart recruitment: who may take them differs.
_PAUSES = frozenset({"pause", "resume", "hold", "release", "terminate"})

#: What a lock that was asked for waits for.
SECOND = "A second person confirms it on the page of freezing and locking, or with 'hold move TRIAL lock'."

#: Steps that nobody takes without saying why.
NEED_REASON = frozenset({("trial", "pause"), ("trial", "hold"), ("trial", "terminate"), ("site", "suspend")})


def rights(machine: str, event: str) -> tuple[str, ...]:
    """The rights that a step of a trial or of a site takes. Who locks a trial must be one of those who lock its data."""
    if machine == "site":
        return ("site.move",)
    if event in _PAUSES:
        return ("trial.pause",)
    return ("trial.move", "hold.move") if event == "lock" else ("trial.move",)


def move_trial(unit: Unit, trial: str, event: str, *, reason: str = "") -> str:
    """Take a step of the trial's lifecycle, where role and gate allow it; gives the new state.

    `lock` asks for the lock of its database, and the state stays as it is until a second person confirms (`holds.move`).
    """
    for needed in rights("trial", event):
        unit.require(needed, trial)
    if event == "unlock":
        raise Refused(
            "Nobody unlocks a trial alone.", code="HOLD.SECOND", needs="Two people unlock it on the page of freezing and locking."
        )
    if event == "lock":
        return _ask_for_lock(unit, trial, reason)
    if event == "end":
        _require_locked(unit, trial)
    return _move(unit, trial, "trial", trial, event, reason)


def _ask_for_lock(unit: Unit, trial: str, reason: str) -> str:
    """Freeze the trial and ask for its lock; a trial that two people have locked before its time came is locked at once."""
    from trialdm.services import holds  # which reads participants, and so asks the gate

    register.lock(unit, trial)
    state = studies.state(unit, trial)
    lifecycle.move("trial", state, "lock")
    about = holds.target(unit, trial, "trial")
    held = holds.state(unit, about)
    if held == "locked":
        return studies.move(unit, trial, "trial", trial, "lock", reason=reason)
    if held == "lock_asked":
        raise WrongState("The lock of the trial has been asked for.", code="HOLD.ASKED", needs=SECOND)
    if held == "free":
        holds.move(unit, about, "freeze", reason=reason)
    holds.move(unit, about, "ask-lock", reason=reason)
    return state


def _require_locked(unit: Unit, trial: str) -> None:
    """Raises WrongState for a trial that is called locked without its data being so."""
    register.lock(unit, trial)
    if studies.state(unit, trial) == "locked" and not studies.locked(unit, trial):
        raise WrongState("The lock of the database has not been confirmed.", code="STATE.LOCK", needs=SECOND)


def move_site(unit: Unit, trial: str, site: str, event: str, *, reason: str = "") -> str:
    """Take a step of a site's lifecycle, where role and gate allow it; gives the new state."""
    for needed in rights("site", event):
        unit.require(needed, trial)
    studies.protocol(unit, trial).site(site)
    return _move(unit, trial, "site", site, event, reason)


def _move(unit: Unit, trial: str, machine: str, subject: str, event: str, reason: str) -> str:
    register.lock(unit, trial)
    lifecycle.move(machine, studies.state(unit, trial, machine, subject), event)
    if (machine, event) in NEED_REASON and not reason.strip():
        raise Invalid("Say why.", code="STATE.REASON", needs="The reason, in a sentence without names.")
    action, site = GATED.get((machine, event)), subject if machine == "site" else ""
    answer = require(unit, trial, action, site=site) if action else None
    return studies.move(unit, trial, machine, subject, event, reason=reason, gate=answer, site=site)


#: Entry of the trail that keeps an answer of the gate, where the act has no row of its own that does.
KEPT = "gate.answer"


def keep(unit: Unit, trial: str, answer: Mapping[str, Any], *, stream: str = "open", **about: str) -> None:
    """Keep an answer in the trail with what it is about (`entity`, `entity_id`, `site`)."""
    unit.record(KEPT, trial=trial, changes=[Change(answer["action"], None, answer, stream)], **about)


# --- giving kept answers again ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replayed:
    """A kept answer given again: which act, when, and what is different now (empty where nothing is)."""

    act: str
    subject: str
    at: datetime
    different: str


def replay(unit: Unit, trial: str) -> Iterator[Replayed]:
    """Every kept answer of a trial, given again from the register as it stood at that moment."""
    unit.require("approvals.see", trial)
    definitions = {d.seq: d.texts for d in studies.loaded(unit, trial)}
    protocols: dict[int, Protocol] = {}
    changes, standing, known = register.moments(unit, trial), -1, ethics.Register()
    for act, subject, at, text in sorted(_kept_answers(unit, trial), key=lambda row: row[2]):
        stored = json.loads(text)
        if "basis" not in stored:
            continue
        number = stored["definition"]
        if number not in protocols:
            protocols[number] = load_protocol(json.loads(definitions[number]))
        if (place := bisect_right(changes, at)) != standing:
            standing, known = place, register.as_of(unit, trial, at)
        under = register.under(protocols[number], known)
        again = ethics.gate(ethics.case_of(stored["basis"], protocols[number], under)).to_json()
        first = {key: value for key, value in stored.items() if key not in ("basis", "definition")}
        yield Replayed(act, subject, at, _difference(first, again))


def _kept_answers(unit: Unit, trial: str) -> Iterator[tuple[str, str, datetime, str]]:
    for s in unit.session.scalars(select(Status).where(Status.trial_id == trial, Status.gate != "")):
        yield f"{s.machine} {s.event}", s.subject, s.at, s.gate
    for a in unit.session.scalars(select(Allocation).where(Allocation.trial_id == trial, Allocation.gate != "")):
        yield "randomise", a.participant_id, a.at, a.gate
    forms = (
        select(FormVersion, FormInstance)
        .join(FormInstance, (FormInstance.trial_id == FormVersion.trial_id) & (FormInstance.id == FormVersion.instance_id))
        .where(FormVersion.trial_id == trial, FormVersion.gate != "")
    )
    for version, instance in unit.session.execute(forms):
        yield f"save {instance.form}", instance.participant_id, version.saved_at, version.gate
    facts = (
        select(AuditEvent, AuditValue.value)
        .join(AuditValue, (AuditValue.event_id == AuditEvent.event_id) & (AuditValue.which == "new"))
        .where(AuditEvent.trial_id == trial, AuditEvent.action == KEPT)
    )
    for event, value in unit.session.execute(facts):
        yield f"{event.entity} {event.field}", event.entity_id, datetime.fromisoformat(event.at_utc), value

    for entry in unit.session.scalars(select(RegisterEntry).where(RegisterEntry.trial_id == trial).order_by(RegisterEntry.seq)):
        data = json.loads(entry.data)
        if "gate" in data:
            yield data["gate"]["action"], data["ref"], entry.recorded_at, json.dumps(data["gate"])


def _difference(first: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    """What is different in two answers, in words."""
    if json.loads(json.dumps(again)) == dict(first):
        return ""
    old, new = ([f"{r['rule']} {r['message']}" for r in found["reasons"]] for found in (first, again))
    gone, come = [r for r in old if r not in new], [r for r in new if r not in old]
    return "; ".join([*(f"no longer: {r}" for r in gone), *(f"now: {r}" for r in come)]) or "other rules were looked at"
