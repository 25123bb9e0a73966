"""Modifications as pages: the list, proposing one, and its way through committee and sites."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from flask import Blueprint, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import ethics
from trialdm.domain.errors import TrialError
from trialdm.domain.ethics import Modification, Step
from trialdm.domain.ethics.modifications import CATEGORIES, CHANGES, CLASSES, LEGACY_CLASSES, STEP_NAMES, next_steps
from trialdm.door.security import read, signed_in
from trialdm.services import gates, modifications, register, studies, versions
from trialdm.services.approvals import Letter
from trialdm.services.unit import Unit
from trialdm.web.layout import act, page
from trialdm.web.typed import day, place, upload

pages = Blueprint("modifications", __name__, url_prefix="/trials/<trial>/modifications")

#: Code of an error -> the field that mends it, of the questions about a modification and about a step.
_OF_PROPOSAL = {
    "MODIFICATION.NAME": "ref",
    "MODIFICATION.TWICE": "ref",
    "MODIFICATION.CHANGES": "changes-halt",
    "MODIFICATION.CATEGORY": "category",
    "MODIFICATION.VERSION": "proposes",
    "MODIFICATION.DOCUMENT": "documents-1",
    "GATE.GOV-21": "tool",
    "GATE.GOV-23": "justification",
    "FILE.TYPE": "tool",
    "FILE.SIZE": "tool",
}
_OF_STEP = {"REGISTER.FUTURE": "on", "STATE.MODIFICATION": "event", "GATE.GOV-22": "event", "GATE.GOV-24": "on", "REGISTER.OWN": "event"}


@pages.get("")
@signed_in
def listing(trial: str) -> str:
    """Every modification, with its state."""

    def work(unit: Unit) -> str:
        rows = modifications.listed(unit, trial)
        return page("modifications.html", studies.protocol(unit, trial), rows=rows, classes=CLASSES)

    return read(work)


@pages.get("/new")
@signed_in
def ask(trial: str) -> str:
    """The questions about a modification."""
    return read(lambda unit: _ask(unit, trial))


@pages.post("")
@signed_in
def propose(trial: str) -> AnyResponse:
    """Record a modification, with the output of the Modification Tool."""
    sent = request.form
    name, content = upload("tool")

    def work(unit: Unit) -> str:
        new = _modification(sent, unit.today)
        modifications.propose(unit, trial, new, Letter(name, content) if name else None)
        return new.ref

    return act(work, lambda unit, problem: _ask(unit, trial, problem), lambda ref: url_for("modifications.one", trial=trial, ref=ref))


def _modification(sent: Mapping[str, Any], today: date) -> Modification:
    named = [text.partition(" ") for text in request.form.getlist("documents")]
    return Modification(
        ref=sent.get("ref", "").strip(),
        title=sent.get("title", "").strip(),
        changes=tuple(request.form.getlist("changes")),
        kind=sent.get("kind", ""),
        category=sent.get("category", ""),
        created_on=today,
        legacy=sent.get("legacy", ""),
        justification=sent.get("justification", "").strip(),
        proposes=sent.get("proposes", ""),
        documents=tuple((kind, int(code)) for kind, _, code in named if code.isdecimal()),
    )


def _ask(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    unit.require("modification.propose", trial)
    known = register.read(unit, trial)
    return page(
        "modification_new.html",
        studies.protocol(unit, trial),
        changes=CHANGES,
        classes=CLASSES,
        legacy=LEGACY_CLASSES,
        categories=[(letter, f"{letter}: {words}") for letter, words in CATEGORIES.items()],
        proposed=versions.proposed(unit, trial),
        documents=[d for d in known.documents if d.approved_on is None and known.came_with(d) is None],
        names=ethics.DOCUMENT_NAMES,
        problem=problem,
        wrong=place(problem, _OF_PROPOSAL),
        sent=request.form if problem else {},
    )


@pages.get("/<ref>")
@signed_in
def one(trial: str, ref: str) -> str:
    """One modification: its steps, its sites, and what may be done next."""
    return read(lambda unit: _one(unit, trial, ref))


@pages.post("/<ref>/steps")
@signed_in
def step(trial: str, ref: str) -> AnyResponse:
    """Record a step, at the committee or at a site."""
    sent = request.form

    def work(unit: Unit) -> None:
        taken = Step(sent.get("event", ""), day("on"), sent.get("site", ""), note=sent.get("note", "").strip())
        modifications.step(unit, trial, ref, taken)

    return act(work, lambda unit, problem: _one(unit, trial, ref, problem), lambda _: url_for("modifications.one", trial=trial, ref=ref))


def _one(unit: Unit, trial: str, ref: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("approvals.see", trial)
    found, today = modifications.one(unit, trial, ref), unit.today
    state = found.state(today)
    sites = []
    for site in protocol.sites:
        at = found.site_state(site.code, today)
        answer = gates.ask(unit, trial, "implement-modification", site=site.code, modification=found)
        nexts = next_steps(found, today, site.code) if unit.may("modification.site", trial, site.code) else []
        sites.append((site, at, found.free_at(site.code, ethics.param(protocol, "site_objection_days")), answer, nexts))
    on_record, sent = register.read(unit, trial), request.form if problem else {}
    field = place(problem, _OF_STEP)
    proposed = next((v for v in versions.listed(unit, trial) if v.version == found.proposes), None) if found.proposes else None
    return page(
        "modification.html",
        protocol,
        modification=found,
        state=state,
        nexts=next_steps(found, today) if unit.may("modification.propose", trial) else [],
        sites=sites,
        step_names=STEP_NAMES,
        changes=CHANGES,
        classes=CLASSES,
        legacy=LEGACY_CLASSES,
        categories=CATEGORIES,
        names=ethics.DOCUMENT_NAMES,
        version=proposed,
        documents=[d for d in on_record.documents if on_record.came_with(d) == found],
        today=today,
        problem=problem,
        wrong=f"{field}-{sent['site']}" if field and sent.get("site") else field,
        sent=sent,
    )
