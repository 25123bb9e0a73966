"""Rehearsals of the allocation: asking for one, following it, reading and signing its figures."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from threading import Lock
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import TrialError
from trialdm.domain.protocol import Factor, Protocol, Scheme
from trialdm.door.errors import status_of
from trialdm.door.security import actor, change, read, signed_in
from trialdm.rehearsal import report
from trialdm.rehearsal.plots import plots
from trialdm.rehearsal.simulate import Rehearsal, name_of, sha256
from trialdm.services import rehearsals, studies
from trialdm.services.jobs import Jobs
from trialdm.services.rehearsals import Asked
from trialdm.services.unit import Unit
from trialdm.store.tables import RehearsalJob
from trialdm.web import charts
from trialdm.web.layout import attached, page
from trialdm.web.wording import moment

pages = Blueprint("rehearsals", __name__, url_prefix="/trials/<trial>/rehearsals")

_YES_NO = {"0": "No", "1": "Yes"}

#: Settings of a drawing are those of the whole process while it is made: one at a time.
_DRAWING = Lock()

#: Fields of the form as an error names them.
_FIELDS = {
    "trials": "Simulated trials",
    "participants": "Participants",
    "seed": "Seed",
    "schemes": "Schemes side by side",
    "against": "Other schemes",
    "assume": "Who is recruited",
}


@pages.get("")
@signed_in
def listing(trial: str) -> str:
    """The rehearsals of the trial."""

    def work(unit: Unit) -> str:
        rows = rehearsals.jobs(unit, trial)
        found = [(row, rehearsals.plan_of(row)) for row in rows]
        return page("rehearsals.html", studies.protocol(unit, trial), jobs=found, people=rehearsals.people(unit, rows))

    return read(work)


@pages.get("/new")
@signed_in
def new(trial: str) -> str:
    """The questions before a rehearsal."""
    return read(lambda unit: _form(unit, trial, request.args.get("scheme", "")))


@pages.post("")
@signed_in
def ask(trial: str) -> AnyResponse:
    """Ask for a rehearsal; it is run in the background."""
    sent = request.form
    asked = Asked(
        trials=_whole(sent.get("trials", "")),
        participants=_whole(sent.get("participants", "")),
        seed=_whole(sent.get("seed", "")),
        scheme=sent.get("scheme", ""),
        own="own" in sent,
        against=(
            *(("schemes", text) for text in sent.getlist("alternative")),
            *([("against", sent["against"])] if sent.get("against", "").strip() else []),
        ),
        assume=("assume", sent["assume"]) if sent.get("assume", "").strip() else None,
    )
    try:
        row = change(lambda unit: rehearsals.ask_for(unit, trial, asked))
    except TrialError as problem:
        return Response(read(partial(_form, trial=trial, name=asked.scheme, problem=problem)), status_of(problem))
    _jobs().ask_for_rehearsal(trial, row.id)
    return redirect(url_for("rehearsals.follow", trial=trial, ident=row.id), 303)


@pages.get("/<ident>")
@signed_in
def follow(trial: str, ident: str) -> str:
    """How far a rehearsal is, and at the end its figures."""

    def work(unit: Unit) -> str:
        row = rehearsals.job(unit, trial, ident)
        made = rehearsals.result(row) if row.state == "done" else []
        return page(
            "rehearsal.html",
            studies.protocol(unit, trial),
            job=row,
            plan=rehearsals.plan_of(row),
            people=rehearsals.people(unit, [row]),
            own=row.requested_by == actor().id,
            step=_step(row),
            **(_told(row.result, made) if made else {}),
        )

    return read(work)


@pages.get("/<ident>/progress")
@signed_in
def progress(trial: str, ident: str) -> Response:
    """How far a rehearsal is, for the script of its page."""
    row = read(lambda unit: rehearsals.job(unit, trial, ident))
    return jsonify(state=row.state, step=_step(row), done=row.done, total=row.total)


@pages.get("/<ident>/report")
@signed_in
def fetch_report(trial: str, ident: str) -> Response:
    """The report as one HTML document."""

    def work(unit: Unit) -> str:
        row, title = rehearsals.job(unit, trial, ident), studies.protocol(unit, trial).short_title
        signatures = _signatures(row, rehearsals.people(unit, [row]))
        with _DRAWING:
            return report.document(rehearsals.result(row), title=f"Rehearsal of the allocation of {title}", signatures=signatures)

    return attached(read(work), f"{trial}-rehearsal-{ident[:8]}.html", "text/html")


@pages.get("/<ident>/figures")
@signed_in
def fetch_figures(trial: str, ident: str) -> Response:
    """The figures as the JSON text of which the SHA-256 is shown."""
    text = read(lambda unit: rehearsals.figures(rehearsals.job(unit, trial, ident)))
    return attached(text, f"{trial}-rehearsal-{ident[:8]}.json", "application/json")


@pages.post("/<ident>/sign")
@signed_in
def sign(trial: str, ident: str) -> AnyResponse:
    """Sign the figures that were read."""
    change(lambda unit: rehearsals.sign(unit, trial, ident, request.form.get("sha256", "")))
    return redirect(url_for("rehearsals.follow", trial=trial, ident=ident), 303)


def _jobs() -> Jobs:
    found: Jobs = current_app.extensions["trialdm-jobs"]
    return found


def _whole(text: str) -> int:
    """A whole number as typed; -1, which no field takes, for anything else."""
    digits = text.replace(",", "").replace(" ", "")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 16 else -1


def _step(row: RehearsalJob) -> str:
    return f"{row.done:,} of {row.total:,} simulated trials done"


def _signatures(row: RehearsalJob, people: Mapping[str, str]) -> list[str]:
    asked = f"Asked for by {people.get(row.requested_by, row.requested_by)}, {moment(row.requested_at)}."
    if not row.signed_at:
        return [asked, "Not signed by a second person."]
    return [asked, f"Signed by {people.get(row.signed_by, row.signed_by)}, {moment(row.signed_at)}."]


# --- the questions ---------------------------------------------------------------------------------------------------


def _form(unit: Unit, trial: str, name: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    unit.require("rehearsal.run", trial)
    rehearsals.require_sight(unit, trial)
    definition = protocol.scheme_named(name)
    whole = definition.unit == "participant"
    return page(
        "rehearsal_new.html",
        protocol,
        scheme=definition,
        own="" if definition.method == "list" else name_of(rehearsals.configuration(unit, trial, name)),
        alternatives=rehearsals.alternatives(unit, trial, name),
        target=protocol.target_participants if whole else len(protocol.sites),
        assumed=_assumed(protocol, definition),
        errors=_errors(problem) if problem else [],
        sent=request.form,
    )


def _errors(problem: TrialError) -> list[tuple[str, str]]:
    """Each error with the field that it belongs to."""
    found = []
    for detail in problem.details:
        field, _, line = detail.place.partition(":")
        where = f"{_FIELDS[field]}, line {line}: " if line and field in _FIELDS else ""
        found.append((field, f"{where}{detail.message}."))
    return found or [("schemes", " ".join((problem.message, problem.needs)).strip())]


def _assumed(protocol: Protocol, definition: Scheme) -> str:
    """The shares that hold without assumptions, as a text to change."""
    found = rehearsals.recruitment(protocol, definition)
    lines = [f"sites: {_shares(found.sites)}"] if found.sites else []
    if found.factors:
        lines.append("factors:")
    for factor in definition.factors:
        if factor.name in found.factors:
            lines.append(f"  {factor.name}: {_shares(found.factors[factor.name])}{_meanings(protocol, factor)}")
    return "\n".join(lines)


def _shares(shares: Mapping[str, float]) -> str:
    return "{" + ", ".join(f'"{code}": {share:g}' for code, share in shares.items()) + "}"


def _meanings(protocol: Protocol, factor: Factor) -> str:
    """What the levels of a factor stand for, as a comment."""
    item = protocol.form(factor.form).by_name[factor.item] if factor.form else None
    labels = {str(code): label for code, label in item.codelist.labels.items()} if item and item.codelist else _YES_NO
    said = "; ".join(f"{level} {' '.join(str(labels[level]).split())}" for level in factor.levels if item and level in labels)
    return f"  # {said}" if said else ""


# --- the figures -----------------------------------------------------------------------------------------------------


def _told(text: str, made: Sequence[Rehearsal]) -> dict[str, Any]:
    """What the page of a rehearsal that is done shows."""
    imbalance = [rehearsal.data["imbalance"] for rehearsal in made]
    return {
        "names": [rehearsal.name for rehearsal in made],
        "in_short": rehearsals.in_short(made),
        "plots": _plots(text),
        "factors": [
            (row[0]["name"], [(found["worst"]["mean"], found["worst"]["p95"]) for found in row])
            for row in zip(*([*one["factors"], one["site"]] for one in imbalance), strict=True)
        ],
        "strata": [(rehearsal.name, rehearsal.data["strata"]) for rehearsal in made],
        "shares": made[0].data["recruitment"],
        "slots": made[0].data["slots"],
        "digest": sha256(made),
    }


@lru_cache(maxsize=8)
def _plots(text: str) -> tuple[tuple[str, str, str], ...]:
    """Title, drawing and words of each plot; the same figures always give the same."""
    with _DRAWING:
        made = plots([Rehearsal(data) for data in json.loads(text)])
    return tuple((plot.title, charts.within_page(plot.svg), plot.words) for plot in made)
