"""The delegation log on pages: who may do what where, signing it, and training with what runs out.

Every step on a line has a page of its own that states what one signs; nothing changes on GET.
"""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import ethics, roles
from trialdm.domain.errors import Invalid, Missing, TrialError
from trialdm.domain.protocol import Protocol
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import delegations, people, studies
from trialdm.services.delegations import Line
from trialdm.services.unit import Unit
from trialdm.store.tables import Account
from trialdm.web.layout import page
from trialdm.web.typed import upload

pages = Blueprint("people", __name__, url_prefix="/trials/<trial>/people")

#: Steps on a line with the words of link, heading and button.
STEPS = {
    "sign": ("Sign", "Sign this line of the delegation log", "I sign this line"),
    "countersign": ("Countersign", "Countersign this line of the delegation log", "I countersign this line"),
    "decline": ("Decline", "Decline this line of the delegation log", "Decline this line"),
    "end": ("End", "End this line of the delegation log", "End this line"),
}

#: What the log says after a step.
_DONE = {
    "proposed": "The line is proposed. It waits for the person’s signature.",
    "sign": "You signed the line.",
    "countersign": "You countersigned the line: it is in force from its first day on.",
    "decline": "The line is declined.",
    "end": "The line is ended.",
}

#: Code of an error -> the field that mends it.
_FIELDS = {
    "PEOPLE.TASK": "task-consent",
    "PEOPLE.DAYS": "end",
    "PEOPLE.NO_ROLE": "email",
    "PEOPLE.UNKNOWN": "email",
    "PEOPLE.OWN_LINE": "email",
    "PEOPLE.LINE_TWICE": "task-consent",
    "PEOPLE.REASON": "reason",
    "PEOPLE.END_PAST": "on",
    "PEOPLE.END_LATER": "on",
    "SITE.UNKNOWN": "site",
}


class _NoDay(Invalid):
    """A field that asks a day holds something else."""

    def __init__(self, field: str) -> None:
        super().__init__("Write the day as year-month-day, such as 2026-03-07.", code="PEOPLE.DAY")
        self.field = field


def _day(field: str, given: str, *, needed: bool = False) -> date | None:
    try:
        return date.fromisoformat(given.strip()) if given.strip() or needed else None
    except ValueError:
        raise _NoDay(field) from None


def _place(problem: TrialError | None, otherwise: str) -> str:
    """The field that an error is about."""
    if isinstance(problem, _NoDay):
        return problem.field
    return _FIELDS.get(problem.code, otherwise) if problem else ""


def _answered(shown: Callable[[Unit], str], problem: TrialError) -> Response:
    """The page again, with what is wrong."""
    return Response(read(shown), status_of(problem))


# --- the log ---------------------------------------------------------------------------------------------------------


@pages.get("")
@signed_in
def log(trial: str) -> str:
    """The delegation log by site, as it stood on a day; on top what waits for the reader."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        site, problem, on = request.args.get("site", ""), None, unit.today
        try:
            on = _day("on", request.args.get("on", "")) or unit.today
        except _NoDay as wrong:
            problem = wrong
        found = delegations.log(unit, trial, on, site)
        waiting = delegations.waiting_for(unit, trial)
        return page(
            "people.html",
            protocol,
            on=on,
            site=site,
            problem=problem,
            groups=_by_site(protocol, found),
            places=delegations.sites(unit, trial),
            waiting=waiting,
            steps={line.id: delegations.steps(unit, line) for line in found} if on == unit.today else {},
            done=_DONE.get(request.args.get("done", ""), ""),
            today=unit.today,
            **_WORDS,
        )

    return read(work)


_WORDS: dict[str, Any] = {"states": delegations.STATES, "tasks": roles.TASKS, "words": STEPS, "trainings": ethics.TRAININGS}


def _by_site(protocol: Protocol, lines: list[Line]) -> list[tuple[str, list[Line]]]:
    """Lines under the headings of their sites, the whole trial first."""
    headings = {"": "Whole trial"} | {site.code: f"{site.code} {site.name}" for site in protocol.sites}
    groups = ((heading, [line for line in lines if line.site == code]) for code, heading in headings.items())
    return [(heading, held) for heading, held in groups if held]


# --- proposing -------------------------------------------------------------------------------------------------------


@pages.get("/delegate")
@signed_in
def proposing(trial: str) -> str:
    """The form by which a line is proposed."""
    return read(partial(_proposing, trial=trial))


@pages.post("/delegate")
@signed_in
def propose(trial: str) -> AnyResponse:
    """Propose a line: it waits for the person's signature."""
    sent = request.form

    def work(unit: Unit) -> None:
        start = _day("start", sent.get("start", ""), needed=True)
        account = _account(unit, sent.get("email", ""))
        tasks, end, site = sent.getlist("task"), _day("end", sent.get("end", "")), sent.get("site", "")
        delegations.propose(unit, trial, account, tasks=tasks, start=start or unit.today, end=end, site=site)

    try:
        change(work)
    except TrialError as problem:
        return _answered(partial(_proposing, trial=trial, problem=problem), problem)
    return redirect(url_for("people.log", trial=trial, done="proposed"))


