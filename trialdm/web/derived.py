"""Derived items: of one participant with the forms that they were read from, and of everybody with counts and files."""

from typing import Any

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.tables import as_csv
from trialdm.door.security import change, read, signed_in
from trialdm.services import derivations, participants, studies
from trialdm.services.derivations import Everybody, Line, OnePerson, Tally
from trialdm.services.unit import Unit
from trialdm.web import wording
from trialdm.web.layout import attached, page

pages = Blueprint("derived", __name__, url_prefix="/trials/<trial>")

_PER_PAGE = 50

#: File of the trial -> what it has a row for.
_FILES = {"derived": "participant", "derived_visits": "visit"}


# --- one participant -------------------------------------------------------------------------------------------------


@pages.get("/participants/<participant>/derived")
@signed_in
def of_person(trial: str, participant: str) -> str:
    """The open derived items of a participant."""
    return read(lambda unit: _of_person(unit, trial, derivations.of_person(unit, trial, participant)))


@pages.post("/participants/<participant>/derived")
@signed_in
def of_person_restricted(trial: str, participant: str) -> AnyResponse:
    """With the restricted ones, in this answer only; that they were read is recorded."""
    found = change(lambda unit: derivations.of_person_restricted(unit, trial, participant))
    return Response(read(lambda unit: _of_person(unit, trial, found)))


def _of_person(unit: Unit, trial: str, found: OnePerson) -> str:
    protocol = studies.protocol(unit, trial)
    person = participants.find(unit, trial, found.participant.id)
    titles = {form.code: form.title for form in protocol.forms}
    return page(
        "derived_person.html",
        protocol,
        participant=person,
        lines=found.values,
        visits=found.visits,
        of_visits=[line.derivation for line in next(iter(found.visits.values()), ())],
        said=_said,
        titles=titles,
        labels={code: _visit_label(protocol.visit(code).label, code, protocol.visit(code).code) for code in _codes(found)},
        restricted=found.restricted,
        may_open=derivations.may_open(unit, trial, person.site) and not found.restricted,
        hides=any(one.restricted for one in protocol.derivations) and not unit.sees_allocations(trial, person.site),
    )


def _codes(found: OnePerson) -> set[str]:
    read_at = {visit for lines in (found.values, *found.visits.values()) for line in lines for visit, _, _ in line.read}
    return {*found.visits, *read_at}


def _visit_label(label: str, code: str, of: str) -> str:
    return label if code == of else f"{label} {code}"


def _said(line: Line) -> str:
    """The value in words; empty where it is missing."""
    return wording.answer(line.derivation.item, line.value, {}, blinded=False)


# --- everybody -------------------------------------------------------------------------------------------------------


@pages.get("/derived")
@signed_in
def of_trial(trial: str) -> str:
    """The open derived items of everybody: counts, and a table of participants."""
    return read(lambda unit: _of_trial(unit, trial, derivations.of_trial(unit, trial)))


@pages.post("/derived")
@signed_in
def of_trial_restricted(trial: str) -> AnyResponse:
    """With the restricted ones, in this answer only; that they were read is recorded."""
    found = change(lambda unit: derivations.of_trial_restricted(unit, trial))
    return Response(read(lambda unit: _of_trial(unit, trial, found)))


@pages.get("/<any(derived, derived_visits):name>.csv")
@signed_in
def file(trial: str, name: str) -> AnyResponse:
    """The open derived items as CSV."""
    return _file(read(lambda unit: derivations.of_trial(unit, trial)), trial, name)


@pages.post("/<any(derived, derived_visits):name>.csv")
@signed_in
def file_restricted(trial: str, name: str) -> AnyResponse:
    """All derived items as CSV; that they were read is recorded."""
    return _file(change(lambda unit: derivations.of_trial_restricted(unit, trial)), trial, name)


def _file(found: Everybody, trial: str, name: str) -> Response:
    per = _FILES[name]
    return attached(as_csv(found.table(per), found.columns(per)), f"{trial}-{name}.csv", "text/csv")


def _of_trial(unit: Unit, trial: str, found: Everybody) -> str:
    number = max(1, request.args.get("page", 1, type=int))
    shown, people = found.shown("participant"), found.people
    return page(
        "derived_trial.html",
        studies.protocol(unit, trial),
        tallies=[(tally, _counts(tally)) for tally in found.tallies()],
        as_of=found.as_of,
        total=len(people),
        visits=len(found.given("visit")),
        shown=shown,
        rows=[
            (who, [_said(Line(one, derived.values.get(one.name))) for one in shown])
            for who, derived in people[(number - 1) * _PER_PAGE : number * _PER_PAGE]
        ],
        number=number,
        last=-(-len(people) // _PER_PAGE) or 1,
        files=_FILES,
        restricted=found.restricted,
        may_open=derivations.may_open(unit, trial, None) and not found.restricted,
    )


def _counts(tally: Tally) -> list[tuple[str, Any]]:
    """What a count says: each choice with its number, or from which to which value."""
    item = tally.derivation.item
    if item.holds in ("yn", "code"):
        words = wording.choices(item, {}, blinded=False)
        return [(words.get(code, str(code)), number) for code, number in tally.codes.items()]
    return [
        (words, _said(Line(tally.derivation, value)))
        for words, value in (("from", tally.least), ("to", tally.greatest))
        if value is not None
    ]
