"""Participants: the list, adding one, the casebook of one, and randomising."""

import secrets
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import roles
from trialdm.domain.crf import FORM_KINDS
from trialdm.domain.errors import Conflict, TrialError
from trialdm.domain.ethics.withdrawal import COLLECTS, LEVELS
from trialdm.domain.lifecycle import INITIAL, MACHINES
from trialdm.domain.protocol import Protocol, Scheme
from trialdm.domain.schedule import ENDS, STANDINGS
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import (
    allocations,
    casebooks,
    governance,
    identities,
    overview,
    participants,
    permissions,
    studies,
    theatre,
    transfers,
    unblinding,
)
from trialdm.services.allocations import Allocated
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit
from trialdm.store.tables import Participant
from trialdm.web.grids import casebook_grid
from trialdm.web.layout import page, part

pages = Blueprint("participants", __name__, url_prefix="/trials/<trial>/participants")

_PER_PAGE = 100


@pages.get("")
@signed_in
def listing(trial: str) -> str | AnyResponse:
    """Participants that the person may see, by site and state."""
    typed = request.args.get("find", "").strip()
    if not typed:
        return read(lambda unit: _listing(unit, trial))
    try:
        found = read(lambda unit: participants.find(unit, trial, typed))
    except TrialError as problem:
        return Response(read(partial(_listing, trial=trial, problem=problem, typed=typed)), status_of(problem))
    return redirect(url_for("participants.one", trial=trial, participant=found.id))


@pages.post("")
@signed_in
def add(trial: str) -> AnyResponse:
    """Add a participant of a site."""
    try:
        added = change(lambda unit: identities.add(unit, trial, request.form.get("site", "")))
    except TrialError as problem:
        return Response(read(partial(_listing, trial=trial, problem=problem)), status_of(problem))
    return redirect(url_for("participants.one", trial=trial, participant=added.id, added=1), 303)


