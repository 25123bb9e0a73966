"""derivations.yaml: what loads, what is refused with its line, and what becomes restricted by what it reads."""

from typing import Any

import pytest

from tests.definitions.small import FILES, broken
from tests.definitions.test_protocols import said
from trialdm.definitions.protocols import load_protocol
from trialdm.domain import versions
from trialdm.domain.protocol import Protocol

PATH = "demo/derivations.yaml"

SMALL = """\
derivations:
  - {name: heavy, label: Heavy, type: yn, per: participant, value: 'at("V01", CLIN.kg) > 100', meaning: Over 100 kg., source: Plan}
  - {name: bad, label: Bad, type: yn, per: visit, value: "PAIN.all_worst >= 7", meaning: Seven or more., source: Plan}
  - {name: bad_late, label: Bad at V02, type: yn, per: participant, value: 'at("V02", bad) == 1', meaning: At 6 weeks., source: Plan}
  - {name: rows_bad, label: Rows, type: int, per: participant, over: PAIN, take: count, where: "worst >= 7", meaning: Count., source: Plan}
  - {name: surg_day, label: Day, type: int, per: participant, value: "days(rand_date, surg_date)", meaning: Days., source: Plan}
"""

WITH = {**FILES, PATH: SMALL}


def loaded(old: str = "", new: str = "", path: str = PATH) -> Protocol:
    return load_protocol(broken(WITH, path, old, new) if old else WITH)


def restricted(protocol: Protocol) -> set[str]:
    return {one.name for one in protocol.derivations if one.restricted}


def test_derived_items_load_in_their_order_and_none_is_restricted() -> None:
    protocol = loaded()
    assert [one.name for one in protocol.derivations] == ["heavy", "bad", "bad_late", "rows_bad", "surg_day"]
    assert restricted(protocol) == set()
    assert protocol.derivations[0].item.holds == "yn"
    assert load_protocol(FILES).derivations == ()


CLIN, PAIN, ROWS = "demo/forms/clin.yaml", "demo/forms/pain.yaml", {"bad", "bad_late", "rows_bad"}
#: What is made restricted, and what becomes restricted by it however many steps away.
RESTRICTING: list[tuple[str, str, str, str, set[str]]] = [
    ("an item", CLIN, "min: 20, max: 300}", "min: 20, max: 300, restricted: true}", {"heavy"}),
    ("a form, and what reads what reads it", PAIN, "repeating: true", "repeating: true\nrestricted: true", ROWS),
    ("some rows of a form", PAIN, "repeating: true", 'repeating: true\nrestricted_when: "worst == 9"', ROWS),
    ("the allocation", PATH, "> 100'", "> 100 and rand_arm == 1'", {"heavy"}),
    ("a context fact", CLIN, "surgery, type: date}", "surgery, type: date, restricted: true}", {"surg_day"}),
    ("rows that are only counted", PAIN, "repeating: true", "repeating: true\nrestricted: true", ROWS),
]  # fmt: skip


@pytest.mark.parametrize(("what", "path", "old", "new", "hidden"), RESTRICTING, ids=lambda part: part if isinstance(part, str) else "")
def test_one_restricted_answer_behind_it_hides_a_derived_item(what: str, path: str, old: str, new: str, hidden: set[str]) -> None:
    files = {**WITH, PATH: SMALL.replace(', where: "worst >= 7"', "") if "counted" in what else SMALL}
    if what == "a context fact":  # the schedule may not count from it either
        files["demo/protocol.yaml"] = files["demo/protocol.yaml"].replace("anchor: surg_date, fallback: rand_date", "anchor: rand_date")
    assert restricted(load_protocol(broken(files, path, old, new))) == hidden


def test_what_tells_nothing_leaves_it_open() -> None:
    harmless = "min: 20, max: 300, restricted: true, unblinds: false}"
    assert restricted(loaded("min: 20, max: 300}", harmless, "demo/forms/clin.yaml")) == set()


LINE = "derivations.yaml:2: "
HEAVY = "label: Heavy, type: yn, per: participant, value: 'at(\"V01\", CLIN.kg) > 100'"
AT = "(an answer of CLIN at a visit at which it is filled: 'at(\"VISIT\", CLIN.ITEM)'; in a value per visit 'CLIN.ITEM')"

