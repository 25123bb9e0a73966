"""CSV files into forms: every cell is judged first, and all rows are saved or none.

The columns are those of an exported form: `participant` and `visit` (and `row`), the items, `item___code` for a multiple
choice, `item_mr` for a missing reason. Columns that the system writes itself are passed over.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trialdm.domain import naming
from trialdm.domain.crf import Form, Item
from trialdm.domain.errors import Detail, Invalid, TrialError, Unanswered
from trialdm.domain.protocol import Protocol
from trialdm.domain.values import MISSING_REASONS
from trialdm.services import casebooks, records, studies
from trialdm.services.records import Submission
from trialdm.services.unit import Unit

#: How exports write the missing reasons of numbers.
_REASON_NUMBERS = {str(-91 - i): code for i, code in enumerate(MISSING_REASONS)}

_LARGEST = 200_000


@dataclass(frozen=True)
class Cell:
    """What is wrong in one cell: the line of the file, the column, the value and the mend."""

    row: int
    column: str
    value: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """What an import did, or would do: rows read, saved, and unchanged; soft checks that it confirmed; what is wrong."""

    rows: int
    saved: int
    unchanged: int
    warnings: tuple[Cell, ...]
    errors: tuple[Cell, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "saved": self.saved,
            "unchanged": self.unchanged,
            "warnings": [vars(cell) for cell in self.warnings],
            "errors": [vars(cell) for cell in self.errors],
        }


class BadRows(Invalid):
    """Some cells do not fit: nothing was saved. `outcome` names every one."""

    default_code = "IMPORT.CELLS"

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        details = [Detail("IMPORT.CELL", f"{c.message}", f"row {c.row}, column {c.column}: {c.value}") for c in outcome.errors]
        super().__init__(f"{len(outcome.errors)} cell(s) do not fit; nothing was saved.", details=details)


def load(unit: Unit, trial: str, form_code: str, text: str, *, reason: str = "") -> Outcome:
    """Save every row of a file as a complete form. Raises Invalid for a wrong header and BadRows for wrong cells."""
    protocol = studies.protocol(unit, trial)
    forms = [one.form(form_code) for one in studies.alive(unit, trial) if any(f.code == form_code.upper() for f in one.forms)]
    form = forms[-1] if forms else protocol.form(form_code)
    lines = _lines(form, [item for one in forms for item in one.items], text)
    saved = unchanged = 0
    warnings: list[Cell] = []
    errors: list[Cell] = []
    for number, line in lines:
        try:
            changed, soft = _save_line(unit, protocol, form, number, line, reason)
            saved, unchanged = saved + changed, unchanged + (not changed)
            warnings += soft
        except TrialError as problem:
            errors += _cells(number, line, problem)
    outcome = Outcome(len(lines), 0 if errors else saved, unchanged, tuple(warnings), tuple(errors))
    if errors:
        raise BadRows(outcome)
    unit.record("form.import", trial=trial, entity="trial", entity_id=trial, reason_text=reason)
    return outcome


def _lines(form: Form, items: Iterable[Item], text: str) -> list[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [name or "" for name in reader.fieldnames or []]
        rows = list(reader)
    except csv.Error as problem:
        raise Invalid(f"The file is not CSV: {problem}.", code="IMPORT.FILE") from None
    known = {*naming.KEYS, *naming.ROW_COLUMNS}
    for item in items:
        known |= _columns(item)
    unknown = [name for name in header if name not in known]
    absent = [name for name in ("participant", "visit") if name not in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    wrong = [Detail("IMPORT.HEADER", f"column '{name}' is not part of form {form.code}", name) for name in unknown]
    wrong += [Detail("IMPORT.HEADER", f"column '{name}' is missing", name) for name in absent]
    wrong += [Detail("IMPORT.HEADER", f"column '{name}' is there twice", name) for name in twice]
    if wrong:
        raise Invalid(
            "The header of the file does not fit: " + "; ".join(d.message for d in wrong) + ".",
            code="IMPORT.HEADER",
            details=wrong,
        )
    if not rows or len(rows) > _LARGEST:
        raise Invalid(f"The file must have from 1 to {_LARGEST} rows; it has {len(rows)}.", code="IMPORT.FILE")
    ragged = [i for i, row in enumerate(rows, 2) if None in row or None in row.values()]
    if ragged:
        raise Invalid(f"Row {ragged[0]} has more or fewer cells than the header.", code="IMPORT.FILE")
    return list(enumerate(rows, 2))


def _columns(item: Item) -> set[str]:
    return {item.name, f"{item.name}_mr", *naming.columns_of(item)}


def _not_asked(form: Form, line: Mapping[str, str]) -> Iterator[Detail]:
    """Cells for items that are not in the version of the form that the participant's site works with."""
    own = {name for item in form.items for name in _columns(item)} | {*naming.KEYS, *naming.ROW_COLUMNS}
    for name, cell in line.items():
        if cell.strip() and name not in own:
            yield Detail("IMPORT.VERSION", "the participant's site works with a version of the protocol that does not ask this", name)


