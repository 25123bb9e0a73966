"""Files read back by readers that did not write their rows, and compared cell by cell with what was meant.

.sav and .dta are read by pyreadstat, CSV by Python's own reader. Knows what each format says about a column. Refuses to
repair: a difference is named and raised.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyreadstat
from polars.exceptions import PolarsError

from trialdm.domain.errors import Broken, Detail
from trialdm.domain.values import MISSING_REASONS
from trialdm.exports import delimited, dta, sav
from trialdm.exports.dataset import HIGHEST_REASON, LOWEST_REASON, REASON_NUMBERS, Column, Frame, Table, cut

#: Who reads each format back.
READERS = {"sav": f"pyreadstat {pyreadstat.__version__}", "dta": f"pyreadstat {pyreadstat.__version__}", "csv": "Python csv"}

_DAY = 86_400_000
_STATA_TYPES = {"long": "int32", "double": "double"}


@dataclass(frozen=True)
class Copy:
    """A file as its reader sees it: raw cells by column, in order, and what it says about its columns (by property)."""

    cells: Mapping[str, pl.Series]
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def check(format_name: str, path: Path, frame: Frame) -> dict[str, int]:
    """Read the file back and compare structure, labels, widths, values and missing reasons with the frame.

    Returns what was compared. Raises Broken naming table, column and row, with every differing column in `details`.
    """
    copy = _opened(format_name, path)
    found = [*_declarations(copy, format_name, frame.table)] or [*_differences(_typed(format_name, copy, frame.table), frame)]
    if found:
        details = [Detail("EXPORT.DIFFERS", message, place=f"{path.name}: {frame.table.name}") for message in found]
        message = f"{path.name} does not hold what was to be exported: {found[0]}."
        raise Broken(message, code="EXPORT.DIFFERS", details=details)
    return {"rows": len(frame), "columns": len(copy.cells), "cells": len(frame) * len(copy.cells), "differences": 0}


def read(format_name: str, path: Path, table: Table) -> Frame:
    """The cells of a file whose structure is known. Raises Broken where it has another structure or cannot be read."""
    copy = _opened(format_name, path)
    if list(copy.cells) != [column.name for column in table.columns]:
        raise Broken(f"{path.name}: the columns are not those of the table.", code="EXPORT.DIFFERS")
    return _typed(format_name, copy, table)


# --- structure -------------------------------------------------------------------------------------------------------


def _declarations(copy: Copy, format_name: str, table: Table) -> Iterator[str]:
    """What the file says otherwise than the table about the order and the properties of columns."""
    if list(copy.cells) != [column.name for column in table.columns]:
        yield "the columns or their order differ"
        return
    for column in table.columns:
        for name, expected in _EXPECTED[format_name](column).items():
            if (copy.properties[name].get(column.name) or None) != (expected or None):
                yield f"column {column.name}, {name} differs"


def _in_spss(column: Column) -> dict[str, Any]:
    return {
        "label": cut(column.label, octets=sav.LONGEST_LABEL),
        "value labels": sav.value_labels(column),
        "missing range": [{"lo": LOWEST_REASON, "hi": HIGHEST_REASON}] if column.reasons else None,
        "format": sav.spss_format(column),
        "measure": column.measure,
        "width": column.width if column.kind == "text" else 8,
    }


def _in_stata(column: Column) -> dict[str, Any]:
    storage = dta.storage(column)
    tagged = {dta.tag(reason): label for reason, label in MISSING_REASONS.items()} if column.reasons else {}
    return {
        "label": cut(column.label, characters=dta.LONGEST_LABEL),
        "value labels": {**column.value_labels, **tagged},
        "format": dta.stata_format(column),
        "type": _STATA_TYPES.get(storage, "string"),
        "width": 0 if storage == "strL" else column.width + 1 if column.kind == "text" else 4 if storage == "long" else 8,
    }


_EXPECTED: dict[str, Callable[[Column], dict[str, Any]]] = {"sav": _in_spss, "dta": _in_stata, "csv": lambda column: {}}


# --- readers ---------------------------------------------------------------------------------------------------------


def _opened(format_name: str, path: Path) -> Copy:
    try:
        return _COPIES[format_name](path)
    except (pyreadstat.ReadstatError, csv.Error, ValueError) as problem:
        raise Broken(f"{path.name} cannot be read: {problem}.", code="EXPORT.UNREADABLE") from None


def _copy_of_sav(path: Path) -> Copy:
    cells, meta = pyreadstat.read_sav(path, user_missing=True, output_format="polars", disable_datetime_conversion=True)
    return Copy(
        {name: cells.get_column(name) for name in cells.columns},
        {
            "label": meta.column_names_to_labels,
            "value labels": meta.variable_value_labels,
            "missing range": meta.missing_ranges,
            "format": meta.original_variable_types,
            "measure": meta.variable_measure,
            "width": meta.variable_storage_width,
        },
    )


def _copy_of_dta(path: Path) -> Copy:
    cells, meta = pyreadstat.read_dta(path, user_missing=True, output_format="dict", disable_datetime_conversion=True)
    return Copy(
        {name: pl.Series(name, cells[name], dtype=_raw_type(meta, name)) for name in meta.column_names},
        {
            "label": meta.column_names_to_labels,
            "value labels": meta.variable_value_labels,
            "format": meta.original_variable_types,
            "type": meta.readstat_variable_types,
            "width": meta.variable_storage_width,
        },
    )


def _raw_type(meta: Any, name: str) -> type[pl.DataType]:
    """Columns in which tagged missing values stand hold numbers and letters."""
    if name in meta.missing_user_values:
        return pl.Object
    return pl.String if meta.readstat_variable_types[name] == "string" else pl.Float64


def _copy_of_csv(path: Path) -> Copy:
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, strict=True)
        names = next(lines, [])
        columns = list(zip(*lines, strict=True)) or [()] * len(names)
    if len(columns) != len(names):
        raise ValueError("the header and the rows differ in length")
    return Copy({name: pl.Series(name, cells, dtype=pl.String) for name, cells in zip(names, columns, strict=True)})


_COPIES: dict[str, Callable[[Path], Copy]] = {"sav": _copy_of_sav, "dta": _copy_of_dta, "csv": _copy_of_csv}


# --- cells -----------------------------------------------------------------------------------------------------------

#: A column's values, and the numbers of its missing reasons where it carries some.
Cells = tuple[pl.Series, pl.Series | None]


def _typed(format_name: str, copy: Copy, table: Table) -> Frame:
    made: dict[str, Cells] = {}
    for column in table.columns:
        try:
            made[column.name] = _TYPED[format_name](column, copy.cells[column.name])
        except (PolarsError, ValueError, TypeError):
            message = f"Table {table.name}, column {column.name}: a cell is not of its type."
            raise Broken(message, code="EXPORT.DIFFERS") from None
    values = pl.DataFrame([cells.alias(name) for name, (cells, _) in made.items()])
    return Frame(table, values, pl.DataFrame([why.alias(name) for name, (_, why) in made.items() if why is not None]))


def _from_sav(column: Column, raw: pl.Series) -> Cells:
    """SPSS counts dates and times in seconds; missing reasons are numbers of the column's missing range."""
    match column.kind:
        case "text":
            return _text(raw), None
        case "number":
            return _with_reasons(column, raw.cast(pl.Float64))
        case "date":
            return _date(raw.cast(pl.Float64) / 86_400 - sav.EPOCH), None
        case "datetime":
            return _moment(raw.cast(pl.Float64) * 1000 - sav.EPOCH * _DAY), None
    return _time(raw.cast(pl.Float64) * 1000), None


