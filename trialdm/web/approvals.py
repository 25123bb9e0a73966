"""The register as pages: what stands on a day, recording a decision, checking one as the second person, letters and documents."""

from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from io import BytesIO
from typing import Any

from flask import Blueprint, Response, redirect, request, send_file, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import ethics
from trialdm.domain.errors import Invalid, TrialError
from trialdm.domain.ethics import Approval, Condition, Document
from trialdm.domain.ethics.rules.approvals import green_light
from trialdm.domain.protocol import NATIONS
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import approvals, casebooks, gates, register, studies
from trialdm.services.unit import Unit
from trialdm.web.layout import page
from trialdm.web.typed import normal

pages = Blueprint("approvals", __name__, url_prefix="/trials/<trial>/approvals")


@pages.get("")
@signed_in
def standing(trial: str) -> str:
    """The register of approvals and documents as it stood on a day."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        unit.require("approvals.see", trial)
        site, problem, on = request.args.get("site", ""), "", unit.today
        try:
            on = date.fromisoformat(request.args.get("on") or unit.today.isoformat())
        except ValueError:
            problem = "Write the date as year-month-day, such as 2026-03-07."
        rows = approvals.as_of(unit, trial, on, site)
        return page(
            "approvals.html",
            protocol,
            on=on,
            site=site,
            problem=problem,
            waiting=approvals.waiting(unit, trial),
            names={**ethics.BODY_NAMES, **ethics.DOCUMENT_NAMES},
            **_parted(rows),
        )

    return read(work)


def _parted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Approvals of the whole trial, and what each site has: approvals of its own, and versions of documents."""
    local = [row for row in rows if row["site"]]
    return {
        "whole": [row for row in rows if not row["site"]],
        "columns": list(dict.fromkeys(row["body"] for row in local)),
        "local": {site: {r["body"]: r for r in local if r["site"] == site} for site in sorted({r["site"] for r in local})},
    }


# --- every row -------------------------------------------------------------------------------------------------------


@pages.get("/history")
@signed_in
def history(trial: str) -> str:
    """Every decision and every document version on record, in the order of recording."""

    def work(unit: Unit) -> str:
        unit.require("approvals.see", trial)
        known = register.read(unit, trial)
        return page(
            "approvals_history.html",
            studies.protocol(unit, trial),
            approvals=known.approvals,
            documents=known.documents,
            names={**ethics.BODY_NAMES, **ethics.DOCUMENT_NAMES},
        )

    return read(work)


@pages.get("/<int:number>")
@signed_in
def one(trial: str, number: int) -> str:
    """One decision: its days, conditions, letter, and who recorded and checked it."""
    return read(lambda unit: _one(unit, trial, number))


@pages.post("/<int:number>/check")
@signed_in
def check(trial: str, number: int) -> AnyResponse:
    """Confirm a decision as the second person."""
    return _act(trial, number, lambda unit: approvals.check(unit, trial, number))


@pages.post("/<int:number>/conditions/<int:condition>")
@signed_in
def meet(trial: str, number: int, condition: int) -> AnyResponse:
    """Record the evidence that a condition was met."""
    sent, files = request.form, request.files

    def work(unit: Unit) -> None:
        said = sent.get("evidence", "").strip()
        letter = files.get("letter")
        if letter and letter.filename:
            digest = approvals.keep(unit, trial, letter.filename, letter.read())
            said = f"{said} ({letter.filename}, SHA-256 {digest})".strip()
        approvals.meet(unit, trial, number, condition, _day("met_on"), said)

    return _act(trial, number, work)


def _act(trial: str, number: int, work: Callable[[Unit], Any]) -> AnyResponse:
    try:
        change(work)
    except TrialError as problem:
        return Response(read(partial(_one, trial=trial, number=number, problem=problem)), status_of(problem))
    return redirect(url_for("approvals.one", trial=trial, number=number), 303)


