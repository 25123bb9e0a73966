"""Allocation: what everybody in the trial may know of a scheme, its next step, its specification, balance report and ledger.

Nothing here names an arm of anybody. Counts by arm stand only in the answer to the POST that asked for the balance report.
"""

import importlib.util
import json
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents import page as documents
from trialdm.documents.page import Document
from trialdm.domain.errors import Invalid, TrialError
from trialdm.domain.protocol import Protocol
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.randomisation.schemes import METHODS
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import balance, epochs, ledgers, schemes, specification, studies
from trialdm.services.unit import Unit
from trialdm.store.tables import Scheme
from trialdm.web import charts
from trialdm.web.layout import attached, page

pages = Blueprint("allocation", __name__, url_prefix="/trials/<trial>/allocation")

#: Steps that people take here, with what is said afterwards.
_DONE = {
    "commit": "Committed. A second person now checks and signs.",
    "contribute": "Your contribution is part of the scheme. Now a second person signs.",
    "sign": "Signed. The scheme is live.",
    "pause": "Paused: nobody is randomised until the scheme is resumed.",
    "resume": "Resumed: participants can be randomised again.",
    "close": "Closed: nothing more is allocated by this scheme.",
}

#: Code of an error -> the field that mends it.
_FIELDS = {"ALLOC.CONTRIBUTION": "value", "ALLOC.SHA256": "sha256", "ALLOC.REASON": "reason-stop"}


@pages.get("")
@signed_in
def overview(trial: str) -> str:
    """Every scheme of the trial as everybody may know it, and the step that is next."""
    return read(lambda unit: _overview(unit, trial))


# --- steps -----------------------------------------------------------------------------------------------------------


@pages.post("/commit")
@signed_in
def commit(trial: str) -> AnyResponse:
    """Freeze the scheme, draw and seal its master, and commit."""
    return _step(trial, "commit", lambda unit: schemes.prepare(unit, trial, name=_name()))


@pages.post("/contribute")
@signed_in
def contribute(trial: str) -> AnyResponse:
    """Add a value that whoever committed could not choose."""
    sent = request.form
    value, dice, source = sent.get("value", ""), sent.get("kind") == "dice", sent.get("source", "").strip()
    return _step(trial, "contribute", lambda unit: schemes.contribute(unit, trial, value, dice=dice, source=source, name=_name()))


@pages.post("/sign")
@signed_in
def sign(trial: str) -> AnyResponse:
    """Sign the specification that was read, as the second person."""

    specified, sha256 = request.form.get("specification", "") or "none", request.form.get("sha256", "")
    return _step(trial, "sign", lambda unit: epochs.sign(unit, trial, name=_name(), sha256=sha256, read=specified))


@pages.post("/move")
@signed_in
def move(trial: str) -> AnyResponse:
    """Pause, resume or close a scheme."""
    event, reason = request.form.get("event", ""), request.form.get("reason", "").strip()

    def work(unit: Unit) -> None:
        unit.require("allocation.move", trial)
        if not reason:
            raise Invalid("Say why, in a few words.", code="ALLOC.REASON")
        schemes.move(unit, trial, event, name=_name(), reason=reason)

    return _step(trial, event, work)


def _name() -> str:
    return request.form.get("scheme", "")


def _step(trial: str, done: str, work: Any) -> AnyResponse:
    """Take a step and show the page again; where it is refused, with what was typed."""
    try:
        change(work)
    except TrialError as problem:
        return Response(read(partial(_overview, trial=trial, problem=problem)), status_of(problem))
    return redirect(url_for("allocation.overview", trial=trial, done=done), 303)


# --- documents -------------------------------------------------------------------------------------------------------


@pages.get("/specification")
@signed_in
def read_specification(trial: str) -> str:
    """The specification sheet as a page."""
    asked = _asked()

    def work(unit: Unit) -> str:
        found = specification.sheet(unit, trial, **asked)
        address = partial(url_for, "allocation.fetch_specification", trial=trial, scheme=asked["name"] or None, epoch=asked["epoch"])
        downloads = [("Download as HTML", address(kind="html"))]
        if importlib.util.find_spec("weasyprint"):
            downloads.append(("Download as PDF", address(kind="pdf")))
        return _shown(unit, trial, found, "Keep this from everybody who recruits: the settings help to guess the next arm.", downloads)

    return read(work)


@pages.get("/specification.<any(html, pdf):kind>")
@signed_in
def fetch_specification(trial: str, kind: str) -> Response:
    """The specification sheet as a file."""
    text = documents.html(read(lambda unit: specification.sheet(unit, trial, **_asked())))
    name = f"{trial}-specification.{kind}"
    if kind == "pdf":
        return attached(documents.pdf(text), name, "application/pdf")
    return attached(text, name, "text/html")


