"""Exports: which rows and tables a person may have, as they stood at a moment, and writing the package.

Tables come from the definitions, rows from the append-only versions of forms: a package as of any past moment is a query.
Everybody who is blinded gets a package in which no arm and no restricted answer exists.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

import trialdm
from trialdm.domain import schedule, values
from trialdm.domain.crf import Code, Codelist, Form, Item
from trialdm.domain.errors import Forbidden, Invalid, Missing
from trialdm.domain.lifecycle import INITIAL, MACHINES, label
from trialdm.domain.protocol import ARM_FACT, Factor, Protocol, Scheme
from trialdm.domain.values import Value
from trialdm.exports import dataset, package
from trialdm.exports.dataset import StoredRow, Table
from trialdm.services import (
    allocations,
    budgets,
    casebooks,
    corrections,
    derivations,
    factors,
    gates,
    permissions,
    register,
    snapshots,
    studies,
)
from trialdm.services.casebooks import Casebook
from trialdm.services.permissions import Permission, Permissions
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store.tables import Allocation, ExportJob, FormInstance, Participant, Status, Transfer

FORMATS = package.FORMATS
BLINDINGS = ("blinded", "unblinded")
LAYOUTS = ("long",)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What somebody asks for. `as_of` None means as of the last change."""

    formats: tuple[str, ...] = FORMATS
    blinding: str = "blinded"
    layout: str = "long"
    as_of: datetime | None = None
    reason: str = ""

    def check(self) -> None:
        """Raises Invalid for a format, blinding or layout that does not exist."""
        for given, known, what in (
            (self.formats, FORMATS, "format"),
            ((self.blinding,), BLINDINGS, "blinding"),
            ((self.layout,), LAYOUTS, "layout"),
        ):
            unknown = [name for name in given if name not in known]
            if unknown or not given:
                raise Invalid(f"There is no {what} '{', '.join(unknown)}'.", code="EXPORT.UNKNOWN", needs=f"One of: {', '.join(known)}.")


def require(unit: Unit, trial: str, request: Request) -> None:
    """Raises Forbidden or Refused unless role and gate allow this export."""
    request.check()
    protocol = studies.protocol(unit, trial)
    action = f"export.{request.blinding}"
    if request.blinding == "unblinded":
        gates.require(unit, trial, "export-unblinded")
    unit.require(action, trial)
    if request.blinding == "unblinded" and not unit.sees_allocations(protocol.id, None):
        raise Forbidden("Hidden to keep you blinded.", code="GATE.GOV-45", needs="An unblinded role for the whole trial.")
    if request.blinding == "unblinded":
        unit.require_proof()


def write(unit: Unit, trial: str, directory: Path, request: Request, progress: Progress = lambda step: None) -> dict[str, Any]:
    """Write a package and give its manifest. The unit only reads; `record` writes the audit entry."""
    require(unit, trial, request)
    protocol = studies.protocol(unit, trial)
    blinded = request.blinding == "blinded"
    as_of = request.as_of or snapshots.last_change(unit, protocol, blinded=blinded)
    identity = package.Identity(trial, protocol.version, trialdm.__version__, request.blinding, request.layout, as_of)
    books = snapshots.books(unit, protocol, as_of)
    permitted = permissions.read(unit, protocol, books, as_of)
    return package.write_package(
        directory,
        identity=identity,
        tables=list(_tables(unit, protocol, blinded, as_of, permitted, permissions.without(books, permitted), progress)),
        consent=permitted.to_json,
        formats=request.formats,
        request={
            "requested_by": unit.actor.email,
            "role": unit.actor.role_names(trial),
            "at": unit.now.isoformat(timespec="seconds"),
            "reason": request.reason,
            "door": unit.actor.door,
        },
    )


