"""The treatment pathway: organisations with what they owe, outcomes, reports, and the guidance that is followed."""

import importlib.util
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents import page as documents
from trialdm.documents.page import Document
from trialdm.domain import guidance as versions
from trialdm.domain import outcomes as figures
from trialdm.domain.errors import Invalid, TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import cases, governance, outcomes, studies
from trialdm.services.unit import Unit
from trialdm.web import charts
from trialdm.web.layout import attached, page

pages = Blueprint("pathway", __name__, url_prefix="/trials/<trial>")

#: What was done -> what the page says then.
_DONE = {
    "inform": "The notice is recorded. The clinical governance lead confirms it here.",
    "confirm": "The notice is confirmed. Cases can be entered.",
    "procedures": "The list of the month is recorded and compared with the audit.",
    "plan": "The review is planned.",
    "hold": "The review is recorded.",
    "action": "The action is recorded.",
    "close": "The action is closed.",
    "appraise": "The appraisal is recorded.",
    "follow": "The change is recorded. Pages ask everybody to check again.",
}


# --- organisations ---------------------------------------------------------------------------------------------------


@pages.get("/organisations")
@signed_in
def organisations(trial: str) -> str | AnyResponse:
    """The organisations that the person sees; where there is one only, its page."""

    def work(unit: Unit) -> str | AnyResponse:
        found = [governance.organisation(unit, trial, site.code) for site in governance.organisations(unit, trial)]
        if len(found) == 1:
            return redirect(url_for("pathway.organisation", trial=trial, site=found[0].site.code))
        protocol = studies.protocol(unit, trial)
        return page("organisations.html", protocol, found=found, today=unit.today, followed=governance.followed(unit, protocol))

    return read(work)


@pages.get("/organisations/<site>")
@signed_in
def organisation(trial: str, site: str) -> str:
    """One organisation: notice, procedures, reviews, appraisals, and what is due."""
    return read(lambda unit: _organisation(unit, trial, site))


