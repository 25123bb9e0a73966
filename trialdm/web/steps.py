"""Steps of a trial and of its sites: opening, holding, halting, closing, ending; each on a page that says what stands against it."""

from collections.abc import Mapping

from flask import Blueprint, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import Missing, TrialError
from trialdm.domain.lifecycle import INITIAL
from trialdm.domain.protocol import NATIONS
from trialdm.door.security import read, signed_in
from trialdm.services import gates, steps, studies
from trialdm.services.unit import Unit
from trialdm.web.layout import act, page

pages = Blueprint("steps", __name__, url_prefix="/trials/<trial>/steps")

#: (of a trial or a site, event) -> the step as a link and as a button say it, and what follows from it.
WORDS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("trial", "configure"): ("Set up the trial", "The protocol is set up and can be submitted."),
    ("trial", "submit"): ("Record the submission", "The trial has been submitted for its approvals."),
    ("trial", "approve"): ("Record that approvals are complete", "The trial can be opened."),
    ("trial", "open"): ("Open the trial", "Sites that are open may recruit."),
    ("trial", "pause"): ("Halt the trial", "Nobody is randomised. Notice becomes due; the restart is a substantial modification."),
    ("trial", "resume"): ("Restart the trial", "Sites that are open recruit again."),
    ("trial", "hold"): ("Put recruitment on hold", "Nobody is randomised until recruitment is released. This is no halt of the study."),
    ("trial", "release"): ("Release recruitment", "Sites that are open recruit again."),
    ("trial", "close"): ("Close recruitment", "Nobody is randomised any more; follow-up goes on."),
    ("trial", "follow-up"): ("Start follow-up only", "Recruitment is over; visits and forms go on."),
    ("trial", "lock"): ("Ask to lock the database", "No form is saved any more. The trial is locked once a data manager confirms it."),
    ("trial", "unlock"): ("Unlock the database", "Two people do it on the page of freezing and locking."),
    ("trial", "end"): ("End the trial", "The declaration of the end and the final report become due."),
    ("trial", "archive"): ("Archive the trial", "Nothing changes any more; records are kept for their time of retention."),
    ("trial", "terminate"): ("End the trial early", "Nobody is randomised. Notice, declaration and final report become due."),
    ("site", "select"): ("Select the site", "The site is set up next."),
    ("site", "set-up"): ("Start setting up", "Capacity and capability are confirmed next."),
    ("site", "confirm"): ("Record that capacity and capability are confirmed", "The sponsor's green light comes next."),
    ("site", "green-light"): ("Record the green light", "The site can be activated."),
    ("site", "activate"): ("Activate the site", "The site may recruit as soon as the trial is open."),
    ("site", "suspend"): ("Suspend the site", "Nobody is randomised at this site; follow-up goes on."),
    ("site", "resume"): ("Reopen the site", "The site recruits again."),
    ("site", "close"): ("Close the site", "Nobody is randomised at this site any more."),
}  # fmt: skip


@pages.get("")
@signed_in
def overview(trial: str) -> str:
    """Where the trial and its sites stand, and how they came there."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        states = studies.states(unit, trial, "site")
        places = [(site, NATIONS[site.nation], states.get(site.code, INITIAL["site"])) for site in protocol.sites]
        return page("steps.html", protocol, course=steps.course(unit, trial), places=places, words=WORDS, machine="trial", site=None)

    return read(work)


@pages.get("/sites/<site>")
@signed_in
def of_site(trial: str, site: str) -> str:
    """Where a site stands, and how it came there."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        found = steps.course(unit, trial, site)
        return page("steps.html", protocol, course=found, places=[], words=WORDS, machine="site", site=protocol.site(site))

    return read(work)


@pages.get("/<event>")
@signed_in
def ask(trial: str, event: str) -> str:
    """What stands against a step of the trial, and the button that takes it."""
    return read(lambda unit: _ask(unit, trial, "", event))


@pages.get("/sites/<site>/<event>")
@signed_in
def ask_site(trial: str, site: str, event: str) -> str:
    """What stands against a step of a site, and the button that takes it."""
    return read(lambda unit: _ask(unit, trial, site, event))


@pages.post("/<event>")
@signed_in
def take(trial: str, event: str) -> AnyResponse:
    """Take a step of the trial."""
    reason = request.form.get("reason", "").strip()
    return act(
        lambda unit: gates.move_trial(unit, trial, event, reason=reason),
        lambda unit, problem: _ask(unit, trial, "", event, problem),
        lambda _: url_for("steps.overview", trial=trial),
    )


@pages.post("/sites/<site>/<event>")
@signed_in
def take_site(trial: str, site: str, event: str) -> AnyResponse:
    """Take a step of a site."""
    reason = request.form.get("reason", "").strip()
    return act(
        lambda unit: gates.move_site(unit, trial, site, event, reason=reason),
        lambda unit, problem: _ask(unit, trial, site, event, problem),
        lambda _: url_for("steps.of_site", trial=trial, site=site),
    )


def _ask(unit: Unit, trial: str, site: str, event: str, problem: TrialError | None = None) -> str:
    protocol, found = studies.protocol(unit, trial), steps.course(unit, trial, site)
    machine = "site" if site else "trial"
    if (machine, event) not in WORDS:
        raise Missing(f"There is no step '{event}'.", code="STATE.UNKNOWN", needs="One of the steps on the page before.")
    return page(
        "step.html",
        protocol,
        site=protocol.site(site) if site else None,
        state=found.state,
        words=WORDS[machine, event],
        step=next((step for step in found.possible if step.event == event), None),
        needs_reason=(machine, event) in gates.NEED_REASON,
        problem=problem,
        sent=request.form,
    )