def _one(unit: Unit, trial: str, number: int, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("approvals.see", trial)
    approval = approvals.one(unit, trial, number)
    return page(
        "approval.html",
        protocol,
        approval=approval,
        people=casebooks.names(unit, [p for p in (approval.recorded_by, approval.second_check_by) if p]),
        own=approvals.recorded_by_me(unit, trial, number),
        names=ethics.BODY_NAMES,
        covers=ethics.COVERS,
        nations=NATIONS,
        today=unit.today,
        problem=problem,
    )


@pages.get("/files/<sha256>")
@signed_in
def file(trial: str, sha256: str) -> AnyResponse:
    """A kept letter, as it was kept."""

    def work(unit: Unit) -> tuple[bytes, str, str]:
        found = approvals.file(unit, trial, sha256)
        return found.content, found.name, found.media_type

    content, name, kind = read(work)
    return send_file(BytesIO(content), mimetype=kind, as_attachment=True, download_name=name)


# --- recording -------------------------------------------------------------------------------------------------------


@pages.get("/record")
@signed_in
def ask(trial: str) -> str:
    """The questions about a decision."""
    return read(lambda unit: _ask(unit, trial))


@pages.post("/record")
@signed_in
def record(trial: str) -> AnyResponse:
    """Record a decision, with its letter."""
    sent, letter = request.form, request.files.get("letter")
    content = letter.read() if letter and letter.filename else b""

    def work(unit: Unit) -> int:
        name = letter.filename or "" if letter and content else ""
        digest = approvals.keep(unit, trial, name, content, sent.get("sha256", "")) if content else ""
        if sent.get("sha256", "").strip() and not content:
            raise Invalid("A digest was given without its letter.", code="REGISTER.HASH", needs="The letter.")
        return approvals.record(unit, trial, _approval(sent, name, digest))

    try:
        number = change(work)
    except TrialError as problem:
        return Response(read(partial(_ask, trial=trial, problem=problem)), status_of(problem))
    return redirect(url_for("approvals.one", trial=trial, number=number), 303)


def _approval(sent: Mapping[str, Any], letter: str, digest: str) -> Approval:
    conditions = [line.strip() for line in sent.get("conditions", "").splitlines() if line.strip()]
    return Approval(
        body=sent.get("body", ""),
        status=sent.get("status", "").strip(),
        ref=sent.get("ref", "").strip(),
        nations=tuple(request.form.getlist("nations")),
        site=sent.get("site", ""),
        submitted_on=_some_day("submitted_on"),
        decided_on=_some_day("decided_on"),
        effective_from=_some_day("effective_from"),
        effective_to=_some_day("effective_to"),
        agreement_signed_on=_some_day("agreement_signed_on"),
        conditions=tuple(Condition(text.lstrip("* "), pre_start=text.startswith("*")) for text in conditions),
        letter=letter,
        sha256=digest,
        supersedes=sent.get("supersedes", "").strip(),
        covers=tuple(request.form.getlist("covers")),
    )


def _ask(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("approvals.record", trial)
    return page(
        "approval_new.html",
        protocol,
        bodies=ethics.BODIES,
        names=ethics.BODY_NAMES,
        site_bodies=ethics.SITE_BODIES,
        two_person=ethics.TWO_PERSON,
        covers=ethics.COVERS,
        nations=NATIONS,
        today=unit.today,
        problem=problem,
        sent=request.form if problem else {},
    )


def _day(field: str) -> date:
    found = _some_day(field)
    if found is None:
        raise Invalid("Give the day.", code="REGISTER.DAY", needs="For example 7/3/2026.")
    return found


def _some_day(field: str) -> date | None:
    text = request.form.get(field, "").strip()
    try:
        return date.fromisoformat(normal("date", text)) if text else None
    except ValueError:
        raise Invalid(f"'{text}' is not a day.", code="REGISTER.DAY", needs="A day such as 7/3/2026 or 2026-03-07.") from None


# --- documents -------------------------------------------------------------------------------------------------------


@pages.get("/documents/<kind>/<int:code>")
@signed_in
def document(trial: str, kind: str, code: int) -> str:
    """One version of a document: from which day each site uses it."""
    return read(lambda unit: _document(unit, trial, kind, code))


@pages.post("/documents/<kind>/<int:code>/take-up")
@signed_in
def take_up(trial: str, kind: str, code: int) -> AnyResponse:
    """Record from which day a site uses it."""
    site = request.form.get("site", "")
    return _on_document(trial, kind, code, lambda unit: approvals.take_up(unit, trial, kind, code, site, _day("on")))


@pages.post("/documents/<kind>/<int:code>/revoke")
@signed_in
def revoke(trial: str, kind: str, code: int) -> AnyResponse:
    """Take it out of use."""
    reason = request.form.get("reason", "")
    return _on_document(trial, kind, code, lambda unit: approvals.revoke(unit, trial, kind, code, _day("on"), reason))


def _on_document(trial: str, kind: str, code: int, work: Callable[[Unit], Any]) -> AnyResponse:
    try:
        change(work)
    except TrialError as problem:
        return Response(read(partial(_document, trial=trial, kind=kind, code=code, problem=problem)), status_of(problem))
    return redirect(url_for("approvals.document", trial=trial, kind=kind, code=code), 303)


def _document(unit: Unit, trial: str, kind: str, code: int, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("approvals.see", trial)
    known = register.read(unit, trial)
    found = approvals.document(unit, trial, kind, code)
    here = [site for site in protocol.sites if site.nation in found.nations]
    sites = [(site, known.starts_at(found, site), known.current_document(kind, site, unit.today)) for site in here]
    return page(
        "document_version.html",
        protocol,
        document=found,
        sites=[
            (site, first, current is not None and current.code == code) for site, first, current in sites if site.nation in found.nations
        ],
        names=ethics.DOCUMENT_NAMES,
        today=unit.today,
        problem=problem,
    )


@pages.get("/documents/record")
@signed_in
def ask_document(trial: str) -> str:
    """The questions about a version of a document."""
    return read(lambda unit: _ask_document(unit, trial))


@pages.post("/documents/record")
@signed_in
def record_document(trial: str) -> AnyResponse:
    """Record a version of a document, with its file."""
    sent, given = request.form, request.files.get("file")
    content = given.read() if given and given.filename else b""

    def work(unit: Unit) -> Document:
        name = given.filename or "" if given and content else ""
        digest = approvals.keep(unit, trial, name, content) if content else ""
        code = approvals.next_code(unit, trial, sent.get("kind", ""))
        new = Document(
            kind=sent.get("kind", ""),
            code=code,
            version=sent.get("version", "").strip().removeprefix("v"),
            dated=_day("dated"),
            approved_on=_some_day("approved_on"),
            effective_from=_day("effective_from"),
            nations=tuple(sent.getlist("nations")) or tuple(NATIONS),
            modification=sent.get("modification", ""),
            reconsent=sent.get("reconsent", ""),
            file=name,
            sha256=digest,
        )
        approvals.record(unit, trial, new)
        return new

    try:
        new = change(work)
    except TrialError as problem:
        return Response(read(partial(_ask_document, trial=trial, problem=problem)), status_of(problem))
    return redirect(url_for("approvals.document", trial=trial, kind=new.kind, code=new.code), 303)


def _ask_document(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    unit.require("approvals.record", trial)
    return page(
        "document_new.html",
        studies.protocol(unit, trial),
        kinds=ethics.DOCUMENT_NAMES,
        nations=NATIONS,
        modifications=register.read(unit, trial).modifications,
        problem=problem,
        sent=request.form if problem else {},
    )


# --- the green light -------------------------------------------------------------------------------------------------


@pages.get("/sites/<site>")
@signed_in
def site(trial: str, site: str) -> str:
    """What the sponsor's green light for a site stands on, and what is still missing."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        unit.require("approvals.see", trial, site)
        asked = gates.case(unit, trial, "activate-site", site=site)
        state = studies.state(unit, trial, "site", site)
        answer = ethics.gate(asked)
        return page("green_light.html", protocol, site=protocol.site(site), state=state, items=green_light(asked), answer=answer)

    return read(work)
