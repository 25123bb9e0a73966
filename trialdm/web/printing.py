"""Forms to print, as pages and as PDF: blank, filled and annotated ones, and the codebook."""

import importlib.util
from collections.abc import Callable

from flask import Blueprint, Response, current_app, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents import page as documents
from trialdm.documents.page import Document
from trialdm.documents.press import Press
from trialdm.door.security import read, signed_in
from trialdm.services import participants, studies
from trialdm.services.unit import Unit
from trialdm.web import paper
from trialdm.web.layout import page

pages = Blueprint("printing", __name__, url_prefix="/trials/<trial>")

_HOW = "To print it, use the print function of your browser: menus and buttons are left out."


@pages.get("/forms")
@signed_in
def listing(trial: str) -> str:
    """The forms of the protocol: each one blank and annotated."""

    def work(unit: Unit) -> str:
        protocol, found = paper.readable_forms(unit, trial)
        visits = [visit for visit in protocol.visits if any(visit.code in form.visits for form in found)]
        return page(
            "forms.html", protocol, forms=found, visits=visits, blanks={form.code for form in found if any(i.typed_in for i in form.items)}
        )

    return read(work)


@pages.get("/forms/blank")
@pages.get("/forms/blank.pdf", defaults={"kind": "pdf"})
@signed_in
def blanks(trial: str, kind: str = "") -> AnyResponse:
    """The blank forms of a visit, or of the whole trial."""
    visit = request.args.get("visit", "")
    return _of_trial(trial, kind, lambda unit: paper.blank(unit, trial, visit=visit), visit=visit or None)


@pages.get("/forms/annotated")
@pages.get("/forms/annotated.pdf", defaults={"kind": "pdf"})
@signed_in
def all_annotated(trial: str, kind: str = "") -> AnyResponse:
    """All forms with what stands behind each question."""
    return _of_trial(trial, kind, lambda unit: paper.annotated(unit, trial))


@pages.get("/forms/codebook")
@pages.get("/forms/codebook.pdf", defaults={"kind": "pdf"})
@signed_in
def columns(trial: str, kind: str = "") -> AnyResponse:
    """What every column of an export means."""
    return _of_trial(trial, kind, lambda unit: paper.described(unit, trial))


@pages.get("/forms/<form>/blank")
@pages.get("/forms/<form>/blank.pdf", defaults={"kind": "pdf"})
@signed_in
def blank(trial: str, form: str, kind: str = "") -> AnyResponse:
    """One form to be filled in by hand."""
    return _of_trial(trial, kind, lambda unit: paper.blank(unit, trial, form), form=form)


@pages.get("/forms/<form>/annotated")
@pages.get("/forms/<form>/annotated.pdf", defaults={"kind": "pdf"})
@signed_in
def annotated(trial: str, form: str, kind: str = "") -> AnyResponse:
    """One form with what stands behind each question."""
    return _of_trial(trial, kind, lambda unit: paper.annotated(unit, trial, form), form=form)


@pages.get("/participants/<participant>/print")
@pages.get("/participants/<participant>/print.pdf", defaults={"kind": "pdf"})
@signed_in
def casebook(trial: str, participant: str, kind: str = "") -> AnyResponse:
    """Everything that is saved of a participant."""
    return _filled(trial, participant, kind)


@pages.get("/participants/<participant>/visits/<visit>/print")
@pages.get("/participants/<participant>/visits/<visit>/print.pdf", defaults={"kind": "pdf"})
@signed_in
def of_visit(trial: str, participant: str, visit: str, kind: str = "") -> AnyResponse:
    """Everything that is saved of a visit."""
    return _filled(trial, participant, kind, visit=visit)


@pages.get("/participants/<participant>/visits/<visit>/forms/<form>/print")
@pages.get("/participants/<participant>/visits/<visit>/forms/<form>/print.pdf", defaults={"kind": "pdf"})
@signed_in
def of_form(trial: str, participant: str, visit: str, form: str, kind: str = "") -> AnyResponse:
    """A form as it is saved; with `row` one row of it."""
    return _filled(trial, participant, kind, visit=visit, form=form)


# --- the same as a page and as a file --------------------------------------------------------------------------------


def _of_trial(trial: str, kind: str, work: Callable[[Unit], Document], **where: str | None) -> AnyResponse:
    endpoint = request.endpoint or ""
    pdf = url_for(endpoint, trial=trial, kind="pdf", **where)
    back = ("Forms", url_for("printing.listing", trial=trial))
    return _given(trial, kind, work, pdf, back, [])


def _filled(trial: str, participant: str, kind: str, visit: str = "", form: str = "") -> AnyResponse:
    row, audit = request.args.get("row", type=int), request.args.get("audit") == "1"

    def work(unit: Unit) -> Document:
        return paper.filled(unit, trial, participant, visit=visit, form=form, row=row, audit=audit)

    where = {name: given for name, given in {"visit": visit, "form": form, "row": row}.items() if given}
    endpoint = request.endpoint or ""
    pdf = url_for(endpoint, trial=trial, participant=participant, kind="pdf", audit=int(audit) or None, **where)
    other = url_for(endpoint, trial=trial, participant=participant, audit=None if audit else 1, **where)
    back = (participant, url_for("participants.one", trial=trial, participant=participant))
    return _given(trial, kind, work, pdf, back, [("Without the audit trail" if audit else "With the audit trail", other)], participant)


def _given(
    trial: str,
    kind: str,
    work: Callable[[Unit], Document],
    pdf: str,
    back: tuple[str, str],
    links: list[tuple[str, str]],
    participant: str = "",
) -> AnyResponse:
    if kind:
        made = _press().pdf(read(work))
        return Response(made, mimetype="application/pdf") if made else Response(read(lambda unit: _wait(unit, trial, back)), 202)

    def shown(unit: Unit) -> str:
        site = participants.find(unit, trial, participant, "form.see").site if participant else ""
        protocol = studies.protocol_at(unit, trial, site) if site else studies.protocol(unit, trial)
        made = bool(importlib.util.find_spec("weasyprint"))
        downloads = [*([("PDF", pdf)] if made else []), *links]
        return page("document.html", protocol, document=work(unit), warning=_HOW, downloads=downloads, back=back, by_hand=documents.ask)

    return Response(read(shown))


def _wait(unit: Unit, trial: str, back: tuple[str, str]) -> str:
    """The page that asks for the file again until it is there."""
    return page("being_made.html", studies.protocol(unit, trial), back=back, again=request.full_path.rstrip("?"))


def _press() -> Press:
    found: Press = current_app.extensions["trialdm-press"]
    return found
