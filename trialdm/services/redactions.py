"""Removing a value that was entered by mistake, such as a name in a free text: one person asks, another one confirms.

The salt and the value are removed, and every copy in the forms, drafts and queries; the commitment stays, so that every proof that
was given still holds. What is removed is named in the trail by the act, the place and the reason, never by the value.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from trialdm.domain import audit
from trialdm.domain.errors import Broken, Conflict, Detail, Forbidden, Invalid, Missing, WrongState
from trialdm.services import casebooks, proof, signatures, trail
from trialdm.services.trail import Line
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import (
    AuditEvent,
    AuditValue,
    FormDraft,
    FormEntry,
    FormInstance,
    FormVersion,
    Query,
    QueryAct,
    RedactionAct,
    RedactionPermit,
    Table,
)

#: What stands in a text in place of the words that were removed.
REMOVED = "[removed]"

_SHORTEST_WORDS = 3


@dataclass(frozen=True)
class Redaction:
    """A removal that was asked for: `state` is `asked`, `removed` or `declined`."""

    event: str
    state: str
    asked_by: str
    asked_by_id: str
    asked_at: datetime
    reason: str
    settled_by: str
    field: str
    action: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "asked_at": self.asked_at.isoformat(timespec="seconds")}


@dataclass
class _Copies:
    """Everything that holds the value: rows to be rewritten, and values of entries by entry."""

    rows: list[Table] = field(default_factory=list)
    values: dict[str, set[str]] = field(default_factory=dict)
    drafts: list[FormDraft] = field(default_factory=list)

    def value(self, row: AuditValue) -> None:
        self.values.setdefault(row.event_id, set()).add(row.which)

    def __len__(self) -> int:
        return len(self.rows) + len(self.drafts) + sum(len(which) for which in self.values.values())


# --- asking ----------------------------------------------------------------------------------------------------------


def of_trial(unit: Unit, trial: str) -> list[Redaction]:
    """What was asked for about entries that the actor may read, newest first."""
    unit.require("audit.see", trial)
    wanted = select(RedactionAct).where(RedactionAct.trial_id == trial).order_by(RedactionAct.at, RedactionAct.event_id, RedactionAct.n)
    acts: dict[str, list[RedactionAct]] = {}
    for act in unit.session.scalars(wanted):
        acts.setdefault(act.event_id, []).append(act)
    names = casebooks.names(unit, (act.by for found in acts.values() for act in found))
    found = []
    for event_id, steps in acts.items():
        asked = [step for step in steps if step.act == "ask"]
        event = _readable(unit, trial, event_id) if asked else None
        if event is None:
            continue
        last, state = steps[-1], {"ask": "asked", "confirm": "removed", "decline": "declined"}[steps[-1].act]
        by = names.get(asked[-1].by, asked[-1].by)
        settled = names.get(last.by, last.by) if last.act != "ask" else ""
        found.append(Redaction(event_id, state, by, asked[-1].by, asked[-1].at, asked[-1].reason, settled, event.field, event.action))
    return found[::-1]


def _readable(unit: Unit, trial: str, event_id: str) -> AuditEvent | None:
    try:
        return trail.readable(unit, trial, event_id)
    except Missing:
        return None


def ask(unit: Unit, trial: str, event_id: str, reason: str) -> None:
    """Ask that the value which an entry brought in be removed.

    Raises Invalid for a reason that says nothing or repeats the value, WrongState where the form still holds it, and Conflict where it
    was asked for already.
    """
    unit.require("audit.redact", trial)
    event = trail.readable(unit, trial, event_id)
    if not reason.strip():
        detail = Detail("REASON.WORDS", "Say why.", "reason")
        raise Invalid("Say why the value is removed.", code="REASON.WORDS", needs="A reason in words.", details=[detail])
    text = _value(unit, event)
    said = json.loads(text)
    if isinstance(said, str) and len(said) >= _SHORTEST_WORDS and said.casefold() in reason.casefold():
        detail = Detail("AUDIT.REASON", "Do not repeat the value.", "reason")
        raise Invalid("The reason repeats the value.", code="AUDIT.REASON", needs="A reason without the value.", details=[detail])
    steps = _steps(unit, trial, event_id)
    if steps and steps[-1].act == "ask":
        raise Conflict("This was asked for already.", code="AUDIT.ASKED", needs="Another person confirms or declines.")
    _copies(unit, event, text)
    _step(unit, event, "ask", reason, len(steps) + 1)


def decline(unit: Unit, trial: str, event_id: str, reason: str) -> None:
    """Leave the value where it is; whoever asked may take it back in this way."""
    unit.require("audit.redact", trial)
    event, steps, _ = _asked(unit, trial, event_id)
    _step(unit, event, "decline", reason, len(steps) + 1)


def confirm(unit: Unit, trial: str, event_id: str) -> int:
    """Remove the value everywhere in the database, as the second person; gives how many copies there were.

    Raises Forbidden for whoever asked.
    """
    unit.require("audit.redact", trial)
    event, steps, asked = _asked(unit, trial, event_id)
    if asked.by == unit.actor.id:
        raise Forbidden("Another person confirms what you asked for.", code="AUDIT.SECOND", needs="Somebody else with this right.")
    text = _value(unit, event)
    copies = _copies(unit, event, text)
    permit = RedactionPermit(event_id=event_id)
    unit.add(permit)
    unit.session.flush()
    _rewrite(copies, event, text)
    for ident, which in copies.values.items():
        unit.session.execute(delete(AuditValue).where(AuditValue.event_id == ident, AuditValue.which.in_(which)))
    for draft in copies.drafts:
        unit.session.delete(draft)
    unit.session.flush()
    unit.session.delete(permit)
    unit.session.flush()
    acts = [_act(unit, trial, event_id, len(steps) + 1, "confirm", asked.reason, copies.values[event_id])]
    for ident, which in copies.values.items():
        if ident != event_id:
            acts.append(_act(unit, trial, ident, len(_steps(unit, trial, ident)) + 1, "confirm", asked.reason, which))
    unit.add(*acts)
    changes = [Change(event.field, None, {"removed": len(copies)}, event.stream)]
    about = {"trial": trial, "entity": event.entity, "entity_id": event.entity_id, "site": event.org}
    unit.record("audit.redact", *acts, *copies.rows, changes=changes, reason_code="other", reason_text=asked.reason, **about)
    try:
        signatures.check(unit, trial)
    except Broken as problem:
        raise WrongState(
            "Somebody signed the form with this value: it stays as it was signed.",
            code="AUDIT.SIGNED",
            needs="The form is amended and signed again first; then the earlier value can be removed.",
        ) from problem
    return len(copies)


def _steps(unit: Unit, trial: str, event_id: str) -> list[RedactionAct]:
    wanted = select(RedactionAct).where(RedactionAct.trial_id == trial, RedactionAct.event_id == event_id)
    return list(unit.session.scalars(wanted.order_by(RedactionAct.n)))


def _asked(unit: Unit, trial: str, event_id: str) -> tuple[AuditEvent, list[RedactionAct], RedactionAct]:
    event, steps = trail.readable(unit, trial, event_id), _steps(unit, trial, event_id)
    if not steps or steps[-1].act != "ask":
        raise WrongState("Nobody asked for this.", code="AUDIT.NOT_ASKED", needs="Somebody asks first, and another person confirms.")
    return event, steps, steps[-1]


def _act(unit: Unit, trial: str, event_id: str, n: int, act: str, reason: str, which: set[str]) -> RedactionAct:
    named = " ".join(sorted(which))
    return RedactionAct(trial_id=trial, event_id=event_id, n=n, act=act, which=named, reason=reason, at=unit.now, by=unit.actor.id)


def _step(unit: Unit, event: AuditEvent, act: str, reason: str, n: int) -> None:
    row = _act(unit, event.trial_id, event.event_id, n, act, reason, set())
    unit.add(row)
    about = {"trial": event.trial_id, "entity": event.entity, "entity_id": event.entity_id, "site": event.org}
    change = Change(event.field, None, None, event.stream)
    unit.record(f"audit.redact-{act}", row, changes=[change], reason_code="other", reason_text=reason, **about)


# --- where the value stands ------------------------------------------------------------------------------------------


def _value(unit: Unit, event: AuditEvent) -> str:
    """The value that an entry brought in, in its canonical form. Raises WrongState for an entry without one that can go."""
    row = unit.session.get(AuditValue, (event.event_id, "new"))
    if row is None or not _removable(event.entity, event.field, event.action):
        raise WrongState(
            "This entry holds no value that can be removed.",
            code="AUDIT.NOT_REMOVABLE",
            needs="An entry that brought in an answer of a form, or the words of a query.",
        )
    return row.value


def removable(line: Line) -> bool:
    """Whether the value of an entry can be removed: an answer of a form, or the words of a query, that stands there."""
    if line.new is None or line.new == trail.REMOVED:
        return False
    return _removable(line.entity, line.field, line.action)


def _removable(entity: str, name: str, action: str) -> bool:
    of_form = entity == "form" and name not in ("", "status") and action in proof.OF_FORMS
    return of_form or (entity == "query" and name == "text")


def _copies(unit: Unit, event: AuditEvent, text: str) -> _Copies:
    """Everything that holds the value. Raises WrongState where the form holds it now: it is corrected first."""
    copies = _Copies()
    for row in unit.session.scalars(_about_same(event)):
        if row.value == text:
            copies.value(row)
    said = json.loads(text)
    words = said if isinstance(said, str) and len(said) >= _SHORTEST_WORDS else ""
    if words:
        for row, entity in unit.session.execute(_of_participant(unit, event, json.dumps(words, ensure_ascii=False)[1:-1])):
            if row.value == text or ((row.which == "reason" or entity == "query") and _within(words, json.loads(row.value))):
                copies.value(row)
    if event.entity == "form":
        _in_form(unit, event, text, words, copies)
    else:
        _in_queries(unit, event.trial_id, words, [event.entity_id], copies)
    return copies


def _of_participant(unit: Unit, event: AuditEvent, inside: str) -> Any:
    """Values about the same participant's forms and queries that hold these words, in the stream of the entry.

    Nowhere else: a common word stands in many places, and how often it does where the two people do not read could tell of an allocation.
    """
    trial = event.trial_id
    kind = FormInstance if event.entity == "form" else Query
    person = unit.session.scalar(select(kind.participant_id).where(kind.trial_id == trial, kind.id == event.entity_id))
    theirs = [select(table.id).where(table.trial_id == trial, table.participant_id == person) for table in (FormInstance, Query)]
    about = (AuditEvent.trial_id == trial, AuditEvent.entity.in_(("form", "query")), AuditEvent.stream == event.stream)
    found = select(AuditValue, AuditEvent.entity).join(AuditEvent, AuditEvent.event_id == AuditValue.event_id).where(*about)
    return found.where(
        AuditEvent.entity_id.in_(theirs[0]) | AuditEvent.entity_id.in_(theirs[1]), AuditValue.value.contains(inside, autoescape=True)
    )


def _within(words: str, said: Any) -> bool:
    """Whether words stand in a text, as whole words."""
    return isinstance(said, str) and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", said) is not None


def _about_same(event: AuditEvent) -> Any:
    same = (AuditEvent.trial_id == event.trial_id, AuditEvent.entity == event.entity, AuditEvent.entity_id == event.entity_id)
    return select(AuditValue).join(AuditEvent, AuditEvent.event_id == AuditValue.event_id).where(*same, AuditEvent.field == event.field)


def _in_form(unit: Unit, event: AuditEvent, text: str, words: str, copies: _Copies) -> None:
    trial, item = event.trial_id, event.field
    one = unit.session.get_one(FormInstance, (trial, event.entity_id))
    of_form = (FormVersion.trial_id == trial, FormVersion.instance_id == one.id)
    for version in unit.session.scalars(select(FormVersion).where(*of_form).order_by(FormVersion.seq)):
        if _holds(version.data, item, text):
            if version.seq == one.seq:
                raise WrongState(
                    "The form holds this value now.", code="AUDIT.STILL_THERE", needs="Correct the form first, then ask again."
                )
            copies.rows.append(version)
    place = {"trial_id": trial, "participant_id": one.participant_id, "visit": one.visit, "form": one.form, "row": one.row}
    copies.rows += [row for row in unit.session.scalars(select(FormEntry).filter_by(**place)) if _holds(row.data, item, text)]
    copies.drafts += unit.session.scalars(select(FormDraft).filter_by(**place))
    asked = unit.session.scalars(select(Query.id).filter_by(**place, item=item)).all()
    for act in unit.session.scalars(select(QueryAct).where(QueryAct.trial_id == trial, QueryAct.query_id.in_(asked))):
        if act.value == text or _same(act.value, text):
            copies.rows.append(act)
    if words:
        _in_queries(
            unit,
            trial,
            words,
            list(unit.session.scalars(select(Query.id).filter_by(trial_id=trial, participant_id=one.participant_id))),
            copies,
        )


def _in_queries(unit: Unit, trial: str, words: str, ids: list[str], copies: _Copies) -> None:
    wanted = select(QueryAct).where(QueryAct.trial_id == trial, QueryAct.query_id.in_(ids))
    if words:
        copies.rows += [act for act in unit.session.scalars(wanted) if words in act.text and act not in copies.rows]


def _same(stored: str, text: str) -> bool:
    try:
        return bool(stored) and audit.canonical(json.loads(stored)).decode() == text
    except ValueError:
        return False


def _holds(data: str, item: str, text: str) -> bool:
    value = json.loads(data).get("answers", {}).get(item)
    return value is not None and audit.canonical(value).decode() == text


def _rewrite(copies: _Copies, event: AuditEvent, text: str) -> None:
    said = json.loads(text)
    for row in copies.rows:
        if isinstance(row, QueryAct):
            row.value = "" if _same(row.value, text) else row.value
            row.text = row.text.replace(said, REMOVED) if isinstance(said, str) and said else row.text
        elif isinstance(row, FormVersion | FormEntry):
            row.data = _without(row.data, event.field)


def _without(data: str, item: str) -> str:
    """The document of a form without an answer, which it names as removed."""
    document = json.loads(data)
    del document["answers"][item]
    document["removed"] = sorted({*document.get("removed", []), item})
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
