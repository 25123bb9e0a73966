"""The check before surgery: what the team reads from the patient, compared with the plan."""

from functools import partial

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import participants, studies, theatre
from trialdm.services.unit import Unit
from trialdm.web.layout import page
from trialdm.web.unblinding import shown

pages = Blueprint("theatre", __name__, url_prefix="/trials/<trial>/participants/<participant>/theatre")


@pages.get("")
@signed_in
def check(trial: str, participant: str) -> str:
    """The questions; nothing of the plan is shown."""
    return read(lambda unit: _page(unit, trial, participant))


@pages.post("")
@signed_in
def confirm(trial: str, participant: str) -> AnyResponse:
    """Compare, keep the check, and show the allocation where all agree."""
    found = {part: request.form.get(part, "") for part in theatre.PARTS}
    try:
        allocated = change(lambda unit: theatre.confirm(unit, trial, participant, found)).require()
    except TrialError as problem:
        return Response(read(partial(_page, trial=trial, typed=participant, problem=problem)), status_of(problem))
    return Response(shown(trial, allocated, "theatre"))


def _page(unit: Unit, trial: str, typed: str, problem: TrialError | None = None) -> str:
    row = participants.find(unit, trial, typed, "theatre.confirm")
    protocol = studies.protocol_at(unit, trial, row.site)
    fields = [detail.place for detail in problem.details if detail.place in theatre.PARTS] if problem else []
    return page(
        "theatre.html",
        protocol,
        participant=row,
        choices=theatre.choices(protocol),
        problem=problem,
        stopped=problem is not None and problem.code.startswith("THEATRE.WRONG_"),
        fields=fields,
        sent=request.form if problem and problem.code == "THEATRE.READ" else {},
    )
