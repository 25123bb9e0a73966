"""Exports: asking for a package, following it, fetching it."""

from functools import partial
from typing import Any

from flask import Blueprint, Response, current_app, redirect, request, send_file, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import TrialError, WrongState
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import packages, studies
from trialdm.services.jobs import Jobs
from trialdm.services.unit import Unit
from trialdm.web.layout import page

pages = Blueprint("exports", __name__, url_prefix="/trials/<trial>/exports")

#: What each format is for.
_FORMATS = {
    "sav": ("SPSS", "Labels, value labels and user-missing codes included (.sav)"),
    "dta": ("Stata", "Labels, value labels and extended missing values included (.dta)"),
    "csv": ("CSV", "Plain text for every other program; the codebook says what the codes mean (.csv)"),
}


@pages.get("")
@signed_in
def listing(trial: str) -> str:
    """What can be exported, and the person's own exports."""
    return read(lambda unit: _page(unit, trial))


@pages.post("")
@signed_in
def ask(trial: str) -> AnyResponse:
    """Ask for a package; it is made in the background."""
    wanted = packages.Request(
        tuple(request.form.getlist("formats")),
        request.form.get("blinding", "blinded"),
        reason=request.form.get("reason", "").strip()[:1000],
    )
    try:
        row = change(lambda unit: packages.ask_for(unit, trial, wanted))
    except TrialError as problem:
        return Response(read(partial(_page, trial=trial, problem=problem)), status_of(problem))
    _jobs().ask_for_export(trial, row.id)
    return redirect(url_for("exports.follow", trial=trial, ident=row.id), 303)


@pages.get("/<ident>")
@signed_in
def follow(trial: str, ident: str) -> str:
    """How far a package is."""

    def work(unit: Unit) -> str:
        row = packages.job(unit, trial, ident)
        return page("export.html", studies.protocol(unit, trial), job=row, wanted=packages.request_of(row), formats=_FORMATS)

    return read(work)


@pages.get("/<ident>/package")
@signed_in
def fetch(trial: str, ident: str) -> AnyResponse:
    """The package as a zip file, for whoever asked for it."""
    row = read(lambda unit: packages.job(unit, trial, ident))
    if row.state != "done":
        raise WrongState("The package is not ready.", code="EXPORT.NOT_READY", needs="Open its page again in a while.")
    path = _jobs().package_folder(trial, ident).with_suffix(".zip")
    return send_file(path, mimetype="application/zip", as_attachment=True, download_name=f"{trial}-{ident[:8]}.zip")


def _jobs() -> Jobs:
    found: Jobs = current_app.extensions["trialdm-jobs"]
    return found


def _page(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("trial.see", trial)
    return page(
        "exports.html",
        protocol,
        formats={name: _FORMATS.get(name, (name.upper(), "")) for name in packages.FORMATS},
        blindings=_blindings(unit, trial),
        jobs=[(row, packages.request_of(row)) for row in packages.jobs(unit, trial)],
        problem=problem,
        sent=request.form,
    )


def _blindings(unit: Unit, trial: str) -> list[tuple[str, str, Any]]:
    """The blindings that the person's roles allow, each with what it means."""
    found = []
    if unit.may("export.blinded", trial):
        found.append(("blinded", "Blinded", "No arm and no restricted answer is in the package."))
    if unit.may("export.unblinded", trial) and unit.sees_allocations(trial, None):
        meaning = "With the allocation. Allowed only when the analysis plan is signed and the database is locked."
        found.append(("unblinded", "Unblinded", meaning))
    return found
