"""Files in every format say what the frame says, to readers that had no part in writing them."""

import csv
import shutil
import subprocess
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyreadstat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialdm.domain import values
from trialdm.domain.crf import Code, Codelist, Item
from trialdm.domain.errors import Broken
from trialdm.domain.values import MISSING_REASONS, PartialDate
from trialdm.exports import delimited, dta, sav, verify
from trialdm.exports.dataset import REASON_NUMBERS, Column, Frame, StoredRow, Table, form_table, frame

from . import builders as b

WRITERS = {"sav": sav.write, "dta": dta.write, "csv": delimited.write}
REGISTERS = {"surgeons": {7: "Dr A", 8: "Dr B"}}


def _haven() -> bool:
    rscript = shutil.which("Rscript")
    if not rscript:
        return False
    return subprocess.run([rscript, "-e", "library(haven)"], capture_output=True, check=False).returncode == 0


needs_pspp = pytest.mark.skipif(not shutil.which("pspp"), reason="PSPP is not installed")
needs_haven = pytest.mark.skipif(not _haven(), reason="R with haven is not installed")


def table(*items: Item) -> Table:
    form = b.form(*items)
    return form_table(b.protocol(form), form, blinded=False, registers=REGISTERS)


@pytest.fixture
def everything() -> Frame:
    return frame(table(), b.all_rows())


def write(folder: Path, format_name: str, cells: Frame, *, as_of: datetime = b.AS_OF) -> Path:
    path = folder / f"all.{format_name}"
    WRITERS[format_name](path, cells, as_of=as_of)
    return path


def texts_of(cells: Frame) -> list[dict[str, str]]:
    """What the CSV file says, as the oracle for programs that print text."""
    header = [column.name for column in cells.table.columns]
    lines = b"".join(delimited._lines(cells)).decode()
    return [dict(zip(header, line, strict=True)) for line in csv.reader(lines.splitlines(keepends=True))]


# --- all formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", WRITERS)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_what_is_written_is_read_back(tmp_path: Path, format_name: str, count: int) -> None:
    cells = frame(table(), b.all_rows()[:count])
    checked = verify.check(format_name, write(tmp_path, format_name, cells), cells)
    assert checked == {
        "rows": count,
        "columns": len(cells.table.columns),
        "cells": count * len(cells.table.columns),
        "differences": 0,
    }


@pytest.mark.parametrize("format_name", WRITERS)
def test_rows_of_several_chunks_are_read_back(tmp_path: Path, format_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sav, dta, delimited):
        monkeypatch.setattr(module, "_CHUNK", 7)
    cells = frame(table(), b.all_rows() * 6)
    verify.check(format_name, write(tmp_path, format_name, cells), cells)


@pytest.mark.parametrize("format_name", WRITERS)
def test_a_form_of_one_item(tmp_path: Path, format_name: str) -> None:
    cells = frame(table(b.item("x", "yn")), [b.row({"x": 1}), b.row({}, {"x": "PE"})])
    verify.check(format_name, write(tmp_path, format_name, cells), cells)


@pytest.mark.parametrize("format_name", WRITERS)
def test_the_same_cells_give_the_same_bytes(tmp_path: Path, format_name: str, everything: Frame) -> None:
    first = write(tmp_path, format_name, everything).read_bytes()
    again = write(tmp_path, format_name, frame(table(), b.all_rows())).read_bytes()
    assert first == again
    later = write(tmp_path, format_name, everything, as_of=datetime(2026, 3, 8, tzinfo=UTC)).read_bytes()
    assert (later == first) == (format_name == "csv")


@pytest.mark.parametrize("format_name", ["sav", "dta"])
def test_structure_does_not_depend_on_data(tmp_path: Path, format_name: str, everything: Frame) -> None:
    reader = {"sav": pyreadstat.read_sav, "dta": pyreadstat.read_dta}[format_name]
    full = reader(write(tmp_path, format_name, everything), metadataonly=True)[1]
    empty = reader(write(tmp_path, format_name, frame(table(), [])), metadataonly=True)[1]
    for name in (
        "column_names_to_labels",
        "variable_storage_width",
        "original_variable_types",
        "variable_value_labels",
        "missing_ranges",
    ):
        assert getattr(full, name) == getattr(empty, name)


@pytest.mark.parametrize("format_name", WRITERS)
def test_the_hash_of_a_table_is_the_same_from_every_format(tmp_path: Path, format_name: str, everything: Frame) -> None:
    read = verify.read(format_name, write(tmp_path, format_name, everything), everything.table)
    assert delimited.table_hash(read) == delimited.table_hash(everything)


