"""Learning an allocation: a look, an emergency, telling the participant, the end of blinding, and the log of all of it.

An arm stands only in the answer to the POST that asked for it: no address leads to one, and no page keeps one.
"""

from datetime import datetime
from functools import partial

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import Invalid, TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import allocations, disclosures, participants, studies, unblinding
from trialdm.services.unblinding import Unblinded
from trialdm.services.unit import Unit
from trialdm.web.layout import page

pages = Blueprint("unblinding", __name__, url_prefix="/trials/<trial>")


@pages.post("/participants/<participant>/allocation")
@signed_in
def look(trial: str, participant: str) -> str:
    """The allocation, for somebody who may read it: in this answer only."""
    name = request.form.get("scheme", "")
    return shown(trial, change(lambda unit: unblinding.look(unit, trial, participant, name=name)), "look")


def shown(trial: str, found: Unblinded, how: str) -> str:
    """The page that shows what was learned."""
    return read(lambda unit: page("allocation.html", studies.protocol(unit, trial), found=found, how=how))


# --- an emergency ----------------------------------------------------------------------------------------------------


@pages.get("/participants/<participant>/unblind")
@signed_in
def emergency(trial: str, participant: str) -> str:
    """What unblinding in an emergency does, and the question why."""
    return read(lambda unit: _emergency(unit, trial, participant))


@pages.post("/participants/<participant>/unblind")
@signed_in
def unblind(trial: str, participant: str) -> AnyResponse:
    """Unblind now, or practise it."""
    drill = "drill" in request.form
    try:
        if not drill and "confirm" not in request.form:
            raise Invalid("Confirm that you need to know the allocation now.", code="UNBLIND.CONFIRM")
        code = request.form.get("code", 0, type=int)
        reason = request.form.get("reason", "")
        found = change(lambda unit: unblinding.emergency(unit, trial, participant, reason, code, drill=drill))
    except Invalid as problem:
        return Response(read(partial(_emergency, trial=trial, typed=participant, problem=problem)), status_of(problem))
    return Response(shown(trial, found, "drill" if drill else "emergency"))


#: Code of an error -> the field that mends it.
_FIELDS = {"UNBLIND.REASON": "reason", "UNBLIND.REASON_CODE": "code-1", "UNBLIND.CONFIRM": "confirm"}


def _emergency(unit: Unit, trial: str, typed: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    row = participants.find(unit, trial, typed, "allocation.unblind")
    unit.require_proof()
    return page(
        "unblind.html",
        protocol,
        participant=row,
        allocated=allocations.shown(unit, protocol, row),
        emergencies=unblinding.EMERGENCIES,
        problem=problem,
        field=_FIELDS.get(problem.code, "reason") if problem else "",
        sent=request.form,
    )


# --- telling the participant -----------------------------------------------------------------------------------------


@pages.get("/participants/<participant>/tell")
@signed_in
def telling(trial: str, participant: str) -> str:
    """Whether the participant may be told their allocation, and after which visit."""
    return read(lambda unit: _telling(unit, trial, participant))


@pages.post("/participants/<participant>/tell")
@signed_in
def tell(trial: str, participant: str) -> AnyResponse:
    """Show the allocation, to be told to the participant."""
    try:
        found = change(lambda unit: unblinding.planned(unit, trial, participant, request.form.get("visit", "")))
    except TrialError as problem:
        return Response(read(partial(_telling, trial=trial, typed=participant, problem=problem)), status_of(problem))
    return Response(shown(trial, found, "planned"))


def _telling(unit: Unit, trial: str, typed: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    row = participants.find(unit, trial, typed, "allocation.tell")
    unit.require_proof()
    after = protocol.participant_told_after
    return page(
        "tell.html",
        protocol,
        participant=row,
        visits=unblinding.may_be_told(unit, protocol, row) if allocations.shown(unit, protocol, row) else [],
        after=protocol.visit(after).label if after else "",
        problem=problem,
    )


# --- the trial -------------------------------------------------------------------------------------------------------


@pages.get("/unblinding")
@signed_in
def log(trial: str) -> str:
    """Who learned which allocation, and the blinding of the trial as a whole."""
    return read(lambda unit: _log(unit, trial))


@pages.post("/unblinding")
@signed_in
def end(trial: str) -> AnyResponse:
    """Ask to unblind the trial, or confirm it."""
    try:
        change(lambda unit: unblinding.end_of_trial(unit, trial))
    except TrialError as problem:
        return Response(read(partial(_log, trial=trial, problem=problem)), status_of(problem))
    return redirect(url_for("unblinding.log", trial=trial), 303)


def _log(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    rows = [{**row, "at": datetime.fromisoformat(row["at"])} for row in unblinding.log(unit, trial)]
    return page(
        "unblinding.html",
        protocol,
        rows=rows,
        kinds=disclosures.KINDS,
        words=any(row["reason"] for row in rows),
        blinding=unblinding.blinding(unit, trial),
        asked_by_me=unblinding.asked_by(unit, trial) == unit.actor.id,
        locked=unblinding.may_be_unblinded(unit, trial),
        links=unit.may("participant.see", trial),
        problem=problem,
    )
