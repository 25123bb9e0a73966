"""Reading the audit trail: what happened to a thing, who did it, when, from which door, and why.

A blinded reader gets no entry of the unblinded stream of the sites that they may see. An arm stands in an entry only for a
reader who has asked for it (`unblinding.look`), so that reading the trail is no way round. Who looked at which identity is read
by those who watch over that only (`identity.trail`); no identity stands in the trail.
"""

import csv
import io
import json
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select

from trialdm.domain import audit
from trialdm.domain.errors import Broken, Missing
from trialdm.services import anchors, casebooks, disclosures, proof, sealing, studies
from trialdm.services.places import Place
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store.tables import AuditEvent, AuditLeaf, AuditValue, Checkpoint, FormInstance, Participant, Query, RowSeal, Transfer

PAGE = 100

#: What stands in place of an arm that the reader has not asked for.
HIDDEN = "hidden until you ask"

#: What stands in place of a value that two people removed.
REMOVED = "removed: entered by mistake"

#: What a review of the trail looks for (EMA guideline on computerised systems, 6.2.2; ICH E6(R3) 4.2.3).
REVIEWS = {
    "odd-hours": "Entered by people between 22:00 and 6:00",
    "after-query": "Changed after a query about the answer",
    "bursts": "More than five forms saved by one person within two minutes",
    "repeats": "Answers changed three times or more",
    "primary": "Changes of the primary outcome",
}

#: Kinds of files in which the trail is written, with their media types.
FILES = {"csv": "text/csv", "jsonl": "application/jsonl"}

_AT_ONCE = 500


@dataclass(frozen=True)
class Line:
    """One entry of the trail with its values. `seq` counts what the reader may read: a gap would tell of what is hidden.

    `entry` is its identifier, by which a receipt or a removal is asked for.
    """

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
    entry: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "at": self.at.isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Filter:
    """Which entries are wanted; empty means all. `review` is one of `REVIEWS`."""

    participant: str = ""
    user: str = ""
    action: str = ""
    field: str = ""
    review: str = ""
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
    reader = _reader(unit, trial)
    return _lines(unit, trial, _about_wanted(unit, reader, wanted), sees=reader.sees, limit=PAGE, after=wanted.after)


def count(unit: Unit, trial: str, wanted: Filter) -> int:
    """How many entries of a trial the reader would be given."""
    reader = _reader(unit, trial)
    about = _about_wanted(unit, reader, wanted)
    return unit.session.scalar(select(func.count()).select_from(AuditEvent).where(AuditEvent.trial_id == trial, *about)) or 0


def readable(unit: Unit, trial: str, event_id: str) -> AuditEvent:
    """An entry of a trial. Raises Missing where there is none that the reader may read."""
    reader = _reader(unit, trial)
    found = unit.session.scalars(select(AuditEvent).where(AuditEvent.event_id == event_id, *_of_reader(reader))).first()
    if found is None:
        raise Missing(
            "There is no such entry.", code="AUDIT.NO_ENTRY", needs="The identifier of an entry, as the list of the trail gives it."
        )
    return found


def actions(unit: Unit, trial: str) -> list[str]:
    """The kinds of acts among the entries that the reader may read."""
    reader = _reader(unit, trial)
    return list(unit.session.scalars(select(AuditEvent.action).where(*_of_reader(reader)).distinct().order_by(AuditEvent.action)))


def people(unit: Unit, trial: str) -> dict[str, str]:
    """Who made the entries that the reader may read: account -> name."""
    reader = _reader(unit, trial)
    found = unit.session.scalars(select(AuditEvent.actor_id).where(*_of_reader(reader)).distinct()).all()
    return dict(sorted(casebooks.names(unit, found).items(), key=lambda one: one[1]))


def places_of(unit: Unit, trial: str, lines: Iterable[Line]) -> dict[str, str]:
    """The forms that entries are about, in words: their participant, visit, form and row."""
    wanted = {line.entity_id for line in lines if line.entity == "form"}
    found = unit.session.scalars(select(FormInstance).where(FormInstance.trial_id == trial, FormInstance.id.in_(wanted)))
    return {one.id: f"{one.participant_id} {one.visit} {one.form}{f' row {one.row}' if one.row > 1 else ''}" for one in found}


