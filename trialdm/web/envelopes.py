"""Envelopes: their account, entering one that was opened or spoilt, and making the next ones of a site."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.envelopes import Slip, printable
from trialdm.domain.errors import Detail, Invalid, TrialError, Unanswered
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import envelopes, studies
from trialdm.services.unit import LONDON, Unit
from trialdm.web.layout import attached, page
from trialdm.web.typed import normal

pages = Blueprint("envelopes", __name__, url_prefix="/trials/<trial>/allocation/envelopes")

#: Code of an error -> the field that mends it.
_FIELDS = {
    "ALLOC.NO_ENVELOPE": "number",
    "ALLOC.ENVELOPE_USED": "number",
    "ALLOC.ENVELOPE_TIME": "opened",
    "ALLOC.ENVELOPE_SITE": "participant",
    "ALLOC.ALREADY": "participant",
    "ALLOC.LEVEL": "participant",
    "PARTICIPANT.UNKNOWN": "participant",
    "PARTICIPANT.WRITTEN": "participant",
    "ROLE.SITE": "participant",
    "ALLOC.REASON": "note",
    "ALLOC.ENVELOPES": "count",
}

#: What each field asks, for the words of an error.
_ASKS = {
    "site": "Choose the site.",
    "number": "Type the number on the envelope.",
    "participant": "Type the participant’s number.",
    "opened": "Type day and time, such as 7/3/2026 09:05.",
    "count": "Type how many envelopes, 1 to 100.",
}


@pages.get("")
@signed_in
def account(trial: str) -> str:
    """What became of every envelope, and the forms to enter one."""
    return read(lambda unit: _page(unit, trial))


@pages.post("")
@signed_in
def reconcile(trial: str) -> AnyResponse:
    """Enter an envelope that was opened for a participant."""

    def work(unit: Unit) -> None:
        unit.require("allocation.reconcile", trial)
        site, number, opened = _asked("participant")
        sent = request.form
        envelopes.reconcile(unit, trial, site, number, sent["participant"].strip(), opened, confirmed="confirmed" in sent)

    return _entered(trial, "opened", work)


@pages.post("/spoilt")
@signed_in
def spoil(trial: str) -> AnyResponse:
    """Enter an envelope that was used for nobody."""

    def work(unit: Unit) -> None:
        unit.require("allocation.reconcile", trial)
        site, number, opened = _asked()
        envelopes.spoil(unit, trial, site, number, opened, request.form.get("note", ""))

    return _entered(trial, "spoilt", work)


@pages.post("/made")
@signed_in
def make(trial: str) -> AnyResponse:
    """Make the next envelopes of a site: the file to print, in this answer only. It names the arms."""

    def work(unit: Unit) -> list[envelopes.Printed]:
        unit.require("allocation.envelopes", trial)
        site, count = request.form.get("site", ""), _whole("count")
        _complete([name for name, given in (("site", site), ("count", count)) if not given])
        return envelopes.prepare(unit, trial, site, count)

    try:
        made = change(work)
    except TrialError as problem:
        return Response(read(partial(_page, trial=trial, form="made", problem=problem)), status_of(problem))
    slips = [Slip(envelope.number, envelope.arm, envelope.label) for envelope in made]
    site, first, last = made[0].site, made[0].number, made[-1].number
    return attached(printable(trial, site, slips), f"{trial}-{site}-envelopes-{first}-to-{last}.html", "text/html")


def _entered(trial: str, form: str, work: Callable[[Unit], None]) -> AnyResponse:
    try:
        change(work)
    except TrialError as problem:
        return Response(read(partial(_page, trial=trial, form=form, problem=problem)), status_of(problem))
    return redirect(url_for("envelopes.account", trial=trial, entered=f"{request.form['site']}-{_whole('number')}"), 303)


# --- what was typed --------------------------------------------------------------------------------------------------


def _asked(*more: str) -> tuple[str, int, datetime]:
    """Site, number and moment as they were typed. Raises Invalid with a detail for each field that cannot be read."""
    site, number, opened = request.form.get("site", ""), _whole("number"), _moment(request.form.get("opened", ""))
    lacking = [name for name, given in (("site", site), ("number", number)) if not given]
    lacking += [name for name in more if not request.form.get(name, "").strip()]
    _complete(lacking if opened else [*lacking, "opened"])
    return site, number, opened or datetime.max.replace(tzinfo=UTC)


def _complete(lacking: list[str]) -> None:
    if lacking:
        details = [Detail("ALLOC.FIELD", _ASKS[name], name) for name in lacking]
        raise Invalid("The form is not complete.", code="ALLOC.FIELD", details=details)


def _whole(field: str) -> int:
    text = request.form.get(field, "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


def _moment(typed: str) -> datetime | None:
    """Wall time of the United Kingdom as an instant."""
    try:
        return datetime.strptime(normal("dtm", typed), "%Y-%m-%d %H:%M").replace(tzinfo=LONDON).astimezone(UTC)
    except ValueError:
        return None


# --- the page --------------------------------------------------------------------------------------------------------


def _page(unit: Unit, trial: str, form: str = "", problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    return page(
        "envelopes.html",
        protocol,
        rows=envelopes.account(unit, trial),
        sites=[site for site in protocol.sites if unit.may("allocation.reconcile", trial, site.code)],
        makes=unit.may("allocation.envelopes", trial) and protocol.scheme.unit == "participant",
        entered=request.args.get("entered", ""),
        form=form,
        problem=problem,
        errors=_errors(problem, form) if problem else [],
        confirm=isinstance(problem, Unanswered),
        sent=request.form if problem else {},
    )


def _errors(problem: TrialError, form: str) -> list[tuple[str, str]]:
    """Each error with its field; what several forms ask has the form's name in its own."""
    if isinstance(problem, Unanswered):
        return [("confirmed", f"{problem.message} {problem.needs}")]
    if problem.code == "ALLOC.FIELD":
        found = [(detail.place, detail.message) for detail in problem.details]
    else:
        found = [(_FIELDS.get(problem.code, ""), " ".join((problem.message, problem.needs)).strip())]
    return [(f"{field}-{form}" if field in ("site", "number", "opened") else field, words) for field, words in found if field]
