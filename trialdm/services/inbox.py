"""What waits for a person: signatures, second checks, confirmations and deadlines, gathered over all of their trials.

Nothing is kept here. Each thing is found where it is decided, so that it leaves the list when it is done.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from trialdm.domain import ethics, pathway
from trialdm.domain.protocol import Protocol
from trialdm.services import approvals, clocks, delegations, double_entry, holds, queries, register, signatures, studies, visits
from trialdm.services.unit import Unit

#: kind -> what the person is asked to do.
KINDS = {
    "deadline": "Meet a deadline",
    "sign": "Sign a line of the delegation log",
    "countersign": "Countersign a line of the delegation log",
    "check": "Check a decision as the second person",
    "confirm": "Confirm a notice",
    "expiry": "Renew or replace",
    "lock": "Confirm as the second person",
    "signature": "Sign casebooks",
    "visit": "Hold a visit, or say why it was missed",
    "second": "Enter forms a second time",
    "settle": "Settle what two entries differ in",
    "query": "Answer queries",
    "answered": "Close queries that were answered",
}

#: States of a deadline in which it is shown to its owner.
_PRESSING = ("overdue", "today", "soon")


@dataclass(frozen=True)
class Waiting:
    """One thing that waits for the reader: what it is, by which day where there is one, and what names it (`about`)."""

    trial: str
    kind: str
    what: str
    site: str = ""
    due: date | None = None
    late: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "due": self.due, "about": dict(self.about)}


def waiting(unit: Unit) -> list[Waiting]:
    """Everything that waits for the reader: what is late first, then by day, then what has no day. Raises SignedOut for nobody."""
    unit.require_somebody()
    running = [protocol for protocol in studies.protocols(unit) if not protocol.historical]
    found = [one for protocol in running for source in _SOURCES for one in source(unit, protocol)]
    return sorted(found, key=lambda one: (not one.late, one.due or date.max, one.trial, one.kind, one.what))


def _deadlines(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    if not unit.may("approvals.see", protocol.id):
        return
    moment = clocks.now(unit)
    for one in clocks.listed(unit, protocol.id):
        if one.state(moment) in _PRESSING and clocks.owes(unit, protocol.id, one):
            yield Waiting(protocol.id, "deadline", one.title, one.site, one.last_day, one.late(moment), {"key": one.key})


def _lines(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    for line, step in delegations.waiting_for(unit, trial=protocol.id):
        what = line.name if step == "countersign" else ", ".join(line.tasks)
        yield Waiting(protocol.id, step, what, line.site, line.start, line.start < unit.today, {"line": line.id})


def _checks(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    if not unit.may("approvals.check", protocol.id):
        return
    for one in approvals.waiting(unit, protocol.id):
        if not approvals.recorded_by_me(unit, protocol.id, one.entry):
            what = f"{ethics.BODY_NAMES[one.body]}: {one.status.replace('_', ' ')}"
            yield Waiting(protocol.id, "check", what, one.site, about={"number": one.entry})


def _notices(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    """Notices to the governance lead of an organisation, which the lead confirms (GOV-53)."""
    if not protocol.treats:
        return
    on_record = register.read(unit, protocol.id)
    for site in protocol.sites:
        if not unit.may("notice.confirm", protocol.id, site.code):
            continue
        for notice in pathway.notices(on_record, site.code, unit.today):
            if notice.seen is None and notice.given.by != unit.actor.id:
                yield Waiting(protocol.id, "confirm", notice.given.text, site.code, about={"site": site.code})


def _endings(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    """What ends within thirty days in the delegation log, for whoever may propose its next line."""
    if protocol.treats or not unit.may("delegation.propose", protocol.id):
        return
    for one in delegations.expiring(unit, protocol.id, days=delegations.VERY_SOON):
        if unit.may("delegation.propose", protocol.id, one.site or None):
            what = f"{one.name}: {one.what}" if one.name else one.what
            yield Waiting(protocol.id, "expiry", what, one.site, one.ends, one.left < 0)


def _locks(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    for one, who in holds.asked_by_others(unit, protocol.id):
        what = f"{who.name} asked to {'unlock' if one.state == 'unlock_asked' else 'lock'} {one.name or 'the trial'}"
        yield Waiting(protocol.id, "lock", what, one.name if one.scope == "site" else "", about={"scope": one.scope, "ident": one.name})


def _signatures(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    """Casebooks of which nothing more is to come."""
    ready = Counter(one.site for one in signatures.waiting(unit, protocol) if one.over)
    for site, count in sorted(ready.items()):
        yield Waiting(protocol.id, "signature", f"{count} casebook{'' if count == 1 else 's'} of whom nothing more is to come", site)


def _visits(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    """Visits around their target day and overdue ones, for those who enter visit forms at the site."""
    for one, words in visits.waiting(unit, protocol):
        about = {"participant": one.participant, "visit": one.visit, "form": one.form}
        what = f"{one.participant}, {one.label}: {words[:1].lower()}{words[1:]}"
        yield Waiting(protocol.id, "visit", what, one.site, one.window.closes, one.standing == "overdue", about)


def _entries(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    """Forms that are entered twice and wait for the reader, by site."""
    if protocol.treats or not unit.may("form.see", protocol.id):
        return
    counts = Counter((one.next, one.site) for one in double_entry.listed(unit, protocol.id) if one.yours)
    for (step, site), count in sorted(counts.items()):
        yield Waiting(protocol.id, step, f"{count} form{'' if count == 1 else 's'}", site, about={"site": site})


def _queries(unit: Unit, protocol: Protocol) -> Iterator[Waiting]:
    """Queries that the reader may answer, and answered ones that the reader may close, by site."""
    if protocol.treats or not unit.may("query.see", protocol.id):
        return
    for kind, act, state in (("query", "answer", "waiting"), ("answered", "close", "answered")):
        if not unit.may(f"query.{act}", protocol.id):
            continue
        by_site: dict[str, list[int]] = {}
        for line in queries.to_do(unit, protocol.id, act):
            by_site.setdefault(line.site, []).append(line.age)
        for site, ages in by_site.items():
            what = f"{len(ages)} {'query' if len(ages) == 1 else 'queries'}, the oldest {max(ages)} day{'' if max(ages) == 1 else 's'} old"
            yield Waiting(protocol.id, kind, what, site, about={"site": site, "state": state})


_SOURCES: tuple[Callable[[Unit, Protocol], Iterator[Waiting]], ...] = (
    _deadlines,
    _lines,
    _checks,
    _notices,
    _endings,
    _locks,
    _signatures,
    _visits,
    _entries,
    _queries,
)