def record(unit: Unit, trial: str, request: Request, manifest: Mapping[str, Any]) -> None:
    """The audit entry of an export that was made."""
    rows = {table["name"]: table["rows"] for table in manifest["tables"]}
    made = {"blinding": request.blinding, "as_of": manifest["as_of"], "rows": rows, "consent": manifest["consent"]}
    ident = uuid.uuid4().hex
    changes = [Change("package", None, made)]
    if request.blinding == "unblinded":
        gates.keep(unit, trial, gates.require(unit, trial, "export-unblinded"), entity="export", entity_id=ident)
        # how many rows the restricted forms have, and when they were changed last, follows the arms
        changes = [Change("blinding", None, request.blinding), Change("package", None, made, "unblinded")]
    unit.record(
        "export.make",
        trial=trial,
        entity="export",
        entity_id=ident,
        changes=changes,
        reason_text=request.reason,
    )


# --- tables and their rows -------------------------------------------------------------------------------------------


def _tables(
    unit: Unit,
    protocol: Protocol,
    blinded: bool,
    as_of: datetime,
    permitted: Permissions,
    books: Sequence[Casebook],
    progress: Progress,
) -> Iterator[tuple[Table, Sequence[StoredRow]]]:
    progress("participants")
    yield _participants_table(protocol, blinded), list(_participant_rows(unit, protocol, blinded, as_of, permitted))
    progress("visits")
    arms = {} if blinded else allocations.all_arms(unit, protocol, until=as_of)
    yield _visits_table(protocol, blinded), list(_visit_rows(protocol, blinded, books, arms))
    if protocol.derivations:
        progress("derived items")
        yield from _derived_tables(protocol, blinded, books, arms)
    registers = register.choices(unit, protocol.id, as_of)
    numbered = {name: labels if name.startswith("documents") else {n: f"{name} {n}" for n in labels} for name, labels in registers.items()}
    for form in protocol.forms:
        if blinded and form.restricted:
            continue
        progress(form.title)
        table = dataset.form_table(protocol, form, blinded=blinded, registers=numbered)
        rows = _form_rows(unit, protocol, form, blinded, as_of, arms)
        yield table, [row for row in rows if permitted.allow(form.code, row.participant, row.visit, row.row or 1)]


def plan(protocol: Protocol, blinded: bool) -> list[Table]:
    """The tables of a package by this protocol, as definitions alone decide them."""
    forms = dataset.form_tables(protocol, blinded=blinded)
    derived = [_derived_table(protocol, per, blinded) for per in _DERIVED] if protocol.derivations else []
    return [_participants_table(protocol, blinded), _visits_table(protocol, blinded), *derived, *forms]


def _form_rows(unit: Unit, protocol: Protocol, form: Form, blinded: bool, as_of: datetime, arms: Mapping[str, int]) -> Iterator[StoredRow]:
    """Rows of one form in the order of site, participant number, visit and row."""
    numbers = {visit.code: visit.number for visit in protocol.visits}
    wanted = snapshots.newest(protocol.id, [form.code], as_of).order_by(Participant.enrolled_site, Participant.number)
    if blinded:
        wanted = wanted.where(FormInstance.restricted == 0)
    arm_items = [item.name for item in form.items if item.system == ARM_FACT]
    rows = [
        StoredRow(p, site, visit, _visit_number(numbers, visit), row, status, seq, saved_at, data)
        for p, site, visit, _, row, status, seq, saved_at, data, _ in unit.session.execute(wanted)
    ]
    order = {row.participant: i for i, row in enumerate(rows)}
    for row in sorted(rows, key=lambda r: (order[r.participant], r.visit_no or 0, r.visit, r.row or 0)):
        yield _with_arm(row, arm_items, arms) if arm_items and not blinded else row


def _visit_number(numbers: Mapping[str, int], visit: str) -> int | None:
    """The number of a visit or of an occasion of one; None for a visit that only an earlier version of the protocol knows."""
    return numbers.get(visit, numbers.get(visit[0]))


def _with_arm(row: StoredRow, items: Sequence[str], arms: Mapping[str, int]) -> StoredRow:
    """The arm stands sealed with the allocation, not in the form."""
    document = json.loads(row.data)
    for name in items:
        document["answers"][name] = arms[row.participant]
    return row._replace(data=json.dumps(document))


