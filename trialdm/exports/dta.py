"""Stata files (.dta), format 118: read by Stata 14 and later, in every edition, with text in UTF-8.

Written here byte by byte after StataCorp's description ("help dta"), because the general writer declares widths from the
data, prefers a format that only Stata/MP opens, and stamps files with the clock. Texts of more than 512 bytes are `strL`.
Knows the layout of the file; refuses to know where rows come from.
"""

import struct
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trialdm.domain.values import MISSING_REASONS
from trialdm.exports.dataset import REASON_NUMBERS, Column, Frame, Table, cut
from trialdm.exports.packing import Octets, numbers, spread, stamp, texts

#: Days from 1 January 1960, where Stata counts from, to 1970.
EPOCH = 3653

LONGEST_LABEL = 80

#: Texts declared wider than this (in bytes) are stored as `strL`: such a column costs 8 bytes in each row, not its width.
LONGEST_FIXED = 512

_FORMATS = {"date": "%td", "datetime": "%tc", "time": "%tcHH:MM:SS"}
_CHUNK = 10_000
_STRL, _DOUBLE, _LONG = 32_768, 65_526, 65_528

#: System missing; the n-th tagged value `.a` .. `.z` follows n steps later.
_MISSING_DOUBLE, _DOUBLE_STEP = 0x7FE0_0000_0000_0000, 1 << 40
_MISSING_LONG = 2_147_483_621

#: Mark of a `strL` that is text.
_TEXT = 130

_MAP_BYTES = len("<map></map>") + 14 * 8


def write(path: Path, frame: Frame, *, as_of: datetime) -> None:
    """Write the frame; the time in the header is set to `as_of`."""
    with path.open("wb") as file:
        file.write(b"<stata_dta>" + _header(frame, as_of))
        map_at = file.tell()
        file.seek(_MAP_BYTES, 1)
        starts = [0, map_at]
        for tag, pieces in _sections(frame):
            starts.append(file.tell())
            file.write(f"<{tag}>".encode())
            file.writelines(pieces)
            file.write(f"</{tag}>".encode())
        starts.append(file.tell())
        file.write(b"</stata_dta>")
        starts.append(file.tell())
        file.seek(map_at)
        file.write(b"<map>" + struct.pack("<14q", *starts) + b"</map>")


def stata_format(column: Column) -> str:
    """The display format, such as %9.0g, %12.1f, %40s or %td."""
    if column.kind == "text":
        return f"%{min(column.width, 40)}s"
    return _FORMATS.get(column.kind, f"%{column.width}.{column.decimals}f" if column.decimals else f"%{column.width}.0g")


def storage(column: Column) -> str:
    """The storage type as Stata names it: long, double, str12 or strL."""
    if column.kind == "text":
        return f"str{column.width}" if column.width <= LONGEST_FIXED else "strL"
    return "long" if column.kind == "date" or column.fits_long else "double"


def tag(reason: str) -> str:
    """The letter of the tagged missing value that stands for a reason: a, b, .."""
    return chr(ord("a") + REASON_NUMBERS[reason] - 1)


# --- dictionary ------------------------------------------------------------------------------------------------------


def _header(frame: Frame, as_of: datetime) -> bytes:
    day, time = stamp(as_of)
    label = cut(frame.table.title, characters=LONGEST_LABEL).encode()
    counts = struct.pack("<H", len(frame.table.columns)), struct.pack("<Q", len(frame))
    return (
        b"<header><release>118</release><byteorder>LSF</byteorder>"
        + b"<K>%b</K><N>%b</N><label>%b</label>" % (*counts, struct.pack("<H", len(label)) + label)
        + b"<timestamp>%b</timestamp></header>" % (b"\x11" + f"{day} {time[:5]}".encode())
    )


