"""The inbox: notices to whoever is signed in."""

from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.door.security import change, read, signed_in
from trialdm.services import notices

pages = Blueprint("notices", __name__, url_prefix="/notices")


@pages.get("")
@signed_in
def inbox() -> str:
    """The person's notices, newest first."""
    found = read(notices.inbox)
    return render_template("notices.html", unread_ones=[m for m in found if m.read_at is None], read_ones=[m for m in found if m.read_at])


@pages.post("/<ident>/read")
@signed_in
def mark(ident: str) -> AnyResponse:
    """Note that one was read."""
    change(lambda unit: notices.read(unit, ident))
    return redirect(url_for("notices.inbox"), 303)
