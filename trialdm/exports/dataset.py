"""What an exported table looks like: its columns, their types and widths, and stored rows as typed columns.

Columns, their order, kinds, widths and labels come from definitions only, never from data: an empty trial has the same
structure as a full one. Knows how each type of answer becomes columns and what a blinded reader may not have. Refuses to
know files, formats, storage, and who asked.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from trialdm.domain import crf, naming, values
from trialdm.domain.crf import Form, Item
from trialdm.domain.errors import Broken, Forbidden, Invalid
from trialdm.domain.protocol import ARM_FACT, Protocol
from trialdm.domain.values import MISSING_REASONS, NotAValue

Kind = Literal["number", "text", "date", "datetime", "time"]
Measure = Literal["nominal", "ordinal", "scale"]

#: How a column is taken from a stored row: from the row itself, or from an item's answer or missing reason.
Take = Literal["row", "value", "choice", "earliest", "precision", "offset", "reason"]

#: Number of each missing reason, from 1: SPSS writes -90 - n (-91 .. -95), Stata the n-th of `.a` .. `.e`.
REASON_NUMBERS = {reason: number for number, reason in enumerate(MISSING_REASONS, 1)}

#: Values from -95 to -91 mean a missing reason in SPSS and CSV files, so no answer may have one of them.
LOWEST_REASON, HIGHEST_REASON = -90 - len(MISSING_REASONS), -91

_WIDEST_TEXT = 32_767
_BYTES_PER_CHARACTER = 4
_UNLIMITED_DIGITS = 12
_LARGEST_WHOLE = 2_000_000_000
_CHUNK = 20_000

Registers = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class Column:
    """One column. `width` is in UTF-8 bytes for text and in printed characters for numbers.

    `reasons` says that a missing reason stands in the column itself (numbers only; other kinds have a companion `_mr`
    column). `withheld` are codes that a blinded reader may not have: their cells are missing. `item`, `holds`, `take` and
    `code` say where the column comes from.
    """

    name: str
    label: str
    kind: Kind
    width: int = 0
    decimals: int = 0
    measure: Measure = "nominal"
    value_labels: Mapping[int, str] = field(default_factory=dict)
    reasons: bool = False
    unit: str = ""
    item: str = ""
    holds: str = ""
    take: Take = "value"
    code: int = 0
    withheld: frozenset[int] = frozenset()
    about: str = ""

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return self.kind == "number" and not self.decimals

    @property
    def fits_long(self) -> bool:
        """Whether every number that its width admits fits Stata's `long`."""
        return self.whole and self.width <= 9

    @property
    def all_labels(self) -> dict[int, str]:
        """Labels of values, and of the numbers that stand for missing reasons in SPSS and CSV files."""
        if not self.reasons:
            return dict(self.value_labels)
        return {**self.value_labels, **{-90 - n: MISSING_REASONS[reason] for reason, n in REASON_NUMBERS.items()}}