def _day(moment: datetime) -> str:
    """The day of a moment, in Europe/London."""
    return moment.astimezone(LONDON).date().isoformat()


def _state_codes(protocol: Protocol) -> dict[str, int]:
    """Codes of the states of a participant, or case, in the order in which the lifecycle names them."""
    machine = protocol.machine
    states = dict.fromkeys([INITIAL[machine], *(target for _, target in MACHINES[machine].values())])
    return {state: code for code, state in enumerate(states, 1)}


def _participants_table(protocol: Protocol, blinded: bool) -> Table:
    states = Codelist("CL_STATE", tuple(Code(code, label(state).capitalize()) for state, code in _state_codes(protocol).items()))
    items = [
        Item("number", "Number at the site", "int", minimum=None),
        Item("state", f"State of the {protocol.machine}", "code", codelist=states),
        Item("added_on", "Added to the trial", "date"),
        *_transfer_items(protocol),
        *permissions.items(protocol),
        *_allocation_items(protocol),
    ]
    title = "Cases" if protocol.treats else "Participants"
    return dataset.table_of_items("participants", title, items, blinded=blinded, keys=("participant", "site"), origin="kept by the system")


def _transfer_items(protocol: Protocol) -> list[Item]:
    """Where participants are looked after, which is not the key: that stays the site that enrolled them."""
    if protocol.historical or protocol.treats:
        return []
    return [
        Item("current_site", "Site that looks after the participant", "text", length=16),
        Item("transferred_on", "Transferred there on", "date"),
    ]


def _transfer_answers(unit: Unit, protocol: Protocol, as_of: datetime) -> dict[str, dict[str, Any]]:
    """By participant, where they were last transferred, as known at the moment."""
    wanted = select(Transfer).where(Transfer.trial_id == protocol.id, Transfer.at <= as_of).order_by(Transfer.participant_id, Transfer.seq)
    return {
        move.participant_id: {"current_site": move.site, "transferred_on": move.day.isoformat()} for move in unit.session.scalars(wanted)
    }


def _allocation_items(protocol: Protocol) -> list[Item]:
    """What an allocation gives; nothing where nobody is allocated."""
    if not protocol.schemes:
        return []
    arms = Codelist("CL_ALLOCATED", tuple(Code(arm.code, arm.label) for arm in protocol.arms))
    return [
        Item("rand_no", "Randomisation number", "text", length=20),
        Item("rand_on", "Day of randomisation", "date"),
        Item("arm", "Allocated arm", "code", codelist=arms, restricted=True),
        *_factor_items(protocol),
        *(item for scheme in protocol.later_schemes for item in _later_items(scheme)),
    ]


#: How a factor value came about: end of the column's name, and words.
_FACTOR_VALUES = (("rand", "as randomised"), ("corr", "as corrected since"), ("ver", "as verified against the source"))


def _kept_factors(protocol: Protocol) -> list[Factor]:
    """Factors with values of their own: the site stands in every row."""
    return [] if protocol.historical else [factor for factor in protocol.scheme.factors if factor.form]


def _factor_items(protocol: Protocol) -> Iterator[Item]:
    for factor in _kept_factors(protocol):
        levels = tuple(Code(int(level), factors.level_label(protocol, factor, level)) for level in factor.levels)
        codes, label = Codelist(f"CL_{factor.name.upper()}", levels), factors.label_of(protocol, factor)
        for end, words in _FACTOR_VALUES:
            yield Item(f"{factor.name}_{end}", f"{label}, {words}", "code", codelist=codes)
    if not protocol.historical:
        errors = Codelist("CL_RANDERR", tuple(Code(code, words) for code, (words, _) in corrections.ERRORS.items()))
        yield Item("rand_error", "Randomised in error", "code", codelist=errors)


