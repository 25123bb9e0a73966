"""The JSON API below /api/v1: a thin door to the use cases, described by OpenAPI 3.1 at /api/openapi.json."""

from flask import Flask
from flask_smorest import Api

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
    api = Api(app)
    of_participants = (participants.api, identities.api, derived.api, forms.api, signing.api, queries.api, safety.api, unblinding.api)
    for blueprint in (trials.api, approvals.api, people.api, *of_participants, exports.api, notices.api):
        api.register_blueprint(blueprint)
