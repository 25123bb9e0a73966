"""The answers that an allocation used: as randomised, as corrected, as verified; and marking an allocation as an error."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import Detail, Invalid, TrialError
from trialdm.domain.protocol import Protocol
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in
from trialdm.services import casebooks, corrections, factors, studies
from trialdm.services.factors import Used, Values
from trialdm.services.unit import Unit
from trialdm.store.tables import Participant
from trialdm.web.layout import page

pages = Blueprint("factors", __name__, url_prefix="/trials/<trial>")

#: Kinds of notes, in words.
_KINDS = {"in_error": "Marked as an error", "corrected": "Answer corrected", "verified": "Verified against the source"}

#: Code of an error -> the field that mends it.
_FIELDS = {
    "ALLOC.ERROR": "code",
    "ALLOC.REASON": "reason",
    "ALLOC.OTHER": "other",
    "PARTICIPANT.UNKNOWN": "other",
    "PARTICIPANT.WRITTEN": "other",
    "ALLOC.NONE": "other",
}

_DONE = {
    "error": "Marked as an error. The allocation stands, and a deviation has been opened.",
    "verified": "Kept. Where the source says otherwise, a deviation has been opened.",
}


@pages.get("/allocation/factors")
@signed_in
def find(trial: str) -> AnyResponse:
    """Open the page of the participant that was typed."""
    return redirect(url_for("factors.table", trial=trial, participant=request.args.get("participant", "").strip() or "none"))


@pages.get("/participants/<participant>/factors")
@signed_in
def table(trial: str, participant: str) -> str:
    """Each answer side by side, and what was found afterwards."""
    return read(lambda unit: _page(unit, trial, participant))


@pages.post("/participants/<participant>/factors")
@signed_in
def verify(trial: str, participant: str) -> AnyResponse:
    """Keep what a monitor read in the source."""

    def work(unit: Unit) -> None:
        unit.require("allocation.verify", trial)
        protocol = studies.protocol(unit, trial)
        scheme = protocol.scheme_named(request.form.get("scheme", ""))
        levels = {factor.name: request.form.get(f"level-{factor.name}", "") for factor in scheme.factors}
        empty = [factor for factor in scheme.factors if not levels[factor.name]]
        if empty:
            details = [
                Detail("ALLOC.LEVEL", f"Choose what the source says: {factors.label_of(protocol, factor)}", factor.name) for factor in empty
            ]
            raise Invalid("The form is not complete.", code="ALLOC.LEVEL", details=details)
        corrections.verify(unit, trial, participant, levels, name=scheme.name)

    return _entered(trial, participant, "verified", work)


@pages.post("/participants/<participant>/factors/error")
@signed_in
def mark(trial: str, participant: str) -> AnyResponse:
    """Mark the allocation as made in error."""
    sent = request.form

    def work(unit: Unit) -> None:
        unit.require("allocation.correct", trial)
        code, reason, other = sent.get("code", 0, type=int), sent.get("reason", ""), sent.get("other", "")
        if code not in corrections.ERRORS:
            raise Invalid("Choose what went wrong.", code="ALLOC.ERROR")
        corrections.in_error(unit, trial, participant, code, reason, other=other, name=sent.get("scheme", ""))

    return _entered(trial, participant, "error", work)


def _entered(trial: str, participant: str, form: str, work: Callable[[Unit], None]) -> AnyResponse:
    try:
        change(work)
    except TrialError as problem:
        return Response(read(partial(_page, trial=trial, typed=participant, form=form, problem=problem)), status_of(problem))
    return redirect(url_for("factors.table", trial=trial, participant=participant, done=form), 303)


# --- the page --------------------------------------------------------------------------------------------------------


def _page(unit: Unit, trial: str, typed: str, form: str = "", problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    row = factors.person(unit, trial, typed)
    found = factors.used(unit, protocol, row)
    return page(
        "factors.html",
        protocol,
        participant=row,
        found=[_used(unit, protocol, row, used) for used in found],
        kinds=_KINDS,
        error_kinds={code: words for code, (words, _) in corrections.ERRORS.items()},
        names=casebooks.names(unit, {note.by for used in found for note in used.notes}),
        listing=unit.may("participant.see", trial, row.site),
        done=_DONE.get(request.args.get("done", "")) if not problem else None,
        form=form,
        problem=problem,
        errors=_errors(problem, request.form.get("scheme", "")) if problem else [],
        sent=request.form if problem else {},
    )


def _used(unit: Unit, protocol: Protocol, row: Participant, used: Used) -> dict[str, Any]:
    """One allocation for its part of the page: values and levels in words, and what this person may add."""
    scheme = used.scheme
    known = {factor.name: factor for factor in scheme.factors}

    def words(factor: str, level: str) -> str:
        if known[factor].form or not level:
            return factors.level_label(protocol, known[factor], level)
        return f"{level} {protocol.site(level).name}" if factor == "site" else level

    return {
        "scheme": scheme.name,
        "number": used.number,
        "at": used.at,
        "rows": [(value, *(words(value.factor, level) for level in _levels(value))) for value in used.values],
        "hidden": [factors.label_of(protocol, known[name]) for name in known if name in used.hidden],
        "notes": used.notes,
        "questions": [
            (name, factors.label_of(protocol, factor), [(level, words(name, level)) for level in factor.levels])
            for name, factor in known.items()
        ],
        "may_verify": unit.may("allocation.verify", protocol.id, row.site) and bool(known) and not used.hidden,
        "may_mark": unit.may("allocation.correct", protocol.id, row.site) and not any(note.kind == "in_error" for note in used.notes),
    }


def _levels(value: Values) -> tuple[str, str, str]:
    return value.randomised, value.corrected, value.verified


def _errors(problem: TrialError, scheme: str) -> list[tuple[str, str]]:
    """Each error with its field."""
    if problem.details:
        return [(f"level-{detail.place}-{scheme}", detail.message) for detail in problem.details]
    field = _FIELDS.get(problem.code)
    return [(f"{field}-{scheme}", " ".join((problem.message, problem.needs)).strip())] if field else []
