"""Derived items: of one participant, and of everybody with counts. What is restricted is asked for on purpose, and recorded."""

from typing import Any

from flask_smorest import Blueprint
from marshmallow import RAISE

from trialdm.api import schemas
from trialdm.door.security import change, known_person, read
from trialdm.services import derivations
from trialdm.services.derivations import Everybody

api = Blueprint("api_derived", __name__, url_prefix="/api/v1/trials/<trial>", description="Derived items")


@api.get("/derived")
@api.arguments(schemas.DerivedQuery, location="query", unknown=RAISE)
@api.response(200)
@known_person
def of_trial(query: dict[str, Any], trial: str) -> Any:
    """The open derived items of everybody, now or as of a moment: counts, and a row for each participant (or visit)."""
    return _described(read(lambda unit: derivations.of_trial(unit, trial, query["as_of"])), query["per"])


@api.post("/derived")
@api.arguments(schemas.DerivedQuery, location="query", unknown=RAISE)
@api.response(200)
@known_person
def of_trial_restricted(query: dict[str, Any], trial: str) -> Any:
    """All derived items of everybody, for whoever reads allocations. Each reading is recorded, which is why this is no GET."""
    return _described(change(lambda unit: derivations.of_trial_restricted(unit, trial, query["as_of"])), query["per"])


@api.get("/participants/<participant>/derived")
@api.response(200)
@known_person
def of_person(trial: str, participant: str) -> Any:
    """The open derived items of a participant, with the forms that they were read from."""
    return read(lambda unit: derivations.of_person(unit, trial, participant)).to_json()


@api.post("/participants/<participant>/derived")
@api.response(200)
@known_person
def of_person_restricted(trial: str, participant: str) -> Any:
    """All derived items of a participant, for whoever reads allocations there. Each reading is recorded."""
    return change(lambda unit: derivations.of_person_restricted(unit, trial, participant)).to_json()


def _described(found: Everybody, per: str) -> dict[str, Any]:
    return {
        "as_of": found.as_of.isoformat(),
        "items": [tally.to_json() for tally in found.tallies() if tally.derivation.per == per],
        "rows": found.table(per),
    }