def _later_items(scheme: Scheme) -> Iterator[Item]:
    arms = Codelist("CL_ALLOCATED", tuple(Code(arm.code, arm.label) for arm in scheme.arms))
    yield Item(f"{scheme.name}_no", f"Randomisation number, {scheme.name}", "text", length=20)
    yield Item(f"{scheme.name}_on", f"Day of randomisation, {scheme.name}", "date")
    yield Item(f"{scheme.name}_arm", f"Allocated arm, {scheme.name}", "code", codelist=arms, restricted=True)


def _factor_answers(protocol: Protocol, held: tuple[list[factors.Values], str]) -> dict[str, Any]:
    by_name = {value.factor: value for value in held[0]}
    answers: dict[str, Any] = {}
    for factor in _kept_factors(protocol):
        value = by_name[factor.name]
        for (end, _), level in zip(_FACTOR_VALUES, (value.randomised, value.corrected, value.verified), strict=True):
            if level:
                answers[f"{factor.name}_{end}"] = int(level)
    if held[1] and not protocol.historical:
        answers["rand_error"] = int(held[1])
    return answers


def _later_answers(unit: Unit, protocol: Protocol, blinded: bool, as_of: datetime) -> dict[str, dict[str, Any]]:
    """By participant, what the randomisations after the first one gave."""
    found: dict[str, dict[str, Any]] = {}
    for scheme in protocol.later_schemes:
        arms = {} if blinded else allocations.all_arms(unit, protocol, scheme.name, until=as_of)
        rows = select(Allocation).where(Allocation.trial_id == protocol.id, Allocation.scheme == scheme.name, Allocation.at <= as_of)
        for row in unit.session.scalars(rows):
            answers = found.setdefault(row.participant_id, {})
            answers |= {f"{scheme.name}_no": row.number, f"{scheme.name}_on": _day(row.at)}
            if not blinded:
                answers[f"{scheme.name}_arm"] = arms[row.participant_id]
    return found


def _participant_rows(
    unit: Unit, protocol: Protocol, blinded: bool, as_of: datetime, permitted: Permissions | None = None
) -> Iterator[StoredRow]:
    """One row for everybody. Of those whose data are not used, what the allocation took from forms is left out."""
    trial, held = protocol.id, permitted.of if permitted else {}
    from_forms = {f"{factor.name}_{end}" for factor in _kept_factors(protocol) for end, _ in _FACTOR_VALUES} if protocol.schemes else set()
    people = unit.session.scalars(
        select(Participant)
        .where(Participant.trial_id == trial, Participant.added_at <= as_of)
        .order_by(Participant.enrolled_site, Participant.number)
    )
    newest: dict[str, str] = {}
    for subject, state in unit.session.execute(
        select(Status.subject, Status.state)
        .where(Status.trial_id == trial, Status.machine == protocol.machine, Status.at <= as_of)
        .order_by(Status.subject, Status.seq)
    ):
        newest[subject] = state
    states, first = _state_codes(protocol), INITIAL[protocol.machine]
    given = _allocation_answers(unit, protocol, blinded, as_of) if protocol.schemes else {}
    moved, moves = _transfer_answers(unit, protocol, as_of), bool(_transfer_items(protocol))
    for person in people:
        answers: dict[str, Any] = {"number": person.number, "state": states[newest.get(person.id, first)]}
        if not protocol.historical:
            answers["added_on"] = _day(person.added_at)
        if moves:
            answers |= moved.get(person.id, {"current_site": person.enrolled_site})
        permission = held.get(person.id, Permission())
        answers |= permissions.answers(permission, permitted.asked) if permitted else {}
        allocated = given.get(person.id, {})
        answers |= allocated if permission.used else {name: value for name, value in allocated.items() if name not in from_forms}
        yield StoredRow(person.id, person.enrolled_site, data=json.dumps({"answers": answers, "missing": {}}))


