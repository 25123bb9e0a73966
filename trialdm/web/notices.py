"""The inbox of whoever is signed in: what waits for them, and notices."""

from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.door.security import change, read, signed_in
from trialdm.services import inbox as gathered
from trialdm.services import notices

pages = Blueprint("notices", __name__, url_prefix="/notices")


@pages.get("")
@signed_in
def inbox() -> str:
    """What waits for the person, the most urgent first, and their notices, newest first."""
    found, waiting = read(lambda unit: (notices.inbox(unit), gathered.waiting(unit)))
    return render_template(
        "notices.html",
        waiting=[(one, _way(one)) for one in waiting],
        kinds=gathered.KINDS,
        unread_ones=[m for m in found if m.read_at is None],
        read_ones=[m for m in found if m.read_at],
    )


#: kind of what waits -> the page on which it is done, with the names that this page takes.
_PAGES = {
    "deadline": ("deadlines.listing", ()),
    "sign": ("people.asking", ("line", "step")),
    "countersign": ("people.asking", ("line", "step")),
    "check": ("approvals.one", ("number",)),
    "confirm": ("pathway.organisation", ("site",)),
    "expiry": ("people.training", ()),
    "lock": ("signing.hold", ("scope", "ident")),
    "signature": ("signing.waiting", ()),
    "visit": ("forms.show", ("participant", "visit", "form")),
    "second": ("worklists.entered_twice", ("site",)),
    "settle": ("worklists.entered_twice", ("site",)),
    "query": ("queries.listing", ("site", "state")),
    "answered": ("queries.listing", ("site", "state")),
}


def _way(one: gathered.Waiting) -> str:
    endpoint, names = _PAGES[one.kind]
    about = {**one.about, "step": one.kind}
    return url_for(endpoint, trial=one.trial, **{name: about[name] for name in names if about[name]})


@pages.post("/<ident>/read")
@signed_in
def mark(ident: str) -> AnyResponse:
    """Note that one was read."""
    change(lambda unit: notices.read(unit, ident))
    return redirect(url_for("notices.inbox"), 303)
