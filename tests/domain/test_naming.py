"""Names of exported columns: which are made, and which definitions are refused because of them."""

from dataclasses import replace
from decimal import Decimal

import pytest

from trialdm.domain.crf import Code, Codelist, Form, Item
from trialdm.domain.naming import LONGEST, RESERVED, choice_column, columns_of, problems, wide_column

CHOICES = Codelist("CL_X", (Code(1, "One"), Code(-1, "Minus one"), Code(97, "Other")))


def item(name: str, type_name: str = "int", *, result: str = "") -> Item:
    return Item(name, name, type_name, result=result, codelist=CHOICES if type_name in ("code", "multi") else None)


def form(*items: Item, repeating: bool = False, summary: tuple[Item, ...] = ()) -> Form:
    return Form("PAIN", "Pain", "outcome", items, repeating=repeating, summary=summary)


@pytest.mark.parametrize(
    ("made", "columns"),
    [
        (item("worst"), ["worst"]),
        (item("dose", "dec"), ["dose"]),
        (item("any", "yn"), ["any"]),
        (item("route", "code"), ["route"]),
        (item("marks", "multi"), ["marks___1", "marks___m1", "marks___97", "marks_mr"]),
        (item("onset", "pdate"), ["onset", "onset_date", "onset_prec", "onset_mr"]),
        (item("taken", "dtm"), ["taken", "taken_utc", "taken_mr"]),
        (item("note", "text"), ["note", "note_mr"]),
        (item("on", "date"), ["on", "on_mr"]),
        (item("at", "time"), ["at", "at_mr"]),
        (item("bmi", "calc", result="dec"), ["bmi"]),
        (item("until", "calc", result="date"), ["until", "until_mr"]),
    ],
    ids=lambda made: made.name if isinstance(made, Item) else "",
)
def test_columns(made: Item, columns: list[str]) -> None:
    assert columns_of(made) == columns


@pytest.mark.parametrize(("code", "column"), [(0, "x___0"), (12, "x___12"), (-1, "x___m1"), (-91, "x___m91")])
def test_choice_column(code: int, column: str) -> None:
    assert choice_column("x", code) == column


@pytest.mark.parametrize(("visit", "row", "column"), [(7, None, "v07_x"), (12, None, "v12_x"), (2, 3, "v02_x_r03"), (2, 100, "v02_x_r100")])
def test_wide_column(visit: int, row: int | None, column: str) -> None:
    assert wide_column(visit, "x", row) == column


def reserved(name: str) -> str:
    return f"'{name}' is a reserved word of SPSS, Stata, SAS or R"


def too_long(name: str) -> str:
    return f"its export name '{name}' is longer than {LONGEST} characters"


def taken(name: str, by: str) -> str:
    return f"its export name '{name}' is also that of {by}"


@pytest.mark.parametrize(
    ("defined", "expected"),
    [
        (form(item("worst"), item("note", "text")), []),
        (form(item("by")), [("by", reserved("by"))]),
        (form(item("with")), [("with", reserved("with"))]),
        (form(item("str2")), [("str2", reserved("str2"))]),
        (form(item("_n")), [("_n", reserved("_n"))]),
        (form(item("repeat")), [("repeat", reserved("repeat"))]),
        (form(item("Double")), [("Double", reserved("Double"))]),
        (form(item("x" * 28)), []),
        (form(item("x" * 29)), [("x" * 29, too_long("v00_" + "x" * 29))]),
        (form(item("x" * 24), repeating=True), []),
        (form(item("x" * 25), repeating=True), [("x" * 25, too_long("v00_" + "x" * 25 + "_r01"))]),
        (form(item("x" * 24, "text")), []),
        (
            form(item("x" * 24, "multi")),
            [("x" * 24, too_long("v00_" + "x" * 24 + part)) for part in ("___m1", "___97")],
        ),
        (form(item("site")), [("site", taken("site", "a key column"))]),
        (form(item("visit_no")), [("visit_no", taken("visit_no", "a key column"))]),
        (form(item("Form_Status")), [("Form_Status", taken("Form_Status", "a key column"))]),
        (form(item("a"), item("A")), [("A", taken("A", "item 'a'"))]),
        (form(item("a", "text"), item("a_mr")), [("a_mr", taken("a_mr", "item 'a'"))]),
        (form(item("a_date"), item("a", "pdate")), [("a", taken("a_date", "item 'a_date'"))]),
        (form(item("a", "multi"), item("a___m1")), [("a___m1", taken("a___m1", "item 'a'"))]),
        (form(item("a"), repeating=True, summary=(item("A", "calc", result="int"),)), [("A", taken("A", "item 'a'"))]),
    ],
)
def test_problems(defined: Form, expected: list[tuple[str, str]]) -> None:
    assert list(problems([defined])) == [("PAIN", name, message) for name, message in expected]


def limited(low: int | None, high: int | None) -> Item:
    return replace(item("t"), minimum=None if low is None else Decimal(low), maximum=None if high is None else Decimal(high))


@pytest.mark.parametrize(
    ("made", "refused"),
    [
        (limited(-95, 0), True),
        (limited(-100, 100), True),
        (limited(-91, None), True),
        (limited(-1000, -95), True),
        (limited(-1000, -96), False),
        (limited(-90, 100), False),
        (limited(None, 5), False),
        (limited(None, None), False),
        (replace(item("c", "code"), codelist=Codelist("CL_Y", (Code(-93, "No"),))), True),
        (replace(item("c", "code"), codelist=Codelist("CL_Y", (Code(-96, "No"),))), False),
        (replace(item("c", "multi"), codelist=Codelist("CL_Y", (Code(-93, "No"),))), False),
    ],
)
def test_numbers_that_stand_for_missing_reasons_are_no_answers(made: Item, refused: bool) -> None:
    found = [message for _, _, message in problems([form(made)])]
    assert bool(found) is refused
    assert all("missing reason" in message for message in found)


def test_a_form_among_the_events_has_rows_in_the_wide_layout() -> None:
    events = replace(form(item("x" * 25)), visits={"V01": "required", "EV": "event"})
    assert list(problems([events])) == []
    assert list(problems([events], with_rows={"U"})) == []
    assert list(problems([events], with_rows={"EV"})) == [("PAIN", "x" * 25, too_long("v00_" + "x" * 25 + "_r01"))]


def test_names_may_return_in_another_form() -> None:
    assert list(problems([form(item("a")), form(item("a"))])) == []


def test_reserved_words_are_lower_case_so_that_any_case_is_found() -> None:
    assert all(word == word.lower() for word in RESERVED)