def _save_line(unit: Unit, protocol: Protocol, form: Form, number: int, line: Mapping[str, str], reason: str) -> tuple[bool, list[Cell]]:
    row = line.get("row", "").strip() or "1"
    if not row.isdigit():
        raise Invalid(
            "a row number from 1 is expected",
            code="IMPORT.ROW",
            details=[Detail("IMPORT.ROW", "a row number from 1 is expected", "row")],
        )
    place = records.locate(unit, protocol.id, line["participant"].strip(), line["visit"].strip(), form.code, int(row))
    form = place.form
    wrong = list(_not_asked(form, line))
    if wrong:
        raise Invalid("; ".join(detail.message for detail in wrong), code="IMPORT.VERSION", details=wrong)
    stored = casebooks.read(unit, protocol.id, place.participant).get(*place.key)
    version = stored.instance.seq if stored else None
    answers, missing = dict(_answers(form, line)), dict(_reasons(form, line))
    sent = Submission(answers, missing, complete=True, reason=reason, version=version)
    warnings: list[Cell] = []
    try:
        view = records.save(unit, place, sent, imported=True)
    except Unanswered as soft:
        warnings = list(_cells(number, line, soft))
        confirmed = tuple(detail.code for detail in soft.details)
        view = records.save(unit, place, Submission(answers, missing, True, reason, confirmed, version), imported=True)
    return view.version != (version or 0), warnings


def _answers(form: Form, line: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Answers of the items that a person gives; a number that stands for a missing reason is none."""
    for item in form.items:
        if not item.typed_in:
            continue
        if item.holds == "multi" and item.codelist and item.name not in line:
            ticked = [code for code in item.codelist.labels if line.get(naming.choice_column(item.name, code), "").strip() == "1"]
            if ticked:
                yield item.name, ticked
        elif line.get(item.name, "").strip() and line[item.name].strip() not in _reason_cells(item.holds):
            yield item.name, line[item.name].strip()


def _reason_cells(holds: str) -> Mapping[str, str]:
    return _REASON_NUMBERS if holds in ("int", "dec", "code", "yn") else {}


def _reasons(form: Form, line: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for item in form.items:
        given = line.get(f"{item.name}_mr", "").strip() or _reason_cells(item.holds).get(line.get(item.name, "").strip(), "")
        if given and item.typed_in:
            yield item.name, given


def _cells(number: int, line: Mapping[str, str], problem: TrialError) -> Iterator[Cell]:
    if not problem.details:
        yield Cell(number, "participant", line.get("participant", ""), problem.message)
    for detail in problem.details:
        column = detail.place.partition(",")[0]
        yield Cell(number, column, line.get(column, ""), detail.message)


def dry_run(unit: Unit, trial: str, form_code: str, text: str, *, reason: str = "") -> Outcome:
    """What `load` would do. The caller's transaction must not be committed."""
    try:
        return load(unit, trial, form_code, text, reason=reason)
    except BadRows as bad:
        return bad.outcome
