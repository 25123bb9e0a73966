"""Queries: asking, answering, closing; what a saved form does to those about it; and lists of what the reader may see.

A query about something restricted is itself restricted: to a blinded reader it is not there, in no list, count or page.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import aliased

from trialdm.domain import lifecycle, query, roles, values
from trialdm.domain.crf import Answers, Finding, Form, Verdict
from trialdm.domain.errors import Forbidden, Invalid, Missing, Refused, Stale, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.query import Act
from trialdm.services import casebooks, holds, participants, register, studies
from trialdm.services.casebooks import Casebook, Key
from trialdm.services.unit import LONDON, Change, Unit, remember
from trialdm.store.tables import FormInstance, Participant, Query, QueryAct

if TYPE_CHECKING:  # saving a form stands on this room
    from trialdm.services.places import Place


@dataclass(frozen=True)
class Wanted:
    """Which queries are wanted; empty means all. `state` may be `unsettled`, `band` is a key of `query.BANDS`."""

    state: str = ""
    site: str = ""
    form: str = ""
    origin: str = ""
    band: str = ""
    participant: str = ""


@dataclass(frozen=True)
class Line:
    """A query as its reader sees it. `age` counts days from asking until closing, or until today; `restricted` as it stands now."""

    id: str
    number: str
    participant: str
    site: str
    visit: str
    form: str
    row: int
    item: str
    label: str
    origin: str
    rule: str
    state: str
    restricted: bool
    text: str
    opened_at: datetime
    opened_by: str
    changed_at: datetime
    age: int
    seq: int

    @property
    def place(self) -> str:
        """Where it stands, in words: visit, form, row, item."""
        row = f" row {self.row}" if self.row > 1 else ""
        return f"{self.visit} {self.form}{row}" + (f" {self.item}" if self.item else "")

    def to_json(self) -> dict[str, Any]:
        """The query as the API, the command line and CSV files give it."""
        days = {name: getattr(self, name).isoformat(timespec="seconds") for name in ("opened_at", "changed_at")}
        return {**vars(self), **days}


#: Columns of the queries as a file, with or without rows.
COLUMNS = tuple(one.name for one in fields(Line))


@dataclass(frozen=True)
class Step:
    """One act of a query as its reader sees it; `value` is the answer in question as it stood, None for a query about a form."""

    act: str
    response: str
    text: str
    value: Any
    version: int
    at: datetime
    by: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "at": self.at.isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Found:
    """One query with everything that happened to it, and the acts that the reader may take now."""

    line: Line
    steps: tuple[Step, ...]
    may: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**self.line.to_json(), "acts": [step.to_json() for step in self.steps], "may": list(self.may)}


# --- reading ---------------------------------------------------------------------------------------------------------


def listed(unit: Unit, trial: str, wanted: Wanted | None = None) -> list[Line]:
    """The queries that the reader may see, by number. Raises Forbidden, Missing for an unknown site or form, or Invalid."""
    unit.require("query.see", trial)
    asked = wanted or Wanted()
    protocol = studies.protocol(unit, trial)
    about = [Query.trial_id == trial]
    if asked.site:
        about.append(Participant.site == protocol.site(asked.site).code)
        unit.require("query.see", trial, asked.site)
    if asked.form:
        about.append(Query.form == protocol.form(asked.form).code)
    if asked.participant:
        about.append(Query.participant_id == participants.find(unit, trial, asked.participant).id)
    if asked.state:
        about.append(Query.state.in_(_states(asked.state)))
    if asked.origin:
        about.append(Query.origin == _one_of(asked.origin, query.ORIGINS))
    sites = unit.sites("query.see", trial)
    if sites is not None:
        about.append(Participant.site.in_(sites))
    lines = [line for _, line in _seen(unit, trial, about)]
    return [line for line in lines if query.band(line.age) == _one_of(asked.band, query.BANDS)] if asked.band else lines


def _states(state: str) -> Collection[str]:
    if state == "unsettled":
        return query.UNSETTLED
    return query.WAITING if state == "waiting" else (_one_of(state, (*query.UNSETTLED, "closed", "cancelled")),)


def _one_of(given: str, known: Collection[str]) -> str:
    if given not in known:
        raise Invalid(f"'{given}' is not one of: {', '.join(known)}.", code="QUERY.FILTER")
    return given


_FIRST, _PLACE = aliased(QueryAct), aliased(FormInstance)

#: Every query with the site of its participant, the words that opened it, and whether the row that it is about is restricted.
_QUERIES = (
    select(Query, Participant.site, _FIRST.text, _PLACE.restricted)
    .join(Participant, and_(Participant.trial_id == Query.trial_id, Participant.id == Query.participant_id))
    .join(_FIRST, and_(_FIRST.trial_id == Query.trial_id, _FIRST.query_id == Query.id, _FIRST.seq == 1))
    .outerjoin(
        _PLACE,
        and_(
            _PLACE.trial_id == Query.trial_id,
            _PLACE.participant_id == Query.participant_id,
            _PLACE.visit == Query.visit,
            _PLACE.form == Query.form,
            _PLACE.row == Query.row,
        ),
    )
    .order_by(Query.number)
)


def _seen(unit: Unit, trial: str, about: Iterable[Any]) -> Iterator[tuple[Query, Line]]:
    """Queries with their places, without those that the reader may not know of."""
    rows = unit.session.execute(_QUERIES.where(*about)).all()
    names = casebooks.names(unit, {row.opened_by for row, *_ in rows})
    for row, site, text, row_restricted in rows:
        protocol = studies.protocol_at(unit, trial, site)
        restricted = bool(row.restricted or row_restricted) or _restricts(protocol, row.form, row.item)
        if restricted and not _sees(unit, trial, site):
            continue
        line = Line(
            row.id,
            query.name(row.number),
            row.participant_id,
            site,
            row.visit,
            row.form,
            row.row,
            row.item,
            _label(protocol, row.form, row.item),
            row.origin,
            row.rule,
            row.state,
            restricted,
            text,
            row.opened_at,
            names.get(row.opened_by, ""),
            row.changed_at,
            _age(unit, row),
            row.seq,
        )
        yield row, line


def _age(unit: Unit, row: Query) -> int:
    last = unit.today if row.state in query.UNSETTLED else row.changed_at.astimezone(LONDON).date()
    return (last - row.opened_at.astimezone(LONDON).date()).days


def _sees(unit: Unit, trial: str, site: str) -> bool:
    return remember(unit, ("sees", unit.actor.id, trial, site), lambda: unit.sees_allocations(trial, site))


def _form(protocol: Protocol, code: str) -> Form | None:
    try:
        return protocol.form(code)
    except Missing:
        return None


def _restricts(protocol: Protocol, form: str, item: str) -> bool:
    """Whether the definition hides the form, or the item, from blinded readers."""
    found = _form(protocol, form)
    return found is not None and (found.restricted or (item in found.by_name and found.restricts(found.by_name[item])))


def _label(protocol: Protocol, form: str, item: str) -> str:
    found = _form(protocol, form)
    if found is None:
        return item or form
    return found.by_name[item].label if item in found.by_name else found.title


def one(unit: Unit, trial: str, ident: str) -> Found:
    """One query by its id or its number, with its history. Raises Missing for one that the reader may not know of."""
    row, line = _known(unit, trial, ident)
    acts = _acts(unit, row)
    names = casebooks.names(unit, {act.by for act in acts})
    whole = not row.item
    steps = tuple(
        Step(a.act, a.response, a.text, None if whole else json.loads(a.value), a.version, a.at, names.get(a.by, "")) for a in acts
    )
    return Found(line, steps, tuple(act for act in ("answer", "close", "reopen", "cancel") if _may(unit, row, line, acts, act)))


def _known(unit: Unit, trial: str, ident: str) -> tuple[Query, Line]:
    unit.require("query.see", trial)
    number = query.number(ident)
    about = [Query.trial_id == trial, Query.number == number if number is not None else Query.id == ident]
    found = next(_seen(unit, trial, about), None)
    if found is None or not unit.may("query.see", trial, found[1].site):
        raise Missing(f"There is no query {ident} that you may see.", code="QUERY.UNKNOWN")
    return found


def _acts(unit: Unit, row: Query) -> list[QueryAct]:
    about = (QueryAct.trial_id == row.trial_id, QueryAct.query_id == row.id)
    return list(unit.session.scalars(select(QueryAct).where(*about).order_by(QueryAct.seq)))


def _history(acts: Iterable[QueryAct]) -> list[Act]:
    return [Act(a.act, a.by, a.response, a.value, a.version) for a in acts]


def to_do(unit: Unit, trial: str, act: str) -> list[Line]:
    """The queries that wait for this act (`answer` or `close`) and that the reader may take it on."""
    mine = (QueryAct.trial_id == trial, QueryAct.act == "answer", QueryAct.by == unit.actor.id)
    answered = set(unit.session.scalars(select(QueryAct.query_id).where(*mine))) if act == "close" else set()
    sites, state = unit.sites("query.see", trial), "waiting" if act == "answer" else "answered"
    about = [Query.trial_id == trial, Query.state.in_(_states(state))]
    if sites is not None:
        about.append(Participant.site.in_(sites))
    return [line for row, line in _seen(unit, trial, about) if row.id not in answered and _may(unit, row, line, [], act)]


def about_form(unit: Unit, place: "Place") -> list[Line]:
    """The queries about one form that the reader may see; none for who sees no queries."""
    trial, person = place.protocol.id, place.participant
    if not unit.may("query.see", trial, person.site):
        return []
    return [line for _, line in _seen(unit, trial, [Query.trial_id == trial, *_at(person.id, place.key)])]


def _at(participant: str, key: Key) -> list[Any]:
    visit, form, row = key
    return [Query.participant_id == participant, Query.visit == visit, Query.form == form, Query.row == row]


# --- acts ------------------------------------------------------------------------------------------------------------


def ask(unit: Unit, place: "Place", item: str, text: str) -> Query:
    """A new query about an item of a form, or about the form (no item), saved or not.

    Raises Forbidden, Missing for an item that the form does not have, WrongState for what is locked and could not be corrected,
    Refused (GOV-45) for what would unblind, and Invalid.
    """
    trial, person, form = place.protocol.id, place.participant, place.form
    unit.require("query.raise", trial, person.site)
    if item and item not in form.by_name:
        raise Missing(f"Form {form.code} has no item '{item}'.", code="CRF.UNKNOWN_ITEM")
    register.lock(unit, trial)
    require_working(unit, trial)
    book = casebooks.hold(unit, person)
    stored = book.get(*place.key)
    row_restricted = form.restricted or bool(stored and stored.instance.restricted)
    restricted = row_restricted or bool(item and form.restricts(form.by_name[item]))
    if restricted and not unit.sees_allocations(trial, person.site):
        raise Refused("Hidden to keep you blinded.", code="GATE.GOV-45", needs="An unblinded role at this site.")
    holds.require_unlocked(unit, trial, person, stored.instance if stored else None, "asked")
    if not item and unit.sees_allocations(trial, person.site):
        restricted = restricted or any(form.restricts(one) for one in form.items)
    said = query.words(text, needed="Say what is asked.")
    held = roles_at(unit, trial, person.site)
    monitors = "monitor" in held and not held & {"data-manager", "unblinded-data-manager", "trial-manager"}
    return open_one(unit, book, place.key, form, item, "monitor" if monitors else "person", said, restricted=restricted)


def may_ask(unit: Unit, place: "Place") -> bool:
    """Whether the actor may ask about a form now: what is locked is not asked about, as it could not be corrected."""
    trial, person = place.protocol.id, place.participant
    stored = casebooks.read(unit, trial, person).get(*place.key)
    held = holds.over(unit, trial, person, stored.instance if stored else None)
    return unit.may("query.raise", trial, person.site) and not (held and held.locked)


def roles_at(unit: Unit, trial: str, site: str) -> set[str]:
    """The roles that the actor holds at a site."""
    return {grant.role for grant in unit.actor.grants if grant.covers(trial, site)}


def open_one(
    unit: Unit, book: Casebook, key: Key, form: Form, item: str, origin: str, text: str, *, rule: str = "", restricted: bool
) -> Query:
    """A new query, written and recorded; the caller has asked who may, and holds the trial."""
    person = book.participant
    row = Query(
        trial_id=person.trial_id,
        id=uuid.uuid4().hex,
        number=_next_number(unit, person.trial_id, restricted=restricted),
        participant_id=person.id,
        visit=key[0],
        form=key[1],
        row=key[2],
        item=item,
        origin=origin,
        rule=rule,
        restricted=int(restricted),
        state=lifecycle.INITIAL["query"],
        seq=0,
        opened_at=unit.now,
        opened_by=unit.actor.id,
        changed_at=unit.now,
    )
    unit.add(row)
    unit.session.flush()
    _write(unit, row, book, form, "open", text=text)
    return row


def _next_number(unit: Unit, trial: str, *, restricted: bool) -> int:
    """Counted in this unit once it has been read: a run of the checks opens many."""
    first = query.FIRST_RESTRICTED if restricted else 1
    kept = ("query number", trial, restricted)
    if kept not in unit.remembered:
        side = Query.number >= query.FIRST_RESTRICTED if restricted else Query.number < query.FIRST_RESTRICTED
        unit.remembered[kept] = unit.session.scalar(select(func.max(Query.number)).where(Query.trial_id == trial, side)) or first - 1
    unit.remembered[kept] += 1
    found: int = unit.remembered[kept]
    return found


def answer(unit: Unit, trial: str, ident: str, response: str, text: str, *, seen: int | None = None) -> Query:
    """The site's answer. Raises Forbidden, WrongState, Stale, and Invalid where it does not go with the data."""
    row, _, acts, book, form = _for_act(unit, trial, ident, "answer", seen)
    value, version = _stands(book, row, form)
    query.require_answer(_history(acts), response, value, version, whole=not row.item)
    needed = "Say why it cannot be obtained." if response == "unavailable" else ""
    return _write(unit, row, book, form, "answer", response=response, text=query.words(text, needed=needed))


