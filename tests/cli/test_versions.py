"""Commands about versions of a protocol: what differs, proposing one, and what it would affect."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import builders
from tests.builders import ROOT, TRIAL, World
from tests.cli.test_commands import Shell, email
from trialdm.cli import run

OLD = ROOT / "protocols" / TRIAL


@pytest.fixture
def shell(sqlite_world: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(sqlite_world.instance.settings.folder, capsys)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A folder with version 1.1: a required item more, and another label."""
    folder = tmp_path / "newer" / TRIAL
    shutil.copytree(OLD, folder)
    edit(folder / "protocol.yaml", 'version: "1.0"', 'version: "1.1"')
    edit(folder / "forms" / "pain.yaml", "items:\n", "items:\n  - {name: pain_note, label: Note, type: text}\n")
    edit(folder / "forms" / "pain.yaml", "limb pain: now", "limb pain: right now")
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def test_diff_needs_no_instance(newer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path / "nowhere", capsys)
    code, out, _ = shell("protocol", "diff", str(OLD), str(newer))
    assert code == 0
    assert "adds    Item PAIN.pain_note: this item is new: Note." in out.splitlines()
    code, found = shell.json("protocol", "diff", str(OLD), str(newer))
    assert (code, found["old"], found["new"]) == (0, "1.0", "1.1")
    assert [row["effect"] for row in found["differences"]] == ["none", "none", "adds"]
    assert shell("protocol", "diff", str(OLD), str(OLD))[:2] == (0, "Nothing differs.\n")


def test_diff_names_the_problems_of_both_folders(newer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = tmp_path / "older" / TRIAL
    shutil.copytree(OLD, older)
    edit(older / "forms" / "pain.yaml", "rlp_avg > rlp_worst", "rlp_avg > rlp_wurst")
    edit(newer / "forms" / "pain.yaml", "CL_ASSIST", "CL_ASIST")
    code, out, _ = Shell(tmp_path, capsys)("protocol", "diff", str(older), str(newer))
    assert code == 2
    assert f"{older}/forms/pain.yaml:" in out
    assert f"{newer}/forms/pain.yaml:" in out


def test_load_says_that_it_is_proposed_and_what_comes_next(shell: Shell, newer: Path) -> None:
    who = email("trial-manager")
    code, out, _ = shell("protocol", "load", str(newer), who=who)
    assert code == 0
    assert "It is proposed: nothing changes until a site takes it up." in out
    assert f"trialdm protocol impact {TRIAL} --version 1.1" in out
    assert shell.json("protocol", "load", str(newer), who=who) == (0, {"trial": TRIAL, "version": "1.1", "state": "proposed"})
    edit(newer / "protocol.yaml", 'p: "4/5"', 'p: "3/4"')
    edit(newer / "protocol.yaml", 'version: "1.1"', 'version: "1.2"')
    code, _, err = shell("protocol", "load", str(newer), who=who)
    assert code == 2
    assert "PROTOCOL.BREAKS" in err
    assert "allocation amend" in err


def test_impact_is_words_or_one_document(shell: Shell, sqlite_world: World, newer: Path) -> None:
    sqlite_world.now = datetime.now(UTC)
    given = {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}
    builders.put(sqlite_world, builders.consented(sqlite_world), "V01", "PAIN", given, only=True)
    who = email("trial-manager")
    assert shell("protocol", "impact", TRIAL, who=who)[0] == 2
    assert shell("protocol", "load", str(newer), who=who)[0] == 0
    code, out, _ = shell("protocol", "impact", TRIAL, who=who)
    assert code == 0
    assert "1 complete forms would not pass: PAIN 1." in out.splitlines()
    code, found = shell.json("protocol", "impact", TRIAL, "--version", "1.1", who=who)
    assert (code, found["version"]["state"], found["would_not_pass"]["by_form"]) == (0, "proposed", {"PAIN": 1})
    assert shell("protocol", "impact", TRIAL, "--version", "9", who=who)[0] == 2
    assert shell("protocol", "impact", TRIAL, who=email("system-administrator"))[0] in (2, 3)
    assert run(["--instance", str(shell.folder), "protocol", "impact", TRIAL]) == 2
