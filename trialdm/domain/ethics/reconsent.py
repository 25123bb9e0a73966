"""Who has to consent again after a change of the documents (GOV-26): which version, since when at the site, how urgently.

A version that asks for consent again goes on asking when a later one takes its place: consent on the newest one answers both.
Source: HRA, examples of modifications; the flag of the modification itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from trialdm.domain.ethics.register import Document, Register
from trialdm.domain.protocol import Site

#: What everybody consents on.
CONSENTED_ON = ("PIS", "ICF")

#: What happens at visits until consent has been given again.
URGENCIES = {"block": "Visits wait for it", "warn": "Visits go on, with a warning"}


@dataclass(frozen=True)
class Renewal:
    """Consent that has to be given again on a `document`, or was on the day `done`.

    `given` is the code of the version consented on before (0: none on record), `asked_by` the version that asks, in use at the
    site `since` that day; `urgency` one of `URGENCIES`.
    """

    document: Document
    given: int
    asked_by: Document
    since: date
    urgency: str
    done: date | None = None


def renewals(register: Register, site: Site, consents: Sequence[tuple[date, Mapping[str, int]]], on: date) -> list[Renewal]:
    """What somebody has to consent on again by a day, and what they have: from their consents, oldest first.

    Several versions of one kind that wait are one renewal, on the version in use, as urgent as the most urgent of them.
    """
    found = []
    for kind in CONSENTED_ON:
        versions = register.in_use(kind, site, on)
        current = register.current_document(kind, site, on)
        if not consents or current is None:
            continue
        first, newest = (given.get(kind, 0) for _, given in (consents[0], consents[-1]))
        asking = [(since, document) for since, document in versions if document.reconsent and document.code > first]
        waiting = [(since, document) for since, document in asking if document.code > newest]
        for since, document in asking:
            if (since, document) not in waiting:
                done = next(day for day, given in consents if given.get(kind, 0) >= document.code)
                found.append(Renewal(document, first, document, since, document.reconsent, done))
        if waiting:
            urgency = "block" if any(document.reconsent == "block" for _, document in waiting) else "warn"
            since, asked_by = waiting[0]
            found.append(Renewal(current, newest, asked_by, since, urgency))
    return found
