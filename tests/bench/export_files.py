"""How long an export takes beside a naive one and beside polars, in the same run on the same rows.

100,000 rows of a form of 40 items go from stored JSON to a file: by trialdm in each format, by the path that most
programs take (`json.loads`, a pandas table, pyreadstat), and by polars alone as CSV. Ratios count, seconds do not.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trialdm.domain.crf import Code, Codelist, Item
from trialdm.exports import delimited, dta, sav, verify
from trialdm.exports.dataset import REASON_NUMBERS, StoredRow, Table, frame, table_of_items

ROWS, REPEATS = 100_000, 3
AS_OF = datetime(2026, 3, 7, 9, 5, tzinfo=UTC)

_SCALE = Codelist("SCALE", tuple(Code(value, f"Grade {value}") for value in range(6)))


def items() -> list[Item]:
    """16 coded, 6 whole, 8 decimal and 5 date items, 4 texts of up to 40 characters and one of up to 200."""
    low, high = Decimal(0), Decimal(250)
    return [
        *(Item(f"code{n}", f"Question {n}", "code", codelist=_SCALE) for n in range(16)),
        *(Item(f"int{n}", f"Count {n}", "int", minimum=low, maximum=high) for n in range(6)),
        *(Item(f"dec{n}", f"Measure {n}", "dec", minimum=low, maximum=high, decimals=1) for n in range(8)),
        *(Item(f"date{n}", f"Day {n}", "date") for n in range(5)),
        *(Item(f"text{n}", f"Remark {n}", "text", length=40) for n in range(4)),
        Item("story", "Story", "text", length=200),
    ]


def rows(count: int = ROWS) -> list[StoredRow]:
    """Made-up rows: one answer in twenty is missing with a reason, and two longer texts in three."""
    chance = random.Random(1)
    made = {
        "code": lambda: chance.randrange(6),
        "int": lambda: chance.randrange(200),
        "dec": lambda: f"{chance.randrange(2000) / 10}",
        "date": lambda: (date(2024, 1, 1) + timedelta(chance.randrange(900))).isoformat(),
        "text": lambda: "Tender over the neuroma, worse at night"[: chance.randrange(5, 40)],
    }
    asked = items()
    about = ("complete", 1, AS_OF)
    return [
        StoredRow(f"P{n // 10:05d}", f"S{n % 30:02d}", f"V{n % 10:02d}", n % 10, 1, *about, _document(asked, made, chance))
        for n in range(count)
    ]


def _document(asked: list[Item], made: Mapping[str, Callable[[], object]], chance: random.Random) -> str:
    answers: dict[str, object] = {}
    missing: dict[str, str] = {}
    for item in asked:
        if chance.random() < (0.67 if item.name == "story" else 0.05):
            missing[item.name] = "ND"
        else:
            answers[item.name] = made[item.type]()
    return json.dumps({"answers": answers, "missing": missing})


def naive(table: Table, stored: list[StoredRow], path: Path) -> None:
    """As most programs make the same file: every document to a dict, lists, a pandas table, and pyreadstat."""
    import pandas as pd  # type: ignore[import-untyped]
    import pyreadstat

    documents = [json.loads(row.data) for row in stored]
    made = {}
    for column in table.columns:
        if column.take == "row":
            name = {"form_status": "status", "form_version": "version"}.get(column.name, column.name)
            cells = [getattr(row, name) for row in stored]
            made[column.name] = pd.to_datetime(cells).tz_localize(None) if column.kind == "datetime" else cells
        elif column.take == "reason":
            made[column.name] = [document["missing"].get(column.item) for document in documents]
        elif column.kind == "number":
            made[column.name] = [_number(document, column.item) for document in documents]
        else:
            cells = [document["answers"].get(column.item) for document in documents]
            made[column.name] = [cell and date.fromisoformat(cell) for cell in cells] if column.kind == "date" else cells
    pyreadstat.write_sav(pd.DataFrame(made), path, **sav._description(table))


def _number(document: Any, item: str) -> float | None:
    value, reason = document["answers"].get(item), document["missing"].get(item)
    return float(value) if value is not None else -90 - REASON_NUMBERS[reason] if reason else None


def polars_csv(table: Table, stored: list[StoredRow], path: Path) -> None:
    """The same extraction, with its typed columns and missing reasons, written as CSV by polars."""
    frame(table, stored).values.write_csv(path)


def seconds(act: Callable[[], object]) -> float:
    """The quickest of a few runs."""
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return min(taken)


def run(count: int = ROWS) -> dict[str, float]:
    """Print and return seconds of each path, with ratios to polars writing CSV and to the naive path."""
    table = table_of_items("bench", "Benchmark", items(), reasons=True, last=("form_status", "form_version", "saved_at"))
    stored = rows(count)
    with TemporaryDirectory() as folder:
        taken = _timed(table, stored, Path(folder))
    print(f"{count:,} rows x 40 items, from stored JSON to file; quickest of {REPEATS}")  # noqa: T201
    for name, value in taken.items():
        ratios = f"{value / taken['polars, CSV']:5.2f} x polars CSV   {taken['naive, .sav'] / value:5.1f} x faster than naive"
        print(f"{name:28} {value:6.2f} s   {ratios}")  # noqa: T201
    return taken


def _timed(table: Table, stored: list[StoredRow], folder: Path) -> dict[str, float]:
    cells = frame(table, stored)
    taken = {
        "naive, .sav": seconds(lambda: naive(table, stored, folder / "naive.sav")),
        "polars, CSV": seconds(lambda: polars_csv(table, stored, folder / "polars.csv")),
        "rows to columns alone": seconds(lambda: frame(table, stored)),
        "hash of the table": seconds(lambda: delimited.table_hash(cells)),
    }
    for name, writer in (("sav", sav.write), ("dta", dta.write), ("csv", delimited.write)):
        path = folder / f"bench.{name}"
        taken[f"trialdm, .{name}"] = seconds(partial(_export, writer, table, stored, path))
        taken[f"verification, .{name}"] = seconds(partial(verify.check, name, path, cells))
    return taken


def _export(writer: Callable[..., None], table: Table, stored: list[StoredRow], path: Path) -> None:
    writer(path, frame(table, stored), as_of=AS_OF)


if __name__ == "__main__":
    run()
