"""What every page has: the frame around it, and the words of dates and states."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from flask import Flask, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

import trialdm
from trialdm.domain import roles
from trialdm.domain.errors import TrialError
from trialdm.domain.protocol import NATIONS, Protocol
from trialdm.door.errors import status_of
from trialdm.door.security import actor, change, read
from trialdm.services import people
from trialdm.services.unit import Unit
from trialdm.web import wording

Result = TypeVar("Result")


def register(app: Flask) -> None:
    """Give templates their filters and what they ask of every page."""
    app.jinja_env.filters.update(
        day=wording.day, moment=wording.moment, month=wording.month, state=wording.state, nation=NATIONS.get, zipped=zip
    )
    constant = {"held": _held, "idle_minutes": int(people.IDLE.total_seconds() // 60), "version": trialdm.__version__}
    app.context_processor(lambda: constant)


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


def attached(content: str | bytes, name: str, mimetype: str) -> Response:
    """A file to be kept."""
    return Response(content, mimetype=mimetype, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def page(template: str, protocol: Protocol, **values: Any) -> str:
    """A page about a trial: `may` tells the template which ways lead on for this person."""

    def may(action: str, site: str | None = None) -> bool:
        return roles.may(actor().grants, roles.named(action, protocol.pathway), protocol.id, site)

    return render_template(template, trial=protocol, word=protocol.machine, may=may, here=request.endpoint or "", **values)
