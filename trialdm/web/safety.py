"""Safety of everybody together: serious events, adverse events, clocks with their lights, expected events, and coding."""

from flask import Blueprint, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.tables import as_csv
from trialdm.domain import safety
from trialdm.domain.errors import TrialError
from trialdm.domain.ethics.deadline import STATES
from trialdm.door.security import read, signed_in
from trialdm.services import clocks, dictionaries, studies
from trialdm.services import safety as listings
from trialdm.services.unit import Unit
from trialdm.web.layout import act, attached, page

pages = Blueprint("safety", __name__, url_prefix="/trials/<trial>/safety")

#: Report -> what makes its rows.
_FILES = {
    "RP-05": (listings.serious_table, listings.SERIOUS_COLUMNS),
    "RP-06": (listings.clocks_table, listings.CLOCK_COLUMNS),
    "events": (listings.events_table, listings.EVENT_COLUMNS),
}


@pages.get("")
@signed_in
def serious(trial: str) -> str:
    """Serious adverse events, line by line, and a recommendation that waits (RP-05)."""

    def work(unit: Unit) -> str:
        found = listings.serious(unit, trial)
        return page(
            "safety.html",
            studies.protocol(unit, trial),
            groups=[(state, words, [line for line in found if line.state == state]) for state, words in safety.STATES.items()],
            advice=listings.recommendation(unit, trial),
            now=clocks.now(unit),
            lights=safety.LIGHTS,
            states=STATES,
        )

    return read(work)


@pages.get("/clocks")
@signed_in
def running(trial: str) -> str:
    """The clocks about safety with their lights (RP-06)."""

    def work(unit: Unit) -> str:
        found = listings.lights(unit, trial)
        return page(
            "safety_clocks.html", studies.protocol(unit, trial), found=found, now=clocks.now(unit), lights=safety.LIGHTS, states=STATES
        )

    return read(work)


@pages.get("/events")
@signed_in
def adverse(trial: str) -> str:
    """Adverse events, line by line."""
    return read(lambda unit: page("safety_events.html", studies.protocol(unit, trial), found=listings.events(unit, trial)))


@pages.get("/<any('RP-05', 'RP-06', 'events'):name>.csv")
@signed_in
def file(trial: str, name: str) -> AnyResponse:
    """A listing as CSV."""
    table, columns = _FILES[name]
    return attached(as_csv(read(lambda unit: table(unit, trial)), columns), f"{trial}-{name}.csv", "text/csv")


@pages.get("/expected")
@signed_in
def expected(trial: str) -> str:
    """The versions of the list of expected events, and which one is in force."""

    def work(unit: Unit) -> str:
        unit.require("trial.see", trial)
        protocol = studies.protocol(unit, trial)
        versions = sorted(protocol.expected_events, key=lambda one: one.since, reverse=True)
        return page("safety_expected.html", protocol, versions=versions, current=protocol.expected_on(unit.today))

    return read(work)


@pages.get("/coding")
@signed_in
def coding(trial: str) -> str:
    """Events that wait for a code."""
    return read(lambda unit: _coding(unit, trial))


@pages.post("/coding")
@signed_in
def code(trial: str) -> AnyResponse:
    """Give an event its code: one that was suggested, or one that was typed."""
    sent = request.form
    given = sent.get("typed", "").strip() or sent.get("code", "")

    def work(unit: Unit) -> None:
        dictionaries.give(unit, trial, sent.get("participant", ""), sent.get("row", 0, type=int), given)

    return act(work, lambda unit, problem: _coding(unit, trial, problem), lambda _: url_for("safety.coding", trial=trial))


def _coding(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    return page(
        "safety_coding.html",
        studies.protocol(unit, trial),
        waiting=dictionaries.uncoded(unit, trial),
        dictionaries=dictionaries.listed(unit, trial),
        problem=problem,
        sent=request.form if problem else {},
    )
