"""CSV files into forms: every cell is judged first, and all rows are saved or none.

The columns are those of an exported form: `participant` and `visit` (and `row`), the items, `item___code` for a multiple
choice, `item_mr` for a missing reason. Columns that the system writes itself are passed over.
A column that is not in the file leaves what is saved as it is; an empty cell takes an answer back.
"""

import base64
import csv
import hashlib
import hmac
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trialdm.domain import crf, naming, values
from trialdm.domain.crf import Answers, Form, Item
from trialdm.domain.errors import Broken, Conflict, Detail, Invalid, Missing, TrialError, Unanswered
from trialdm.domain.protocol import Protocol
from trialdm.domain.values import MISSING_REASONS
from trialdm.domain.words import counted
from trialdm.services import budgets, casebooks, places, records, studies
from trialdm.services.places import Place
from trialdm.services.records import Submission
from trialdm.services.unit import Change, Unit
from trialdm.store import keys

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
class Altered:
    """One answer that an import changes: the line of the file, the form, the item, and both values (empty: none)."""

    row: int
    place: str
    item: str
    old: str
    new: str


@dataclass(frozen=True)
class Outcome:
    """What an import did, or would do: rows read, saved, and unchanged; soft checks that it confirmed; what is wrong."""

    rows: int
    saved: int
    unchanged: int
    warnings: tuple[Cell, ...]
    errors: tuple[Cell, ...]
    changes: tuple[Altered, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "saved": self.saved,
            "unchanged": self.unchanged,
            "warnings": [vars(cell) for cell in self.warnings],
            "errors": [vars(cell) for cell in self.errors],
            "changes": [vars(change) for change in self.changes],
        }


class BadRows(Invalid):
    """Some cells do not fit: nothing was saved. `outcome` names every one."""

    default_code = "IMPORT.CELLS"

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        details = [Detail("IMPORT.CELL", f"{c.message}", f"row {c.row}, column {c.column}: {c.value}") for c in outcome.errors]
        super().__init__(f"Nothing was saved: {counted(len(outcome.errors), 'mistake')} in the file.", details=details)


def load(unit: Unit, trial: str, form_code: str, text: str, *, reason: str = "") -> Outcome:
    """Save every row of a file as a complete form. Raises Invalid for a wrong header and BadRows for wrong cells."""
    budgets.spend(unit, "import")
    outcome = _judge(unit, trial, form_code, text, reason)
    if outcome.errors:
        raise BadRows(outcome)
    form = studies.protocol(unit, trial).form(form_code)
    hides = form.restricted or form.restricted_when is not None or any(item.restricted for item in form.items)
    change = Change("", stream="unblinded" if hides else "open")
    unit.record("form.import", trial=trial, entity="trial", entity_id=trial, changes=[change], reason_text=reason)
    return outcome


def _judge(unit: Unit, trial: str, form_code: str, text: str, reason: str) -> Outcome:
    protocol = studies.protocol(unit, trial)
    forms = [one.form(form_code) for one in studies.alive(unit, trial) if any(f.code == form_code.upper() for f in one.forms)]
    form = forms[-1] if forms else protocol.form(form_code)
    if form.restricted and not _sees(unit, protocol):
        raise Missing(f"Trial {trial} has no form '{form_code}'.", code="CRF.NO_FORM")
    lines = _lines(form, [item for one in forms for item in one.items], text)
    saved = unchanged = 0
    warnings: list[Cell] = []
    errors: list[Cell] = []
    changes: list[Altered] = []
    first: dict[tuple[str, ...], int] = {}
    for number, line in lines:
        where = tuple(line.get(name, "").strip().upper() or "1" for name in ("participant", "visit", "row"))
        if first.setdefault(where, number) != number:
            message = f"this form stands in row {first[where]} of the file already: leave one of them out"
            errors.append(Cell(number, "participant", line["participant"], message))
            continue
        try:
            changed, altered, soft = _save_line(unit, protocol, form, number, line, reason)
            saved, unchanged = saved + changed, unchanged + (not changed)
            changes += altered
            warnings += soft
        except TrialError as problem:
            errors += _cells(number, line, problem)
    return Outcome(len(lines), 0 if errors else saved, unchanged, tuple(warnings), tuple(errors), tuple(changes))


def _sees(unit: Unit, protocol: Protocol) -> bool:
    """Whether the importer sees allocations anywhere: a restricted form does not exist for anybody else."""
    return any(unit.sees_allocations(protocol.id, site) for site in (None, *(site.code for site in protocol.sites)))


