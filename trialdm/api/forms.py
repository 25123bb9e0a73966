"""Forms: reading one, and saving its next version."""

from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from trialdm.api import schemas
from trialdm.domain.errors import Invalid
from trialdm.door.security import change, known_person, read
from trialdm.services import places, records
from trialdm.services.records import View
from trialdm.services.unit import Unit

api = Blueprint(
    "api_forms", __name__, url_prefix="/api/v1/trials/<trial>/participants/<participant>/visits/<visit>/forms", description="Forms"
)


@api.get("/<form>")
@api.response(200)
@known_person
def first(trial: str, participant: str, visit: str, form: str) -> Any:
    """A form (or the first row of a repeating one) as the person may see it; the ETag is its version."""
    return _get(trial, participant, visit, form, 1)


@api.get("/<form>/<int:row>")
@api.response(200)
@known_person
def numbered(trial: str, participant: str, visit: str, form: str, row: int) -> Any:
    """A row of a repeating form, counted from 1."""
    return _get(trial, participant, visit, form, row)


@api.put("/<form>")
@api.arguments(schemas.FormBody)
@api.response(200)
@known_person
def save_first(body: dict[str, Any], trial: str, participant: str, visit: str, form: str) -> Any:
    """Save the next version. A change of what is there needs `If-Match` with the version that it starts from."""
    return _put(body, trial, participant, visit, form, 1)


@api.put("/<form>/<int:row>")
@api.arguments(schemas.FormBody)
@api.response(200)
@known_person
def save_numbered(body: dict[str, Any], trial: str, participant: str, visit: str, form: str, row: int) -> Any:
    """Save the next version of a row."""
    return _put(body, trial, participant, visit, form, row)


def _get(trial: str, participant: str, visit: str, form: str, row: int) -> Response:
    return _answer(read(lambda unit: records.view(unit, places.locate(unit, trial, participant, visit, form, row))))


def _put(body: dict[str, Any], trial: str, participant: str, visit: str, form: str, row: int) -> Response:
    version = if_match()

    def work(unit: Unit) -> View:
        place = places.locate(unit, trial, participant, visit, form, row)
        return records.save(unit, place, records.submission(body, version))

    return _answer(change(work))


def if_match() -> int | None:
    """The version in the header If-Match, or None where there is no header."""
    given = request.headers.get("If-Match")
    if given is None:
        return None
    text = given.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Invalid(f'If-Match must be a version such as "3", not {given}.', code="CRF.IF_MATCH")
    return int(text)


def _answer(view: View) -> Response:
    answer = jsonify(view.to_json())
    if view.version:
        answer.set_etag(str(view.version))
    return answer
