"""The trials of a person, the home of one, its approvals, and the question whether something may be done here today."""

from datetime import date

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import ethics
from trialdm.domain.errors import TrialError
from trialdm.domain.protocol import Protocol
from trialdm.door.security import read, signed_in
from trialdm.services import governance, overview, participants, recruitment, schemes, studies
from trialdm.services.unit import Unit
from trialdm.web import charts
from trialdm.web.layout import page

pages = Blueprint("trials", __name__)

#: Kinds of tasks with their headings, in the order in which they are shown.
_TASKS = {
    "typed": "Typed, not saved",
    "randomise": "Ready to randomise",
    "overdue": "Overdue visits",
    "due": "Visits due now",
    "draft": "Drafts to finish",
}


@pages.get("/")
@signed_in
def home() -> str | AnyResponse:
    """The person's trials; where there is one only, its home."""
    found = read(lambda unit: [(protocol, studies.state(unit, protocol.id)) for protocol in studies.protocols(unit)])
    if len(found) == 1:
        return redirect(url_for("trials.trial", trial=found[0][0].id))
    return render_template("trials.html", trials=found)


@pages.get("/trials/<trial>")
@signed_in
def trial(trial: str) -> str:
    """The home of a trial: what needs doing, recruitment, sites."""

    def work(unit: Unit) -> str:
        protocol = _seen(unit, trial)
        recruited = recruitment.randomised(unit, trial) if protocol.schemes else None
        tasks = overview.tasks(unit, trial)
        return page(
            "trial.html",
            protocol,
            state=studies.state(unit, trial),
            sites=overview.sites(unit, trial),
            recruited=recruited,
            chart=charts.recruitment(recruited) if recruited else None,
            followed=governance.followed(unit, protocol) if protocol.treats else None,
            sees_rehearsals=bool(protocol.schemes) and schemes.may_see_specification(unit, trial),
            tasks=[(kind, heading, [t for t in tasks if t.kind == kind]) for kind, heading in _TASKS.items()],
        )

    return read(work)


@pages.get("/trials/<trial>/gate")
@signed_in
def gate(trial: str) -> str:
    """Can we do this here today: the gate's answer to a question, with every reason."""

    def work(unit: Unit) -> str:
        protocol = _seen(unit, trial)
        asked = {name: request.args.get(name, "").strip() for name in ("action", "site", "on", "participant")}
        answer, problem = None, ""
        if asked["action"]:
            try:
                answer = _answer(unit, protocol, asked)
            except TrialError as error:
                problem = " ".join((error.message, error.needs)).strip()
            except ValueError:
                problem, asked["on"] = "Choose an act, and write the date as year-month-day, such as 2026-03-07.", ""
        titles = {rule.id: rule.title for rule in reversed(ethics.RULES)}
        known = {"actions": _acts(protocol), "titles": titles, "today": unit.today}
        return page("gate.html", protocol, asked=asked, answer=answer, problem=problem, **known)

    return read(work)


def _acts(protocol: Protocol) -> dict[str, str]:
    """The acts that can be asked about: in the treatment pathway those that one of its rules decides."""
    if not protocol.treats:
        return ethics.ACTIONS
    decided = {action for rule in ethics.RULES if ethics.holds(rule, protocol) for action in rule.actions}
    return {action: words for action, words in ethics.ACTIONS.items() if action in decided - {"randomise", "operate", "consent"}}


def _answer(unit: Unit, protocol: Protocol, asked: dict[str, str]) -> ethics.Answer:
    if asked["action"] not in ethics.ACTIONS:
        raise ValueError("action")
    on = date.fromisoformat(asked["on"]) if asked["on"] else None
    return participants.gate(unit, protocol.id, asked["action"], site=asked["site"], on=on, participant=asked["participant"])


def _seen(unit: Unit, trial: str) -> Protocol:
    protocol = studies.protocol(unit, trial)
    unit.require("trial.see", trial)
    return protocol
