"""The approvals register, and asking the gate.

Rows are only ever added. Whoever changes the register locks the trial's row, and whoever allocates holds it shared: an
allocation never commits after the withdrawal of what it stood on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import func, select

from trialdm.definitions.registers import load_ethics
from trialdm.domain import ethics, lifecycle
from trialdm.domain.crf import Form
from trialdm.domain.ethics import Answer, Approval, Case, Condition, Document, Person, Register, Standing
from trialdm.domain.protocol import Protocol
from trialdm.services import studies
from trialdm.services.unit import LONDON, NOBODY, SYSTEM, Change, Unit, remember
from trialdm.store.tables import Account, Credential, Delegation, RegisterEntry, Scheme, Status, Training, Trial

_DATES = {
    "submitted_on",
    "valid_on",
    "decided_on",
    "effective_from",
    "effective_to",
    "agreement_signed_on",
    "met_on",
    "dated",
    "approved_on",
    "superseded_on",
}


def lock(unit: Unit, trial: str, *, shared: bool = False) -> None:
    """Hold the trial's row: shared to act on its approvals, alone to change them."""
    unit.session.execute(select(Trial.id).where(Trial.id == trial).with_for_update(read=shared))
    unit.turn_has_come()


def load(unit: Unit, trial: str, texts: Mapping[str, str], *, shift: timedelta = timedelta(0)) -> int:
    """Add the approvals and documents of an ethics folder that are not on record yet; gives how many were added.

    Raises BadDefinition with every problem of the files.
    """
    unit.require("approvals.record", trial)
    found = load_ethics(texts, studies.protocol(unit, trial), shift=shift)
    lock(unit, trial)
    known = set(unit.session.scalars(select(RegisterEntry.data).where(RegisterEntry.trial_id == trial)))
    rows = [("approval", _to_json(approval)) for approval in found.approvals]
    rows += [("document", _to_json(document)) for document in found.documents]
    new = [(kind, data) for kind, data in rows if data not in known]
    for kind, data in new:
        _append(unit, trial, kind, data)
    unit.session.flush()
    return len(new)


def record(unit: Unit, trial: str, entry: Approval | Document) -> None:
    """Add one decision or document version to the register."""
    unit.require("approvals.record", trial)
    lock(unit, trial)
    _append(unit, trial, "approval" if isinstance(entry, Approval) else "document", _to_json(entry))
    unit.session.flush()


def _append(unit: Unit, trial: str, kind: str, data: str) -> None:
    last = unit.session.scalar(select(func.max(RegisterEntry.seq)).where(RegisterEntry.trial_id == trial)) or 0
    row = RegisterEntry(trial_id=trial, seq=last + 1, kind=kind, data=data, recorded_at=unit.now, recorded_by=unit.actor.id)
    unit.add(row)
    unit.record(
        f"register.{kind}",
        row,
        trial=trial,
        entity="register",
        entity_id=str(row.seq),
        changes=[Change(kind, None, json.loads(data))],
    )
    unit.session.flush()
    unit.remembered.pop(("register", trial), None)


def _to_json(entry: Approval | Document) -> str:
    return json.dumps(asdict(entry), default=lambda day: day.isoformat(), sort_keys=True)


def _dates(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: date.fromisoformat(value) if key in _DATES and value else value for key, value in raw.items()}


def _approval(raw: dict[str, Any]) -> Approval:
    conditions = tuple(Condition(**_dates(condition)) for condition in raw["conditions"])
    return Approval(**{**_dates(raw), "conditions": conditions, "nations": tuple(raw["nations"])})


def _document(raw: dict[str, Any]) -> Document:
    sites = {site: date.fromisoformat(day) for site, day in raw["sites"].items()}
    return Document(
        **{
            **_dates(raw),
            "effective_from": date.fromisoformat(raw["effective_from"]),
            "sites": sites,
            "nations": tuple(raw["nations"]),
        }
    )