@pages.get("/<participant>")
@signed_in
def one(trial: str, participant: str) -> str:
    """One participant: state, number of the allocation, and the forms of every visit. The arm is shown on demand only."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        row = participants.find(unit, trial, participant)
        local = studies.protocol_at(unit, trial, row.site)
        history, moves = studies.history(unit, trial, protocol.machine, row.id), participants.transfers(unit, row)
        return page(
            "participant.html",
            protocol,
            participant=row,
            state=participants.state(unit, trial, row),
            allocated=allocations.shown(unit, protocol, row) if protocol.schemes else None,
            later=[(scheme, allocations.shown(unit, protocol, row, name=scheme.name)) for scheme in protocol.later_schemes],
            sees=unit.sees_allocations(trial, row.site),
            before_surgery=theatre.waits(unit, protocol, row),
            to_be_told=unit.may("allocation.tell", trial, row.site) and bool(unblinding.may_be_told(unit, protocol, row)),
            grid=casebook_grid(overview.grid(unit, local, row), local, lambda kind: _enters(unit, local, row, kind)),
            history=history,
            moves=moves,
            standings=STANDINGS,
            may_transfer=transfers.waits(unit, protocol, row),
            names=casebooks.names(unit, {*(entry.by for entry in history), *(entry.by for entry in moves)}),
            added="added" in request.args,
            transferred="transferred" in request.args and bool(moves),
            followed=governance.followed(unit, protocol) if protocol.treats else None,
            allowed=_allowed(unit, local, row),
            who=_who(unit, protocol, row),
        )

    return read(work)


@pages.get("/<participant>/randomise")
@signed_in
def readiness(trial: str, participant: str) -> str:
    """What the allocation will use, and every reason for and against it; for a randomised participant the result."""
    return read(lambda unit: _readiness(unit, trial, participant, request.args.get("scheme", "")))


@pages.post("/<participant>/randomise")
@signed_in
def randomise(trial: str, participant: str) -> AnyResponse:
    """Randomise once; the key of the page makes a second press harmless. The arm is in this one answer, for those who may see it."""
    name, key = request.form.get("scheme", ""), request.form.get("key", "")
    try:
        allocated, _ = change(lambda unit: allocations.randomise(unit, trial, participant, key, name=name))
        if allocated.arm is not None:
            return Response(read(lambda unit: _readiness(unit, trial, participant, name, allocated=allocated)))
    except Conflict as problem:
        if problem.code != "ALLOC.ALREADY":
            raise
    except TrialError as problem:
        return Response(read(partial(_readiness, trial=trial, typed=participant, name=name, problem=problem)), status_of(problem))
    return redirect(url_for("participants.readiness", trial=trial, participant=participant, scheme=name or None), 303)


# --- reading ---------------------------------------------------------------------------------------------------------


def _listing(unit: Unit, trial: str, problem: TrialError | None = None, typed: str = "") -> str:
    protocol = studies.protocol(unit, trial)
    rows = participants.listed(unit, trial)
    site, state = request.args.get("site", ""), request.args.get("state", "")
    found = [(row, held) for row, held in rows if site in ("", row.site) and state in ("", held)]
    return page(
        "participants.html",
        protocol,
        part=part(found, _PER_PAGE),
        everybody=len(rows),
        site=site,
        state=state,
        sites=sorted({row.site for row, _ in rows}),
        states=[s for s in _states(protocol) if any(held == s for _, held in rows)],
        open_sites=participants.open_sites(unit, protocol),
        problem=problem,
        typed=typed,
    )


def _states(protocol: Protocol) -> list[str]:
    """States in the order of the way through the trial."""
    steps = MACHINES[protocol.machine].values()
    return list(dict.fromkeys([INITIAL[protocol.machine], *(target for _, target in steps)]))


def _allowed(unit: Unit, protocol: Protocol, row: Participant) -> dict[str, Any] | None:
    """What the participant still allows: level, since when, visits, linkage, sharing; None where the protocol knows no withdrawal."""
    if protocol.meaning("withdrawal") is None:
        return None
    book = casebooks.read(unit, protocol.id, row)
    held = permissions.permission(protocol, book)
    ends = participants.ends(protocol, book, participants.state(unit, protocol.id, row))
    return {
        "level": LEVELS[held.level],
        "since": held.withdrawn_on,
        "collects": [kind for kind in FORM_KINDS if kind in LEVELS[held.level].collects],
        "everything": len(LEVELS[held.level].collects) == len(FORM_KINDS),
        "ended": min(ends, key=lambda end: ENDS.index(end.kind), default=None),
        "permission": held,
    }


def _who(unit: Unit, protocol: Protocol, row: Participant) -> str:
    """Whether the vault holds who the participant is, for those who may look."""
    if protocol.identity != "vault" or not unit.may("identity.see", protocol.id, row.site):
        return ""
    return "shredded" if identities.shredded(unit, row) else "kept" if identities.entered(unit, row) else "to follow"


def _enters(unit: Unit, protocol: Protocol, row: Participant, kind: str) -> bool:
    """Whether the person may enter forms of a kind, and the participant still allows it."""
    level = participants.withdrawal_level(protocol, casebooks.read(unit, protocol.id, row))
    return kind in COLLECTS[level] and roles.may_enter(unit.actor.grants, kind, protocol.id, row.site)


def _readiness(
    unit: Unit, trial: str, typed: str, name: str = "", problem: TrialError | None = None, allocated: Allocated | None = None
) -> str:
    protocol = studies.protocol(unit, trial)
    scheme = protocol.scheme_named(name)
    row = participants.find(unit, trial, typed)
    book = casebooks.read(unit, trial, row)
    return page(
        "randomise.html",
        protocol,
        participant=row,
        state=participants.state(unit, trial, row),
        scheme=scheme,
        hindrance=allocations.hindrance(unit, protocol, row, name),
        allocated=allocated or allocations.shown(unit, protocol, row, name=name),
        sees=unit.sees_allocations(trial, row.site),
        answer=participants.gate_again(unit, trial, row.id, scheme)
        if scheme.after
        else participants.gate(unit, trial, "randomise", participant=row.id),
        levels=list(_levels(unit, studies.protocol_at(unit, trial, row.site), book, scheme)) if scheme.unit == "participant" else [],
        permitted=unit.may("participant.randomise", trial, row.site),
        key=secrets.token_urlsafe(18),
        problem=problem,
    )


def _levels(unit: Unit, protocol: Protocol, book: Casebook, scheme: Scheme) -> Any:
    """What the allocation looks at: question, answer in words (empty where there is none yet), and the form that holds it."""
    for factor in scheme.factors:
        if not factor.form:
            yield "Site", f"{book.participant.enrolled_site} {protocol.site(book.participant.enrolled_site).name}", None, ""
            continue
        form = protocol.form(factor.form)
        item = form.by_name[factor.item]
        blinded = not unit.sees_allocations(protocol.id, book.participant.site)
        if blinded and form.restricts(item):
            yield item.label, "Hidden to keep you blinded", None, ""
            continue
        given = book.answer(form, factor.visit, factor.item)
        labels = item.codelist.shown_to(blinded=blinded) if item.codelist else {1: "Yes", 0: "No"}
        yield item.label, "" if given is None else labels.get(given, str(given)), form, factor.visit
