"""The commands about identities, and the vault as a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import builders
from tests.builders import ROOT, TRIAL, World
from tests.cli.test_commands import Shell
from trialdm.demo.invented import invented
from trialdm.settings import FILE, NoInstance, load

WHY = ("--reason", "To ring about the visit")
NURSE, MANAGER, SPONSOR = (builders.email(*who) for who in (("research-nurse", "S01"), ("trial-manager", ""), ("sponsor", "")))


@pytest.fixture
def shell(sqlite_world: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The furnished instance, as one where nothing is real."""
    folder = sqlite_world.instance.settings.folder
    (folder / FILE).write_text((folder / FILE).read_text("utf-8") + "test = true\n", "utf-8")
    return Shell(folder, capsys)


@pytest.fixture
def person(tmp_path: Path) -> str:
    file = tmp_path / "who.json"
    file.write_text(json.dumps(invented(1)))
    return str(file)


def test_the_way_of_an_identity_through_the_commands(shell: Shell, person: str, tmp_path: Path) -> None:
    assert shell("participant", "add", TRIAL, "--site", "S01", who=NURSE)[0] == 2
    code, row = shell.json("participant", "add", TRIAL, "--site", "S01", "--identity", person, who=NURSE)
    ident = row["participant"]
    assert code == 0
    assert shell("identity", "duplicate", TRIAL, person, "--site", "S01", who=NURSE)[0] == 4
    assert shell.json("identity", "show", TRIAL, ident, *WHY, who=NURSE)[1]["family_name"] == invented(1)["family_name"]
    assert shell("identity", "show", TRIAL, ident, *WHY, who=MANAGER)[0] == 3
    _, asked = shell.json("identity", "ask", TRIAL, ident, *WHY, who=MANAGER)
    assert shell("identity", "open", TRIAL, asked["request"], who=MANAGER)[0] == 3
    assert shell("identity", "decide", TRIAL, asked["request"], "--confirm", *WHY, who=SPONSOR)[0] == 0
    assert [one["state"] for one in shell.json("identity", "requests", TRIAL, who=SPONSOR)[1]] == ["confirmed"]
    assert invented(1)["given_name"] in shell("identity", "open", TRIAL, asked["request"], who=MANAGER)[1]
    for name in ("rotate", "rotate-index", "retire", "reconcile"):
        assert shell.json("vault", name)[0] == 0
    assert shell.json("vault", "shred", TRIAL, ident, *WHY, who=MANAGER)[1]["shredded"] is False
    assert shell.json("vault", "shred", TRIAL, ident, *WHY, who=SPONSOR)[1]["shredded"] is True
    out = tmp_path / "certificate.html"
    assert shell("vault", "certificate", TRIAL, ident, "--out", str(out), who=SPONSOR)[0] == 0
    assert "What this does not do" in out.read_text("utf-8")


def test_an_identity_that_follows_and_a_file_that_is_none(shell: Shell, person: str, tmp_path: Path) -> None:
    _, row = shell.json("participant", "add", TRIAL, "--site", "S01", "--later", "Screened by telephone", who=NURSE)
    (tmp_path / "bad.json").write_text('{"surname": "Entwistle"}')
    code, out, err = shell("identity", "enter", TRIAL, row["participant"], str(tmp_path / "bad.json"), who=NURSE)
    assert code == 2
    assert "Entwistle" not in out + err
    assert shell("identity", "enter", TRIAL, row["participant"], person, who=NURSE)[0] == 0


@pytest.fixture
def process(shell: Shell) -> Iterator[Shell]:
    """The same instance, with its vault in another process that has a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        own = Path(name)
        table = f'test = true\n[vault]\nmode = "process"\nsocket = "{own}/s"\ntoken = "{own}/token"\n'
        (own / FILE).write_text(f'{table}folder = "{own}/data"\nallowed_uids = [{os.getuid()}]\n')
        (shell.folder / FILE).write_text(table)
        command = [sys.executable, "-m", "trialdm", "--instance", str(own), "vault", "serve"]
        serving = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 20
            while not ((own / "s").exists() and (own / "token").exists()) and time.monotonic() < until:
                time.sleep(0.05)
            yield shell
        finally:
            serving.kill()
            serving.wait()


def test_the_vault_in_a_process_of_its_own(process: Shell, person: str) -> None:
    code, row = process.json("participant", "add", TRIAL, "--site", "S01", "--identity", person, who=NURSE)
    assert code == 0
    assert process.json("identity", "show", TRIAL, row["participant"], *WHY, who=NURSE)[1]["family_name"] == invented(1)["family_name"]
    assert not (process.folder / "vault").exists()
    assert process.json("vault", "reconcile") == (0, {"active": 0, "forgotten": 0, "shredded": 0})


@pytest.mark.parametrize(
    "line",
    ['mode = "elsewhere"', "views_per_hour = 0", "views_per_hour = true", 'socket_mode = "0777"', 'allowed_uids = ["root"]', "key = 1"],
)
def test_a_setting_of_the_vault_that_cannot_be_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text(f"[vault]\n{line}\n")
    with pytest.raises(NoInstance, match=re_of(line)):
        load(tmp_path)


def re_of(line: str) -> str:
    """The name of a setting, as its refusal has it."""
    return f"'{line.partition(' ')[0]}'"
