"""SPSS system files (.sav): the dictionary by pyreadstat, the data section by numpy.

pyreadstat takes the width of a text from the data and stamps files with the clock. Here it writes one row in which every
text is as wide as declared; that dictionary is kept, and the rows are streamed behind it. So widths are those of the
definitions and equal data give equal bytes. Knows the layout of the data section (byte-compressed, PSPP's description of
the format); refuses to know where rows come from.
"""

import struct
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyreadstat
from numpy.typing import NDArray

from trialdm.domain.errors import Broken
from trialdm.exports.dataset import HIGHEST_REASON, LOWEST_REASON, Column, Frame, Table, cut, type_of
from trialdm.exports.packing import numbers, spread, stamp, texts

#: Days from 14 October 1582, where SPSS counts from, to 1970.
EPOCH = 141_428

FORMATS = {"date": "DATE11", "datetime": "DATETIME20", "time": "TIME8"}
LONGEST_LABEL, LONGEST_VALUE_LABEL, _LONGEST_FILE_LABEL = 256, 120, 64

_CHUNK = 20_000
_DATA_FOLLOWS = struct.pack("<ii", 999, 0)
_CASE_WIDTH_AT, _CASES_AT, _CREATED_AT = 68, 80, 92
_CASE_COUNT_RECORD = struct.pack("<iiiiq", 7, 16, 8, 2, 1)

_BLANKS = np.frombuffer(b" " * 8, "<u8")[0]
_SYSTEM_MISSING = -np.finfo(np.float64).max
_PADDING, _LITERAL, _ALL_BLANK, _MISSING, _BIAS = 0, 253, 254, 255, 100

Blocks = NDArray[np.uint64]
Codes = NDArray[np.uint8]


def write(path: Path, frame: Frame, *, as_of: datetime) -> None:
    """Write the frame; header times are set to `as_of`. Raises Broken where the dictionary is not as wide as the rows."""
    with path.open("wb") as file:
        file.write(_dictionary(frame.table, rows=len(frame), as_of=as_of))
        for chunk in frame.chunks(_CHUNK):
            file.write(_compressed(chunk))


def spss_format(column: Column) -> str:
    """The print format, such as F5.1, A800 or DATE11."""
    if column.kind == "text":
        return f"A{column.width}"
    return FORMATS.get(column.kind, f"F{column.width}.{column.decimals}")


def value_labels(column: Column) -> dict[int, str]:
    """Value labels as SPSS keeps them, those of missing reasons among them."""
    return {code: cut(label, octets=LONGEST_VALUE_LABEL) for code, label in column.all_labels.items()}


# --- dictionary ------------------------------------------------------------------------------------------------------


def _dictionary(table: Table, *, rows: int, as_of: datetime) -> bytes:
    """Everything that stands before the rows."""
    with TemporaryDirectory() as folder:
        template = Path(folder) / "template.sav"
        pyreadstat.write_sav(_one_row(table), template, **_description(table))
        made = bytearray(template.read_bytes())
    head = made[: made.index(_DATA_FOLLOWS) + len(_DATA_FOLLOWS)]
    if struct.unpack_from("<i", head, _CASE_WIDTH_AT)[0] != sum(_blocks(column) for column in table.columns):
        raise Broken(f"Table {table.name}: pyreadstat's dictionary is not as wide as the rows.", code="EXPORT.TEMPLATE")
    day, time = stamp(as_of)
    struct.pack_into("<i", head, _CASES_AT, rows)
    struct.pack_into("<17s", head, _CREATED_AT, f"{day[:7]}{day[9:]}{time}".encode())
    struct.pack_into("<q", head, head.index(_CASE_COUNT_RECORD) + len(_CASE_COUNT_RECORD), rows)
    return bytes(head)


def _one_row(table: Table) -> pl.DataFrame:
    """A row that makes pyreadstat declare each column as the table does."""
    cells = {c.name: ["x" * c.width] if c.kind == "text" else [None] for c in table.columns}
    return pl.DataFrame(cells, schema={c.name: pl.Float64() if c.kind == "number" else type_of(c) for c in table.columns})