#: (what is wrong, old text, new text, every problem)
BAD: list[Any] = [
    ("an unknown name", "at(\"V01\", CLIN.kg) > 100", "weight > 100", ["'weight' is neither a derived item nor a fact"]),
    ("an unknown item", "CLIN.kg", "CLIN.lb", [f"'at(\"V01\", CLIN.lb)' cannot be read here {AT}"]),
    ("an unknown visit", '"V01", CLIN.kg', '"V09", CLIN.kg', [f"'at(\"V09\", CLIN.kg)' cannot be read here {AT}"]),
    ("a form that is not filled at the visit", '"V01", CLIN.kg', '"V02", CLIN.kg', [f"'at(\"V02\", CLIN.kg)' cannot be read here {AT}"]),
    ("an answer without its visit", 'at("V01", CLIN.kg)', "CLIN.kg", [f"'CLIN.kg' is not part of the expression language {AT}"]),
    ("an answer of a row", 'at("V01", CLIN.kg)', 'at("V02", PAIN.worst)', [
        "'at(\"V02\", PAIN.worst)' cannot be read here (form PAIN has rows: read its summary, or go 'over' it)"]),
    ("today", 'at("V01", CLIN.kg) > 100', "days(rand_date, today) > 1", ["'today' is neither a derived item nor a fact"]),
    ("another type", "type: yn, per: participant, value: 'at(\"V01\", CLIN.kg) > 100'",
     "type: date, per: participant, value: 'at(\"V01\", CLIN.kg) > 100'", ["the expression gives a truth, but a date is needed"]),
    ("a code that is none", "CLIN.kg) > 100", "CLIN.limb) == 3", ["3 is not one of the codes of 'at(\"V01\", CLIN.limb)'"]),
    ("a long name", "name: heavy", "name: heavier_than_one_hundred_kg", [
        "name: must be lower-case letters, digits and _, at most 24, a letter first"]),
    ("the name of an item", "name: heavy", "name: limb", ["'limb' is already item 'limb' of form CLIN"]),
    ("the name of a column of an item", "name: heavy", "name: surg_on_mr", ["'surg_on_mr' is already item 'surg_on' of form CLIN"]),
    ("the name of a fact", "name: heavy", "name: surg_date", ["'surg_date' is already a context fact"]),
    ("a key of exports", "name: heavy", "name: site", ["'site' is already a key column of exports"]),
    ("a reserved word", "name: heavy", "name: byte", ["'byte' is already a reserved word of SPSS, Stata, SAS or R"]),
    ("a code without choices", HEAVY,
     "label: Heavy, type: code, per: participant, value: 'at(\"V01\", CLIN.limb)'", [
         "'heavy': its choices are missing: give 'codelist' or 'codes'"]),
    ("choices of a yes", "label: Heavy,", "label: Heavy, codes: {1: A},", ["'heavy': a yn takes no choices"]),
    ("a unit of a yes", "label: Heavy,", "label: Heavy, unit: kg,", ["'heavy': a unit belongs to a number, not to a yn"]),
    ("decimals of a yes", "label: Heavy,", "label: Heavy, decimals: 1,", ["'heavy': 'decimals' belongs to a dec"]),
    ("no value", ", value: 'at(\"V01\", CLIN.kg) > 100'", "", ["'heavy': 'value' is missing"]),
    ("rows without what is taken", "label: Heavy,", "label: Heavy, over: PAIN,", ["'heavy': 'over' and 'take' go together"]),
    ("where without rows", "label: Heavy,", "label: Heavy, where: 'rand_arm == 1',", [
        "'heavy': 'where' says which rows count: give 'over' and 'take'"]),
    ("rows of no form", HEAVY,
     "label: Heavy, type: yn, per: participant, over: NONE, take: any", ["there is no form 'NONE'"]),
    ("visits of a visit", HEAVY,
     "label: Heavy, type: yn, per: visit, over: visits, take: any", ["'heavy': a value per visit cannot go over the visits"]),
    ("a count as a yes", HEAVY,
     "label: Heavy, type: yn, per: participant, over: PAIN, take: count", ["'heavy': 'count' gives a int, not a yn"]),
    ("a value where there is none to take", HEAVY,
     "label: Heavy, type: yn, per: participant, over: PAIN, take: any, value: worst", [
         "'heavy': 'any' takes no 'value': 'where' says which rows count"]),
    ("an unknown codelist", HEAVY,
     "label: Heavy, type: code, codelist: CL_NONE, per: participant, value: 'at(\"V01\", CLIN.limb)'", ["there is no codelist 'CL_NONE'"]),
    ("itself", 'at("V01", CLIN.kg) > 100', "heavy == 1", ["the derivations go in a circle: heavy -> heavy"]),
    ("a circle over a visit", 'at("V01", CLIN.kg) > 100', "bad_late == 1 and rows_bad > surg_day and heavy == 0", [
        "the derivations go in a circle: heavy -> heavy"]),
    ("an unknown key", "label: Heavy,", "lable: Heavy, label: H,", ["unknown key 'lable': did you mean 'label'?"]),
    ("no sentence", "meaning: Over 100 kg., ", "", ["'meaning' is missing"]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "old", "new", "problems"), BAD, ids=[bad[0] for bad in BAD])
def test_what_is_wrong_is_said_with_its_line(what: str, old: str, new: str, problems: list[str]) -> None:
    assert [problem.removeprefix(LINE) for problem in said(broken(WITH, PATH, old, new))] == problems


def test_a_longer_circle_names_its_steps() -> None:
    files = {**WITH, PATH: SMALL.replace("PAIN.all_worst >= 7", "bad_late == 1")}
    assert said(files) == ["derivations.yaml:3: the derivations go in a circle: bad -> bad_late -> bad"]


def test_two_of_one_name_are_refused() -> None:
    files = broken(WITH, PATH, "name: bad,", "name: heavy,")
    assert "derivations.yaml:3: 'heavy' is already another derived item" in said(files)


def test_nothing_is_said_of_names_while_a_form_cannot_be_read() -> None:
    files = broken(WITH, "demo/forms/clin.yaml", "title: Clinical\n", "")
    assert said(files) == ["forms/clin.yaml:1: 'title' is missing"]


def test_versions_compare_derived_items() -> None:
    changed = loaded("> 100'", "> 120'")
    found = [(one.kind, one.place, one.what, one.effect) for one in versions.compare(loaded(), changed)]
    assert found == [("derived item", "heavy", "calculation", "alters")]
    gone = load_protocol(FILES)
    assert {one.effect for one in versions.compare(loaded(), gone)} == {"alters"}
    assert {one.effect for one in versions.compare(gone, loaded())} == {"adds"}
    worded = loaded("Over 100 kg.", "More than 100 kg.")
    assert [(one.what, one.effect) for one in versions.compare(loaded(), worded)] == [("meaning", "none")]
    retyped = loaded('type: int, per: participant, value: "days', 'type: dec, per: participant, value: "days')
    assert {one.effect for one in versions.compare(loaded(), retyped)} == {"alters"}
