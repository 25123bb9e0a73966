"""Who is at the door, and what protects it: sessions and tokens, cross-site defence, security headers.

The cookie holds a random secret of which the database keeps the hash. A changing request needs the session's token in the
form and must come from this very site (`Sec-Fetch-Site`, else `Origin`). Nothing changes on GET.
"""

import hmac
import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from itertools import chain
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import Forbidden, SignedOut
from trialdm.instance import Instance
from trialdm.services import notices, people, sessions, tokens
from trialdm.services.unit import NOBODY, SYSTEM, Actor, Unit, Units

Result = TypeVar("Result")
P = ParamSpec("P")

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

#: A session is noted as seen at most this often, so that reading pages seldom writes.
_SEEN_SECONDS = 60


def register(app: Flask) -> None:
    """Read who is there before every request, and add headers to every answer."""
    app.before_request(_identify)
    app.before_request(_defend)
    app.after_request(_headers)
    app.context_processor(_for_templates)


def instance() -> Instance:
    """The instance that this application serves."""
    found: Instance = current_app.extensions["trialdm"]
    return found


def units() -> Units:
    return instance().units


def change(work: Callable[[Unit], Result]) -> Result:
    """Run a use case that writes, as whoever is signed in; the answer is built after the commit."""
    return units().run(actor(), work)


def read(work: Callable[[Unit], Result]) -> Result:
    """Run a use case that only reads, as whoever is signed in."""
    with units().reading(actor()) as unit:
        return work(unit)


def streamed(lines: Callable[[Unit], Iterator[str]]) -> Iterator[str]:
    """Lines for an answer that is sent while it is read. What refuses, refuses before the first of them."""

    def read_on(who: Actor, opened: Units) -> Iterator[str]:
        with opened.reading(who) as unit:
            yield from lines(unit)

    rest = read_on(actor(), units())
    return chain([next(rest, "")], rest)


def actor() -> Actor:
    """Whoever is signed in, or NOBODY."""
    found: Actor = g.actor
    return found


def signed_in(view: Callable[P, Any]) -> Callable[P, Any]:
    """Only for people who have signed in; others are sent to the sign-in page and back."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
        if actor() is NOBODY:
            if request.method in _SAFE:
                return redirect(url_for("sign_in.form", next=request.full_path.rstrip("?")))
            raise SignedOut("Your session has ended. Sign in again; what you typed has not been saved.")
        return view(*args, **kwargs)

    return guarded


def signed_in_or(otherwise: Callable[[], Any]) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Only for people who have signed in; for others `otherwise` answers, which changes nothing.

    So that what somebody typed is not lost with a session that ended meanwhile: such a request needs no token of the page.
    """

    def decorate(view: Callable[P, Any]) -> Callable[P, Any]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            return otherwise() if actor() is NOBODY else view(*args, **kwargs)

        guarded.answers_anybody = True  # type: ignore[attr-defined]
        return guarded

    return decorate


