"""Signing in and out: password, second factor, and the link by which people set their own password."""

import hmac
import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, g, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import roles
from trialdm.domain.errors import Forbidden, Invalid, Missing, SignedOut, TrialError
from trialdm.door import provider, security
from trialdm.door.errors import status_of
from trialdm.door.security import end_session, half_way, instance, signed_in, start_session, units
from trialdm.services import drafts, outside, people, places, second_factors, sessions, tickets
from trialdm.services.unit import NOBODY, SYSTEM, Actor, Unit
from trialdm.settings import Oidc
from trialdm.web import account
from trialdm.web.layout import local

pages = Blueprint("sign_in", __name__)

_WRONG = "The e-mail address or the password is wrong, or there were too many tries. Check both, or wait a few minutes."


@pages.get("/sign-in")
def form() -> str:
    """The sign-in page."""
    return _page()


@pages.post("/sign-in")
def submit() -> AnyResponse:
    """Start a session; an unknown account and a wrong password are answered alike."""
    email, password = request.form.get("email", ""), request.form.get("password", "")
    needed, agent = instance().settings.second_factor, _agent()
    made = units().run(NOBODY, lambda unit: sessions.sign_in(unit, email, password, second_needed=needed, agent=agent))
    if made is None:
        return Response(_page(email, _WRONG), 422)
    return _at_stage(made, _target())


def _at_stage(made: str, target: str) -> AnyResponse:
    """On with a new session, or to the page of what it still lacks."""
    with units().reading(SYSTEM) as unit:
        found = sessions.session_of(unit, made)
        stage, csrf = (found[0].stage, found[0].csrf) if found else ("full", "")
        kinds = {row.kind for row in second_factors.of(unit, found[1].id)} if found else set()
    if stage == "full":
        return _signed_in(made, target)
    g.csrf = csrf
    page = _second_page(kinds, target=target) if stage == "second" else render_template("sign_in_set_up.html", target=target, app=None)
    answer = Response(page)
    start_session(answer, made)
    return answer


def _agent() -> str:
    """The browser in two words, by which people know their sessions again."""
    agent = request.headers.get("User-Agent", "")
    browser = next((name for sign, name in _BROWSERS if sign in agent), "Browser")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    return f"{browser}{f' on {system}' if system else ''}"


_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Mac OS", "Mac"), ("Linux", "Linux"))


def _target() -> str:
    return request.args.get("next", "")


def _signed_in(made: str, wanted: str) -> AnyResponse:
    """On to where the person wanted to go, with their cookie; what they had typed becomes their draft."""
    target = local(wanted)
    if request.form.get("kept"):
        _keep(made, target, request.form["kept"])
    answer = redirect(target, 303)
    start_session(answer, made)
    return answer


# --- another sign-in service -----------------------------------------------------------------------------------------

_STATE = "trialdm-outside"


def _back() -> str:
    return f"{security.origin()}{url_for('sign_in.come_back')}"


def _oidc() -> Oidc:
    found = instance().settings.oidc
    if found is None:
        raise Missing("This instance knows no other sign-in service.", code="AUTH.PROVIDER", needs="Sign in with your password.")
    return found


@pages.post("/sign-in/outside")
def go_outside() -> AnyResponse:
    """Send the browser to the other service: to sign in, or, for somebody who is signed in, to link their account.

    By a page of its own, since the policy of our pages lets no form lead to another host.
    """
    begun = provider.begin(_oidc(), _back())
    security.change(lambda unit: outside.leave(unit, begun.state, begun.nonce, begun.verifier, _target()))
    answer = Response(render_template("outside.html", address=begun.address, name=_oidc().name))
    secure = instance().settings.secure_cookies
    answer.set_cookie(_STATE, begun.state, httponly=True, samesite="Lax", secure=secure, max_age=600, path="/sign-in")
    return answer


@pages.get("/sign-in/outside/back")
def come_back() -> AnyResponse:
    """The way back from the other service. It changes something on GET, as OpenID Connect has it: once, and for the state that left."""
    state = request.args.get("state", "")
    if not state or not hmac.compare_digest(state.encode(), request.cookies.get(_STATE, "").encode()):
        raise Forbidden("This answer was not asked for from this browser.", code="AUTH.OUTSIDE", needs="Start again from the sign-in page.")
    way = security.change(lambda unit: outside.come_back(unit, state))
    arrived = f"{_back()}?{request.query_string.decode('ascii', 'replace')}"
    with units().reading(SYSTEM) as unit:
        now = int(unit.now.timestamp())
    found = provider.finish(_oidc(), _back(), arrived, provider.Begun("", state, way.nonce, way.verifier), now)
    if way.account_id:
        security.change(lambda unit: outside.link(unit, found.issuer, found.subject))
        return redirect(url_for("account.show", done="linked"), 303)
    about = {"strong": found.strong, "second_needed": instance().settings.second_factor, "agent": _agent()}
    made = units().run(NOBODY, lambda unit: outside.sign_in(unit, found.issuer, found.subject, **about))
    if made is None:
        return Response(_page("", _NOT_LINKED), 422)
    return _at_stage(made, way.target)


