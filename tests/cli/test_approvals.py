"""The commands about approvals, documents and modifications, and the reports on them, as an operator types them."""

import hashlib
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests import builders
from tests.builders import TRIAL, World
from tests.cli.test_commands import Shell

MANAGER, SPONSOR, NURSE = builders.email("trial-manager", ""), builders.email("sponsor", ""), builders.email("research-nurse", "S01")
PRINCIPAL = builders.email("principal-investigator", "S01")
LETTER = b"%PDF The committee gives a favourable opinion."
RECORD = (
    "approval", "record", TRIAL, "rec", "favourable_with_conditions", "--ref", "26/NE/0009", "--decided", "2026-03-02",
    "--supersedes", "25/NE/0001", "--before-start", "Name the adviser", "--condition", "Send a summary",
)  # fmt: skip


@pytest.fixture
def shell(sqlite_world: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(sqlite_world.instance.settings.folder, capsys)


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    file = tmp_path / "opinion.pdf"
    file.write_bytes(LETTER)
    return file


def test_a_decision_is_recorded_with_its_letter_checked_and_its_condition_met(shell: Shell, letter: Path) -> None:
    digest = hashlib.sha256(LETTER).hexdigest()
    wrong = ("--letter", str(letter), "--sha256", "ab" * 32)
    code, _, err = shell(*RECORD, *wrong, who=MANAGER)
    assert (code, "REGISTER.HASH" in err, "the digest of this file" in err) == (3, True, True)
    code, made = shell.json(*RECORD, "--letter", str(letter), "--sha256", digest, who=MANAGER)
    assert (code, made["letter"], made["sha256"], made["waits_for_check"]) == (0, "opinion.pdf", digest, True)
    number = str(made["number"])
    code, _, err = shell(*RECORD, "--letter", str(letter), who=MANAGER)
    assert (code, f"on record already, as number {number}" in err) == (4, True)
    code, _, err = shell("approval", "check", TRIAL, number, who=MANAGER)
    assert (code, "REGISTER.OWN" in err) == (3, True)
    assert [row["number"] for row in shell.json("approval", "list", TRIAL, "--waiting", who=NURSE)[1]] == [made["number"]]
    assert shell("approval", "check", TRIAL, number, who=SPONSOR)[0] == 0
    assert shell("approval", "check", TRIAL, number, who=SPONSOR)[0] == 4
    assert shell("approval", "meet", TRIAL, number, "1", "--on", "2026-03-03", "--evidence", "Letter of that day", who=MANAGER)[0] == 0
    assert shell("approval", "meet", TRIAL, number, "3", "--on", "2026-03-03", "--evidence", "x", who=MANAGER)[0] == 2
    code, rows = shell.json("approval", "list", TRIAL, who=NURSE)
    found = rows[-1]
    assert (code, found["checked_by"], [c["met_on"] for c in found["conditions"]]) == (0, "Sponsor", ["2026-03-03", None])
    assert "favourable with conditions 26/NE/0009" in shell("approval", "list", TRIAL, who=NURSE)[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("approval", "record", TRIAL, "rec", "granted", "--decided", "2026-03-02"), 2, "REGISTER.STATUS"),
        (("approval", "record", TRIAL, "council", "granted"), 2, "is not one of"),
        (("approval", "record", TRIAL, "dpia", "signed", "--decided", "2999-01-01"), 3, "REGISTER.FUTURE"),
        (("approval", "record", TRIAL, "dpia", "signed", "--decided", "soon"), 2, "'soon' is not a date"),
        (("approval", "record", TRIAL, "dpia", "signed", "--decided", "2026-03-01", "--sha256", "ab"), 2, "REGISTER.HASH"),
        (("approval", "check", TRIAL, "999"), 2, "REGISTER.UNKNOWN"),
        (("document", "revoke", TRIAL, "ICF", "9", "--reason", "x"), 2, "REGISTER.UNKNOWN"),
        (("modification", "step", TRIAL, "SM09", "submit"), 2, "MODIFICATION.UNKNOWN"),
    ],
)
def test_what_is_refused(shell: Shell, words: tuple[str, ...], code: int, said: str) -> None:
    found, _, err = shell(*words, who=MANAGER)
    assert (found, said in err) == (code, True), err
    if found == 3:
        assert shell(*words, who=NURSE)[0] == 3


def test_a_version_of_a_document_from_its_record_to_its_end(shell: Shell, letter: Path) -> None:
    later, end = (str(date.today() + timedelta(days=days)) for days in (7, 30))
    add = ("document", "record", TRIAL, "ICF", "3.0", "--dated", "2026-02-20", "--from", later)
    code, _, err = shell(*add, "--approved", "2026-03-01", who=MANAGER)
    assert (code, "GATE.GOV-22" in err) == (3, True)
    assert shell.json(*add, "--file", str(letter), who=MANAGER) == (0, {"kind": "ICF", "code": 3, "version": "3.0"})
    assert shell(*add, who=MANAGER)[0] == 4
    ask = ("modification", "propose", TRIAL, "NSM1", "--title", "Wording", "--change", "wording", "--class", "minor", "--category", "C")
    assert shell(*ask, "--document", "ICF:3", "--tool", str(letter), who=MANAGER)[0] == 0
    assert shell("document", "take-up", TRIAL, "ICF", "3", "--site", "S01", "--on", str(date.today()), who=PRINCIPAL)[0] == 0
    assert shell("document", "take-up", TRIAL, "ICF", "3", "--site", "S02", who=PRINCIPAL)[0] == 3
    assert shell("document", "revoke", TRIAL, "ICF", "3", "--on", end, "--reason", "A wrong number", who=MANAGER)[0] == 0
    assert shell("document", "revoke", TRIAL, "ICF", "3", "--reason", "again", who=MANAGER)[0] == 4
    (found,) = [row for row in shell.json("document", "list", TRIAL, who=NURSE)[1] if row["code"] == 3]
    assert (found["sites"]["S01"], found["sites"]["S02"], found["revoked_on"]) == (str(date.today()), later, end)
    assert f"revoked {end}" in shell("document", "list", TRIAL, who=NURSE)[1]


