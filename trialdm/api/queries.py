"""Queries: the list, asking, and the acts on one; and the run of all edit checks."""

from typing import Any

from flask_smorest import Blueprint
from marshmallow import RAISE

from trialdm.api import schemas
from trialdm.door.security import change, known_person, read
from trialdm.services import checks, places, queries
from trialdm.services.queries import Wanted
from trialdm.services.unit import Unit

api = Blueprint("api_queries", __name__, url_prefix="/api/v1/trials/<trial>", description="Queries and edit checks")


@api.get("/queries")
@api.arguments(schemas.QueryFilter, location="query", unknown=RAISE)
@api.response(200, schemas.Queries)
@known_person
def listing(asked: dict[str, Any], trial: str) -> Any:
    """Queries that the person may see, by number."""
    page, per_page = asked.pop("page"), asked.pop("per_page")

    def work(unit: Unit) -> dict[str, Any]:
        lines = queries.listed(unit, trial, Wanted(**asked))
        shown = lines[(page - 1) * per_page : page * per_page]
        return {"items": [line.to_json() for line in shown], "total": len(lines), "page": page, "per_page": per_page}

    return read(work)


@api.post("/queries")
@api.arguments(schemas.NewQuery)
@api.response(201)
@known_person
def ask(body: dict[str, Any], trial: str) -> Any:
    """Ask about an item of a form, or about the form where no item is named."""

    def work(unit: Unit) -> dict[str, Any]:
        place = places.locate(unit, trial, body["participant"], body["visit"], body["form"], body["row"])
        return _one(unit, trial, queries.ask(unit, place, body["item"], body["text"]).id)

    return change(work)


@api.get("/queries/<ident>")
@api.response(200)
@known_person
def one(trial: str, ident: str) -> Any:
    """A query by its id or its number, with its acts and what the person may do about it."""
    return read(lambda unit: _one(unit, trial, ident))


@api.post("/queries/<ident>/answer")
@api.arguments(schemas.QueryAnswer)
@api.response(200)
@known_person
def answer(body: dict[str, Any], trial: str, ident: str) -> Any:
    """Answer: the data were corrected, are confirmed, or cannot be obtained."""

    def work(unit: Unit) -> dict[str, Any]:
        queries.answer(unit, trial, ident, body["response"], body["text"], seen=body["seen"])
        return _one(unit, trial, ident)

    return change(work)


@api.post("/queries/<ident>/close")
@api.arguments(schemas.QueryWords)
@api.response(200)
@known_person
def close(body: dict[str, Any], trial: str, ident: str) -> Any:
    """Close a query that was answered; never by who answered it."""

    def work(unit: Unit) -> dict[str, Any]:
        queries.close(unit, trial, ident, body["text"], seen=body["seen"])
        return _one(unit, trial, ident)

    return change(work)


@api.post("/queries/<ident>/reopen")
@api.arguments(schemas.QueryWords)
@api.response(200)
@known_person
def reopen(body: dict[str, Any], trial: str, ident: str) -> Any:
    """Ask again, saying what is still asked."""

    def work(unit: Unit) -> dict[str, Any]:
        queries.reopen(unit, trial, ident, body["text"], seen=body["seen"])
        return _one(unit, trial, ident)

    return change(work)


@api.post("/queries/<ident>/cancel")
@api.arguments(schemas.QueryWords)
@api.response(200)
@known_person
def cancel(body: dict[str, Any], trial: str, ident: str) -> Any:
    """Take a query back, with a reason."""

    def work(unit: Unit) -> dict[str, Any]:
        queries.cancel(unit, trial, ident, body["text"], seen=body["seen"])
        return _one(unit, trial, ident)

    return change(work)


@api.post("/checks")
@api.arguments(schemas.ChecksRun)
@api.response(200)
@known_person
def run(body: dict[str, Any], trial: str) -> Any:
    """Run all edit checks over the saved forms: what nobody confirmed becomes a query. A dry run changes nothing."""
    wanted = {"site": body["site"], "form": body["form"], "alerts": body["alerts"]}
    if body["dry_run"]:
        return read(lambda unit: checks.run(unit, trial, dry=True, **wanted).to_json())
    return change(lambda unit: checks.run(unit, trial, **wanted).to_json())


def _one(unit: Unit, trial: str, ident: str) -> dict[str, Any]:
    return queries.one(unit, trial, ident).to_json()