def test_the_hash_tells_a_reason_from_a_number_and_an_empty_table_from_another() -> None:
    days = b.item("x", "calc", result="int", value=b.condition("x", 1))
    number, reason = frame(table(days), [b.row({"x": -91})]), frame(table(b.item("x", "int")), [b.row({}, {"x": "NK"})])
    assert delimited.table_hash(number) != delimited.table_hash(reason)
    assert delimited.table_hash(frame(table(days), [])) != delimited.table_hash(frame(table(b.item("y", "int")), []))


LONG = 'Wie “stark” war\'s, 😀? "Sehr" ' * 11


@pytest.mark.parametrize("format_name", WRITERS)
def test_labels_of_three_hundred_characters_with_quotes_and_emoji(tmp_path: Path, format_name: str) -> None:
    codes = Codelist("LONG", (Code(1, LONG), Code(2, "é" * 70)))
    made = table(b.item("x", "code", label=LONG, codelist=codes), b.item("m", "multi", label=LONG, codelist=codes))
    cells = frame(made, [b.row({"x": 1, "m": [2]})])
    path = write(tmp_path, format_name, cells)
    verify.check(format_name, path, cells)
    if format_name == "sav":
        meta = pyreadstat.read_sav(path)[1]
        assert 250 <= len(str(meta.column_names_to_labels["x"]).encode()) <= 256
        assert meta.variable_value_labels["x"][2.0] == "é" * 60
    if format_name == "dta":
        meta = pyreadstat.read_dta(path)[1]
        assert meta.column_names_to_labels["x"] == " ".join(LONG.split())[:80].strip()
        assert meta.variable_value_labels["x"][1] == " ".join(LONG.split())
        assert LONG.strip().encode() in path.read_bytes()


#: Declared widths at and around every border that the formats know.
WIDTHS = [
    1,
    2,
    7,
    8,
    9,
    251,
    252,
    253,
    254,
    255,
    256,
    257,
    504,
    505,
    510,
    511,
    512,
    513,
    756,
    765,
    766,
    1020,
    2044,
    2045,
    2046,
    5000,
    32_767,
]


def text_of(octets: int) -> str:
    """So many bytes of UTF-8, of one, two and four bytes a character, and different all along."""
    text = ""
    while len(text.encode()) < octets:
        text += f"{len(text)}é😀"
    while len(text.encode()) > octets:
        text = text[:-1]
    return text + "x" * (octets - len(text.encode()))


