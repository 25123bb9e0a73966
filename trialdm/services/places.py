"""Where a form stands: whose it is, at which visit, which row, and what its rules see beside it.

Restricted rows of an open form count by themselves, from `RESTRICTED_ROWS` on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trialdm.domain import crf
from trialdm.domain.crf import Answers, Form
from trialdm.domain.errors import Missing, Refused, WrongState
from trialdm.domain.protocol import Protocol, Visit
from trialdm.services import allocations, answering, casebooks, participants, register, staffing, studies
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import Unit
from trialdm.store.tables import FormInstance, Participant

#: Rows that blinded people do not see count from here, so that their number tells a blinded reader nothing.
RESTRICTED_ROWS = 501

#: No form has a row beyond this one.
MOST_ROWS = 9_999


@dataclass(frozen=True)
class Place:
    """Where a form stands: whose it is, at which visit, which row; by the protocol that the participant's site works with."""

    protocol: Protocol
    participant: Participant
    visit: Visit
    visit_code: str
    form: Form
    row: int
    definition: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.visit_code, self.form.code, self.row)


def locate(unit: Unit, trial: str, participant: str, visit: str, form: str, row: int = 1) -> Place:
    """The place of a form, for somebody who may see it there: whoever reads forms, or assesses something on this one.

    Raises Missing where the protocol has no such form at the visit, and Refused (GOV-45) for a form that would unblind.
    """
    assesses = unit.may("safety.assess", trial) and not unit.may("form.see", trial)
    person = participants.find(unit, trial, participant, "safety.assess" if assesses else "form.see")
    protocol = studies.protocol_at(unit, trial, person.site)
    found, at = protocol.form(form), protocol.visit(visit)
    if assesses and not any(answering.named(unit, trial, person.site, item) for item in found.items):
        unit.require("form.see", trial)
    if not any(found is offered for offered, _ in protocol.forms_at(at)):
        raise Missing(f"Form {found.code} is not filled at visit {visit}.", code="CRF.NOT_AT_VISIT")
    if not 1 <= row <= MOST_ROWS or (row > 1 and not protocol.rows_at(found, at)):
        raise Missing(f"Form {found.code} has no row {row} at visit {visit}.", code="CRF.NO_ROW", needs="Rows are counted from 1.")
    if (found.restricted or (found.restricted_when and row >= RESTRICTED_ROWS)) and not unit.sees_allocations(trial, person.site):
        raise blinded()
    return Place(protocol, person, at, visit, found, row, studies.definition_at(unit, trial, person.site).seq)


def blinded() -> Refused:
    return Refused("Hidden to keep you blinded.", code="GATE.GOV-45", needs="An unblinded role at this site.")


def require_seen(unit: Unit, place: Place, stored: Stored | None) -> None:
    """Raises Refused for a blinded person where the row holds what would unblind them."""
    if stored and stored.instance.restricted and not unit.sees_allocations(place.protocol.id, place.participant.site):
        raise blinded()


def book(unit: Unit, place: Place) -> Casebook:
    """The casebook in which the form stands."""
    return casebooks.read(unit, place.protocol.id, place.participant)


def context(unit: Unit, place: Place, book: Casebook) -> crf.Context:
    """What the rules of this form may see beside it."""
    arm = allocations.arm_of(unit, place.protocol, place.participant.id) if place.form.restricted else None
    stored = book.get(*place.key)
    return casebooks.context(
        unit,
        place.protocol,
        book,
        place.form,
        place.visit,
        place.visit_code,
        place.row,
        registers=_registers(unit, place, book, stored),
        arm=arm,
        system=_system_values(place, stored),
    )


