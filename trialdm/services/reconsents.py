"""The worklist of those who have to consent again: it follows from the versions in use at each site and the consents on record."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from trialdm.domain import lifecycle
from trialdm.domain.ethics.reconsent import URGENCIES, Renewal, renewals
from trialdm.domain.protocol import UNSCHEDULED, Protocol
from trialdm.services import casebooks, participants, register, studies
from trialdm.services.unit import Unit


@dataclass(frozen=True)
class Line:
    """One renewal of one participant: what it is about, the document consented on before, why, and where it is entered."""

    participant: str
    site: str
    renewal: Renewal
    before: str
    modification: str
    why: str
    entered_at: tuple[str, str] | None

    def to_json(self) -> dict[str, Any]:
        """The line as the API and the command line give it."""
        renewal = self.renewal
        return {
            "participant": self.participant,
            "site": self.site,
            "kind": renewal.document.kind,
            "from": self.before or None,
            "to": renewal.document.title,
            "modification": self.modification or None,
            "why": self.why or None,
            "since": renewal.since.isoformat(),
            "urgency": renewal.urgency,
            "done": renewal.done.isoformat() if renewal.done else None,
        }


def listed(unit: Unit, trial: str, site: str = "") -> list[Line]:
    """Who has to consent again, and who did: waiting ones first, the most urgent first, at the sites that the person sees.

    Those for whom nothing more is to come are left out unless they did. Raises Forbidden, and Missing for an unknown site.
    """
    if site:
        studies.protocol(unit, trial).site(site)
        unit.require("participant.see", trial, site)
    people = [(row, state) for row, state in participants.listed(unit, trial) if site in ("", row.site)]
    read = ("consent_at", "capacity_lost")
    forms = {found[0].code for protocol in studies.alive(unit, trial) for name in read if (found := protocol.meaning(name))}
    books = casebooks.some_forms(unit, trial, [row for row, _ in people], forms)
    lines = []
    for row, state in people:
        protocol = studies.protocol_at(unit, trial, row.site)
        for renewal in _of_one(unit, protocol, books[row.id], unit.today):
            if renewal.done or state not in lifecycle.OVER:
                lines.append(_line(unit, protocol, row.id, row.site, renewal))
        if state not in lifecycle.OVER:
            lines += _regained(unit, protocol, books[row.id])
    order = list(URGENCIES)
    return sorted(lines, key=lambda x: (x.renewal.done is not None, order.index(x.renewal.urgency), x.renewal.since, x.site, x.participant))


def _of_one(unit: Unit, protocol: Protocol, book: casebooks.Casebook, on: date) -> list[Renewal]:
    found = protocol.meaning("consent_at")
    if found is None:
        return []
    given = [(at.date(), participants.consented_on(found[0], stored)) for at, stored in participants.consents(protocol, book)]
    return renewals(register.read(unit, protocol.id), protocol.site(book.participant.site), given, on)


def _regained(unit: Unit, protocol: Protocol, book: casebooks.Casebook) -> list[Line]:
    """Consent that is asked for again because somebody has regained capacity (GOV-20)."""
    person, lost, found = book.participant, protocol.meaning("capacity_lost"), protocol.meaning("consent_at")
    held = participants.capacity(unit, protocol, book) if lost and book.all_of(lost[0].code) else None
    form = register.read(unit, protocol.id).current_document("ICF", protocol.site(person.site), unit.today)
    given = participants.consents(protocol, book)
    if held is None or held.regained_on is None or held.renewed or form is None or found is None or not given:
        return []
    code = participants.consented_on(found[0], given[-1][1]).get("ICF", 0)
    line = _line(unit, protocol, person.id, person.site, Renewal(form, code, form, held.regained_on, "warn"))
    return [replace(line, modification="", why="Capacity was regained")]


def _line(unit: Unit, protocol: Protocol, participant: str, site: str, renewal: Renewal) -> Line:
    known = register.read(unit, protocol.id)
    before = known.document(renewal.document.kind, renewal.given)
    came_with = known.came_with(renewal.asked_by)
    return Line(
        participant,
        site,
        renewal,
        before.title if before else "",
        came_with.ref if came_with else renewal.asked_by.modification,
        came_with.title if came_with else "",
        _entered_at(protocol),
    )


def _entered_at(protocol: Protocol) -> tuple[str, str] | None:
    """Visit and form at which consent is entered again: the consent form among the events."""
    found = protocol.meaning("consent_at")
    events = [visit.code for visit in protocol.visits if visit.kind == "repeating" and visit.code != UNSCHEDULED]
    return next(((code, found[0].code) for code in events if found and code in found[0].visits), None)