def _from_dta(column: Column, raw: pl.Series) -> Cells:
    """Stata counts dates in days and times in milliseconds; missing reasons are tagged values, read as letters."""
    match column.kind:
        case "text":
            return _text(raw), None
        case "number":
            return _with_tags(column, raw)
        case "date":
            return _date(raw - dta.EPOCH), None
        case "datetime":
            return _moment(raw - dta.EPOCH * _DAY), None
    return _time(raw), None


def _from_csv(column: Column, raw: pl.Series) -> Cells:
    text = _text(raw)
    match column.kind:
        case "text":
            return text, None
        case "number":
            return _with_reasons(column, text.cast(pl.Float64))
        case "date":
            return text.str.to_date("%Y-%m-%d"), None
        case "datetime":
            return text.str.to_datetime(delimited.DATETIME, time_unit="ms"), None
    return text.str.to_time(delimited.TIME), None


_TYPED: dict[str, Callable[[Column, pl.Series], Cells]] = {"sav": _from_sav, "dta": _from_dta, "csv": _from_csv}


def _with_reasons(column: Column, numbers: pl.Series) -> Cells:
    """Numbers of which those from -95 to -91 are reasons, where the column carries reasons."""
    if not column.reasons:
        return _number(column, numbers), None
    is_reason = numbers.is_between(LOWEST_REASON, HIGHEST_REASON)
    if not is_reason.any():
        return _number(column, numbers), _no_reasons(numbers)
    is_reason = is_reason.fill_null(False)
    reasons = (-90 - _whole(numbers.zip_with(is_reason, _constant(-90.0, numbers)))).cast(pl.UInt8)
    return _number(column, numbers.zip_with(~is_reason, _constant(None, numbers))), reasons


