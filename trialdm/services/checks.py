"""All edit checks over all saved forms with the definitions of today: what a check asks becomes a query, once.

Time in a check is the moment at which the form was saved, so that a run tells the same tomorrow. What nobody confirmed asks; what
fires no more closes its query. Alerts are counted, and ask only where that is wanted: they were told when they arose. Whoever is
blinded at a site runs nothing on restricted forms, rows and items there, and learns nothing of them.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, select

from trialdm.domain import crf, query
from trialdm.domain.crf import Finding, Form
from trialdm.domain.errors import Missing
from trialdm.domain.protocol import Protocol
from trialdm.services import allocations, casebooks, holds, queries, register, studies
from trialdm.services.casebooks import Casebook, Key, Stored
from trialdm.services.queries import named
from trialdm.services.unit import Unit, remember
from trialdm.store.tables import FormInstance, FormVersion, Participant, Query, QueryAct

#: So many participants are read at once.
_AT_ONCE = 200

#: States of a form in which it is asked about nothing.
_EMPTY = ("blank", "removed")


@dataclass
class Tally:
    """What one check of one item found: `found` times, `asks` new queries, and `standing` ones that were asked before."""

    form: str
    check: str
    item: str
    severity: str
    message: str
    found: int = 0
    asks: int = 0
    standing: int = 0


@dataclass
class Outcome:
    """What a run found and did, or would do: forms read, prompts confirmed earlier, queries opened and closed."""

    dry: bool
    forms: int = 0
    confirmed: int = 0
    opened: int = 0
    closed: int = 0
    tallies: dict[tuple[str, str, str], Tally] = field(default_factory=dict)

    def lines(self) -> list[Tally]:
        """By form, check and item."""
        return [tally for _, tally in sorted(self.tallies.items())]

    def found(self) -> dict[str, int]:
        """How many findings of each severity."""
        return {s: sum(tally.found for tally in self.tallies.values() if tally.severity == s) for s in ("hard", "soft", "alert")}

    def to_json(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry,
            "forms": self.forms,
            "found": self.found(),
            "confirmed": self.confirmed,
            "opened": self.opened,
            "closed": self.closed,
            "checks": [vars(tally) for tally in self.lines()],
        }


@dataclass(frozen=True)
class _Run:
    """What holds for a whole run."""

    unit: Unit
    trial: str
    form: str
    asking: Collection[str]
    outcome: Outcome
    registers: Mapping[str, Mapping[int, str]]


def run(unit: Unit, trial: str, *, site: str = "", form: str = "", alerts: bool = False, dry: bool = False) -> Outcome:
    """Run all checks over a trial, a site or a form; a `dry` run writes nothing. Nothing is asked about what is
    locked. Raises Forbidden, WrongState where the trial is over or not begun, and Missing for what is not there."""
    unit.require("checks.run", trial, site or None)
    if not dry:
        register.lock(unit, trial)
        queries.require_working(unit, trial)
    protocol = studies.protocol(unit, trial)
    sites = [protocol.site(site).code] if site else [one.code for one in protocol.sites]
    asking = ("hard", "soft", "alert") if alerts else ("hard", "soft")
    outcome = Outcome(dry)
    its = _Run(unit, trial, protocol.form(form).code if form else "", asking, outcome, register.choices(unit, trial))
    for code in sites:
        for people in _in_parts(unit, trial, code):
            _check_people(its, studies.protocol_at(unit, trial, code), code, people)
    if not dry:
        unit.record("checks.run", trial=trial, entity="trial", entity_id=trial, site=site)
    return outcome


def _in_parts(unit: Unit, trial: str, site: str) -> Iterator[Sequence[Participant]]:
    wanted = select(Participant).where(Participant.trial_id == trial, Participant.site == site)
    people = unit.session.scalars(wanted.order_by(Participant.enrolled_site, Participant.number)).all()
    for start in range(0, len(people), _AT_ONCE):
        yield people[start : start + _AT_ONCE]


def _check_people(its: _Run, protocol: Protocol, site: str, people: Sequence[Participant]) -> None:
    unit, trial, idents = its.unit, its.trial, [person.id for person in people]
    blinded = not unit.sees_allocations(trial, site)
    arms = {} if blinded else _arms(unit, protocol)
    books, confirmed, asked = casebooks.whole(unit, trial, people), _confirmed(unit, trial, idents), _asked(unit, trial, idents)
    for book in books.values():
        facts = book.facts(protocol)
        for key, stored in sorted({**book.forms, **book.removed}.items()):
            form = _defined(protocol, key)
            if form is None or form.kind == "system" or its.form not in ("", form.code):
                continue
            if blinded and stored.restricted(form):
                continue
            here = [one for one in asked.get((book.participant.id, *key), ()) if not (blinded and one[0].restricted)]
            arm = arms.get(book.participant.id)
            _check_form(its, book, key, stored, form, protocol, facts, arm, confirmed.get(stored.instance.id, ()), here, blinded=blinded)


def _defined(protocol: Protocol, key: Key) -> Form | None:
    """The form of a place, unless the protocol has no such form or visit any more."""
    try:
        protocol.visit(key[0])
        return protocol.form(key[1])
    except Missing:
        return None


def _arms(unit: Unit, protocol: Protocol) -> dict[str, int]:
    """The arm of everybody who has one, for the rules of restricted forms."""

    def find() -> dict[str, int]:
        try:
            return allocations.all_arms(unit, protocol)
        except Missing:
            return {}

    return remember(unit, ("arms", protocol.id), find)


def _confirmed(unit: Unit, trial: str, idents: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Ids of the soft findings that somebody confirmed with the newest version of each form."""
    newest = and_(
        FormVersion.trial_id == FormInstance.trial_id, FormVersion.instance_id == FormInstance.id, FormVersion.seq == FormInstance.seq
    )
    rows = unit.session.execute(
        select(FormInstance.id, FormVersion.confirmed)
        .join(FormVersion, newest)
        .where(FormInstance.trial_id == trial, FormInstance.participant_id.in_(idents), FormVersion.confirmed != "")
    )
    return {ident: tuple(json.loads(text)) for ident, text in rows}


