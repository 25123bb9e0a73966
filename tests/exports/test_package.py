"""A package is whole, verified and reproducible, or it is not there."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trialdm.domain.crf import Code, Codelist
from trialdm.domain.errors import Broken, Conflict, Invalid, Missing
from trialdm.exports import package
from trialdm.exports.dataset import Frame, StoredRow, Table, form_table, table_of_items
from trialdm.exports.package import verify_package, write_package

from . import builders as b

REQUEST = {"by": "ada@example.org", "at": "2026-03-08T10:00:00Z", "reason": "Interim report"}


def tables() -> list[tuple[Table, list[StoredRow]]]:
    form = b.form()
    people = table_of_items("participants", "Participants", [b.item("sex", "yn")], keys=("participant", "site"))
    return [(people, [b.row({"sex": 1})]), (form_table(b.protocol(form), form, blinded=True), b.all_rows())]


def write(directory: Path, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"identity": b.identity(), "tables": tables(), "request": REQUEST}
    return write_package(directory, **given | more)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    write(tmp_path / "out")
    return tmp_path / "out"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_package_holds_data_codebook_manifest_request_and_proof(made: Path) -> None:
    data = [f"data/{name}/{table}.{name}" for name in ("csv", "dta", "sav") for table in ("all", "participants")]
    described = ["codebook.html", *data, "verification.json"]
    assert sorted(contents(made)) == sorted([*described, "manifest.json", "request.json"])
    manifest = json.loads((made / "manifest.json").read_text())
    assert [entry["path"] for entry in manifest["files"]] == described
    assert manifest["format"] == "trialdm-package/1"
    assert manifest["as_of"] == "2026-03-07T09:05:59Z"
    assert [(t["name"], t["rows"], t["columns"]) for t in manifest["tables"]] == [("participants", 1, 3), ("all", 4, 34)]
    for entry in manifest["files"]:
        found = (made / entry["path"]).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(found).hexdigest(), len(found))


def test_who_asked_stands_outside_the_identity(made: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", request={**REQUEST, "by": "bob@example.org"})
    first, again = contents(made), contents(tmp_path / "again")
    assert first.pop("request.json") != again.pop("request.json")
    assert first == again
    assert json.loads((made / "request.json").read_text())["reason"] == "Interim report"


def test_another_moment_or_answer_is_another_package(made: Path, tmp_path: Path) -> None:
    changed = tables()
    changed[1][1][0] = b.row({**b.FULL, "age": 48})
    manifest = write(tmp_path / "changed", tables=changed)
    before = json.loads((made / "manifest.json").read_text())
    same = [now["hash"] == then["hash"] for now, then in zip(manifest["tables"], before["tables"], strict=True)]
    assert same == [True, False]


def test_only_the_formats_that_were_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "out", formats=["csv", "csv"])
    assert [path.name for path in (tmp_path / "out" / "data").iterdir()] == ["csv"]
    assert verify_package(tmp_path / "out")["files"] == 4


def test_an_empty_trial(tmp_path: Path) -> None:
    write(tmp_path / "out", tables=[(table, []) for table, _ in tables()])
    assert [table["rows"] for table in verify_package(tmp_path / "out")["tables"]] == [0, 0]


def test_an_empty_folder_is_used_and_a_full_one_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    with pytest.raises(Conflict):
        write(tmp_path / "out")
    verify_package(tmp_path / "out")


@pytest.mark.parametrize("formats", [["sas"], [], ["csv", "SAV"]])
def test_unknown_formats_are_refused(tmp_path: Path, formats: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        write(tmp_path / "out", formats=formats)
    assert refused.value.code == "EXPORT.FORMAT"


@pytest.mark.parametrize("name", ["ALL", "../all", "a b", ""])
def test_table_names_are_plain_and_distinct(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        write(tmp_path / "out", tables=[*tables(), (replace(tables()[0][0], name=name), [])])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    def rows() -> Iterator[StoredRow]:
        yield b.row()
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError):
        write(tmp_path / "out", tables=[*tables(), (replace(tables()[0][0], name="last"), rows())])
    assert list(tmp_path.iterdir()) == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.exports import builders, test_package

def rows():
    yield builders.row()
    os.kill(os.getpid(), signal.SIGKILL)

out = Path(sys.argv[1])
first = test_package.tables()
test_package.write(out, tables=[*first, (test_package.replace(first[0][0], name="last"), rows())])
"""


def test_a_killed_export_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "out")], cwd=root, env=env, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    for left in tmp_path.iterdir():
        assert left.name.startswith(".out.unfinished-")
        with pytest.raises(Missing):
            verify_package(left)
    write(tmp_path / "out")
    verify_package(tmp_path / "out")