#: What was read last, by database and trial, with the counts of rows that it was read from.
_KNOWN: dict[tuple[str, str], tuple[tuple[Any, ...], Register]] = {}


def register(unit: Unit, trial: str) -> Register:
    """Everything on record for a trial that the gate looks at."""
    return remember(unit, ("register", trial), lambda: _register(unit, trial))


def _register(unit: Unit, trial: str) -> Register:
    tables = (RegisterEntry, Delegation, Training, Credential)
    counts = [select(func.count()).where(table.trial_id == trial).scalar_subquery() for table in tables]
    stamp = tuple(unit.session.execute(select(*counts)).one())
    where = (str(unit.session.get_bind().engine.url), trial)
    cached = _KNOWN.get(where)
    if cached and cached[0] == stamp:
        return cached[1]
    built = _read_register(unit, trial)
    _KNOWN[where] = (stamp, built)
    return built


def _read_register(unit: Unit, trial: str) -> Register:
    entries = unit.session.scalars(select(RegisterEntry).where(RegisterEntry.trial_id == trial).order_by(RegisterEntry.seq)).all()
    lines = unit.session.scalars(select(Delegation).where(Delegation.trial_id == trial).order_by(Delegation.recorded_at)).all()
    trainings = unit.session.scalars(select(Training).where(Training.trial_id == trial)).all()
    credentials = unit.session.execute(
        select(Credential, Account.name).join(Account, Account.id == Credential.account_id).where(Credential.trial_id == trial)
    ).all()
    return Register(
        approvals=tuple(_approval(json.loads(e.data)) for e in entries if e.kind == "approval"),
        documents=tuple(_document(json.loads(e.data)) for e in entries if e.kind == "document"),
        delegations=tuple(
            ethics.Delegation(d.account_id, d.site, frozenset(json.loads(d.tasks)), d.start, d.end, bool(d.signed_by_pi)) for d in lines
        ),
        trainings=tuple(ethics.Training(t.account_id, t.kind, t.on, t.valid_to) for t in trainings),
        credentials=tuple(
            ethics.Credential(c.surgeon, c.account_id, name, c.site, c.valid_from, c.valid_to, c.cases) for c, name in credentials
        ),
    )


def registers(unit: Unit, trial: str) -> dict[str, dict[int, str]]:
    """The registers that give the choices of items: documents, staff and surgeons, each as number and name."""

    def find() -> dict[str, dict[int, str]]:
        on_record = register(unit, trial)
        staff = unit.session.execute(select(Account.staff_no, Account.name).order_by(Account.staff_no)).all()
        return {
            "documents.PIS": {d.code: d.title for d in on_record.documents if d.kind == "PIS"},
            "documents.ICF": {d.code: d.title for d in on_record.documents if d.kind == "ICF"},
            "staff": {number: name for number, name in staff},
            "surgeons": {c.surgeon: f"{c.name} ({c.site})" for c in on_record.credentials},
        }

    return remember(unit, ("registers", trial), find)


# --- the gate --------------------------------------------------------------------------------------------------------


def person(unit: Unit) -> Person | None:
    """The actor as the gate knows them; None for the system and for nobody."""
    return None if unit.actor in (SYSTEM, NOBODY) else Person(unit.actor.id, unit.actor.name, unit.actor.grants)


def case(
    unit: Unit,
    trial: str,
    action: str,
    *,
    site: str = "",
    on: date | None = None,
    participant: Standing | None = None,
    form: Form | None = None,
    visit: str = "",
) -> Case:
    """Everything that the rules may look at, for one act on one day (today unless another is named)."""
    protocol = studies.protocol(unit, trial)
    day = on or unit.today
    return Case(
        action=action,
        on=day,
        protocol=protocol,
        register=register(unit, trial),
        trial_state=_state_on(unit, protocol, "trial", trial, day),
        site=protocol.site(site) if site else None,
        site_state=_state_on(unit, protocol, "site", site, day) if site else "",
        person=person(unit),
        participant=participant,
        form=form,
        visit=visit,
        randomised_count=_randomised(unit, protocol) if action == "randomise" else 0,
        unblinded=action == "export-unblinded" and _state_on(unit, protocol, "blinding", trial, day) == "unblinded",
    )