def close(unit: Unit, trial: str, ident: str, text: str = "", *, seen: int | None = None) -> Query:
    """Close a query that was answered. Raises Forbidden for who answered it, and WrongState."""
    row, _, _, book, form = _for_act(unit, trial, ident, "close", seen)
    return _write(unit, row, book, form, "close", text=query.words(text))


def reopen(unit: Unit, trial: str, ident: str, text: str, *, seen: int | None = None) -> Query:
    """Ask again: the answer does not settle it, or it was closed too early."""
    row, _, _, book, form = _for_act(unit, trial, ident, "reopen", seen)
    stored = book.get(row.visit, row.form, row.row)
    holds.require_unlocked(unit, trial, book.participant, stored.instance if stored else None, "asked")
    return _write(unit, row, book, form, "reopen", text=query.words(text, needed="Say what is still asked."))


def cancel(unit: Unit, trial: str, ident: str, text: str, *, seen: int | None = None) -> Query:
    """Take a query back, with a reason: by who asked it, or a data manager."""
    row, _, _, book, form = _for_act(unit, trial, ident, "cancel", seen)
    return _write(unit, row, book, form, "cancel", text=query.words(text, needed="Say why the query is cancelled."))


def _for_act(unit: Unit, trial: str, ident: str, act: str, seen: int | None) -> tuple[Query, Line, list[QueryAct], Casebook, Form]:
    """What an act needs. Raises Forbidden, WrongState, or Stale where somebody was faster."""
    row, line = _known(unit, trial, ident)
    register.lock(unit, trial, shared=True)
    person = participants.find(unit, trial, row.participant_id)
    book = casebooks.hold(unit, person)
    unit.session.refresh(row)
    if seen is not None and seen != row.seq:
        raise Stale(
            f"Somebody else did something to query {line.number} first.", code="QUERY.STALE", needs="Open it again to see what was done."
        )
    acts = _acts(unit, row)
    _require(unit, row, line, acts, act)
    query.moved(row.state, act)
    require_working(unit, trial)
    return row, line, acts, book, studies.protocol_at(unit, trial, line.site).form(row.form)


