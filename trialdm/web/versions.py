"""Versions of the protocol: which one each site uses, and what one that waits would change."""

from collections.abc import Iterable

from flask import Blueprint

from trialdm.domain import versions as differences
from trialdm.domain.protocol import Protocol
from trialdm.door.security import read, signed_in
from trialdm.services import studies, versions
from trialdm.services.unit import Unit
from trialdm.services.versions import Touched
from trialdm.web.layout import page

pages = Blueprint("versions", __name__, url_prefix="/trials/<trial>/versions")

#: State of a version -> what it says to people.
_STATES = {
    "in_force": "In force at every site",
    "in_use": "In use at some sites",
    "proposed": "Proposed: in use nowhere",
    "replaced": "Replaced by a later one",
}

#: Effect of a difference -> symbol and words, so that nothing is told by colour alone.
_EFFECTS = {"none": ("·", "Wording"), "adds": ("+", "Adds"), "alters": ("≠", "Alters"), "breaks": ("✗", "Removes or retypes")}

#: Headings of differences that belong to no form, by their kind.
_ELSEWHERE = {"code": "Choices of several questions", "site": "Sites", "visit": "Visits"}
_TRIAL = "The trial"


@pages.get("")
@signed_in
def listing(trial: str) -> str:
    """Every version, newest first: its state, and since when each site uses it."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        return page("versions.html", protocol, versions=versions.listed(unit, trial), states=_STATES, today=unit.today)

    return read(work)


@pages.get("/<int:seq>")
@signed_in
def one(trial: str, seq: int) -> str:
    """What a version differs in from the one before it, and what of that touches what is saved."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        found = versions.impact(unit, trial, seq)
        return page(
            "version.html",
            protocol,
            found=found,
            groups=_grouped(protocol, found.touched),
            states=_STATES,
            effects=_EFFECTS,
            meanings=differences.EFFECTS,
            today=unit.today,
        )

    return read(work)


def _grouped(protocol: Protocol, touched: Iterable[Touched]) -> list[tuple[str, list[Touched]]]:
    """Differences by the form that they belong to, under headings."""
    titles = {form.code: f"{form.title} ({form.code})" for form in protocol.forms}
    groups: dict[str, list[Touched]] = {}
    for one in touched:
        found = one.difference
        heading = titles.get(found.form, found.form) if found.form else _ELSEWHERE.get(found.kind, _TRIAL)
        groups.setdefault(heading, []).append(one)
    return list(groups.items())
