"""Deadlines of a trial: what is due, by when, who owes it; recording that one was met, and an urgent safety measure."""

from collections.abc import Callable

from flask import Blueprint, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import roles
from trialdm.domain.errors import Invalid, TrialError
from trialdm.domain.ethics import FACTS, Fact
from trialdm.domain.ethics.clocks import counted
from trialdm.domain.ethics.deadline import STATES
from trialdm.door.security import read, signed_in
from trialdm.services import approvals, casebooks, clocks, studies
from trialdm.services.unit import Unit
from trialdm.web.layout import act, page
from trialdm.web.typed import day, place

pages = Blueprint("deadlines", __name__, url_prefix="/trials/<trial>/deadlines")

#: Facts that somebody records on this page, and what each starts.
_STARTS = ("usm", "identity-breach")

#: Code of an error -> the field that mends it.
_FIELDS = {"CLOCK.KIND": "kind", "CLOCK.TEXT": "text", "REGISTER.FUTURE": "on", "SITE.UNKNOWN": "site"}


@pages.get("")
@signed_in
def listing(trial: str) -> str:
    """Every deadline that has begun, by state."""
    return read(lambda unit: _page(unit, trial))


@pages.post("/met")
@signed_in
def met(trial: str) -> AnyResponse:
    """Record that a deadline was met."""
    sent = request.form
    return _done(trial, lambda unit: clocks.meet(unit, trial, sent.get("key", ""), day("on", code="CLOCK.DAY"), sent.get("text", "")))


@pages.post("/facts")
@signed_in
def fact(trial: str) -> AnyResponse:
    """Record an urgent safety measure or a breach of identity, which starts a deadline or calls for a review."""
    sent = request.form

    def work(unit: Unit) -> None:
        if sent.get("kind") not in _STARTS:
            raise Invalid("Choose what happened.", code="CLOCK.KIND", needs="One of the two.")
        if not sent.get("text", "").strip():
            raise Invalid("Say what happened and what was done.", code="CLOCK.TEXT", needs="A sentence without names.")
        approvals.state(unit, trial, Fact(sent["kind"], day("on", code="CLOCK.DAY"), sent.get("site", ""), text=sent["text"].strip()))

    return _done(trial, work)


def _done(trial: str, work: Callable[[Unit], None]) -> AnyResponse:
    return act(work, lambda unit, problem: _page(unit, trial, problem), lambda _: url_for("deadlines.listing", trial=trial))


def _page(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    found, now, sent = clocks.listed(unit, trial), clocks.now(unit), request.form if problem else {}
    field = place(problem, _FIELDS)
    return page(
        "deadlines.html",
        protocol,
        groups=[(state, words, [d for d in found if d.state(now) == state]) for state, words in _ORDER.items()],
        counts=counted(found, now),
        states=STATES,
        names=casebooks.names(unit, (d.person for d in found if d.person)),
        roles=roles.ROLES,
        by_hand=clocks.ended_by_hand,
        records=unit.may("facts.record", trial),
        starts={kind: FACTS[kind] for kind in _STARTS},
        today=unit.today,
        problem=problem,
        wrong=f"{field}-{sent['key']}" if field and sent.get("key") else field,
        sent=sent,
    )


#: States in the order in which the page shows them.
_ORDER = {state: STATES[state] for state in ("overdue", "today", "soon", "open", "late", "met")}
