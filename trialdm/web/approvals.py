"""The register as pages: what stands on a day, recording a decision, checking one as the second person, letters and documents."""

from collections.abc import Callable, Mapping
from datetime import date
from io import BytesIO
from types import MappingProxyType
from typing import Any

from flask import Blueprint, request, send_file, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import ethics
from trialdm.domain.errors import TrialError
from trialdm.domain.ethics import Approval, Condition, Document
from trialdm.domain.ethics.rules.approvals import green_light
from trialdm.domain.protocol import NATIONS
from trialdm.door.security import read, signed_in
from trialdm.services import approvals, casebooks, gates, register, studies
from trialdm.services.approvals import Letter
from trialdm.services.unit import Unit
from trialdm.web.layout import act, page
from trialdm.web.typed import day, place, some_day, upload

pages = Blueprint("approvals", __name__, url_prefix="/trials/<trial>/approvals")

#: Code of an error -> the field that mends it, on each page.
_OF_DECISION = {
    "REGISTER.STATUS": "status",
    "REGISTER.SITE": "site",
    "SITE.UNKNOWN": "site",
    "REGISTER.REF": "ref",
    "REGISTER.FUTURE": "decided_on",
    "REGISTER.OVERLAP": "supersedes",
    "REGISTER.HASH": "sha256",
    "FILE.TYPE": "letter",
    "FILE.SIZE": "letter",
}
_OF_DOCUMENT = {
    "REGISTER.KIND": "kind",
    "REGISTER.TWICE": "version",
    "REGISTER.VERSION": "version",
    "REGISTER.FUTURE": "dated",
    "REGISTER.MODIFICATION": "modification",
    "GATE.GOV-22": "modification",
    "FILE.TYPE": "file",
    "FILE.SIZE": "file",
}
_OF_VERSION = {
    "GATE.GOV-12": "on",
    "GATE.GOV-24": "on",
    "SITE.UNKNOWN": "site",
    "REGISTER.REASON": "reason",
    "REGISTER.REVOKED": "revoked",
    "REGISTER.PAST": "revoked",
    "REGISTER.UPTAKE": "on",
}


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
            documents=[(document, known.came_with(document)) for document in known.documents],
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
    return _on_decision(trial, number, lambda unit: approvals.check(unit, trial, number))


@pages.post("/<int:number>/conditions/<int:condition>")
@signed_in
def meet(trial: str, number: int, condition: int) -> AnyResponse:
    """Record the evidence that a condition was met."""
    given = request.form.get(f"evidence-{condition}", "").strip()
    letter = _letter(f"letter-{condition}")

    def work(unit: Unit) -> None:
        approvals.meet(unit, trial, number, condition, day(f"met-{condition}"), given, letter)

    ends = {"REGISTER.FUTURE": "met", "REGISTER.EVIDENCE": "evidence", "FILE.TYPE": "letter", "FILE.SIZE": "letter"}
    return _on_decision(trial, number, work, {code: f"{name}-{condition}" for code, name in ends.items()})


def _on_decision(trial: str, number: int, work: Callable[[Unit], Any], fields: Mapping[str, str] = MappingProxyType({})) -> AnyResponse:
    return act(
        work,
        lambda unit, problem: _one(unit, trial, number, problem, place(problem, fields)),
        lambda _: url_for("approvals.one", trial=trial, number=number),
    )


def _one(unit: Unit, trial: str, number: int, problem: TrialError | None = None, wrong: str = "") -> str:
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
        wrong=wrong,
        sent=request.form if problem else {},
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
    sent = request.form
    letter = _letter("letter", sent.get("sha256", "").strip())

    def work(unit: Unit) -> int:
        return approvals.record(unit, trial, _approval(sent), letter)

    return act(work, lambda unit, problem: _ask(unit, trial, problem), lambda number: url_for("approvals.one", trial=trial, number=number))


