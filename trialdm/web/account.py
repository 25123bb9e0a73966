"""One's own account: password, second factors, sessions, tokens; and proving once more who one is.

What is shown once (a token, recovery codes) stands in the answer to the POST that made it: no address leads to it.
"""

from functools import partial
from typing import Any

import segno
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import Invalid, TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, instance, origin, read, secret, signed_in, start_session
from trialdm.services import outside, people, second_factors, sessions, tickets, tokens
from trialdm.services.unit import Unit
from trialdm.store.tables import WebSession
from trialdm.web.layout import local

pages = Blueprint("account", __name__, url_prefix="/account")

_DONE = {
    "password": "Your password is changed. Every other session of yours has ended.",
    "removed": "The second factor is removed.",
    "ended": "The session has ended.",
    "others": "Every other session of yours has ended.",
    "token": "The token has ended.",
    "linked": "Your account is linked: you can sign in there from now on.",
    "unlinked": "The link has ended.",
}


@pages.get("")
@signed_in
def show() -> str:
    """What belongs to the account of whoever is signed in."""
    return read(_account)


def _account(unit: Unit, problem: TrialError | None = None, **more: Any) -> str:
    return render_template(
        "account.html",
        factors=second_factors.of(unit, unit.actor.id),
        kinds=second_factors.KINDS,
        codes=second_factors.codes_left(unit, unit.actor.id),
        sessions=sessions.own(unit),
        here=sessions.digest(secret()),
        tokens=[(row, tokens.describe(row)) for row in tokens.own(unit)],
        scopes=tokens.SCOPES,
        days=tokens.DAYS,
        needed=instance().settings.second_factor,
        oidc=instance().settings.oidc,
        links=outside.of(unit, unit.actor.id),
        done=_DONE.get(request.args.get("done", ""), ""),
        problem=problem,
        **more,
    )


def _again(problem: TrialError) -> AnyResponse:
    return Response(read(partial(_account, problem=problem)), status_of(problem))


@pages.post("/password")
@signed_in
def password() -> AnyResponse:
    """Change one's own password."""
    sent = request.form
    if sent.get("new", "") != sent.get("again", ""):
        return _again(Invalid("The two new passwords are not the same.", code="PEOPLE.PASSWORD", needs="Type it once more."))
    try:
        right = change(lambda unit: tickets.change_password(unit, sent.get("old", ""), sent.get("new", ""), but=secret()))
    except TrialError as problem:
        return _again(problem)
    if not right:
        return _again(
            Invalid("The present password is wrong, or there were too many tries.", code="AUTH.PASSWORD", needs="Try again later.")
        )
    return redirect(url_for("account.show", done="password"), 303)


# --- second factors --------------------------------------------------------------------------------------------------


def picture(address: str) -> str:
    """An address as a picture for the camera of a telephone, as a data URI."""
    return str(segno.make(address, micro=False).svg_data_uri(scale=5, border=2, light="#ffffff"))


def host() -> str:
    """The name that security keys are bound to."""
    return origin().partition("://")[2].partition(":")[0]


def of_session(unit: Unit) -> WebSession:
    """The session at hand, at whatever stage."""
    return unit.session.get_one(WebSession, sessions.digest(secret()))


@pages.get("/app")
@signed_in
def app() -> str:
    """The page on which an authenticator app is added."""
    return read(_app)


def _app(unit: Unit, problem: TrialError | None = None) -> str:
    unit.require_proof()
    return render_template("account_app.html", **app_to_add(unit), problem=problem)


def app_to_add(unit: Unit) -> dict[str, Any]:
    """A secret for an app: as a picture, in letters, and sealed for the answer; the one of the answer again, where there is one."""
    kept = request.form.get("kept", "")
    made = second_factors.opened(unit, kept) if kept else second_factors.new_secret()
    address = second_factors.address_of(made, unit.actor.email)
    return {"letters": made, "picture": picture(address), "kept": kept or second_factors.sealed(unit, made)}


@pages.post("/app")
@signed_in
def add_app() -> AnyResponse:
    """Add an authenticator app, confirmed by its first code."""
    sent = request.form

    def work(unit: Unit) -> list[str]:
        unit.require_proof()
        return second_factors.add_app(unit, second_factors.opened(unit, sent.get("kept", "")), sent.get("code", ""), sent.get("label", ""))

    try:
        codes = change(work)
    except Invalid as problem:
        return Response(read(partial(_app, problem=problem)), status_of(problem))
    return _added(codes)


def _added(codes: list[str]) -> AnyResponse:
    if codes:
        return Response(render_template("account_codes.html", codes=codes, onward=url_for("account.show")))
    return redirect(url_for("account.show"), 303)


