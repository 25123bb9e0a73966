"""`validate`, the one judge of a form's answers: what is stored, what is found, what applies, in which order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.domain import expressions
from trialdm.domain.crf import (
    HIDDEN,
    Answers,
    Check,
    Code,
    Codelist,
    Context,
    Finding,
    Form,
    Item,
    Verdict,
    circle_of_conditions,
    conditions,
    in_order_of_need,
    limits,
    load,
    outside,
    stored,
    summarise,
    validate,
)
from trialdm.domain.expressions import KINDS, Name, parse
from trialdm.domain.values import PartialDate, read, write

SIDES = Codelist("CL_SIDE", (Code(1, "Left"), Code(2, "Right")))
DEVIATIONS = Codelist(
    "CL_DEV", (Code(1, "Late"), Code(3, "At coaptation", blinded="At a nerve site"), Code(4, "Crossover", restricted=True))
)
FACTS = {"visit": Name("text"), "visit_no": Name("number"), "today": Name("date"), "limb": Name("number")}


def item(name: str, type_name: str = "int", **more: Any) -> Item:
    codelist = SIDES if type_name in ("code", "multi") and "source" not in more else None
    return Item(name, name.capitalize(), type_name, **{"codelist": codelist, **more})


def check(ident: str, severity: Any, when: str, *items: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return when, {"id": ident, "severity": severity, "items": items, "message": f"{ident} fired.", **more}


def form(*items: Item, checks: Any = (), summary: tuple[Item, ...] = (), **more: Any) -> Form:
    """A form whose conditions and calculations are still texts: `show_if="a == 1"`, `value="a + 1"`."""
    names = {**FACTS, **{i.name: Name(KINDS[i.holds]) for i in (*items, *summary)}}

    def made(one: Item) -> Item:
        parsed: dict[str, Any] = {
            key: parse(getattr(one, key), names) for key in ("show_if", "value") if isinstance(getattr(one, key), str)
        }
        return Item(**{**vars(one), **parsed})

    return Form(
        "AA",
        "A form",
        "baseline",
        tuple(made(i) for i in items),
        summary=tuple(made(i) for i in summary),
        checks=tuple(Check(when=parse(when, names), **rest) for when, rest in checks),
        **more,
    )


def calc(name: str, value: str, result: str = "int", **more: Any) -> Item:
    return item(name, "calc", value=value, result=result, **more)


def brief(findings: tuple[Finding, ...]) -> list[str]:
    return [f"{f.severity} {f.id} {' '.join(f.items)}" for f in findings]


@dataclass(frozen=True)
class Case:
    """Answers to one form, and what comes of them. `stored` is left out where it is what was sent."""

    title: str
    form: Form
    answers: Mapping[str, Any]
    found: list[str] = field(default_factory=list)
    missing: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = None
    reasons: Mapping[str, str] | None = None
    context: Context = field(default_factory=Context)
    complete: bool = True
    confirmed: tuple[str, ...] = ()

    def verdict(self) -> Verdict:
        return validate(self.form, self.answers, self.missing, self.context, complete=self.complete, confirmed=self.confirmed)


NUMBER = form(item("a", minimum=Decimal(0), maximum=Decimal(10), soft_minimum=Decimal(2), soft_maximum=Decimal(8)))
WEIGHT = form(item("a", "dec", decimals=1, minimum=Decimal("0.5"), soft_maximum=Decimal(200), unit="kg"))
PARTS = form(
    item("any", "yn"),
    item("worst", show_if="any == 1"),
    item("why", "text", show_if="worst >= 7"),
    item("note", "text", required=False, show_if="answered(why)"),
)
BMI = form(
    item("kg", "dec", decimals=1),
    item("cm"),
    calc("bmi", "kg / ((cm / 100) ** 2)", "dec", decimals=1, soft_maximum=Decimal(60)),
    calc("high", "bmi >= 30", "yn"),
)
MEDICINES = form(
    item("any", "yn"),
    item("dose", "dec", decimals=1, show_if="any == 1"),
    checks=[
        check("AA-01", "alert", "dose_all >= 120", "dose", notify=("principal-investigator",)),
        check("AA-02", "soft", "any == 0 and count_rows(any) > 1", "any"),
        check("AA-03", "hard", "same_rows(dose)", "dose"),
    ],
    summary=(calc("dose_all", "sum_rows(dose)", "dec", decimals=1), calc("dose_half", "dose_all / 2", "dec", decimals=1)),
    repeating=True,
)
SYSTEM = form(item("no", "text", system="rand_no"), item("side", "code", system="factor.side"), calc("twice", "side * 2"))

CASES = [
    # types
    Case("a value is read", NUMBER, {"a": " 5 "}, stored={"a": 5}),
    Case("a wrong type", NUMBER, {"a": "five"}, ["hard CRF.TYPE a"], stored={}),
    Case("a wrong type of an optional item", form(item("a", required=False)), {"a": "x"}, ["hard CRF.TYPE a"], stored={}),
    Case("an unknown item", NUMBER, {"a": 5, "b": 1}, ["hard CRF.UNKNOWN_ITEM b"], stored={"a": 5}),
    Case("an unknown item with a reason", NUMBER, {"a": 5}, ["hard CRF.UNKNOWN_ITEM b"], missing={"b": "NK"}, reasons={}),
    Case("text that is too long", form(item("t", "text", length=3)), {"t": "abcd"}, ["hard CRF.LENGTH t"]),
    Case("text that just fits", form(item("t", "text", length=3)), {"t": "aé𝄞"}),
    # limits
    Case("inside the limits", NUMBER, {"a": 8}),
    Case("at the limits", NUMBER, {"a": 10}, ["soft CRF.SOFT_RANGE.a a"]),
    Case("below the limits", NUMBER, {"a": -1}, ["hard CRF.RANGE a"]),
    Case("above the limits", NUMBER, {"a": 11}, ["hard CRF.RANGE a"]),
    Case("unusual and confirmed", NUMBER, {"a": 1}, confirmed=("CRF.SOFT_RANGE.a",)),
    Case("unusual, another one confirmed", NUMBER, {"a": 1}, ["soft CRF.SOFT_RANGE.a a"], confirmed=("CRF.SOFT_RANGE.b",)),
    Case("a hard finding cannot be confirmed", NUMBER, {"a": 11}, ["hard CRF.RANGE a"], confirmed=("CRF.RANGE", "hard")),
    Case("exact decimals", WEIGHT, {"a": "200.0"}, stored={"a": "200.0"}),
    Case("too many decimals", WEIGHT, {"a": "82.55"}, ["hard CRF.DECIMALS a"]),
    Case("trailing zeros are not decimals", WEIGHT, {"a": "82.500"}),
    Case("below a decimal limit", WEIGHT, {"a": "0.4"}, ["hard CRF.RANGE a"]),
    # required and missing
    Case("nothing given", NUMBER, {}, ["hard CRF.REQUIRED a"]),
    Case("blank", NUMBER, {"a": ""}, ["hard CRF.REQUIRED a"], stored={}),
    Case("nothing given in a draft", NUMBER, {}, complete=False),
    Case("a reason instead", NUMBER, {}, missing={"a": "NK"}),
    Case("an empty reason is none", NUMBER, {}, ["hard CRF.REQUIRED a"], missing={"a": ""}, reasons={}),
    Case("an unknown reason", NUMBER, {}, ["hard CRF.REASON a"], missing={"a": "XX"}, reasons={}),
    Case("an answer and a reason", NUMBER, {"a": 5}, ["hard CRF.REASON a"], {"a": "NK"}, {}, {}),
    Case("optional", form(item("a", required=False)), {}),
    # codes
    Case("a code", form(item("s", "code")), {"s": 2}),
    Case("a code that is none", form(item("s", "code")), {"s": 3}, ["hard CRF.CODE s"]),
    Case("several codes, one is none", form(item("s", "multi")), {"s": [3, 1]}, ["hard CRF.CODE s"], stored={"s": [1, 3]}),
    Case(
        "a code of a register",
        form(item("d", "code", source="documents.PIS")),
        {"d": 2},
        context=Context(registers={"documents.PIS": {1: "v1.0", 2: "v2.0"}}),
    ),
    Case(
        "a code that the register does not hold",
        form(item("d", "code", source="documents.PIS")),
        {"d": 3},
        ["hard CRF.CODE d"],
        context=Context(registers={"documents.PIS": {1: "v1.0"}}),
    ),
    Case("a register that is not there", form(item("d", "code", source="staff")), {"d": 1}, ["hard CRF.CODE d"]),
    # conditions
    Case("a hidden item is not required", PARTS, {"any": 0}),
    Case("a shown item is required", PARTS, {"any": 1}, ["hard CRF.REQUIRED worst"]),
    Case("an unknown condition hides", PARTS, {}, ["hard CRF.REQUIRED any"]),
    Case("a missing reason leaves the condition unknown", PARTS, {}, missing={"any": "NK"}),
    Case("a hidden answer is kept until confirmed", PARTS, {"any": 0, "worst": 5}, ["soft CRF.HIDDEN worst"]),
    Case("and then removed", PARTS, {"any": 0, "worst": 5}, stored={"any": 0}, confirmed=(HIDDEN,)),
    Case("what cannot be read in a hidden question", PARTS, {"any": 0, "worst": "abc"}, ["soft CRF.HIDDEN worst"], stored={"any": 0}),
    Case("and then let go", PARTS, {"any": 0, "worst": "abc"}, stored={"any": 0}, confirmed=(HIDDEN,)),
    Case("a wrong reason in a hidden question", PARTS, {"any": 0}, ["soft CRF.HIDDEN worst"], missing={"worst": "??"}, reasons={}),
    Case("a cascade", PARTS, {"any": 0, "worst": 9, "why": "x", "note": "y"}, ["soft CRF.HIDDEN worst why note"]),
    Case("a cascade removed", PARTS, {"any": 0, "worst": 9, "why": "x"}, stored={"any": 0}, confirmed=(HIDDEN,)),
    Case("the end of a cascade", PARTS, {"any": 1, "worst": 3, "why": "x", "note": "y"}, ["soft CRF.HIDDEN why note"]),
    Case(
        "a hidden reason is kept and removed alike",
        PARTS,
        {"any": 0},
        ["soft CRF.HIDDEN worst"],
        missing={"worst": "NK"},
    ),
    Case("a hidden reason removed", PARTS, {"any": 0}, missing={"worst": "NK"}, reasons={}, confirmed=(HIDDEN,)),
    Case("confirmed, but nothing hidden", PARTS, {"any": 1, "worst": 5}, confirmed=(HIDDEN,)),
    Case("the range of a hidden answer is not asked", form(item("a"), item("b", maximum=Decimal(1), show_if="a == 1")),
         {"a": 0, "b": 9}, ["soft CRF.HIDDEN b"]),
    Case(
        "a check does not see a hidden answer",
        form(item("a"), item("b", show_if="a == 1"), checks=[check("AA-01", "hard", "b > 5", "b")]),
        {"a": 0, "b": 9},
        ["soft CRF.HIDDEN b"],
    ),
    # context
    Case("a fact decides", form(item("a", show_if="visit_no >= 3")), {}, context=Context(facts={"visit_no": 2})),
    Case("a fact is missing", form(item("a", show_if="visit_no >= 3")), {}),
    Case(
        "the form's own item hides a fact of the same name, also while it is empty",
        form(item("limb"), checks=[check("AA-01", "alert", "limb == 7", "limb")]),
        {},
        ["hard CRF.REQUIRED limb"],
        context=Context(facts={"limb": 7}),
    ),
    Case(
        "the form's own item counts, not the fact",
        form(item("limb"), calc("next", "limb + 1")),
        {"limb": 1},
        stored={"limb": 1, "next": 2},
        context=Context(facts={"limb": 7}),
    ),
    # calculations
    Case("calculated and rounded", BMI, {"kg": "82.5", "cm": 180}, stored={"kg": "82.5", "cm": 180, "bmi": "25.5", "high": 0}),
    Case("a later calculation reads the rounded one", BMI, {"kg": "97.1", "cm": 180},
         stored={"kg": "97.1", "cm": 180, "bmi": "30.0", "high": 1}),
    Case("a missing part", BMI, {"kg": "82.5"}, ["hard CRF.REQUIRED cm"]),
    Case("a division by zero", BMI, {"kg": "82.5", "cm": 0}),
    Case("what is sent for a calculated item is passed over", BMI, {"kg": "82.5", "bmi": "1", "high": "x"},
         ["hard CRF.REQUIRED cm"], stored={"kg": "82.5"}),
    Case("an unusual result", BMI, {"kg": "300.0", "cm": 150}, ["soft CRF.SOFT_RANGE.bmi bmi"],
         stored={"kg": "300.0", "cm": 150, "bmi": "133.3", "high": 1}),
    Case("a hidden calculation", form(item("a"), calc("b", "a + 1", show_if="a > 5")), {"a": 5}),
    Case("a shown calculation", form(item("a"), calc("b", "a + 1", show_if="a > 5")), {"a": 6}, stored={"a": 6, "b": 7}),
    Case("a condition on a calculation", form(item("a"), calc("b", "a * 2"), item("c", show_if="b > 5")), {"a": 3},
         ["hard CRF.REQUIRED c"], stored={"a": 3, "b": 6}),
    Case("calculations in any order", form(calc("c", "b + 1"), calc("b", "a + 1"), item("a")), {"a": 1},
         stored={"c": 3, "b": 2, "a": 1}),
    Case("a code that a calculation cannot give", form(item("a"), calc("s", "a", "code", codelist=SIDES)), {"a": 9},
         ["hard CRF.CODE s"], stored={"a": 9, "s": 9}),
    # the system
    Case("what the system fills", SYSTEM, {}, context=Context(system={"no": "R-001", "side": 2}),
         stored={"no": "R-001", "side": 2, "twice": 4}),
    Case("a person cannot fill it", SYSTEM, {"no": "X", "side": 1}, stored={}),
    Case("values of the system for other forms are passed over", NUMBER, {"a": 5}, context=Context(system={"zz": 1}),
         stored={"a": 5}),
    # rows
    Case("one row", MEDICINES, {"any": 1, "dose": "60.0"}),
    Case("a check over rows", MEDICINES, {"any": 1, "dose": "60.0"}, ["alert AA-01 dose"],
         context=Context(rows=({"any": 1, "dose": Decimal("60.5")},))),
    Case("a row that says none beside others", MEDICINES, {"any": 0}, ["soft AA-02 any"], context=Context(rows=({"any": 1},))),
    Case("the same answer twice", MEDICINES, {"any": 1, "dose": "1.50"}, ["hard AA-03 dose"],
         context=Context(rows=({"any": 1, "dose": Decimal("1.5")},))),
    Case("a hidden answer does not count in the rows", MEDICINES, {"any": 0, "dose": "200.0"}, ["soft CRF.HIDDEN dose"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_validate(case: Case) -> None:
    verdict = case.verdict()
    assert brief(verdict.findings) == case.found
    document = verdict.answers.to_json()
    assert document["answers"] == (dict(case.answers) if case.stored is None else case.stored)
    assert document["missing"] == (dict(case.missing) if case.reasons is None else case.reasons)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_nothing_depends_on_the_order_in_which_answers_are_sent(case: Case) -> None:
    turned = Case(**{**vars(case), "answers": dict(reversed(list(case.answers.items())))})
    verdict, again = case.verdict(), turned.verdict()
    assert [f for f in verdict.findings if f.code != "CRF.UNKNOWN_ITEM"] == [f for f in again.findings if f.code != "CRF.UNKNOWN_ITEM"]
    assert list(verdict.answers.values.items()) == list(again.answers.values.items())
    assert verdict.shown == again.shown


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_is_stored_is_read_again_and_judged_alike(case: Case) -> None:
    verdict = case.verdict()
    assert load(case.form, verdict.answers.to_json()) == verdict.answers


@pytest.mark.parametrize(
    ("defined", "answers", "message"),
    [
        (NUMBER, {"a": 11}, "A: must be from 0 to 10."),
        (NUMBER, {"a": 9}, "A: 9 is unusual (expected from 2 to 8). Check it, and confirm it if it is right."),
        (WEIGHT, {"a": "0.4"}, "A: must be at least 0.5 kg."),
        (WEIGHT, {"a": "200.5"}, "A: 200.5 is unusual (expected at most 200 kg). Check it, and confirm it if it is right."),
        (WEIGHT, {"a": "1.25"}, "A: at most 1 decimal place."),
        (form(item("a", "dec", decimals=0)), {"a": "1.5"}, "A: at most 0 decimal places."),
        (form(item("a", "dec", decimals=2)), {"a": "1.555"}, "A: at most 2 decimal places."),
        (form(item("t", "text", length=3)), {"t": "abcd"}, "T: at most 3 characters are kept; this has 4."),
        (form(item("s", "multi")), {"s": [1, 7, 9]}, "S: 7, 9 is not one of the choices."),
        (NUMBER, {"a": "x"}, "A: a whole number is expected, such as 7."),
        (NUMBER, {"z": 1}, "'z' is not an item of form AA."),
        (NUMBER, {}, "A: answer it, or give the reason why it is missing."),
        (
            PARTS,
            {"any": 0, "worst": 1},
            "No longer asked because of another answer, but still answered: Worst. Confirm to remove these answers.",
        ),
    ],
)
def test_messages_say_what_is_wrong(defined: Form, answers: dict[str, Any], message: str) -> None:
    assert validate(defined, answers, {}, Context()).findings[0].message == message


def test_findings_stand_in_the_order_of_the_form_and_hard_alert_soft_can_be_told_apart() -> None:
    many = form(
        item("a", maximum=Decimal(1)),
        item("b", soft_maximum=Decimal(1)),
        item("c", maximum=Decimal(1)),
        item("d"),
        checks=[check("AA-01", "alert", "a > b", "a", deviation=4, rule="GOV-08"), check("AA-02", "hard", "c > a", "c", "a")],
    )
    verdict = validate(many, {"c": 5, "b": 3, "a": 4}, {}, Context())
    assert brief(verdict.findings) == [
        "hard CRF.RANGE a",
        "soft CRF.SOFT_RANGE.b b",
        "hard CRF.RANGE c",
        "hard CRF.REQUIRED d",
        "alert AA-01 a",
        "hard AA-02 c a",
    ]
    assert brief(verdict.of("alert", "soft")) == ["soft CRF.SOFT_RANGE.b b", "alert AA-01 a"]
    assert (verdict.findings[4].deviation, verdict.findings[4].rule) == (4, "GOV-08")


def test_types_that_cannot_be_read_are_found_in_the_order_of_the_form() -> None:
    verdict = validate(form(item("a"), item("b")), {"b": "x", "a": "y"}, {}, Context(), complete=False)
    assert brief(verdict.findings) == ["hard CRF.TYPE a", "hard CRF.TYPE b"]


def test_summary_over_rows() -> None:
    context = Context(rows=({"any": 1, "dose": Decimal("60.5")}, {"any": 0}))
    assert validate(MEDICINES, {"any": 1, "dose": "1.0"}, {}, context).summary == {
        "dose_all": Decimal("61.5"),
        "dose_half": Decimal("30.8"),
    }
    assert summarise(MEDICINES, [], Context()) == {}
    assert summarise(MEDICINES, [{"any": 0}], Context()) == {}


def test_conditions_without_judging() -> None:
    assert conditions(PARTS, {"any": 1, "worst": 7}, Context()) == {"any", "worst", "why"}
    assert conditions(PARTS, {}, Context()) == {"any"}


@given(st.permutations(["any", "worst", "why", "note"]), st.integers(0, 1), st.integers(0, 9))
def test_a_cascade_does_not_depend_on_the_order_of_items(order: list[str], any_: int, worst: int) -> None:
    by_name = PARTS.by_name
    turned = Form("AA", "A form", "baseline", tuple(by_name[name] for name in order))
    answers = {"any": any_, "worst": worst, "why": "x", "note": "y"}
    assert conditions(turned, answers, Context()) == conditions(PARTS, answers, Context())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "raw", "value"),
    [
        (calc("x", "1", "dec", decimals=1), Decimal("2.25").as_integer_ratio(), Decimal("2.3")),
        (calc("x", "1", "dec", decimals=1), (-9, 4), Decimal("-2.3")),
        (calc("x", "1", "dec", decimals=2), (7, 1), Decimal("7.00")),
        (calc("x", "1", "dec", decimals=0), (5, 2), Decimal("3")),
        (calc("x", "1", "int"), (5, 2), 3),
        (calc("x", "1", "int"), (-5, 2), -3),
        (calc("x", "1", "code"), (2, 1), 2),
    ],
)
def test_a_result_is_stored_rounded_half_away_from_zero(one: Item, raw: tuple[int, int], value: Any) -> None:
    kept = stored(one, Fraction(*raw))
    assert kept == value
    assert str(kept) == str(value)


@pytest.mark.parametrize(
    ("type_name", "raw", "value"),
    [
        ("yn", None, None),
        ("yn", True, 1),
        ("yn", False, 0),
        ("yn", Fraction(2), None),
        ("date", date(2026, 3, 1), date(2026, 3, 1)),
        ("date", date(2200, 12, 31), date(2200, 12, 31)),
        ("date", date(2201, 1, 1), None),
        ("dtm", datetime(2026, 3, 1, 9, 5), datetime(2026, 3, 1, 9, 5)),
        ("time", time(9, 5), time(9, 5)),
        ("pdate", PartialDate(2026, 3), PartialDate(2026, 3)),
        ("multi", (1, 2), (1, 2)),
        ("text", "a", "a"),
        ("text", " a\n", "a"),
        ("text", " ", None),
        ("int", 2**53, 2**53),
        ("int", -(2**53) - 1, None),
        ("int", Fraction(10**5000), None),
        ("dec", Fraction(10**16 - 1, 10) + Fraction(1, 20), None),
        ("dec", Fraction(10**16 - 1, 10), Decimal("999999999999999.9")),
        ("dec", Fraction(-1, 100), Decimal("0.0")),
    ],
)
def test_a_result_is_stored_as_an_answer_of_its_type(type_name: str, raw: Any, value: Any) -> None:
    kept = stored(calc("x", "1", type_name, decimals=1), raw)
    assert kept == value
    assert type(kept) is type(value)
    assert read(type_name, write(kept)) == kept


@given(st.fractions(max_denominator=10**9), st.integers(0, 6))
def test_a_decimal_result_is_exact_to_its_places(raw: Fraction, decimals: int) -> None:
    kept = stored(calc("x", "1", "dec", decimals=decimals), raw)
    if kept is None:
        assert abs(raw) >= 10**15 - 1
    else:
        assert abs(Fraction(kept) - raw) <= Fraction(1, 2 * 10**decimals)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("items", "circle"),
    [
        ((item("a"), item("b", show_if="a == 1"), item("c", show_if="b == 1 and a == 1")), []),
        ((item("a"), calc("x", "a * 2"), item("b", show_if="x > 1")), []),
        ((item("a", show_if="missing(a)"),), ["a", "a"]),
        ((item("a", show_if="b == 1"), item("b", show_if="a == 1")), ["a", "b", "a"]),
        ((item("a", show_if="x > 1"), calc("x", "a * 2")), ["a", "x", "a"]),
    ],
)
def test_conditions_in_a_circle(items: tuple[Item, ...], circle: list[str]) -> None:
    assert circle_of_conditions(form(*items).items) == circle


@pytest.mark.parametrize(
    ("defined", "answers"),
    [
        (form(item("a"), calc("x", "a ** 9", "dec", decimals=1)), {"a": 10**14}),
        (form(item("a", "dec"), calc("x", "a * a", "dec", decimals=6)), {"a": "9" * 15}),
        (form(item("a"), calc("x", "a ** 9")), {"a": 10**14}),
        (form(item("d", "date"), calc("x", "add_days(d, 99999)", "date")), {"d": "2026-01-01"}),
        (form(item("t", "text", length=32000), calc("x", "text(t, t)", "text")), {"t": "a" * 20_000}),
        (form(item("t", "text"), calc("x", 'text(" ", t)', "text")), {"t": "a"}),
    ],
)
def test_a_result_that_no_answer_could_hold_is_missing(defined: Form, answers: dict[str, Any]) -> None:
    kept = validate(defined, answers, {}, Context(), complete=False).answers
    assert load(defined, kept.to_json()) == kept


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ({"a": "NK"}, []),
        ({"a": ["NK"]}, ["hard CRF.REASON a"]),
        ({"a": 3}, ["hard CRF.REASON a"]),
    ],
)
def test_reasons_of_any_type(missing: Any, found: list[str]) -> None:
    assert brief(validate(NUMBER, {}, missing, Context(), complete=False).findings) == found


@given(st.dictionaries(st.sampled_from(["any", "worst", "why", "note", "zz"]), st.none() | st.integers() | st.text(max_size=3)))
def test_any_answers_get_a_verdict(answers: dict[str, Any]) -> None:
    verdict = validate(PARTS, answers, {}, Context())
    assert set(verdict.answers.values) <= set(PARTS.by_name)
    assert verdict.shown <= set(PARTS.by_name)
    again = validate(PARTS, verdict.answers.to_json()["answers"], {}, Context(), confirmed=[HIDDEN])
    assert set(again.answers.values) <= again.shown


# --- smaller pieces --------------------------------------------------------------------------------------------------


def test_calculations_in_a_circle_are_named() -> None:
    with pytest.raises(ValueError, match=r"^a -> b$"):
        in_order_of_need(form(calc("a", "b"), calc("b", "a"), calc("c", "1")).items)


@pytest.mark.parametrize(
    ("low", "high", "unit", "words"),
    [
        (Decimal(0), Decimal(10), "", "from 0 to 10"),
        (Decimal("0.5"), None, "kg", "at least 0.5 kg"),
        (None, Decimal(8), "", "at most 8"),
    ],
)
def test_limits_in_words(low: Decimal | None, high: Decimal | None, unit: str, words: str) -> None:
    assert limits(low, high, unit) == words


@pytest.mark.parametrize(
    ("value", "low", "high", "is_outside"),
    [(0, Decimal(0), Decimal(1), False), (1, Decimal(0), Decimal(1), False), (-1, Decimal(0), None, True),
     (Decimal("1.1"), None, Decimal(1), True), (5, None, None, False)],
)  # fmt: skip
def test_outside(value: Any, low: Decimal | None, high: Decimal | None, is_outside: bool) -> None:
    assert outside(value, low, high) is is_outside


@pytest.mark.parametrize(
    ("blinded", "labels"),
    [
        (False, {1: "Late", 3: "At coaptation", 4: "Crossover"}),
        (True, {1: "Late", 3: "At a nerve site"}),
    ],
)
def test_choices_as_a_role_reads_them(blinded: bool, labels: dict[int, str]) -> None:
    assert DEVIATIONS.shown_to(blinded=blinded) == labels


TYPED = form(item("dv_type", "code"), item("open"), item("secret", restricted=True))
BY_ROW = Form("DEVI", "Deviation", "deviation", TYPED.items, restricted_when=parse("dv_type in (4, 5)", {"dv_type": Name("number")}))


@pytest.mark.parametrize(
    ("defined", "name", "answers", "restricted"),
    [
        (TYPED, "open", {"dv_type": 4}, False),
        (TYPED, "secret", {}, True),
        (BY_ROW, "open", {"dv_type": 4}, True),
        (BY_ROW, "open", {"dv_type": 1}, False),
        (BY_ROW, "open", None, False),
        (BY_ROW, "secret", {"dv_type": 1}, True),
        (Form("SURG", "Surgery", "operative", TYPED.items, restricted=True), "open", {}, True),
    ],
)
def test_what_a_blinded_role_may_not_see(defined: Form, name: str, answers: dict[str, Any] | None, restricted: bool) -> None:
    assert defined.restricts(defined.by_name[name], answers) is restricted


def test_items_that_a_form_no_longer_has_are_left_out() -> None:
    document = {"answers": {"a": 5, "gone": 1}, "missing": {"old": "NK"}}
    assert load(NUMBER, document) == Answers({"a": 5}, {})
    assert load(NUMBER, {}) == Answers({}, {})


def test_every_type_is_stored_in_its_json_form() -> None:
    every = form(item("d", "date"), item("t", "time"), item("m", "dtm"), item("p", "pdate"), item("s", "multi"), item("n", "dec"))
    answers = {"d": "2026-03-01", "t": "9:05", "m": "2026-03-01 09:05", "p": "2026-03", "s": "2 1", "n": "1.50"}
    verdict = validate(every, answers, {}, Context(), complete=False)
    assert verdict.answers.values["m"] == datetime(2026, 3, 1, 9, 5)
    assert verdict.answers.to_json()["answers"] == {
        "d": "2026-03-01",
        "t": "09:05",
        "m": "2026-03-01T09:05",
        "p": "2026-03",
        "s": [1, 2],
        "n": "1.50",
    }


def test_a_form_applies_unless_its_condition_is_known_to_be_false() -> None:
    lower = expressions.parse("limb == 1", {"limb": expressions.Name("number", frozenset({1, 2}))})
    form = Form("FUNL", "Function", "outcome", (), applies_if=lower)
    assert [form.applies(facts) for facts in ({"limb": 1}, {"limb": 2}, {"limb": None}, {})] == [True, False, True, True]
