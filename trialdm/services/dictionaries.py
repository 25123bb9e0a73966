"""Terms by which events are coded: the trial's own list, and a licensed dictionary that somebody loads; the events that wait for a
code, with suggestions; and giving one."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Select, func, select

from trialdm.domain import safety, values
from trialdm.domain.crf import Form, Item
from trialdm.domain.errors import Conflict, Invalid, Missing
from trialdm.domain.protocol import Protocol, Term
from trialdm.services import casebooks, places, records, studies
from trialdm.services.records import Submission
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import Participant
from trialdm.store.tables import Term as Row

#: The name under which the trial's own list stands beside dictionaries.
OWN = "own list"

#: A MedDRA file: its name -> place of the broader term, and of the flag that says whether a term is current (-1: none).
_MEDDRA = {"llt.asc": (2, 9), "pt.asc": (3, -1)}

_LONGEST_CODE = 12


@dataclass(frozen=True)
class Dictionary:
    """A version of a dictionary as it was loaded."""

    name: str
    version: str
    terms: int


@dataclass(frozen=True)
class Waiting:
    """An event without a code, with the terms that may fit."""

    participant: str
    site: str
    visit: str
    form: str
    row: int
    version: int
    term: str
    suggestions: tuple[Term, ...]

    @property
    def key(self) -> str:
        return f"{self.participant}-{self.row}"


# --- loading ---------------------------------------------------------------------------------------------------------


def load(unit: Unit, trial: str, file: str, text: str, *, name: str, version: str) -> int:
    """Load a dictionary, or add a further file of it; gives how many terms are new.

    `file` is the name of the file: MedDRA's `llt.asc` or `pt.asc` (separated by $), or a CSV with the columns code, term and up.
    Raises Invalid for what is no such file, and Conflict where a code is there already with another term.
    """
    unit.require("event.code", trial)
    studies.protocol(unit, trial)
    name, version = name.strip(), version.strip()
    if not name or not version or name == OWN:
        raise Invalid("Give the dictionary a name and a version.", code="DICTIONARY.NAME", needs="Such as MedDRA and 27.1.")
    known = {row.code: row.term for row in unit.session.scalars(_of(trial, name, version))}
    fresh: dict[str, Term] = {}
    for term in _read(file, text):
        before = known.get(term.code) or (fresh[term.code].term if term.code in fresh else None)
        if before is not None and before != term.term:
            raise Conflict(f"Code {term.code} is '{before}' and '{term.term}' in {name} {version}.", code="DICTIONARY.DIFFERS")
        if before is None:
            fresh[term.code] = term
    rows = [
        Row(trial_id=trial, dictionary=name, version=version, code=t.code, term=t.term, up=t.up, at=unit.now, by=unit.actor.id)
        for t in fresh.values()
    ]
    unit.add(*rows)
    changes = [Change("terms", len(known), len(known) + len(rows))]
    unit.record("dictionary.load", *rows, trial=trial, entity="dictionary", entity_id=f"{name} {version}", changes=changes)
    return len(rows)


def _read(file: str, text: str) -> Iterator[Term]:
    lines = text.lstrip("\ufeff").splitlines()
    kind = file.rpartition("/")[2].lower()
    if kind in _MEDDRA:
        up, current = _MEDDRA[kind]
        rows = (line.split("$") for line in lines if line.strip())
        found = [(parts, parts[up] if len(parts) > up else "") for parts in rows if _current(parts, current)]
        terms = [(number, parts[0], parts[1] if len(parts) > 1 else "", broader) for number, (parts, broader) in enumerate(found, 1)]
    else:
        reader = csv.DictReader(lines)
        if not {"code", "term"} <= set(reader.fieldnames or ()):
            raise Invalid(
                "This is no dictionary that can be read.", code="DICTIONARY.FILE", needs="llt.asc, pt.asc, or a CSV with code, term, up."
            )
        terms = [(number, row["code"], row["term"], row.get("up") or "") for number, row in enumerate(reader, 2)]
    if not terms:
        raise Invalid("The file holds no term.", code="DICTIONARY.FILE", needs="llt.asc, pt.asc, or a CSV with code, term, up.")
    for number, code, words, broader in terms:
        code, words = (code or "").strip(), (words or "").strip()
        if not code or not words or len(code) > _LONGEST_CODE:
            raise Invalid(
                f"Line {number} holds no code of at most {_LONGEST_CODE} characters with a term.", code="DICTIONARY.LINE", needs="Both."
            )
        yield Term(code, words, broader.strip())


def _current(parts: list[str], place: int) -> bool:
    return place < 0 or len(parts) <= place or parts[place] != "N"


def _of(trial: str, name: str, version: str) -> Select[Row]:
    return select(Row).where(Row.trial_id == trial, Row.dictionary == name, Row.version == version)


def listed(unit: Unit, trial: str) -> list[Dictionary]:
    """The dictionaries of a trial: its own list, and those that were loaded, in the order of their names."""
    unit.require("event.code", trial)
    protocol = studies.protocol(unit, trial)
    own = [Dictionary(OWN, protocol.version, len(protocol.event_terms))] if protocol.event_terms else []
    counted = (
        select(Row.dictionary, Row.version, func.count())
        .where(Row.trial_id == trial)
        .group_by(Row.dictionary, Row.version)
        .order_by(Row.dictionary, Row.version)
    )
    return own + [Dictionary(*row) for row in unit.session.execute(counted).all()]


# --- coding ----------------------------------------------------------------------------------------------------------


def uncoded(unit: Unit, trial: str) -> list[Waiting]:
    """Events without a code, by participant and number, each with the terms that may fit."""
    unit.require("event.code", trial)
    protocol = studies.protocol(unit, trial)
    place = _items(protocol)
    if place is None:
        return []
    form, term, code = place
    terms = _terms(unit, protocol)
    people = unit.session.scalars(
        select(Participant).where(Participant.trial_id == trial).order_by(Participant.enrolled_site, Participant.number)
    )
    found = []
    for book in casebooks.some_forms(unit, trial, people, {form.code}).values():
        for stored in book.all_of(form.code):
            said = stored.answers(form).values
            if code.name in said or term.name not in said or stored.instance.restricted:
                continue
            words = str(values.write(said[term.name]))
            at = stored.instance
            fits = tuple(safety.suggestions(words, terms))
            found.append(Waiting(book.participant.id, book.participant.site, at.visit, at.form, at.row, at.seq, words, fits))
    return found


def _items(protocol: Protocol) -> tuple[Form, Item, Item] | None:
    term, code = protocol.meaning("event_term"), protocol.meaning("event_code")
    return (term[0], term[1], code[1]) if term and code and term[0] is code[0] else None


def _terms(unit: Unit, protocol: Protocol) -> list[Term]:
    """Every term by which an event may be coded."""
    rows = unit.session.scalars(select(Row).where(Row.trial_id == protocol.id).order_by(Row.dictionary, Row.version, Row.code))
    return [*protocol.event_terms, *(Term(row.code, row.term, row.up) for row in rows)]


def give(unit: Unit, trial: str, participant: str, row: int, code: str) -> None:
    """Code an event: the code becomes the answer of its item, as the next version of the form. Raises Missing for an unknown code."""
    unit.require("event.code", trial)
    protocol = studies.protocol(unit, trial)
    place = _items(protocol)
    term = next((one for one in _terms(unit, protocol) if one.code == code.strip()), None)
    if place is None or term is None:
        raise Missing(f"No dictionary of this trial has the code '{code}'.", code="DICTIONARY.CODE", needs="A code of a listed dictionary.")
    form, _, item = place
    at = places.locate(unit, trial, participant, "EV", form.code, row)
    view = records.view(unit, at)
    soft = tuple(check.id for check in form.checks if check.severity == "soft")
    sent = Submission({item.name: term.code}, {}, False, f"other: coded as {term.term}", soft, view.version or None)
    records.save(unit, at, sent)