def _asked() -> dict[str, Any]:
    """The scheme and the epoch that an address names; the first and the newest where it does not."""
    return {"name": request.args.get("scheme", ""), "epoch": request.args.get("epoch", type=int)}


@pages.post("/balance")
@signed_in
def write_balance(trial: str) -> AnyResponse:
    """The balance and fidelity report, in this answer only; that it was read is recorded."""
    try:
        found = change(lambda unit: balance.report(unit, trial, name=_name()))
    except TrialError as problem:
        return Response(read(partial(_overview, trial=trial, problem=problem)), status_of(problem))
    words = "By arm: show it to nobody who is blinded. It is recorded that you read it, and the page is not kept."
    return Response(read(lambda unit: _shown(unit, trial, found, words, [])))


@pages.post("/ledger")
@signed_in
def fetch_ledger(trial: str) -> AnyResponse:
    """The ledger as a file, with its head signed now."""
    epoch = request.form.get("epoch", type=int)
    try:
        found = change(lambda unit: ledgers.ledger_file(unit, trial, name=_name(), epoch=epoch))
    except TrialError as problem:
        return Response(read(partial(_overview, trial=trial, problem=problem)), status_of(problem))
    name = f"{trial}-{found['config']['scheme']}-{found['config']['epoch']}-ledger.json"
    return attached(json.dumps(found, ensure_ascii=False, indent=1) + "\n", name, "application/json")


def _shown(unit: Unit, trial: str, found: Document, warning: str, downloads: list[tuple[str, str]]) -> str:
    protocol = studies.protocol(unit, trial)
    return page("document.html", protocol, document=found, warning=warning, downloads=downloads, within_page=charts.within_page)


# --- the schemes -----------------------------------------------------------------------------------------------------


def _overview(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("trial.see", trial)
    sent = request.form if problem else {}
    field = _FIELDS.get(problem.code, "") if problem else ""
    if field == "reason-stop" and sent.get("event") == "resume":
        field = "reason-resume"
    return page(
        "schemes.html",
        protocol,
        found=[_scheme(unit, protocol, definition) for definition in protocol.schemes],
        sees_specification=schemes.may_see_specification(unit, trial),
        envelopes=unit.may("allocation.reconcile", trial) or unit.may("allocation.envelopes", trial),
        done=_DONE.get(request.args.get("done", "")) if not problem else None,
        problem=problem,
        field=f"{field}-{sent.get('scheme', '')}" if field else "",
        sent=sent,
    )


def _scheme(unit: Unit, protocol: Protocol, definition: Definition) -> dict[str, Any]:
    """A scheme for its part of the page: its epochs, the newest one first, and the steps that lead on."""
    rows = schemes.standing(unit, protocol.id, definition.name)[::-1]
    found = [schemes.described(unit, row) for row in rows]
    used = next((epoch["state"] for epoch in found if epoch["state"] not in schemes.PENDING), "")
    return {
        "name": definition.name,
        "unit": definition.unit,
        "method": _method(unit, definition, rows[0] if rows else None),
        "listed": definition.method == "list",
        "epochs": found,
        "used": used,
        "specification": schemes.specification_hash(rows[0]) if rows else "",
        "next": _next(unit, protocol, definition, rows[0] if rows else None),
    }


def _method(unit: Unit, definition: Definition, row: Scheme | None) -> str:
    """The method with its settings for whoever may know them; its name alone for everybody else."""
    if row is not None and schemes.may_see_specification(unit, row.trial_id):
        return specification.in_words(schemes.config(row))
    return METHODS[definition.method].name


def _next(unit: Unit, protocol: Protocol, definition: Definition, row: Scheme | None) -> str:
    """The one step that this person may take next; empty where it is somebody else's turn."""

    def may(action: str) -> bool:
        return unit.may(f"allocation.{action}", protocol.id)

    listed = definition.method == "list"
    if row is None:
        return ("import" if listed else "commit") if may("prepare") else ""
    own, found = row.created_by == unit.actor.id, schemes.described(unit, row)
    match found["state"]:
        case "committed" if not own and not listed and may("contribute"):
            return "contribute"
        case "committed" | "contributed" if not own and may("sign") and schemes.may_see_specification(unit, protocol.id):
            return "sign"
        case "paused" if may("move"):
            return "resume"
        case "committed" | "contributed" | "live" if not found["escrowed"] and may("custody"):
            return "escrow"
    return ""
