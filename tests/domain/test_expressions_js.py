"""The browser's evaluator agrees with Python: on the golden table, on random expressions, on reading and on storing."""

import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.domain.golden import EVALUATED, TYPES, Case, expected, expression, shown, typed
from trialdm.domain import values
from trialdm.domain.crf import Item, stored
from trialdm.domain.expressions import ExpressionError
from trialdm.domain.values import NotAValue

NODE = shutil.which("node")
RUNNER = Path(__file__).with_name("expressions_runner.js")
SCRIPT = Path(__file__).parents[2] / "trialdm" / "web" / "static" / "expressions.js"

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed: the browser's evaluator cannot be run here")


def run(cases: list[dict[str, Any]]) -> list[Any]:
    """What the browser's evaluator makes of the cases, in one process."""
    assert NODE is not None
    sent = json.dumps({"types": TYPES, "cases": cases})
    done = subprocess.run(
        [NODE, str(RUNNER), str(SCRIPT)], input=sent, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def table_answers() -> dict[str, Any]:
    cases = [{"tree": expression(c.source).tree, "given": c.given, "rows": c.rows} for c in EVALUATED]
    return dict(zip((c.id for c in EVALUATED), run(cases), strict=True))


@pytest.mark.parametrize("case", EVALUATED, ids=lambda case: case.id)
def test_gives(case: Case, table_answers: dict[str, Any]) -> None:
    assert table_answers[case.id] == expected(case)


# --- random expressions ----------------------------------------------------------------------------------------------

_NUMBERS = ["n", "m", "x", "y", "yes", "no", "gap", "limb", "0", "1", "2.5", "100", 'param("share")']


def _number(chance: random.Random, depth: int) -> str:
    if depth == 0:
        return chance.choice(_NUMBERS)
    a, b = (_number(chance, depth - 1) for _ in range(2))
    return chance.choice(
        [
            f"({a} {chance.choice('+-*/')} {b})",
            f"({a}) ** {chance.randrange(4)}",
            f"(-{a})",
            f"round({a}, {chance.choice(['0', '1', '2', '9'])})",
            f"floor({a})",
            f"abs({a})",
            f"({a} if {_truth(chance, depth - 1)} else {b})",
            f"sum({a}, {b})",
            f"mean({chance.randrange(3)}, {a}, {b})",
            f"total({chance.randrange(3)}, {a}, {b})",
            f"least({a}, {b})",
            f"greatest({a}, {b})",
            f"count({a}, {b}, word)",
            f"or_else({a}, {b})",
            f'lookup("factor", {a})',
            "days(day_1, day_2)",
            f"days(born, add_days(day_1, {a}))",
            "years(born, day_1)",
            "hours(from_dtm, to_dtm)",
            "minutes(start, end)",
            "count_codes(marks)",
            f"{chance.choice(['sum_rows', 'max_rows', 'count_rows'])}({chance.choice('nx')})",
            f"mean_rows({chance.randrange(4)}, x)",
        ]
    )


def _truth(chance: random.Random, depth: int) -> str:
    a, b = _number(chance, max(depth - 1, 0)), _number(chance, max(depth - 1, 0))
    sign = chance.choice(["==", "!=", "<", "<=", ">", ">="])
    if depth == 0:
        return f"{a} {sign} {b}"
    p, q = _truth(chance, depth - 1), _truth(chance, depth - 1)
    return chance.choice(
        [
            f"({p} and {q})",
            f"({p} or {q})",
            f"(not {p})",
            f"({a} {sign} {b})",
            f"({a} <= {b} < {a})",
            f"({a} in ({b}, 1))",
            f"({a} not in ({b}, n))",
            f"answered({a})",
            f"missing({p})",
            f"(day_1 {sign} add_days(born, {a}))",
            f"(from_dtm {sign} to_dtm)",
            f"(start {sign} end)",
            '(word in ("a", drug))',
            f"has(marks, {a})",
            "same_rows(word)",
            f'(text({a}, word) == text({b}, "a"))',
            "(date(from_dtm) < day_2)",
        ]
    )


def _answer(chance: random.Random, type_name: str) -> Any:
    year, month, day = (
        chance.choice([1800, 1900, 1969, 1970, 2000, 2024, 2026, 2200]),
        chance.randint(1, 12),
        chance.randint(1, 28),
    )
    date, clock = f"{year}-{month:02d}-{day:02d}", f"{chance.randint(0, 23):02d}:{chance.randint(0, 59):02d}"
    leap = chance.choice([date, "2024-02-29", "2000-02-29", "2023-02-28"])
    return {
        "yn": chance.randint(0, 1),
        "int": chance.choice([0, 1, -1, 7, -250, 999_999_999_999_999]),
        "dec": chance.choice(["0", "0.1", "-0.5", "2.5", "82.125", "-999999999.999999999999"]),
        "code": chance.randint(1, 2),
        "multi": sorted(chance.sample(range(5), chance.randint(0, 4))),
        "date": leap,
        "pdate": chance.choice([date, date[:7], date[:4]]),
        "time": clock,
        "dtm": f"{leap}T{clock}",
        "text": chance.choice(["a", "b", "é", "1"]),
    }[type_name]


def _answers(chance: random.Random) -> dict[str, Any]:
    return {name: _answer(chance, type_name) for name, type_name in TYPES.items() if chance.random() < 0.75}


def test_agrees_on_random_expressions() -> None:
    chance = random.Random(20260301)
    cases: list[dict[str, Any]] = []
    wanted: list[Any] = []
    while len(cases) < 3000:
        source = chance.choice([_number, _truth])(chance, chance.randint(0, 4))
        try:
            read = expression(source)
        except ExpressionError:
            continue
        given, rows = _answers(chance), [_answers(chance) for _ in range(chance.randrange(4))]
        cases.append({"source": source, "tree": read.tree, "given": given, "rows": rows})
        wanted.append(shown(read.evaluate(typed(given), [typed(row) for row in rows])))
    differing = [(c["source"], c["given"], w, got) for c, w, got in zip(cases, wanted, run(cases), strict=True) if w != got]
    assert differing == []
    assert len({str(w) for w in wanted}) > 200  # the random table says something


def test_a_condition_holds_only_when_it_is_true() -> None:
    given = {"n": 1}
    sources = ["n == 1", "n == 2", "m == 1", "not m == 1"]
    cases = [{"tree": expression(source).tree, "given": given, "rows": [], "holds": True} for source in sources]
    assert run(cases) == [True, False, False, False]


# --- reading and storing ---------------------------------------------------------------------------------------------

#: What people type and what JSON holds, for every type at once: what is no value of a type is missing there.
RAW: list[Any] = [
    None, "", "  ", [], 0, 1, 2, -1, "0", "1", " 7 ", "+7", "-3", "00", "01", "-0", "1.0", "1.", ".5", "-.25", "82.50", "1e3",
    "0x1", "1 000", "1,5", "−1", "٣", "999999999999999", "9999999999999999", "0.123456789012", "0.1234567890123",
    "2026-03-01", "2024-02-29", "2023-02-29", "2026-13-01", "2026-00-10", "2026-3-1", "1799-12-31", "1800-01-01", "2200-12-31",
    "2201-01-01", "2026", "2026-03", "2026-13", "2026-00", "2026-03-00", "0000", "20260301", " 2026-03-01 ", "9:05", "09:05",
    "24:00", "23:59", "12:60", "9:5", "2026-03-01T09:05", "2026-03-01 9:05", "2026-03-01T09:05:00", "2026-03-01T09:05:30",
    "2026-03-01T24:00", "2026-02-30T09:05", "2026-03-01T09:05Z", "2026-03-01", [1, 4], [4, 1], ["4", "1"], [1, 1], ["a"], [1, "x"],
    [1], ["1"], 2026, 1.5, True, {}, [[1]], "1, 4", "4 1", "1;4", ",", "a\r\nb", "a\rb", "été", "\u00a05\u00a0", "Infinity", "NaN",
]  # fmt: skip


@pytest.mark.parametrize("type_name", [*values.TYPES])
def test_reads_what_the_server_reads(type_name: str) -> None:
    def on_server(raw: Any) -> Any:
        try:
            return values.write(values.read(type_name, raw))
        except NotAValue:
            return None

    def as_number(value: Any) -> Any:  # decimals may differ in their trailing zeros: 82.50 and 82.5
        return float(value) if type_name == "dec" and value is not None else value

    read = run([{"type": type_name, "raw": raw, "decimals": 12} for raw in RAW])
    differing = [(raw, on_server(raw), got) for raw, got in zip(RAW, read, strict=True) if as_number(on_server(raw)) != as_number(got)]
    assert differing == []


STORED: list[tuple[str, dict[str, Any], str, int]] = [
    ("n / 3", {"n": 2}, "dec", 2),
    ("n / 3", {"n": -2}, "dec", 0),
    ("n / 3", {"n": -2}, "int", 0),
    ("x", {"x": "2.5"}, "int", 0),
    ("x", {"x": "-2.5"}, "int", 0),
    ("x", {"x": "0.049"}, "dec", 1),
    ("x", {"x": "-0.049"}, "dec", 1),
    ("x", {"x": "7"}, "dec", 3),
    ("n == 1", {"n": 1}, "yn", 0),
    ("n == 1", {"n": 2}, "yn", 0),
    ("n == 1", {}, "yn", 0),
    ("n + 1", {"n": 1}, "code", 0),
    ("add_days(day_1, 30)", {"day_1": "2024-01-31"}, "date", 0),
    ("text(x, word)", {"x": "0.50", "word": "é"}, "text", 0),
]


def test_stores_what_the_server_stores() -> None:
    sources = [expression(source) for source, *_ in STORED]
    cases = [
        {"tree": read.tree, "given": given, "rows": [], "result": type_name, "decimals": places}
        for read, (_, given, type_name, places) in zip(sources, STORED, strict=True)
    ]
    wanted = [
        values.write(stored(Item("z", "Z", "calc", result=type_name, decimals=places), read.evaluate(typed(given), [])))
        for read, (_, given, type_name, places) in zip(sources, STORED, strict=True)
    ]
    assert run(cases) == wanted


def test_needs_no_relaxed_content_security_policy() -> None:
    """No code from text, no imports, nothing fetched: the script runs under `script-src 'self'`."""
    source = re.sub(r"/\*.*?\*/|//[^\n]*", "", SCRIPT.read_text("utf-8"), flags=re.DOTALL)
    assert not re.search(r"\beval\s*\(|\bFunction\s*\(|\bimport\b|\brequire\b|\bfetch\b|innerHTML|document\.", source)
