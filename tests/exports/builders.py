"""Small forms and rows for the tests of exports, and the slow obvious way from a stored row to a cell."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from trialdm.domain import values
from trialdm.domain.crf import Code, Codelist, Form, Item
from trialdm.domain.expressions import Expression
from trialdm.domain.protocol import Arm, Protocol, Scheme, Site, Visit
from trialdm.domain.values import PartialDate
from trialdm.exports.dataset import Column, StoredRow
from trialdm.exports.package import Identity

AS_OF = datetime(2026, 3, 7, 9, 5, 59, tzinfo=UTC)

PAIN = Codelist(
    "PAIN",
    (Code(-1, "Not felt"), Code(0, "None"), Code(1, "Mild — “quoted”, née"), Code(2, "In the TMR limb", blinded="In the limb")),
)
TOLD = Codelist("TOLD", (Code(1, "Participant"), Code(2, "Assessor", restricted=True)))


def item(name: str, type_name: str, **more: Any) -> Item:
    return Item(name, more.pop("label", f"The {name}"), type_name, **more)


#: One item of each type, and the ways in which they vary.
ITEMS = (
    item("age", "int", minimum=Decimal(0), maximum=Decimal(120), unit="years"),
    item("count", "int"),
    item("weight", "dec", minimum=Decimal(1), maximum=Decimal(400), decimals=1, unit="kg"),
    item("pain", "code", codelist=PAIN),
    item("surgeon", "code", source="surgeons"),
    item("smoker", "yn"),
    item("sites", "multi", codelist=PAIN),
    item("onset", "pdate"),
    item("seen", "date"),
    item("clock", "time"),
    item("started", "dtm"),
    item("note", "text", length=40),
    item("story", "text", length=1000),
)


def form(*items: Item, code: str = "ALL", **more: Any) -> Form:
    return Form(code, more.pop("title", "Everything"), more.pop("kind", "baseline"), items or ITEMS, **more)


def protocol(*forms: Form) -> Protocol:
    return Protocol(
        id="test", version="1.0", short_title="Test", title="A test", study_type="", origin="new", pathway="", identity="vault",
        target_participants=10, target_months=12, arms=(Arm(1, "a", "A"), Arm(2, "b", "B")), sites=(Site("S01", "Here", "ENG"),),
        visits=(Visit("V01", 1, "Baseline", "scheduled"),), forms=forms, codelists={}, schemes=(Scheme("s", "simple", ()),),
    )  # fmt: skip


def condition(name: str, value: int) -> Expression:
    """The item has this value."""
    return Expression(f"{name} == {value}", [], "truth", frozenset({name}), False, lambda known, rows: known.get(name) == value)


def row(answers: Mapping[str, Any] | None = None, missing: Mapping[str, str] | None = None, **more: Any) -> StoredRow:
    about: dict[str, Any] = {
        "participant": "K7QF-2M9X-CC", "site": "S01", "visit": "V01", "visit_no": 1, "row": 1, "status": "complete",
        "version": 1, "saved_at": datetime(2026, 3, 1, 8, 30, 15, 999, tzinfo=UTC),
    }  # fmt: skip
    return StoredRow(**about | more, data=json.dumps({"answers": answers or {}, "missing": missing or {}}))


FULL: Mapping[str, Any] = {
    "age": 47, "count": 2**53, "weight": "82.5", "pain": 2, "surgeon": 7, "smoker": 0, "sites": [-1, 2], "onset": "1899-07",
    "seen": "1850-01-31", "clock": "23:59", "started": "2026-07-07T09:05", "note": 'says "ü, 😀"\n- and more',
    "story": "née 😀 " * 300 + "end",
}  # fmt: skip

REASONS = dict(zip(FULL, ["NK", "NA", "ND", "RF", "PE", "NK", "NA", "ND", "RF", "PE", "NK", "NA", "ND"], strict=True))


def all_rows() -> list[StoredRow]:
    """A full row, one with a reason everywhere, one with nothing, and one where a partial date is a year."""
    return [
        row(FULL),
        row({}, REASONS, participant="K7QF-2M9X-CD"),
        row(participant="K7QF-2M9X-CE", visit="", visit_no=None, row=None, status="", version=None, saved_at=None),
        row({"onset": "2020", "count": -1, "sites": [], "clock": "00:00", "note": "", "weight": "-0.0"}, participant="X"),
    ]


def identity(**more: Any) -> Identity:
    about = {"trial": "test", "protocol_version": "1.0", "software_version": "0.1", "blinding": "blinded", "layout": "long"}
    return Identity(**about | {"as_of": AS_OF} | more)


# --- the oracle ------------------------------------------------------------------------------------------------------


def cells(columns: Iterable[Column], stored: StoredRow) -> dict[str, Any]:
    """What every column should hold: a value, None, or for a number with a reason `"?NK"`."""
    document = json.loads(stored.data)
    return {column.name: _cell(column, stored, document["answers"], document["missing"]) for column in columns}


def _cell(column: Column, stored: StoredRow, answers: Mapping[str, Any], missing: Mapping[str, str]) -> Any:
    if column.take == "row":
        return _about(column.name, stored)
    value, reason = values.read(column.holds, answers.get(column.item)), missing.get(column.item)
    if value is None:
        return reason if column.take == "reason" else f"?{reason}" if column.reasons and reason else None
    match column.take:
        case "reason":
            return None
        case "choice":
            assert isinstance(value, tuple)
            return int(column.code in value)
        case "earliest" | "precision":
            assert isinstance(value, PartialDate)
            return value.earliest() if column.take == "earliest" else value.precision
        case "offset":
            assert isinstance(value, datetime)
            offset = value.replace(tzinfo=ZoneInfo("Europe/London")).utcoffset()
            assert offset is not None
            return offset.total_seconds() // 60
    if isinstance(value, PartialDate):
        return str(value)
    return float(value) if isinstance(value, Decimal) else None if value in column.withheld else value


def _about(name: str, stored: StoredRow) -> Any:
    found = getattr(stored, {"form_status": "status", "form_version": "version"}.get(name, name))
    if isinstance(found, datetime):
        return found.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    return None if found == "" else found
