"""Derived items: every one of PRE-TMR by cases, over rows by the rules of three values, and blind to what is restricted."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import ROOT
from tests.spec import table
from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import read_folder
from trialdm.domain import derivations, values
from trialdm.domain.crf import Form, Item
from trialdm.domain.derivations import Derived, Key, Known
from trialdm.domain.protocol import ARM_FACT, tells

PROTOCOL = load_protocol(read_folder(ROOT / "protocols" / "pre-tmr"))
CASES = table("derivations")["cases"]
OPERATED = {"surg_done": 1, "surg_date": date(2026, 3, 4), "surg_level": 15, "proc_given": 1}


def answers_of(has: Mapping[str, Any]) -> Iterator[tuple[Key, dict[str, Any]]]:
    """The typed answers of a case by visit, form and row."""
    for place, told in has.items():
        visit, form, *row = place.split()
        for number, one in enumerate(told if isinstance(told, list) else [told], int(row[0]) if row else 1):
            yield (visit, form, number), typed(PROTOCOL.form(form), one)


def typed(form: Form, told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values.read(form.by_name[name].holds, str(raw) if isinstance(raw, date) else raw) for name, raw in told.items()}


def known(answers: Mapping[Key, Mapping[str, Any]], arm: int | None, randomised: date | None) -> Known:
    facts = {fact.name: answers.get((fact.visit, fact.form, 1), {}).get(fact.item) for fact in PROTOCOL.context}
    return Known({**facts, **({"rand_date": randomised} if randomised else {}), ARM_FACT: arm}, answers)


def derived(case: Mapping[str, Any]) -> Derived:
    answers = dict(answers_of({"V02 SURG": OPERATED, **case.get("has", {})}))
    stays_out = case.get("not_randomised", False)
    told = known({} if stays_out else answers, None if stays_out else case.get("arm", 1), None if stays_out else date(2026, 3, 1))
    return derivations.derive(PROTOCOL, told, blinded=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_case_gives(case: Mapping[str, Any]) -> None:
    found = derived(case)
    for name, wanted in case["gives"].items():
        visit, _, of_visit = name.rpartition(" ")
        given_value = (found.visits.get(visit, {}) if visit else found.values).get(of_visit)
        assert values.write(given_value) == (None if wanted == "missing" else wanted), name


#: Derived items that are known of everybody: what is on record.
NEVER_MISSING = {"itt", "ice_death", "opioid_later"}


def test_every_derived_item_has_a_case_with_a_value_and_one_without() -> None:
    told = [(name.rpartition(" ")[2], wanted == "missing") for case in CASES for name, wanted in case["gives"].items()]
    names = {one.name for one in PROTOCOL.derivations}
    assert names - {name for name, missing in told if not missing} == set()
    assert names - {name for name, missing in told if missing} == NEVER_MISSING


def test_what_reads_something_restricted_is_restricted() -> None:
    assert {one.name for one in PROTOCOL.derivations if one.restricted} == {
        *("ice_reamp", "ice_reamp_on", "ice_reamp_day", "cross_later", "cross_later_on", "ice_cross", "ice_cross_on", "ice_cross_day"),
        *("trt_given", "as_allocated", "dev_major", "pp"),
    }


def test_values_are_exact_and_never_floats() -> None:
    found = derived(CASES[0])
    assert found.values["prim_rlp_12"] == Decimal("4.14")
    assert not any(isinstance(value, float) for value in (*found.values.values(), *found.visits["V07"].values()))


def test_a_row_that_is_hidden_from_the_blinded_counts_for_restricted_items_only() -> None:
    row = {"re_date": date(2026, 6, 12), "re_planned": 0, "re_ind": 4, "re_type": (4,)}
    answers = {("V02", "SURG", 1): OPERATED, ("EV", "REOP", 1): row}
    told = replace(known(answers, 1, date(2026, 3, 1)), hidden=frozenset({("EV", "REOP", 1)}))
    found = derivations.derive(PROTOCOL, told, blinded=False).values
    assert (found["ice_reint"], found["ttr_event"], found["ice_reamp"]) == (0, 0, 1)
    assert derivations.derive(PROTOCOL, told, blinded=True).values["ice_reint"] == 0


def test_unscheduled_visits_have_values_and_events_have_none() -> None:
    answers = {("U01", "PAIN", 1): {"rlp_any": 0, "plp_any": 0}, ("EV", "REOP", 1): {"re_ind": 4}}
    found = derivations.derive(PROTOCOL, known(answers, None, None), blinded=True)
    assert {visit: given_values["pain_free"] for visit, given_values in found.visits.items()} == {"U01": 1}


# --- blind to what is restricted -------------------------------------------------------------------------------------

_BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(0, 10),
    "dec": st.decimals(0, 20, places=1),
    "yn": st.integers(0, 1),
    "date": st.dates(date(2026, 1, 1), date(2028, 1, 1)),
}

_READ = sorted(derivations.forms_read(PROTOCOL))


def _value(item: Item) -> st.SearchStrategy[Any]:
    if item.codelist and item.holds == "multi":
        return st.lists(st.sampled_from(sorted(item.codelist.labels)), min_size=1, max_size=2, unique=True).map(lambda c: tuple(sorted(c)))
    if item.codelist:
        return st.sampled_from(sorted(item.codelist.labels))
    return _BY_TYPE.get(item.holds, st.none())


def _row(form: Form, telling: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the answers of a row: those that could tell something about the allocation, or those that could not."""
    wanted = {item.name: _value(item) for item in form.items if (tells(form, item) or form.restricted_when is not None) == telling}
    return st.fixed_dictionaries({}, optional=wanted).map(lambda row: {name: value for name, value in row.items() if value is not None})


@st.composite
def twins(draw: st.DrawFn) -> tuple[Known, Known]:
    """Two participants of whom the same is known to everybody, with arms exchanged and anything else in what is restricted."""
    one: dict[Key, dict[str, Any]] = {}
    other: dict[Key, dict[str, Any]] = {}
    for code in _READ:
        form = PROTOCOL.form(code)
        places = [(visit, row) for visit in form.visits for row in ((1, 2) if form.repeating else (1,))]
        for visit, row in draw(st.lists(st.sampled_from(places), unique=True, max_size=3)):
            plain = draw(_row(form, telling=False))
            one[(visit, code, row)] = {**plain, **draw(_row(form, telling=True))}
            if not (form.restricted or form.restricted_when) or plain:
                other[(visit, code, row)] = {**plain, **draw(_row(form, telling=True))}
    arm, randomised = draw(st.sampled_from((1, 2))), draw(st.none() | st.dates(date(2026, 1, 1), date(2026, 6, 1)))
    return known(one, arm, randomised), known(other, 3 - arm, randomised)


@given(twins())
def test_a_blinded_reader_gets_the_same_of_twins_with_arms_exchanged(pair: tuple[Known, Known]) -> None:
    one, other = (derivations.derive(PROTOCOL, told, blinded=True) for told in pair)
    assert one == other
    shown = {found.name for found in PROTOCOL.derivations if not found.restricted}
    assert {*one.values, *(name for visit in one.visits.values() for name in visit)} <= shown


@given(twins())
def test_what_is_open_is_the_same_for_a_blinded_and_an_unblinded_reader(pair: tuple[Known, Known]) -> None:
    blinded, unblinded = (derivations.derive(PROTOCOL, pair[0], blinded=blinded) for blinded in (True, False))
    assert blinded.values.items() <= unblinded.values.items()
    for visit, given_values in blinded.visits.items():
        assert given_values.items() <= unblinded.visits[visit].items()