# --- who reads what --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    """What somebody may read of a trial: whether what would unblind is with it, at which sites ("" for all), and of which streams."""

    trial: str
    sees: bool
    sites: frozenset[str]
    streams: ColumnElement[bool]


def _reader(unit: Unit, trial: str) -> _Reader:
    studies.definition(unit, trial)
    unit.require("audit.see", trial)
    sites = frozenset(grant.site for grant in unit.actor.grants if grant.trial in ("*", trial))
    sees = unit.sees_allocations(trial, None) or _sees_own(unit, trial, sites)
    return _Reader(trial, sees, sites, _readable(unit, trial, sees=sees))


def _of_reader(reader: _Reader) -> list[ColumnElement[bool]]:
    about: list[ColumnElement[bool]] = [AuditEvent.trial_id == reader.trial, reader.streams]
    if "" not in reader.sites:
        about.append(_at_sites(reader.trial, reader.sites))
    return about


def _about_wanted(unit: Unit, reader: _Reader, wanted: Filter) -> list[ColumnElement[bool]]:
    trial, about = reader.trial, _of_reader(reader)
    if wanted.participant:
        forms = select(FormInstance.id).where(FormInstance.trial_id == trial, FormInstance.participant_id == wanted.participant)
        asked = select(Query.id).where(Query.trial_id == trial, Query.participant_id == wanted.participant)
        about.append((AuditEvent.entity_id == wanted.participant) | AuditEvent.entity_id.in_(forms) | AuditEvent.entity_id.in_(asked))
    if wanted.user:
        about.append(AuditEvent.actor_id == wanted.user)
    if wanted.action:
        about.append(AuditEvent.action == wanted.action)
    if wanted.field:
        about.append(AuditEvent.field == wanted.field)
    if wanted.since:
        about.append(AuditEvent.at_utc >= wanted.since.isoformat(timespec="microseconds"))
    if wanted.until:
        about.append(AuditEvent.at_utc < wanted.until.isoformat(timespec="microseconds"))
    if wanted.review:
        about.append(AuditEvent.seq.in_(_reviewed(unit, reader, wanted.review, about)))
    return about


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
    return _written(unit, trial, unit.session.scalars(wanted).all(), after)


def _written(unit: Unit, trial: str, events: Sequence[AuditEvent], after: int) -> list[Line]:
    found = _values(unit, trial, events)
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
            event.event_id,
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


def _values(unit: Unit, trial: str, events: Sequence[AuditEvent]) -> dict[tuple[str, str], Any]:
    """The values of entries, as their reader is given them."""
    found: dict[tuple[str, str], Any] = {}
    for event in events:
        committed = (("old", event.old_commit), ("new", event.new_commit), ("reason", event.reason_text_commit))
        found |= {(event.event_id, which): REMOVED for which, commitment in committed if commitment}
    for row in _stored(unit, [event.event_id for event in events]):
        found[(row.event_id, row.which)] = json.loads(row.value)
    for ident in _unasked(unit, trial, events):
        found |= {(ident, which): HIDDEN for which in ("old", "new") if (ident, which) in found}
    return found


def _unasked(unit: Unit, trial: str, events: Sequence[AuditEvent]) -> list[str]:
    """The entries that hold an arm for which the reader has not asked."""
    arms = [event for event in events if event.field == "arm" and event.entity == "participant"]
    asked = disclosures.known_to(unit, trial, unit.actor.id) if arms else set()
    return [event.event_id for event in arms if event.entity_id not in asked]


def _stored(unit: Unit, ids: Sequence[str]) -> Iterator[AuditValue]:
    for start in range(0, len(ids), _AT_ONCE):
        yield from unit.session.scalars(select(AuditValue).where(AuditValue.event_id.in_(ids[start : start + _AT_ONCE])))


# --- reviewing -------------------------------------------------------------------------------------------------------