def columns(unit: Unit, trial: str, form_code: str) -> list[str]:
    """The header of a file for a form: the columns that somebody fills and may see. Raises Missing."""
    protocol = studies.protocol(unit, trial)
    unit.require("form.import", trial)
    form, sees = protocol.form(form_code), _sees(unit, protocol)
    if form.restricted and not sees:
        raise Missing(f"Trial {trial} has no form '{form_code}'.", code="CRF.NO_FORM")
    rows = ["row"] if any(protocol.rows_at(form, protocol.visit(code)) for code in form.visits if code != "U") else []
    items = [item for item in form.items if item.typed_in and item.exported and (sees or not form.restricts(item))]
    derived = {f"{item.name}_{part}" for item in items for part in ("date", "prec", "utc") if item.holds in ("pdate", "dtm")}
    return ["participant", "visit", *rows, *(name for item in items for name in naming.columns_of(item) if name not in derived)]


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


def _save_line(
    unit: Unit, protocol: Protocol, form: Form, number: int, line: Mapping[str, str], reason: str
) -> tuple[bool, list[Altered], list[Cell]]:
    """Whether a line was saved, the answers that it changed, and the soft checks that it confirmed."""
    row = line.get("row", "").strip() or "1"
    if not (row.isascii() and row.isdecimal() and len(row) < 10):
        raise Invalid(
            "a row number from 1 is expected",
            code="IMPORT.ROW",
            details=[Detail("IMPORT.ROW", "a row number from 1 is expected", "row")],
        )
    place = places.locate(unit, protocol.id, line["participant"].strip(), line["visit"].strip(), form.code, int(row))
    form = place.form
    wrong = list(_not_asked(form, line))
    if wrong:
        raise Invalid("; ".join(detail.message for detail in wrong), code="IMPORT.VERSION", details=wrong)
    stored = casebooks.read(unit, protocol.id, place.participant).get(*place.key)
    version, before = (stored.instance.seq, stored.answers(form)) if stored else (None, Answers({}, {}))
    hides = not unit.sees_allocations(protocol.id, place.participant.site)
    left = [i for i in form.items if i.typed_in and not _columns(i) & line.keys() and not (hides and form.restricts(i))]
    answers = {**{i.name: values.write(before.values[i.name]) for i in left if i.name in before.values}, **dict(_answers(form, line))}
    missing = {**{i.name: before.missing[i.name] for i in left if i.name in before.missing}, **dict(_reasons(form, line))}
    if stored and _same(form, before, answers, missing, hides):
        return False, [], []
    sent = Submission(answers, missing, complete=True, reason=reason, version=version)
    warnings: list[Cell] = []
    try:
        view = records.save(unit, place, sent, imported=True)
    except Unanswered as soft:
        _require_asked(form, line, soft)
        warnings = list(_cells(number, line, soft))
        confirmed = tuple(detail.code for detail in soft.details)
        view = records.save(unit, place, Submission(answers, missing, True, reason, confirmed, version), imported=True)
    if view.place.row != place.row:
        message = f"this row is kept among those that others see: give it the number {view.place.row}, or the one that it has already"
        raise Invalid(message, code="IMPORT.ROW", details=[Detail("IMPORT.ROW", message, "row")])
    shown = [item for item in form.items if item.name not in view.hidden_from_reader]
    return view.version != (version or 0), list(_altered(number, place, shown, before, view.answers)), warnings


def _same(form: Form, before: Answers, answers: Mapping[str, Any], missing: Mapping[str, str], hides: bool) -> bool:
    """Whether a line says what is saved already: it is then passed over, whatever has changed around the form since."""
    asked = [item for item in form.items if item.typed_in and not (hides and form.restricts(item))]
    try:
        said = {item.name: values.read(item.type, answers.get(item.name)) for item in asked}
    except values.NotAValue:
        return False
    return all(said[i.name] == before.values.get(i.name) and missing.get(i.name) == before.missing.get(i.name) for i in asked)


def _require_asked(form: Form, line: Mapping[str, str], soft: Unanswered) -> None:
    """Raises Invalid for values in cells of questions that are not asked: an import neither keeps nor removes them silently."""
    names = [name for detail in soft.details if detail.code == crf.HIDDEN for name in detail.place.split(",")]
    message = "this question is not asked because of another answer: leave the cell empty, or correct the other answer"
    wrong = [Detail("IMPORT.HIDDEN", message, name) for name in names if any(line.get(c, "") for c in _columns(form.by_name[name]))]
    if wrong:
        raise Invalid(message, code="IMPORT.HIDDEN", details=wrong)


