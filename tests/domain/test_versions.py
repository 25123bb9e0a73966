"""Comparing two versions of a protocol: every kind of difference, in words, with its effect on earlier answers."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import ROOT, TRIAL
from trialdm.definitions import sources
from trialdm.definitions.protocols import load_protocol
from trialdm.domain.protocol import Protocol, Visit
from trialdm.domain.versions import EFFECTS, FIXED, Difference, compare, fixed

TOP, PAIN, PAIN_CODES = f"{TRIAL}/protocol.yaml", f"{TRIAL}/forms/pain.yaml", f"{TRIAL}/codelists.yaml"
ITEM = "  - {name: pain_note, label: Note, type: text, required: false}\n"
CHECK = '  - {id: PAIN-99, severity: hard, items: [rlp_now], when: "rlp_now > 9", message: "Nine at most."}\n'
FORM = "form: EXTRA\ntitle: Extra\nkind: outcome\nvisits: {V04: optional}\nitems:\n  - {name: extra, label: Extra, type: yn}\n"
MORE = '  - {name: %s, label: "%s", type: %s, min: %s, max: 10'


@cache
def files() -> dict[str, str]:
    return sources.read_folder(ROOT / "protocols" / TRIAL)


@cache
def old() -> Protocol:
    return load_protocol(files())


def edited(*edits: tuple[str, str, str], **more: str) -> Protocol:
    texts = {**files(), **more}
    for file, before, after in edits:
        assert before in texts[file], before
        texts[file] = texts[file].replace(before, after, 1)
    return load_protocol(texts)


Row = tuple[str, str, str, str, str, str]

#: file, text, other text -> kind, place, what, before, after, effect. The other way round is listed where it is not the same.
CASES: list[tuple[tuple[str, str, str], Row]] = [
    # the trial
    ((TOP, 'version: "1.0"', 'version: "1.1"'), ("trial", "", "version", "1.0", "1.1", "none")),
    ((TOP, "short_title: PRE-TMR", "short_title: PRE"), ("trial", "", "short title", "PRE-TMR", "PRE", "none")),
    (
        (TOP, "title: Preventive targeted", "title: Targeted"),
        ("trial", "", "title", "Preventive targeted muscle", "Targeted muscle", "none"),
    ),
    ((TOP, "participants: 220", "participants: 240"), ("trial", "", "target of participants", "220", "240", "alters")),
    ((TOP, "months: 18", "months: 24"), ("trial", "", "months of recruitment", "18", "24", "alters")),
    ((TOP, "pap_threshold: {value: 4", "pap_threshold: {value: 5"), ("parameter", "pap_threshold", "value", "4", "5", "alters")),
    ((TOP, '9: "2.4"}', '9: "2.5"}'), ("table", "ome_factor", "value of 9", "2.4", "2.5", "alters")),
    ((TOP, '1: "0.1", ', ""), ("table", "ome_factor", "value of 1", "0.1", "none", "alters")),
    ((TOP, "identity: vault", "identity: site-held"), ("identity", "", "how participants are identified", "vault", "site-held", "breaks")),
    ((TOP, "pathway: primary", "pathway: none"), ("identity", "", "pathway", "primary", "none", "breaks")),
    ((TOP, "after: V07}", "after: V08}"), ("unblinding", "", "visit after which", "V07", "V08", "breaks")),
    ((TOP, "wording: shipped", "wording: none"), ("instrument", "", "wording", "shipped", "none", "none")),
    # sites
    ((TOP, "name: Northbridge Royal", "name: Northbridge"), ("site", "S01", "name", "Northbridge Royal", "Northbridge", "none")),
    ((TOP, "nation: WAL, target: 14", "nation: ENG, target: 14"), ("site", "S12", "nation", "WAL", "ENG", "alters")),
    (
        (TOP, "  - {code: S14, name: Lough Carrow Hospital, nation: NIR, target: 12}\n", ""),
        ("site", "S14", "this site", "Lough Carrow", "", "breaks"),
    ),
    (
        (TOP, "\nallocation:", "  - {code: S15, name: Fernhill, nation: ENG}\n\nallocation:"),
        ("site", "S15", "this site", "", "Fernhill", "adds"),
    ),
    # visits
    (
        (TOP, "target: 42, before: 14, after: 14", "target: 42, before: 14, after: 21"),
        ("visit", "V04", "days after the target", "14", "21", "alters"),
    ),
    ((TOP, "target: 42, before: 14, after: 14", "target: 49, before: 14, after: 14"), ("visit", "V04", "target day", "42", "49", "alters")),
    (
        (TOP, "6 weeks, kind: scheduled, anchor: surg_date", "6 weeks, kind: scheduled, anchor: rand_date"),
        ("visit", "V04", "day from which it counts", "surg_date", "rand_date", "alters"),
    ),
    ((TOP, "label: 6 weeks", "label: Six weeks"), ("visit", "V04", "label", "6 weeks", "Six weeks", "none")),
    (
        (TOP, "  - {code: EV,", "  - {code: V10, number: 10, label: 30 months, kind: event}\n  - {code: EV,"),
        ("visit", "V10", "this visit", "", "30 months", "adds"),
    ),
    # forms
    ((PAIN, "title: Pain ratings", "title: Pain"), ("form", "PAIN", "title", "Pain ratings", "Pain", "none")),
    ((PAIN, "kind: outcome", "kind: visit"), ("form", "PAIN", "kind", "outcome", "visit", "alters")),
    ((PAIN, "V03: required", "V03: optional"), ("form", "PAIN", "at visit V03", "required", "optional", "alters")),
    ((PAIN, "V03: required, ", ""), ("form", "PAIN", "at visit V03", "required", "", "breaks")),
    ((PAIN, "V03: required", "V02: optional, V03: required"), ("form", "PAIN", "at visit V02", "", "optional", "adds")),
    ((f"{TRIAL}/forms/pgic.yaml", "kind: outcome", "kind: outcome\nrepeating: true"), ("form", "PGIC", "rows", "no", "yes", "breaks")),
    (
        (PAIN, "kind: outcome", 'kind: outcome\napplies_if: "age_years >= 18"'),
        ("form", "PAIN", "whom it is expected of", "none", "age_years >= 18", "alters"),
    ),
    # items
    ((PAIN, "items:\n", f"items:\n{ITEM}"), ("item", "PAIN.pain_note", "this item", "", "Note", "adds")),
    ((PAIN, "limb pain: now", "limb pain: right now"), ("item", "PAIN.rlp_now", "label", "Residual limb pain: now", "right now", "none")),
    ((PAIN, "length: 500", "length: 400"), ("item", "PAIN.pain_site_map", "characters", "500", "400", "alters")),
    ((PAIN, "     lines: 2, required: false", "     lines: 2"), ("item", "PAIN.pain_site_map", "required", "no", "yes", "alters")),
    (
        (PAIN, "     lines: 2, required: false", "     lines: 3, required: false"),
        ("item", "PAIN.pain_site_map", "lines of the field", "2", "3", "none"),
    ),
    (
        (PAIN, "     lines: 2, required: false, scan: true", "     lines: 2, required: false"),
        ("item", "PAIN.pain_site_map", "looked through", "yes", "no", "none"),
    ),
    (
        (PAIN, "     lines: 2, required: false", "     lines: 2, required: false, restricted: true"),
        ("item", "PAIN.pain_site_map", "hidden", "no", "yes", "alters"),
    ),
    (
        (PAIN, "type: text, length: 500,\n     lines: 2, required: false, scan: true", "type: date, required: false"),
        ("item", "PAIN.pain_site_map", "type", "text", "date", "breaks"),
    ),
    (
        (PAIN, 'show_if: "visit_no >= 3"', 'show_if: "visit_no >= 4"'),
        ("item", "PAIN.rlp_any", "condition", "visit_no >= 3", "visit_no >= 4", "alters"),
    ),
    (
        (PAIN, "limb_worst < 4 else", "limb_worst < 3 else"),
        ("item", "PAIN.pain_pre", "calculation", "limb_worst < 4", "limb_worst < 3", "alters"),
    ),
    (
        (PAIN, 'now", type: int, min: 0, max: 10', 'now", type: int, min: 1, max: 10'),
        ("item", "PAIN.rlp_now", "smallest value", "0", "1", "alters"),
    ),
    (
        (PAIN, 'now", type: int, min: 0, max: 10', 'now", type: int, min: 0, max: 9'),
        ("item", "PAIN.rlp_now", "largest value", "10", "9", "alters"),
    ),
    (
        (PAIN, 'now", type: int, min: 0', 'now", type: int, unit: points, min: 0'),
        ("item", "PAIN.rlp_now", "unit", "none", "points", "alters"),
    ),
    (
        (PAIN, "type: code, codelist: CL_ASSIST", "type: code, codes: {1: Self, 2: Other}"),
        ("code", "PAIN.pain_assist.3", "this code", "Interview", "", "breaks"),
    ),
    # checks
    ((PAIN, "checks:\n", f"checks:\n{CHECK}"), ("check", "PAIN.PAIN-99", "this check", "", "Nine at most.", "adds")),
    (
        (PAIN, "{id: PAIN-01, severity: soft", "{id: PAIN-01, severity: hard"),
        ("check", "PAIN.PAIN-01", "severity", "soft", "hard", "alters"),
    ),
    (
        (PAIN, 'when: "rlp_avg > rlp_worst"', 'when: "rlp_avg >= rlp_worst"'),
        ("check", "PAIN.PAIN-01", "condition", "rlp_avg > ", "rlp_avg >= ", "alters"),
    ),
    (
        (PAIN, "the average is higher than the worst. Check", "the average is above the worst. Check"),
        ("check", "PAIN.PAIN-01", "message", "higher", "above", "none"),
    ),
    # choices
    ((PAIN_CODES, 'CL_ASSIST: {1: "Self"', 'CL_ASSIST: {1: "self"'), ("code", "CL_ASSIST.1", "meaning", "Self", "self", "none")),
    ((PAIN_CODES, 'CL_ASSIST: {1: "Self"', 'CL_ASSIST: {1: "Nurse"'), ("code", "CL_ASSIST.1", "meaning", "Self", "Nurse", "alters")),
    ((PAIN_CODES, 'CL_ASSIST: {1: "Self"', 'CL_ASSIST: {4: "Carer", 1: "Self"'), ("code", "CL_ASSIST.4", "this code", "", "Carer", "adds")),
    ((PAIN_CODES, 'CL_ASSIST: {1: "Self", ', "CL_ASSIST: {"), ("code", "CL_ASSIST.1", "this code", "Self", "", "breaks")),
    # the context and the allocation
    (
        (TOP, "context:\n", "context:\n  - {name: weight_kg, form: DEMO, visit: V01, item: weight_kg}\n"),
        ("context", "weight_kg", "this context", "", "DEMO.weight_kg at V01", "adds"),
    ),
    ((TOP, 'p: "4/5"', 'p: "3/4"'), ("allocation", "main", "parameters", "4/5", "3/4", "breaks")),
    ((TOP, "burn_in: 10", "burn_in: 12"), ("allocation", "main", "parameters", "burn_in 10", "burn_in 12", "breaks")),
    ((TOP, "item: limb, weight: 2", "item: limb, weight: 1"), ("allocation", "main", "factors", "x 2", "x 1", "breaks")),
    (
        (TOP, "label: Standard nerve handling, ratio: 1", "label: Standard nerve handling, ratio: 2"),
        ("allocation", "", "arms", "x 1", "x 2", "breaks"),
    ),
]


@pytest.mark.parametrize(("edit", "row"), CASES, ids=[f"{row[0]}-{row[1]}-{row[2]}-{i}" for i, (_, row) in enumerate(CASES)])
def test_each_kind_of_difference(edit: tuple[str, str, str], row: Row) -> None:
    kind, place, what, before, after, effect = row
    found = [d for d in compare(old(), edited(edit)) if d.kind == kind and d.what.startswith(what) and (d.place == place or not place)]
    assert len(found) >= 1, compare(old(), edited(edit))
    assert (before in found[0].before, after in found[0].after, found[0].effect) == (True, True, effect)
    assert (before == "", after == "") == (found[0].before == "", found[0].after == "")
    assert found[0].words.endswith(".")


def test_a_new_form_and_one_that_is_gone() -> None:
    more = edited(**{f"{TRIAL}/forms/extra.yaml": FORM})
    assert [(d.kind, d.place, d.effect) for d in compare(old(), more)] == [("form", "EXTRA", "adds")]
    assert [(d.kind, d.place, d.effect) for d in compare(more, old())] == [("form", "EXTRA", "breaks")]


def test_a_parameter_that_a_calculation_uses_alters_the_calculation() -> None:
    found = compare(old(), edited((TOP, "pap_threshold: {value: 4", "pap_threshold: {value: 5")))
    assert {d.place for d in found} == {"pap_threshold", "PAIN.pap_yn"}
    assert "with another parameter or table" in next(d.after for d in found if d.place == "PAIN.pap_yn")


def test_a_fact_from_elsewhere_alters_what_rules_see() -> None:
    moved = tuple(replace(fact, visit="V02") if fact.name == "limb" else fact for fact in old().context)
    assert compare(old(), replace(old(), context=moved)) == (Difference("context", "limb", "visit", "V01", "V02", "alters"),)


def test_another_order_is_wording() -> None:
    pain = old().form("PAIN")
    turned = replace(pain, items=tuple(reversed(pain.items)))
    found = compare(old(), with_form(old(), "PAIN", lambda _: turned))
    assert {(d.kind, d.place, d.what, d.effect) for d in found} == {("form", "PAIN", "order of the items", "none")}


def test_what_no_version_may_change_is_told_apart() -> None:
    found = compare(old(), edited((TOP, 'p: "4/5"', 'p: "3/4"'), (TOP, "label: 6 weeks", "label: Six weeks")))
    assert [d.kind for d in fixed(found)] == ["allocation"]
    assert set(FIXED) == {"allocation", "unblinding", "identity"}


def test_a_difference_is_one_json_object() -> None:
    found = Difference("item", "PAIN.rlp_now", "label", "a", "b", "none").to_json()
    assert found == {
        "kind": "item",
        "place": "PAIN.rlp_now",
        "what": "label",
        "before": "a",
        "after": "b",
        "effect": "none",
        "form": "PAIN",
        "words": "Item PAIN.rlp_now: label was a, and is b.",
    }


# --- properties ------------------------------------------------------------------------------------------------------


def with_form(protocol: Protocol, code: str, change: Callable[[Any], Any]) -> Protocol:
    return replace(protocol, forms=tuple(change(form) if form.code == code else form for form in protocol.forms))


def _drop(protocol: Protocol, part: str, index: int) -> Protocol:
    """Without one site, visit, form, or one item, code or check of one form."""
    if part in ("sites", "visits", "forms"):
        held = getattr(protocol, part)
        gone = held[index % len(held)]
        return replace(protocol, **{part: tuple(one for one in held if one is not gone)})
    form = protocol.forms[index % len(protocol.forms)]
    held = getattr(form, part)
    return with_form(protocol, form.code, lambda f: replace(f, **{part: held[: index % len(held)] if held else ()}))


def _alter(protocol: Protocol, words: str, index: int) -> Protocol:
    form = protocol.forms[index % len(protocol.forms)]
    item = form.items[index % len(form.items)]
    items = tuple(replace(one, label=words, required=not one.required) if one is item else one for one in form.items)
    visits = tuple(replace(v, label=words) if isinstance(v, Visit) and v.number == index % 10 else v for v in protocol.visits)
    return replace(with_form(protocol, form.code, lambda f: replace(f, items=items)), visits=visits, title=words)


changes = st.lists(
    st.one_of(
        st.tuples(st.just(_drop), st.sampled_from(["sites", "visits", "forms", "items", "checks"]), st.integers(0, 200)),
        st.tuples(st.just(_alter), st.text("abc ", min_size=1), st.integers(0, 200)),
    ),
    max_size=4,
)


def changed(steps: list[Any]) -> Protocol:
    protocol = old()
    for change, what, index in steps:
        if protocol.forms and protocol.sites and protocol.visits and all(form.items for form in protocol.forms):
            protocol = change(protocol, what, index)
    return protocol


@given(changes)
def test_a_protocol_does_not_differ_from_itself(steps: list[Any]) -> None:
    assert compare(changed(steps), changed(steps)) == ()


@given(changes, changes)
def test_turning_round_swaps_what_is_added_and_what_is_gone(first: list[Any], second: list[Any]) -> None:
    a, b = changed(first), changed(second)
    there, back = compare(a, b), compare(b, a)

    def parts(found: tuple[Difference, ...], empty: str) -> set[tuple[str, str, str]]:
        return {(d.kind, d.place, d.what) for d in found if getattr(d, empty) == ""}

    assert parts(there, "before") == parts(back, "after")
    assert parts(there, "after") == parts(back, "before")
    assert {d.effect for d in there} <= set(EFFECTS)
    assert all(d.effect == "adds" for d in there if not d.before)
    assert all(d.effect == "breaks" for d in there if not d.after and d.kind not in ("check", "context", "parameter", "instrument"))
    altered = {(d.kind, d.place, d.what, d.before, d.after, d.effect) for d in there if d.before and d.after}
    assert altered == {(d.kind, d.place, d.what, d.after, d.before, d.effect) for d in back if d.before and d.after}
