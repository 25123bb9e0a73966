"""Safety of everybody together: serious and adverse events, clocks, expected events, dictionaries, and coding. No arm, no narrative."""

from typing import Any

from flask_smorest import Blueprint

from trialdm.api import schemas
from trialdm.door.security import change, known_person, read
from trialdm.services import clocks, dictionaries, safety
from trialdm.services.unit import Unit

api = Blueprint("api_safety", __name__, url_prefix="/api/v1/trials/<trial>/safety", description="Safety")


@api.get("/serious")
@api.response(200, schemas.SeriousEvent(many=True))
@known_person
def serious(trial: str) -> Any:
    """The line listing of serious adverse events (RP-05), by participant and number, each with its clocks."""
    return read(lambda unit: [line.to_json(clocks.now(unit)) for line in safety.serious(unit, trial)])


@api.get("/events")
@api.response(200, schemas.AdverseEvent(many=True))
@known_person
def events(trial: str) -> Any:
    """Every adverse event, by participant and number."""
    return read(lambda unit: [line.to_json() for line in safety.events(unit, trial)])


@api.get("/clocks")
@api.response(200, schemas.Clock(many=True))
@known_person
def running(trial: str) -> Any:
    """The clocks about safety with their lights (RP-06), those that are due first at the top."""
    return read(lambda unit: [safety.clock(deadline, clocks.now(unit)) for deadline in safety.lights(unit, trial)])


@api.get("/expected")
@api.response(200, schemas.ExpectedList(many=True))
@known_person
def expected(trial: str) -> Any:
    """The versions of the list of expected events, newest first. A further one comes with a version of the protocol."""
    return read(lambda unit: safety.expected_lists(unit, trial))


@api.get("/dictionaries")
@api.response(200, schemas.Dictionary(many=True))
@known_person
def listed(trial: str) -> Any:
    """The dictionaries by which events are coded: the trial's own list, and those that were loaded."""
    return read(lambda unit: [vars(one) for one in dictionaries.listed(unit, trial)])


@api.post("/dictionaries")
@api.arguments(schemas.NewDictionary)
@api.response(201, schemas.LoadedTerms)
@known_person
def load(body: dict[str, str], trial: str) -> Any:
    """Load a dictionary that the caller holds under a licence, or a further file of it: llt.asc, pt.asc, or a CSV."""

    def work(unit: Unit) -> dict[str, Any]:
        new = dictionaries.load(unit, trial, body["file"], body["text"], name=body["name"], version=body["version"])
        return {"name": body["name"], "version": body["version"], "new": new}

    return change(work)


@api.get("/coding")
@api.response(200, schemas.UncodedEvent(many=True))
@known_person
def coding(trial: str) -> Any:
    """Events that wait for a code, with the terms that may fit."""
    return read(lambda unit: [_uncoded(one) for one in dictionaries.uncoded(unit, trial)])


@api.post("/coding")
@api.arguments(schemas.NewCode)
@api.response(200, schemas.UncodedEvent(many=True))
@known_person
def code(body: dict[str, Any], trial: str) -> Any:
    """Give an event its code; the answer is what still waits. The words of the site, and a signature under them, stay as they are."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        dictionaries.give(unit, trial, body["participant"], body["row"], body["code"])
        return [_uncoded(one) for one in dictionaries.uncoded(unit, trial)]

    return change(work)


def _uncoded(one: dictionaries.Waiting) -> dict[str, Any]:
    return {**vars(one), "suggestions": [vars(term) for term in one.suggestions]}
