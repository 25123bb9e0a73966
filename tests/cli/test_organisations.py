"""Governance of the treatment pathway from the command line: notice, list, review, appraisal, and the guidance that is followed."""

import pytest

from tests.builders import TRIAL, World
from tests.cli.test_commands import Shell
from tests.pathway import AUDIT, address

AUDITOR, LEAD = address("auditor", "S01"), address("lead", "S01")
AT = ("--site", "S01")


@pytest.fixture
def shell(sqlite_audit: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(sqlite_audit.instance.settings.folder, capsys)


def test_a_year_of_an_organisation(shell: Shell) -> None:
    tell = ("organisation", "inform", AUDIT, *AT, "--on", "2026-01-05", "--text", "By letter")
    assert shell(*tell, who=LEAD)[0] == 3
    code, made = shell.json(*tell, who=AUDITOR)
    assert code == 0
    confirm = ("organisation", "confirm", AUDIT, str(made["notice"]), *AT, "--on", "2026-01-06")
    assert shell(*confirm, who=AUDITOR)[0] == 3
    assert shell(*confirm, who=LEAD)[0] == 0
    assert shell(*confirm, who=LEAD)[0] == 4
    assert shell("organisation", "procedures", AUDIT, "2026-01", "3", *AT, "--text", "Theatre list", who=AUDITOR)[0] == 0
    assert shell("organisation", "procedures", AUDIT, "January", "3", *AT, "--text", "Theatre list", who=AUDITOR)[0] == 2
    plan = ("organisation", "plan-review", AUDIT, *AT, "--on", "2999-07-01")
    assert shell.json(*plan, who=LEAD) == (0, {"review": 1, "planned_for": "2999-07-01"})
    agree = ("organisation", "agree-action", AUDIT, "1", *AT, "--text", "Look at infections")
    code, _, err = shell(*agree, who=LEAD)
    assert (code, "PATHWAY.NOT_HELD" in err) == (3, True)
    assert shell("organisation", "hold-review", AUDIT, *AT, "--on", "2026-02-02", "--text", "Minutes in the folder", who=LEAD)[0] == 0
    assert shell.json(*agree, who=LEAD) == (0, {"review": 1, "action": 1})
    close = ("organisation", "close-action", AUDIT, "1", "1", *AT, "--text", "None found")
    assert shell(*close, who=AUDITOR)[0] == 3
    assert shell(*close, who=LEAD)[0] == 0
    assert shell("organisation", "appraise", AUDIT, "1", *AT, "--on", "2026-02-03", "--text", "Own outcomes", who=AUDITOR)[0] == 0
    code, found = shell.json("organisation", "show", AUDIT, *AT, who=LEAD)
    assert (code, found["informed"], found["notices"][0]["confirmed_on"]) == (0, True, "2026-01-06")
    assert {"month": "2026-01", "procedures": 3, "audited": 0} in found["months"]
    (review,) = found["reviews"]
    assert (review["held_on"], [bool(action["closed_on"]) for action in review["actions"]]) == ("2026-02-02", [True])
    words = shell("organisation", "show", AUDIT, *AT, who=LEAD)[1]
    assert "notice confirmed" in words
    assert "review 1 action 1  closed  Look at infections" in words


def test_another_organisation_and_the_trial_are_refused(shell: Shell) -> None:
    assert shell("organisation", "show", AUDIT, "--site", "S02", who=LEAD)[0] == 3
    code, _, err = shell("organisation", "inform", TRIAL, *AT, "--on", "2026-01-05", "--text", "By letter", who=AUDITOR)
    assert (code, "PATHWAY" in err) == (3, True)


def test_other_guidance_is_followed(shell: Shell) -> None:
    manager = address("manager-of-audit", "")
    follow = ("guidance", "follow", AUDIT, "consultation-2025", "--text", "A demonstration")
    assert shell(*follow, who=LEAD)[0] == 3
    assert shell(*follow, who=manager)[0] == 0
    assert shell(*follow, who=manager)[0] == 4
    assert shell("guidance", "follow", AUDIT, "folklore", "--text", "x", who=manager)[0] == 2