@dataclass(frozen=True)
class Table:
    """One table of a dataset: one row per saved form (or row of a repeating form), or one as the services define it.

    `origin` says in words which form and visits it comes from. `form` and `blinded` decide which rows are left out.
    Raises Invalid for names that SPSS, Stata, SAS or R cannot take, or that differ only in case.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    origin: str = ""
    form: Form | None = None
    blinded: bool = True

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for name in (column.name.lower() for column in self.columns):
            if name in seen or name in naming.RESERVED or len(name) > naming.LONGEST:
                problem = "is there twice" if name in seen else "is a reserved word or longer than 32 characters"
                raise Invalid(f"Table {self.name}: the column name '{name}' {problem}.", code="EXPORT.NAME")
            seen.add(name)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


class StoredRow(NamedTuple):
    """A stored form as the store hands it over. `saved_at` is UTC; `data` is the JSON text of `crf.Answers.to_json`."""

    participant: str
    site: str
    visit: str = ""
    visit_no: int | None = None
    row: int | None = None
    status: str = ""
    version: int | None = None
    saved_at: datetime | None = None
    data: str = "{}"


@dataclass(frozen=True)
class Frame:
    """The cells of a table. `values` has a column for each of the table's, null where there is no value; `reasons` has
    one for each column that carries missing reasons, with the number of the reason or 0."""

    table: Table
    values: pl.DataFrame
    reasons: pl.DataFrame

    def __len__(self) -> int:
        return self.values.height

    def reason(self, column: Column) -> pl.Series:
        """Number of the missing reason in each row of a column that carries reasons."""
        return self.reasons.get_column(column.name)

    def chunks(self, rows: int) -> Iterator["Frame"]:
        """The same cells, so many rows at a time."""
        for start in range(0, len(self), rows):
            yield Frame(self.table, self.values.slice(start, rows), self.reasons.slice(start, rows))


# --- definitions to columns ------------------------------------------------------------------------------------------

_KEY_COLUMNS = {
    "participant": Column("participant", "Participant", "text", width=32, take="row"),
    "site": Column("site", "Site", "text", width=16, take="row"),
    "visit": Column("visit", "Visit", "text", width=16, take="row"),
    "visit_no": Column("visit_no", "Number of the visit", "number", width=4, measure="ordinal", take="row"),
    "row": Column("row", "Row of a repeating form", "number", width=4, measure="ordinal", take="row"),
    "form_status": Column("form_status", "Status of the form", "text", width=32, take="row"),
    "form_version": Column("form_version", "Version of the form", "number", width=8, measure="ordinal", take="row"),
    "saved_at": Column("saved_at", "Saved at (UTC)", "datetime", measure="scale", take="row"),
}


def form_tables(protocol: Protocol, *, blinded: bool, registers: Registers | None = None) -> list[Table]:
    """The tables of all forms that this reader may have, in the order of the protocol."""
    forms = [form for form in protocol.forms if not (blinded and form.restricted)]
    return [form_table(protocol, form, blinded=blinded, registers=registers) for form in forms]


def form_table(protocol: Protocol, form: Form, *, blinded: bool, registers: Registers | None = None) -> Table:
    """The table of one form: keys, exported items in form order, and what stands about the row.

    `registers` give the labels of items whose codes come from one. Raises Forbidden where a blinded reader may not have
    the form at all, and Invalid for a code that would read as a missing reason.
    """
    if blinded and form.restricted:
        raise Forbidden(f"Form {form.code} is not part of a blinded dataset.", code="EXPORT.RESTRICTED")
    table = table_of_items(
        form.code.lower(), form.title, form.items, blinded=blinded, registers=registers, reasons=True, last=naming.ROW_COLUMNS
    )
    return replace(table, form=form, origin=_origin(protocol, form))


def table_of_items(
    name: str,
    title: str,
    items: Iterable[Item],
    *,
    blinded: bool = True,
    registers: Registers | None = None,
    keys: Sequence[str] = naming.KEYS,
    last: Sequence[str] = (),
    reasons: bool = False,
    origin: str = "",
) -> Table:
    """A table of any items, for facts that the platform itself keeps (participants, visits).

    `keys` and `last` choose the columns about the row that stand first and last. With `reasons`, numbers carry missing
    reasons and other kinds have their `_mr` column. Items that are not exported are left out, and for a blinded reader
    restricted ones and the allocation.
    """
    known = registers or {}
    given = [item for item in items if item.exported and not (blinded and (item.restricted or item.system == ARM_FACT))]
    made = [column for item in given for column in _columns(item, blinded, known.get(item.source, {}))]
    if not reasons:
        made = [replace(column, reasons=False) for column in made if column.take != "reason"]
    first, final = [_KEY_COLUMNS[key] for key in keys], [_KEY_COLUMNS[key] for key in last]
    return Table(name, title, (*first, *made, *final), origin=origin, blinded=blinded)


def cut(text: str, *, characters: int | None = None, octets: int | None = None) -> str:
    """The text up to so many characters, or so many bytes of UTF-8 without splitting a character; no blank ends it."""
    return text[:characters].encode()[:octets].decode(errors="ignore").rstrip()


def _origin(protocol: Protocol, form: Form) -> str:
    labels = {visit.code: visit.label for visit in protocol.visits}
    visits = [f"{code} {labels.get(code, '')} ({needed})" for code, needed in form.visits.items()]
    return f"Form {form.code}" + (f", at {'; '.join(visits)}" if visits else "")


def _columns(item: Item, blinded: bool, register: Mapping[int, str]) -> list[Column]:
    """The columns of one item, named as `naming.columns_of` names them."""
    label = " ".join(item.label.split())
    base = Column(item.name, label, "text", unit=item.unit, item=item.name, holds=item.holds, about=" ".join(item.help.split()))
    reason = replace(base, name=f"{item.name}_mr", label=f"Why missing: {label}", width=2, take="reason", unit="", about="")
    match item.holds:
        case "multi":
            return [*_choices(item, base, blinded), reason]
        case "pdate":
            early = replace(base, about="", name=f"{item.name}_date", label=f"Earliest date: {label}", kind="date", take="earliest")
            known = replace(base, about="", name=f"{item.name}_prec", label=f"Known to: {label}", width=5, take="precision")
            return [replace(base, width=10), replace(early, measure="scale"), known, reason]
        case "dtm":
            offset = Column(f"{item.name}_utc", f"Minutes ahead of UTC: {label}", "number", width=4, measure="scale")
            offset = replace(offset, item=item.name, holds=item.holds, take="offset", unit="min")
            return [replace(base, kind="datetime", measure="scale"), offset, reason]
        case "date":
            return [replace(base, kind="date", measure="scale"), reason]
        case "time":
            return [replace(base, kind="time", measure="scale"), reason]
        case "text":
            return [replace(base, width=min(_BYTES_PER_CHARACTER * item.length, _WIDEST_TEXT)), reason]
    return [_number(item, base, blinded, register)]


def _number(item: Item, base: Column, blinded: bool, register: Mapping[int, str]) -> Column:
    number = replace(base, kind="number", reasons=item.typed_in)
    match item.holds:
        case "int":
            return replace(number, width=_digits(item), measure="scale")
        case "dec":
            return replace(number, width=_digits(item) + 1 + item.decimals, decimals=max(item.decimals, 1), measure="scale")
    labels = _labels(item, blinded, register)
    if number.reasons and any(LOWEST_REASON <= code <= HIGHEST_REASON for code in labels):
        raise Invalid(f"'{item.name}': the codes -91 to -95 stand for missing reasons.", code="EXPORT.CODE")
    digits = 9 if item.source else max(3, *(len(str(code)) for code in (*labels, 0)))
    return replace(number, width=digits, value_labels=labels, withheld=_withheld(item, blinded))


def _choices(item: Item, base: Column, blinded: bool) -> list[Column]:
    """A 0/1 column for each choice of a multiple choice."""
    chosen = replace(base, about="", kind="number", width=3, value_labels={0: "No", 1: "Yes"}, take="choice")
    return [
        replace(chosen, name=naming.choice_column(item.name, code), label=f"{label}: {base.label}", code=code)
        for code, label in _labels(item, blinded, {}).items()
    ]


def _labels(item: Item, blinded: bool, register: Mapping[int, str]) -> dict[int, str]:
    if item.source:
        return {code: " ".join(label.split()) for code, label in sorted(register.items())}
    if item.codelist:
        return {code: " ".join(label.split()) for code, label in item.codelist.shown_to(blinded=blinded).items()}
    return {0: "No", 1: "Yes"} if item.holds == "yn" else {}


def _withheld(item: Item, blinded: bool) -> frozenset[int]:
    codes = item.codelist.codes if item.codelist and blinded else ()
    return frozenset(code.value for code in codes if code.restricted)


def _digits(item: Item) -> int:
    """Printed digits of the whole part, with a sign where the limits admit one; at least those of a missing reason."""
    if item.minimum is None or item.maximum is None:
        return _UNLIMITED_DIGITS
    return max(3, len(str(int(item.minimum))), len(str(int(item.maximum))))


# --- rows to columns -------------------------------------------------------------------------------------------------

_TYPES: dict[Kind, pl.DataType] = {
    "number": pl.Float64(),
    "text": pl.String(),
    "date": pl.Date(),
    "datetime": pl.Datetime("ms"),
    "time": pl.Time(),
}

_ROW_FIELDS = {"form_status": "status", "form_version": "version"}


def type_of(column: Column) -> pl.DataType:
    """The type of a column's values in a Frame."""
    return pl.Int64() if column.whole else _TYPES[column.kind]


