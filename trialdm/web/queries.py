"""Queries as pages: the list, one query with what may be done about it, asking, and the run of all edit checks."""

from typing import Any

from flask import Blueprint, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.tables import as_csv
from trialdm.domain import lifecycle, query
from trialdm.domain.errors import TrialError
from trialdm.domain.protocol import Protocol
from trialdm.door.security import read, signed_in
from trialdm.services import checks, places, queries, records, register, studies
from trialdm.services.places import Place
from trialdm.services.queries import Found, Line, Wanted
from trialdm.services.unit import Unit
from trialdm.web import wording
from trialdm.web.layout import act, attached, form_page, page, part, sites_seen
from trialdm.web.typed import place

pages = Blueprint("queries", __name__, url_prefix="/trials/<trial>")

#: States by which the list is narrowed, with their words.
_STATES = {
    "unsettled": "Not closed yet",
    "waiting": "Waiting for an answer",
    "answered": "Answered",
    "closed": "Closed",
    "cancelled": "Cancelled",
}

#: So many queries stand on a page of the list.
_ON_A_PAGE = 200

_BANDS = {"0-7": "0 to 7", "8-14": "8 to 14", "15-30": "15 to 30", "31-60": "31 to 60", "over-60": "More than 60"}

#: Act -> what the page says once it is done.
_DONE = {
    "asked": "The query was sent to the site.",
    "answer": "Your answer was sent. Data management looks at it.",
    "close": "The query is closed.",
    "reopen": "The query was sent to the site again.",
    "cancel": "The query is cancelled.",
}

#: Code of an error -> the field that mends it, by act.
_FIELDS = {"QUERY.WORDS": "text", "GATE.GOV-41": "text", "QUERY.UNCHANGED": "response", "QUERY.RESPONSE": "response"}


# --- the list --------------------------------------------------------------------------------------------------------


@pages.get("/queries")
@signed_in
def listing(trial: str) -> str:
    """The queries that the person may see, narrowed as they choose."""

    def work(unit: Unit) -> str:
        protocol, wanted = studies.protocol(unit, trial), _wanted()
        return page(
            "queries.html",
            protocol,
            part=part(queries.listed(unit, trial, wanted), _ON_A_PAGE),
            narrowed={name: value for name, value in vars(wanted).items() if value},
            wanted=wanted,
            sites=sites_seen(unit, protocol, "query.see"),
            forms=sorted({*_asked_about(unit, trial), *filter(None, [wanted.form])}),
            states=_STATES,
            origins=query.ORIGINS,
            bands=_BANDS,
        )

    return read(work)


@pages.get("/queries.csv")
@signed_in
def listing_file(trial: str) -> AnyResponse:
    """The same queries as CSV."""
    rows = read(lambda unit: [line.to_json() for line in queries.listed(unit, trial, _wanted())])
    return attached(as_csv(rows, queries.COLUMNS), f"{trial}-queries.csv", "text/csv")


def _asked_about(unit: Unit, trial: str) -> set[str]:
    """Forms about which there is a query that the person sees."""
    return {line.form for line in queries.listed(unit, trial)}


def _wanted() -> Wanted:
    return Wanted(**{name: request.args.get(name, "") for name in ("state", "site", "form", "origin", "band", "participant")})


# --- asking ----------------------------------------------------------------------------------------------------------

_ABOUT = ("participant", "visit", "form", "row", "item")


@pages.get("/queries/new")
@signed_in
def new(trial: str) -> str:
    """The question about an item of a form, or about the form."""
    return read(lambda unit: _new(unit, trial))


@pages.post("/queries")
@signed_in
def ask(trial: str) -> AnyResponse:
    """Ask it."""

    def work(unit: Unit) -> str:
        return queries.ask(unit, _place(unit, trial), request.values.get("item", ""), request.form.get("text", "")).id

    return act(
        work, lambda unit, problem: _new(unit, trial, problem), lambda ident: url_for("queries.one", trial=trial, ident=ident, done="asked")
    )


def _place(unit: Unit, trial: str) -> Place:
    given = {name: request.values.get(name, "") for name in _ABOUT}
    row = int(given["row"]) if given["row"].isdecimal() and len(given["row"]) < 7 else 1
    return places.locate(unit, trial, given["participant"], given["visit"], given["form"], row)


