"""Importing a CSV file into a form: upload, preview, import; and the header of a file for each form."""

import hashlib
from functools import partial

from flask import Blueprint, Response, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import Invalid, TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import imports
from trialdm.services.imports import Outcome
from trialdm.services.unit import Unit
from trialdm.web import paper, typed
from trialdm.web.layout import act, attached, page

pages = Blueprint("imports", __name__, url_prefix="/trials/<trial>/imports")

#: A page lists so many changed answers, warnings and wrong cells; the numbers count all of them.
_MOST = 500


@pages.get("")
@signed_in
def upload(trial: str) -> str:
    """Choose a form and a file."""
    return read(partial(_page, trial=trial))


@pages.get("/<form>.csv")
@signed_in
def template(trial: str, form: str) -> AnyResponse:
    """An empty file for a form: its header."""
    header = read(lambda unit: imports.columns(unit, trial, form))
    return attached(",".join(header) + "\n", f"{trial}-{form.lower()}.csv", "text/csv")


@pages.post("")
@signed_in
def preview(trial: str) -> AnyResponse:
    """What the file would do. Nothing is saved."""
    name, content = typed.upload("file")
    form, reason = request.form.get("form", ""), request.form.get("reason", "").strip()[:900]
    try:
        read(lambda unit: _require(unit, trial, form))
        text = _text(name, content)
        outcome = imports.tried(change, trial, form, text, reason=reason)
        token = "" if outcome.errors else read(lambda unit: imports.sealed(unit, trial, form, text, reason, outcome))
    except TrialError as problem:
        return Response(read(partial(_page, trial=trial, problem=problem)), status_of(problem))
    digest = hashlib.sha256(content).hexdigest()
    shown = read(lambda unit: _preview(unit, trial, form, reason, outcome, token, name, digest))
    return Response(shown, 422 if outcome.errors else 200)


@pages.post("/load")
@signed_in
def load(trial: str) -> AnyResponse:
    """Import the file as it was previewed."""
    form = request.form.get("form", "")

    def work(unit: Unit) -> Outcome:
        _require(unit, trial, form)
        return imports.load_sealed(unit, trial, form, request.form.get("sealed", ""))

    return act(
        work,
        partial(_page, trial=trial),
        lambda outcome: url_for("imports.upload", trial=trial, form=form, saved=outcome.saved, unchanged=outcome.unchanged),
    )


def _require(unit: Unit, trial: str, form: str) -> None:
    """Raises Forbidden or Missing unless the person may import into this form."""
    unit.require("form.import", trial)
    if not form:
        raise Invalid("Choose the form.", code="IMPORT.FORM", needs="A form.")
    paper.chosen(paper.readable_forms(unit, trial)[1], form)


def _text(name: str, content: bytes) -> str:
    if not name:
        raise Invalid("Choose a file.", code="IMPORT.FILE", needs="A CSV file.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("The file is not UTF-8 text.", code="IMPORT.FILE", needs="A CSV file saved as UTF-8.") from None


def _page(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol, found = paper.readable_forms(unit, trial)
    unit.require("form.import", trial)
    wrong = typed.place(problem, {"IMPORT.FORM": "form", "IMPORT.FILE": "file", "IMPORT.HEADER": "file"})
    entered = [form for form in found if any(item.typed_in for item in form.items)]
    done = {name: request.args.get(name, 0, type=int) for name in ("saved", "unchanged")} if "saved" in request.args else None
    sent = request.form if request.method == "POST" else request.args
    return page("import.html", protocol, forms=entered, problem=problem, wrong=wrong, sent=sent, done=done)


def _preview(unit: Unit, trial: str, form: str, reason: str, outcome: Outcome, token: str, name: str, digest: str) -> str:
    protocol, found = paper.readable_forms(unit, trial)
    return page(
        "import_preview.html",
        protocol,
        form=paper.chosen(found, form)[0],
        reason=reason,
        outcome=outcome,
        sealed=token,
        file=name,
        digest=digest,
        most=_MOST,
    )
