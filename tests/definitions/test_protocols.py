"""Protocol folders: the shipped ones load, and everything that is wrong in one is said at once, with its file and line."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.definitions.small import FILES, broken
from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import BadDefinition, read_folder
from trialdm.domain.naming import problems
from trialdm.domain.roles import ROLES

ROOT = Path(__file__).parents[2] / "protocols"
TOP, LISTS, CLIN, PAIN = FILES


def said(files: dict[str, str]) -> list[str]:
    """Every problem as `FILE:LINE: message`, with the folder left out of the file."""
    with pytest.raises(BadDefinition) as refusal:
        load_protocol(files)
    return [str(problem).removeprefix("demo/") for problem in refusal.value.problems]


@pytest.mark.parametrize(("name", "forms"), [("pre-tmr", 35), ("tmr-audit", 3), ("licorice-gargle", 3)])
def test_shipped_protocols_load(name: str, forms: int) -> None:
    protocol = load_protocol(read_folder(ROOT / name))
    assert (protocol.id, len(protocol.forms)) == (name, forms)
    assert list(problems(protocol.forms)) == []


def test_the_small_protocol_loads() -> None:
    protocol = load_protocol(FILES)
    assert [form.code for form in protocol.forms] == ["CLIN", "PAIN"]
    assert [factor.levels for factor in protocol.scheme.factors] == [("S01", "S02"), ("1", "2")]
    assert protocol.form("clin").by_name["limb"].section == "The limb"
    assert protocol.form("PAIN").by_name["worst"].maximum == Decimal(10)
    assert (protocol.param("limit", 9), protocol.param("other", 9)) == (4, 9)
    turned = load_protocol(dict(reversed(FILES.items())))
    assert [form.code for form in turned.forms] == ["CLIN", "PAIN"]
    assert turned.scheme == protocol.scheme


RESTRICTED = (
    "is neither an item of this form nor a declared context fact "
    "(it is restricted: only a restricted form or item may name it, unless it is marked 'unblinds: false')"
)

#: (what is wrong, file, old text, new text, every problem)
BAD: list[Any] = [
    # YAML
    ("bare no", PAIN, "label: Worst,", "label: no,", [
        "forms/pain.yaml:7: bare no is read as true or false by YAML: write \"no\" in quotes"]),
    ("bare yes as a code's label", LISTS, "1: Lower", "1: Yes", [
        "codelists.yaml:1: bare Yes is read as true or false by YAML: write \"Yes\" in quotes"]),
    ("a key twice", CLIN, "title: Clinical", "title: Clinical\ntitle: Other", ["forms/clin.yaml:3: 'title' is given twice"]),
    ("a code twice", LISTS, "1: Lower, 2", "2: Lower, 2", [
        "codelists.yaml:1: '2' is given twice"]),
    ("a time of day", PAIN, "label: Worst,", "label: 10:30,", [
        'forms/pain.yaml:7: "10:30" is read as a number by YAML: write it in quotes',
        "forms/pain.yaml:7: label: field may not be null"]),
    ("a hexadecimal number", PAIN, "max: 10", "max: 0x1F", [
        'forms/pain.yaml:7: "0x1F" is read as a number by YAML: write it in quotes',
        "forms/pain.yaml:7: max: field may not be null"]),
    ("a list of codelists", LISTS, FILES[LISTS], "- 1\n", [
        "codelists.yaml:1: a map from names of codelists to their codes is expected",
        "forms/clin.yaml:7: there is no codelist 'CL_LIMB'",
        ]),
    ("a quoted number", PAIN, "max: 10", 'max: "10"', ["forms/pain.yaml:7: max: must be a number"]),
    ("a file that has no place", "demo/notes.yaml", "", "a: 1", [
        "notes.yaml:1: this file has no place in a protocol: protocol.yaml, codelists.yaml, derivations.yaml, source.yaml, forms/*.yaml"]),
    # shape
    ("an unknown key", PAIN, "max: 10", "maxi: 10", ["forms/pain.yaml:7: unknown key 'maxi': did you mean 'max'?"]),
    ("a misspelt label", PAIN, "label: Worst", "lable: Worst", [
        "forms/pain.yaml:7: 'label' is missing", "forms/pain.yaml:7: unknown key 'lable': did you mean 'label'?"]),
    ("an unknown key without a neighbour", TOP, "", "zzz: 1\n", ["protocol.yaml:26: unknown key 'zzz'"]),
    ("a missing key", CLIN, "title: Clinical\n", "", ["forms/clin.yaml:1: 'title' is missing"]),
    ("a wrong choice", CLIN, "kind: baseline", "kind: base", [
        "forms/clin.yaml:3: kind: must be one of: screening, consent, eligibility, baseline, outcome, operative, discharge, "
        "safety, deviation, status, unblinding, visit, system, audit"]),
    ("a wrong type", CLIN, "type: date", "type: day", [
        "forms/clin.yaml:8: type: must be one of: int, dec, date, pdate, time, dtm, code, multi, yn, text, calc"]),
    ("a version without quotes", TOP, 'version: "1.0"', "version: 1.0", [
        "protocol.yaml:1: version: must be text: put it in quotes"]),
    ("a name with a capital", CLIN, "name: kg", "name: Kg", [
        "forms/clin.yaml:9: name: must be lower-case letters, digits and _, at most 24, a letter first"]),
    ("one arm", TOP, "  - {code: 2, name: STD, label: Standard}\n", "", ["protocol.yaml:4: arms: shorter than minimum length 2"]),
    ("an unknown nation", TOP, "nation: SCO", "nation: GBR", [
        "protocol.yaml:9: nation: must be one of: ENG, WAL, SCO, NIR"]),
    ("a check's identifier", PAIN, "id: PAIN-01", "id: pain1", ["forms/pain.yaml:13: id: must be like PAIN-01"]),
    ("an unknown rule", PAIN, "message: Check both.", "message: Check both., rule: GOV-8", [
        "forms/pain.yaml:13: rule: must be like GOV-08"]),
    # names across places
    ("a form with the name of another table", "demo/forms/visits.yaml", "",
     "form: VISITS\ntitle: Visits\nkind: outcome\nvisits: {V01: optional}\nitems:\n  - {name: one, label: One, type: yn}\n", [
        "forms/visits.yaml:1: 'VISITS' is the name of another table of an export: give the form another code"]),
    ("an arm twice", TOP, "code: 2, name: STD", "code: 1, name: STD", ["protocol.yaml:6: arm '1' is defined twice"]),
    ("a site twice", TOP, "code: S02", "code: S01", ["protocol.yaml:9: site 'S01' is defined twice"]),
    ("a visit number twice", TOP, "V02, number: 2", "V02, number: 1", ["protocol.yaml:19: visit number '1' is defined twice"]),
    ("a form in another file", CLIN, "form: CLIN", "form: CLI", [
        "forms/clin.yaml:1: form CLI belongs in a file named cli.yaml",
        "protocol.yaml:16: factor 'limb': there is no item 'limb' in form 'CLIN'",
        "protocol.yaml:21: there is no form 'CLIN'"]),
    ("an item of another form", PAIN, "name: avg", "name: kg", [
        "forms/pain.yaml:8: item 'kg' is also defined in form CLIN",
        "forms/pain.yaml:13: 'avg' is neither an item of this form nor a declared context fact",
        "forms/pain.yaml:13: check PAIN-01 names 'avg', which is not an item of form PAIN"]),
    ("a summary item that is also an item", PAIN, "name: all_worst", "name: avg", [
        "forms/pain.yaml:8: item 'avg': its export name 'avg' is also that of item 'avg'",
        "forms/pain.yaml:11: item 'avg' is also defined in form PAIN"]),
    ("a visit that does not exist", CLIN, "{V01: required}", "{V01: required, V9: optional}", [
        "forms/clin.yaml:4: there is no visit 'V9'"]),
    ("a codelist that does not exist", CLIN, "CL_LIMB", "CL_LIMBS", ["forms/clin.yaml:7: there is no codelist 'CL_LIMBS'"]),
    ("a badly named codelist", LISTS, "", "limbs: {1: a}\n", [
        "codelists.yaml:3: a codelist is named CL_ and capital letters, not 'limbs'"]),
    ("two codes of one label", LISTS, "2: Upper", "2: Lower", ["codelists.yaml:1: codes 1 and 2 have the same label"]),
    ("an empty codelist", LISTS, "", "CL_E: {}\n", ["codelists.yaml:3: codes: shorter than minimum length 1"]),
    ("an instrument without its form", TOP, "form: PAIN", "form: PAIM", ["protocol.yaml:25: there is no form 'PAIM'"]),
    ("a fact without its item", TOP, "item: surg_on", "item: surg_of", ["protocol.yaml:21: form CLIN has no item 'surg_of'"]),
    ("a fact of a repeating form", TOP, "form: CLIN, visit: V01, item: surg_on", "form: PAIN, visit: V02, item: worst", [
        "protocol.yaml:19: 'surg_date' holds no date: visits count from one",
        "protocol.yaml:21: form PAIN is repeating: a fact needs a form that is filled once"]),
    ("a fact at another visit", TOP, "visit: V01, item: surg_on", "visit: V02, item: surg_on", [
        "protocol.yaml:21: form CLIN is not filled at visit V02"]),
    ("a fact with a built-in name", TOP, "context:\n", "context:\n  - {name: today, form: CLIN, visit: V01, item: surg_on}\n", [
        "protocol.yaml:21: 'today' is built in and cannot be declared"]),
    ("an anchor that is not declared", TOP, "anchor: surg_date", "anchor: op_date", [
        "protocol.yaml:19: 'op_date' is not a declared context fact"]),
    ("a scheduled visit without a target", TOP, ", target: 42}", "}", [
        "protocol.yaml:19: visit V02 is scheduled: it needs an anchor and a target day"]),
    # items
    ("a section with a name", CLIN, "- section: The limb", "- {section: The limb, name: x}", [
        "forms/clin.yaml:6: a section heading stands in an entry of its own"]),
    ("an item without a type", CLIN, ", type: date", "", [
        "forms/clin.yaml:8: 'type' is missing"]),
    ("an item without a type that expressions name", PAIN, "label: Worst, type: int", "label: Worst", [
        "forms/pain.yaml:7: 'type' is missing"]),
    ("an empty item", CLIN, "  - section: The limb\n", "  - {}\n", ["forms/clin.yaml:6: 'name' is missing"]),
    ("a code without choices", CLIN, ", codelist: CL_LIMB", "", [
        "forms/clin.yaml:7: item 'limb': its choices are missing: give 'codelist' or 'codes'"]),
    ("choices twice", CLIN, "codelist: CL_LIMB", "codelist: CL_LIMB, codes: {1: a, 2: b}", [
        "forms/clin.yaml:7: item 'limb': give one of 'codelist', 'codes' and 'source'"]),
    ("choices of a number", PAIN, "type: int, min: 0, max: 10", "type: int, codes: {1: a}", [
        "forms/pain.yaml:7: item 'worst': a int takes no choices"]),
    ("limits of a date", CLIN, "type: date", "type: date, min: 3", [
        "forms/clin.yaml:8: item 'surg_on': limits and units belong to numbers, not to a date"]),
    ("limits the wrong way round", PAIN, "min: 0, max: 10", "min: 11, max: 10", [
        "forms/pain.yaml:7: item 'worst': 'min' 11 does not go with 'max' 10"]),
    ("a soft limit outside the hard one", PAIN, "min: 0, max: 10", "min: 0, max: 10, soft_max: 12", [
        "forms/pain.yaml:7: item 'worst': 'soft_max' 12 does not go with 'max' 10"]),
    ("decimals of a whole number", PAIN, "min: 0", "decimals: 1, min: 0", [
        "forms/pain.yaml:7: item 'worst': 'decimals' belongs to a dec"]),
    ("the length of a date", CLIN, "type: date", "type: date, length: 3", [
        "forms/clin.yaml:8: item 'surg_on': 'length', 'lines' and 'scan' belong to text"]),
    ("a calculation without a result", PAIN, "result: int, value: \"worst * 2\"", "value: \"worst * 2\"", [
        "forms/pain.yaml:9: item 'twice': a calculated item needs 'value' and 'result'"]),
    ("a value of an item that is typed in", PAIN, "min: 0, max: 10", "value: \"1\"", [
        "forms/pain.yaml:7: item 'worst': only a calculated item (type calc) has 'value' and 'result'"]),
    ("an unknown value of the system", CLIN, "type: date", "type: date, system: today", [
        "forms/clin.yaml:8: item 'surg_on': 'today' is not filled by the system"]),
    ("a factor of the system that does not exist", CLIN, "type: date", "type: date, system: factor.side", [
        "forms/clin.yaml:8: item 'surg_on': 'factor.side' is not filled by the system"]),
    ("a reserved word", CLIN, "name: kg", "name: with", [
        "forms/clin.yaml:9: item 'with': 'with' is a reserved word of SPSS, Stata, SAS or R"]),
    ("a summary of a form without rows", PAIN, "repeating: true\n", "", [
        "forms/pain.yaml:9: only a repeating form has a summary over its rows"]),
    # expressions
    ("an unknown name", PAIN, "avg > worst", "avg > worse", [
        "forms/pain.yaml:13: 'worse' is neither an item of this form nor a declared context fact"]),
    ("a condition that is a number", PAIN, "worst > 0", "worst", [
        "forms/pain.yaml:8: the expression gives a number, but a truth is needed"]),
    ("a calculation that is a text", PAIN, "worst * 2", "text(worst)", [
        "forms/pain.yaml:9: the expression gives a text, but a number is needed"]),
    ("a calculation that reads itself", PAIN, "worst * 2", "twice * 2", [
        "forms/pain.yaml:9: the calculations go in a circle: twice"]),
    ("rows outside a summary", PAIN, "worst * 2", "sum_rows(worst)", [
        "forms/pain.yaml:9: functions over rows belong in the summary or in a check"]),
    ("the arm in a form that blinded roles open", PAIN, "worst > 0", "rand_arm == 1", [
        "forms/pain.yaml:8: 'rand_arm' is neither an item of this form nor a declared context fact ('rand_arm' may be used only "
        "in a form with 'restricted: true')"]),
    ("an unknown parameter", PAIN, "worst > 0", "worst > param('none')", [
        "forms/pain.yaml:8: there is no parameter 'none' under 'params'"]),
    ("a check on another form's item", PAIN, "items: [avg]", "items: [kg]", [
        "forms/pain.yaml:13: check PAIN-01 names 'kg', which is not an item of form PAIN"]),
    ("a deviation that does not exist", PAIN, "severity: soft", "severity: alert, deviation: 9", [
        "forms/pain.yaml:13: 9 is not a type of deviation in CL_DEVTYPE"]),
    ("a table with words", TOP, '2: "1.5"', "2: many", ["protocol.yaml:23: 'many' is not a number in quotes"]),
    # allocation
    ("no probability", TOP, '  p: "4/5"\n', "", ["protocol.yaml:10: method minimisation needs 'p', or 'q' or 'p_ranks' to rank all arms"]),
    ("a decimal probability", TOP, '"4/5"', '"0.8"', [
        'protocol.yaml:13: p must be a fraction above 1/2 and at most 1, such as "4/5"']),
    ("a probability that favours nobody", TOP, '"4/5"', '"1/2"', [
        'protocol.yaml:13: p must be a fraction above 1/2 and at most 1, such as "4/5"']),
    ("a probability that is none", TOP, '"4/5"', '"1/0"', ['protocol.yaml:13: p must be a fraction in quotes, such as "4/5"']),
    ("block sizes of minimisation", TOP, '  p: "4/5"\n', '  p: "4/5"\n  sizes: [4]\n', [
        "protocol.yaml:14: 'sizes' has no meaning for method minimisation"]),
    ("a block that is not balanced", TOP,
     'method: minimisation\n  imbalance: range\n  p: "4/5"', "method: pbr\n  sizes: [4, 3]", [
        "protocol.yaml:12: block size 3 is not a multiple of 2, the sum of the ratios"]),
    ("a factor without its item", TOP, "visit: V01, item: limb", "visit: V01, item: side", [
        "protocol.yaml:16: factor 'limb': there is no item 'side' in form 'CLIN'"]),
    ("a factor that is a date", TOP, "visit: V01, item: limb", "visit: V01, item: surg_on", [
        "protocol.yaml:16: factor 'limb' must be a yes/no or coded item of a form that is filled once"]),
    ("a factor twice", TOP, "name: limb, form", "name: site, form", [
        "protocol.yaml:14: factor 'site' is given twice", "protocol.yaml:16: the factor 'site' is built in and takes no form"]),
    ("a baseline that does not exist", TOP, "  method: minimisation", "  baseline: V9\n  method: minimisation", [
        "protocol.yaml:11: there is no visit 'V9'"]),
    # keys that are also words of the checker
    ("an unknown key called value", PAIN, "message: Check both.", "message: Check both., value: 3", [
        "forms/pain.yaml:13: unknown key 'value'"]),
    ("an unknown key called key", TOP, "value: 4, source", "value: 4, key: 3, source", ["protocol.yaml:3: unknown key 'key'"]),
    ("an unknown key called _schema", TOP, "value: 4, source", "value: 4, _schema: 3, source", [
        "protocol.yaml:3: unknown key '_schema': did you mean 'scheme'?"]),
    ("a parameter without its value", TOP, "value: 4, source", "source", ["protocol.yaml:3: 'value' is missing"]),
    ("a parameter of a bad name", TOP, "  limit:", "  Limit:", [
        "protocol.yaml:3: Limit: must be lower-case letters, digits and _, at most 24, a letter first"]),
    ("a calculation that is a number", PAIN, '"worst * 2"', "5", ["forms/pain.yaml:9: value: must be text: put it in quotes"]),
    ("a short identifier", TOP, "id: demo", "id: de", [
        "protocol.yaml:1: id: must be 3 to 32 lower-case letters, digits and hyphens, a letter first and no hyphen last"]),
    # files that YAML cannot read
    ("an anchor in a form", CLIN, "title: Clinical", "title: &a Clinical", [
        "forms/clin.yaml:2: anchors and aliases (& and *) are not used here: write it out"]),
    ("an anchor in the codelists", LISTS, "1: Late", "1: &a Late", [
        "codelists.yaml:2: anchors and aliases (& and *) are not used here: write it out"]),
    ("an anchor in the protocol", TOP, "name: Northbridge", "name: &a Northbridge", [
        "protocol.yaml:8: anchors and aliases (& and *) are not used here: write it out"]),
    ("a form that is a list", CLIN, FILES[CLIN], "- 1\n", ["forms/clin.yaml:1: keys with their values are expected here"]),
    # what would unblind
    ("the arm in an open form", CLIN, "type: dec, decimals: 1, min: 20, max: 300", "type: code, codelist: CL_LIMB, system: rand_arm", [
        "forms/clin.yaml:9: item 'kg' holds the allocation: it must be restricted"]),
    ("an open item that does not unblind", CLIN, "max: 300", "max: 300, unblinds: false", [
        "forms/clin.yaml:9: item 'kg': 'unblinds' belongs to a restricted item"]),
    ("a role that does not exist", PAIN, "max: 10}", "max: 10, by: [surgery]}", [
        "forms/pain.yaml:7: by: must be one of: " + ", ".join(ROLES)]),
    ("a restricted item given by somebody blinded", CLIN, "max: 300", "max: 300, restricted: true, by: [research-nurse]", [
        "forms/clin.yaml:9: item 'kg' is restricted: 'by' names a role that is blinded"]),
    ("a restricted item in the condition of an open one", PAIN, "max: 10}", "max: 10, restricted: true}", [
        f"forms/pain.yaml:{line}: 'worst' {RESTRICTED}" for line in (8, 9)] + [
        "forms/pain.yaml:11: 'worst' is not an item of the rows of this form", f"forms/pain.yaml:13: 'worst' {RESTRICTED}"]),
    ("rows hidden by a fact", PAIN, "repeating: true", 'repeating: true\nrestricted_when: "visit_no == 2"', [
        "forms/pain.yaml:6: 'visit_no' is neither an item of this form nor a declared context fact "
        "('restricted_when' reads the answers of its own row only)"]),
    # conditions, summaries and anchors
    ("conditions in a circle", PAIN, "max: 10}", 'max: 10, show_if: "missing(avg)"}', [
        "forms/pain.yaml:7: the conditions go in a circle: worst -> avg -> worst"]),
    ("a condition on the item itself", PAIN, "max: 10}", 'max: 10, show_if: "missing(worst)"}', [
        "forms/pain.yaml:7: the conditions go in a circle: worst -> worst"]),
    ("a condition on what is calculated from the item", PAIN, "max: 10}", 'max: 10, show_if: "twice > 2"}', [
        "forms/pain.yaml:7: the conditions go in a circle: worst -> twice -> worst"]),
    ("a summary of one row", PAIN, "max_rows(worst)", "worst + 1", [
        "forms/pain.yaml:11: 'worst' is neither an item of this form nor a declared context fact "
        "(a summary reads items of the rows by functions over rows, such as sum_rows)"]),
    ("a row function over a fact", PAIN, "max_rows(worst)", "max_rows(visit_no)", [
        "forms/pain.yaml:11: 'visit_no' is not an item of the rows of this form"]),
    ("an anchor that is a number", CLIN, "surg_on, label: Day of surgery, type: date", "surg_on, label: Day, type: int", [
        "protocol.yaml:19: 'surg_date' holds no date: visits count from one"]),
    ("an anchor that is a fact of the day", TOP, "anchor: surg_date", "anchor: today", [
        "protocol.yaml:19: 'today' is not a declared context fact"]),
    ("an anchor that blinded roles may not know", CLIN, "type: date", "type: date, restricted: true", [
        "protocol.yaml:19: 'surg_date' comes from a restricted item: the schedule would show it to blinded roles"]),
    # numbers
    ("a huge parameter", TOP, "value: 4,", "value: 1.0e+40,", [
        "protocol.yaml:3: value: must have at most 15 digits before the point and 12 after it"]),
    ("a huge number in a table", TOP, '2: "1.5"', '2: "1e999999999"', [
        "protocol.yaml:23: '1e999999999' must have at most 15 digits before the point and 12 after it"]),
    ("numbers that read as missing reasons", CLIN, "min: 20", "min: -100", [
        "forms/clin.yaml:9: item 'kg': its limits admit numbers from -95 to -91, which stand for missing reasons in exports"]),
]  # fmt: skip


def _change(case: Any) -> str:
    return str(case) if isinstance(case, str) else ""


@pytest.mark.parametrize(("title", "path", "old", "new", "expected"), BAD, ids=_change)
def test_says_what_is_wrong(title: str, path: str, old: str, new: str, expected: list[str]) -> None:
    assert said(broken(FILES, path, old, new)) == expected


OPER = """\
form: OPER
title: Operation
kind: operative
restricted: true
visits: {V01: required}
items:
  - {name: side, label: Side, type: code, codelist: CL_LIMB}
  - {name: given, label: Arm given, type: code, codelist: CL_LIMB, system: rand_arm}
  - {name: right, label: As allocated, type: calc, result: yn, value: "1 if rand_arm == given else 0"}
