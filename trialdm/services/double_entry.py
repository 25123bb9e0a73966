"""Forms that are entered twice: two people type the same paper, neither sees what the other typed, and a third one settles what differs.

The two entries are kept for good beside the form. The form itself has its first version once the entries agree, or once a
third person has decided; from then on it is changed like any other, with a reason.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from trialdm.domain import signing
from trialdm.domain.crf import Answers, Form, load
from trialdm.domain.errors import Forbidden, Invalid
from trialdm.services import casebooks, studies
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import FormEntry, Participant


@dataclass(frozen=True)
class Entry:
    """What one person typed, and who."""

    answers: Answers
    by: str
    name: str


@dataclass(frozen=True)
class Standing:
    """How far the double entry of a form is: the entries that were made, and the items in which two of them differ."""

    entries: tuple[Entry, ...] = ()
    differ: tuple[str, ...] = ()

    @property
    def next(self) -> str:
        """What comes next: the `first` entry, the `second`, or to `settle` what differs."""
        return ("first", "second", "settle")[len(self.entries)]

    def to_json(self) -> dict[str, Any]:
        """How far it is, without what anybody typed."""
        return {"next": self.next, "entered_by": [entry.name for entry in self.entries], "differ": list(self.differ)}

    def agreed(self) -> Mapping[str, Any]:
        """The answers in which the entries agree, as JSON: what a third person need not decide."""
        both = self.entries[0].answers.to_json()
        return {part: {name: raw for name, raw in held.items() if name not in self.differ} for part, held in both.items()}


def standing(unit: Unit, person: Participant, form: Form, place: tuple[str, str, int]) -> Standing:
    """How far the double entry at a place (visit, form, row) is."""
    rows = unit.session.scalars(_at(person, place)).all()
    names = casebooks.names(unit, (row.by for row in rows))
    entries = tuple(Entry(load(form, json.loads(row.data)), row.by, names.get(row.by, "")) for row in rows)
    differ = different(form, entries[0].answers, entries[1].answers) if len(entries) == 2 else ()
    return Standing(entries, differ)


def _at(person: Participant, place: tuple[str, str, int]) -> Any:
    visit, form, row = place
    here = (FormEntry.trial_id == person.trial_id, FormEntry.participant_id == person.id)
    return select(FormEntry).where(*here, FormEntry.visit == visit, FormEntry.form == form, FormEntry.row == row).order_by(FormEntry.seq)


def different(form: Form, first: Answers, second: Answers) -> tuple[str, ...]:
    """The items that two people typed differently, in the order of the form: an answer, or the reason why there is none."""
    typed = [item.name for item in form.items if item.typed_in]
    return tuple(n for n in typed if (first.values.get(n), first.missing.get(n)) != (second.values.get(n), second.missing.get(n)))


def require_turn(unit: Unit, found: Standing) -> None:
    """Raises Forbidden for somebody who has entered this form already."""
    mine = [entry for entry in found.entries if entry.by == unit.actor.id]
    if mine:
        what = "another person enters it a second time" if found.next == "second" else "a third person settles what differs"
        raise Forbidden(f"You have entered this form: {what}.", code="CRF.ENTERED", needs="Somebody else who may enter the form.")


def require_whole(complete: bool) -> None:
    """Raises Invalid for an entry that is not finished."""
    if not complete:
        needs = "Save it as complete; what you type is kept until then."
        raise Invalid("A form that is entered twice is entered as a whole.", code="CRF.WHOLE_ENTRY", needs=needs)


def enter(unit: Unit, person: Participant, form: Form, place: tuple[str, str, int], answers: Answers, found: Standing) -> Standing:
    """Keep the first or the second entry; gives how far the double entry is then."""
    visit, code, row = place
    document = answers.to_json()
    at = {"participant": person.id, "visit": visit, "form": code, "row": row}
    entry = FormEntry(
        trial_id=person.trial_id,
        participant_id=person.id,
        visit=visit,
        form=code,
        row=row,
        seq=len(found.entries) + 1,
        definition_seq=studies.definition_at(unit, person.trial_id, person.site).seq,
        data=json.dumps(document, separators=(",", ":"), ensure_ascii=False),
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(entry)
    stream = "unblinded" if form.restricted or any(item.restricted for item in form.items) else "open"
    about = {"trial": person.trial_id, "entity": "participant", "entity_id": person.id, "site": person.site}
    content = signing.content(at, document)
    unit.record(f"form.enter-{found.next}", entry, changes=[Change(f"{visit} {code} {row}", None, content, stream)], **about)
    unit.session.flush()
    return standing(unit, person, form, place)


def pending(unit: Unit, trial: str, people: Sequence[Participant]) -> list[tuple[Participant, tuple[str, str, int], int]]:
    """Places at which a double entry has begun and the form has no version: whose, where, and how many entries there are."""
    known = {person.id: person for person in people}
    rows = unit.session.scalars(select(FormEntry).where(FormEntry.trial_id == trial).order_by(FormEntry.at))
    counted: dict[tuple[str, str, str, int], int] = {}
    for row in rows:
        key = (row.participant_id, row.visit, row.form, row.row)
        counted[key] = counted.get(key, 0) + 1
    return [(known[ident], (visit, form, number), count) for (ident, visit, form, number), count in counted.items() if ident in known]