def require_working(unit: Unit, trial: str) -> None:
    """Raises WrongState where the trial is over or not begun."""
    if studies.protocol(unit, trial).historical:
        return
    state = studies.state(unit, trial)
    if state not in lifecycle.RECORDING:
        said = f"The trial is {lifecycle.label(state)}: nothing is done about queries."
        raise WrongState(said, code="STATE.TRIAL", needs="The trial open or in follow-up.")


def _require(unit: Unit, row: Query, line: Line, acts: Iterable[QueryAct], act: str) -> None:
    """Raises Forbidden unless the actor may take this act, whatever state the query is in."""
    trial, held = row.trial_id, roles_at(unit, row.trial_id, line.site)
    if act == "answer":
        unit.require("query.answer", trial, line.site)
        kind = studies.protocol_at(unit, trial, line.site).form(row.form).kind
        if not held & roles.FORM_ENTRY[kind] & roles.ACTIONS["query.answer"]:
            who = ", ".join(sorted(roles.ROLES[r][0] for r in roles.FORM_ENTRY[kind] & roles.ACTIONS["query.answer"])) or "nobody"
            raise Forbidden(f"You may not enter form {row.form}, so others answer for it.", code="ROLE.FORM", needs=f"One of: {who}.")
    elif act == "cancel":
        query.require_cancelling(_history(acts), held, unit.actor.id)
    else:
        unit.require("query.close", trial, line.site)
        query.require_closing(_history(acts), row.origin, held, unit.actor.id, act=act)