"""


def with_fact(item: str, oper: str = OPER) -> dict[str, str]:
    """The small protocol with a restricted form, one of whose items an open form names."""
    files = {**FILES, "demo/forms/oper.yaml": oper}
    files = broken(files, TOP, "context:\n", f"context:\n  - {{name: told, form: OPER, visit: V01, item: {item}}}\n")
    return broken(files, PAIN, "worst > 0", "told == 1")


def test_a_fact_of_a_restricted_form_is_named_in_restricted_places_only() -> None:
    assert said(with_fact("side")) == [f"forms/pain.yaml:8: 'told' {RESTRICTED}"]
    closed = broken(with_fact("side"), PAIN, "type: int, show_if", "type: int, restricted: true, show_if")
    assert load_protocol(closed).form("PAIN").by_name["avg"].show_if
    assert said(broken(closed, PAIN, "items: [avg]", "items: [avg, worst]")) == [f"forms/pain.yaml:13: 'avg' {RESTRICTED}"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type: code, codelist: CL_LIMB}", "type: code, codelist: CL_LIMB, unblinds: false}"),
        ("type: code, codelist: CL_LIMB}", "type: code, codelist: CL_LIMB, system: factor.limb}"),
        ("type: code, codelist: CL_LIMB}", "type: yn, means: surgery_done}"),
    ],
)
def test_what_tells_nothing_may_be_named_anywhere(old: str, new: str) -> None:
    oper = broken({"p": OPER}, "p", old, new)["p"]
    assert load_protocol(with_fact("side", oper)).context[0].name == "told"


NEUTRAL = [
    ("a form that belongs to an arm", PAIN, "repeating: true", 'repeating: true\napplies_if: "rand_arm == 1"',
        "forms/pain.yaml:6: 'rand_arm' is neither"),
    ("a restricted form of an arm", "demo/forms/oper.yaml", "restricted: true", 'restricted: true\napplies_if: "rand_arm == 1"',
        "forms/oper.yaml:5: 'rand_arm' is neither"),
    ("a form by what was done", PAIN, "repeating: true", 'repeating: true\napplies_if: "told == 1"',
        "forms/pain.yaml:6: 'told' is neither"),
    ("a restricted form by what was done", "demo/forms/oper.yaml", "restricted: true", 'restricted: true\napplies_if: "told == 1"',
        "forms/oper.yaml:5: 'told' is neither"),
    ("a visit of an arm", TOP, "kind: scheduled,", "kind: scheduled, arm: 1,", "protocol.yaml:19: unknown key 'arm'"),
    ("a window by arm", TOP, "target: 42", 'target: "42 if rand_arm == 1 else 91"', "protocol.yaml:19: "),
    ("an anchor by arm", TOP, "anchor: surg_date", "anchor: rand_arm", "protocol.yaml:19: 'rand_arm' is not a declared context fact"),
    ("a visit that a restricted item dates", "demo/forms/oper.yaml", "type: code, codelist: CL_LIMB}\n  - {name: given",
        "type: date, means: visit_date}\n  - {name: given", "protocol.yaml:17: OPER.side is restricted: the schedule would show it"),
]  # fmt: skip


@pytest.mark.parametrize(("title", "path", "old", "new", "expected"), NEUTRAL, ids=_change)
def test_the_schedule_is_the_same_whatever_was_allocated(title: str, path: str, old: str, new: str, expected: str) -> None:
    """No visit, form, window or anchor depends on the arm, or on a restricted item that could tell something of it."""
    files = broken(with_fact("side"), PAIN, "told == 1", "worst > 0")
    load_protocol(files)
    found = said(broken(files, path, old, new))
    assert [problem for problem in found if problem.startswith(expected)], found


def test_a_restricted_item_that_tells_nothing_may_shape_the_schedule() -> None:
    """The day of the operation stands in a restricted form, and everybody knows it."""
    oper = OPER.replace("name: side, label: Side, type: code, codelist: CL_LIMB", "name: cut_on, label: Day, type: date, unblinds: false")
    files = broken(with_fact("cut_on", oper), PAIN, "told == 1", "worst > 0")
    files = broken(files, TOP, "anchor: surg_date", "anchor: told")
    visit = load_protocol(broken(files, PAIN, "repeating: true", 'repeating: true\napplies_if: "answered(told)"')).visit("V02")
    assert visit.anchor == "told"


def test_the_class_of_a_deviation_belongs_to_a_check_that_opens_one() -> None:
    broken_one = broken(FILES, PAIN, "items: [avg]", "items: [avg], class: 2")
    assert said(broken_one) == ["forms/pain.yaml:13: 'class' belongs to a check that opens a deviation: give 'deviation'"]
    check = load_protocol(broken(FILES, PAIN, "items: [avg]", "items: [avg], deviation: 1, class: 2")).form("PAIN").checks[0]
    assert (check.deviation, check.deviation_class) == (1, 2)
    assert said(broken(FILES, PAIN, "items: [avg]", "items: [avg], deviation: 1, class: 3")) == [
        "forms/pain.yaml:13: class: must be one of: 1, 2"
    ]


def test_the_allocation_is_no_fact_under_any_name() -> None:
    expected = "protocol.yaml:21: 'given' is the allocation: restricted forms name it 'rand_arm', no other may"
    assert said(with_fact("given")) == [f"forms/pain.yaml:8: 'told' {RESTRICTED}", expected]
    claimed = OPER.replace("system: rand_arm", "system: rand_arm, unblinds: false")
    assert said(with_fact("given", claimed)) == [f"forms/pain.yaml:8: 'told' {RESTRICTED}", expected]


def test_what_is_said_to_tell_nothing_is_not_calculated_from_the_allocation() -> None:
    claimed = OPER.replace("result: yn", "result: yn, unblinds: false")
    assert [message.partition(" is neither")[0] for message in said(with_fact("right", claimed))] == ["forms/oper.yaml:9: 'rand_arm'"]


def test_a_fact_of_a_form_with_hidden_rows_is_refused() -> None:
    files = broken(FILES, CLIN, "visits: {V01: required}", 'visits: {V01: required}\nrestricted_when: "limb == 1"')
    assert said(files) == ["protocol.yaml:21: form CLIN has 'restricted_when': a fact would show what is hidden"]


def test_every_problem_of_every_file_at_once() -> None:
    files = broken(FILES, PAIN, "avg > worst", "avg > worse")
    files = broken(files, CLIN, "CL_LIMB", "CL_LIMBS")
    files = broken(files, TOP, "nation: SCO", "nation: SCO, targets: 3")
    files = broken(files, LISTS, "2: Upper", "2: Lower")
    assert said(files) == [
        "codelists.yaml:1: codes 1 and 2 have the same label",
        "forms/clin.yaml:7: there is no codelist 'CL_LIMBS'",
        "forms/pain.yaml:13: 'worse' is neither an item of this form nor a declared context fact",
        "protocol.yaml:9: unknown key 'targets': did you mean 'target'?",
    ]


def test_problems_do_not_depend_on_the_order_of_files() -> None:
    files = broken(broken(FILES, PAIN, "avg > worst", "avg > worse"), CLIN, "CL_LIMB", "CL_LIMBS")
    assert said(files) == said(dict(reversed(files.items())))


def test_a_form_that_cannot_be_read_is_not_said_to_be_absent() -> None:
    assert said(broken(FILES, CLIN, "title: Clinical\n", "")) == ["forms/clin.yaml:1: 'title' is missing"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, [".:1: there is no protocol.yaml in the folder"]),
        ({CLIN: FILES[CLIN]}, ["forms/clin.yaml:1: there is no protocol.yaml in the folder"]),
        ({TOP: FILES[TOP]}, None),
    ],
)
def test_a_folder_needs_a_protocol_and_forms(files: dict[str, str], expected: list[str] | None) -> None:
    found = said(files)
    assert found == expected if expected else "protocol.yaml:1: the protocol has no form: put one file for each into forms/" in found


def test_a_form_may_use_the_arm_only_where_blinded_roles_never_open_it() -> None:
    files = broken(FILES, PAIN, "worst > 0", "rand_arm == 1")
    files = broken(files, PAIN, "repeating: true", "repeating: true\nrestricted: true")
    assert load_protocol(files).form("PAIN").restricted
    wrong = broken(files, PAIN, "rand_arm == 1", "rand_arm == 3")
    assert said(wrong) == ["forms/pain.yaml:9: 3 is not one of the codes of 'rand_arm'"]
