"""Notices: the inbox of whoever asks."""

from typing import Any

from flask_smorest import Blueprint

from trialdm.api import schemas
from trialdm.door.security import change, known_person, read
from trialdm.services import inbox as gathered
from trialdm.services import notices

api = Blueprint("api_notices", __name__, url_prefix="/api/v1/notices", description="Notices")


@api.get("")
@api.response(200, schemas.Notice(many=True))
@known_person
def inbox() -> Any:
    """The notices to the caller, newest first. None names an arm."""
    return [message.to_json() for message in read(notices.inbox)]


@api.get("/waiting")
@api.response(200, schemas.Waiting(many=True))
@known_person
def waiting() -> Any:
    """What waits for the caller: deadlines, signatures, checks; the most urgent first."""
    return [one.to_json() for one in read(gathered.waiting)]


@api.post("/<ident>/read")
@api.response(200, schemas.Notice)
@known_person
def mark(ident: str) -> Any:
    """Note that the caller has read one of their own notices."""
    return change(lambda unit: notices.read(unit, ident)).to_json()