def test_a_modification_from_proposal_to_practice(shell: Shell, letter: Path) -> None:
    ask = ("modification", "propose", TRIAL, "SM01", "--title", "A new end point", "--change", "end_points", "--category", "A")
    assert shell(*ask, "--class", "substantial", who=MANAGER)[0] == 2, "without the output of the tool"
    code, _, err = shell(*ask, "--class", "minor", "--tool", str(letter), who=MANAGER)
    assert (code, "GATE.GOV-23" in err) == (2, True)
    assert shell(*ask, "--class", "substantial", "--tool", str(letter), who=MANAGER)[0] == 0
    assert shell(*ask, "--class", "substantial", "--tool", str(letter), who=MANAGER)[0] == 4
    step = ("modification", "step", TRIAL, "SM01")
    assert shell(*step, "submit", who=MANAGER)[0] == 0
    assert shell(*step, "validate", who=MANAGER)[0] == 0
    code, _, err = shell(*step, "favourable", who=MANAGER)
    assert (code, "REGISTER.OWN" in err) == (3, True)
    assert shell(*step, "favourable", who=SPONSOR)[0] == 0
    assert shell(*step, "notify", "--site", "S01", who=SPONSOR)[0] == 0
    code, _, err = shell(*step, "implement", "--site", "S01", who=SPONSOR)
    assert (code, "GATE.GOV-24" in err, "to raise an objection" in err) == (3, True, True)
    assert shell.json(*step, "agree", "--site", "S01", who=PRINCIPAL) == (0, {"ref": "SM01", "site": "S01", "state": "agreed"})
    assert shell(*step, "implement", "--site", "S01", who=PRINCIPAL)[0] == 0
    (row,) = shell.json("modification", "list", TRIAL, who=NURSE)[1]
    assert (row["state"], row["sites"]["S01"], row["sites"]["S02"]) == ("favourable", "implemented", "not_told")
    assert "in practice at 1 of 14 sites" in shell("modification", "list", TRIAL, who=NURSE)[1]
    assert shell(*ask[:-1], "A", "--class", "substantial", "--tool", str(letter), "--document", "ICF", who=MANAGER)[0] == 2


# --- reports ---------------------------------------------------------------------------------------------------------


def test_the_report_on_approvals_and_documents(shell: Shell, sqlite_world: World, tmp_path: Path) -> None:
    out = tmp_path / "rp13.html"
    shell(*RECORD, who=MANAGER)
    until = (sqlite_world.now.date() + timedelta(days=-1)).isoformat()
    add = ("approval", "record", TRIAL, "insurance", "in_force", "--ref", "IND-2", "--decided", "2025-02-01", "--to", until)
    assert shell(*add, "--supersedes", "", "--ref", "", who=MANAGER)[0] == 0
    assert shell("report", "RP-13", TRIAL, "--out", str(out), who=SPONSOR)[0] == 0
    text = out.read_text("utf-8")
    for words in (
        "PRE-TMR: approvals and documents",
        "S01 Northbridge Royal Infirmary",
        "v2.0, from 2026-02-02",
        "Insurance or indemnity",
        "Name the adviser",
        "26/NE/0009",
        "Statistical analysis plan",
        "Deadlines that are not met",
    ):
        assert words in text, words
    assert oct(out.stat().st_mode & 0o777) == "0o600"
    assert shell("report", "RP-13", TRIAL, "--out", str(tmp_path / "x.html"), who="admin@trial.example")[0] == 3
    assert not (tmp_path / "x.html").exists()


def test_the_report_on_training_and_delegation(shell: Shell, sqlite_world: World, tmp_path: Path) -> None:
    out = tmp_path / "rp14.html"
    add = ("training", "add", TRIAL, NURSE, "--kind", "protocol", "--on", "2026-03-01")
    until = (sqlite_world.now.date() + timedelta(days=3000)).isoformat()
    assert shell(*add, "--to", until, who=MANAGER)[0] == 0
    assert shell("report", "RP-14", TRIAL, "--out", str(out), who=MANAGER)[0] == 0
    text = out.read_text("utf-8")
    for words in ("Within 30 days", "Within 60 days", "Nobody for assessing outcomes blinded", "the protocol", until, "Research-Nurse S01"):
        assert words in text, words
    assert shell("report", "RP-14", TRIAL, "--out", str(out), who=builders.email("statistician-blinded", ""))[0] == 3
    mine = tmp_path / "mine.html"
    assert shell("report", "RP-14", TRIAL, "--out", str(mine), who=PRINCIPAL)[0] == 0
    assert "S02" not in mine.read_text("utf-8")