def _may(unit: Unit, row: Query, line: Line, acts: list[QueryAct], act: str) -> bool:
    if not lifecycle.may("query", row.state, act):
        return False
    try:
        _require(unit, row, line, acts, act)
    except Forbidden:
        return False
    return True


def _write(
    unit: Unit,
    row: Query,
    book: Casebook,
    form: Form,
    act: str,
    *,
    response: str = "",
    text: str = "",
    by: str = "",
) -> Query:
    """The next act of a query, with what stands in the form now."""
    before, value = row.state, _stands(book, row, form)
    if act != "open":
        row.state = query.moved(row.state, act)
    row.seq, row.changed_at = row.seq + 1, unit.now
    step = QueryAct(
        trial_id=row.trial_id,
        query_id=row.id,
        seq=row.seq,
        act=act,
        response=response,
        text=text,
        value=value[0],
        version=value[1],
        at=unit.now,
        by=by or unit.actor.id,
    )
    unit.add(step)
    stream = "unblinded" if row.restricted else "open"
    said = ": ".join(part for part in (query.name(row.number), response, text) if part)
    unit.record(
        f"query.{act}",
        row,
        step,
        trial=row.trial_id,
        entity="query",
        entity_id=row.id,
        changes=[Change("state", None if act == "open" else before, row.state, stream), Change("text", None, said, stream)],
        site=book.participant.site,
    )
    unit.session.flush()
    return row