@pages.post("/key/ask")
@signed_in
def offer_key() -> AnyResponse:
    """What the browser asks a new key for."""

    def work(unit: Unit) -> str:
        unit.require_proof()
        return second_factors.offer_key(unit, of_session(unit), host())

    return Response(change(work), mimetype="application/json")


@pages.post("/key")
@signed_in
def add_key() -> AnyResponse:
    """Add a security key or passkey, by the browser's answer."""
    sent = request.form

    def work(unit: Unit) -> list[str]:
        unit.require_proof()
        label = sent.get("label", "")
        return second_factors.add_key(unit, of_session(unit), sent.get("answer", ""), label, host=host(), origin=origin())

    try:
        codes = change(work)
    except Invalid as problem:
        return _again(problem)
    return _added(codes)


@pages.post("/factors/<ident>/remove")
@signed_in
def remove(ident: str) -> AnyResponse:
    """Take a second factor away."""
    try:
        change(lambda unit: second_factors.remove(unit, ident, needed=instance().settings.second_factor))
    except TrialError as problem:
        return _again(problem)
    return redirect(url_for("account.show", done="removed"), 303)


@pages.post("/codes")
@signed_in
def codes() -> AnyResponse:
    """New recovery codes."""
    made = change(second_factors.new_codes)
    return Response(render_template("account_codes.html", codes=made, onward=url_for("account.show")))


# --- sessions and tokens ---------------------------------------------------------------------------------------------


@pages.post("/sessions/<ident>/end")
@signed_in
def end_session(ident: str) -> AnyResponse:
    """End one of one's sessions."""
    change(lambda unit: sessions.end(unit, ident))
    return redirect(url_for("account.show", done="ended"), 303)


@pages.post("/sessions/end-others")
@signed_in
def end_others() -> AnyResponse:
    """End every session but this one."""
    change(lambda unit: sessions.end_all(unit, unit.actor.id, but=secret()))
    return redirect(url_for("account.show", done="others"), 303)


@pages.post("/tokens")
@signed_in
def make_token() -> AnyResponse:
    """Make a token for programs, and show it once."""
    sent = request.form
    days = sent.get("days", 0, type=int)

    def work(unit: Unit) -> str:
        account = people.by_ident(unit, unit.actor.id)
        return tokens.create(unit, account, sent.get("label", "").strip() or "program", sent.getlist("scope"), days)

    try:
        made = change(work)
    except Invalid as problem:
        return _again(problem)
    return Response(read(partial(_account, made=made)))


@pages.post("/tokens/<ident>/end")
@signed_in
def end_token(ident: str) -> AnyResponse:
    """End a token."""
    change(lambda unit: tokens.end(unit, ident))
    return redirect(url_for("account.show", done="token"), 303)


@pages.post("/links/<ident>/end")
@signed_in
def unlink(ident: str) -> AnyResponse:
    """End a link to another sign-in service."""
    change(lambda unit: outside.unlink(unit, ident))
    return redirect(url_for("account.show", done="unlinked"), 303)


# --- proving once more -----------------------------------------------------------------------------------------------


@pages.get("/prove")
@signed_in
def proving() -> str:
    """The page that asks who one is, before what cannot be taken back."""
    return read(_proving)


def _proving(unit: Unit, problem: str = "") -> str:
    kinds = {row.kind for row in second_factors.of(unit, unit.actor.id)}
    return render_template("account_prove.html", kinds=kinds, target=local(request.args.get("next", "")), problem=problem)


@pages.post("/prove/ask")
@signed_in
def ask_key() -> AnyResponse:
    """What the browser asks a known key to sign."""
    return Response(change(lambda unit: second_factors.ask_key(unit, of_session(unit), host())), mimetype="application/json")


@pages.post("/prove")
@signed_in
def prove() -> AnyResponse:
    """Prove who one is by password, code or key; the session goes on under a new secret."""
    sent, held = request.form, secret()

    def work(unit: Unit) -> bool:
        if sent.get("answer"):
            return second_factors.proved_by_key(unit, of_session(unit), sent["answer"], host=host(), origin=origin())
        if sent.get("code"):
            return second_factors.proved_by_code(unit, of_session(unit), sent["code"])
        return sessions.proves(unit, sent.get("password", ""))

    if not change(work):
        return Response(
            read(partial(_proving, problem="That does not fit, or there were too many tries. Check it, or wait a few minutes.")), 422
        )
    answer = redirect(local(request.args.get("next", "")), 303)
    start_session(answer, change(lambda unit: sessions.raised(unit, held)))
    return answer