_NOT_LINKED = "You are known there, but not linked to an account here. Sign in with your password, and link them in your account."


# --- the second factor -----------------------------------------------------------------------------------------------


def _waiting(stage: str) -> tuple[Actor, str]:
    """Whoever has given their password, and the secret of their session. Raises SignedOut for anybody else."""
    found = half_way()
    if found is None or found[0] != stage:
        raise SignedOut("Give your e-mail address and password first.")
    return found[1], found[2]


def _second_page(kinds: Collection[str], problem: str = "", target: str = "") -> str:
    kept = request.form.get("kept", "")
    return render_template("sign_in_second.html", kinds=kinds, problem=problem, kept=kept, target=target or _target())


def _kinds(person: Actor) -> set[str]:
    with units().reading(person) as unit:
        return {row.kind for row in second_factors.of(unit, person.id)}


@pages.get("/sign-in/second")
def second() -> str:
    """The page that asks for the second factor."""
    person, _ = _waiting("second")
    return _second_page(_kinds(person))


@pages.post("/sign-in/second/ask")
def ask_key() -> AnyResponse:
    """What the browser asks a known key to sign."""
    person, _ = _waiting("second")
    return Response(
        units().run(person, lambda u: second_factors.ask_key(u, account.of_session(u), account.host())), mimetype="application/json"
    )


@pages.post("/sign-in/second")
def prove() -> AnyResponse:
    """Sign in fully, by code or key."""
    person, held = _waiting("second")
    sent = request.form

    def work(unit: Unit) -> bool:
        if sent.get("answer"):
            host, origin = account.host(), security.origin()
            return second_factors.proved_by_key(unit, account.of_session(unit), sent["answer"], host=host, origin=origin)
        return second_factors.proved_by_code(unit, account.of_session(unit), sent.get("code", ""))

    if not units().run(person, work):
        return Response(_second_page(_kinds(person), _WRONG_CODE), 422)
    return _signed_in(units().run(person, lambda unit: sessions.raised(unit, held)), _target())


_WRONG_CODE = "That does not fit, or there were too many tries. Check it, or wait a few minutes."


# --- setting up the first second factor ------------------------------------------------------------------------------


@pages.get("/sign-in/set-up")
def setting_up() -> str:
    """The page on which a first second factor is set up: a key, or an app whose picture it shows."""
    person, _ = _waiting("enrol")
    with units().reading(person) as unit:
        return _set_up_page(unit, "app" in request.args)


def _set_up_page(unit: Unit, app: bool, problem: TrialError | None = None) -> str:
    return render_template(
        "sign_in_set_up.html",
        target=_target(),
        app=account.app_to_add(unit) if app else None,
        problem=problem,
    )


@pages.post("/sign-in/set-up/ask")
def offer_key() -> AnyResponse:
    """What the browser asks a new key for."""
    person, _ = _waiting("enrol")

    def work(unit: Unit) -> str:
        second_factors.require_none(unit)
        return second_factors.offer_key(unit, account.of_session(unit), account.host())

    return Response(units().run(person, work), mimetype="application/json")


@pages.post("/sign-in/set-up")
def set_up() -> AnyResponse:
    """Add the first second factor, show the recovery codes once, and sign in fully."""
    person, held = _waiting("enrol")
    sent = request.form

    def work(unit: Unit) -> tuple[list[str], str]:
        second_factors.require_none(unit)
        made = sessions.raised(unit, held)  # adding a factor ends every session that waits for one
        if sent.get("answer"):
            session, label = account.of_session(unit), sent.get("label", "")
            codes = second_factors.add_key(unit, session, sent["answer"], label, host=account.host(), origin=security.origin())
        else:
            secret = second_factors.opened(unit, sent.get("kept", ""))
            codes = second_factors.add_app(unit, secret, sent.get("code", ""), sent.get("label", ""))
        return codes, made

    try:
        codes, made = units().run(person, work)
    except Invalid as problem:
        with units().reading(person) as unit:
            return Response(_set_up_page(unit, not sent.get("answer"), problem), 422)
    with units().reading(SYSTEM) as unit:
        found = sessions.session_of(unit, made)
        g.actor, g.csrf = replace(person, proved_at=unit.now), found[0].csrf if found else ""
    answer = Response(render_template("account_codes.html", codes=codes, onward=local(_target())))
    start_session(answer, made)
    return answer


