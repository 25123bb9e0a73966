"""YAML more strictly than YAML: what is read, and what is refused on which line."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.definitions.sources import BadDefinition, Problem, Source, read, read_folder

NO_ANCHORS = "anchors and aliases (& and *) are not used here: write it out"
PLAIN = "a text, number, list or map is expected here"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: 1", 1),
        ("a: -7", -7),
        ("a: 1_000", 1000),
        ("a: 007", 7),
        ("a: 0.1", Decimal("0.1")),
        ("a: 82.50", Decimal("82.50")),
        ("a: 2026-03-01", date(2026, 3, 1)),
        ('a: "2026-03-01"', "2026-03-01"),
        ("a: true", True),
        ("a: False", False),
        ('a: "no"', "no"),
        ("a: y", "y"),
        ("a: text", "text"),
        ('a: "10:30"', "10:30"),
        ("a: [1, b]", [1, "b"]),
        ("a: {1: b}", {1: "b"}),
        ("a:", None),
        ("a: ~", None),
        ("a: Zoë", "Zoë"),
    ],
)
def test_is_read(text: str, data: Any) -> None:
    source, problems = read("f.yaml", text)
    assert problems == []
    assert source.data == {"a": data}
    assert type(source.data["a"]) is type(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["f.yaml:1: the file is empty"]),
        ("# only a comment\n", ["f.yaml:1: the file is empty"]),
        ("a: no", ['f.yaml:1: bare no is read as true or false by YAML: write "no" in quotes']),
        ("a: On", ['f.yaml:1: bare On is read as true or false by YAML: write "On" in quotes']),
        ("a:\n  off: 1", ['f.yaml:2: bare off is read as true or false by YAML: write "off" in quotes']),
        ("a: 1\nb: 2\na: 3", ["f.yaml:3: 'a' is given twice"]),
        ("a: {b: 1,\n b: 2}", ["f.yaml:2: 'b' is given twice"]),
        ("1: a\n1.0: b", ["f.yaml:2: '1.0' is given twice"]),
        ("a: &x 1\nb: *x", [f"f.yaml:1: {NO_ANCHORS}"]),
        ("a: 1\nb: &x [1]", [f"f.yaml:2: {NO_ANCHORS}"]),
        ("a: *x", [f"f.yaml:1: {NO_ANCHORS}"]),
        ("a: 2026-02-30", ["f.yaml:1: '2026-02-30' is not a date such as 2026-03-01"]),
        ("a: 2026-03-01 10:00:00", ["f.yaml:1: '2026-03-01 10:00:00' is not a date such as 2026-03-01"]),
        ("a: 10:30", ['f.yaml:1: "10:30" is read as a number by YAML: write it in quotes']),
        ("a: 0x1F", ['f.yaml:1: "0x1F" is read as a number by YAML: write it in quotes']),
        ("a: 0b11", ['f.yaml:1: "0b11" is read as a number by YAML: write it in quotes']),
        ("a: !!int b", ['f.yaml:1: "b" is read as a number by YAML: write it in quotes']),
        ("a: .inf", ["f.yaml:1: '.inf' is not a number"]),
        ("a: 10:30.5", ["f.yaml:1: '10:30.5' is not a number"]),
        ("a: !!python/object:os.system x", [f"f.yaml:1: {PLAIN}"]),
        ("a: !!binary aGk=", [f"f.yaml:1: {PLAIN}"]),
        ("<<: {a: 1}", [f"f.yaml:1: {PLAIN}"]),
        ("? [1]\n: 2", [f"f.yaml:1: {PLAIN}"]),
        ("a: [1", ["f.yaml:2: not YAML: did not find expected ',' or ']'"]),
        ("a: 'x", ["f.yaml:1: not YAML: found unexpected end of stream"]),
        ("\ta: 1", ["f.yaml:1: not YAML: found character that cannot start any token"]),
        ("--- 1\n--- 2", ["f.yaml:2: not YAML: but found another document"]),
        ("a" * 1_000_001, ["f.yaml:1: the file is larger than one megabyte"]),
        ("a: \x07", ["f.yaml:1: not YAML: unacceptable character #x0007: control characters are not allowed"]),
        ("[" * 1000 + "]" * 1000, ["f.yaml:1: lists and maps are nested too deeply"]),
        ("a:\n " + "- " * 1000 + "b", ["f.yaml:2: lists and maps are nested too deeply"]),
        ("{a: " * 1000 + "}" * 1000, ["f.yaml:1: lists and maps are nested too deeply"]),
    ],
    ids=lambda part: repr(part)[:40],
)
def test_is_refused(text: str, expected: list[str]) -> None:
    _, problems = read("f.yaml", text)
    assert [str(problem) for problem in problems] == expected


def test_all_problems_of_a_file_at_once() -> None:
    _, problems = read("f.yaml", "a: no\nb: 2026-02-30\na: 1\nc: 0x1\n")
    assert [problem.line for problem in problems] == [1, 2, 3, 4]


@given(st.one_of(st.text(max_size=30), st.text("ab:{}[],-#&*!|>'\" \n01.exno~?%@", max_size=30)).filter(lambda t: t.isprintable()))
def test_any_text_is_read_or_refused(text: str) -> None:
    source, problems = read("f.yaml", text)
    assert source.data is not None or problems
    assert all(problem.line >= 1 for problem in problems)


def test_a_problem_has_the_line_of_the_nearest_place() -> None:
    source, _ = read("f.yaml", "a:\n  - b: 1\n    c: 2\n")
    assert source.problem(("a", 0, "c"), "m") == Problem("f.yaml", 3, "m")
    assert source.problem(("a", 0, "absent"), "m").line == 2
    assert source.problem(("absent", 5), "m").line == 1
    assert Source("f.yaml", None).problem((), "m").line == 1


def test_problems_are_given_once_and_in_order() -> None:
    error = BadDefinition([Problem("b", 1, "x"), Problem("a", 9, "x"), Problem("a", 9, "x"), Problem("a", 10, "x")])
    assert [str(problem) for problem in error.problems] == ["a:9: x", "a:10: x", "b:1: x"]
    assert (error.code, error.message) == ("DEFINITION.INVALID", "3 problems in the definition files.")
    assert [(detail.place, detail.message) for detail in error.details] == [("a:9", "x"), ("a:10", "x"), ("b:1", "x")]


def test_a_folder_is_read_by_paths_below_its_parent(tmp_path: Path) -> None:
    (tmp_path / "demo" / "forms").mkdir(parents=True)
    (tmp_path / "demo" / "forms" / "pain.yaml").write_text("form: PAIN", "utf-8")
    (tmp_path / "demo" / "notes.txt").write_text("not read", "utf-8")
    assert read_folder(tmp_path / "demo") == {"demo/forms/pain.yaml": "form: PAIN"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such folder"), (b"", "the folder holds no YAML file"), (b"a: \xff", "the file is not UTF-8 text")],
)
def test_a_folder_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    folder = tmp_path / "demo"
    if content is not None:
        folder.mkdir()
    if content:
        (folder / "a.yaml").write_bytes(content)
    with pytest.raises(BadDefinition) as refusal:
        read_folder(folder)
    assert [problem.message for problem in refusal.value.problems] == [message]
