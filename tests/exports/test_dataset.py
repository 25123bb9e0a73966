"""Columns come from definitions only; rows become typed cells as the slow obvious way says."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialdm.domain import naming
from trialdm.domain.crf import Code, Codelist
from trialdm.domain.errors import Broken, Forbidden, Invalid
from trialdm.exports.dataset import (
    REASON_NUMBERS,
    Column,
    Frame,
    StoredRow,
    Table,
    cut,
    form_table,
    form_tables,
    frame,
    table_of_items,
)

from . import builders as b

REGISTERS = {"surgeons": {7: "Dr A", 8: "Dr B"}}


def table(*items: Any, blinded: bool = True, **more: Any) -> Table:
    form = b.form(*items, **more)
    return form_table(b.protocol(form), form, blinded=blinded, registers=REGISTERS)


def cells_of(made: Frame) -> list[dict[str, Any]]:
    """Rows as the oracle writes them."""
    words = {number: f"?{reason}" for reason, number in REASON_NUMBERS.items()}
    reasons = [{name: words.get(number) for name, number in row.items() if number} for row in made.reasons.iter_rows(named=True)]
    return [{**row, **why} for row, why in zip(made.values.iter_rows(named=True), reasons or [{}] * len(made), strict=True)]


# --- structure -------------------------------------------------------------------------------------------------------


def test_columns_are_keys_then_items_in_form_order_then_what_stands_about_the_row() -> None:
    made = [column.name for column in table().columns]
    between = [name for item in b.ITEMS for name in naming.columns_of(item)]
    assert made == [*naming.KEYS, *between, *naming.ROW_COLUMNS]


@pytest.mark.parametrize(
    ("name", "kind", "width", "decimals", "measure", "reasons"),
    [
        ("participant", "text", 32, 0, "nominal", False),
        ("age", "number", 3, 0, "scale", True),
        ("count", "number", 12, 0, "scale", True),
        ("weight", "number", 5, 1, "scale", True),
        ("pain", "number", 3, 0, "nominal", True),
        ("smoker", "number", 3, 0, "nominal", True),
        ("sites___m1", "number", 3, 0, "nominal", False),
        ("sites_mr", "text", 2, 0, "nominal", False),
        ("onset", "text", 10, 0, "nominal", False),
        ("onset_date", "date", 0, 0, "scale", False),
        ("onset_prec", "text", 5, 0, "nominal", False),
        ("seen", "date", 0, 0, "scale", False),
        ("clock", "time", 0, 0, "scale", False),
        ("started", "datetime", 0, 0, "scale", False),
        ("started_utc", "number", 4, 0, "scale", False),
        ("note", "text", 160, 0, "nominal", False),
        ("story", "text", 4000, 0, "nominal", False),
        ("saved_at", "datetime", 0, 0, "scale", False),
    ],
)
def test_kinds_and_widths(name: str, kind: str, width: int, decimals: int, measure: str, reasons: bool) -> None:
    column = table().column(name)
    assert (column.kind, column.width, column.decimals, column.measure, column.reasons) == (
        kind,
        width,
        decimals,
        measure,
        reasons,
    )


def test_an_empty_trial_has_the_same_structure_as_a_full_one() -> None:
    empty, full = frame(table(), []), frame(table(), b.all_rows())
    assert empty.values.schema == full.values.schema
    assert empty.reasons.schema == full.reasons.schema
    assert len(empty) == 0


def test_labels_of_codes_come_from_codelists_and_registers() -> None:
    made = table(blinded=False)
    assert made.column("pain").value_labels == {-1: "Not felt", 0: "None", 1: "Mild — “quoted”, née", 2: "In the TMR limb"}
    assert made.column("surgeon").value_labels == {7: "Dr A", 8: "Dr B"}
    assert made.column("smoker").value_labels == {0: "No", 1: "Yes"}
    assert made.column("sites___2").label == "In the TMR limb: The sites"


def test_a_form_of_one_item_and_one_of_none() -> None:
    one = frame(table(b.item("age", "int")), [b.row({"age": 3})])
    assert one.values.get_column("age").to_list() == [3]
    hidden = frame(table(b.item("age", "int", exported=False)), [b.row({"age": 3})])
    assert hidden.values.columns == [*naming.KEYS, *naming.ROW_COLUMNS]
    assert len(hidden) == 1


def test_calculated_items_carry_no_reasons_and_may_be_any_number() -> None:
    days = b.item("days", "calc", result="int", value=b.condition("age", 1))
    made = frame(table(days), [b.row({"days": -92})])
    assert made.values.get_column("days").to_list() == [-92]
    assert made.reasons.width == 0


def test_tables_of_the_platform_choose_their_keys_and_carry_no_reasons() -> None:
    made = table_of_items("participants", "Participants", b.ITEMS, keys=("participant", "site"))
    names = [column.name for column in made.columns]
    assert names[:3] == ["participant", "site", "age"]
    assert not [name for name in names if name.endswith("_mr")]
    assert frame(made, [b.row({"age": 3})]).values.get_column("age").to_list() == [3]


@pytest.mark.parametrize("names", [("abc", "ABC"), ("with",), ("byte",), ("x" * 33,), ("site",)])
def test_names_that_some_package_cannot_take_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as refused:
        table(*(b.item(name, "int") for name in names))
    assert refused.value.code == "EXPORT.NAME"


def test_codes_that_mean_a_missing_reason_are_refused() -> None:
    with pytest.raises(Invalid, match="missing reasons"):
        table(b.item("pain", "code", codelist=Codelist("C", (Code(-93, "odd"),))))


def test_cutting_never_splits_a_character() -> None:
    assert cut("é" * 200, octets=255) == "é" * 127
    assert cut("😀" * 100, characters=80) == "😀" * 80
    assert cut("short", octets=120) == "short"


# --- blinding --------------------------------------------------------------------------------------------------------


def test_a_blinded_dataset_leaves_out_what_would_unblind() -> None:
    items = (
        b.item("arm", "code", system="rand_arm"),
        b.item("donor", "text", restricted=True),
        b.item("told", "code", codelist=b.TOLD),
        b.item("whom", "multi", codelist=b.TOLD),
        b.item("pain", "code", codelist=b.PAIN),
    )
    blind, open_ = table(*items), table(*items, blinded=False)
    assert [c.name for c in blind.columns[5:-3]] == ["told", "whom___1", "whom_mr", "pain"]
    assert [c.name for c in open_.columns[5:-3]] == [
        "arm",
        "donor",
        "donor_mr",
        "told",
        "whom___1",
        "whom___2",
        "whom_mr",
        "pain",
    ]
    assert blind.column("pain").value_labels[2] == "In the limb"
    assert blind.column("told").value_labels == {1: "Participant"}
    stored = [b.row({"arm": 1, "donor": "N. obturatorius", "told": 2, "pain": 2})]
    assert frame(blind, stored).values.get_column("told").to_list() == [None]
    assert frame(open_, stored).values.get_column("told").to_list() == [2]


def test_restricted_forms_are_no_part_of_a_blinded_dataset() -> None:
    surgery, diary = b.form(code="SURG", restricted=True), b.form(code="DIARY")
    protocol = b.protocol(surgery, diary)
    assert [t.name for t in form_tables(protocol, blinded=True)] == ["diary"]
    assert [t.name for t in form_tables(protocol, blinded=False)] == ["surg", "diary"]
    with pytest.raises(Forbidden):
        form_table(protocol, surgery, blinded=True)


def test_rows_that_restrict_themselves_are_dropped_for_blinded_readers() -> None:
    items = (b.item("deviation", "int"), b.item("note", "text"))
    stored = [b.row({"deviation": 4, "note": "unblinded"}), b.row({"deviation": 1})]
    when = b.condition("deviation", 4)
    assert frame(table(*items, restricted_when=when), stored).values.get_column("deviation").to_list() == [1]
    assert len(frame(table(*items, restricted_when=when, blinded=False), stored)) == 2


# --- cells -----------------------------------------------------------------------------------------------------------


def test_rows_become_cells_as_the_slow_way_says() -> None:
    made = table()
    assert cells_of(frame(made, b.all_rows())) == [b.cells(made.columns, stored) for stored in b.all_rows()]


@pytest.mark.parametrize(
    ("wall", "minutes"),
    [
        ("2026-01-15T12:00", 0),
        ("2026-07-15T12:00", 60),
        ("2026-03-29T00:59", 0),
        ("2026-03-29T01:30", 0),  # the hour that clocks skip
        ("2026-03-29T02:00", 60),
        ("2026-10-25T01:30", 60),  # the hour that comes twice: the first
        ("2026-10-25T02:00", 0),
        ("1970-01-01T12:00", 60),
        ("1900-06-01T12:00", 0),
    ],
)
def test_offset_of_a_wall_time_in_london(wall: str, minutes: int) -> None:
    made = frame(table(b.item("started", "dtm")), [b.row({"started": wall})])
    assert made.values.get_column("started_utc").to_list() == [minutes]
    assert made.values.get_column("started").to_list() == [datetime.fromisoformat(wall)]


@given(st.lists(st.datetimes(datetime(1860, 1, 1), datetime(2037, 1, 1)), min_size=20, max_size=200))
@settings(max_examples=20, deadline=None)
def test_offsets_agree_with_zoneinfo(moments: list[datetime]) -> None:
    made = table(b.item("started", "dtm"))
    stored = [b.row({"started": moment.isoformat(timespec="minutes")}) for moment in moments]
    assert cells_of(frame(made, stored)) == [b.cells(made.columns, one) for one in stored]


def test_saved_at_is_utc_whatever_the_zone_it_is_handed_in() -> None:
    summer = datetime(2026, 7, 1, 12, 0, 1, tzinfo=timezone(timedelta(hours=1)))
    stored = [b.row(saved_at=summer), b.row(saved_at=datetime(2026, 7, 1, 11, 0, 1)), b.row(saved_at=None)]
    assert frame(table(), stored).values.get_column("saved_at").to_list() == [datetime(2026, 7, 1, 11, 0, 1)] * 2 + [None]


def test_an_answer_stands_before_a_reason() -> None:
    made = frame(table(b.item("age", "int"), b.item("note", "text")), [b.row({"age": 3, "note": "x"}, {"age": "NK", "note": "NK"})])
    assert made.reasons.get_column("age").to_list() == [0]
    assert made.values.get_column("note_mr").to_list() == [None]


def test_documents_in_an_older_shape_are_read_as_today() -> None:
    stored = [b.row({"age": "47", "pain": "2", "seen": " 2026-03-07 ", "gone": 1}), b.row({"age": 3})]
    pretty = stored[0]._replace(data=stored[0].data.replace(",", ",\n"))
    for first in (stored[0], pretty):
        made = frame(table(), [first, stored[1]])
        assert made.values.get_column("age").to_list() == [47, 3]
        assert made.values.get_column("seen").to_list() == [datetime(2026, 3, 7).date(), None]


@pytest.mark.parametrize(
    ("answers", "missing", "place"),
    [
        ({"age": 4.5}, {}, "all.age"),
        ({"weight": "heavy"}, {}, "all.weight"),
        ({"seen": "2026-02-30"}, {}, "all.seen"),
        ({"sites": 3}, {}, "all.sites"),
        ({}, {"age": "XX"}, "all.age"),
    ],
)
def test_what_cannot_be_read_stops_the_export_and_is_named(answers: Any, missing: Any, place: str) -> None:
    with pytest.raises(Broken, match=place) as stopped:
        frame(table(), [b.row(), b.row(answers, missing, participant="P2")])
    assert "participant P2" in stopped.value.message


def test_a_damaged_document_stops_the_export() -> None:
    with pytest.raises(Broken, match="participant K7QF-2M9X-CC"):
        frame(table(), [b.row()._replace(data='{"answers"')])


@pytest.mark.parametrize(
    ("item", "value"),
    [
        (b.item("note", "text", length=2), "😀😀x"),
        (b.item("age", "int"), -93),
        (b.item("weight", "dec", decimals=1), "-92.5"),
        (b.item("age", "int", minimum=Decimal(0), maximum=Decimal(9)), 3_000_000_000),
    ],
)
def test_what_the_declared_column_cannot_hold_stops_the_export(item: Any, value: Any) -> None:
    with pytest.raises(Broken, match="row 2") as stopped:
        frame(table(item), [b.row(), b.row({item.name: value})])
    assert stopped.value.code == "EXPORT.UNFIT"


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    made, stored = table(), b.all_rows() * 3
    whole = frame(made, stored)
    monkeypatch.setattr("trialdm.exports.dataset._CHUNK", 5)
    assert cells_of(frame(made, iter(stored))) == cells_of(whole)
    assert pl.concat(chunk.values for chunk in whole.chunks(5)).equals(whole.values)


def test_columns_and_rows_are_values() -> None:
    assert replace(table().column("age")) == table().column("age")
    assert StoredRow("P", "S").data == "{}"
    assert len(frame(table(), [StoredRow("P", "S")])) == 1
    assert Column("x", "X", "number", width=9).fits_long
