"""Reading the audit trail: what happened to a thing, who did it, when, from which door, and why.

A blinded reader gets no entry of the unblinded stream of the sites that they may see. An arm stands in an entry only for a
reader who has asked for it (`unblinding.look`), so that reading the trail is no way round. Who looked at which identity is read
by those who watch over that only (`identity.trail`); no identity stands in the trail.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select

from trialdm.domain.audit import Entry, authenticate, commit
from trialdm.domain.errors import Broken
from trialdm.services import casebooks, disclosures, studies
from trialdm.services.places import Place
from trialdm.services.unit import Unit
from trialdm.store.tables import AuditEvent, AuditValue, FormInstance, Participant, Query, Transfer

PAGE = 100

#: What stands in place of an arm that the reader has not asked for.
HIDDEN = "hidden until you ask"


@dataclass(frozen=True)
class Line:
    """One entry of the trail with its values. `seq` counts what the reader may read: a gap would tell of what is hidden."""

    seq: int
    at: datetime
    person: str
    role: str
    door: str
    action: str
    entity: str
    entity_id: str
    field: str
    old: Any
    new: Any
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "at": self.at.isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Filter:
    """Which entries are wanted; empty means all."""

    participant: str = ""
    user: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: int = 0


def of_form(unit: Unit, place: Place) -> list[Line]:
    """The trail of one form and of the queries about it, oldest first."""
    book = casebooks.read(unit, place.protocol.id, place.participant)
    stored = book.get(*place.key)
    if stored is None:
        return []
    asked = select(Query.id).where(
        Query.trial_id == place.protocol.id,
        Query.participant_id == place.participant.id,
        Query.visit == place.visit_code,
        Query.form == place.form.code,
        Query.row == place.row,
    )
    about: list[ColumnElement[bool]] = [
        or_(
            and_(AuditEvent.entity == "form", AuditEvent.entity_id == stored.instance.id),
            and_(AuditEvent.entity == "query", AuditEvent.entity_id.in_(asked)),
        )
    ]
    return _lines(unit, place.protocol.id, about, sees=unit.sees_allocations(place.protocol.id, place.participant.site), limit=5000)


def of_trial(unit: Unit, trial: str, wanted: Filter) -> list[Line]:
    """A page of the trail of a trial, oldest first."""
    studies.definition(unit, trial)
    unit.require("audit.see", trial)
    about: list[ColumnElement[bool]] = []
    if wanted.participant:
        forms = select(FormInstance.id).where(FormInstance.trial_id == trial, FormInstance.participant_id == wanted.participant)
        asked = select(Query.id).where(Query.trial_id == trial, Query.participant_id == wanted.participant)
        about.append((AuditEvent.entity_id == wanted.participant) | AuditEvent.entity_id.in_(forms) | AuditEvent.entity_id.in_(asked))
    if wanted.user:
        about.append(AuditEvent.actor_id == wanted.user)
    if wanted.action:
        about.append(AuditEvent.action == wanted.action)
    if wanted.since:
        about.append(AuditEvent.at_utc >= wanted.since.isoformat(timespec="microseconds"))
    if wanted.until:
        about.append(AuditEvent.at_utc < wanted.until.isoformat(timespec="microseconds"))
    sites = {grant.site for grant in unit.actor.grants if grant.trial in ("*", trial)}
    if "" not in sites:
        about.append(_at_sites(trial, sites))
    return _lines(
        unit, trial, about, sees=unit.sees_allocations(trial, None) or _sees_own(unit, trial, sites), limit=PAGE, after=wanted.after
    )


def _at_sites(trial: str, sites: Collection[str]) -> ColumnElement[bool]:
    """Entries of these sites. Those about a transferred participant go with the participant, and leave the sites they left."""
    moved = select(Participant.id).join(Transfer, (Transfer.trial_id == Participant.trial_id) & (Transfer.participant_id == Participant.id))
    here = moved.where(Participant.trial_id == trial, Participant.site.in_(sites))
    gone = moved.where(Participant.trial_id == trial, Participant.site.not_in(sites))
    return (AuditEvent.org.in_(sites) & ~_about(trial, gone)) | _about(trial, here)


def _about(trial: str, people: Select[str]) -> ColumnElement[bool]:
    """Entries about these participants or their forms."""
    forms = select(FormInstance.id).where(FormInstance.trial_id == trial, FormInstance.participant_id.in_(people))
    return AuditEvent.entity_id.in_(people) | AuditEvent.entity_id.in_(forms)


def _sees_own(unit: Unit, trial: str, sites: Iterable[str]) -> bool:
    """Whether the reader is unblinded at every site that they see."""
    return "" not in sites and all(unit.sees_allocations(trial, site) for site in sites)


def _lines(unit: Unit, trial: str, about: list[ColumnElement[bool]], *, sees: bool, limit: int, after: int = 0) -> list[Line]:
    wanted = select(AuditEvent).where(AuditEvent.trial_id == trial, *about).order_by(AuditEvent.seq).limit(limit).offset(after)
    wanted = wanted.where(_readable(unit, trial, sees=sees))
    events = unit.session.scalars(wanted).all()
    found = _values(unit, [event.event_id for event in events])
    arms = [event for event in events if event.field == "arm" and event.entity == "participant"]
    asked = disclosures.known_to(unit, trial, unit.actor.id) if arms else set()
    for event in arms:
        if event.entity_id not in asked:
            found |= {(event.event_id, which): HIDDEN for which in ("old", "new") if (event.event_id, which) in found}
    names = casebooks.names(unit, (event.actor_id for event in events))
    return [
        Line(
            number,
            datetime.fromisoformat(event.at_utc),
            names.get(event.actor_id, event.actor_id),
            event.actor_role,
            event.request_id.partition(":")[0],
            event.action,
            event.entity,
            event.entity_id,
            event.field,
            found.get((event.event_id, "old")),
            found.get((event.event_id, "new")),
            ": ".join(part for part in (event.reason_code, found.get((event.event_id, "reason"), "")) if part),
        )
        for number, event in enumerate(events, after + 1)
    ]


def _readable(unit: Unit, trial: str, *, sees: bool) -> ColumnElement[bool]:
    """Entries by their stream: the unblinded one for unblinded readers, the identity one for those who watch over identities."""
    sites = unit.sites("identity.trail", trial)
    watched = AuditEvent.stream == "identity"
    if sites is not None:
        watched = and_(watched, AuditEvent.org.in_(sites))
    return or_(AuditEvent.stream != "identity" if sees else AuditEvent.stream == "open", watched)


def _values(unit: Unit, ids: list[str]) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        for row in unit.session.scalars(select(AuditValue).where(AuditValue.event_id.in_(part))):
            found[(row.event_id, row.which)] = json.loads(row.value)
    return found


def verify(unit: Unit, trial: str) -> int:
    """Check every entry of a trial, and of the accounts, against its authentication code and its commitments.

    Gives how many there are. Raises Broken naming the first row that was changed.
    """
    names = [column.name for column in AuditEvent.__table__.columns if column.name not in ("seq", "mac")]
    values = {(row.event_id, row.which): row for row in unit.session.scalars(select(AuditValue))}
    count = 0
    for event in unit.session.scalars(select(AuditEvent).where(AuditEvent.trial_id.in_((trial, "*"))).order_by(AuditEvent.seq)):
        entry = Entry(**{name: getattr(event, name) for name in names})
        if authenticate(unit.keys.audit, entry) != event.mac:
            raise Broken(f"Audit entry {event.seq} was changed after it was written.", code="AUDIT.ROW")
        for which, commitment in (("old", event.old_commit), ("new", event.new_commit), ("reason", event.reason_text_commit)):
            row = values.get((event.event_id, which))
            if row is not None and commit(row.salt, json.loads(row.value)) != commitment:
                raise Broken(f"The {which} value of audit entry {event.seq} was changed.", code="AUDIT.VALUE")
        count += 1
    return count
