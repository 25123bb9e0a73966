"""What every page has: the frame around it, and the words of dates and states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

import trialdm
from trialdm.domain import roles
from trialdm.domain.errors import TrialError
from trialdm.domain.protocol import NATIONS, Protocol, Site
from trialdm.door.errors import status_of
from trialdm.door.security import actor, change, instance, read
from trialdm.services.unit import Unit
from trialdm.web import wording

Result = TypeVar("Result")


def register(app: Flask) -> None:
    """Give templates their filters and what they ask of every page."""
    app.jinja_env.filters.update(
        day=wording.day,
        moment=wording.moment,
        month=wording.month,
        state=wording.state,
        nation=NATIONS.get,
        zipped=zip,
        in_words=wording.reason,
    )
    constant = {"held": _held, "sees_accounts": lambda: roles.may(actor().grants, "people.see", "*"), "version": trialdm.__version__}
    app.context_processor(lambda: {**constant, "idle_minutes": int(instance().settings.idle.total_seconds() // 60)})


def _held() -> str:
    """The roles of whoever is signed in, with their sites."""
    grants = actor().grants
    sites = sorted({grant.site for grant in grants if grant.site})
    return ", ".join(roles.names(grants)) + (f" at {', '.join(sites)}" if sites else "")


def act(work: Callable[[Unit], Result], again: Callable[..., str], onward: Callable[[Result], str]) -> AnyResponse:
    """Do what was asked and go on to another page; where it is refused, show the page `again` (of a unit and a problem)."""
    try:
        done = change(work)
    except TrialError as problem:
        return Response(read(partial(again, problem=problem)), status_of(problem))
    return redirect(onward(done), 303)


def local(target: str) -> str:
    """Where to go on to: only a place of this very site."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return url_for("trials.home")
    own = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return target if own and target.isprintable() else url_for("trials.home")


def attached(content: str | bytes, name: str, mimetype: str) -> Response:
    """A file to be kept."""
    return Response(content, mimetype=mimetype, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def sites_seen(unit: Unit, protocol: Protocol, action: str = "participant.see") -> list[Site]:
    """The sites at which the person may do this, by which a list is narrowed."""
    seen = unit.sites(action, protocol.id)
    return [site for site in protocol.sites if seen is None or site.code in seen]


def form_page(
    protocol: Protocol, participant: str, visit: str, form: str, row: int = 1, *, endpoint: str = "forms.show", **more: Any
) -> str:
    """The address of a form of a participant; the row stands in it where the form has rows."""
    numbered = row if protocol.rows_at(protocol.form(form), protocol.visit(visit)) else None
    return url_for(endpoint, trial=protocol.id, participant=participant, visit=visit, form=form, row=numbered, **more)


@dataclass(frozen=True)
class Part:
    """The lines of a long list that one page shows, of how many there are; pages are counted from 1."""

    lines: Sequence[Any]
    total: int
    number: int
    last: int


def part(found: Sequence[Any], size: int) -> Part:
    """The part of a list that was asked for (`page` in the address)."""
    last = -(-len(found) // size) or 1
    number = min(max(request.args.get("page", 1, type=int), 1), last)
    return Part(found[(number - 1) * size : number * size], len(found), number, last)


def page(template: str, protocol: Protocol, **values: Any) -> str:
    """A page about a trial: `may` tells the template which ways lead on for this person."""

    def may(action: str, site: str | None = None) -> bool:
        return roles.may(actor().grants, roles.named(action, protocol.pathway), protocol.id, site)

    return render_template(
        template,
        trial=protocol,
        word=protocol.machine,
        may=may,
        here=request.endpoint or "",
        form_page=partial(form_page, protocol),
        **values,
    )
