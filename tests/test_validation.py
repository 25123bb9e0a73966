"""The validation pack: its requirements name tests that exist, and it says of their results what they are, never more."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.builders import ROOT
from trialdm.cli import run
from trialdm.documents import page, validation
from trialdm.documents.validation import STANDINGS, Outcome, Requirement, Source
from trialdm.domain.errors import Invalid

FOLDER = ROOT / "trialdm" / "documents" / "requirements"
EVERY = [one for source in validation.sources() for one in source.requirements]


# --- the requirements ------------------------------------------------------------------------------------------------


def rows() -> list[dict[str, object]]:
    return [row for path in sorted(FOLDER.glob("[0-9]-*.yaml")) for row in yaml.safe_load(path.read_text("utf-8"))["requirements"]]


def test_every_requirement_has_one_standing_and_an_identifier_of_its_own() -> None:
    found = rows()
    assert [row["id"] for row in found if len(row.keys() & STANDINGS.keys()) != 1] == []
    assert [name for name, count in Counter(row["id"] for row in found).items() if count > 1] == []
    known = {"id", "words", "met", "remains", *STANDINGS}
    assert [row["id"] for row in found if not row.keys() <= known or not row["words"]] == []
    assert [row["id"] for row in found if ("tests" in row) is not ("met" in row) or ("remains" in row and "tests" not in row)] == []
    assert len(EVERY) == len(found) > 150


#: Identifiers that a reader of each source looks for.
LOOKED_FOR = {
    "checklist": [
        *(f"AT{n}" for n in range(1, 15)), *(f"ES{n}" for n in range(1, 5)), "DC1", "DC2", "BL1", "CP1", "CP2",
        "SV1", "SV2", "SV3", "BC1", "AR1", "PD1",
    ],
    "part11": [
        *(f"P11.10({letter})" for letter in "abcdefghijk"), "P11.30", "P11.50(a)", "P11.50(b)", "P11.70",
        *(f"P11.100({letter})" for letter in "abc"), "P11.200(b)", *(f"P11.300({letter})" for letter in "abcde"),
    ],
    "ema": [*(f"EMA 6.{n}" for n in range(3, 13)), *(f"EMA A4.{n}" for n in range(1, 20))],
    "ich": [*(f"R3 4.1.{n}" for n in range(1, 5)), *(f"R3 3.16.1({letter})" for letter in "abcdefghijklmnopqrstuvwx")],
    "asvs": [f"V6.2.{n}" for n in range(1, 13)],
}  # fmt: skip


def test_no_part_of_a_source_is_left_out() -> None:
    there = {source.key: [one.id for one in source.requirements] for source in validation.sources()}
    assert [name for key, names in LOOKED_FOR.items() for name in names if name not in there[key]] == []
    assert {name.split(".")[0] for name in there["asvs"]} >= {f"V{n}" for n in range(1, 18)}


def marks(function: ast.FunctionDef) -> set[str]:
    return set(re.findall(r"mark\.(\w+)", " ".join(ast.unparse(one) for one in function.decorator_list)))


def functions(path: Path) -> dict[str, set[str]]:
    """The test functions of a file, each with its marks."""
    return {node.name: marks(node) for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists_and_is_not_skipped_by_design() -> None:
    found: dict[str, dict[str, set[str]]] = {}
    wrong = []
    for test in validation.named():
        file, _, name = test.partition("::")
        path = ROOT / file
        if file not in found:
            found[file] = functions(path) if path.is_file() else {}
        if name not in found[file] or found[file][name] & {"skip", "skipif", "xfail"}:
            wrong.append(test)
    assert wrong == []


def test_no_requirement_names_a_test_twice() -> None:
    assert [one.id for one in EVERY if len(set(one.tests)) != len(one.tests)] == []


# --- results ---------------------------------------------------------------------------------------------------------

RUN = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" timestamp="2026-11-22T09:00:00">
<testcase classname="tests.a.test_one" name="test_good[sqlite]"/>
<testcase classname="tests.a.test_one" name="test_good[postgres-x::y]"/>
<testcase classname="tests.a.test_one" name="test_bad[1]"><failure message="&lt;b&gt;no&lt;/b&gt;">x</failure></testcase>
<testcase classname="tests.a.test_one" name="test_bad[2]"/>
<testcase classname="tests.a.test_one" name="test_broken"><error message="set-up"/></testcase>
<testcase classname="tests.test_two" name="test_left_out"><skipped message="no program"/></testcase>
</testsuite></testsuites>"""

GOOD, BAD, BROKEN = (f"tests/a/test_one.py::test_{name}" for name in ("good", "bad", "broken"))
LEFT_OUT, NOWHERE = "tests/test_two.py::test_left_out", "tests/test_two.py::test_nowhere"

#: Test -> how it went, in words.
WENT = {
    GOOD: "passed in all 2 cases",
    BAD: "failed in 1 case, passed in 1 case",
    BROKEN: "failed in 1 case",
    LEFT_OUT: "skipped in 1 case",
    NOWHERE: "absent from the results",
}