def _registers(unit: Unit, place: Place, book: Casebook, stored: Stored | None) -> Mapping[str, Mapping[int, str]]:
    """The registers from which this form takes choices. Whoever was named stays one, whatever has become of them since."""
    taken = [item for item in place.form.items if item.source]
    found = dict(register.choices(unit, place.protocol.id)) if taken else {}
    given = stored.answers(place.form).values if stored else {}
    for source in {item.source for item in taken} & staffing.NARROWER.keys():
        said = {given.get(item.name) for item in taken if item.source == source}
        named = {number: name for number, name in found[source].items() if number in said}
        found[source] = {**staffing.NARROWER[source](unit, place.protocol, book), **named}
    return found


def _system_values(place: Place, stored: Stored | None) -> dict[str, Any]:
    """Values of items that the system fills: kept once given."""
    given = stored.answers(place.form).values if stored else {}
    found: dict[str, Any] = {}
    for item in place.form.items:
        if item.name in given and item.system:
            found[item.name] = given[item.name]
        elif item.system == "screening_no":
            found[item.name] = participants.screening_number(place.participant)
        elif item.system == "audit_no":
            found[item.name] = f"{place.participant.enrolled_site}-A-{place.participant.number:04d}"
        elif item.system == "row":
            found[item.name] = place.row
    return found


def saved(unit: Unit, place: Place) -> tuple[Casebook, Stored]:
    """The casebook and the form as it is stored. Raises Missing where nothing has been saved, and Refused where it would unblind."""
    book = casebooks.read(unit, place.protocol.id, place.participant)
    stored = book.get(*place.key)
    if stored is None:
        raise Missing(f"Form {place.form.code} at {place.visit_code} has not been saved.", code="CRF.BLANK")
    require_seen(unit, place, stored)
    return book, stored


# --- rows ---------------------------------------------------------------------------------------------------------------


def next_row(book: Casebook, form: Form, visit: str, *, restricted: bool = False) -> int:
    """The number that a new row takes: one that no row has, or had before it was removed. Restricted rows count by themselves.

    After the last number of its sort, the lowest free one. Raises WrongState where every number is taken.
    """
    used = {row for at, code, row in (*book.forms, *book.removed) if (code, at) == (form.code, visit)}
    parted = form.restricted_when is not None
    first, last = (RESTRICTED_ROWS if restricted and parted else 1), (RESTRICTED_ROWS - 1 if parted and not restricted else MOST_ROWS)
    after = max((row for row in used if first <= row <= last), default=first - 1) + 1
    found: int | None = next((row for row in (*range(after, last + 1), *range(first, after)) if row not in used), None)
    if found is None:
        raise WrongState(f"Form {form.code} has every row that it can have.", code="CRF.NO_ROW", needs="Another participant.")
    return found


def numbered(place: Place, book: Casebook, stored: Stored | None, answers: Answers) -> Place:
    """Where a row belongs by what it holds: a new one takes its number among those that a blinded reader sees, or among the others.

    Raises WrongState for an open row that would become a restricted one: blinded people know that it is there.
    """
    if place.form.restricted_when is None:
        return place
    restricted = place.form.row_restricted(answers.values)
    if restricted == (place.row >= RESTRICTED_ROWS):
        return place
    if stored is None:
        return replace(place, row=next_row(book, place.form, place.visit_code, restricted=restricted))
    if restricted and not stored.instance.restricted:
        raise WrongState(
            f"Row {place.row} is seen by blinded people, who would notice that it has gone.",
            code="CRF.ROW_OPEN",
            needs="Record this as a new row: it is kept apart by itself. Say on this row that it was entered by mistake.",
        )
    return place


# --- in the trail --------------------------------------------------------------------------------------------------------


def about(place: Place, instance: FormInstance) -> dict[str, str]:
    """What an entry of the trail about a form names."""
    return {"entity": "form", "entity_id": instance.id, "site": place.participant.site}


def stream_of(place: Place, instance: FormInstance) -> str:
    """Who reads what is said about a form as a whole: the unblinded only, where anything on it is restricted."""
    closed = place.form.restricted or instance.restricted or any(item.restricted for item in place.form.items)
    return "unblinded" if closed else "open"