# --- one's own password ----------------------------------------------------------------------------------------------


@pages.get("/password")
def forgotten() -> str:
    """The page on which a new password is asked for."""
    return render_template("password_ask.html", asked=False)


@pages.post("/password")
def ask_reset() -> str:
    """Send a code to an address; the answer is the same for every address."""
    units().run(NOBODY, lambda unit: tickets.ask_reset(unit, request.form.get("email", "")))
    return render_template("password_ask.html", asked=True)


@pages.get("/password/set")
def setting() -> str:
    """The page on which people set their own password by the code that they were sent."""
    return render_template("password_set.html", problem=None)


@pages.post("/password/set")
def set_password() -> AnyResponse:
    """Set one's own password by a code, once."""
    sent = request.form
    try:
        if sent.get("password", "") != sent.get("again", ""):
            raise Invalid("The two passwords are not the same.", code="PEOPLE.PASSWORD", needs="Type it once more.")
        units().run(NOBODY, lambda unit: tickets.use(unit, sent.get("code", "").strip(), sent.get("password", "")))
    except TrialError as problem:
        return Response(render_template("password_set.html", problem=problem), status_of(problem))
    return redirect(url_for("sign_in.form", set=1), 303)


# --- a session that ended --------------------------------------------------------------------------------------------


def interrupted() -> AnyResponse:
    """The sign-in page for somebody whose session ended while a form was filled in: what they typed goes on with them alone."""
    fields = {name: given for name, given in request.form.lists() if _typed(name)}
    text = json.dumps({"fields": fields, "version": request.form.get("version", "0")}, ensure_ascii=False)
    typist = request.form.get("typist", "")
    with units().reading(NOBODY) as unit:
        kept = drafts.sealed_for(unit, typist, text) if typist else ""
    return Response(_page(kept=kept, target=request.path), 401)


def _typed(name: str) -> bool:
    """Whether a field of a form is what somebody types: an answer, a reason why there is none, or a cell of the table of rows."""
    of = name.partition(".")[0]
    return of in ("answer", "missing") or of.isdecimal()


def _keep(secret: str, target: str, kept: str) -> None:
    """What the person typed before the session ended becomes their draft of that form; whatever cannot is left."""
    with units().reading(SYSTEM) as unit:
        found = sessions.session_of(unit, secret)
        person = people.actor(unit, found[1], "web") if found else None
    if person is None:
        return
    with units().reading(person) as unit:
        text = drafts.carried(unit, kept)
    try:
        endpoint, where = current_app.url_map.bind(request.host).match(urlsplit(target).path, method="GET")
        document = json.loads(text or "")
        fields = {str(name): [str(text) for text in given] for name, given in document["fields"].items()}
        version = int(document["version"])
    except (HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return
    if endpoint not in ("forms.show", "row_table.show"):
        return

    def work(unit: Unit) -> None:
        place = places.locate(unit, **{"row": 1, **where})
        drafts.keep(unit, replace(place, row=drafts.TABLE) if endpoint == "row_table.show" else place, fields, version)

    with suppress(TrialError):
        units().run(person, work)


@pages.post("/sign-out")
@signed_in
def sign_out() -> AnyResponse:
    """End the session on the server."""
    answer = redirect(url_for("sign_in.form"), 303)
    end_session(answer)
    return answer


def _page(email: str = "", problem: str = "", *, kept: str = "", target: str = "") -> str:
    return render_template(
        "sign_in.html",
        email=email,
        problem=problem,
        kept=kept or request.form.get("kept", ""),
        target=target or request.args.get("next") or None,
        oidc=instance().settings.oidc,
        accounts=_accounts() if instance().settings.demo else [],
    )


def _accounts() -> list[tuple[str, str, str]]:
    """Role, site and e-mail address of the accounts of a demonstration, one for each role; sites by their first account."""
    found: dict[str, tuple[str, str, str]] = {}
    with units().reading(SYSTEM) as unit:
        for account, grants in people.everybody(unit):
            for grant in grants:
                found.setdefault(grant.role, (roles.ROLES[grant.role][0], grant.site, account.email))
    return [found[role] for role in roles.ROLES if role in found]
