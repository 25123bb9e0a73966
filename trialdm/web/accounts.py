"""The accounts of the instance: who has one, inviting, roles, resets, closing. Nobody sets another's password here."""

from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import roles
from trialdm.domain.errors import TrialError
from trialdm.door.errors import status_of
from trialdm.door.security import change, instance, origin, read, signed_in
from trialdm.services import people, second_factors, studies, tickets
from trialdm.services.unit import Unit

pages = Blueprint("accounts", __name__, url_prefix="/accounts")

_DONE = {
    "role": "The role is given.",
    "ended": "The role has ended: the next request is refused.",
    "closed": "The account is closed: its sessions and tokens are worth nothing.",
    "sent": "The code is on its way to the person’s e-mail address.",
}


@pages.get("")
@signed_in
def listing() -> str:
    """Everybody who has an account, with roles and second factors."""
    return read(_listing)


def _listing(unit: Unit, problem: TrialError | None = None) -> str:
    unit.require("people.see", "*")
    return render_template(
        "accounts.html",
        rows=[(account, held, len(second_factors.of(unit, account.id))) for account, held in people.everybody(unit)],
        problem=problem,
        **_choices(unit),
    )


def _choices(unit: Unit) -> dict[str, Any]:
    """Roles, trials and sites from which a role is put together."""
    trials = studies.protocols(unit)
    sites = sorted({(site.code, site.name) for trial in trials for site in trial.sites})
    manages = unit.may("people.manage", "*")
    return {"roles": roles.ROLES, "trials": trials, "sites": sites, "manages": manages, "sent": request.form}


@pages.post("")
@signed_in
def invite() -> AnyResponse:
    """Invite somebody, with a first role."""
    sent = request.form

    def work(unit: Unit) -> tuple[str, str]:
        unit.require_proof()
        held = [(sent.get("role", ""), sent.get("site", ""))]
        email, name = sent.get("email", "").strip(), sent.get("name", "").strip()
        account = people.add(unit, email, name, held=held, trial=sent.get("trial", "*"))
        return account.id, tickets.issue(unit, account, "invitation")

    try:
        ident, code = change(work)
    except TrialError as problem:
        return _refused(_listing, problem)
    return _issued(ident, code)


def _refused(again: Any, problem: TrialError) -> AnyResponse:
    return Response(read(partial(again, problem=problem)), status_of(problem))


def _issued(ident: str, code: str) -> AnyResponse:
    """After a code was made: it goes by mail, or is shown once where this instance sends no mail."""
    if instance().settings.sends_codes:
        return redirect(url_for("accounts.one", ident=ident, done="sent"), 303)
    return Response(read(partial(_one, ident=ident, code=code)))


@pages.get("/<ident>")
@signed_in
def one(ident: str) -> str:
    """One account: its roles now, and what can be done with it."""
    return read(partial(_one, ident=ident))


def _one(unit: Unit, ident: str, problem: TrialError | None = None, code: str = "") -> str:
    unit.require("people.see", "*")
    account = people.by_ident(unit, ident)
    return render_template(
        "account_of.html",
        account=account,
        grants=people.grants(unit, account.id),
        factors=second_factors.of(unit, account.id),
        kinds=second_factors.KINDS,
        own=account.id == unit.actor.id,
        code=code,
        address=f"{origin()}{url_for('sign_in.setting')}",
        done=_DONE.get(request.args.get("done", ""), ""),
        problem=problem,
        **_choices(unit),
    )


def _change(ident: str, work: Any, done: str) -> AnyResponse:
    """Change one account, and come back to its page."""

    def proved(unit: Unit) -> Any:
        unit.require_proof()
        return work(unit, people.by_ident(unit, ident))

    try:
        change(proved)
    except TrialError as problem:
        return _refused(partial(_one, ident=ident), problem)
    return redirect(url_for("accounts.one", ident=ident, done=done), 303)


@pages.post("/<ident>/roles")
@signed_in
def give(ident: str) -> AnyResponse:
    """Give a role."""
    sent = request.form
    place = (sent.get("role", ""), sent.get("trial", "*"), sent.get("site", ""))
    return _change(ident, lambda unit, account: people.give(unit, account, *place), "role")


@pages.post("/<ident>/roles/end")
@signed_in
def end_role(ident: str) -> AnyResponse:
    """End a role at once."""
    sent = request.form
    place = (sent.get("role", ""), sent.get("trial", ""), sent.get("site", ""))
    return _change(ident, lambda unit, account: people.end_role(unit, account, *place), "ended")


@pages.post("/<ident>/close")
@signed_in
def close(ident: str) -> AnyResponse:
    """Close the account."""
    return _change(ident, lambda unit, account: people.close(unit, account, request.form.get("reason", "")), "closed")


@pages.post("/<ident>/code")
@signed_in
def send_code(ident: str) -> AnyResponse:
    """Start an invitation or a reset: its person gets a code and sets their own password."""
    kind, reason = request.form.get("kind", ""), request.form.get("reason", "")

    def work(unit: Unit) -> str:
        unit.require_proof()
        return tickets.issue(unit, people.by_ident(unit, ident), kind, reason, by_mail=instance().settings.sends_codes)

    try:
        code = change(work)
    except TrialError as problem:
        return _refused(partial(_one, ident=ident), problem)
    return _issued(ident, code)
