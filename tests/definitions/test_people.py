"""People files: accounts, roles, delegation, training, credentials, and every problem at once."""

from datetime import date
from typing import Any

import pytest

from tests.definitions.small import FILES, PEOPLE, broken
from trialdm.definitions.people import load_people
from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import BadDefinition

DEMO = load_protocol(FILES)


def said(text: str) -> list[str]:
    with pytest.raises(BadDefinition) as refusal:
        load_people("people.yaml", text, DEMO)
    return [str(problem) for problem in refusal.value.problems]


def test_what_is_read() -> None:
    nurse, surgeon, monitor = load_people("people.yaml", PEOPLE, DEMO)
    assert (nurse.name, nurse.roles) == ("Nurse One", (("research-nurse", "S01"),))
    assert nurse.delegations[0]["tasks"] == ["consent", "crf"]
    assert nurse.trainings[0]["on"] == date(2025, 4, 1)
    assert surgeon.email == "surgeon@example.org"
    assert surgeon.credential
    assert surgeon.credential["cases"] == 12
    assert (monitor.roles, monitor.delegations, monitor.credential) == ((("monitor", ""),), (), None)


BAD: list[Any] = [
    ("another trial", "trial: demo", "trial: other", ["people.yaml:1: this file belongs to trial 'other', not to 'demo'"]),
    ("a site that does not exist", "{role: research-nurse, site: S01}", "{role: research-nurse, site: S99}", [
        "people.yaml:5: trial demo has no site 'S99'"]),
    ("a delegation at a site that does not exist", "crf], site: S01", "crf], site: S99", [
        "people.yaml:6: trial demo has no site 'S99'"]),
    ("a site role without a site", "{role: surgeon, site: S01}", "{role: surgeon}", [
        "people.yaml:10: a surgeon works at one site: 'site' is missing"]),
    ("a trial role at a site", "{role: monitor}", "{role: monitor, site: S01}", [
        "people.yaml:12: a monitor works for the whole trial, not at a site"]),
    ("roles that do not go together", "[{role: monitor}]", "[{role: data-manager}, {role: unblinded-data-manager}]", [
        "people.yaml:12: one person cannot be unblinded-data-manager and data-manager"]),
    ("no e-mail address", "email: nurse@example.org", "email: nurse", ["people.yaml:3: email: must be an e-mail address"]),
    ("an unknown task", "[consent, crf]", "[consent, cook]", [
        "people.yaml:6: tasks: must be one of: consent, eligibility, randomise, crf, assess, operate, unblind"]),
    ("a training that is none", "kind: gcp", "kind: gdpr", ["people.yaml:7: kind: must be one of: gcp, protocol, system"]),
    ("a missing name", "    name: Nurse One\n", "", ["people.yaml:3: 'name' is missing"]),
    ("anchors", "cases: 12", "cases: &n 12", ["people.yaml:11: anchors and aliases (& and *) are not used here: write it out"]),
]  # fmt: skip


@pytest.mark.parametrize(("title", "old", "new", "expected"), BAD, ids=lambda part: part if isinstance(part, str) else "")
def test_says_what_is_wrong(title: str, old: str, new: str, expected: list[str]) -> None:
    assert said(broken({"p": PEOPLE}, "p", old, new)["p"]) == expected


@pytest.mark.parametrize(
    ("title", "old", "new", "expected"),
    [
        ("one address twice", "email: monitor@example.org", "email: NURSE@example.org", [
            "people.yaml:12: 'nurse@example.org' is given twice"]),
        ("a credential at an unknown site", "{surgeon: 7, site: S01", "{surgeon: 7, site: S99", [
            "people.yaml:11: trial demo has no site 'S99'"]),
        ("a credential that ends first", "cases: 12", "cases: 12, valid_to: 2025-04-30", [
            "people.yaml:11: it ends on 2025-04-30, before it begins on 2025-05-01"]),
        ("a delegation that ends first", "start: 2025-05-01", "start: 2025-05-01, end: 2025-04-30", [
            "people.yaml:6: it ends on 2025-04-30, before it begins on 2025-05-01"]),
        ("a training that ends first", "valid_to: 2028-04-01", "valid_to: 2025-03-31", [
            "people.yaml:7: it ends on 2025-03-31, before it begins on 2025-04-01"]),
        ("an unblinded data manager who is blinded", "[{role: monitor}]", "[{role: unblinded-data-manager}, {role: trial-coordinator}]", [
            "people.yaml:12: one person cannot be unblinded-data-manager and trial-coordinator"]),
        ("one surgeon's number for two people", "roles: [{role: monitor}]",
         "roles: [{role: monitor}], credential: {surgeon: 7, site: S01, valid_from: 2025-05-01, cases: 1}", [
            "people.yaml:12: surgeon 7 is given twice"]),
        ("the old key of a training", "date: 2025-04-01", '"on": 2025-04-01', [
            "people.yaml:7: 'date' is missing", "people.yaml:7: unknown key 'on'"]),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_says_what_does_not_fit_together(title: str, old: str, new: str, expected: list[str]) -> None:
    assert said(broken({"p": PEOPLE}, "p", old, new)["p"]) == expected