# --- the value in question -------------------------------------------------------------------------------------------


def _stands(book: Casebook, row: Query, form: Form) -> tuple[str, int]:
    """What a query is about as it stands now, and the version of the form."""
    stored = book.get(row.visit, row.form, row.row)
    if stored is None:
        return "null", 0
    return in_question(form, row.item, row.rule, stored.answers(form), restricted=bool(row.restricted)), stored.instance.seq


def in_question(form: Form, item: str, rule: str, answers: Answers, *, restricted: bool) -> str:
    """The value of the item as JSON, those of all items that a check names, or a fingerprint of the whole form.

    The fingerprint of a query that blinded people see leaves restricted answers out: it must not tell that one of them changed.
    """
    if item:
        check = next((check for check in form.checks if check.id == rule), None)
        names = [name for name in check.items if name in form.by_name] if check else [item]
        held: Any = {name: _held(answers, name) for name in names} if len(names) > 1 else _held(answers, names[0])
        return json.dumps(held, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    shown = [one.name for one in form.items if restricted or not form.restricts(one)]
    text = json.dumps({name: _held(answers, name) for name in shown}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(hashlib.sha256(text.encode()).hexdigest())


def _held(answers: Answers, name: str) -> Any:
    if name in answers.values:
        return values.write(answers.values[name])
    return {"missing": answers.missing[name]} if name in answers.missing else None


# --- what follows from a saved form ----------------------------------------------------------------------------------

_CHANGED = "The answer was changed after it had been confirmed."
_FIRES_NO_MORE = "The check fires no more: closed by the system."
_CONFIRMED = "Confirmed when the form was saved."


def follow(unit: Unit, place: "Place", book: Casebook, verdict: Verdict) -> None:
    """What a new version of a form does to the queries about it.

    A confirmed answer that changed opens its query again. A query of a check that fires no more is closed by the system, and
    one whose prompt was confirmed in saving is answered so. Nothing of a person's or a monitor's is closed.
    """
    trial = place.protocol.id
    about = [Query.trial_id == trial, *_at(place.participant.id, place.key), Query.state != "cancelled"]
    rows = unit.session.scalars(select(Query).where(*about).order_by(Query.number)).all()
    if not rows:
        return
    fires = {named(place.form, finding) for finding in (*verdict.findings, *verdict.confirmed)}
    confirmed = {named(place.form, finding) for finding in verdict.confirmed}
    stored = book.get(*place.key)
    for row in rows:
        if stored and stored.instance.restricted and not row.restricted:
            row.restricted = 1
            _restrict(unit, row, book)
        follow_one(unit, row, book, place.form, fires, confirmed)


def named(form: Form, finding: Finding) -> tuple[str, str]:
    """What names the query of a finding at its place: the check and its first item."""
    return finding.id, next((name for name in finding.items if name in form.by_name), "")


def follow_one(
    unit: Unit, row: Query, book: Casebook, form: Form, fires: Collection[tuple[str, str]], confirmed: Collection[tuple[str, str]]
) -> bool:
    """What the answers as they stand do to one query; gives whether it was settled."""
    ruled = row.origin == "rule"
    if ruled and (row.rule, row.item) not in fires:
        return row.state in query.UNSETTLED and settle(unit, row, book, form)
    acts = _history(_acts(unit, row))
    if query.outdated(acts, row.state, _stands(book, row, form)[0]):
        _write(unit, row, book, form, "reopen", text=_CHANGED, by=query.NOBODY)
    if ruled and row.state in query.WAITING and (row.rule, row.item) in confirmed:
        _write(unit, row, book, form, "answer", response="confirmed", text=_CONFIRMED)
    return False


def settle(unit: Unit, row: Query, book: Casebook, form: Form) -> bool:
    """Close the query of a check that fires no more."""
    _write(unit, row, book, form, "settle", response="corrected", text=_FIRES_NO_MORE, by=query.NOBODY)
    return True


def _restrict(unit: Unit, row: Query, book: Casebook) -> None:
    """A query whose row has become restricted."""
    unit.record(
        "query.restrict",
        row,
        trial=row.trial_id,
        entity="query",
        entity_id=row.id,
        changes=[Change("restricted", 0, 1, "unblinded")],
        site=book.participant.site,
    )


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """RP-04 over the queries that the reader sees: altogether, by site and by form."""

    overall: query.Ageing
    sites: list[query.Ageing]
    forms: list[query.Ageing]

    def table(self) -> list[dict[str, Any]]:
        """One row for the whole, each site and each form."""
        return [_as_row(kind, one) for kind, some in (("all", [self.overall]), ("site", self.sites), ("form", self.forms)) for one in some]


def _as_row(kind: str, found: query.Ageing) -> dict[str, Any]:
    return {"by": kind, "of": found.key, "unsettled": found.total, **found.bands, "closed": found.closed, "median_days": found.median}


def ageing(unit: Unit, trial: str, *, site: str = "") -> Report:
    """How old the unsettled queries are, and how long the closed ones took."""
    lines = listed(unit, trial, Wanted(site=site))
    by_site: dict[str, list[tuple[str, int]]] = {}
    by_form: dict[str, list[tuple[str, int]]] = {}
    for line in lines:
        by_site.setdefault(line.site, []).append((line.state, line.age))
        by_form.setdefault(line.form, []).append((line.state, line.age))
    return Report(query.ageing("", [(line.state, line.age) for line in lines]), _grouped(by_site), _grouped(by_form))


def _grouped(found: Mapping[str, list[tuple[str, int]]]) -> list[query.Ageing]:
    return [query.ageing(key, found[key]) for key in sorted(found)]
