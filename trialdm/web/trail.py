"""The audit trail of a trial as pages: searching and reviewing it, taking it along as a file, and removing a value by two people."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from flask import Blueprint, Response, abort, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain.errors import TrialError
from trialdm.door.security import change, read, signed_in, streamed
from trialdm.services import redactions, studies, trail
from trialdm.services.trail import Filter
from trialdm.services.unit import LONDON, Unit
from trialdm.web import wording
from trialdm.web.layout import Part, act, page

pages = Blueprint("trail", __name__, url_prefix="/trials/<trial>")

#: What the page says once something is done.
_DONE = {
    "asked": "Another person confirms it, or leaves the value where it is.",
    "removed": "The value is removed. Backups that were made before still hold it.",
    "declined": "The value stays where it is.",
}


@pages.get("/audit")
@signed_in
def listing(trial: str) -> str:
    """The trail, narrowed as the person chooses, a hundred entries at a time."""

    def work(unit: Unit) -> str:
        asked, problem = _asked(), ""
        try:
            wanted = _wanted(asked)
        except ValueError:
            wanted, problem = Filter(), "Write each date as year-month-day, such as 2026-03-07."
        total = trail.count(unit, trial, wanted)
        last = -(-total // trail.PAGE) or 1
        number = min(max(request.args.get("page", 1, type=int), 1), last)
        lines = trail.of_trial(unit, trial, Filter(**{**vars(wanted), "after": (number - 1) * trail.PAGE}))
        return page(
            "audit.html",
            studies.protocol(unit, trial),
            part=Part(lines, total, number, last),
            asked=asked,
            narrowed={name: value for name, value in asked.items() if value},
            problem=problem,
            people=trail.people(unit, trial),
            actions=trail.actions(unit, trial),
            reviews=trail.REVIEWS,
            doors=wording.DOORS,
            places=trail.places_of(unit, trial, lines),
            removable=redactions.removable,
        )

    return read(work)


@pages.post("/audit/file")
@signed_in
def file(trial: str) -> AnyResponse:
    """The whole trail as the person may read it, as CSV or JSON lines."""
    kind = request.form.get("kind", "csv")
    if kind not in trail.FILES:
        abort(404)
    change(lambda unit: trail.exported(unit, trial, kind))
    named = {"Content-Disposition": f'attachment; filename="{trial}-audit.{kind}"'}
    return Response(streamed(lambda unit: trail.file(unit, trial, Filter(), kind)), mimetype=trail.FILES[kind], headers=named)


def _asked() -> dict[str, str]:
    names = ("participant", "user", "action", "field", "since", "until", "review")
    return {name: request.args.get(name, "").strip() for name in names}


def _wanted(asked: dict[str, str]) -> Filter:
    since, until = _midnight(asked["since"]), _midnight(asked["until"])
    return Filter(
        participant=asked["participant"].upper(),
        user=asked["user"],
        action=asked["action"],
        field=asked["field"],
        review=asked["review"],
        since=since,
        until=until + timedelta(days=1) if until else None,
    )


def _midnight(text: str) -> datetime | None:
    return datetime.combine(date.fromisoformat(text), time.min, LONDON).astimezone(UTC) if text else None


# --- removing a value ------------------------------------------------------------------------------------------------


@pages.get("/audit/removals")
@signed_in
def removals(trial: str) -> str:
    """What was asked to be removed, and what became of it."""
    return read(lambda unit: _removals(unit, trial))


@pages.post("/audit/removals")
@signed_in
def settle(trial: str) -> AnyResponse:
    """The second person removes a value, or leaves it where it is."""
    event, chosen = request.form.get("entry", ""), request.form.get("act", "")

    def work(unit: Unit) -> str:
        if chosen == "confirm":
            redactions.confirm(unit, trial, event)
            return "removed"
        redactions.decline(unit, trial, event, request.form.get("reason", "") or "left where it is")
        return "declined"

    return act(work, lambda unit, problem: _removals(unit, trial, problem), lambda done: url_for("trail.removals", trial=trial, done=done))


def _removals(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    done = _DONE.get(request.args.get("done", ""), "")
    found = redactions.of_trial(unit, trial)
    may_settle = unit.may("audit.redact", trial)
    return page(
        "audit_removals.html",
        studies.protocol(unit, trial),
        found=found,
        me=unit.actor.id,
        may_settle=may_settle,
        done=done,
        problem=problem,
    )


@pages.get("/audit/removals/new")
@signed_in
def ask(trial: str) -> str:
    """Asking that the value of an entry be removed."""
    return read(lambda unit: _ask(unit, trial))


@pages.post("/audit/removals/new")
@signed_in
def asked(trial: str) -> AnyResponse:
    """Ask it."""
    event, reason = request.form.get("entry", ""), request.form.get("reason", "")
    return act(
        lambda unit: redactions.ask(unit, trial, event, reason),
        lambda unit, problem: _ask(unit, trial, problem),
        lambda _: url_for("trail.removals", trial=trial, done="asked"),
    )


def _ask(unit: Unit, trial: str, problem: Any = None) -> str:
    unit.require("audit.redact", trial)
    event = trail.readable(unit, trial, request.values.get("entry", ""))
    wrong = "reason" if problem and problem.details else ""
    return page("audit_remove.html", studies.protocol(unit, trial), event=event, sent=request.form, problem=problem, wrong=wrong)
