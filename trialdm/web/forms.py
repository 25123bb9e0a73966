"""Forms: filling one in, reading one, the rows of a repeating one, and the audit trail of each."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import audit, crf, query, schedule, signing, values
from trialdm.domain.crf import Answers, Finding, Item
from trialdm.domain.errors import Detail, Invalid, Stale, TrialError, Unanswered
from trialdm.door.errors import status_of
from trialdm.door.security import change, read, signed_in, signed_in_or
from trialdm.services import (
    answering,
    casebooks,
    double_entry,
    drafts,
    governance,
    holds,
    overview,
    participants,
    places,
    previous,
    records,
    removals,
    rows,
    signatures,
    trail,
)
from trialdm.services.casebooks import Casebook
from trialdm.services.places import Place
from trialdm.services.previous import Earlier
from trialdm.services.records import View
from trialdm.services.unit import Unit
from trialdm.web import queries, typed, wording
from trialdm.web.layout import act, form_page, page
from trialdm.web.questions import Sheet
from trialdm.web.sign_in import interrupted
from trialdm.web.typed import Typed

pages = Blueprint("forms", __name__, url_prefix="/trials/<trial>/participants/<participant>/visits/<visit>/forms")


@pages.get("/<form>")
@pages.get("/<form>/<int:row>")
@signed_in
def show(trial: str, participant: str, visit: str, form: str, row: int | None = None) -> str:
    """A form to fill in or to read; without a row, the rows of a form that has them."""

    def work(unit: Unit) -> str:
        place = places.locate(unit, trial, participant, visit, form, row or 1)
        if row is None and place.protocol.rows_at(place.form, place.visit):
            return _rows(unit, place)
        draft = drafts.of(unit, place)
        entries = _entries(unit, place)
        if draft is None and entries and entries.next == "settle" and not places.book(unit, place).get(*place.key):
            return _page(unit, place, _sheet(unit, place, typed.of_stored(crf.load(place.form, entries.agreed()))))
        if draft is None:
            return _page(unit, place, _sheet(unit, place), saved=request.args.get("saved", ""))
        fields = MultiDict((name, text) for name, texts in draft.fields.items() for text in texts)
        given = _typed(unit, place, fields)
        return _page(unit, place, _sheet(unit, place, given), draft=draft, sent=fields)

    return read(work)


@pages.get("/<form>/new")
@signed_in
def new(trial: str, participant: str, visit: str, form: str) -> AnyResponse:
    """The next row of a form that has rows."""

    def work(unit: Unit) -> str:
        place = places.locate(unit, trial, participant, visit, form)
        after = request.args.get("after", 0, type=int)
        free = places.next_row(places.book(unit, place), place.form, visit)
        if place.form.double_entry:
            free = double_entry.next_row(unit, place.participant, place.form, visit, free, after)
        return _url(replace(place, row=free), after=after or None)

    return redirect(read(work))


@pages.post("/<form>/draft")
@pages.post("/<form>/<int:row>/draft")
@signed_in
def keep(trial: str, participant: str, visit: str, form: str, row: int | None = None) -> AnyResponse:
    """Keep what was typed and is not saved, or forget it."""
    discards = request.form.get("does") == "discard"
    given = {
        name: texts for name, texts in request.form.lists() if name.partition(".")[0] in ("answer", "missing", "reason_code", "reason_text")
    }
    version = request.form.get("version", 0, type=int)

    def work(unit: Unit) -> str:
        place = places.locate(unit, trial, participant, visit, form, row or 1)
        if discards:
            drafts.drop(unit, place)
        else:
            drafts.keep(unit, place, given, version)
        return _url(place)

    address = change(work)
    return redirect(address, 303) if discards else Response(status=204)


@pages.post("/<form>")
@pages.post("/<form>/<int:row>")
@signed_in_or(interrupted)
def save(trial: str, participant: str, visit: str, form: str, row: int | None = None) -> AnyResponse:
    """Save the next version; whatever keeps it from being saved is shown with everything that was typed."""
    place, given = read(lambda unit: _given(unit, places.locate(unit, trial, participant, visit, form, row or 1)))
    sent = typed.submission(place.form, given, request.form)

    def work(unit: Unit) -> View:
        at = places.locate(unit, trial, participant, visit, form, row or 1)
        saved = records.save(unit, at, sent)
        drafts.drop(unit, at)
        return saved

    try:
        view = change(work)
    except TrialError as problem:
        if problem.code == "GATE.GOV-25":
            place, given = read(lambda unit: _given(unit, places.locate(unit, trial, participant, visit, form, row or 1)))
        return Response(read(partial(_again, place=place, given=given, problem=problem)), status_of(problem))
    place = view.place
    if view.alerts:
        return Response(read(lambda unit: _page(unit, place, _sheet(unit, place), saved=str(view.version), alerts=view.alerts)))
    if request.form.get("save") == "another":
        return redirect(url_for("forms.new", trial=trial, participant=participant, visit=visit, form=form, after=place.row), 303)
    if view.version and view.version == sent.version:
        return redirect(_url(place, unchanged=1), 303)
    return redirect(_url(place, saved=view.version) if view.version else _url(place, entered=1), 303)


@pages.get("/<form>/audit")
@pages.get("/<form>/<int:row>/audit")
@signed_in
def history(trial: str, participant: str, visit: str, form: str, row: int | None = None) -> str:
    """The audit trail of a form: what happened to it, and to each of its answers."""

    def work(unit: Unit) -> str:
        place = places.locate(unit, trial, participant, visit, form, row or 1)
        sheet = _sheet(unit, place)
        acts, changes = _parted(sheet, trail.of_form(unit, place))
        return page("form_audit.html", place.protocol, place=place, acts=acts, changes=changes, doors=wording.DOORS, back=_url(place))

    return read(work)


@pages.post("/<form>/strike")
@pages.post("/<form>/<int:row>/strike")
@signed_in
def strike(trial: str, participant: str, visit: str, form: str, row: int | None = None) -> AnyResponse:
    """Take out a row that was entered by mistake, or put it back."""
    does = removals.restore if request.form.get("does") == "restore" else removals.remove
    where, version = (trial, participant, visit, form), request.form.get("version", type=int)

    def again(unit: Unit, problem: TrialError) -> str:
        place = places.locate(unit, *where, row or 1)
        return _page(unit, place, _sheet(unit, place), problem=problem, striking=True)

    return act(
        lambda unit: does(unit, places.locate(unit, *where, row or 1), request.form.get("why", ""), version),
        again,
        lambda _: url_for("participants.one", trial=trial, participant=participant) + "#forms",
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def _url(place: Place, endpoint: str = "forms.show", **more: Any) -> str:
    """The address of the form at a place."""
    return form_page(place.protocol, place.participant.id, place.visit_code, place.form.code, place.row, endpoint=endpoint, **more)


def _sheet(unit: Unit, place: Place, given: Typed | None = None, details: Sequence[Detail] = (), agreed: Collection[str] = ()) -> Sheet:
    """The form as it is stored, or as somebody typed it. Soft findings that were confirmed with it are shown again."""
    view = records.view(unit, place)
    beside = places.context(unit, place, places.book(unit, place))
    blinded = _blinded(unit, place)
    if given is None and view.version:
        return Sheet(view, beside, typed.of_stored(view.answers), view.shown, view.answers, blinded)
    given = given or Typed()
    verdict = crf.validate(place.form, given.read(place.form), given.missing, beside, complete=False)
    named = {detail.code for detail in details}
    soft = [finding for finding in verdict.of("soft") if not set(finding.items) <= view.hidden_from_reader]
    again = [finding for finding in soft if finding.id in agreed and finding.id not in named]
    confirmed = [Detail(f.id, f.message, ",".join(f.items), severity="soft") for f in again]
    return Sheet(view, beside, given, verdict.shown, verdict.answers, blinded, (*details, *confirmed))


def _blinded(unit: Unit, place: Place) -> bool:
    return not unit.sees_allocations(place.protocol.id, place.participant.site)


def _given(unit: Unit, place: Place) -> tuple[Place, Typed]:
    """What the request sends for the questions that the person sees."""
    return place, _typed(unit, place, request.form)


def _typed(unit: Unit, place: Place, fields: MultiDict[str, str]) -> Typed:
    """What stands in the fields that the person fills, beside what others have answered."""
    view = records.view(unit, place)
    own = typed.of_request(place.form, fields, view.hidden_from_reader | view.of_others)
    theirs = typed.of_stored(view.answers)
    answers = {name: given for name, given in theirs.answers.items() if name in view.of_others}
    missing = {name: given for name, given in theirs.missing.items() if name in view.of_others}
    return Typed({**answers, **own.answers}, {**missing, **own.missing})


def _page(unit: Unit, place: Place, sheet: Sheet, *, saved: str = "", alerts: Sequence[Finding] = (), sent: Any = None, **more: Any) -> str:
    view = sheet.view
    follows = overview.next_form(unit, place) if saved and view.status == "complete" else None
    obstacle, watch = overview.entry(unit, place)
    book = places.book(unit, place)
    stored = book.get(*place.key)
    return page(
        "form.html",
        place.protocol,
        place=place,
        sheet=sheet,
        view=view,
        obstacle=obstacle,
        watch=watch,
        marks=signatures.marks(unit, place.protocol.id, view.instance) if view.instance else None,
        hold=holds.over(unit, place.protocol.id, place.participant, stored.instance if stored else None),
        removed=place.key in book.removed,
        removable=removals.removable(place) and view.version > 0 and answering.starts(unit, place),
        window=schedule.window(place.visit, book.facts(place.protocol)),
        saved=saved == str(view.version) and view.version > 0,
        alerts=[f for f in (alerts or view.alerts) if not (sheet.blinded and set(f.items) and set(f.items) <= view.hidden_from_reader)],
        answered=() if sheet.details else records.answered(unit, place, view),
        saved_by=casebooks.names(unit, [view.saved_by]).get(view.saved_by, ""),
        has_rows=place.protocol.rows_at(place.form, place.visit),
        address=_url(place),
        audit_address=_url(place, "forms.history"),
        asked=queries.marks(unit, place),
        follows=place.protocol.form(follows[1]) if follows else None,
        missing_reasons=values.MISSING_REASONS,
        change_reasons=audit.CHANGE_REASONS,
        clear=typed.CLEAR,
        expected=place.protocol.expected_on(unit.today),
        reason_asked=any(detail.place == "reason" for detail in sheet.details),
        sent=sent or request.form,
        followed=governance.followed(unit, place.protocol) if place.protocol.treats else None,
        after=request.args.get("after", 0, type=int),
        previous=_previous(unit, sheet),
        beside_rows=_neighbours(place, book, sheet.blinded),
        closing=participants.closing_forms(place.protocol),
        under_seal=_under_seal(sheet),
        unchanged="unchanged" in request.args,
        entered="entered" in request.args and view.entries is not None,
        two=_two(unit, place),
        **more,
    )


def _entries(unit: Unit, place: Place) -> double_entry.Standing | None:
    """How far the double entry of a form is; None for a form that one person enters."""
    return double_entry.standing(unit, place.participant, place.form, place.key) if place.form.double_entry else None


def _under_seal(sheet: Sheet) -> bool:
    """Whether the reader can change something of the form that a signature covers."""
    own = {item.name for item in sheet.items if item.typed_in} - sheet.view.of_others - sheet.view.hidden_from_reader
    return bool(own - signing.beside(sheet.form))


def _two(unit: Unit, place: Place) -> list[tuple[str, str, str, bool]]:
    """Two entries of a form that differ side by side, for the third person."""
    found = None if places.book(unit, place).get(*place.key) else _entries(unit, place)
    if found is None or found.next != "settle" or any(entry.by == unit.actor.id for entry in found.entries):
        return []
    first, second = (_sheet(unit, place, typed.of_stored(entry.answers)) for entry in found.entries)
    return _beside(first, second)


def _previous(unit: Unit, sheet: Sheet) -> dict[str, Any] | None:
    """What was answered at the visit before, in words for each question: of a form with rows, row by row."""
    place = sheet.view.place
    found = previous.answers(unit, place)
    if found is None:
        return None
    return {"label": found.visit.label, "words": {item.name: _words_before(found, item, sheet) for item in sheet.items}}


def _words_before(found: Earlier, item: Item, sheet: Sheet) -> str:
    rows = [(row, answers) for row, answers in found.rows if item.name in answers.values or item.name in answers.missing]
    said = [(row, _answered(item, answers, sheet)) for row, answers in rows]
    if sheet.form.repeating:
        return "; ".join(f"row {row}: {words}" for row, words in said)
    return said[0][1] if said else ""


def _answered(item: Item, answers: Answers, sheet: Sheet) -> str:
    if item.name in answers.missing:
        return f"No answer: {values.MISSING_REASONS.get(answers.missing[item.name], '').lower()}"
    return wording.answer(item, answers.values.get(item.name), sheet.context.registers, blinded=sheet.blinded)


def _again(unit: Unit, place: Place, given: Typed, problem: TrialError) -> str:
    """The form once more with everything that was typed, and what kept it from being saved."""
    found = problem.details if isinstance(problem, Invalid) else ()
    sheet = _sheet(unit, place, given, found, request.form.getlist("confirm") if isinstance(problem, Unanswered) else ())
    if isinstance(problem, Stale):
        theirs = _sheet(unit, place)
        return _page(unit, place, sheet, problem=problem, theirs=_beside(theirs, sheet))
    return _page(unit, place, sheet, problem=problem, gone=typed.without_question(place.form, request.form))


def _beside(theirs: Sheet, yours: Sheet) -> list[tuple[str, str, str, bool]]:
    """Both versions side by side: question, what is saved, what was typed, and whether they differ."""
    names = {item.name for item in (*theirs.items, *yours.items) if item.typed_in}
    rows = []
    for item in (item for item in theirs.form.items if item.name in names):
        a, b = _said(theirs, item), _said(yours, item)
        rows.append((item.label, a, b, a != b))
    return rows


def _said(sheet: Sheet, item: Item) -> str:
    """What stands in a field, in words where it can be read."""
    if item.name in sheet.typed.missing:
        return f"No answer: {values.MISSING_REASONS.get(sheet.typed.missing[item.name], '')}"
    raw = sheet.typed.read(sheet.form).get(item.name)
    return wording.stored(item, raw, sheet.context.registers, blinded=sheet.blinded)


# --- rows ------------------------------------------------------------------------------------------------------------

#: A list of rows shows so many answers of each.
_COLUMNS = 5


def _rows(unit: Unit, place: Place) -> str:
    """The rows of a form at a visit, with their first answers."""
    book, blinded = places.book(unit, place), _blinded(unit, place)
    here = {"trial": place.protocol.id, "participant": place.participant.id, "visit": place.visit_code, "form": place.form.code}
    seen = [s for s in book.rows(place.form.code, place.visit_code) if not (blinded and s.instance.restricted)]
    views = [records.view(unit, replace(place, row=stored.instance.row)) for stored in seen]
    registers = places.context(unit, place, book).registers
    items = [i for i in place.form.items if i.typed_in and i.type != "text" and not (blinded and place.form.restricts(i))]
    used = [item for item in items if any(item.name in view.answers.values for view in views)][:_COLUMNS]
    return page(
        "form_rows.html",
        place.protocol,
        place=place,
        columns=used,
        rows=[(view, _url(view.place), [_shown(view, item, registers, blinded) for item in used]) for view in views],
        summary=_summary(views, blinded),
        begun=_begun(unit, place),
        steps=double_entry.STEPS,
        removed=[(row, _url(replace(place, row=row))) for row in sorted(_removed_rows(place, book, blinded))],
        obstacle=overview.entry(unit, place)[0],
        new=url_for("forms.new", **here),
        table=url_for("row_table.show", **here) if rows.short(place.form) else None,
    )


def _begun(unit: Unit, place: Place) -> list[tuple[double_entry.Line, str]]:
    """Rows that have been entered and have no version yet, with their addresses."""
    if not place.form.double_entry:
        return []
    here = (place.participant.id, place.visit_code, place.form.code)
    lines = double_entry.listed(unit, place.protocol.id, site=place.participant.site)
    return [(one, _url(replace(place, row=one.row))) for one in lines if (one.participant, one.visit, one.form) == here]


def _neighbours(place: Place, book: Casebook, blinded: bool) -> list[tuple[str, str, int, str]]:
    """The rows before and after this one that the reader may see: which, the key that leads there, number and address."""
    if not place.protocol.rows_at(place.form, place.visit):
        return []
    seen = [s.instance.row for s in book.rows(place.form.code, place.visit_code) if not (blinded and s.instance.restricted)]
    before, after = max((n for n in seen if n < place.row), default=0), min((n for n in seen if n > place.row), default=0)
    ways = (("prev", ",", before), ("next", ".", after))
    return [(which, key, row, _url(replace(place, row=row))) for which, key, row in ways if row]


def _removed_rows(place: Place, book: Casebook, blinded: bool) -> Iterator[int]:
    """Rows that were taken out, which the reader may see."""
    for (visit, form, row), stored in book.removed.items():
        if (visit, form) == (place.visit_code, place.form.code) and not (blinded and stored.instance.restricted):
            yield row


def _shown(view: View, item: Item, registers: wording.Registers, blinded: bool) -> str:
    return wording.answer(item, view.answers.values.get(item.name), registers, blinded=blinded)


def _summary(views: Sequence[View], blinded: bool) -> list[tuple[str, str]]:
    """What is worked out over all rows, for the reader."""
    if not views:
        return []
    form = views[-1].place.form
    shown = [item for item in form.summary if not (blinded and form.restricts(item))]
    return [(item.label, wording.answer(item, views[-1].summary.get(item.name), {}, blinded=blinded)) for item in shown]


# --- the audit trail -------------------------------------------------------------------------------------------------

#: What happened to a form -> its words.
ACTS = {
    "form.save": "Saved as draft",
    "form.finish": "Saved as complete",
    "form.amend": "Changed after it was complete",
    "form.annotate": "Answered beside what is signed",
    "form.verify": "Compared with the source",
    "form.sign": "Signed",
    "form.void": "Signature or verification void",
    "form.remove": "Row removed",
    "form.restore": "Row restored",
    "form.confirm": "Answers confirmed as right",
    "form.alert": "Alert",
    "deviation.open": "Deviation opened by the system",
    "deviation.settle": "Settled by the system: no deviation after all",
    **{f"query.{act}": f"Query {words[0].lower()}{words[1:]}" for act, words in query.ACTS.items()},
    "query.restrict": "Query restricted with its row",
}


def _parted(sheet: Sheet, lines: Sequence[trail.Line]) -> tuple[list[Any], list[Any]]:
    """Acts on the form as a whole, newest last, and the changes of each answer in the order of the form."""
    by_name = sheet.form.by_name
    acts: dict[Any, Any] = {}
    changes: dict[str, list[Any]] = {}
    for line in lines:
        item = by_name.get(line.field)
        if item is not None and line.field not in sheet.view.hidden_from_reader:
            old, new = (wording.stored(item, raw, sheet.context.registers, blinded=sheet.blinded) for raw in (line.old, line.new))
            changes.setdefault(line.field, []).append((line, old, new))
        if line.entity == "query" and line.field == "state":
            continue
        note = line.new if line.action in ("form.confirm", "form.alert") or (line.entity == "query" and line.field == "text") else ""
        said = ACTS.get(line.action, line.action), wording.DOORS.get(line.door, line.door)
        acts.setdefault((line.at, line.action, note), (line, *said, note))
    return list(acts.values()), [(by_name[name], changes[name]) for name in by_name if name in changes]