def _sections(frame: Frame) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The sections of the file that the map points to, in order."""
    columns = frame.table.columns
    yield "variable_types", [struct.pack("<H", _type(column)) for column in columns]
    yield "varnames", [struct.pack("129s", column.name.encode()) for column in columns]
    yield "sortlist", [bytes(2 * (len(columns) + 1))]
    yield "formats", [struct.pack("57s", stata_format(column).encode()) for column in columns]
    yield "value_label_names", [struct.pack("129s", column.name.encode() if _labels(column) else b"") for column in columns]
    yield "variable_labels", [struct.pack("321s", cut(column.label, characters=LONGEST_LABEL).encode()) for column in columns]
    yield "characteristics", _notes(frame.table)
    yield "data", (_rows(chunk, before=n * _CHUNK) for n, chunk in enumerate(frame.chunks(_CHUNK)))
    yield "strls", _long_texts(frame)
    yield "value_labels", [_label_table(column.name, _labels(column)) for column in columns if _labels(column)]


def _type(column: Column) -> int:
    return {"long": _LONG, "double": _DOUBLE, "strL": _STRL}.get(storage(column), column.width)


def _labels(column: Column) -> dict[int, str]:
    """Value labels in order of their values, tagged missing values last."""
    labels = dict(sorted(column.value_labels.items()))
    if column.reasons:
        labels |= {_MISSING_LONG + number: MISSING_REASONS[reason] for reason, number in REASON_NUMBERS.items()}
    return labels


def _label_table(name: str, labels: dict[int, str]) -> bytes:
    written = [label.encode() + b"\0" for label in labels.values()]
    offsets = [sum(map(len, written[:n])) for n in range(len(written))]
    text = b"".join(written)
    table = struct.pack(f"<ii{len(labels)}i{len(labels)}i", len(labels), len(text), *offsets, *labels) + text
    return b"<lbl>" + struct.pack("<i129s3x", len(table), name.encode()) + table + b"</lbl>"


def _notes(table: Table) -> Iterator[bytes]:
    """The whole label as a note of its variable, where Stata's 80 characters cut it."""
    for column in table.columns:
        if len(column.label) > LONGEST_LABEL:
            for name, text in (("note0", "1"), ("note1", column.label)):
                content = struct.pack("129s129s", column.name.encode(), name.encode()) + text.encode() + b"\0"
                yield b"<ch>" + struct.pack("<i", len(content)) + content + b"</ch>"


# --- rows ------------------------------------------------------------------------------------------------------------


def _rows(chunk: Frame, *, before: int) -> bytes:
    """Rows of the data section, of which so many stand before."""
    cells = [_cells(chunk, column, place, before) for place, column in enumerate(chunk.table.columns, 1)]
    return np.concatenate(cells, axis=1).tobytes()


def _cells(chunk: Frame, column: Column, place: int, before: int) -> Octets:
    """One column as bytes, a row for each of the chunk's."""
    if column.kind != "text":
        return _numeric(chunk, column)
    if storage(column) == "strL":
        rows = np.arange(before + 1, before + len(chunk) + 1, dtype="<u8")
        kept = chunk.values.get_column(column.name).is_not_null().to_numpy()
        return _octets(np.where(kept, rows << np.uint64(16) | np.uint64(place), np.uint64(0)))
    lengths, octets = texts(chunk.values.get_column(column.name))
    fixed = np.zeros((len(chunk), column.width), np.uint8)
    fixed[spread(lengths)] = octets
    return fixed


def _numeric(chunk: Frame, column: Column) -> Octets:
    cells = numbers(column, chunk.values.get_column(column.name), epoch=EPOCH)
    reasons = chunk.reason(column).to_numpy().astype(np.uint64) if column.reasons else np.uint64(0)
    missing = np.isnan(cells)
    if storage(column) == "long":
        return _octets(np.where(missing, _MISSING_LONG + reasons, np.where(missing, 0, cells)).astype("<i4"))
    tagged = _MISSING_DOUBLE + reasons * np.uint64(_DOUBLE_STEP)
    return _octets(np.where(missing, tagged, cells.astype("<f8").view("<u8")))


def _octets(cells: NDArray[np.generic]) -> Octets:
    return np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), cells.dtype.itemsize)


def _long_texts(frame: Frame) -> Iterator[bytes]:
    """The contents of `strL` cells, in order of rows and then of columns, as Stata expects them."""
    wide = {place: column.name for place, column in enumerate(frame.table.columns, 1) if storage(column) == "strL"}
    if not wide:
        return
    for row, cells in enumerate(frame.values.select(wide.values()).iter_rows(), 1):
        for place, text in zip(wide, cells, strict=True):
            if text is not None:
                content = text.encode()
                yield struct.pack("<3sIQBI", b"GSO", place, row, _TEXT, len(content) + 1) + content + b"\0"
