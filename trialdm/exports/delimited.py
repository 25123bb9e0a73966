"""CSV files: UTF-8, a header, RFC 4180 quoting, lines ended by a line feed. Empty means missing.

Missing reasons of numbers are written as -91 to -95; other kinds have theirs in the companion column. Dates, date-times
and times are in ISO form. The same text, apart from the header line, is what the hash of a table is computed over.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from trialdm.exports.dataset import Column, Frame

DATETIME, TIME = "%Y-%m-%dT%H:%M:%S", "%H:%M:%S"

_CHUNK = 20_000


def write(path: Path, frame: Frame, *, as_of: datetime) -> None:
    """Write the frame. A CSV file has no place for a time."""
    with path.open("wb") as file:
        file.write(",".join(column.name for column in frame.table.columns).encode() + b"\n")
        file.writelines(_lines(frame))


def table_hash(frame: Frame) -> str:
    """SHA-256 of the table's structure and of every cell, equal for the same table read from any format.

    Over UTF-8 text: first a line of JSON, `structure` with sorted keys and without blanks; then the lines of the CSV file
    without its header.
    """
    described = json.dumps(structure(frame.table.columns), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(described.encode() + b"\n")
    for lines in _lines(frame):
        digest.update(lines)
    return digest.hexdigest()


def structure(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """What has to be known of columns to read their cells from any format."""
    return [{"name": c.name, "kind": c.kind, "width": c.width, "decimals": c.decimals, "reasons": c.reasons} for c in columns]


def _lines(frame: Frame) -> Iterator[bytes]:
    for chunk in frame.chunks(_CHUNK):
        written = BytesIO()
        chunk.values.select(_cell(chunk, column) for column in chunk.table.columns).write_csv(
            written, include_header=False, datetime_format=DATETIME, time_format=TIME
        )
        yield written.getvalue()


def _cell(chunk: Frame, column: Column) -> pl.Expr | pl.Series:
    """The column as it is written: whole numbers without a point, reasons as their numbers."""
    cell = pl.col(column.name)
    if column.kind == "number" and not column.whole:
        cell = cell.cast(pl.String()).str.strip_suffix(".0")
    if not column.reasons:
        return cell
    number = (-90 - chunk.reason(column).cast(pl.Int64())).cast(pl.Int64() if column.whole else pl.String())
    return pl.when(chunk.reason(column) > 0).then(number).otherwise(cell).alias(column.name)
