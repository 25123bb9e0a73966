"""The transfer of a participant to another site."""

from functools import partial

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import participants, studies, transfers
from trialdm.services.unit import Unit
from trialdm.web import typed
from trialdm.web.layout import page

pages = Blueprint("transfers", __name__, url_prefix="/trials/<trial>/participants/<participant>/transfer")

#: Code of a refusal -> the field that mends it.
_FIELDS = {
    "TRANSFER.ALREADY": "site",
    "TRANSFER.VERSION": "site",
    "STATE.SITE": "site",
    "SITE.UNKNOWN": "site",
    "TRANSFER.DAY": "day",
    "TRANSFER.REASON": "reason",
}


@pages.get("")
@signed_in
def ask(trial: str, participant: str) -> str:
    """To which site, on which day, and why."""
    return read(lambda unit: _page(unit, trial, participant))


@pages.post("")
@signed_in
def record(trial: str, participant: str) -> AnyResponse:
    """Record the transfer, and go on to the participant."""

    def work(unit: Unit) -> str:
        day = typed.day("day", code="TRANSFER.DAY")
        return transfers.transfer(unit, trial, participant, request.form.get("site", ""), day, request.form.get("reason", "")).id

    try:
        ident = change(work)
    except TrialError as problem:
        return Response(read(partial(_page, trial=trial, participant=participant, problem=problem)), status_of(problem))
    return redirect(url_for("participants.one", trial=trial, participant=ident, transferred=1), 303)


def _page(unit: Unit, trial: str, participant: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    row = participants.find(unit, trial, participant, "participant.transfer")
    return page(
        "transfer.html",
        protocol,
        participant=row,
        hindrance=transfers.hindrance(unit, protocol, row),
        sites=transfers.may_receive(unit, protocol, row),
        today=unit.today,
        problem=problem,
        wrong=typed.place(problem, _FIELDS),
        sent=request.form if problem else {},
    )
