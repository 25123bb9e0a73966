"""The expression language in Python: the golden table, and that nothing but the documented error ever comes out."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.golden import EVALUATED, NAMES, REFUSED, TABLES, TYPES, Case, expected, expression, shown, typed
from trialdm.domain.expressions import FUNCTIONS, ROW_FUNCTIONS, ExpressionError, Name, as_text, parse, round_half_away


@pytest.mark.parametrize("case", EVALUATED, ids=lambda case: case.id)
def test_gives(case: Case) -> None:
    result = expression(case.source).evaluate(typed(case.given), [typed(row) for row in case.rows])
    assert shown(result) == expected(case)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_is_refused_with_a_message_that_helps(case: Case) -> None:
    with pytest.raises(ExpressionError) as refusal:
        expression(case.source)
    assert str(refusal.value) == case.refused


def test_every_function_has_a_case() -> None:
    sources = " ".join(case.source for case in EVALUATED)
    functions = [*FUNCTIONS, *ROW_FUNCTIONS, "same_rows", "or_else", "lookup", "param", "day"]
    assert [name for name in functions if f"{name}(" not in sources] == []


@pytest.mark.parametrize(("truth", "holds"), [("n == 1", True), ("n == 2", False), ("m == 1", False), ("not m == 1", False)], ids=str)
def test_a_condition_holds_only_when_it_is_true(truth: str, holds: bool) -> None:
    assert expression(truth).holds({"n": 1}) is holds


@pytest.mark.parametrize(
    ("source", "names", "rows"),
    [
        ("n + x * n", {"n", "x"}, False),
        ("answered(word)", {"word"}, False),
        ("sum_rows(n) > m", {"n", "m"}, True),
        ("1", set(), False),
    ],
)
def test_an_expression_knows_what_it_reads(source: str, names: set[str], rows: bool) -> None:
    read = expression(source)
    assert set(read.names) == names
    assert read.uses_rows is rows


@pytest.mark.parametrize(
    ("number", "places", "rounded"),
    [
        (Fraction(5, 2), 0, 3),
        (Fraction(-5, 2), 0, -3),
        (Decimal("0.125"), 2, Fraction(13, 100)),
        (Decimal("-0.125"), 2, Fraction(-13, 100)),
        (5, -1, 10),
        (-5, -1, -10),
        (4, -1, 0),
        (10**40 + 5, -1, 10**40 + 10),
    ],
)
def test_halves_are_rounded_away_from_zero(number: Any, places: int, rounded: Any) -> None:
    assert round_half_away(number, places) == rounded


@given(st.fractions(max_denominator=10**9), st.integers(-6, 6))
def test_rounding_is_symmetric_and_never_further_than_half_a_unit(number: Fraction, places: int) -> None:
    rounded, unit = round_half_away(number, places), Fraction(10) ** -places
    assert round_half_away(-number, places) == -rounded
    assert abs(rounded - number) <= unit / 2
    assert (rounded / unit).denominator == 1


@given(st.fractions(-(10**15), 10**15, max_denominator=10**6))
def test_a_fraction_in_a_text_has_at_most_six_places_and_no_exponent(number: Fraction) -> None:
    text = as_text(number)
    assert Fraction(text) == (number if number.denominator == 1 else round_half_away(number, 6))
    assert set(text) <= set("-.0123456789")
    assert len(text.partition(".")[2]) <= 6


SOURCES = st.text(alphabet="nxyword_ \"'()[]{}<>=!+-*/%.,:0123456789abcdefgi\n\\", max_size=40)


@given(st.one_of(SOURCES, st.text(max_size=20)))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_any_text_is_either_an_expression_or_refused(source: str) -> None:
    with contextlib.suppress(ExpressionError):
        expression(source).evaluate({}, [])


#: Trees of every shape, written out as sources; kinds may or may not fit.
_LEAVES = st.sampled_from([*TYPES, "0", "1", "2.5", '"a"', 'day("2024-02-29")', "None", 'param("limit")'])
_SIGNS = st.sampled_from(["+", "-", "*", "/", "==", "!=", "<", ">=", "and", "or", "in", "not in", "**"])
_CALLS = st.sampled_from([*FUNCTIONS, *ROW_FUNCTIONS, "same_rows", "or_else", "rows", "day", "param"])
WRITTEN = st.recursive(
    _LEAVES,
    lambda part: st.one_of(
        st.builds("({} {} {})".format, part, _SIGNS, part),
        st.builds("(-{})".format, part),
        st.builds("(not {})".format, part),
        st.builds("({} if {} else {})".format, part, part, part),
        st.builds("{} in ({}, {})".format, part, part, part),
        st.builds(lambda name, parts: f"{name}({', '.join(parts)})", _CALLS, st.lists(part, max_size=3)),
        st.builds('lookup("factor", {})'.format, part),
    ),
    max_leaves=8,
)
ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "yn": st.integers(0, 1),
    "int": st.integers(-10, 10),
    "dec": st.decimals(-10, 10, places=2).map(str),
    "code": st.integers(1, 2),
    "multi": st.lists(st.integers(1, 4), unique=True),
    "date": st.dates().filter(lambda day: 1800 <= day.year <= 2200).map(str),
    "pdate": st.sampled_from(["2026", "2026-03", "2026-03-01"]),
    "time": st.times().map(lambda clock: f"{clock:%H:%M}"),
    "dtm": st.datetimes().filter(lambda moment: 1800 <= moment.year <= 2200).map(lambda m: m.isoformat(timespec="minutes")),
    "text": st.text("ab ", max_size=3),
}
GIVEN = st.fixed_dictionaries({}, optional={name: ANSWERS[type_name] for name, type_name in TYPES.items()})
_RESULTS: dict[str, Any] = {
    "number": (int, Fraction),
    "truth": bool,
    "text": str,
}


@given(WRITTEN, GIVEN, st.lists(GIVEN, max_size=2))
def test_what_loads_can_be_evaluated_and_gives_its_kind(source: str, answers: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    try:
        read = expression(source)
    except ExpressionError:
        return
    result = read.evaluate(typed(answers), [typed(row) for row in rows])
    assert result is None or isinstance(result, _RESULTS.get(read.kind, object))


@pytest.mark.parametrize(
    "source",
    ["sum(" + ", ".join(["n"] * 300) + ")", " + ".join(["n"] * 200), "not " * 300 + "n == 1", "(" * 300 + "n" + ")" * 300],
    ids=["many arguments", "long sum", "many nots", "deep brackets"],
)
def test_a_very_long_expression_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError):
        expression(source)


def test_the_longest_expression_fits_the_stack_beside_a_web_server() -> None:
    deepest = "-" * 190 + "n"
    limit = sys.getrecursionlimit()
    try:
        assert expression(deepest).evaluate({"n": 3}, []) == 3
    finally:
        sys.setrecursionlimit(limit)


def test_names_are_read_from_the_protocol_only() -> None:
    assert parse("n", {"n": Name("number")}).evaluate({"n": 1, "other": 2}, []) == 1
    with pytest.raises(ExpressionError, match="neither an item"):
        parse("other", {"n": Name("number")})
    assert set(TABLES) == {"factor", "empty"}
    assert "n" in NAMES


@pytest.mark.parametrize(
    "source",
    [
        "about in (about,)",
        "(n > 1) in (m > 1,)",
        "limb == -1",
        'day("20260301")',
        "((((n ** 9) ** 9) ** 9) ** 9) ** 9",
        "(n / m + x / y) ** 9 * (n / m + x / y) ** 9 * (n / m + x / y) ** 9",
        "1." + "1" * 5000,
        "1" * 5000,
    ],
    ids=lambda source: source[:30],
)
def test_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError):
        expression(source)


def test_the_largest_number_that_loads_can_be_written() -> None:
    parts = " * ".join(["x ** 9"] * 11)
    text = expression(f"text({parts})").evaluate(typed({"x": "9" * 15 + "." + "9" * 12}), [])
    assert len(text) > 1400
    with pytest.raises(ExpressionError, match="too large"):
        expression(f"text({parts} * x ** 9)")


@pytest.mark.parametrize("huge", ["1E+20", "1E-13"])
def test_parameters_and_tables_are_no_larger_than_an_answer(huge: str) -> None:
    with pytest.raises(ExpressionError, match="at most 15 digits"):
        parse("param('p')", {}, params={"p": Decimal(huge)})
    with pytest.raises(ExpressionError, match="at most 15 digits"):
        parse("lookup('t', 1)", {}, tables={"t": {Decimal(1): Decimal(huge)}})


def test_row_functions_go_over_the_rows_only() -> None:
    names, rows = {"fact": Name("number")}, {"n": Name("number")}
    assert parse("sum_rows(n) + fact", names, rows=rows).names == {"n", "fact"}
    with pytest.raises(ExpressionError, match="not an item of the rows"):
        parse("sum_rows(fact)", names, rows=rows)
    with pytest.raises(ExpressionError, match="neither an item"):
        parse("n", names, rows=rows)


class Litter:
    """Garbage whose collection lets other threads go on, wherever it happens."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        for _ in range(20):
            pass


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that change places as often as they can."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50, 2, 2)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("restless")
def test_threads_may_read_expressions_at_once() -> None:
    long = " and ".join(f"(n + {i} > m or not n == {i})" for i in range(30))

    def read(depth: int) -> None:
        if depth:
            return read(depth - 1)
        for _ in range(20):
            assert len([Litter() for _ in range(5)]) == 5
            with pytest.raises(ExpressionError, match="too long"):
                parse(long, {})
        return None

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, [i % 7 * 5 for i in range(16)]))
