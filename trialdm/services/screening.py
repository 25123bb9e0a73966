"""The screening log: everybody who was considered for the trial, with what came of it. It holds nothing that identifies anybody."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from trialdm.domain.protocol import Protocol
from trialdm.domain.screening import outcome
from trialdm.services import casebooks, participants, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit
from trialdm.store.tables import Participant


@dataclass(frozen=True)
class Entry:
    """One line of the log: `outcome` is a key of `screening.OUTCOMES`, `reasons` are codes with their words."""

    number: str
    participant: str
    site: str
    screened_on: date | None
    outcome: str
    reasons: dict[int, str]

    def to_json(self) -> dict[str, Any]:
        """The entry as the API, the command line and CSV files give it."""
        return {
            "number": self.number,
            "participant": self.participant,
            "site": self.site,
            "screened_on": self.screened_on.isoformat() if self.screened_on else None,
            "outcome": self.outcome,
            "reasons": sorted(self.reasons),
        }


def log(unit: Unit, trial: str, *, site: str = "", came: str = "", reason: int | None = None) -> list[Entry]:
    """The log of the sites that the person sees, by site and number; a transferred participant stays in the log of the site that
    enrolled them, for those who see both. Of one site, one outcome or one reason where they are named.

    Raises Forbidden, and Missing for an unknown site.
    """
    if site:
        studies.protocol(unit, trial).site(site)
        unit.require("participant.see", trial, site)
    kept = unit.sites("participant.see", trial)
    people = [row for row, _ in participants.listed(unit, trial) if site in ("", row.enrolled_site)]
    people = [row for row in people if kept is None or row.enrolled_site in kept]
    forms = {at[1] for protocol in studies.alive(unit, trial) if (at := entered_at(protocol))}
    books = casebooks.some_forms(unit, trial, people, forms)
    entries = [entry(studies.protocol_at(unit, trial, row.site), row, books[row.id]) for row in people]
    return [one for one in entries if came in ("", one.outcome) and (reason is None or reason in one.reasons)]


def entry(protocol: Protocol, row: Participant, book: Casebook) -> Entry:
    """The line of one participant, whether or not the form has been filled in."""
    found = protocol.meaning("screened_on")
    stored = book.first(found[0].code) if found else None
    said: dict[str, Any] = {}
    if found and stored:
        answers = stored.answers(found[0]).values
        said = {item.means: answers.get(item.name) for item in found[0].items if item.means}
    chosen = said.get("screened_reason") or ()
    words = reasons(protocol)
    return Entry(
        participants.screening_number(row),
        row.id,
        row.enrolled_site,
        casebooks.as_day(said.get("screened_on")),
        outcome(*(said.get(f"screened_{step}") for step in ("eligible", "approached", "consented"))),
        {code: words.get(code, str(code)) for code in chosen},
    )


def reasons(protocol: Protocol) -> dict[int, str]:
    """The coded reasons for not entering, with their words."""
    found = protocol.meaning("screened_reason")
    codelist = found[1].codelist if found else None
    return {code.value: code.label for code in codelist.codes} if codelist else {}


def entered_at(protocol: Protocol) -> tuple[str, str] | None:
    """Visit and form at which somebody is entered into the log; None where the protocol keeps none."""
    found = protocol.meaning("screened_on")
    return (next(iter(found[0].visits)), found[0].code) if found else None
