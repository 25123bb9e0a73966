"""The JSON API below /api/v1: a thin door to the use cases, described by OpenAPI 3.1 at /api/openapi.json."""

import json
from collections.abc import Sequence
from typing import Any

from flask import Flask, request
from flask_smorest import Api
from werkzeug.exceptions import BadRequest

import trialdm
from trialdm.api import (
    approvals,
    derived,
    exports,
    forms,
    identities,
    notices,
    participants,
    people,
    queries,
    safety,
    signing,
    trials,
    unblinding,
)
from trialdm.door.security import actor
from trialdm.services.unit import NOBODY


def register(app: Flask) -> None:
    """Add the API to the application."""
    app.config.update(
        API_TITLE="trialdm",
        API_VERSION=trialdm.__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
            "security": [{"token": []}],
            "info": {"description": "Trials, participants, forms, randomisation and exports. Errors are application/problem+json."},
        },
    )
    app.before_request(_require_unambiguous)
    api = Api(app)
    of_participants = (participants.api, identities.api, derived.api, forms.api, signing.api, queries.api, safety.api, unblinding.api)
    for blueprint in (trials.api, approvals.api, people.api, *of_participants, exports.api, notices.api):
        api.register_blueprint(blueprint)


def _require_unambiguous() -> None:
    """Raises BadRequest for JSON that readers take differently: a name twice, NaN or Infinity, a number of thousands of digits.

    What is no JSON at all, or not wanted, is left to the route.
    """
    if not request.path.startswith("/api/") or actor() is NOBODY or not request.is_json:
        return
    try:
        json.loads(request.get_data(cache=True), object_pairs_hook=_named_once, parse_constant=_no_number)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return
    except ValueError:
        raise BadRequest from None


def _named_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
