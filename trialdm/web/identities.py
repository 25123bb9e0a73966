"""Identities: adding a participant with one, looking at one, and asking for one of another site.

An identity stands only in the answer to the POST that asked for it: no address leads to one, and no page keeps one.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, Response, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents import page as documents
from trialdm.domain import identity
from trialdm.domain.errors import TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import identities, participants, studies
from trialdm.services.unit import Unit
from trialdm.web.layout import act, page

pages = Blueprint("identities", __name__, url_prefix="/trials/<trial>")

#: Code of a refusal -> the field that mends it.
_FIELDS = {
    "IDENTITY.REASON": "reason",
    "REASON.WORDS": "reason",
    "GATE.GOV-41": "reason",
    "IDENTITY.NEEDED": "nhs_number",
    "IDENTITY.NUMBER": "nhs_number",
    "IDENTITY.POSSIBLE": "different",
    "PARTICIPANT.WRITTEN": "participant",
    "PARTICIPANT.UNKNOWN": "participant",
}


def _wrong(problem: TrialError | None) -> dict[str, Any]:
    """What templates ask about a problem: the one field that mends it, and what is wrong with each field."""
    if problem is None:
        return {"problem": None, "wrong": "", "errors": {}}
    errors = {detail.place: detail.message for detail in problem.details if detail.place in identity.WORDS}
    return {"problem": problem, "wrong": "" if errors else _FIELDS.get(problem.code, ""), "errors": errors}


def _given() -> Mapping[str, str]:
    """The identity as it was typed; empty where nothing was."""
    found = {name: request.form.get(name, "").strip() for name in identity.FIELDS}
    return found if any(found.values()) else {}


# --- adding ----------------------------------------------------------------------------------------------------------


@pages.get("/participants/new")
@signed_in
def new(trial: str) -> str:
    """Who the new participant is, or why that is to follow."""
    return read(lambda unit: _new(unit, trial))


@pages.post("/participants/new")
@signed_in
def add(trial: str) -> AnyResponse:
    """Add a participant, with the identity going to the vault."""

    def work(unit: Unit) -> str:
        later = request.form.get("later", "") if "to_follow" in request.form else ""
        given = {} if "to_follow" in request.form else _given()
        site = request.form.get("site", "")
        return identities.add(unit, trial, site, given, later=later, different=request.form.get("different", "")).id

    again = lambda unit, problem: _new(unit, trial, problem)  # noqa: E731
    return act(work, again, lambda ident: url_for("participants.one", trial=trial, participant=ident, added=1))


def _new(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("participant.add", trial)
    sites = participants.open_sites(unit, protocol)
    return page(
        "participant_new.html",
        protocol,
        sites=sites,
        chosen=request.form.get("site") or request.args.get("site", ""),
        enters=any(unit.may("identity.enter", trial, site.code) for site in sites),
        fields=identity.WORDS,
        sent=request.form,
        **_wrong(problem),
    )


# --- one participant -------------------------------------------------------------------------------------------------


@pages.get("/participants/<participant>/identity")
@signed_in
def one(trial: str, participant: str) -> str:
    """Whether the identity is in the vault; entering it where it is to follow, or the question why it is to be seen."""
    return read(lambda unit: _one(unit, trial, participant))


@pages.post("/participants/<participant>/identity")
@signed_in
def see(trial: str, participant: str) -> AnyResponse:
    """Put the look on record, and show the identity in this answer only."""
    try:
        look = change(lambda unit: identities.see(unit, trial, participant, request.form.get("reason", "")))
        return Response(_shown(trial, look))
    except TrialError as problem:
        return Response(read(partial(_one, trial=trial, typed=participant, problem=problem)), status_of(problem))


@pages.post("/participants/<participant>/identity/enter")
@signed_in
def enter(trial: str, participant: str) -> AnyResponse:
    """Enter the identity that was to follow."""

    def work(unit: Unit) -> None:
        identities.enter(unit, trial, participant, _given(), different=request.form.get("different", ""))

    again = lambda unit, problem: _one(unit, trial, participant, problem)  # noqa: E731
    return act(work, again, lambda _: url_for("identities.one", trial=trial, participant=participant, entered=1))


def _one(unit: Unit, trial: str, typed: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    row = participants.find(unit, trial, typed, "identity.see")
    return page(
        "identity.html",
        protocol,
        participant=row,
        state="shredded" if identities.shredded(unit, row) else "entered" if identities.entered(unit, row) else "none",
        just="entered" in request.args,
        fields=identity.WORDS,
        sent=request.form,
        **_wrong(problem),
    )


def _shown(trial: str, look: identities.Look) -> str:
    """The page with the identity. It says when it is to be closed; nothing of it stands in address or title."""

    def work(unit: Unit) -> str:
        who = identities.shown(unit, look)
        protocol = studies.protocol(unit, trial)
        until = unit.now + identities.SHOWN
        return page("identity_shown.html", protocol, participant=look.participant, who=who.to_json(), fields=identity.WORDS, until=until)

    return read(work)


# --- two people ------------------------------------------------------------------------------------------------------


@pages.get("/identities")
@signed_in
def requests(trial: str) -> str:
    """Requests for identities of other sites, and asking for one."""
    return read(lambda unit: _requests(unit, trial))


@pages.post("/identities")
@signed_in
def ask(trial: str) -> AnyResponse:
    """Ask to see an identity; a second person decides."""
    typed, reason = request.form.get("participant", ""), request.form.get("reason", "")
    return act(lambda unit: identities.ask(unit, trial, typed, reason), partial(_again, trial), lambda _: _home(trial))


@pages.post("/identities/<ident>/decide")
@signed_in
def decide(trial: str, ident: str) -> AnyResponse:
    """Confirm or decline, as the second person."""
    agree, reason = request.form.get("decision") == "confirm", request.form.get("reason", "")
    return act(lambda unit: identities.decide(unit, trial, ident, reason, agree=agree), partial(_again, trial), lambda _: _home(trial))


@pages.post("/identities/<ident>/open")
@signed_in
def open_asked(trial: str, ident: str) -> AnyResponse:
    """Look at what was confirmed, once."""
    try:
        return Response(_shown(trial, change(lambda unit: identities.open_asked(unit, trial, ident))))
    except TrialError as problem:
        return Response(read(partial(_again, trial, problem=problem)), status_of(problem))


@pages.post("/identities/shred")
@signed_in
def shred(trial: str) -> AnyResponse:
    """Ask to make an identity unreadable for good, or do it as the second person."""
    typed, reason = request.form.get("participant", ""), request.form.get("reason", "")
    done = lambda did: url_for("identities.requests", trial=trial, shredded="done" if did else "asked")  # noqa: E731
    return act(lambda unit: identities.shred(unit, trial, typed, reason), partial(_again, trial), done)


@pages.get("/identities/<participant>/certificate")
@signed_in
def certificate(trial: str, participant: str) -> Response:
    """The certificate of a destroyed identity, as a document to be kept."""
    return Response(documents.html(read(lambda unit: identities.certificate(unit, trial, participant))), mimetype="text/html")


def _home(trial: str) -> str:
    return url_for("identities.requests", trial=trial)


def _again(trial: str, unit: Unit, problem: TrialError) -> str:
    return _requests(unit, trial, problem)


def _requests(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    return page(
        "identities.html",
        protocol,
        rows=identities.requests(unit, trial),
        shredded=identities.certificates(unit, trial),
        told=request.args.get("shredded", ""),
        kept=protocol.identity == "vault",
        hours=int(identities.OPEN.total_seconds() // 3600),
        sent=request.form if request.endpoint == "identities.ask" else {},
        **{**_wrong(problem), **({} if request.endpoint == "identities.ask" else {"wrong": ""})},
    )