def frame(table: Table, rows: Iterable[StoredRow]) -> Frame:
    """Stored rows as typed columns, in the order in which they come.

    Rows that a blinded reader may not have are left out. Raises Broken for a stored row that cannot be read as its
    definition says, and for a cell that the declared column cannot hold: nothing is cut or dropped without notice.
    """
    empty = Frame(table, *_nothing(table))
    parts = [empty, *(_part(table, part) for part in _batches(_kept(table, rows)))]
    made = Frame(table, pl.concat(part.values for part in parts), pl.concat(part.reasons for part in parts))
    _check(made)
    return made


def _nothing(table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    values_schema = {column.name: type_of(column) for column in table.columns}
    return pl.DataFrame(schema=values_schema), pl.DataFrame(schema={c.name: pl.UInt8() for c in table.columns if c.reasons})


def _batches(rows: Iterable[StoredRow]) -> Iterator[list[StoredRow]]:
    left = iter(rows)
    while batch := list(islice(left, _CHUNK)):
        yield batch


def _kept(table: Table, rows: Iterable[StoredRow]) -> Iterable[StoredRow]:
    form = table.form
    if form is None or not table.blinded or form.restricted_when is None:
        return rows
    return (row for row in rows if not form.row_restricted(_answers(form, row)))


def _answers(form: Form, row: StoredRow) -> Mapping[str, Any]:
    try:
        return crf.load(form, json.loads(row.data)).values
    except ValueError as problem:
        raise _unreadable(row, form.code, str(problem)) from None


def _part(table: Table, rows: list[StoredRow]) -> Frame:
    """One batch; documents in an older shape are brought into today's first, one by one."""
    try:
        return _typed(table, rows, [row.data for row in rows])
    except PolarsError:
        return _typed(table, rows, [_rewritten(table, row) for row in rows])


def _typed(table: Table, rows: list[StoredRow], documents: list[str]) -> Frame:
    answers, missing = _parsed(table, documents)
    source = pl.DataFrame([*_row_series(rows), *answers.get_columns()])
    source = pl.DataFrame([*_row_series(rows), *answers.get_columns(), *missing.get_columns()])
    cells = source.select(_cell(column).cast(type_of(column)).alias(column.name) for column in table.columns)
    reasons = source.select(_reason(column).alias(column.name) for column in table.columns if column.reasons)
    return Frame(table, cells, reasons)


def _parsed(table: Table, documents: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Answers (named by item) and missing reasons (named `item?`) of JSON documents, read by a schema and never guessed."""
    holds = {column.item: column.holds for column in table.columns if column.item}
    reasons = {column.item: pl.String() for column in table.columns if column.reasons or column.take == "reason"}
    schema = {
        "answers": pl.Struct({item: _JSON_TYPES.get(kind, pl.String()) for item, kind in holds.items()}),
        "missing": pl.Struct(reasons),
    }
    schema = {name: struct for name, struct in schema.items() if struct.fields}
    if not schema:
        return pl.DataFrame(), pl.DataFrame()
    read = pl.read_ndjson("\n".join(documents).encode(), schema=schema)
    if read.height != len(documents):
        raise PolarsError("a document is empty, or spread over lines")
    answers = read.get_column("answers").struct.unnest() if "answers" in schema else pl.DataFrame()
    if "missing" not in schema:
        return answers, pl.DataFrame()
    missing = read.get_column("missing").struct.unnest()
    return answers, missing.rename(_reason_name)


def _reason_name(item: str) -> str:
    return f"{item}?"


_JSON_TYPES: dict[str, pl.DataType] = {"int": pl.Int64(), "code": pl.Int64(), "yn": pl.Int64(), "multi": pl.List(pl.Int64())}


def _row_series(rows: list[StoredRow]) -> list[pl.Series]:
    """What stands about the rows, each column's name marked with `@` so that no item can have it."""
    by_field = dict(zip(StoredRow._fields, zip(*rows, strict=True), strict=True))
    fields: dict[str, Any] = {name: by_field[_ROW_FIELDS.get(name, name)] for name in _KEY_COLUMNS}
    fields["saved_at"] = _to_seconds(fields["saved_at"])
    return [pl.Series(f"@{name}", cells, dtype=type_of(_KEY_COLUMNS[name])) for name, cells in fields.items()]


def _to_seconds(moments: Sequence[datetime | None]) -> pl.Series:
    """UTC instants without their zone and to the second, as far as every format shows them."""
    aware = (moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments)
    seconds = [None if moment is None else int(moment.timestamp()) for moment in aware]
    return (pl.Series(seconds, dtype=pl.Int64) * 1000).cast(pl.Datetime("ms"))


def _cell(column: Column) -> pl.Expr:
    """How the column's value is computed from the stored answer."""
    stored = pl.col(column.item or f"@{column.name}")
    match column.take:
        case "row":
            return _text(stored) if column.kind == "text" else stored
        case "choice":
            return pl.when(stored.list.len() > 0).then(stored.list.contains(column.code))
        case "earliest":
            return (_text(stored) + "-01-01").str.slice(0, 10).str.to_date("%Y-%m-%d")
        case "precision":
            return _text(stored).str.len_bytes().replace_strict({4: "year", 7: "month", 10: "day"}, return_dtype=pl.String())
        case "offset":
            return _offset(_moment(stored))
        case "reason":
            why = pl.col(_reason_name(column.item)).replace_strict({r: r for r in MISSING_REASONS}, return_dtype=pl.String())
            return pl.when(stored.is_null()).then(why)
    match column.holds:
        case "dec":
            number = stored.cast(pl.Float64())
            return pl.when(number == 0).then(0.0).otherwise(number)  # minus zero is zero
        case "date":
            return stored.str.to_date("%Y-%m-%d")
        case "time":
            return stored.str.to_time("%H:%M")
        case "dtm":
            return _moment(stored)
        case "text" | "pdate":
            return _text(stored)
    return pl.when(~stored.is_in(sorted(column.withheld))).then(stored) if column.withheld else stored


def _reason(column: Column) -> pl.Expr:
    """Number of the missing reason; 0 where there is none, or where an answer stands."""
    number = pl.col(_reason_name(column.item)).replace_strict(REASON_NUMBERS, return_dtype=pl.UInt8())
    return pl.when(pl.col(column.item).is_null()).then(number).fill_null(0)


def _text(stored: pl.Expr) -> pl.Expr:
    """Text without blanks around it, as fixed-width files cannot keep them; blank is missing."""
    bare = stored.str.strip_chars()
    return pl.when(bare != "").then(bare)


def _moment(stored: pl.Expr) -> pl.Expr:
    return stored.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="ms")


def _offset(wall: pl.Expr) -> pl.Expr:
    """Minutes by which clocks in London are ahead of UTC: the first of an hour that comes twice, and before the change
    for an hour that clocks skip (as `zoneinfo` with fold 0)."""

    def offset_at(moment: pl.Expr) -> pl.Expr:
        there = moment.dt.replace_time_zone("Europe/London", ambiguous="earliest", non_existent="null")
        return (moment - there.dt.convert_time_zone("UTC").dt.replace_time_zone(None)).dt.total_seconds()

    return pl.coalesce(offset_at(wall), offset_at(wall.dt.offset_by("-1h"))).floordiv(60)


# --- what may not pass -----------------------------------------------------------------------------------------------


def _rewritten(table: Table, row: StoredRow) -> str:
    """The document with every value in the JSON form of its item's present type. Raises Broken naming item and row."""
    try:
        document = json.loads(row.data)
        answers, missing = document.get("answers") or {}, document.get("missing") or {}
    except (ValueError, AttributeError):
        raise _unreadable(row, table.name, "the document is not JSON") from None
    read: dict[str, Any] = {}
    for column in table.columns:
        if column.item:
            try:
                read[column.item] = values.write(values.read(column.holds, answers.get(column.item)))
            except NotAValue as problem:
                raise _unreadable(row, f"{table.name}.{column.item}", str(problem)) from None
            if missing.get(column.item) not in (None, *MISSING_REASONS):
                raise _unreadable(row, f"{table.name}.{column.item}", "the missing reason is not known")
    return json.dumps({"answers": read, "missing": missing})


def _unreadable(row: StoredRow, place: str, problem: str) -> Broken:
    where = f"{place}, participant {row.participant}, visit {row.visit}, row {row.row}"
    return Broken(f"Stored data cannot be exported ({where}): {problem}.", code="EXPORT.UNREADABLE")


def _check(made: Frame) -> None:
    """Refuse cells that some format could not hold or would read as something else."""
    for column in made.table.columns if len(made) else ():
        cells = made.values.get_column(column.name)
        for problem, wrong in _problems(column, cells):
            if wrong.any():
                at = wrong.arg_max()
                message = f"Table {made.table.name}, column {column.name}, row {(at or 0) + 1}: {problem}."
                raise Broken(message, code="EXPORT.UNFIT")


def _problems(column: Column, cells: pl.Series) -> Iterator[tuple[str, pl.Series]]:
    if column.kind == "text":
        yield f"the text is longer than {column.width} bytes", cells.str.len_bytes() > column.width
        yield "the text holds a null character", cells.str.contains("\0", literal=True)
    if column.fits_long:
        yield "the number is too large", cells.abs() > _LARGEST_WHOLE
    if column.kind == "number" and not column.whole:
        yield "the value is not a number", ~cells.is_finite()
    if column.reasons:
        yield "-91 to -95 stand for missing reasons", cells.is_between(LOWEST_REASON, HIGHEST_REASON)
