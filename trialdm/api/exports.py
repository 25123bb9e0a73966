"""Exports: asking for a package, following it, fetching it."""

from typing import Any

from flask import current_app, send_file, url_for
from flask_smorest import Blueprint

from trialdm.api import schemas
from trialdm.domain.errors import WrongState
from trialdm.door.security import change, known_person, read
from trialdm.services import packages
from trialdm.services.jobs import Jobs
from trialdm.store.tables import ExportJob

api = Blueprint("api_exports", __name__, url_prefix="/api/v1/trials/<trial>/exports", description="Exports")


@api.post("")
@api.arguments(schemas.NewExport)
@api.response(202, schemas.Export)
@known_person
def ask(body: dict[str, Any], trial: str) -> Any:
    """Ask for a package; it is made in the background."""
    request = packages.Request(tuple(body["formats"]), body["blinding"], body["layout"], body["as_of"], body["reason"])
    row = change(lambda unit: packages.ask_for(unit, trial, request))
    jobs: Jobs = current_app.extensions["trialdm-jobs"]
    jobs.ask_for_export(trial, row.id)
    return _describe(row), 202, {"Location": url_for("api_exports.follow", trial=trial, ident=row.id)}


@api.get("/<ident>")
@api.response(200, schemas.Export)
@known_person
def follow(trial: str, ident: str) -> Any:
    """How far a package is."""
    return _describe(read(lambda unit: packages.job(unit, trial, ident)))


@api.get("/<ident>/package")
@api.response(200, content_type="application/zip")
@known_person
def fetch(trial: str, ident: str) -> Any:
    """The package as a zip file, for whoever asked for it."""
    row = read(lambda unit: packages.job(unit, trial, ident))
    if row.state != "done":
        raise WrongState("The package is not ready.", code="EXPORT.NOT_READY", needs="Ask again when its state is 'done'.")
    jobs: Jobs = current_app.extensions["trialdm-jobs"]
    path = jobs.package_folder(trial, ident).with_suffix(".zip")
    return send_file(path, mimetype="application/zip", as_attachment=True, download_name=f"{trial}-{ident[:8]}.zip")


def _describe(row: ExportJob) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "step": row.step,
        "message": row.message,
        "manifest_sha256": row.manifest_sha256,
        "download": url_for("api_exports.fetch", trial=row.trial_id, ident=row.id) if row.state == "done" else None,
    }