_Asked = tuple[Query, QueryAct]


def _asked(unit: Unit, trial: str, idents: Sequence[str]) -> dict[tuple[str, str, str, int], list[_Asked]]:
    """What checks have asked before, by place, each with its newest act."""
    newest = and_(QueryAct.trial_id == Query.trial_id, QueryAct.query_id == Query.id, QueryAct.seq == Query.seq)
    rows = unit.session.execute(
        select(Query, QueryAct)
        .join(QueryAct, newest)
        .where(Query.trial_id == trial, Query.origin == "rule", Query.participant_id.in_(idents))
        .order_by(Query.number)
    )
    found: dict[tuple[str, str, str, int], list[_Asked]] = {}
    for row, act in rows:
        found.setdefault((row.participant_id, row.visit, row.form, row.row), []).append((row, act))
    return found


def _check_form(
    its: _Run,
    book: Casebook,
    key: Key,
    stored: Stored,
    form: Form,
    protocol: Protocol,
    facts: Mapping[str, Any],
    arm: int | None,
    confirmed: Sequence[str],
    asked: Sequence[_Asked],
    *,
    blinded: bool,
) -> None:
    outcome = its.outcome
    fires: set[tuple[str, str]] = set()
    if stored.status not in _EMPTY:
        verdict = _judged(its, book, key, stored, form, protocol, facts, arm, confirmed)
        outcome.forms += 1
        outcome.confirmed += sum(not (blinded and _restricted(form, one)) for one in verdict.confirmed)
        for finding in verdict.findings:
            if not (blinded and _restricted(form, finding)):
                _count(its, book, key, form, finding, stored, asked)
        fires = {named(form, finding) for finding in (*verdict.findings, *verdict.confirmed)}
    for row, _ in asked:
        if row.state in query.UNSETTLED and (row.rule, row.item) not in fires:
            outcome.closed += 1
            if not outcome.dry:
                queries.settle(its.unit, row, book, form)


def _judged(
    its: _Run,
    book: Casebook,
    key: Key,
    stored: Stored,
    form: Form,
    protocol: Protocol,
    facts: Mapping[str, Any],
    arm: int | None,
    confirmed: Sequence[str],
) -> crf.Verdict:
    document = {part: _of_form(form, held) for part, held in json.loads(stored.data).items()}
    system: dict[str, Any] = {}
    if any(item.system for item in form.items):
        given = stored.answers(form).values
        system = {item.name: given[item.name] for item in form.items if item.system and item.name in given}
    visit = protocol.visit(key[0])
    beside = casebooks.beside(
        book, facts, form, visit, protocol.visits, key, stored.saved_at, registers=its.registers, arm=arm, system=system
    )
    answers, missing = document.get("answers", {}), document.get("missing", {})
    return crf.validate(form, answers, missing, beside, complete=stored.finished, confirmed=confirmed)


def _of_form(form: Form, held: Mapping[str, Any]) -> dict[str, Any]:
    """What is held of items that the form still has."""
    return {name: raw for name, raw in held.items() if name in form.by_name}


def _restricted(form: Form, finding: Finding) -> bool:
    return any(name in form.by_name and form.restricts(form.by_name[name]) for name in finding.items)


def _count(its: _Run, book: Casebook, key: Key, form: Form, finding: Finding, stored: Stored, asked: Sequence[_Asked]) -> None:
    """Count a finding, and ask about it where nobody has."""
    ident, item = named(form, finding)
    tally = its.outcome.tallies.setdefault((form.code, ident, item), Tally(form.code, ident, item, finding.severity, finding.message))
    tally.found += 1
    if finding.severity not in its.asking:
        return
    restricted = bool(form.restricted or stored.instance.restricted) or _restricted(form, finding)
    value = queries.in_question(form, item, ident, stored.answers(form), restricted=restricted)
    earlier = [(row, act) for row, act in asked if (row.rule, row.item) == (ident, item)]
    if any(query.asked_before(query.Act(act.act, act.by, act.response, act.value), row.state, value) for row, act in earlier):
        tally.standing += 1
        return
    held = holds.over(its.unit, its.trial, book.participant, stored.instance)
    if held is not None and held.locked:
        return
    tally.asks += 1
    its.outcome.opened += 1
    if not its.outcome.dry:
        queries.open_one(its.unit, book, key, form, item, "rule", finding.message, rule=ident, restricted=restricted)
