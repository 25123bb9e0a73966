"""The factor values of an allocation: as randomised, as corrected since, and as verified against the source.

An allocation is never changed. A factor that turns out to be different is kept beside it, with an event in the chain; whether
later participants are minimised against the corrected value is a parameter of the scheme (`counts`).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from trialdm.domain.errors import Forbidden
from trialdm.domain.protocol import Factor, Protocol, Scheme
from trialdm.services import allocations, participants
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import Allocation, AllocationNote, Participant


@dataclass(frozen=True)
class Changed:
    """A factor whose answer is different from what the allocation, or the last correction, says."""

    factor: str
    item: str
    label: str
    number: str
    old: str
    new: str


@dataclass(frozen=True)
class Values:
    """One factor of one allocation, as codes; an empty text where nothing was corrected or verified."""

    factor: str
    label: str
    randomised: str
    corrected: str = ""
    verified: str = ""

    @property
    def differs(self) -> bool:
        """Whether a later value is another one than the allocation used."""
        return any(value and value != self.randomised for value in (self.corrected, self.verified))


@dataclass(frozen=True)
class Used:
    """One allocation of a participant: the answers that it used, and what was found about it afterwards.

    `hidden` names the factors that the reader may not know.
    """

    scheme: Scheme
    number: str
    at: datetime
    values: list[Values]
    notes: list[AllocationNote]
    hidden: frozenset[str] = frozenset()


def label_of(protocol: Protocol, factor: Factor) -> str:
    """The question behind a factor."""
    return protocol.form(factor.form).by_name[factor.item].label if factor.form else factor.name.capitalize()


def level_label(protocol: Protocol, factor: Factor, level: str) -> str:
    """A level in words."""
    if not factor.form or not level:
        return level
    item = protocol.form(factor.form).by_name[factor.item]
    if item.holds == "yn":
        return {"0": "No", "1": "Yes"}.get(level, level)
    labels = {str(code.value): code.label for code in item.codelist.codes} if item.codelist else {}
    return labels.get(level, level)


def notes(unit: Unit, trial: str, *, name: str = "", participant: str = "", until: datetime | None = None) -> list[AllocationNote]:
    """What was found about allocations afterwards, oldest first."""
    wanted = select(AllocationNote).where(AllocationNote.trial_id == trial).order_by(AllocationNote.participant_id, AllocationNote.seq)
    if name:
        wanted = wanted.where(AllocationNote.scheme == name)
    if participant:
        wanted = wanted.where(AllocationNote.participant_id == participant)
    if until is not None:
        wanted = wanted.where(AllocationNote.at <= until)
    return list(unit.session.scalars(wanted))


def follow(unit: Unit, protocol: Protocol, book: Casebook, form: str) -> list[Changed]:
    """What a saved form changes about factors that an allocation used; each change is noted and enters the chain."""
    found: list[Changed] = []
    for scheme in protocol.schemes:
        if not any(factor.form == form for factor in scheme.factors):
            continue
        made = unit.session.get(Allocation, (protocol.id, scheme.name, book.participant.id))
        if made is not None:
            found += _corrected(unit, protocol, scheme, made, book)
    return found


def require_another_hand(
    unit: Unit, protocol: Protocol, participant: str, form: str, visit: str, changed: Collection[str], *, row: int = 1
) -> None:
    """Raises Forbidden where the actor made an allocation and would now change an answer that it used: another person does."""
    for scheme in protocol.schemes:
        used = {factor.item for factor in scheme.factors if (factor.form, factor.visit) == (form, visit) and row == 1}
        if not used & set(changed):
            continue
        made = unit.session.get(Allocation, (protocol.id, scheme.name, participant))
        if made is not None and made.by == unit.actor.id:
            raise Forbidden(
                f"You randomised participant {participant}: you do not change the answers that the allocation used.",
                code="ROLE.RANDOMISER",
                needs="Another person enters the correction.",
            )


def _corrected(unit: Unit, protocol: Protocol, scheme: Scheme, made: Allocation, book: Casebook) -> list[Changed]:
    before = latest(unit, made, "corrected") or json.loads(made.levels)
    now, changes = dict(before), []
    for factor in scheme.factors:
        level = participants.level_of(protocol, book, factor)
        if level in factor.levels and level != before.get(factor.name):
            now[factor.name] = level
            label = label_of(protocol, factor)
            changes.append(Changed(factor.name, factor.item, label, made.number, before.get(factor.name, ""), level))
    if changes:
        event = allocations.chain_event(unit, protocol, made.participant_id, "corrected", {"levels": now}, name=scheme.name)
        note(unit, made, "corrected", event=event, levels=now, changes=[Change(c.factor, c.old, c.new) for c in changes])
    return changes


def latest(unit: Unit, made: Allocation, kind: str) -> dict[str, str] | None:
    """The factor values of the newest note of this kind."""
    held = [n for n in notes(unit, made.trial_id, name=made.scheme, participant=made.participant_id) if n.kind == kind]
    found: dict[str, str] | None = json.loads(held[-1].levels) if held else None
    return found


def note(
    unit: Unit,
    made: Allocation,
    kind: str,
    *,
    event: int = 0,
    levels: Mapping[str, str] | None = None,
    changes: list[Change] | None = None,
    code: str = "",
    text: str = "",
) -> AllocationNote:
    """Keep what was found about an allocation, and who found it."""
    last = unit.session.scalar(
        select(func.max(AllocationNote.seq)).where(
            AllocationNote.trial_id == made.trial_id,
            AllocationNote.scheme == made.scheme,
            AllocationNote.participant_id == made.participant_id,
        )
    )
    row = AllocationNote(
        trial_id=made.trial_id,
        scheme=made.scheme,
        participant_id=made.participant_id,
        seq=(last or 0) + 1,
        kind=kind,
        event=event,
        levels=json.dumps(dict(levels or {})),
        reason_code=code,
        reason_text=text,
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(row)
    unit.record(
        f"allocation.{kind}",
        row,
        trial=made.trial_id,
        entity="participant",
        entity_id=made.participant_id,
        changes=changes or (),
        reason_code=code,
        reason_text=text,
        site=made.site,
    )
    unit.session.flush()
    return row


def side_by_side(unit: Unit, protocol: Protocol, participant: str, *, name: str = "") -> list[Values]:
    """The factor values of a participant's allocation, each as randomised, as corrected and as verified."""
    scheme = protocol.scheme_named(name)
    made = unit.session.get(Allocation, (protocol.id, scheme.name, participant))
    return [] if made is None else _values(protocol, scheme, made, notes(unit, protocol.id, name=scheme.name, participant=participant))