def _allocation_answers(unit: Unit, protocol: Protocol, blinded: bool, as_of: datetime) -> dict[str, dict[str, Any]]:
    """By participant, what the randomisations gave."""
    made = select(Allocation).where(Allocation.trial_id == protocol.id, Allocation.scheme == protocol.scheme.name, Allocation.at <= as_of)
    arms = {} if blinded else allocations.all_arms(unit, protocol, until=as_of)
    values = factors.of_all(unit, protocol, as_of)
    found: dict[str, dict[str, Any]] = {}
    for row in unit.session.scalars(made):
        answers = found.setdefault(row.participant_id, {})
        answers["rand_no"] = row.number
        if not protocol.historical:
            answers["rand_on"] = _day(row.at)
        answers |= _factor_answers(protocol, values[row.participant_id])
    for person, arm in arms.items():
        found.setdefault(person, {})["arm"] = arm
    for person, answers in _later_answers(unit, protocol, blinded, as_of).items():
        found.setdefault(person, {}).update(answers)
    return found


_WINDOWS = Codelist(
    "CL_WINDOW",
    (Code(1, "In window"), Code(2, "Early"), Code(3, "Late"), Code(4, "Nearer to the next visit"), Code(5, "No window")),
)
_WINDOW_CODES = {"in window": 1, "early": 2, "late": 3, "next visit": 4, "no window": 5}


def _summary_items(protocol: Protocol, blinded: bool) -> list[tuple[Form, Item]]:
    return [(form, item) for form in protocol.forms for item in form.summary if not (blinded and (form.restricted or item.restricted))]


def _visits_table(protocol: Protocol, blinded: bool) -> Table:
    items = [
        Item("visit_date", "Day of the visit", "date"),
        Item("visit_window", "Where the day falls", "code", codelist=_WINDOWS),
        Item("forms_saved", "Forms saved at the visit", "int"),
        Item("forms_complete", "Forms complete at the visit", "int"),
        *(item for _, item in _summary_items(protocol, blinded)),
    ]
    return dataset.table_of_items(
        "visits", "Visits", items, blinded=blinded, keys=("participant", "site", "visit", "visit_no"), origin="kept by the system"
    )


def _visit_rows(protocol: Protocol, blinded: bool, books: Iterable[Casebook], arms: Mapping[str, int]) -> Iterator[StoredRow]:
    """One row for each participant and visit at which something was saved: nothing restricted, in a blinded package."""
    shown = {form.code for form in protocol.forms if not (blinded and form.restricted)}
    numbers = {visit.code: visit.number for visit in protocol.visits}
    for book in books:
        facts = {**book.facts(protocol), ARM_FACT: arms.get(book.participant.id)}
        forms = {at: stored for at, stored in book.forms.items() if at[1] in shown and not (blinded and stored.instance.restricted)}
        for visit in sorted({visit for visit, _, _ in forms}, key=lambda v: (_visit_number(numbers, v) or 0, v)):
            yield _visit_row(protocol, replace(book, forms=forms), facts, visit, _visit_number(numbers, visit), blinded)


def _visit_row(protocol: Protocol, book: Casebook, facts: Mapping[str, Any], visit: str, number: int | None, blinded: bool) -> StoredRow:
    here = [stored for (at, _, _), stored in book.forms.items() if at == visit]
    answers: dict[str, Any] = {
        "forms_saved": len(here),
        "forms_complete": sum(stored.finished for stored in here),
    }
    dated = protocol.meaning("visit_date")
    day = book.answer(dated[0], visit, dated[1].name) if dated else None
    if day is not None:
        answers["visit_date"] = day.isoformat()
        answers["visit_window"] = _WINDOW_CODES[schedule.place(day, protocol.visit(visit), protocol.visits, facts)]
    for form, item in _summary_items(protocol, blinded):
        rows = [stored.answers(form).values for stored in book.rows(form.code, visit)]
        if rows and item.value is not None:
            found = casebooks.summary(form, rows, facts)
            if item.name in found:
                answers[item.name] = values.write(found[item.name])
    data = json.dumps({"answers": answers, "missing": {}})
    return StoredRow(book.participant.id, book.participant.enrolled_site, visit, number, data=data)


#: The tables of derived items, by what they have a row for: name, title, and the key columns.
_DERIVED = {
    "participant": ("derived", "Derived items of participants", ("participant", "site")),
    "visit": ("derived_visits", "Derived items of visits", ("participant", "site", "visit", "visit_no")),
}