def _description(table: Table) -> dict[str, Any]:
    columns = table.columns
    labelled = {c.name: {float(code): label for code, label in value_labels(c).items()} for c in columns}
    return {
        "file_label": cut(table.title, octets=_LONGEST_FILE_LABEL),
        "column_labels": {c.name: cut(c.label, octets=LONGEST_LABEL) for c in columns},
        "row_compress": True,
        "variable_value_labels": {name: labels for name, labels in labelled.items() if labels},
        "missing_ranges": {c.name: [{"lo": LOWEST_REASON, "hi": HIGHEST_REASON}] for c in columns if c.reasons},
        "variable_measure": {c.name: c.measure for c in columns},
        "variable_format": {c.name: spss_format(c) for c in columns if c.kind != "text"},
        "variable_display_width": {c.name: min(max(c.width, 8), 40) if c.kind == "text" else 12 for c in columns},
    }


# --- rows ------------------------------------------------------------------------------------------------------------


def _blocks(column: Column) -> int:
    """Blocks of eight bytes that one cell takes.

    A text of more than 255 bytes lies in segments: of 252 bytes each by their count, but every one except the last
    is declared as 255, holds 255 bytes and takes 256.
    """
    if column.kind != "text":
        return 1
    whole, rest = divmod(column.width - 1, 252) if column.width > 255 else (0, column.width - 1)
    return 32 * whole + (rest + 8) // 8


def _compressed(chunk: Frame) -> bytes:
    """The rows as SPSS compresses them: one code for each block, eight codes before the blocks that they announce.

    Each row is filled up to a multiple of eight codes. Blocks that are blank in every row of the chunk are never made.
    """
    used, at = _used_blocks(chunk)
    width = sum(_blocks(column) for column in chunk.table.columns)
    groups = -(-width // 8)
    codes = np.full((len(chunk), groups * 8), _ALL_BLANK, np.uint8)
    codes[:, width:] = _PADDING
    places = np.argsort(np.argsort(np.concatenate([np.arange(groups) * 9, at + at // 8 + 1])))
    units = np.empty((len(chunk), len(places)), "<u8")
    written = np.ones(units.shape, bool)
    start = 0
    for blocks, found in used:
        end = start + blocks.shape[1]
        codes[:, at[start:end]] = found
        units[:, places[groups + start : groups + end]] = blocks
        written[:, places[groups + start : groups + end]] = found == _LITERAL
        start = end
    units[:, places[:groups]] = codes.view("<u8")
    kept: Blocks = units[written]
    return kept.tobytes()


def _used_blocks(chunk: Frame) -> tuple[list[tuple[Blocks, Codes]], NDArray[np.int64]]:
    """Blocks with their codes, column by column, and the place of each in the row."""
    used, places, start = [], [], 0
    for column in chunk.table.columns:
        blocks, codes = _text(chunk, column) if column.kind == "text" else _number(chunk, column)
        used.append((blocks, codes))
        places.append(start + np.arange(blocks.shape[1]))
        start += _blocks(column)
    return used, np.concatenate(places)


def _text(chunk: Frame, column: Column) -> tuple[Blocks, Codes]:
    """Only as many blocks as the longest text of the chunk takes."""
    lengths, octets = texts(chunk.values.get_column(column.name))
    longest = int(lengths.max(initial=0))
    used = -(-(longest + (longest - 1) // 255) // 8) if longest else 0
    cells = np.full((len(chunk), used * 8), ord(" "), np.uint8)
    rows, places = spread(lengths)
    cells[rows, places + places // 255] = octets
    blocks = cells.view("<u8")
    return blocks, np.where(blocks == _BLANKS, _ALL_BLANK, _LITERAL).astype(np.uint8)


def _number(chunk: Frame, column: Column) -> tuple[Blocks, Codes]:
    cells = numbers(column, chunk.values.get_column(column.name), epoch=EPOCH)
    if column.kind == "date":
        cells = cells * 86_400
    elif column.kind in ("datetime", "time"):
        cells = cells / 1000
    if column.reasons:
        reasons = chunk.reason(column).to_numpy()
        cells = np.where(reasons > 0, -90.0 - reasons, cells)
    missing = np.isnan(cells)
    cells = np.where(missing, _SYSTEM_MISSING, cells).astype("<f8")
    small = (cells >= 1 - _BIAS) & (cells <= 251 - _BIAS) & (cells == np.floor(cells))
    codes = np.where(small, cells + _BIAS, np.where(missing, _MISSING, _LITERAL)).astype(np.uint8)
    return cells.view("<u8").reshape(-1, 1), codes.reshape(-1, 1)
