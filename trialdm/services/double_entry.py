"""Forms that are entered twice: two people type the same paper, neither sees what the other typed, and a third one settles what differs.

The two entries are kept for good beside the form. The form itself has its first version once the entries agree, or once a
third person has decided; from then on it is changed like any other, with a reason.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from sqlalchemy import and_, select

from trialdm.domain import roles, signing
from trialdm.domain.crf import Answers, Form, load
from trialdm.domain.errors import Forbidden, Invalid, WrongState
from trialdm.domain.ethics.withdrawal import COLLECTS
from trialdm.services import casebooks, participants, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store.tables import FormEntry, FormInstance, Participant


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


def require_none(found: Standing) -> None:
    """Raises WrongState for an import of what somebody has begun to enter: one person would stand for both entries."""
    if found.entries:
        raise WrongState(
            f"{found.entries[0].name} has entered this form, which two people enter.",
            code="CRF.ENTERED_TWICE",
            needs="Another person enters it, and a third one settles what differs.",
        )


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


# --- what waits ------------------------------------------------------------------------------------------------------

#: What comes next at a place -> its words.
STEPS = {"second": "Waiting for a second entry", "settle": "Differences to settle"}


@dataclass(frozen=True)
class Line:
    """A form that has been begun and has no version yet: where it is, who entered it, and in how many answers two entries differ.

    `next` is a key of `STEPS`; `yours` says that the reader may take this step.
    """

    participant: str
    site: str
    visit: str
    form: str
    row: int
    next: str
    entered_by: tuple[str, ...]
    since: date
    differ: int
    yours: bool

    def to_json(self) -> dict[str, Any]:
        """The line as the API, the command line and CSV files give it."""
        return {**vars(self), "entered_by": list(self.entered_by), "since": self.since.isoformat()}


#: Columns of the list as a file, with or without rows.
COLUMNS = tuple(one.name for one in fields(Line))


def listed(unit: Unit, trial: str, *, site: str = "") -> list[Line]:
    """What waits for a second entry or a third person, the oldest first, at the sites whose forms the person sees.

    Raises Forbidden, and Missing for an unknown site.
    """
    if site:
        studies.protocol(unit, trial).site(site)
    unit.require("form.see", trial, site or None)
    people = {row.id: row for row, _ in participants.listed(unit, trial) if site in ("", row.site)}
    begun = [(people[key[0]], key[1:], rows) for key, rows in _begun(unit, trial).items() if key[0] in people]
    books = _books(unit, trial, [person for person, _, _ in begun])
    names = casebooks.names(unit, (row.by for _, _, rows in begun for row in rows))
    found = (_line(unit, books[person.id], place, rows, names) for person, place, rows in begun)
    return sorted(filter(None, found), key=lambda x: (x.since, x.site, x.participant, x.visit, x.form, x.row))


def _books(unit: Unit, trial: str, people: Sequence[Participant]) -> dict[str, Casebook]:
    """Of the casebooks what says whether anything may still be entered."""
    wanted = {form for protocol in studies.alive(unit, trial) for form in participants.closing_forms(protocol)}
    return casebooks.some_forms(unit, trial, {person.id: person for person in people}.values(), wanted)


def unsettled(unit: Unit, trial: str, people: Sequence[Participant]) -> list[tuple[str, str, bool]]:
    """What has been entered once or twice and can still be settled: participant, form, and whether it is restricted.

    What was begun of somebody who has withdrawn from it since is no longer waited for, nor is a form that the protocol has no more.
    """
    known = {person.id: person for person in people}
    here = (FormEntry.participant_id == people[0].id,) if len(people) == 1 else ()
    begun = [(known[key[0]], key[2], rows) for key, rows in _begun(unit, trial, *here).items() if key[0] in known]
    books = _books(unit, trial, [person for person, _, _ in begun]) if begun else {}
    found = []
    for person, code, rows in begun:
        protocol = studies.protocol_at(unit, trial, person.site)
        form = next((one for one in protocol.forms if one.code == code), None)
        if form is not None and form.kind in COLLECTS[participants.withdrawal_level(protocol, books[person.id])]:
            restricted = form.restricted or any(form.row_restricted(load(form, json.loads(row.data)).values) for row in rows)
            found.append((person.id, code, restricted))
    return found


def _begun(unit: Unit, trial: str, *here: Any) -> dict[tuple[str, str, str, int], list[FormEntry]]:
    """The entries of forms that have no version: by participant, visit, form and row."""
    same = [getattr(FormEntry, name) == getattr(FormInstance, name) for name in ("trial_id", "participant_id", "visit", "form", "row")]
    wanted = select(FormEntry).outerjoin(FormInstance, and_(*same)).where(FormEntry.trial_id == trial, FormInstance.id.is_(None), *here)
    found: dict[tuple[str, str, str, int], list[FormEntry]] = {}
    for row in unit.session.scalars(wanted.order_by(FormEntry.seq)):
        found.setdefault((row.participant_id, row.visit, row.form, row.row), []).append(row)
    return found


def begun(unit: Unit, trial: str) -> set[tuple[str, str, str]]:
    """Participant, visit and form of what was entered once or twice and is not settled yet."""
    return {key[:3] for key in _begun(unit, trial)}


def _line(unit: Unit, book: Casebook, place: tuple[str, str, int], rows: Sequence[FormEntry], names: Mapping[str, str]) -> Line | None:
    """One line of the list; None for what the reader may not see, and for a form that the protocol has no more."""
    person, trial = book.participant, book.participant.trial_id
    protocol = studies.protocol_at(unit, trial, person.site)
    form = next((one for one in protocol.forms if one.code == place[1]), None)
    if form is None:
        return None
    entered = [load(form, json.loads(row.data)) for row in rows]
    sees = unit.sees_allocations(trial, person.site)
    if not sees and (form.restricted or any(form.row_restricted(answers.values) for answers in entered)):
        return None
    differ = different(form, *entered) if len(entered) == 2 else ()
    may = roles.may_enter(unit.actor.grants, form.kind, trial, person.site) or unit.may("form.import", trial, person.site)
    return Line(
        person.id,
        person.site,
        *place,
        "settle" if len(entered) == 2 else "second",
        tuple(names.get(row.by, "") for row in rows),
        rows[-1].at.astimezone(LONDON).date(),
        sum(sees or not form.restricts(form.by_name[name]) for name in differ),
        may and form.kind in COLLECTS[participants.withdrawal_level(protocol, book)] and unit.actor.id not in {row.by for row in rows},
    )


def next_row(unit: Unit, person: Participant, form: Form, visit: str, free: int, after: int = 0) -> int:
    """The number of the row that somebody goes on to: `free` is the first that no saved row has.

    After a row comes the next one that others have begun and that waits for this person; else a row that nobody has begun.
    """
    here = (FormEntry.participant_id == person.id, FormEntry.visit == visit, FormEntry.form == form.code)
    begun = {key[3]: {row.by for row in rows} for key, rows in _begun(unit, person.trial_id, *here).items()}
    theirs = [row for row, by in begun.items() if after and row > after and unit.actor.id not in by]
    return min(theirs, default=max([free, *(row + 1 for row in begun)]))