def _organisation(unit: Unit, trial: str, site: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    found = governance.organisation(unit, trial, site)
    return page(
        "organisation.html",
        protocol,
        found=found,
        today=unit.today,
        followed=governance.followed(unit, protocol),
        sees_all=outcomes.sees_all(unit, trial, site),
        mine=cases.numbers(unit, trial, unit.actor.id),
        me=unit.actor.id,
        done=_DONE.get(request.args.get("done", "")) if not problem else None,
        problem=problem,
        sent=request.form if problem else {},
    )


Act = Callable[[Unit, str, str], Any]


def _day(name: str = "on") -> date:
    """A day that was typed. Raises Invalid."""
    try:
        return date.fromisoformat(request.form.get(name, "").strip())
    except ValueError:
        raise Invalid("Write the date as year-month-day, such as 2026-03-07.", code="PATHWAY.DAY", needs="A date.") from None


def _number(name: str) -> int:
    """A whole number that was typed. Raises Invalid."""
    try:
        return int(request.form.get(name, "").strip())
    except ValueError:
        raise Invalid("Enter a whole number.", code="PATHWAY.NUMBER", needs="Digits only, such as 3.") from None


def _words() -> str:
    return request.form.get("words", "")


#: Act of the page -> what it does.
_ACTS: dict[str, Act] = {
    "inform": lambda unit, trial, site: governance.inform(unit, trial, site, _day(), _words()),
    "confirm": lambda unit, trial, site: governance.confirm(unit, trial, site, _number("notice"), _day()),
    "procedures": lambda unit, trial, site: governance.list_procedures(
        unit, trial, site, request.form.get("month", "").strip(), _number("count"), _words()
    ),
    "plan": lambda unit, trial, site: governance.plan_review(unit, trial, site, _day()),
    "hold": lambda unit, trial, site: governance.hold_review(unit, trial, site, _day(), _words()),
    "action": lambda unit, trial, site: governance.agree_action(unit, trial, site, _number("review"), _words()),
    "close": lambda unit, trial, site: governance.close_action(unit, trial, site, _number("review"), _number("action"), _words()),
    "appraise": lambda unit, trial, site: governance.appraise(unit, trial, site, _number("surgeon"), _day(), _words()),
}


@pages.post(f"/organisations/<site>/<any({', '.join(_ACTS)}):act>")
@signed_in
def act(trial: str, site: str, act: str) -> AnyResponse:
    """Record one thing at an organisation; where it is refused, the page again with what was typed."""
    try:
        change(lambda unit: _ACTS[act](unit, trial, site))
    except TrialError as problem:
        return Response(read(partial(_organisation, trial=trial, site=site, problem=problem)), status_of(problem))
    return redirect(url_for("pathway.organisation", trial=trial, site=site, done=act), 303)


# --- guidance --------------------------------------------------------------------------------------------------------


@pages.get("/guidance")
@signed_in
def guidance(trial: str) -> str:
    """Both versions of the guidance, and what changes when another one is followed."""
    return read(lambda unit: _guidance(unit, trial))


@pages.post("/guidance")
@signed_in
def follow(trial: str) -> AnyResponse:
    """Follow another version of the guidance."""
    version = request.form.get("version", "")
    try:
        change(lambda unit: governance.follow(unit, trial, version, _day(), _words()))
    except TrialError as problem:
        return Response(read(partial(_guidance, trial=trial, problem=problem)), status_of(problem))
    return redirect(url_for("pathway.guidance", trial=trial, done="follow"), 303)


def _guidance(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = cases.require_pathway(unit, trial)
    unit.require("trial.see", trial)
    followed = governance.followed(unit, protocol)
    others = [version for version in versions.VERSIONS.values() if version.id != followed.version.id]
    return page(
        "guidance.html",
        protocol,
        followed=followed,
        versions=list(versions.VERSIONS.values()),
        topics=versions.TOPICS,
        others=[(other, versions.differences(followed.version, other)) for other in others],
        today=unit.today,
        done=_DONE.get(request.args.get("done", "")) if not problem else None,
        problem=problem,
        sent=request.form if problem else {},
    )


# --- outcomes --------------------------------------------------------------------------------------------------------


@pages.get("/outcomes")
@signed_in
def outcomes_page(trial: str) -> str:
    """Outcomes as the reader may see them: completeness, change, safety, funnel and CUSUM."""

    def work(unit: Unit) -> str:
        protocol = cases.require_pathway(unit, trial)
        found = outcomes.dashboard(unit, trial)
        return page(
            "outcomes.html",
            protocol,
            found=found,
            label=outcomes.LABEL,
            followed=governance.followed(unit, protocol),
            funnel=charts.funnel(found.funnel),
            courses=[(course, charts.cusum(course.values)) for course in found.courses],
            said=figures.decimal,
            shown=figures.shown,
            limits=figures.limits,
            levels=figures.LEVELS,
            odds=figures.ODDS,
            signal=figures.SIGNAL,
            fewest=figures.FEWEST,
            from_cases=figures.FUNNEL_FROM,
        )

    return read(work)


@pages.post("/outcomes/set")
@signed_in
def minimum_set(trial: str) -> AnyResponse:
    """The audit minimum set of the cases that the reader sees, as CSV."""
    return attached(change(lambda unit: outcomes.minimum_set(unit, trial)), f"{trial}-audit-set.csv", "text/csv")


@pages.post("/outcomes/report")
@signed_in
def report(trial: str) -> AnyResponse:
    """An appraisal report or a review pack: as a page, or as a file."""
    kind, site, surgeon = request.form.get("kind", ""), request.form.get("site", ""), request.form.get("surgeon", type=int)
    if surgeon is not None:
        found, name = change(lambda unit: outcomes.appraisal(unit, trial, surgeon)), f"{trial}-appraisal-{surgeon}"
    else:
        found, name = change(lambda unit: outcomes.review_pack(unit, trial, site)), f"{trial}-review-{site}"
    if kind == "pdf":
        return attached(documents.pdf(documents.html(found)), f"{name}.pdf", "application/pdf")
    if kind == "html":
        return attached(documents.html(found), f"{name}.html", "text/html")
    return Response(read(lambda unit: _document(unit, trial, found, surgeon, site)))


def _document(unit: Unit, trial: str, found: Document, surgeon: int | None, site: str) -> str:
    back = ("Outcomes", url_for("pathway.outcomes_page", trial=trial))
    sent = {"surgeon": surgeon} if surgeon is not None else {"site": site}
    kinds = ["html", *(["pdf"] if importlib.util.find_spec("weasyprint") else [])]
    again = {"address": url_for("pathway.report", trial=trial), "sent": sent, "kinds": kinds}
    return page(
        "document.html",
        studies.protocol(unit, trial),
        document=found,
        warning=f"{outcomes.LABEL} It is recorded that you read it.",
        downloads=[],
        back=back,
        again=again,
        within_page=charts.within_page,
    )