def _derived_table(protocol: Protocol, per: str, blinded: bool) -> Table:
    name, title, keys = _DERIVED[per]
    items = [one.item for one in protocol.derivations if one.per == per]
    return dataset.table_of_items(name, title, items, blinded=blinded, keys=keys, origin="calculated over the casebook when it is written")


def _derived_tables(
    protocol: Protocol, blinded: bool, books: Sequence[Casebook], arms: Mapping[str, int]
) -> Iterator[tuple[Table, Sequence[StoredRow]]]:
    """A row for everybody, and one for each visit that has something to calculate from."""
    found = [(book.participant, derivations.of_book(protocol, book, arms.get(book.participant.id), blinded=blinded)) for book in books]
    yield (
        _derived_table(protocol, "participant", blinded),
        [StoredRow(person.id, person.enrolled_site, data=_document(derived.values)) for person, derived in found],
    )
    numbers = {visit.code: visit.number for visit in protocol.visits}
    yield (
        _derived_table(protocol, "visit", blinded),
        [
            StoredRow(person.id, person.enrolled_site, visit, _visit_number(numbers, visit), data=_document(answers))
            for person, derived in found
            for visit, answers in derived.visits.items()
        ],
    )


def _document(answers: Mapping[str, Value]) -> str:
    return json.dumps({"answers": {name: values.write(value) for name, value in answers.items()}, "missing": {}})


# --- requested packages ----------------------------------------------------------------------------------------------


def ask_for(unit: Unit, trial: str, request: Request) -> ExportJob:
    """Note a request for a package, to be made in the background."""
    require(unit, trial, request)
    budgets.spend(unit, "export")
    row = ExportJob(
        trial_id=trial,
        id=uuid.uuid4().hex,
        request=json.dumps(
            {
                "formats": request.formats,
                "blinding": request.blinding,
                "layout": request.layout,
                "as_of": request.as_of.isoformat() if request.as_of else None,
                "reason": request.reason,
            }
        ),
        state="waiting",
        step="",
        message="",
        manifest_sha256="",
        requested_by=unit.actor.id,
        requested_at=unit.now,
        finished_at=None,
    )
    unit.add(row)
    unit.record("export.ask", row, trial=trial, entity="export", entity_id=row.id, reason_text=request.reason)
    return row


def request_of(row: ExportJob) -> Request:
    """The request of a job."""
    raw = json.loads(row.request)
    as_of = datetime.fromisoformat(raw["as_of"]) if raw["as_of"] else None
    return Request(tuple(raw["formats"]), raw["blinding"], raw["layout"], as_of, raw["reason"])


def job(unit: Unit, trial: str, ident: str) -> ExportJob:
    """A requested package, for whoever asked for it."""
    row = unit.session.get(ExportJob, (trial, ident))
    if row is None or row.requested_by != unit.actor.id:
        raise Missing("There is no such export of yours.", code="EXPORT.UNKNOWN_JOB")
    return row


def jobs(unit: Unit, trial: str) -> list[ExportJob]:
    """The person's own exports, newest first."""
    return list(
        unit.session.scalars(
            select(ExportJob)
            .where(ExportJob.trial_id == trial, ExportJob.requested_by == unit.actor.id)
            .order_by(ExportJob.requested_at.desc(), ExportJob.request, ExportJob.state, ExportJob.id)
            .limit(20)
        )
    )


def advance(unit: Unit, trial: str, ident: str, *, state: str, step: str = "", message: str = "", manifest_sha256: str = "") -> None:
    """Note how far a job is."""
    row = unit.session.get(ExportJob, (trial, ident))
    if row is None:
        return
    row.state, row.step, row.message, row.manifest_sha256 = state, step, message, manifest_sha256
    if state in ("done", "failed"):
        row.finished_at = unit.now
        unit.record(f"export.{state}", row, trial=trial, entity="export", entity_id=ident)
    else:
        unit.covered(row)
