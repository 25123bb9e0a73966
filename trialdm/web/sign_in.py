"""Signing in and out."""

from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import roles
from trialdm.door.security import end_session, instance, signed_in, start_session, units
from trialdm.services import people
from trialdm.services.unit import NOBODY, SYSTEM

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
    secret = units().run(NOBODY, lambda unit: people.sign_in(unit, email, password))
    if secret is None:
        return Response(_page(email, _WRONG), 422)
    answer = redirect(_local(request.args.get("next", "")), 303)
    start_session(answer, secret)
    return answer


@pages.post("/sign-out")
@signed_in
def sign_out() -> AnyResponse:
    """End the session on the server."""
    answer = redirect(url_for("sign_in.form"), 303)
    end_session(answer)
    return answer


def _page(email: str = "", problem: str = "") -> str:
    return render_template("sign_in.html", email=email, problem=problem, accounts=_accounts() if instance().settings.demo else [])


def _local(target: str) -> str:
    """Where to go after signing in: only a place of this very site."""
    parts = urlsplit(target)
    local = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return target if local and target.isprintable() else url_for("trials.home")


def _accounts() -> list[tuple[str, str, str]]:
    """Role, site and e-mail address of the accounts of a demonstration, one for each role; sites by their first account."""
    found: dict[str, tuple[str, str, str]] = {}
    with units().reading(SYSTEM) as unit:
        for account, grants in people.everybody(unit):
            for grant in grants:
                found.setdefault(grant.role, (roles.ROLES[grant.role][0], grant.site, account.email))
    return [found[role] for role in roles.ROLES if role in found]