def ask(unit: Unit, trial: str, action: str, **about: Any) -> Answer:
    """The gate's answer for one act (see `case`)."""
    return ethics.gate(case(unit, trial, action, **about))


def _randomised(unit: Unit, protocol: Protocol) -> int:
    """How many participants have been randomised: as the scheme counts its places, and not by counting rows."""
    if protocol.scheme.unit == "participant":
        places = select(func.sum(Scheme.places)).where(Scheme.trial_id == protocol.id, Scheme.name == protocol.scheme.name)
        return int(unit.session.scalar(places) or 0)
    entered = ("randomise", "record-randomisation")
    steps = select(func.count()).where(Status.trial_id == protocol.id, Status.machine == "participant", Status.event.in_(entered))
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


#: Steps of a lifecycle that the gate decides.
_GATED = {("trial", "open"): "open-trial", ("trial", "resume"): "open-trial", ("site", "activate"): "activate-site"}


def move_trial(unit: Unit, trial: str, event: str, *, reason: str = "") -> str:
    """Take a step of the trial's lifecycle, where role and gate allow it; gives the new state."""
    unit.require("trial.pause" if event in ("pause", "resume") else "trial.move", trial)
    return _move(unit, trial, "trial", trial, event, reason)


def move_site(unit: Unit, trial: str, site: str, event: str, *, reason: str = "") -> str:
    """Take a step of a site's lifecycle, where role and gate allow it; gives the new state."""
    unit.require("site.move", trial)
    studies.protocol(unit, trial).site(site)
    return _move(unit, trial, "site", site, event, reason)


def _move(unit: Unit, trial: str, machine: str, subject: str, event: str, reason: str) -> str:
    lock(unit, trial)
    lifecycle.move(machine, studies.state(unit, trial, machine, subject), event)
    action = _GATED.get((machine, event))
    answer = None
    if action:
        answer = ask(unit, trial, action, site=subject if machine == "site" else "")
        answer.require()
    return studies.move(
        unit,
        trial,
        machine,
        subject,
        event,
        reason=reason,
        gate=answer.to_json() if answer else None,
        site=subject if machine == "site" else "",
    )


def as_of(unit: Unit, trial: str, on: date, site: str = "") -> list[dict[str, Any]]:
    """The state of every body and document on a day: for status pages and the command line."""
    protocol, on_record = studies.protocol(unit, trial), register(unit, trial)
    if site:
        protocol.site(site)
    rows: list[dict[str, Any]] = []
    for body in ethics.BODIES:
        places = [s.code for s in protocol.sites if not site or s.code == site] if body in ethics.SITE_BODIES else [""]
        for place in places:
            newest = on_record.latest(body, on, site=place)
            standing = on_record.standing(body, on, site=place)
            rows.append(
                {
                    "body": body,
                    "site": place,
                    "status": newest.status if newest else "not recorded",
                    "in_force": standing is not None,
                    "ref": newest.ref if newest else "",
                    "from": newest.starts.isoformat() if newest and newest.starts else None,
                    "to": newest.effective_to.isoformat() if newest and newest.effective_to else None,
                }
            )
    for at in protocol.sites:
        if site and at.code != site:
            continue
        for kind in ethics.DOCUMENT_KINDS:
            current = on_record.current_document(kind, at, on)
            if current:
                rows.append(
                    {
                        "body": kind,
                        "site": at.code,
                        "status": f"version {current.version}",
                        "in_force": True,
                        "ref": current.title,
                    }
                )
    return rows