#: Any of these lets somebody read what an allocation used.
_READ = ("participant.see", "allocation.correct", "allocation.verify")


def person(unit: Unit, trial: str, typed: str) -> Participant:
    """The participant that was typed, for somebody who may read what the allocation used. Raises as `participants.find` does."""
    return participants.find(unit, trial, typed, next((action for action in _READ if unit.may(action, trial)), _READ[0]))


def used(unit: Unit, protocol: Protocol, found: Participant) -> list[Used]:
    """What each allocation of a participant used; answers that would unblind the reader are left out."""
    answer = []
    for scheme in protocol.schemes:
        made = unit.session.get(Allocation, (protocol.id, scheme.name, found.id))
        if made is None:
            continue
        held = notes(unit, protocol.id, name=scheme.name, participant=found.id)
        hidden = frozenset() if unit.sees_allocations(protocol.id, found.site) else _restricted(protocol, scheme)
        values = [value for value in _values(protocol, scheme, made, held) if value.factor not in hidden]
        answer.append(Used(scheme, made.number, made.at, values, held, hidden))
    return answer


def _restricted(protocol: Protocol, scheme: Scheme) -> frozenset[str]:
    """Factors of which a blinded reader may not know the answer."""
    forms = ((factor, protocol.form(factor.form)) for factor in scheme.factors if factor.form)
    return frozenset(factor.name for factor, form in forms if form.restricts(form.by_name[factor.item]))


def _values(protocol: Protocol, scheme: Scheme, made: Allocation, held: list[AllocationNote]) -> list[Values]:
    randomised: dict[str, str] = json.loads(made.levels)
    later: dict[str, dict[str, str]] = {}
    for found in held:
        if found.kind in ("corrected", "verified"):
            later[found.kind] = json.loads(found.levels)
    return [
        Values(
            factor.name,
            label_of(protocol, factor),
            randomised.get(factor.name, ""),
            later.get("corrected", {}).get(factor.name, ""),
            later.get("verified", {}).get(factor.name, ""),
        )
        for factor in scheme.factors
    ]


def of_all(unit: Unit, protocol: Protocol, until: datetime) -> dict[str, tuple[list[Values], str]]:
    """For every allocation by the first scheme up to a moment: its factor values, and the code of its error, if any."""
    scheme, trial = protocol.scheme, protocol.id
    held: dict[str, list[AllocationNote]] = {}
    for found in notes(unit, trial, name=scheme.name, until=until):
        held.setdefault(found.participant_id, []).append(found)
    rows = unit.session.scalars(select(Allocation).where(Allocation.trial_id == trial, Allocation.scheme == scheme.name))
    answer: dict[str, tuple[list[Values], str]] = {}
    for made in rows:
        mine = held.get(made.participant_id, [])
        error = next((found.reason_code for found in mine if found.kind == "in_error"), "")
        answer[made.participant_id] = (_values(protocol, scheme, made, mine), error)
    return answer


def to_json(values: list[Values]) -> list[dict[str, Any]]:
    return [{**vars(value), "differs": value.differs} for value in values]