def known_person(view: Callable[P, Any]) -> Callable[P, Any]:
    """Only for a program or page that says who it is; the API answers 401 otherwise."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
        if actor() is NOBODY:
            raise SignedOut("Send a bearer token, or sign in on the pages first.")
        return view(*args, **kwargs)

    return guarded


# --- the session -----------------------------------------------------------------------------------------------------


def cookie_name() -> str:
    """`__Host-` on HTTPS, where the browser then refuses any weaker cookie of that name."""
    return "__Host-trialdm" if instance().settings.secure_cookies else "trialdm"


def half_way() -> tuple[str, Actor, str] | None:
    """Of a session whose second factor is awaited, or is to be set up first: its stage, its person and its secret."""
    found: tuple[str, Actor, str] | None = g.half_way
    return found


def secret() -> str:
    """The secret of the session at hand."""
    return request.cookies.get(cookie_name(), "")


def origin() -> str:
    """The address at which people reach this service: that of the settings, else the one of the request."""
    return instance().settings.address or request.host_url.rstrip("/")


def start_session(answer: AnyResponse, secret: str) -> None:
    """Give the browser its cookie."""
    answer.set_cookie(cookie_name(), secret, httponly=True, samesite="Lax", secure=instance().settings.secure_cookies, path="/")


def end_session(answer: AnyResponse) -> None:
    """End the session on the server and take the cookie back."""
    left = secret()
    change(lambda unit: sessions.sign_out(unit, left))
    answer.delete_cookie(cookie_name(), path="/", secure=instance().settings.secure_cookies, httponly=True, samesite="Lax")
    answer.headers["Clear-Site-Data"] = '"cache", "cookies", "storage"'


def _identify() -> None:
    g.actor, g.csrf, g.nonce, g.unread, g.half_way = NOBODY, "", secrets.token_urlsafe(16), 0, None
    g.request_id = uuid.uuid4().hex[:12]
    if request.endpoint == "static" or request.path.startswith("/bootstrap/static"):
        return
    if _by_token():
        _identify_program(request.headers["Authorization"].removeprefix("Bearer ").strip())
        return
    if _by_calendar():
        _identify_calendar()
        return
    secret = request.cookies.get(cookie_name(), "")
    if not secret or len(secret) > 200:
        return
    with units().reading(SYSTEM) as unit:
        found = sessions.session_of(unit, secret, idle=instance().settings.idle)
        if found is None:
            return
        session, account = found
        person, g.csrf = people.actor(unit, account, "web", g.request_id, session.proved_at), session.csrf
        if session.stage != "full":
            g.half_way = (session.stage, replace(person, proved_at=unit.now), secret)
            return
        g.actor, g.unread = person, notices.unread_count(unit, account.id)
        stale = (unit.now - session.seen_at).total_seconds() > _SEEN_SECONDS
    if stale:
        units().run(g.actor, lambda unit: sessions.seen(unit, secret))


#: What a token must be for, where that is not reading (GET) or entering (everything else).
SCOPES = {
    "api_participants.randomise": "randomise",
    "api_participants.look": "unblind",
    "api_participants.unblind": "unblind",
    "api_derived.of_person_restricted": "unblind",
    "api_derived.of_trial_restricted": "unblind",
    "api_unblinding.end": "unblind",
    "api_exports.ask": "export",
    "api_exports.follow": "export",
    "api_exports.fetch": "export",
}


def scope_of(endpoint: str, method: str) -> str:
    """What a token must be for to call a route of the API."""
    if endpoint.startswith("api_identities."):
        return "identity"
    return SCOPES.get(endpoint, "read" if method in _SAFE else "enter")


def _identify_program(token: str) -> None:
    with units().reading(SYSTEM) as unit:
        account, scopes = tokens.account_of(unit, token)
        g.actor = people.actor(unit, account, "api", g.request_id)
    needed = scope_of(request.endpoint or "", request.method)
    if needed not in scopes:
        raise Forbidden(f"This token is not for '{needed}'.", code="AUTH.SCOPE", needs=f"A token that is: {tokens.SCOPES[needed].lower()}.")


def _by_calendar() -> bool:
    """Whether a calendar program asks for a feed: such programs send no bearer token, but a name and a password."""
    return (
        request.method in _SAFE and request.path.startswith("/api/") and request.path.endswith(FEED) and request.authorization is not None
    )


def _identify_calendar() -> None:
    """The e-mail address of the account, and one of its tokens in place of a password. Raises SignedOut."""
    sent = request.authorization
    given = sent.parameters if sent and sent.type == "basic" else {}
    with units().reading(SYSTEM) as unit:
        account, scopes = tokens.account_of(unit, given.get("password") or "")
        if "read" not in scopes or not hmac.compare_digest(account.email.encode(), (given.get("username") or "").strip().lower().encode()):
            raise SignedOut("The token is not one of this account.", code="AUTH.TOKEN")
        g.actor = people.actor(unit, account, "api", g.request_id)


# --- cross-site defence ----------------------------------------------------------------------------------------------


def _defend() -> None:
    if request.method in _SAFE or _by_token():
        return
    came_from = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = came_from not in (None, "same-origin", "none")
    if origin and origin != "null" and host_of(origin) != request.host:
        foreign = True
    if foreign:
        raise Forbidden("This request came from another site.", code="WEB.CROSS_SITE", needs="Send the form from its own page.")
    if actor() is NOBODY and getattr(current_app.view_functions.get(request.endpoint or ""), "answers_anybody", False):
        return
    sent = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if not hmac.compare_digest(sent.encode(), csrf_token().encode()):
        raise Forbidden("The page has expired.", code="WEB.CSRF", needs="Open the page again and repeat the step.")


def host_of(address: str) -> str:
    """The host of an address that a browser sent; nothing where it cannot be read."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _by_token() -> bool:
    """Whether a program sends a bearer token: no browser adds that by itself."""
    return request.path.startswith("/api/") and request.headers.get("Authorization", "").startswith("Bearer ")


#: How the address of a calendar feed ends.
FEED = "/calendar.ics"

PRE_SESSION = "trialdm-visit"


def csrf_token() -> str:
    """The token of the page's forms: the session's, or before signing in that of a short-lived cookie."""
    if g.csrf:
        return str(g.csrf)
    if "visit" not in g:
        known = request.cookies.get(PRE_SESSION, "")
        g.visit = known if known or request.method not in _SAFE else secrets.token_urlsafe(24)
    return g.visit or "none"


# --- headers ---------------------------------------------------------------------------------------------------------

_STATIC_SECONDS = 86400


def _headers(answer: Response) -> Response:
    headers = answer.headers
    headers["Content-Security-Policy"] = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'nonce-{g.get('nonce', '')}'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    if instance().settings.secure_cookies:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    if request.endpoint in ("static", "bootstrap.static"):
        headers["Cache-Control"] = f"public, max-age={_STATIC_SECONDS}"
    else:
        headers["Cache-Control"] = "no-store"
    if "visit" in g and g.visit and request.method in _SAFE and answer.mimetype == "text/html":
        answer.set_cookie(
            PRE_SESSION, g.visit, httponly=True, samesite="Strict", secure=instance().settings.secure_cookies, max_age=3600, path="/"
        )
    return answer


def _for_templates() -> dict[str, Any]:
    return {
        "person": None if g.get("actor", NOBODY) is NOBODY else g.actor,
        "csrf_token": csrf_token,
        "nonce": g.get("nonce", ""),
        "unread": g.get("unread", 0),
        "demo": instance().settings.demo,
        "vault_inside": instance().units.vault is not None and instance().units.vault.inside,
    }
