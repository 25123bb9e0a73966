"""Signing a casebook or some of its forms, verifying against the source, and freezing and locking."""

from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import signing
from trialdm.domain.errors import TrialError
from trialdm.domain.protocol import Protocol
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import casebooks, holds, participants, places, signatures, studies, verification
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.places import Place
from trialdm.services.unit import Unit
from trialdm.web import wording
from trialdm.web.layout import act, page, part

pages = Blueprint("signing", __name__, url_prefix="/trials/<trial>")

# --- signing ---------------------------------------------------------------------------------------------------------


@pages.get("/signatures")
@signed_in
def waiting(trial: str) -> str:
    """Whose forms wait for the reader's signature."""

    def work(unit: Unit) -> str:
        unit.require("form.sign", trial)
        protocol = studies.protocol(unit, trial)
        return page("signatures.html", protocol, waiting=signatures.waiting(unit, protocol))

    return read(work)


@pages.get("/participants/<participant>/sign")
@signed_in
def sign(trial: str, participant: str) -> str:
    """The forms of a participant that wait for a signature, and the casebook as a whole."""
    return read(lambda unit: _sign(unit, trial, participant))


@pages.post("/participants/<participant>/sign")
@signed_in
def signed(trial: str, participant: str) -> AnyResponse:
    """Sign the chosen forms, or the casebook; the password is asked for each time."""
    whole, seen = request.form.get("what") == "casebook", dict(map(_place, request.form.getlist("form")))

    def work(unit: Unit) -> list[Any] | None:
        protocol, book = _book(unit, trial, participant)
        password = request.form.get("password", "")
        if whole:
            done = signatures.sign_casebook(unit, protocol, book, password, seen=request.form.get("seen", ""))
            return None if done is None else [done]
        return signatures.sign(unit, protocol, book, seen, password)

    try:
        done = change(work)
        problem: TrialError | None = signatures.wrong_password() if done is None else None
    except TrialError as found:
        problem = found
    if problem is not None:
        return Response(read(lambda unit: _sign(unit, trial, participant, problem)), status_of(problem))
    return redirect(url_for("signing.sign", trial=trial, participant=participant, signed=len(done or ())), 303)


def _book(unit: Unit, trial: str, participant: str) -> tuple[Protocol, Casebook]:
    person = participants.find(unit, trial, participant)
    return studies.protocol_at(unit, trial, person.site), casebooks.read(unit, trial, person)


def _name(stored: Stored) -> str:
    """What a form is called in the list: where it is, and its version."""
    return " ".join(map(str, (*stored.key, stored.instance.seq)))


def _place(name: str) -> tuple[signatures.Place, int | None]:
    visit, form, row, version = (*name.split(" "), "", "", "", "")[:4]
    return (visit, form, int(row) if row.isdecimal() else 0), int(version) if version.isdecimal() else None


def _sign(unit: Unit, trial: str, participant: str, problem: TrialError | None = None) -> str:
    protocol, book = _book(unit, trial, participant)
    person, may_all = book.participant, unit.may("casebook.sign", trial, book.participant.site)
    hold = holds.over(unit, trial, person)
    return page(
        "sign.html",
        protocol,
        participant=person,
        forms=[
            (_name(s), protocol.form(s.instance.form), protocol.visit(s.instance.visit), s)
            for s in signatures.to_sign(unit, protocol, book)
        ],
        casebook=signatures.of_casebook(unit, trial, person.id),
        seen=signatures.standing(unit, trial, person.id) if may_all else "",
        against=signatures.against_casebook(unit, protocol, book) if may_all else [],
        may_all=may_all,
        hold=hold if hold and hold.locked else None,
        meanings=signing.MEANINGS,
        problem=problem,
        sent=request.form,
        count=request.args.get("signed", type=int),
        wrong="password" if problem is not None and problem.code == "SIGN.PASSWORD" else "",
    )


# --- verifying -------------------------------------------------------------------------------------------------------

_FORM = "/participants/<participant>/visits/<visit>/forms/<form>/<int:row>"


@pages.get("/verification")
@signed_in
def progress(trial: str) -> str:
    """How far the comparison with the source has come, by site, and which forms wait for it."""

    def work(unit: Unit) -> str:
        unit.require("form.see", trial)
        protocol, site = studies.protocol(unit, trial), request.args.get("site", "")
        done, waiting = verification.progress(unit, trial, site)
        return page(
            "verification.html",
            protocol,
            done=sorted(done.items()),
            part=part(waiting, _A_PAGE),
            site=site,
            told=verification.knows_sample(unit, trial),
            rules=protocol.verification,
        )

    return read(work)


_A_PAGE = 100


