"""Participants: listing, adding, randomising, unblinding, and the check on the day of surgery."""

from typing import Any

from flask import request
from flask_smorest import Blueprint
from marshmallow import RAISE

from trialdm.api import schemas
from trialdm.domain.errors import Invalid, Unconditional
from trialdm.door.security import change, known_person, read
from trialdm.services import allocations, factors, identities, participants, studies, theatre, transfers, unblinding
from trialdm.services.unit import Unit

api = Blueprint("api_participants", __name__, url_prefix="/api/v1/trials/<trial>/participants", description="Participants")


@api.get("")
@api.arguments(schemas.Page, location="query", unknown=RAISE)
@api.response(200, schemas.Participants)
@known_person
def listing(page: dict[str, int], trial: str) -> Any:
    """Participants that the person may see, by site and number."""

    def work(unit: Unit) -> dict[str, Any]:
        rows = participants.listed(unit, trial)
        start = (page["page"] - 1) * page["per_page"]
        shown = rows[start : start + page["per_page"]]
        return {"items": [participants.describe(row, state) for row, state in shown], "total": len(rows), **page}

    return read(work)


@api.post("")
@api.arguments(schemas.NewParticipant)
@api.response(201, schemas.Participant)
@known_person
def add(body: dict[str, Any], trial: str) -> Any:
    """Add a participant of a site under a fresh random pseudonym, with the identity where the trial keeps identities."""

    def work(unit: Unit) -> dict[str, Any]:
        row = identities.add(unit, trial, body["site"], body["identity"], later=body["later"], different=body["different"])
        return participants.describe(row, "screened")

    return change(work)


@api.get("/<participant>")
@api.response(200, schemas.Participant)
@known_person
def one(trial: str, participant: str) -> Any:
    """One participant."""

    def work(unit: Unit) -> dict[str, Any]:
        row = participants.find(unit, trial, participant)
        return participants.describe(row, participants.state(unit, trial, row))

    return read(work)


@api.post("/<participant>/transfer")
@api.arguments(schemas.NewTransfer)
@api.response(200, schemas.Participant)
@known_person
def transfer(body: dict[str, Any], trial: str, participant: str) -> Any:
    """Record that a participant moved to another site, whose staff alone see them from now on."""

    def work(unit: Unit) -> dict[str, Any]:
        row = transfers.transfer(unit, trial, participant, body["site"], body["day"], body["reason"])
        return participants.describe(row, participants.state(unit, trial, row))

    return change(work)


@api.post("/<participant>/randomise")
@api.arguments(schemas.SchemeQuery, location="query", unknown=RAISE)
@api.response(201, schemas.Allocation)
@known_person
def randomise(query: dict[str, str], trial: str, participant: str) -> Any:
    """Randomise once. The header `Idempotency-Key` is required; the same key gives the same answer again."""
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        raise Unconditional(
            "Randomising needs the header Idempotency-Key.", code="ALLOC.KEY_NEEDED", needs="A value that is new for each participant."
        )
    if request.get_data(cache=True) and request.get_json(silent=True) != {}:
        raise Invalid("Randomising takes no body: nothing is chosen by the caller.", code="ALLOC.BODY")
    allocated, _ = change(lambda unit: allocations.randomise(unit, trial, participant, key, name=query["scheme"]))
    return allocated.to_json()


@api.post("/<participant>/allocation")
@api.response(200, schemas.Allocation)
@known_person
def look(trial: str, participant: str) -> Any:
    """The allocation, for somebody who may read it. Each reading is recorded, which is why this is no GET."""
    return change(lambda unit: unblinding.look(unit, trial, participant)).to_json()


@api.get("/<participant>/factors")
@api.response(200, schemas.FactorValues(many=True))
@known_person
def factor_values(trial: str, participant: str) -> Any:
    """The answers that each allocation used: as randomised, as corrected since, as verified. Empty before randomisation."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        found = factors.used(unit, studies.protocol(unit, trial), factors.person(unit, trial, participant))
        return [{"scheme": used.scheme.name, **row} for used in found for row in factors.to_json(used.values)]

    return read(work)


@api.post("/<participant>/unblind")
@api.arguments(schemas.NewUnblinding)
@api.response(200, schemas.Unblinded)
@known_person
def unblind(body: dict[str, Any], trial: str, participant: str) -> Any:
    """Unblind one participant in an emergency, or practise it with `drill`."""

    def work(unit: Unit) -> dict[str, Any]:
        return unblinding.emergency(unit, trial, participant, body["reason"], body["code"], drill=body["drill"]).to_json()

    return change(work)


@api.post("/<participant>/theatre-check")
@api.arguments(schemas.TheatreCheck)
@api.response(200, schemas.Allocation)
@known_person
def theatre_check(body: dict[str, int], trial: str, participant: str) -> Any:
    """Compare side, limb and level with the plan: the allocation where all agree, else 409 naming what differs."""
    return change(lambda unit: theatre.confirm(unit, trial, participant, body)).require().to_json()
