"""Derived items of one participant and of all: read, calculated and handed out, never stored.

Blinded readers get what is open, calculated from nothing else. Whoever reads allocations may ask for the restricted items as well;
each time is recorded.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trialdm.domain import derivations, values
from trialdm.domain.derivations import Derived, Known
from trialdm.domain.errors import Missing, Refused
from trialdm.domain.protocol import ANYWHERE, ARM_FACT, HERE, Derivation, Protocol
from trialdm.domain.values import Value
from trialdm.services import allocations, casebooks, participants, permissions, snapshots, studies
from trialdm.services.casebooks import Casebook, Key
from trialdm.services.unit import Unit
from trialdm.store.tables import Participant

#: The columns that stand before the derived items in a file, by what they have a row for.
KEYS = {"participant": ("participant", "site"), "visit": ("participant", "site", "visit")}


def of_book(protocol: Protocol, book: Casebook, arm: int | None, *, blinded: bool) -> Derived:
    """The derived items of a casebook. `arm` is handed in for those who may read it only."""
    forms = {code: protocol.form(code) for code in derivations.forms_read(protocol)}
    stored = {place: one for place, one in book.forms.items() if place[1] in forms}
    known = Known(
        {**book.facts(protocol), ARM_FACT: arm},
        {place: one.answers(forms[place[1]]).values for place, one in stored.items()},
        frozenset(place for place, one in stored.items() if one.instance.restricted and not forms[place[1]].restricted),
    )
    return derivations.derive(protocol, known, blinded=blinded)


# --- one participant -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One derived item: its value, and the forms with answers that it was calculated from (those that the reader may open)."""

    derivation: Derivation
    value: Value | None
    read: Sequence[Key] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.derivation.name,
            "label": self.derivation.item.label,
            "value": values.write(self.value),
            "meaning": self.derivation.meaning,
            "source": self.derivation.source,
            "restricted": self.derivation.restricted,
            "read": [{"visit": visit, "form": form, "row": row} for visit, form, row in self.read],
        }


@dataclass(frozen=True)
class OnePerson:
    """The derived items of a participant, and of each visit."""

    participant: Participant
    values: Sequence[Line]
    visits: Mapping[str, Sequence[Line]]
    restricted: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "participant": self.participant.id,
            "values": [line.to_json() for line in self.values],
            "visits": {visit: [line.to_json() for line in lines] for visit, lines in self.visits.items()},
        }


def of_person(unit: Unit, trial: str, typed: str) -> OnePerson:
    """The open derived items of a participant whom the person may see."""
    person = participants.find(unit, trial, typed)
    return _of_person(unit, trial, person, restricted=False)


def of_person_restricted(unit: Unit, trial: str, typed: str) -> OnePerson:
    """All derived items of a participant, for whoever reads allocations there; that they were read is recorded."""
    person = participants.find(unit, trial, typed)
    _require_unblinded(unit, trial, person.site)
    found = _of_person(unit, trial, person, restricted=True)
    unit.record(
        "report.read", trial=trial, entity="participant", entity_id=person.id, site=person.site, reason_text="Derived items, restricted"
    )
    return found


def may_open(unit: Unit, trial: str, site: str | None) -> bool:
    """Whether the person may ask for the restricted items of participants at a site (None: of all)."""
    protocol = studies.protocol(unit, trial)
    return any(one.restricted for one in protocol.derivations) and unit.sees_allocations(trial, site)


def _require_unblinded(unit: Unit, trial: str, site: str | None) -> None:
    if not unit.sees_allocations(trial, site):
        where = "at the site" if site else "for the whole trial"
        needs = f"An unblinded role {where}, or the trial unblinded."
        raise Refused("Hidden to keep you blinded.", code="GATE.GOV-45", needs=needs)


def _of_person(unit: Unit, trial: str, person: Participant, *, restricted: bool) -> OnePerson:
    protocol, book = studies.protocol(unit, trial), casebooks.read(unit, trial, person)
    arm = allocations.arm_of(unit, protocol, person.id) if restricted and protocol.schemes else None
    found = of_book(protocol, book, arm, blinded=not restricted)
    readable = _readable(unit, protocol, book)
    of_visits = derivations.shown(protocol, "visit", blinded=not restricted)
    return OnePerson(
        person,
        [
            Line(one, found.values.get(one.name), _read(protocol, readable, one, HERE))
            for one in derivations.shown(protocol, "participant", blinded=not restricted)
        ],
        {
            visit: [Line(one, given.get(one.name), _read(protocol, readable, one, visit)) for one in of_visits]
            for visit, given in found.visits.items()
        },
        restricted,
    )


def _readable(unit: Unit, protocol: Protocol, book: Casebook) -> list[Key]:
    """Where the forms stand that the person may open."""
    site = book.participant.site
    if not unit.may("form.see", protocol.id, site):
        return []
    sees = unit.sees_allocations(protocol.id, site)
    known = {form.code: form for form in protocol.forms}
    return [place for place, stored in sorted(book.forms.items()) if place[1] in known and (sees or not stored.restricted(known[place[1]]))]