@pytest.mark.parametrize("format_name", package.FORMATS)
def test_a_writer_that_writes_something_else_is_found_out(tmp_path: Path, format_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = package._WRITERS[format_name]

    def careless(path: Path, frame: Frame, **more: Any) -> None:
        values = frame.values
        if "age" in values.columns:
            values = values.with_columns(pl.when(pl.col("age") == 47).then(74).otherwise(pl.col("age")).alias("age"))
        honest(path, Frame(frame.table, values, frame.reasons), **more)

    monkeypatch.setitem(package._WRITERS, format_name, careless)
    with pytest.raises(Broken, match=f"all.{format_name}.*column age, row 1") as found:
        write(tmp_path / "out")
    assert found.value.details[0].place == f"all.{format_name}: all"
    assert list(tmp_path.iterdir()) == []


# --- verifying -------------------------------------------------------------------------------------------------------


def test_a_package_verifies_without_an_instance(made: Path) -> None:
    found = verify_package(made)
    assert (found["verified"], found["files"]) == (True, 8)
    assert [table["name"] for table in found["tables"]] == ["participants", "all"]


def test_the_proof_names_reader_and_cells(made: Path) -> None:
    files = json.loads((made / "verification.json").read_text())["files"]
    assert {entry["path"]: entry["cells"] for entry in files}["data/sav/all.sav"] == 4 * 34
    assert all(entry["differences"] == 0 and entry["reader"] for entry in files)


@pytest.mark.parametrize(
    "name", ["codebook.html", "data/csv/all.csv", "data/dta/all.dta", "data/sav/participants.sav", "verification.json"]
)
def test_a_changed_byte_is_found(made: Path, name: str) -> None:
    octets = bytearray((made / name).read_bytes())
    octets[-20] ^= 1
    (made / name).write_bytes(octets)
    with pytest.raises(Broken) as found:
        verify_package(made)
    assert name in [detail.place for detail in found.value.details]


def test_missing_extra_and_replaced_files_are_all_named(made: Path) -> None:
    (made / "codebook.html").unlink()
    (made / "data" / "csv" / "extra.csv").write_text("x\n1\n")
    (made / "data" / "sav" / "all.sav").write_bytes((made / "data" / "sav" / "participants.sav").read_bytes())
    with pytest.raises(Broken) as found:
        verify_package(made)
    named = {(detail.code, detail.place) for detail in found.value.details}
    assert named >= {
        ("EXPORT.FILE_MISSING", "codebook.html"),
        ("EXPORT.FILE_EXTRA", "data/csv/extra.csv"),
        ("EXPORT.FILE_CHANGED", "data/sav/all.sav"),
        ("EXPORT.TABLE", "data/sav/all.sav"),
    }


def _rehash(directory: Path) -> None:
    """What somebody does who changes a file and then the manifest and the request to match."""
    manifest = json.loads((directory / "manifest.json").read_text())
    for entry in manifest["files"]:
        octets = (directory / entry["path"]).read_bytes()
        entry |= {"sha256": hashlib.sha256(octets).hexdigest(), "bytes": len(octets)}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    request = json.loads((directory / "request.json").read_text())
    request["manifest_sha256"] = hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest()
    (directory / "request.json").write_text(json.dumps(request))


def test_a_changed_cell_is_found_even_where_the_file_hashes_were_adapted(made: Path) -> None:
    path = made / "data" / "csv" / "all.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",47,", ",48,"), encoding="utf-8")
    _rehash(made)
    with pytest.raises(Broken) as found:
        verify_package(made)
    assert [(detail.code, detail.place) for detail in found.value.details] == [("EXPORT.TABLE", "data/csv/all.csv")]


def test_a_changed_manifest_is_found(made: Path) -> None:
    path = made / "manifest.json"
    path.write_text(path.read_text().replace('"blinded"', '"unblinded"'))
    with pytest.raises(Broken, match=r"manifest.json was changed"):
        verify_package(made)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "trialdm-package/1"}', '{"format": "trialdm-package/1", "files": 3, "tables": 4}']
)
def test_a_damaged_manifest_is_broken(made: Path, text: str) -> None:
    (made / "manifest.json").write_text(text)
    with pytest.raises(Broken):
        verify_package(made)


def test_a_folder_without_a_package(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Missing):
            verify_package(directory)


def test_a_link_is_no_file_of_a_package(made: Path, tmp_path: Path) -> None:
    (made / "codebook.html").rename(tmp_path / "elsewhere.html")
    (made / "codebook.html").symlink_to(tmp_path / "elsewhere.html")
    with pytest.raises(Broken):
        verify_package(made)


# --- codebook --------------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Collects tags, ids and links, and checks that elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_codebook_is_one_accessible_page(made: Path) -> None:
    text = (made / "codebook.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    names = [name for name, _ in page.tags]
    assert names.count("h1") == 1
    assert names.count("main") == 1
    assert "script" not in names
    assert all("scope" in attrs for name, attrs in page.tags if name == "th")
    assert names.count("caption") == names.count("table")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"] for name, attrs in page.tags if name == "a"} <= {f"#{ident}" for ident in ids}
    assert "src=" not in text
    for words in ("The weight", "kg", "2: In the limb", "Not applicable", "-92", ".b", "sites___m1", "date and time", "Form ALL"):
        assert words in text


def test_the_codebook_escapes_what_it_is_given(tmp_path: Path) -> None:
    codes = Codelist("C", (Code(1, "<b>&"),))
    form = b.form(
        b.item("x", "code", label="<script>alert(1)</script>", unit="<i>", codelist=codes),
        title="<h1>",
        visits={"V01": "required"},
    )
    write(tmp_path / "out", tables=[(form_table(b.protocol(form), form, blinded=True), [])], identity=b.identity(trial="<trial>"))
    text = (tmp_path / "out" / "codebook.html").read_text()
    assert "<script>" not in text
    assert "<b>" not in text
    assert "at V01 Baseline (required)" in text
