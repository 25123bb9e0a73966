"""All rows of a form in one table to fill in: for forms with few short questions, such as a diary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import audit
from trialdm.domain.crf import Item
from trialdm.domain.errors import Detail, Missing, TrialError
from trialdm.domain.values import MISSING_REASONS
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in, signed_in_or
from trialdm.services import drafts, overview, places, records, rows
from trialdm.services.places import Place
from trialdm.services.records import Submission, View
from trialdm.services.unit import Unit
from trialdm.web import typed, wording
from trialdm.web.layout import page
from trialdm.web.sign_in import interrupted

pages = Blueprint("row_table", __name__, url_prefix="/trials/<trial>/participants/<participant>/visits/<visit>/forms")

#: The fields of a page as they were typed.
Fields = MultiDict[str, str]

#: So many empty rows stand below those that are saved.
_EMPTY = 7


@dataclass(frozen=True)
class Line:
    """One row of the table: its number, version and state, and what stands in each cell."""

    row: int
    version: int
    status: str
    cells: Mapping[str, str]


@pages.get("/<form>/table")
@signed_in
def show(trial: str, participant: str, visit: str, form: str) -> str:
    """The rows that are saved, and empty ones."""
    return read(lambda unit: _page(unit, _place(unit, trial, participant, visit, form)))


@pages.post("/<form>/table")
@signed_in_or(interrupted)
def save(trial: str, participant: str, visit: str, form: str) -> AnyResponse:
    """Save every row in which something was typed: all of them or none."""
    where = (trial, participant, visit, form)

    def work(unit: Unit) -> list[View]:
        place = _place(unit, *where)
        saved = rows.save(unit, place, _sent(unit, place))
        drafts.drop(unit, replace(place, row=drafts.TABLE))
        return saved

    try:
        views = change(work)
    except TrialError as problem:
        return Response(read(partial(_again, where=where, problem=problem)), status_of(problem))
    if any(view.alerts for view in views):
        return Response(read(partial(_alerted, where=where, views=views)))
    return redirect(url_for("row_table.show", trial=trial, participant=participant, visit=visit, form=form, saved=len(views)), 303)


@pages.post("/<form>/table/draft")
@signed_in
def keep(trial: str, participant: str, visit: str, form: str) -> AnyResponse:
    """Keep what was typed and is not saved, or forget it."""
    discards = request.form.get("does") == "discard"
    given = {name: texts for name, texts in request.form.lists() if name.partition(".")[0].isdecimal()}

    def work(unit: Unit) -> None:
        place = replace(_place(unit, trial, participant, visit, form), row=drafts.TABLE)
        if discards:
            drafts.drop(unit, place)
        else:
            drafts.keep(unit, place, given, 0)

    change(work)
    address = url_for("row_table.show", trial=trial, participant=participant, visit=visit, form=form)
    return redirect(address, 303) if discards else Response(status=204)


def _place(unit: Unit, trial: str, participant: str, visit: str, form: str) -> Place:
    place = places.locate(unit, trial, participant, visit, form)
    if not rows.short(place.form):
        raise Missing(f"The rows of form {place.form.code} are entered one by one.", code="CRF.NO_TABLE", needs="The page of a row.")
    return place


# --- what was typed --------------------------------------------------------------------------------------------------


def _asked(unit: Unit, place: Place) -> list[Item]:
    """The questions in the table: those that somebody answers and that the reader may see."""
    hides = not unit.sees_allocations(place.protocol.id, place.participant.site)
    return [item for item in place.form.items if item.typed_in and not (hides and place.form.restricts(item))]


def _sent(unit: Unit, place: Place) -> list[tuple[int, Submission]]:
    """The rows that differ from what is saved, or that are drafts to be finished."""
    complete = request.form.get("save") == "complete"
    reason = ": ".join(filter(None, (request.form.get("reason_code", ""), request.form.get("reason_text", "").strip())))
    asked, found = _asked(unit, place), []
    stood = {line.row: line for line in _lines(unit, place, asked)}
    for row in sorted(int(name[:-8]) for name in request.form if name.endswith(".version") and name[:-8].isdecimal()):
        line = stood.get(row, Line(row, 0, "blank", {}))
        cells = _typed(request.form, line.row, asked)
        to_finish = complete and line.status == "draft"
        version = request.form.get(f"{line.row}.version", 0, type=int)
        if cells == dict(line.cells) and not to_finish and version == line.version:
            continue
        if not any(cells.values()) and not line.version and not version:
            continue
        answers, missing = _parted(asked, cells)
        confirmed = [name.partition(":")[2] for name in request.form.getlist("confirm") if name.partition(":")[0] == str(line.row)]
        found.append((line.row, Submission(answers, missing, complete, reason, tuple(confirmed), version)))
    return found


def _typed(sent: Fields, row: int, asked: Sequence[Item]) -> dict[str, str]:
    return {item.name: sent.get(f"{row}.{item.name}", "").strip() for item in asked}


def _parted(asked: Sequence[Item], cells: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Answers, and reasons why there is none: a reason is typed as its two letters."""
    missing = {name: cell.upper() for name, cell in cells.items() if cell.upper() in MISSING_REASONS}
    types = {item.name: item.type for item in asked}
    return {name: typed.normal(types[name], cell) for name, cell in cells.items() if cell and name not in missing}, missing