@pytest.fixture
def widths() -> Frame:
    columns = [Column(f"t{width}", f"Text of {width}", "text", width=width, item=f"t{width}", holds="text") for width in WIDTHS]
    full = {f"t{width}": text_of(width) for width in WIDTHS}
    half = {f"t{width}": text_of(width // 2) for width in WIDTHS}
    return frame(Table("all", "Texts", tuple(columns)), [b.row(full), b.row(), b.row(half), b.row({"t32767": "x"})])


@pytest.mark.parametrize("format_name", WRITERS)
def test_texts_of_every_width(tmp_path: Path, format_name: str, widths: Frame) -> None:
    verify.check(format_name, write(tmp_path, format_name, widths), widths)


# --- hypothesis ------------------------------------------------------------------------------------------------------


def _text(length: int) -> st.SearchStrategy[Any]:
    characters = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(" \n\t\",;'é😀—")
    return st.text(characters, max_size=length).map(lambda text: values.read("text", text))


def _apart_from_reasons(number: Any) -> bool:
    return not -95 <= number <= -91


ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "age": st.integers(-(2**30), 2**30).filter(_apart_from_reasons),
    "count": st.integers(-(2**53), 2**53).filter(_apart_from_reasons),
    "weight": st.decimals(-(10**12), 10**12, places=3).filter(_apart_from_reasons),
    "pain": st.sampled_from([-1, 0, 1, 2]),
    "surgeon": st.integers(0, 10**8),
    "smoker": st.sampled_from([0, 1]),
    "sites": st.lists(st.sampled_from([-1, 0, 1, 2]), unique=True).map(lambda codes: tuple(sorted(codes))),
    "onset": st.dates(date(1800, 1, 1), date(2200, 12, 31)).flatmap(
        lambda day: st.sampled_from([PartialDate(day.year), PartialDate(day.year, day.month), PartialDate(day.year, day.month, day.day)])
    ),
    "seen": st.dates(date(1800, 1, 1), date(2200, 12, 31)),
    "clock": st.times().map(lambda moment: time(moment.hour, moment.minute)),
    "started": st.datetimes(datetime(1860, 1, 1), datetime(2037, 1, 1)).map(lambda m: m.replace(second=0, microsecond=0)),
    "note": _text(40),
    "story": _text(1000),
}


@st.composite
def stored_rows(draw: st.DrawFn) -> StoredRow:
    answers: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, strategy in ANSWERS.items():
        given_, reason = draw(st.one_of(st.tuples(strategy, st.none()), st.tuples(st.none(), st.sampled_from([None, *MISSING_REASONS]))))
        answers |= {name: values.write(given_)} if given_ is not None else {}
        missing |= {name: reason} if reason else {}
    return b.row(answers, missing, visit_no=draw(st.none() | st.integers(0, 99)))


@given(rows=st.lists(stored_rows(), max_size=6))
@settings(max_examples=40, deadline=None)
def test_random_answers_come_back_from_every_format(tmp_path_factory: pytest.TempPathFactory, rows: list[StoredRow]) -> None:
    made = table()
    cells = frame(made, rows)
    folder = tmp_path_factory.mktemp("random")
    for format_name in WRITERS:
        path = write(folder, format_name, cells)
        verify.check(format_name, path, cells)
        read = verify.read(format_name, path, made)
        words = {number: f"?{reason}" for reason, number in REASON_NUMBERS.items()}
        for number, stored in enumerate(rows):
            reasons = {n: words.get(why) for n, why in read.reasons.row(number, named=True).items() if why}
            assert {**read.values.row(number, named=True), **reasons} == b.cells(made.columns, stored)
    shutil.rmtree(folder)


# --- pandas, PSPP, R -------------------------------------------------------------------------------------------------


def test_pandas_reads_tagged_missing_values_dates_and_labels(tmp_path: Path, everything: Frame) -> None:
    path = write(tmp_path, "dta", everything)
    read = pd.read_stata(path, convert_missing=True, convert_dates=False, convert_categoricals=False)
    assert [str(read["age"][n]) for n in range(4)] == ["47", ".a", ".", "."]
    assert [str(read["count"][n]) for n in range(4)] == [str(float(2**53)), ".b", ".", "-1.0"]
    assert [str(read["weight"][n]) for n in range(4)] == ["82.5", ".c", ".", "0.0"]
    assert [str(read["pain"][n]) for n in range(4)] == ["2", ".d", ".", "."]
    assert [str(read["surgeon"][n]) for n in range(4)] == ["7", ".e", ".", "."]
    assert list(read["sites___m1"].map(str)) == ["1", ".", ".", "."]
    assert list(read["story"]) == [everything.values["story"][0], "", "", ""]
    assert list(read["note_mr"]) == ["", "NA", "", ""]
    dated = pd.read_stata(path, convert_categoricals=False)
    assert dated["seen"][0].date() == date(1850, 1, 31)
    assert dated["onset_date"][3].date() == date(2020, 1, 1)
    assert dated["started"][0].to_pydatetime() == datetime(2026, 7, 7, 9, 5)
    with pd.read_stata(path, iterator=True) as reader:
        assert reader.value_labels()["smoker"] | {0: "No", 1: "Yes"} == reader.value_labels()["smoker"]
        assert reader.variable_labels()["sites_mr"] == "Why missing: The sites"


def test_tagged_missing_values_are_labelled(tmp_path: Path, everything: Frame) -> None:
    meta = pyreadstat.read_dta(write(tmp_path, "dta", everything), user_missing=True)[1]
    reasons: dict[Any, str] = dict(zip("abcde", MISSING_REASONS.values(), strict=True))
    assert meta.variable_value_labels["weight"] == reasons
    assert meta.variable_value_labels["smoker"] == {0: "No", 1: "Yes", **reasons}


def test_a_stata_file_is_format_118_with_narrow_types(tmp_path: Path, everything: Frame) -> None:
    path = write(tmp_path, "dta", everything)
    assert path.read_bytes().startswith(b"<stata_dta><header><release>118</release>")
    types = pyreadstat.read_dta(path, metadataonly=True)[1].readstat_variable_types
    expected = {"age": "int32", "count": "double", "weight": "double", "seen": "int32", "started": "double", "note": "string"}
    assert {name: types[name] for name in expected} == expected
    assert dta.storage(everything.table.column("note")) == "str160"
    assert dta.storage(everything.table.column("story")) == "strL"


def pspp(folder: Path, syntax: str) -> str:
    (folder / "job.sps").write_text(syntax, encoding="utf-8")
    done = subprocess.run(
        ["pspp", "-b", "-O", "format=csv", "job.sps"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_pspp
def test_pspp_reads_values_formats_and_missing_ranges(tmp_path: Path, everything: Frame) -> None:
    write(tmp_path, "sav", everything)
    said = pspp(tmp_path, 'GET FILE="all.sav".\nDISPLAY DICTIONARY.\nSAVE TRANSLATE /OUTFILE="out.csv" /TYPE=CSV /FIELDNAMES.\n')
    assert said.count("-95 THRU -91") == sum(column.reasons for column in everything.table.columns)
    for words in ("A160", "A4000", "DATE11", "DATETIME20", "TIME8", "F5.1"):
        assert words in said
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    expected = texts_of(everything)
    for column in everything.table.columns:
        found = [line[column.name] for line in read]
        if column.kind in ("text", "number"):
            assert [_plain(column, cell) for cell in found] == [_plain(column, line[column.name]) for line in expected]
    assert read[0]["seen"] == "01/31/1850"


def _plain(column: Column, cell: str) -> Any:
    return float(cell) if column.kind == "number" and cell.strip() else cell.strip()


@needs_pspp
def test_pspp_leaves_missing_reasons_out_of_statistics(tmp_path: Path) -> None:
    rows = [b.row({"age": 40}), b.row({"age": 50}), *(b.row({}, {"age": reason}) for reason in MISSING_REASONS)]
    write(tmp_path, "sav", frame(table(b.item("age", "int", minimum=Decimal(0), maximum=Decimal(120))), rows))
    said = pspp(tmp_path, 'GET FILE="all.sav".\nDESCRIPTIVES age /STATISTICS=MEAN.\n')
    assert "45.00" in said


@needs_pspp
def test_pspp_reads_texts_of_every_width(tmp_path: Path, widths: Frame) -> None:
    write(tmp_path, "sav", widths)
    pspp(tmp_path, 'GET FILE="all.sav".\nSAVE TRANSLATE /OUTFILE="out.csv" /TYPE=CSV /FIELDNAMES.\n')
    csv.field_size_limit(1_000_000)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == [column.name for column in widths.table.columns]
    assert [{name: cell.strip() for name, cell in line.items()} for line in read] == texts_of(widths)


@needs_pspp
def test_pspp_appends_two_cuts_of_one_table(tmp_path: Path) -> None:
    """SPSS refuses to append files in which a text has two widths, as writers that measure the data produce."""
    made = table(b.item("note", "text", length=50))
    sav.write(tmp_path / "one.sav", frame(made, [b.row({"note": "short"})]), as_of=b.AS_OF)
    sav.write(tmp_path / "two.sav", frame(made, [b.row({"note": "a good deal longer than that"})]), as_of=b.AS_OF)
    said = pspp(tmp_path, 'ADD FILES /FILE="one.sav" /FILE="two.sav".\nEXECUTE.\nDISPLAY DICTIONARY.\nDESCRIPTIVES visit_no.\n')
    assert "error" not in said.lower()
    assert "A200" in said


_IN_R = """
library(haven)
said <- function(x) {
  if (is.character(x)) return(ifelse(is.na(x), "", x))
  if (inherits(x, "Date")) return(ifelse(is.na(x), "", format(x)))
  if (inherits(x, "POSIXct")) return(ifelse(is.na(x), "", format(x, "%Y-%m-%dT%H:%M:%S", tz = "UTC")))
  if (inherits(x, "hms")) return(ifelse(is.na(x), "", as.character(x)))
  x <- unclass(x)
  ifelse(is_tagged_na(x), paste0(".", na_tag(x)), ifelse(is.na(x), "", format(as.numeric(x), digits = 17, trim = TRUE)))
}
read <- if (commandArgs(TRUE)[1] == "dta") read_dta("all.dta") else read_sav("all.sav", user_na = TRUE)
write.csv(as.data.frame(lapply(read, said)), "out.csv", row.names = FALSE, fileEncoding = "UTF-8")
"""


@needs_haven
@pytest.mark.parametrize("format_name", ["sav", "dta"])
def test_haven_reads_every_cell(tmp_path: Path, format_name: str, everything: Frame) -> None:
    write(tmp_path, format_name, everything)
    (tmp_path / "job.R").write_text(_IN_R, encoding="utf-8")
    done = subprocess.run(["Rscript", "job.R", format_name], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    tags = {str(-90 - number): f".{dta.tag(reason)}" for reason, number in REASON_NUMBERS.items()} if format_name == "dta" else {}
    for line, expected in zip(read, texts_of(everything), strict=True):
        for column in everything.table.columns:
            meant = expected[column.name]
            meant = tags.get(meant, meant) if column.reasons else meant
            # haven reads a time of Stata as one on 1 January 1960
            found = line[column.name].removeprefix("1960-01-01T") if column.kind == "time" else line[column.name]
            number = column.kind == "number" and meant and not meant.startswith(".")
            assert (float(found) == float(meant)) if number else (found == meant), column.name


# --- details of the formats ------------------------------------------------------------------------------------------


def test_spss_declares_ranges_measures_and_formats(tmp_path: Path, everything: Frame) -> None:
    meta = pyreadstat.read_sav(write(tmp_path, "sav", everything), user_missing=True)[1]
    assert meta.missing_ranges["age"] == [{"lo": -95.0, "hi": -91.0}]
    assert meta.variable_value_labels["pain"][-94.0] == "Refused"
    assert meta.variable_measure["pain"] == "nominal"
    assert meta.original_variable_types["story"] == "A4000"
    assert meta.creation_time == datetime(2026, 3, 7, 9, 5, 59)
    assert "sites_mr" not in meta.missing_ranges


def test_spss_takes_values_at_the_borders_of_its_compression(tmp_path: Path) -> None:
    edge = [-101, -100, -99, -98, -1, 0, 1, 150, 151, 152, 153, 250, 251, 255]
    cells = frame(table(b.item("x", "calc", result="int", value=b.condition("x", 1))), [b.row({"x": value}) for value in edge])
    read = pyreadstat.read_sav(write(tmp_path, "sav", cells), output_format="dict")[0]
    assert np.array_equal(read["x"], edge)


def test_csv_is_plain(tmp_path: Path) -> None:
    made = table(b.item("age", "int"), b.item("weight", "dec", decimals=1), b.item("seen", "date"), b.item("note", "text"))
    rows = [
        b.row({"age": 4, "weight": "80", "seen": "2026-03-07", "note": 'a "b",\nc'}),
        b.row({}, {"age": "RF", "weight": "NA", "seen": "NK"}),
    ]
    lines = write(tmp_path, "csv", frame(made, rows)).read_bytes().decode()
    assert lines == (
        "participant,site,visit,visit_no,row,age,weight,seen,seen_mr,note,note_mr,form_status,form_version,saved_at\n"
        'K7QF-2M9X-CC,S01,V01,1,1,4,80,2026-03-07,,"a ""b"",\nc",,complete,1,2026-03-01T08:30:15\n'
        "K7QF-2M9X-CC,S01,V01,1,1,-94,-92,,NK,,,complete,1,2026-03-01T08:30:15\n"
    )


@pytest.mark.parametrize("format_name", WRITERS)
@pytest.mark.parametrize("name", ["age", "weight", "note", "seen", "note_mr", "sites___2"])
def test_a_cell_that_differs_is_named(tmp_path: Path, format_name: str, name: str, everything: Frame) -> None:
    path = write(tmp_path, format_name, everything)
    wrong = everything.values.with_columns(everything.values.get_column(name).reverse())
    with pytest.raises(Broken, match=f"column {name}, row [12] differs") as found:
        verify.check(format_name, path, Frame(everything.table, wrong, everything.reasons))
    assert found.value.code == "EXPORT.DIFFERS"


@pytest.mark.parametrize("format_name", WRITERS)
def test_a_reason_that_differs_is_named(tmp_path: Path, format_name: str, everything: Frame) -> None:
    path = write(tmp_path, format_name, everything)
    wrong = everything.reasons.with_columns(everything.reasons.get_column("pain") * 0)
    with pytest.raises(Broken, match="column pain, row 2 differs"):
        verify.check(format_name, path, Frame(everything.table, everything.values, wrong))


@pytest.mark.parametrize("format_name", ["sav", "dta"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (b.item("x", "text", length=10, label="Other"), "label"),
        (b.item("x", "text", length=11), "width|format"),
        (b.item("x", "code", codelist=b.PAIN), "columns"),
    ],
)
def test_a_declaration_that_differs_is_named(tmp_path: Path, format_name: str, change: Item, said: str) -> None:
    path = write(tmp_path, format_name, frame(table(b.item("x", "text", length=10)), []))
    with pytest.raises(Broken, match=said):
        verify.check(format_name, path, frame(table(change), []))


@pytest.mark.parametrize("format_name", WRITERS)
def test_a_damaged_file_is_refused(tmp_path: Path, format_name: str, everything: Frame) -> None:
    path = write(tmp_path, format_name, everything)
    path.write_bytes(path.read_bytes()[:-150])
    with pytest.raises(Broken):
        verify.check(format_name, path, everything)
