"""Reports of the treatment pathway from the command line."""

from datetime import date
from pathlib import Path

import pytest

from tests.builders import TRIAL, World, email
from tests.cli.test_commands import Shell
from tests.pathway import AUDIT, address, case, notified, operated


@pytest.fixture
def shell(sqlite_audit: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    world = notified(sqlite_audit)
    operated(world, case(world), date(2025, 11, 3))
    return Shell(world.instance.settings.folder, capsys)


LEAD = address("lead", "S01")


def test_the_three_reports_are_written(shell: Shell, tmp_path: Path) -> None:
    table, appraisal, pack = tmp_path / "set.csv", tmp_path / "appraisal.html", tmp_path / "pack.html"
    assert shell("report", "RP-17", AUDIT, "--out", str(table), who=LEAD)[0] == 0
    assert [line.split(",")[1] for line in table.read_text("utf-8").splitlines()] == ["audit_id", "S01-A-0001"]
    assert shell("report", "RP-18", AUDIT, "--operator", "1", "--out", str(appraisal), who=LEAD)[0] == 0
    assert shell("report", "RP-19", AUDIT, "--site", "S01", "--out", str(pack), who=LEAD)[0] == 0
    assert "annual appraisal of Auditor S01" in appraisal.read_text("utf-8")
    assert "Agenda" in pack.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("RP-17", TRIAL, "--out", "x.csv"), 3, "PATHWAY.TRIAL: PRE-TMR is a trial: its participants are never pooled"),
        (("RP-18", TRIAL, "--out", "x.html"), 3, "PATHWAY.TRIAL"),
        (("RP-19", TRIAL, "--out", "x.html"), 3, "PATHWAY.TRIAL"),
        (("RP-18", AUDIT, "--out", "x.html"), 2, "REPORT.OPERATOR"),
        (("RP-19", AUDIT, "--out", "x.html"), 2, "REPORT.SITE"),
        (("RP-17", AUDIT, "--out", "x.html"), 2, "must end in .csv"),
        (("RP-18", AUDIT, "--operator", "1", "--out", "x.csv"), 2, "must end in .html"),
        (("balance", AUDIT, "--out", "x.html"), 3, "ROLE.ALLOCATION.BALANCE"),
    ],
)
def test_what_is_refused(shell: Shell, tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    given = [str(tmp_path / word) if word.startswith("x.") else word for word in words]
    found, _, err = shell("report", *given, who=LEAD)
    assert found == code
    assert said in err
    assert list(tmp_path.glob("x.*")) == []


def test_a_role_of_the_trial_writes_none(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("report", "RP-17", AUDIT, "--out", str(tmp_path / "x.csv"), who=email("chief-investigator", ""))
    assert code == 3
    assert "ROLE.CASE.REPORT" in err


def test_nobody_is_allocated(shell: Shell) -> None:
    for words in (("allocation", "commit", AUDIT), ("allocation", "ledger", AUDIT, "--out", "x.json")):
        code, _, err = shell(*words, who=email("trial-manager", ""))
        assert code == 2
        assert "ALLOC.NO_SCHEME" in err