# --- the page --------------------------------------------------------------------------------------------------------


def _lines(unit: Unit, place: Place, asked: Sequence[Item]) -> list[Line]:
    """The rows that the reader may see, and empty ones; of rows that others added in the meantime those too."""
    book = places.book(unit, place)
    views = [records.view(unit, replace(place, row=stored.instance.row)) for stored in book.rows(place.form.code, place.visit_code)]
    last = places.next_row(book, place.form, place.visit_code)
    empty = [Line(row, 0, "blank", dict.fromkeys((item.name for item in asked), "")) for row in range(last, last + _EMPTY)]
    return [*(_line(view, asked) for view in views), *empty]


def _line(view: View, asked: Sequence[Item]) -> Line:
    stood = typed.of_stored(view.answers)
    cells = {item.name: view.answers.missing.get(item.name, "") or str(stood.answers.get(item.name, "")) for item in asked}
    return Line(view.place.row, view.version, view.status, cells)


def _again(unit: Unit, where: tuple[str, str, str, str], problem: TrialError) -> str:
    return _page(unit, _place(unit, *where), problem)


def _alerted(unit: Unit, where: tuple[str, str, str, str], views: Sequence[View]) -> str:
    alerts = [f"Row {view.place.row}: {alert.message}" for view in views for alert in view.alerts]
    return _page(unit, _place(unit, *where), alerts=alerts, saved=len(views))


def _page(unit: Unit, place: Place, problem: TrialError | None = None, *, alerts: Sequence[str] = (), saved: int = 0) -> str:
    asked = _asked(unit, place)
    lines = _lines(unit, place, asked)
    draft = None if problem else drafts.of(unit, replace(place, row=drafts.TABLE))
    sent = request.form if problem else MultiDict((name, text) for name, texts in (draft.fields if draft else {}).items() for text in texts)
    if problem or draft:
        lines = [
            replace(line, cells=_typed(sent, line.row, asked), version=_version(sent, line)) if _holds(sent, line) else line
            for line in lines
        ]
    wrong: dict[str, list[Detail]] = {}
    for detail in problem.details if problem else ():
        wrong.setdefault(detail.place, []).append(detail)
    hides = not unit.sees_allocations(place.protocol.id, place.participant.site)
    registers = places.context(unit, place, places.book(unit, place)).registers
    return page(
        "form_table.html",
        place.protocol,
        place=place,
        asked=asked,
        choices={item.name: wording.choices(item, registers, blinded=hides) for item in asked},
        lines=lines,
        problem=problem,
        wrong_at=wrong,
        obstacle=overview.entry(unit, place)[0],
        alerts=alerts,
        saved=saved or request.args.get("saved", 0, type=int),
        finished=any(line.status in ("complete", "verified", "signed") for line in lines),
        missing_reasons=MISSING_REASONS,
        change_reasons=audit.CHANGE_REASONS,
        sent=request.form if problem else MultiDict[str, str](),
        draft=draft,
    )


def _holds(sent: Fields, line: Line) -> bool:
    """Whether the row stood in the table that was typed into."""
    return f"{line.row}.version" in sent


def _version(sent: Fields, line: Line) -> int:
    """The version from which the row was typed: a stale row stays stale until it is opened again."""
    return sent.get(f"{line.row}.version", line.version, type=int)
