"""What every page has: the frame around it, and the words of dates and states."""

from typing import Any

from flask import Flask, render_template, request

import trialdm
from trialdm.domain import roles
from trialdm.domain.protocol import NATIONS, Protocol
from trialdm.door.security import actor
from trialdm.services import people
from trialdm.web import wording


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


def page(template: str, protocol: Protocol, **values: Any) -> str:
    """A page about a trial: `may` tells the template which ways lead on for this person."""

    def may(action: str, site: str | None = None) -> bool:
        return roles.may(actor().grants, roles.named(action, protocol.pathway), protocol.id, site)

    return render_template(template, trial=protocol, word=protocol.machine, may=may, here=request.endpoint or "", **values)