def _account(unit: Unit, email: str) -> Account:
    if not email:
        raise Invalid("Choose the person.", code="PEOPLE.UNKNOWN")
    return people.by_email(unit, email)


def _proposing(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("delegation.propose", trial)
    sites = [site for site in protocol.sites if unit.may("delegation.propose", trial, site.code)]
    whole = unit.may("delegation.propose", trial, "")
    return page(
        "people_delegate.html",
        protocol,
        sites=sites,
        whole=whole,
        members=delegations.members(unit, trial, "" if whole else sites[0].code),
        sent=request.form,
        chosen=request.form.getlist("task"),
        problem=problem,
        field=_place(problem, "email"),
        today=unit.today,
        **_WORDS,
    )


# --- steps on a line -------------------------------------------------------------------------------------------------


@pages.get("/lines/<line>/<step>")
@signed_in
def asking(trial: str, line: str, step: str) -> str:
    """What exactly one signs, declines or ends."""
    return read(partial(_asking, trial=trial, ident=line, step=step))


@pages.post("/lines/<line>/<step>")
@signed_in
def take(trial: str, line: str, step: str) -> AnyResponse:
    """Take the step."""
    sent = request.form

    def work(unit: Unit) -> None:
        if step == "sign":
            delegations.sign(unit, trial, line)
        elif step == "countersign":
            delegations.countersign(unit, trial, line)
        elif step == "decline":
            delegations.decline(unit, trial, line, sent.get("reason", ""))
        else:
            delegations.end(unit, trial, line, _day("on", sent.get("on", "")), sent.get("reason", ""))

    _known(step)
    try:
        change(work)
    except Missing:
        raise
    except TrialError as problem:
        return _answered(partial(_asking, trial=trial, ident=line, step=step, problem=problem), problem)
    return redirect(url_for("people.log", trial=trial, done=step))


def _known(step: str) -> None:
    if step not in STEPS:
        raise Missing("There is no such step.", code="PEOPLE.STEP")


def _asking(unit: Unit, trial: str, ident: str, step: str, problem: TrialError | None = None) -> str:
    _known(step)
    protocol = studies.protocol(unit, trial)
    line = delegations.one(unit, trial, ident)
    role, site = delegations.countersigner(unit, line)
    return page(
        "people_step.html",
        protocol,
        line=line,
        step=step,
        open=step in delegations.steps(unit, line),
        state=line.state(unit.today),
        signer=roles.ROLES[role][0].lower() + (f" of site {site}" if site else ""),
        warnings=delegations.warnings(unit, line) if step == "countersign" else [],
        sent=request.form,
        problem=problem,
        field=_place(problem, "go"),
        today=unit.today,
        **_WORDS,
    )


# --- who could -------------------------------------------------------------------------------------------------------


@pages.get("/who")
@signed_in
def who(trial: str) -> str:
    """Who could do a task at a site on a day: names, and why not."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        unit.require("delegation.see", trial)
        asked = {name: request.args.get(name, "").strip() for name in ("task", "site", "on")}
        found, problem, on = None, None, unit.today
        if asked["task"]:
            try:
                on = _day("on", asked["on"]) or unit.today
                found = delegations.who_could(unit, trial, asked["task"], asked["site"], on)
            except TrialError as wrong:
                problem = wrong
        places = delegations.sites(unit, trial)
        field = _place(problem, "site" if problem and problem.code.startswith(("SITE", "ROLE")) else "task")
        return page("people_who.html", protocol, asked=asked, found=found, problem=problem, field=field, on=on, places=places, **_WORDS)

    return read(work)


# --- training --------------------------------------------------------------------------------------------------------


@pages.get("/training")
@signed_in
def training(trial: str) -> str:
    """Training and credentials, what ends within 60 and 30 days, and forms to record them."""
    return read(partial(_training, trial=trial))


@pages.post("/training")
@signed_in
def train(trial: str) -> AnyResponse:
    """Record a training, with its certificate where there is one."""
    sent, certificate = request.form, upload("certificate")
    kept = certificate if certificate[0] else None

    def work(unit: Unit) -> None:
        on, until = _day("trained", sent.get("trained", ""), needed=True), _day("until", sent.get("until", ""))
        account = _account(unit, sent.get("email", ""))
        delegations.train(unit, trial, account, kind=sent.get("kind", ""), on=on or unit.today, valid_to=until, certificate=kept)

    return _recorded(trial, work, "email")


@pages.post("/credential")
@signed_in
def credential(trial: str) -> AnyResponse:
    """Record a surgeon's credential, or its newer count of cases."""
    sent = request.form

    def work(unit: Unit) -> None:
        first, last = _day("from", sent.get("from", ""), needed=True), _day("to", sent.get("to", ""))
        account, cases = _account(unit, sent.get("surgeon", "")), sent.get("cases", type=int)
        if cases is None:
            raise Invalid("Type the number of supervised cases so far.", code="PEOPLE.CASES")
        given = {"site": sent.get("site", ""), "cases": cases, "valid_to": last}
        delegations.credential(unit, trial, account, valid_from=first or unit.today, **given)

    return _recorded(trial, work, "surgeon")


def _recorded(trial: str, work: Callable[[Unit], None], otherwise: str) -> AnyResponse:
    try:
        change(work)
    except TrialError as problem:
        return _answered(partial(_training, trial=trial, problem=problem, otherwise=otherwise), problem)
    return redirect(url_for("people.training", trial=trial, done=1))


#: Code of an error -> the field of the forms about training and credentials.
_OF_TRAINING = {
    "PEOPLE.TRAINING": "kind",
    "FILE.TYPE": "certificate",
    "FILE.SIZE": "certificate",
    "PEOPLE.CASES": "cases",
    "SITE.UNKNOWN": "site",
}


def _training(unit: Unit, trial: str, problem: TrialError | None = None, otherwise: str = "email") -> str:
    protocol = studies.protocol(unit, trial)
    days = {"email": ("trained", "until"), "surgeon": ("from", "to")}[otherwise]
    places = {"PEOPLE.FUTURE": days[0], "PEOPLE.DAYS": days[1], **_OF_TRAINING}
    field = problem.field if isinstance(problem, _NoDay) else places.get(problem.code, otherwise) if problem else ""
    records = unit.may("training.record", trial)
    return page(
        "people_training.html",
        protocol,
        rows=delegations.trainings(unit, trial),
        ending=delegations.expiring(unit, trial),
        members=delegations.members(unit, trial) if records else [],
        records=records,
        months=ethics.param(protocol, "gcp_months"),
        least=ethics.param(protocol, "min_tmr_cases"),
        sent=request.form,
        problem=problem,
        field=field,
        done=request.args.get("done", ""),
        today=unit.today,
        **_WORDS,
    )


@pages.get("/certificates/<sha256>")
@signed_in
def certificate(trial: str, sha256: str) -> Response:
    """A certificate, as it was kept."""

    def work(unit: Unit) -> Response:
        kept = delegations.certificate(unit, trial, sha256)
        answer = Response(kept.content, mimetype=kept.media_type)
        answer.headers.set("Content-Disposition", "attachment", filename=kept.name)
        return answer

    return read(work)
