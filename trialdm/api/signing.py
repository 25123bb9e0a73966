"""Signing and verifying forms, taking out rows, freezing and locking."""

from typing import Any

from flask_smorest import Blueprint

from trialdm.api import schemas
from trialdm.api.forms import if_match
from trialdm.door.security import change, known_person, read
from trialdm.services import casebooks, holds, participants, places, removals, signatures, studies, verification
from trialdm.services.unit import Unit

api = Blueprint("api_signing", __name__, url_prefix="/api/v1/trials/<trial>", description="Signatures, verification, freezing and locking")

_FORM = "/participants/<participant>/visits/<visit>/forms/<form>/<int:row>"


@api.post(f"{_FORM}/sign")
@api.arguments(schemas.Signing)
@api.response(200, schemas.Signature)
@known_person
def sign(body: dict[str, str], trial: str, participant: str, visit: str, form: str, row: int) -> Any:
    """Sign a finished form; whoever signs gives their password again. A change of any answer makes the signature void.

    With `If-Match`, the version that was read: refused where the form is another one by now.
    """
    version = if_match()

    def work(unit: Unit) -> Any:
        place = places.locate(unit, trial, participant, visit, form, row)
        book, _ = places.saved(unit, place)
        return signatures.sign(unit, place.protocol, book, {place.key: version}, body["password"])

    done = change(work)
    if done is None:
        raise signatures.wrong_password()
    return done[0]


@api.post("/participants/<participant>/sign")
@api.arguments(schemas.Signing)
@api.response(200, schemas.Signature)
@known_person
def sign_casebook(body: dict[str, str], trial: str, participant: str) -> Any:
    """Sign the casebook of a participant, and with it every finished form that is not signed."""

    def work(unit: Unit) -> Any:
        person = participants.find(unit, trial, participant)
        protocol = studies.protocol_at(unit, trial, person.site)
        return signatures.sign_casebook(unit, protocol, casebooks.read(unit, trial, person), body["password"])

    done = change(work)
    if done is None:
        raise signatures.wrong_password()
    return done


@api.post(f"{_FORM}/verify")
@api.arguments(schemas.Verifying)
@api.response(200, schemas.FormState)
@known_person
def verify(body: dict[str, Any], trial: str, participant: str, visit: str, form: str, row: int) -> Any:
    """Mark answers as compared with the source. With `If-Match`, the version that was compared."""
    version = if_match()

    def work(unit: Unit) -> dict[str, str]:
        place = places.locate(unit, trial, participant, visit, form, row)
        book, _ = places.saved(unit, place)
        return {"status": verification.verify(unit, place.protocol, book, place.key, body["items"], seen=version)}

    return change(work)


@api.post(f"{_FORM}/remove")
@api.arguments(schemas.Striking)
@api.response(200, schemas.FormState)
@known_person
def remove(body: dict[str, str], trial: str, participant: str, visit: str, form: str, row: int) -> Any:
    """Take out a row that was entered by mistake. With `If-Match`, the version that was read."""
    version = if_match()

    def work(unit: Unit) -> dict[str, str]:
        removals.remove(unit, places.locate(unit, trial, participant, visit, form, row), body["reason"], version)
        return {"status": "removed"}

    return change(work)


@api.post(f"{_FORM}/restore")
@api.arguments(schemas.Striking)
@api.response(200, schemas.FormState)
@known_person
def restore(body: dict[str, str], trial: str, participant: str, visit: str, form: str, row: int) -> Any:
    """Put a row back that was removed. With `If-Match`, the version that was read."""
    version = if_match()

    def work(unit: Unit) -> dict[str, str]:
        removals.restore(unit, places.locate(unit, trial, participant, visit, form, row), body["reason"], version)
        return {"status": "draft"}

    return change(work)


@api.get("/holds")
@api.response(200, schemas.Hold(many=True))
@known_person
def held(trial: str) -> Any:
    """What is frozen or locked: the trial, sites, participants."""
    return read(lambda unit: [hold for hold, _ in holds.held(unit, trial)])


@api.post("/holds")
@api.arguments(schemas.HoldStep)
@api.response(200, schemas.HoldState)
@known_person
def move(body: dict[str, str], trial: str) -> Any:
    """Freeze, thaw, ask for a lock or its end, confirm or decline."""

    def work(unit: Unit) -> dict[str, str]:
        about = holds.target(unit, trial, body["scope"], body["id"])
        state = holds.move(unit, about, body["event"], reason=body["reason"])
        return {"scope": about.scope, "name": about.ident, "state": state}

    return change(work)
