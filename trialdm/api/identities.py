"""Identities: entering, looking with a reason, and asking for one of another site. None stands at an address that is read by GET."""

from typing import Any

from flask_smorest import Blueprint

from trialdm.api import schemas
from trialdm.door.security import change, known_person, read
from trialdm.services import identities
from trialdm.services.identities import Look

api = Blueprint("api_identities", __name__, url_prefix="/api/v1/trials/<trial>", description="Identities")


@api.post("/participants/<participant>/identity")
@api.arguments(schemas.NewIdentity)
@api.response(201, schemas.IdentityEntered)
@known_person
def enter(body: dict[str, Any], trial: str, participant: str) -> Any:
    """Enter the identity of a participant for whom it was to follow."""
    change(lambda unit: identities.enter(unit, trial, participant, body["identity"], different=body["different"]))
    return {"participant": participant}


@api.post("/participants/<participant>/identity/look")
@api.arguments(schemas.WhyIdentity)
@api.response(200, schemas.Identity)
@known_person
def see(body: dict[str, str], trial: str, participant: str) -> Any:
    """One identity, for staff of the participant's own site. The look is on record before it is given, which is why this is no GET."""
    return _shown(change(lambda unit: identities.see(unit, trial, participant, body["reason"])))


@api.post("/participants/<participant>/identity/shred")
@api.arguments(schemas.WhyIdentity)
@api.response(200, schemas.IdentityShredded)
@known_person
def shred(body: dict[str, str], trial: str, participant: str) -> Any:
    """Ask to make an identity unreadable for good, or do it as the second person."""
    return {"participant": participant, "shredded": change(lambda unit: identities.shred(unit, trial, participant, body["reason"]))}


@api.post("/identities/duplicate")
@api.arguments(schemas.DuplicateQuestion)
@api.response(200, schemas.DuplicateAnswer)
@known_person
def duplicate(body: dict[str, Any], trial: str) -> Any:
    """Whether a person is in the trial already: 409 where they are, with the pseudonym for staff of its own site only."""
    read(lambda unit: identities.duplicate(unit, trial, body["identity"], body["site"]))
    return {"duplicate": False}


@api.get("/identities/requests")
@api.response(200, schemas.IdentityRequest(many=True))
@known_person
def requests(trial: str) -> Any:
    """Requests that the person made or may decide."""
    return [row.to_json() for row in read(lambda unit: identities.requests(unit, trial))]


@api.post("/identities/requests")
@api.arguments(schemas.NewIdentityRequest)
@api.response(201, schemas.IdentityRequested)
@known_person
def ask(body: dict[str, str], trial: str) -> Any:
    """Ask to see the identity of a participant of another site; a second person decides."""
    return {"request": change(lambda unit: identities.ask(unit, trial, body["participant"], body["reason"]))}


@api.post("/identities/requests/<ident>/decision")
@api.arguments(schemas.IdentityDecision)
@api.response(200, schemas.IdentityRequested)
@known_person
def decide(body: dict[str, Any], trial: str, ident: str) -> Any:
    """Confirm or decline a request, as the second person."""
    change(lambda unit: identities.decide(unit, trial, ident, body["reason"], agree=body["confirm"]))
    return {"request": ident}


@api.post("/identities/requests/<ident>/look")
@api.response(200, schemas.Identity)
@known_person
def open_asked(trial: str, ident: str) -> Any:
    """The identity of a request that was confirmed: once, within an hour."""
    return _shown(change(lambda unit: identities.open_asked(unit, trial, ident)))


def _shown(look: Look) -> dict[str, str]:
    return {"participant": look.participant, **read(lambda unit: identities.shown(unit, look)).to_json()}