@pages.get(f"{_FORM}/verify")
@signed_in
def verify(trial: str, participant: str, visit: str, form: str, row: int) -> str:
    """The answers of a form with their marks, for whoever compares them with the source."""
    return read(lambda unit: _verify(unit, places.locate(unit, trial, participant, visit, form, row)))


@pages.post(f"{_FORM}/verify")
@signed_in
def verified(trial: str, participant: str, visit: str, form: str, row: int) -> AnyResponse:
    """Mark the chosen answers, or the form as a whole."""
    chosen = None if request.form.get("what") == "form" else request.form.getlist("item")

    def work(unit: Unit) -> str:
        place = places.locate(unit, trial, participant, visit, form, row)
        book, _ = places.saved(unit, place)
        return verification.verify(unit, place.protocol, book, place.key, chosen, seen=request.form.get("version", type=int))

    def again(unit: Unit, problem: TrialError) -> str:
        return _verify(unit, places.locate(unit, trial, participant, visit, form, row), problem)

    return act(
        work, again, lambda _: url_for("signing.verify", trial=trial, participant=participant, visit=visit, form=form, row=row, done=1)
    )


def _verify(unit: Unit, place: Place, problem: TrialError | None = None) -> str:
    unit.require("form.verify", place.protocol.id, place.participant.site)
    _, stored = places.saved(unit, place)
    marks = signatures.marks(unit, place.protocol.id, stored.instance.id)
    sampled = verification.wanted(unit, place.protocol, place.participant, place.form, stored)
    blinded = not unit.sees_allocations(place.protocol.id, place.participant.site)
    beside = places.context(unit, place, places.book(unit, place))
    answers = stored.answers(place.form)
    lines = [
        (
            item,
            wording.stored(item, answers.to_json()["answers"].get(item.name), beside.registers, blinded=blinded),
            answers.missing.get(item.name),
        )
        for item in (
            place.form.by_name[name] for name in verification.readable(unit, place.protocol, place.participant, place.form, stored)
        )
    ]
    return page(
        "verify.html",
        place.protocol,
        place=place,
        status=stored.status,
        version=stored.instance.seq,
        lines=lines,
        marks=marks,
        sampled=sampled,
        finished=stored.finished,
        problem=problem,
        done="done" in request.args,
    )


# --- freezing and locking --------------------------------------------------------------------------------------------

#: step -> what the button says
STEPS = {
    "freeze": "Freeze",
    "thaw": "Thaw",
    "ask-lock": "Ask for the lock",
    "lock": "Confirm the lock",
    "decline-lock": "Decline the lock",
    "ask-unlock": "Ask to unlock",
    "unlock": "Confirm the unlocking",
    "decline-unlock": "Decline the unlocking",
}


@pages.get("/holds")
@signed_in
def held(trial: str) -> str:
    """What is frozen or locked, and the way to freeze more."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        return page("holds.html", protocol, found=holds.held(unit, trial))

    return read(work)


@pages.get("/holds/<scope>")
@pages.get("/holds/<scope>/<ident>")
@signed_in
def hold(trial: str, scope: str, ident: str = "") -> str:
    """One thing that is or may be held: its state, its history, what stands against a lock, and the next steps."""
    return read(lambda unit: _hold(unit, trial, scope, ident))


@pages.post("/holds/<scope>")
@pages.post("/holds/<scope>/<ident>")
@signed_in
def move(trial: str, scope: str, ident: str = "") -> AnyResponse:
    """Take a step."""
    event, reason = request.form.get("event", ""), request.form.get("reason", "")
    return act(
        lambda unit: holds.move(unit, holds.target(unit, trial, scope, ident), event, reason=reason),
        lambda unit, problem: _hold(unit, trial, scope, ident, problem),
        lambda _: url_for("signing.hold", trial=trial, scope=scope, ident=ident or None),
    )


def _hold(unit: Unit, trial: str, scope: str, ident: str, problem: TrialError | None = None) -> str:
    about = holds.target(unit, trial, scope, ident)
    state, taken = holds.state(unit, about), holds.history(unit, about)
    return page(
        "hold.html",
        about.protocol,
        about=about,
        state=state,
        events=holds.steps(unit, about),
        blinded=about.scope != "trial" and not unit.sees_allocations(trial, about.site or None),
        words=STEPS,
        needs_reason=holds.NEED_REASON,
        against=holds.against(unit, about) if state in ("frozen", "lock_asked") else [],
        taken=list(reversed(taken)),
        names=casebooks.names(unit, {row.by for row in taken}),
        problem=problem,
        sent=request.form,
        wrong="reason" if problem is not None and problem.code in ("HOLD.REASON", "HOLD.NOT_CLEAN") else "",
    )