def _letter(field: str, sha256: str = "") -> Letter | None:
    """The file in a field of the request, with the digest that was given for it."""
    name, content = upload(field)
    return Letter(name, content, sha256) if name or sha256 else None


def _approval(sent: Mapping[str, Any]) -> Approval:
    conditions = [line.strip() for line in sent.get("conditions", "").splitlines() if line.strip()]
    return Approval(
        body=sent.get("body", ""),
        status=sent.get("status", "").strip(),
        ref=sent.get("ref", "").strip(),
        nations=tuple(request.form.getlist("nations")),
        site=sent.get("site", ""),
        submitted_on=some_day("submitted_on"),
        decided_on=some_day("decided_on"),
        effective_from=some_day("effective_from"),
        effective_to=some_day("effective_to"),
        agreement_signed_on=some_day("agreement_signed_on"),
        conditions=tuple(Condition(text.lstrip("* "), pre_start=text.startswith("*")) for text in conditions),
        supersedes=sent.get("supersedes", "").strip(),
        covers=tuple(request.form.getlist("covers")),
    )


def _ask(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("approvals.record", trial)
    ends = "effective_to" if request.form.get("decided_on") else "decided_on"
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
        wrong=place(problem, {**_OF_DECISION, "REGISTER.DAY": ends}),
        sent=request.form if problem else {},
    )


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
    return _on_document(trial, kind, code, lambda unit: approvals.take_up(unit, trial, kind, code, site, day("on")))


@pages.post("/documents/<kind>/<int:code>/revoke")
@signed_in
def revoke(trial: str, kind: str, code: int) -> AnyResponse:
    """Take it out of use."""
    reason = request.form.get("reason", "")
    return _on_document(trial, kind, code, lambda unit: approvals.revoke(unit, trial, kind, code, day("revoked"), reason))


def _on_document(trial: str, kind: str, code: int, work: Callable[[Unit], Any]) -> AnyResponse:
    return act(
        work,
        lambda unit, problem: _document(unit, trial, kind, code, problem),
        lambda _: url_for("approvals.document", trial=trial, kind=kind, code=code),
    )


def _document(unit: Unit, trial: str, kind: str, code: int, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("approvals.see", trial)
    known = register.read(unit, trial)
    found = approvals.document(unit, trial, kind, code)
    here = [site for site in protocol.sites if site.nation in found.nations]
    used = {site.code: known.current_document(kind, site, unit.today) for site in here}
    return page(
        "document_version.html",
        protocol,
        document=found,
        came_with=known.came_with(found),
        sites=[(site, known.starts_at(found, site), used[site.code] == found) for site in here],
        names=ethics.DOCUMENT_NAMES,
        today=unit.today,
        problem=problem,
        wrong=place(problem, _OF_VERSION),
        sent=request.form if problem else {},
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
    sent = request.form
    file = _letter("file")

    def work(unit: Unit) -> Document:
        code = approvals.next_code(unit, trial, sent.get("kind", ""))
        new = Document(
            kind=sent.get("kind", ""),
            code=code,
            version=sent.get("version", "").strip().removeprefix("v"),
            dated=day("dated"),
            approved_on=some_day("approved_on"),
            effective_from=day("effective_from"),
            nations=tuple(sent.getlist("nations")) or tuple(NATIONS),
            modification=sent.get("modification", ""),
            reconsent=sent.get("reconsent", ""),
        )
        approvals.record(unit, trial, new, file)
        return new

    return act(
        work,
        lambda unit, problem: _ask_document(unit, trial, problem),
        lambda new: url_for("approvals.document", trial=trial, kind=new.kind, code=new.code),
    )


def _ask_document(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    unit.require("approvals.record", trial)
    return page(
        "document_new.html",
        studies.protocol(unit, trial),
        kinds=ethics.DOCUMENT_NAMES,
        nations=NATIONS,
        modifications=register.read(unit, trial).modifications,
        problem=problem,
        wrong=place(problem, _OF_DOCUMENT),
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
