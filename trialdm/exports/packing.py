"""Columns as fixed-width bytes: what the binary writers share.

Knows how columns become plain numbers, and how texts of any length get to their places in rows of equal width. Refuses
to know a file format.
"""

from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trialdm.exports.dataset import Column

Octets = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Places = NDArray[np.int64]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def stamp(moment: datetime) -> tuple[str, str]:
    """Day ("07 Mar 2026") and time ("09:05:00") of a moment in UTC, in English whatever the locale."""
    there = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{there.day:02d} {_MONTHS[there.month - 1]} {there.year:04d}", f"{there:%H:%M:%S}"


def numbers(column: Column, cells: pl.Series, *, epoch: int) -> Doubles:
    """The cells as floating-point numbers, NaN where there is no value.

    A date is in days after `epoch` (which is given in days before 1970), a date-time and a time in milliseconds.
    """
    plain = cells.to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy()
    match column.kind:
        case "date":
            return plain + epoch
        case "datetime":
            return plain + epoch * 86_400_000
        case "time":
            return plain / 1_000_000
    return plain


def texts(cells: pl.Series) -> tuple[Places, Octets]:
    """Byte length of each text (0 where missing), and the UTF-8 bytes of all of them in one row."""
    lengths = cells.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    return lengths, np.frombuffer("".join(cells.drop_nulls().to_list()).encode(), np.uint8)


def spread(lengths: Places) -> tuple[Places, Places]:
    """For every byte of `texts`: the row that it belongs to, and its place in the text."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, np.arange(len(rows)) - starts
