"""Ethics folders: approvals and documents as they are recorded, and every problem at once."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.definitions.small import ETHICS, FILES, broken
from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.registers import load_ethics
from trialdm.definitions.sources import BadDefinition, read_folder

ROOT = Path(__file__).parents[2]
DEMO = load_protocol(FILES)
APPROVALS, DOCUMENTS = ETHICS


def said(files: dict[str, str]) -> list[str]:
    with pytest.raises(BadDefinition) as refusal:
        load_ethics(files, DEMO)
    return [str(problem).removeprefix("demo/") for problem in refusal.value.problems]


def test_the_shipped_register_loads() -> None:
    protocol = load_protocol(read_folder(ROOT / "protocols" / "pre-tmr"))
    ethics = load_ethics(read_folder(ROOT / "ethics" / "pre-tmr"), protocol)
    assert (len(ethics.approvals), len(ethics.documents)) == (50, 6)
    assert {a.site for a in ethics.approvals if a.body == "site_greenlight"} == {site.code for site in protocol.sites}


def test_what_is_read() -> None:
    ethics = load_ethics(ETHICS, DEMO)
    assert [a.body for a in ethics.approvals] == ["rec", "hra_hcrw", "site_cc"]
    assert ethics.approvals[0].starts == date(2025, 2, 24)
    assert ethics.approvals[1].nations == ("ENG",)
    assert ethics.documents[1].sites == {"S02": date(2025, 10, 1)}
    assert ethics.documents[1].approved_on is None
    assert ethics.documents[0].nations == ("ENG", "WAL", "SCO", "NIR")
    assert ethics.documents[0].title == "PIS v1.0 (2025-01-20)"


def test_every_date_can_be_shifted() -> None:
    moved = load_ethics(ETHICS, DEMO, shift=timedelta(days=10))
    assert moved.approvals[0].decided_on == date(2025, 3, 6)
    assert moved.approvals[2].agreement_signed_on == date(2025, 5, 11)
    assert moved.documents[1].sites == {"S02": date(2025, 10, 11)}
    assert moved.documents[1].dated == date(2025, 6, 30)


BAD: list[Any] = [
    ("another trial", APPROVALS, "trial: demo", "trial: other", [
        "approvals.yaml:1: this file belongs to trial 'other', not to 'demo'"]),
    ("documents of another trial", DOCUMENTS, "trial: demo", "trial: other", [
        "documents.yaml:1: this file belongs to trial 'other', not to 'demo'"]),
    ("a site that does not exist", APPROVALS, "site: S01", "site: S99", ["approvals.yaml:5: trial demo has no site 'S99'"]),
    ("a site of a document that does not exist", DOCUMENTS, "{S02:", "{S99:", [
        "documents.yaml:4: trial demo has no site 'S99'"]),
    ("a site decision without its site", APPROVALS, "site: S01, ", "", [
        "approvals.yaml:5: site_cc is a decision about one site: 'site' is missing"]),
    ("a site where none belongs", APPROVALS, "body: rec,", "body: rec, site: S01,", [
        "approvals.yaml:3: rec is not a decision about one site"]),
    ("an unknown body", APPROVALS, "body: rec,", "body: nice,", [
        "approvals.yaml:3: body: must be one of: rec, hra_hcrw, nrs, hsc, mhra, cag, registry, insurance, dpia, sponsor, sap, "
        "dmc, tsc, coenrolment, site_cc, site_siv, site_greenlight"]),
    ("a status of another body", APPROVALS, "status: favourable", "status: granted", [
        "approvals.yaml:3: rec cannot be 'granted': one of not_submitted, submitted, valid, further_information, favourable, "
        "favourable_with_conditions, unfavourable, withdrawn, suspended"]),
    ("a bad REC reference", APPROVALS, "25/NE/0123", "2025/NE/123", [
        "approvals.yaml:3: '2025/NE/123' is not a REC reference such as 25/NE/0123"]),
    ("a REC reference in small letters", APPROVALS, "25/NE/0123", "25/ne/0123", [
        "approvals.yaml:3: '25/ne/0123' is not a REC reference such as 25/NE/0123"]),
    ("a bad IRAS number", APPROVALS, '"312345"', '"31234a"', [
        "approvals.yaml:4: '31234a' is not an IRAS number of five to seven digits"]),
    ("an IRAS number without quotes", APPROVALS, '"312345"', "312345", ["approvals.yaml:4: ref: must be text: put it in quotes"]),
    ("a bad registry number", APPROVALS, "",
     "  - {body: registry, ref: ISRCTN1234567, status: registered, decided_on: 2025-03-01}\n", [
        "approvals.yaml:6: 'ISRCTN1234567' is not ISRCTN or NCT and eight digits"]),
    ("no date", APPROVALS, ", decided_on: 2025-02-24", "", [
        "approvals.yaml:3: a decision needs a date: decided_on, effective_from or submitted_on"]),
    ("an end before the start", APPROVALS, "decided_on: 2025-02-24", "decided_on: 2025-02-24, effective_to: 2025-02-23", [
        "approvals.yaml:3: it ends on 2025-02-23, before it begins on 2025-02-24"]),
    ("a date in quotes", APPROVALS, "2025-02-24", '"2025-02-24"', [
        "approvals.yaml:3: decided_on: must be a date such as 2026-03-01, without quotes"]),
    ("a day that does not exist", APPROVALS, "2025-02-24", "2025-02-29", [
        "approvals.yaml:3: '2025-02-29' is not a date such as 2026-03-01",
        "approvals.yaml:3: decided_on: field may not be null"]),
    ("an unknown nation", APPROVALS, "[ENG]", "[GB]", ["approvals.yaml:4: nations: must be one of: ENG, WAL, SCO, NIR"]),
    ("a document twice", DOCUMENTS, "code: 2", "code: 1", ["documents.yaml:4: PIS 1 is given twice"]),
    ("a version that is none", DOCUMENTS, 'version: "2.0"', 'version: "2"', ['documents.yaml:4: version: must be like "1.0"']),
    ("superseded before it is in use", DOCUMENTS, "effective_from: 2025-03-10", "effective_from: 2025-03-10, superseded_on: 2025-03-09",
     ["documents.yaml:3: it is superseded before it is in use"]),
    ("a misspelt key", DOCUMENTS, "approved_on", "aproved_on", [
        "documents.yaml:3: unknown key 'aproved_on': did you mean 'approved_on'?"]),
    ("a file that has no place", "demo/people.yaml", "", "trial: demo", [
        "people.yaml:1: this file has no place in an ethics folder: approvals.yaml, documents.yaml"]),
    ("an unreadable file", APPROVALS, "status: favourable", "status: &a favourable", [
        "approvals.yaml:3: anchors and aliases (& and *) are not used here: write it out"]),
    ("a decision that is only submitted", APPROVALS, "decided_on: 2025-02-24", "submitted_on: 2025-02-24", [
        "approvals.yaml:3: 'favourable' needs the day of the decision: decided_on or effective_from"]),
]  # fmt: skip


@pytest.mark.parametrize(("title", "path", "old", "new", "expected"), BAD, ids=lambda part: part if isinstance(part, str) else "")
def test_says_what_is_wrong(title: str, path: str, old: str, new: str, expected: list[str]) -> None:
    assert said(broken(ETHICS, path, old, new)) == expected


def test_problems_of_both_files_at_once() -> None:
    files = broken(broken(ETHICS, APPROVALS, "site: S01", "site: S99"), DOCUMENTS, "code: 2", "code: 1")
    assert said(files) == ["approvals.yaml:5: trial demo has no site 'S99'", "documents.yaml:4: PIS 1 is given twice"]