def _read(protocol: Protocol, readable: Iterable[Key], one: Derivation, visit: str) -> list[Key]:
    """Which of these places a derived item reads; of a form with rows the first one stands for all."""
    wanted = {(found.form, visit if found.visit == HERE else found.visit) for found in one.reads}
    places = [place for place in readable if (place[1], place[0]) in wanted or (place[1], ANYWHERE) in wanted]
    repeating = {form.code for form in protocol.forms if form.repeating}
    first: dict[tuple[str, str, int], Key] = {}
    for place in places:
        first.setdefault((place[0], place[1], 0 if place[1] in repeating else place[2]), place)
    numbers = {at.code: at.number for at in protocol.visits}
    return sorted(first.values(), key=lambda place: (numbers.get(place[0], numbers.get(place[0][:1], 0)), place))


# --- everybody -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """One derived item over everybody, or over all visits that have something to calculate from. `codes` counts each code; numbers
    and days have the least and the greatest."""

    derivation: Derivation
    known: int
    missing: int
    codes: Mapping[int, int]
    least: Value | None = None
    greatest: Value | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.derivation.name,
            "label": self.derivation.item.label,
            "per": self.derivation.per,
            "restricted": self.derivation.restricted,
            "known": self.known,
            "missing": self.missing,
            "codes": {str(code): number for code, number in self.codes.items()},
            "least": values.write(self.least),
            "greatest": values.write(self.greatest),
        }


@dataclass(frozen=True)
class Everybody:
    """The derived items of a trial as they stood at a moment, of everybody whose data may be used."""

    protocol: Protocol
    as_of: datetime
    people: Sequence[tuple[Participant, Derived]]
    restricted: bool = False

    def shown(self, per: str) -> list[Derivation]:
        return derivations.shown(self.protocol, per, blinded=not self.restricted)

    def given(self, per: str) -> list[Mapping[str, Value]]:
        """The values of each participant, or of each visit of each of them."""
        if per == "participant":
            return [derived.values for _, derived in self.people]
        return [given for _, derived in self.people for given in derived.visits.values()]

    def tallies(self) -> list[Tally]:
        return [_tally(one, self.given(one.per)) for per in KEYS for one in self.shown(per)]

    def table(self, per: str) -> list[dict[str, Any]]:
        """A row for each participant, or visit: keys, and each item in its JSON form."""
        names = [one.name for one in self.shown(per)]
        if per == "participant":
            rows: Iterable[tuple[tuple[str, ...], Mapping[str, Value]]] = (
                ((who.id, who.enrolled_site), d.values) for who, d in self.people
            )
        else:
            rows = (((who.id, who.enrolled_site, visit), given) for who, d in self.people for visit, given in d.visits.items())
        return [
            {**dict(zip(KEYS[per], keys, strict=True)), **{name: values.write(given.get(name)) for name in names}} for keys, given in rows
        ]

    def columns(self, per: str) -> list[str]:
        """The columns of `table`, which stand there without any row too."""
        return [*KEYS[per], *(one.name for one in self.shown(per))]


def of_trial(unit: Unit, trial: str, as_of: datetime | None = None) -> Everybody:
    """The open derived items of everybody, now or as they stood at a moment."""
    return _of_trial(unit, trial, as_of, restricted=False)


def of_trial_restricted(unit: Unit, trial: str, as_of: datetime | None = None) -> Everybody:
    """All derived items of everybody, for whoever reads the allocations of the whole trial; that they were read is recorded."""
    unit.require("derived.see", trial)
    _require_unblinded(unit, trial, None)
    found = _of_trial(unit, trial, as_of, restricted=True)
    unit.record("report.read", trial=trial, entity="trial", entity_id=trial, reason_text="Derived items, restricted")
    return found


def _of_trial(unit: Unit, trial: str, as_of: datetime | None, *, restricted: bool) -> Everybody:
    """What may not be exported does not count here either (GOV-43)."""
    protocol = studies.protocol(unit, trial)
    unit.require("derived.see", trial)
    if not protocol.derivations:
        raise Missing(
            f"The protocol of {protocol.short_title} derives nothing.", code="PROTOCOL.NO_DERIVATIONS", needs="A file derivations.yaml."
        )
    moment = as_of or snapshots.last_change(unit, protocol, blinded=not restricted)
    books = snapshots.books(unit, protocol, moment, derivations.forms_read(protocol) | permissions.forms(protocol))
    used = permissions.without(books, permissions.read(unit, protocol, books, moment))
    arms = allocations.all_arms(unit, protocol, until=moment) if restricted and protocol.schemes else {}
    return Everybody(
        protocol,
        moment,
        [(book.participant, of_book(protocol, book, arms.get(book.participant.id), blinded=not restricted)) for book in used],
        restricted,
    )


def _tally(one: Derivation, given: Sequence[Mapping[str, Value]]) -> Tally:
    known = [value[one.name] for value in given if one.name in value]
    if one.item.holds in ("yn", "code"):
        counted = Counter(value for value in known if isinstance(value, int))
        labels = one.item.codelist.labels if one.item.codelist else (0, 1)
        return Tally(one, len(known), len(given) - len(known), {code: counted[code] for code in labels})
    ordered: list[Any] = sorted(known, key=lambda value: value)
    ends = (ordered[0], ordered[-1]) if ordered else (None, None)
    return Tally(one, len(known), len(given) - len(known), {}, *ends)
