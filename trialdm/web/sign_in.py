"""Signing in and out."""

import json
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import roles
from trialdm.domain.errors import TrialError
from trialdm.door.security import end_session, instance, signed_in, start_session, units
from trialdm.services import drafts, people, places
from trialdm.services.unit import NOBODY, SYSTEM, Unit

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
    target = _local(request.args.get("next", ""))
    if request.form.get("kept"):
        _keep(secret, target, request.form["kept"])
    answer = redirect(target, 303)
    start_session(answer, secret)
    return answer


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
        found = people.session_of(unit, secret)
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
        accounts=_accounts() if instance().settings.demo else [],
    )


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
