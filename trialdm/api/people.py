"""The delegation log, and who could do what on a day."""

from typing import Any

from flask_smorest import Blueprint
from marshmallow import RAISE

from trialdm.api import schemas
from trialdm.door.security import known_person, read
from trialdm.services import delegations
from trialdm.services.unit import Unit

api = Blueprint("api_people", __name__, url_prefix="/api/v1/trials/<trial>", description="The delegation log")


@api.get("/delegations")
@api.arguments(schemas.DelegationQuery, location="query", unknown=RAISE)
@api.response(200, schemas.Delegation(many=True))
@known_person
def lines(asked: dict[str, Any], trial: str) -> Any:
    """Lines of the log as they stood on a day, of the sites that the person sees."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        found = delegations.log(unit, trial, asked["on"], asked["site"])
        return [line.to_json(asked["on"] or unit.today) for line in found]

    return read(work)


@api.get("/who")
@api.arguments(schemas.WhoQuery, location="query", unknown=RAISE)
@api.response(200, schemas.Able(many=True))
@known_person
def who(asked: dict[str, Any], trial: str) -> Any:
    """Who could do a task at a site on a day by log, training and credential, and why others could not."""
    return read(lambda unit: [able.to_json() for able in delegations.who_could(unit, trial, asked["task"], asked["site"], asked["on"])])
