"""Finished trials taken over: one file with a row for each participant, into participants, forms and allocations.

The acts lie in the past: they are recorded as history by whoever loads the file, under no gate, with no dates invented.
"""

import csv
import hashlib
import io
import json
from collections import defaultdict
from typing import Any

from sqlalchemy import func, select

from trialdm.definitions import schemas
from trialdm.definitions.sources import BadDefinition, check, read
from trialdm.domain.errors import Conflict, Detail, Invalid, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.services import allocations, epochs, participants, places, records, schemes, studies
from trialdm.services.records import Submission
from trialdm.services.unit import Unit
from trialdm.store.tables import Participant


def load(unit: Unit, trial: str, text: str) -> int:
    """Load the file of a historical trial, whole or not at all; gives the number of participants.

    Raises WrongState for a trial that is not historical, Conflict where it was loaded before, and Invalid for a file whose
    columns, rows or cells do not fit `source.yaml`.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("history.import", trial)
    if not protocol.historical:
        raise WrongState(f"Trial {trial} is not historical.", code="HISTORY.ORIGIN", needs="A protocol with 'origin: historical'.")
    if unit.session.scalar(select(func.count()).select_from(Participant).where(Participant.trial_id == trial)):
        raise Conflict("The history of this trial was loaded before.", code="HISTORY.ALREADY")
    source = _source(unit, protocol)
    rows = _rows(source, text)
    arms = {str(arm.code): arm.name for arm in protocol.arms}
    column = source["arm"]["column"]
    unknown = [i for i, row in enumerate(rows, 2) if row[column] not in arms]
    if unknown:
        raise Invalid(f"Row {unknown[0]}: column {column} does not hold the code of an arm.", code="HISTORY.ARM")
    slots = [("", arms[row[column]]) for row in rows]
    scheme = schemes.seal_list(unit, protocol, protocol.scheme, slots, hashlib.sha256(text.encode()).hexdigest())
    epochs.go_live_as_history(unit, scheme)
    for number, row in enumerate(rows, 2):
        _participant(unit, protocol, source, number, row)
    return len(rows)


def _source(unit: Unit, protocol: Protocol) -> dict[str, Any]:
    """The mapping of columns, as it was loaded with the protocol."""
    texts = json.loads(studies.definition(unit, protocol.id).texts)
    path = next((p for p in texts if p.endswith("/source.yaml")), None)
    if path is None:
        raise Invalid("The protocol has no source.yaml that says where the columns belong.", code="HISTORY.SOURCE")
    source, problems = read(path, texts[path])
    data, found = check(source, schemas.SourceSchema())
    if problems or found:
        raise BadDefinition([*problems, *found])
    return data


def _rows(source: dict[str, Any], text: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    expected = {source["arm"]["column"], *(column["column"] for column in source["columns"])}
    given = set(reader.fieldnames or [])
    if given != expected:
        absent, extra = sorted(expected - given), sorted(given - expected)
        words = "; ".join([*(f"'{name}' is missing" for name in absent), *(f"'{name}' has no place" for name in extra)])
        raise Invalid(f"The columns of the file do not fit: {words}.", code="HISTORY.HEADER")
    rows = list(reader)
    if len(rows) != source["file"]["rows"]:
        raise Invalid(f"The file has {len(rows)} rows; the protocol says {source['file']['rows']}.", code="HISTORY.ROWS")
    return rows


def _participant(unit: Unit, protocol: Protocol, source: dict[str, Any], number: int, row: dict[str, str]) -> None:
    site = protocol.sites[0].code
    person = participants.add(unit, protocol.id, site)
    forms: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for column in source["columns"]:
        if row[column["column"]].strip():
            forms[(column["visit"], column["form"])][column["item"]] = row[column["column"]].strip()
        else:
            forms.setdefault((column["visit"], column["form"]), {})
    for (visit, form), answers in forms.items():
        place = places.locate(unit, protocol.id, person.id, visit, form)
        try:
            sent = Submission(answers, complete=True)
            records.save(unit, place, sent, imported=True)
        except Invalid as problem:
            details = [Detail(d.code, d.message, f"row {number}, {visit} {form} {d.place}") for d in problem.details]
            raise Invalid(f"Row {number} does not fit: {problem.message}", code="HISTORY.CELL", details=details) from None
    allocations.record_historical(unit, protocol, person)