def _with_tags(column: Column, raw: pl.Series) -> Cells:
    if raw.dtype != pl.Object:
        return _number(column, raw), _no_reasons(raw) if column.reasons else None
    tags = pl.Series([_TAGS[cell] if isinstance(cell, str) else 0 for cell in raw], dtype=pl.UInt8)
    return _number(column, pl.Series([None if isinstance(cell, str) else cell for cell in raw], dtype=pl.Float64)), tags


_TAGS = {dta.tag(reason): number for reason, number in REASON_NUMBERS.items()}


def _no_reasons(like: pl.Series) -> pl.Series:
    return pl.Series([0], dtype=pl.UInt8).new_from_index(0, len(like))


def _constant(value: float | None, like: pl.Series) -> pl.Series:
    return pl.Series([value], dtype=pl.Float64).new_from_index(0, len(like))


def _number(column: Column, cells: pl.Series) -> pl.Series:
    return _whole(cells) if column.whole else cells


def _whole(cells: pl.Series) -> pl.Series:
    """Numbers as integers. Raises ValueError where one has a fraction."""
    whole = cells.cast(pl.Int64)
    if (whole.cast(pl.Float64) != cells).any():
        raise ValueError("a number is not whole")
    return whole


def _text(cells: pl.Series) -> pl.Series:
    """Empty text is how the formats write a missing one."""
    text = cells.cast(pl.String)
    return text.set(text == "", None)


def _date(days: pl.Series) -> pl.Series:
    return _whole(days).cast(pl.Int32).cast(pl.Date)


def _moment(milliseconds: pl.Series) -> pl.Series:
    return _whole(milliseconds).cast(pl.Datetime("ms"))


def _time(milliseconds: pl.Series) -> pl.Series:
    return (_whole(milliseconds) * 1_000_000).cast(pl.Time)


def _differences(read_back: Frame, meant: Frame) -> Iterator[str]:
    """The first differing row of each column that differs."""
    if len(read_back) != len(meant):
        yield f"{len(read_back)} rows instead of {len(meant)}"
        return
    pairs = [(name, read_back.values.get_column(name), meant.values.get_column(name)) for name in meant.values.columns]
    pairs += [(name, read_back.reasons.get_column(name), meant.reasons.get_column(name)) for name in meant.reasons.columns]
    for name, found, expected in pairs:
        differs = found.ne_missing(expected)
        if found.dtype != expected.dtype:
            yield f"column {name} is of another type"
        elif differs.any():
            yield f"column {name}, row {(differs.arg_max() or 0) + 1} differs"