@pytest.mark.parametrize("test", WENT)
def test_how_a_test_went_is_said_in_words(test: str) -> None:
    assert str(validation.read(RUN).of(test)) == WENT[test]


def shown(*tests: str) -> Requirement:
    return Requirement("X1", "It does <what> it should.", "tests", "By doing so & so.", tests)


@pytest.mark.parametrize(
    ("tests", "verdict"),
    [
        ((GOOD,), "Shown"),
        ((GOOD, BAD), "Not shown: 1 of 2 tests"),
        ((BROKEN,), "Not shown: 1 of 1 tests"),
        ((LEFT_OUT,), "Not shown: 1 of 1 tests"),
        ((GOOD, NOWHERE, LEFT_OUT), "Not shown: 2 of 3 tests"),
    ],
)
def test_a_requirement_counts_as_shown_where_every_case_of_every_test_passed(tests: tuple[str, ...], verdict: str) -> None:
    assert validation.verdict(shown(*tests), validation.read(RUN)) == verdict
    assert validation.verdict(shown(*tests), None) == "Not run"


@pytest.mark.parametrize("standing", [name for name in STANDINGS if name != "tests"])
def test_what_no_test_shows_is_never_shown(standing: str) -> None:
    one = Requirement("X1", "w", standing, "why")
    assert {validation.verdict(one, results) for results in (None, validation.read(RUN))} == {STANDINGS[standing]}


@pytest.mark.parametrize(
    "content",
    [b"", b"passed", b"<testsuites/>", b"<html><body/></html>", b'<!DOCTYPE x [<!ENTITY e "passed">]><testsuite>&e;</testsuite>', b"\xff"],
)
def test_what_is_no_results_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        validation.read(content)
    assert refused.value.code == "VALIDATION.RESULTS"


# --- the document ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five requirements of one source in place of all."""
    left = Requirement("X2", "Left open", "tests", "met", (GOOD,), "the rest")
    others = [Requirement(f"X{n}", f"<{name}>", name, f"because of {name}") for n, name in enumerate(list(STANDINGS)[1:], 3)]
    made = Source("x", "Example", "first edition", (shown(GOOD, BAD, NOWHERE), left, *others))
    monkeypatch.setattr(validation, "sources", lambda: (made,))


ABOUT = [("Program", "trialdm <0>")]


@pytest.mark.usefixtures("small")
def test_the_pack_says_of_each_requirement_what_the_results_show() -> None:
    results = validation.read(RUN)
    text = page.html(validation.pack(ABOUT, results))
    assert validation.tally(validation.sources()[0].requirements, results) == {
        "Shown": 1, "Not shown by these results": 1, "Not run": 0,
        "For whoever operates the instance": 1, "Does not apply": 1, "Gap: nothing shows it": 1,
    }  # fmt: skip
    for words in ("bad: failed in 1 case, passed in 1 case", "nowhere: absent from the results", "good: passed in all 2 cases"):
        assert words in text
    assert "3 cases passed, 2 failed, 1 were skipped" in text
    assert results.sha256 in text
    assert "2026-11-22T09:00:00" in text
    for section in ("What is not shown", "Where requirements disagree", "Operational qualification", "Approved by"):
        assert section in text


@pytest.mark.usefixtures("small")
def test_the_pack_escapes_what_it_is_given() -> None:
    text = page.html(validation.pack([("Commit", "<script>alert(1)</script>")], validation.read(RUN)))
    assert "<script>" not in text
    assert "It does &lt;what&gt; it should." in text
    assert "By doing so &amp; so." in text


@pytest.mark.usefixtures("small")
def test_without_results_nothing_counts_as_shown() -> None:
    text = page.html(validation.pack(ABOUT, None))
    assert "passed" not in text.replace("every case of every test named for it passed", "")
    assert text.count("not run") >= 4
    assert validation.tally(validation.sources()[0].requirements, None)["Shown"] == 0


def test_an_outcome_of_nothing_shows_nothing() -> None:
    assert [one.shows for one in (Outcome(), Outcome(1), Outcome(1, 1), Outcome(1, 0, 1))] == [False, True, False, False]


# --- the command and the page ----------------------------------------------------------------------------------------


def test_the_command_writes_the_whole_pack_without_an_instance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, out = tmp_path / "results.xml", tmp_path / "pack.html"
    results.write_bytes(RUN)
    told = [
        "--instance",
        str(tmp_path / "none"),
        "--json",
        "validation",
        "--results",
        str(results),
        "--commit",
        "c0ffee",
        "--out",
        str(out),
    ]
    assert run(told) == 0
    counts = json.loads(capsys.readouterr().out)["requirements"]
    assert counts["Shown"] == 0, "none of the tests of that run is named by a requirement"
    assert sum(counts.values()) == len(EVERY)
    text = out.read_text("utf-8")
    assert "c0ffee" in text
    assert all(one.id in text for one in EVERY)
    assert run(["validation", "--out", str(tmp_path / "pack.doc")]) == 2
    assert run(["validation", "--results", str(tmp_path / "none.xml"), "--out", str(out)]) == 2
    results.write_text("nothing")
    assert run(["validation", "--results", str(results), "--out", str(out)]) == 2