_BURST, _BURST_WITHIN, _REPEATED = 5, timedelta(minutes=2), 3


def _reviewed(unit: Unit, reader: _Reader, review: str, about: list[ColumnElement[bool]]) -> list[int]:
    """The numbers of the entries that a review looks for, among those that the reader may read."""
    columns = (AuditEvent.seq, AuditEvent.at_utc, AuditEvent.actor_id, AuditEvent.entity, AuditEvent.entity_id, AuditEvent.field)
    wanted = select(*columns, AuditEvent.old_commit).where(*about).order_by(AuditEvent.seq)
    rows: list[Any] = [row for row in unit.session.execute(wanted) if row.actor_id not in ("", "system")]
    finds = {"odd-hours": _odd_hours, "after-query": _after_query, "bursts": _bursts, "repeats": _repeats, "primary": _primary}
    return [row.seq for row in finds[review](unit, reader, rows)] if review in finds else []


def _odd_hours(_unit: Unit, _reader: _Reader, rows: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    for row in rows:
        if not 6 <= datetime.fromisoformat(row.at_utc).astimezone(LONDON).hour < 22:
            yield row


def _after_query(unit: Unit, reader: _Reader, rows: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    at = (FormInstance.trial_id == Query.trial_id) & (FormInstance.participant_id == Query.participant_id)
    at &= (FormInstance.visit == Query.visit) & (FormInstance.form == Query.form) & (FormInstance.row == Query.row)
    asked = select(FormInstance.id, Query.item, Query.opened_at).join(Query, at).where(Query.trial_id == reader.trial)
    if not reader.sees:
        asked = asked.where(Query.restricted == 0)
    first: dict[tuple[str, str], datetime] = {}
    for ident, item, opened in unit.session.execute(asked):
        first[ident, item] = min(opened, first.get((ident, item), opened))
    for row in rows:
        since = first.get((row.entity_id, row.field)) if row.entity == "form" and row.old_commit else None
        if since is not None and datetime.fromisoformat(row.at_utc) > since:
            yield row


def _bursts(_unit: Unit, _reader: _Reader, rows: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    recent: dict[str, deque[tuple[datetime, Row[Any]]]] = defaultdict(deque)
    told: set[int] = set()
    for row in rows:
        if row.entity != "form":
            continue
        held, at = recent[row.actor_id], datetime.fromisoformat(row.at_utc)
        held.append((at, row))
        while at - held[0][0] > _BURST_WITHIN:
            held.popleft()
        if len({one.entity_id for _, one in held}) > _BURST:
            told.update(one.seq for _, one in held)
    return (row for row in rows if row.seq in told)


def _repeats(_unit: Unit, _reader: _Reader, rows: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    changes = [row for row in rows if row.entity == "form" and row.field not in ("", "status") and row.old_commit]
    counts = Counter((row.entity_id, row.field) for row in changes)
    return (row for row in changes if counts[row.entity_id, row.field] >= _REPEATED)


def _primary(unit: Unit, reader: _Reader, rows: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    outcome = {(fact.form, fact.visit, fact.item) for fact in studies.protocol(unit, reader.trial).primary_outcome}
    wanted = select(FormInstance.id, FormInstance.form, FormInstance.visit).where(
        FormInstance.trial_id == reader.trial, FormInstance.form.in_({form for form, _, _ in outcome})
    )
    places = {ident: (form, visit) for ident, form, visit in unit.session.execute(wanted)}
    for row in rows:
        if row.entity == "form" and row.old_commit and (*places.get(row.entity_id, ("", "")), row.field) in outcome:
            yield row


# --- files -----------------------------------------------------------------------------------------------------------


def file(unit: Unit, trial: str, wanted: Filter, kind: str) -> Iterator[str]:
    """The trail as the reader may read it, as lines of CSV (old and new value as JSON) or of JSON, oldest first."""
    reader = _reader(unit, trial)
    about = _about_wanted(unit, reader, replace(wanted, after=0))
    if kind == "csv":
        yield _csv([name for name in Line.__dataclass_fields__])
    done, last = 0, 0
    while True:
        part = select(AuditEvent).where(*about, AuditEvent.seq > last).order_by(AuditEvent.seq).limit(_AT_ONCE)
        events = unit.session.scalars(part).all()
        lines = [_in_file(line, kind) for line in _written(unit, trial, events, done)]
        _let_go(unit)
        yield from lines
        if len(events) < _AT_ONCE:
            return
        done, last = done + len(events), events[-1].seq


def _let_go(unit: Unit) -> None:
    """End the reading transaction: nobody waits to write because somebody takes a long file over a slow line."""
    unit.session.expunge_all()
    unit.session.rollback()


def _in_file(line: Line, kind: str) -> str:
    written = line.to_json() | {"at": line.at.isoformat(timespec="microseconds")}
    if kind == "jsonl":
        return json.dumps(written, ensure_ascii=False) + "\n"
    for name in ("old", "new"):
        written[name] = "" if written[name] is None else json.dumps(written[name], ensure_ascii=False, sort_keys=True)
    return _csv(list(written.values()))


def _csv(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def exported(unit: Unit, trial: str, kind: str) -> None:
    """Note that the actor took the trail with them."""
    unit.require("audit.see", trial)
    unit.record("audit.export", trial=trial, entity="trial", entity_id=trial, changes=[Change("file", None, kind)])


def proofs(unit: Unit, trial: str) -> Iterator[str]:
    """The whole trail of a trial with everything by which a program of somebody else proves it, as lines of JSON.

    A line each for the key, every entry (fields, code, values with their salts, place in the tree) and every checkpoint. For readers
    from whom nothing is kept; an arm that the reader has not asked for is left out, and its commitment stands.
    """
    anchors.require_all(unit, trial)
    public, streams = anchors.public_key(unit), anchors.streams(unit, trial)
    yield json.dumps({"format": "trialdm trail 1", "trial": trial, "public_key": public}) + "\n"
    last = 0
    while True:
        wanted = (
            select(AuditEvent, AuditLeaf.leaf_index, RowSeal.mac)
            .join(AuditLeaf, AuditLeaf.event_id == AuditEvent.event_id, isouter=True)
            .join(RowSeal, RowSeal.event_id == AuditEvent.event_id, isouter=True)
            .where(AuditEvent.trial_id == trial, AuditEvent.stream.in_(streams), AuditEvent.seq > last)
            .order_by(AuditEvent.seq)
            .limit(_AT_ONCE)
        )
        found = unit.session.execute(wanted).all()
        events = [event for event, _, _ in found]
        hidden, values = set(_unasked(unit, trial, events)), defaultdict[str, dict[str, Any]](dict)
        for row in _stored(unit, [event.event_id for event in events]):
            if row.event_id not in hidden:
                values[row.event_id][row.which] = {"salt": row.salt.hex(), "value": row.value}
        lines = []
        for event, index, rows_mac in found:
            entry = {"seq": event.seq, **{name: getattr(event, name) for name in audit.ORDER}, "mac": event.mac, "rows_mac": rows_mac or ""}
            lines.append(json.dumps({"entry": entry, "values": values[event.event_id], "leaf_index": index}, ensure_ascii=False) + "\n")
        last = events[-1].seq if events else last
        _let_go(unit)
        yield from lines
        if len(found) < _AT_ONCE:
            break
    signed = (
        select(Checkpoint).where(Checkpoint.trial_id == trial, Checkpoint.stream.in_(streams)).order_by(Checkpoint.stream, Checkpoint.size)
    )
    for checkpoint in unit.session.scalars(signed):
        yield json.dumps({"checkpoint": sealing.as_note(public, checkpoint)}) + "\n"


def verify(unit: Unit) -> int:
    """Prove the whole trail (`services.proof`); gives how many entries there are. Raises Broken naming the first thing that was changed."""
    report = proof.verify(unit)
    if report.findings:
        raise Broken(str(report.findings[0]), code=report.findings[0].code)
    return report.entries