def _altered(number: int, place: Place, items: Iterable[Item], before: Answers, after: Answers) -> Iterator[Altered]:
    where = f"{place.participant.id} {place.visit_code}" + (f" row {place.row}" if place.row > 1 else "")
    for item in items:
        old, new = _written(before, item.name), _written(after, item.name)
        if old != new:
            yield Altered(number, where, item.name, old, new)


def _written(answers: Answers, name: str) -> str:
    if name in answers.missing:
        return answers.missing[name]
    raw = values.write(answers.values.get(name))
    return "" if raw is None else ", ".join(map(str, raw)) if isinstance(raw, list) else str(raw)


def _answers(form: Form, line: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Answers of the items that a person gives; a number that stands for a missing reason is none, and exports write times with seconds."""
    for item in form.items:
        if not item.typed_in:
            continue
        if item.holds == "multi" and item.codelist and item.name not in line:
            ticked = [code for code in item.codelist.labels if line.get(naming.choice_column(item.name, code), "").strip() == "1"]
            if ticked:
                yield item.name, ticked
        elif line.get(item.name, "").strip() and line[item.name].strip() not in _reason_cells(item.holds):
            cell = line[item.name].strip()
            yield item.name, cell.removesuffix(":00") if item.holds == "time" and cell.count(":") == 2 else cell


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
        named = detail.place.partition(",")[0]
        column = next((name for name in (named, *line) if name in line and (name == named or name.startswith(f"{named}___"))), named)
        yield Cell(number, column, line.get(column, ""), detail.message)


def dry_run(unit: Unit, trial: str, form_code: str, text: str, *, reason: str = "") -> Outcome:
    """What `load` would do. The caller's transaction must not be committed."""
    return _judge(unit, trial, form_code, text, reason)


class _Tried(Exception):
    """Leaves a dry run's transaction so that nothing of it stays."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def tried(change: Callable[[Callable[[Unit], None]], None], trial: str, form_code: str, text: str, *, reason: str = "") -> Outcome:
    """What `load` would do, found in a transaction of `change` that is always rolled back."""

    def work(unit: Unit) -> None:
        raise _Tried(dry_run(unit, trial, form_code, text, reason=reason))

    try:
        change(work)
    except _Tried as left:
        return left.outcome
    raise AssertionError("unreachable")


# --- from the preview to the import ----------------------------------------------------------------------------------

#: The longest sealed file that a page carries, in characters.
LARGEST_SEALED = 1_500_000


def sealed(unit: Unit, trial: str, form_code: str, text: str, reason: str, outcome: Outcome) -> str:
    """A previewed file for its page to carry: readable and changeable by nobody, good for this person, trial and form only.

    Raises Invalid for a file that is too long for a page.
    """
    said = json.dumps({"text": text, "reason": reason, "seen": _digest(outcome)})
    made = base64.b64encode(keys.seal(_key(unit), zlib.compress(said.encode()), _bound(unit, trial, form_code))).decode()
    if len(made) > LARGEST_SEALED:
        raise Invalid("The file is too long for this page.", code="IMPORT.FILE", needs="Split it, or use the command `trialdm import`.")
    return made


def load_sealed(unit: Unit, trial: str, form_code: str, token: str) -> Outcome:
    """Import a file as it was previewed. Raises Conflict where it would do something else by now, and what `load` raises."""
    try:
        plain = keys.unseal(_key(unit), base64.b64decode(token, validate=True), _bound(unit, trial, form_code))
    except (Broken, ValueError):
        raise Invalid("This is not the file that was previewed.", code="IMPORT.PREVIEW", needs="Upload the file again.") from None
    said = json.loads(zlib.decompress(plain))
    outcome = load(unit, trial, form_code, said["text"], reason=said["reason"])
    if _digest(outcome) != said["seen"]:
        raise Conflict(
            "What is saved has changed since the preview; nothing was imported.", code="IMPORT.CHANGED", needs="Upload the file again."
        )
    return outcome


def _digest(outcome: Outcome) -> str:
    return hashlib.sha256(json.dumps(outcome.to_json(), sort_keys=True).encode()).hexdigest()


def _key(unit: Unit) -> bytes:
    return hmac.digest(unit.keys.audit, b"previewed files", "sha256")


def _bound(unit: Unit, trial: str, form_code: str) -> str:
    return "|".join((trial, form_code.upper(), unit.actor.id))
