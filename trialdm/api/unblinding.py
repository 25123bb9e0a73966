"""Unblinding of a trial: the log, and the end of blinding by two people."""

from typing import Any

from flask_smorest import Blueprint

from trialdm.door.security import change, known_person, read
from trialdm.services import unblinding

api = Blueprint("api_unblinding", __name__, url_prefix="/api/v1/trials/<trial>/unblinding", description="Unblinding")


@api.get("")
@api.response(200)
@known_person
def log(trial: str) -> Any:
    """Who learned which allocation when and why; never the arm."""
    return read(lambda unit: unblinding.log(unit, trial))


@api.post("")
@api.response(200)
@known_person
def end(trial: str) -> Any:
    """Ask to unblind the whole trial, or confirm what another person asked for. The database must be locked."""
    return {"trial": trial, "blinding": change(lambda unit: unblinding.end_of_trial(unit, trial))}
