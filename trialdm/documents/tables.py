"""Rows as CSV for a report: UTF-8 text, a header, lines ended by a line feed."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows of one kind: the columns are those that are given, else those of the first row; empty without either."""
    text = io.StringIO()
    header = columns or (list(rows[0]) if rows else ())
    if header:
        writer = csv.DictWriter(text, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
