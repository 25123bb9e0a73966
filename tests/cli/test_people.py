"""The commands about people, as an operator types them."""

import json
from pathlib import Path

import pytest

from tests import builders
from tests.builders import TRIAL, World
from tests.cli.test_commands import Shell

MANAGER, NURSE, SECOND = builders.email("trial-manager", ""), builders.email("research-nurse", "S01"), "second@trial.example"
PRINCIPAL = builders.email("principal-investigator", "S01")


@pytest.fixture
def shell(sqlite_world: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    found = Shell(sqlite_world.instance.settings.folder, capsys)
    role = ("--role", "research-nurse", "--site", "S01", "--trial", TRIAL)
    code, made = found.json("user", "add", SECOND, "--name", "Second Nurse", *role, who=MANAGER)
    assert (code, found("user", "password", made["code"])[0]) == (0, 0)
    return found


def test_a_line_from_its_proposal_to_its_end(shell: Shell) -> None:
    ask = ("delegation", "propose", TRIAL, SECOND, "--task", "consent", "--task", "crf", "--site", "S01")
    code, made = shell.json(*ask, who=PRINCIPAL)
    assert (code, made["state"]) == (0, "signature")
    line = made["id"]
    assert shell("delegation", "countersign", TRIAL, line, who=SECOND)[0] == 3
    code, _, err = shell("delegation", "sign", TRIAL, line, who=NURSE)
    assert (code, "PEOPLE.NOT_OWN" in err) == (3, True)
    assert shell("delegation", "sign", TRIAL, line, who=SECOND)[0] == 0
    assert shell.json("delegation", "countersign", TRIAL, line, who=PRINCIPAL) == (0, {"id": line, "warnings": []})
    code, rows = shell.json("delegation", "list", TRIAL, "--site", "S01", who=NURSE)
    assert [row["state"] for row in rows if row["id"] == line] == ["in_force"]
    code, _, err = shell("delegation", "end", TRIAL, line, "--on", "2020-01-01", who=MANAGER)
    assert (code, "PEOPLE.END_PAST" in err) == (3, True)
    code, ended = shell.json("delegation", "end", TRIAL, line, who=SECOND)
    assert (code, len(ended["ends"])) == (0, 10)
    assert "Ended: consent, crf" in shell("delegation", "list", TRIAL, who=MANAGER)[1]


def test_a_line_is_declined(shell: Shell) -> None:
    _, made = shell.json("delegation", "propose", TRIAL, SECOND, "--task", "crf", "--site", "S01", who=MANAGER)
    assert shell("delegation", "decline", TRIAL, made["id"], who=SECOND)[0] == 2
    assert shell("delegation", "decline", TRIAL, made["id"], "--reason", "Not trained yet", who=SECOND)[0] == 0


def test_who_could(shell: Shell) -> None:
    code, rows = shell.json("who", TRIAL, "operate", "--site", "S01", "--on", "2026-03-10", who=NURSE)
    assert (code, [(row["person"].split(".")[0], row["allowed"]) for row in rows]) == (
        0,
        [("surgeon", True), ("principal-investigator", False)],
    )
    assert "no credential for TMR" in shell("who", TRIAL, "operate", "--site", "S01", who=NURSE)[1]
    assert shell("who", TRIAL, "operate", "--site", "S02", who=NURSE)[0] == 3
    assert shell("who", TRIAL, "dance", "--site", "S01", who=NURSE)[0] == 2


def test_training_and_credentials(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "certificate.pdf"
    file.write_bytes(b"%PDF certificate")
    add = ("training", "add", TRIAL, NURSE, "--kind", "gcp", "--on", "2026-03-01", "--certificate", str(file))
    assert shell(*add, who=MANAGER)[0] == 0
    assert shell(*add, who=PRINCIPAL)[0] == 3
    assert shell(*add[:-1], str(tmp_path / "none.pdf"), who=MANAGER)[0] == 2
    surgeon = builders.email("surgeon", "S01")
    more = ("--site", "S01", "--cases", "12", "--from", "2026-03-01")
    assert shell.json("credential", "add", TRIAL, surgeon, *more, who=MANAGER) == (0, {"person": surgeon, "surgeon": 1, "cases": 12})
    code, out, _ = shell("training", "expiring", TRIAL, "--on", "2027-12-20", "--json", who=MANAGER)
    found = {row["kind"] for row in json.loads(out)}
    assert (code, found) == (0, {"training", "gap"})