def _new(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    at = _place(unit, trial)
    unit.require("query.raise", trial, at.participant.site)
    view = records.view(unit, at)
    asked = at.form.by_name.get(request.values.get("item", ""))
    item = asked if asked and asked.name not in view.hidden_from_reader else None
    blinded = not unit.sees_allocations(trial, at.participant.site)
    said = wording.answer(item, view.answers.values.get(item.name), register.choices(unit, trial), blinded=blinded) if item else ""
    return page(
        "query_new.html",
        at.protocol,
        place=at,
        item=item,
        saved=view.version,
        said=said,
        back=form_page(at.protocol, at.participant.id, at.visit_code, at.form.code, at.row),
        problem=problem,
        wrong=place(problem, _FIELDS),
        sent=request.form if problem else {},
    )


# --- one query -------------------------------------------------------------------------------------------------------


@pages.get("/queries/<ident>")
@signed_in
def one(trial: str, ident: str) -> str:
    """A query, everything that happened to it, and what the person may do."""
    return read(lambda unit: _one(unit, trial, ident))


@pages.post("/queries/<ident>/<any(answer, close, reopen, cancel):event>")
@signed_in
def step(trial: str, ident: str, event: str) -> AnyResponse:
    """Answer, close, ask again, or take back."""
    text, seen = request.form.get("text", ""), request.form.get("seen", type=int)

    def work(unit: Unit) -> None:
        if event == "answer":
            queries.answer(unit, trial, ident, request.form.get("response", ""), text, seen=seen)
        elif event == "close":
            queries.close(unit, trial, ident, text, seen=seen)
        elif event == "reopen":
            queries.reopen(unit, trial, ident, text, seen=seen)
        else:
            queries.cancel(unit, trial, ident, text, seen=seen)

    return act(
        work,
        lambda unit, problem: _one(unit, trial, ident, problem, event),
        lambda _: url_for("queries.one", trial=trial, ident=ident, done=event),
    )


def _one(unit: Unit, trial: str, ident: str, problem: TrialError | None = None, event: str = "") -> str:
    found = queries.one(unit, trial, ident)
    line = found.line
    protocol = studies.protocol_at(unit, trial, line.site)
    field = place(problem, _FIELDS)
    return page(
        "query.html",
        protocol,
        query=line,
        steps=[(step, query.ACTS[step.act], _said(unit, protocol, found, step.value)) for step in found.steps],
        now=found.may,
        responses=query.RESPONSES,
        origins=query.ORIGINS,
        visit=protocol.visit(line.visit).label,
        form=protocol.form(line.form),
        address=form_page(protocol, line.participant, line.visit, line.form, line.row) + (f"#q-{line.item}" if line.item else ""),
        done=_DONE.get(request.args.get("done", ""), ""),
        problem=problem,
        event=event,
        wrong=f"{event}-{field}" if field else "",
        sent=request.form if problem else {},
    )


def _said(unit: Unit, protocol: Protocol, found: Found, value: Any) -> str:
    """What stood there, in words: one answer, or each of those that a check names."""
    line, form = found.line, protocol.form(found.line.form)
    if not line.item or value is None:
        return ""
    registers, blinded = register.choices(unit, protocol.id), not unit.sees_allocations(protocol.id, line.site)
    several = isinstance(value, dict) and "missing" not in value
    held = value if several else {line.item: value}
    parts = [
        (form.by_name[name].label, wording.stored(form.by_name[name], raw, registers, blinded=blinded) or "no answer")
        for name, raw in held.items()
        if name in form.by_name
    ]
    return "; ".join(f"{label}: {words}" for label, words in parts) if several else "; ".join(words for _, words in parts)


# --- beside the questions of a form -------------------------------------------------------------------------------------


def marks(unit: Unit, at: Place) -> dict[str, Any]:
    """What the page of a form shows of queries: those of each item (empty: of the form), and whether the reader may ask."""
    found: dict[str, list[Line]] = {}
    for line in queries.about_form(unit, at):
        found.setdefault(line.item, []).append(line)
    trial, person = at.protocol.id, at.participant
    asks = {"participant": person.id, "visit": at.visit_code, "form": at.form.code, "row": at.row}
    return {
        "of": found,
        "ask": url_for("queries.new", trial=trial, **asks) if queries.may_ask(unit, at) else "",
        "label": lifecycle.label,
    }


# --- ageing (RP-04) --------------------------------------------------------------------------------------------------


@pages.get("/query-ageing")
@signed_in
def ageing(trial: str) -> str:
    """How old the queries are, by site and by form."""

    def work(unit: Unit) -> str:
        found = queries.ageing(unit, trial)
        groups = [("site", "By site", found.sites), ("form", "By form", found.forms)]
        return page("query_ageing.html", studies.protocol(unit, trial), overall=found.overall, groups=groups, bands=_BANDS)

    return read(work)


@pages.get("/query-ageing.csv")
@signed_in
def ageing_file(trial: str) -> AnyResponse:
    """The same figures as CSV."""
    return attached(as_csv(read(lambda unit: queries.ageing(unit, trial).table())), f"{trial}-RP-04.csv", "text/csv")


# --- edit checks in batch --------------------------------------------------------------------------------------------


@pages.get("/checks")
@signed_in
def preview(trial: str) -> str:
    """What a run of all edit checks would ask: of a site or a form once that is chosen, and nothing is written."""
    return read(lambda unit: _checks(unit, trial))


@pages.post("/checks")
@signed_in
def run(trial: str) -> AnyResponse:
    """Run them."""
    done: list[checks.Outcome] = []

    def work(unit: Unit) -> None:
        done.append(checks.run(unit, trial, site=_chosen("site"), form=_chosen("form"), alerts=bool(_chosen("alerts"))))

    def onward(_: None) -> str:
        return url_for("queries.preview", trial=trial, opened=done[-1].opened, closed=done[-1].closed)

    return act(work, lambda unit, problem: _checks(unit, trial, problem), onward)


def _chosen(name: str) -> str:
    return request.values.get(name, "")


def _checks(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    unit.require("checks.run", trial)
    protocol = studies.protocol(unit, trial)
    wants = {name: _chosen(name) for name in ("site", "form", "alerts")}
    looking = "look" in request.args and problem is None
    given = {"site": wants["site"], "form": wants["form"], "alerts": bool(wants["alerts"])}
    blinded = not unit.sees_allocations(trial, wants["site"] or None)
    return page(
        "checks.html",
        protocol,
        outcome=checks.run(unit, trial, dry=True, **given) if looking else None,
        sites=sites_seen(unit, protocol, "query.see"),
        forms=[form for form in protocol.forms if form.kind != "system" and not (blinded and form.restricted)],
        wants=wants,
        opened=request.args.get("opened", type=int),
        closed=request.args.get("closed", type=int),
        problem=problem,
    )
