"""The commands as an operator types them: exit codes, one JSON document, and messages that name the mend."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import builders
from tests.builders import ROOT, TRIAL, World
from tests.domain.test_ledger import MINIMISED, made
from trialdm import settings
from trialdm.cli import run


class Shell:
    """Runs command lines against one instance."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, *words: str, who: str = "") -> tuple[int, str, str]:
        self.capsys.readouterr()
        named = ["--as", who] if who else []
        code = run(["--instance", str(self.folder), *named, *words])
        out, err = self.capsys.readouterr()
        return code, out, err

    def json(self, *words: str, who: str = "") -> tuple[int, Any]:
        code, out, _ = self(*words, "--json", who=who)
        return code, json.loads(out)


@pytest.fixture
def shell(sqlite_world: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(sqlite_world.instance.settings.folder, capsys)


def email(role: str, site: str = "") -> str:
    return builders.email(role, site)


def test_options_for_all_commands_stand_anywhere(shell: Shell) -> None:
    assert shell("--json", "participant", "list", TRIAL, who=email("monitor"))[0] == 0
    assert run(["participant", "list", TRIAL, f"--instance={shell.folder}", "--as", email("monitor")]) == 0
    assert run(["participant", "list", TRIAL, "--instance"]) == 2


def test_no_instance_is_told_with_the_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--instance", str(tmp_path / "nowhere"), "participant", "list", TRIAL, "--as", "a@b.org"]) == 2
    assert "trialdm init" in capsys.readouterr().err


def test_who_acts_must_be_said(shell: Shell) -> None:
    code, _, err = shell("participant", "list", TRIAL)
    assert code == 2
    assert "--as EMAIL" in err


def test_init_and_accounts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path / "new", capsys)
    code, made = shell.json("init", "--admin", "admin@x.org")
    assert code == 0
    assert len(made["password"]) >= 12
    assert shell("init", "--admin", "admin@x.org")[0] == 2
    code, invited = shell.json("user", "add", "tm@x.org", "--name", "T M", "--role", "trial-manager", who="admin@x.org")
    assert code == 0
    assert shell("user", "password", "0" * 16)[0] == 2
    assert shell("user", "give", "tm@x.org", "monitor", who="tm@x.org")[0] == 3, "invited, and not there yet"
    code, own = shell.json("user", "password", invited["code"])
    assert (code, own["email"], len(own["password"]) >= 12) == (0, "tm@x.org", True)
    assert shell("user", "password", invited["code"])[0] == 2, "a code works once"
    assert shell("user", "add", "tm@x.org", "--name", "T M", "--role", "trial-manager", who="admin@x.org")[0] == 4
    assert shell("user", "add", "n@x.org", "--name", "N", "--role", "research-nurse", who="admin@x.org")[0] == 2
    assert shell("user", "add", "x@x.org", "--name", "X", "--role", "monitor", who="nobody@x.org")[0] == 2
    assert shell("user", "give", "tm@x.org", "sponsor", who="tm@x.org")[0] == 3
    assert shell("user", "give", "tm@x.org", "monitor", who="admin@x.org")[0] == 0
    assert shell("user", "end", "tm@x.org", "monitor", who="admin@x.org")[0] == 0
    assert shell("user", "end", "tm@x.org", "monitor", who="admin@x.org")[0] == 2
    code, rows = shell.json("user", "list", who="admin@x.org")
    assert [(row["email"], row["state"]) for row in rows] == [("admin@x.org", "active"), ("tm@x.org", "active")]
    assert shell("token", "create", "tm@x.org", "--label", "script", "--for", "read", "--days", "7", who="tm@x.org")[0] == 0
    code, rows = shell.json("token", "list", who="tm@x.org")
    assert [(row["label"], row["scopes"]) for row in rows] == [("script", ["read"])]
    assert shell("token", "end", rows[0]["id"], who="admin@x.org")[0] == 2
    assert shell("token", "end", rows[0]["id"], who="tm@x.org")[0] == 0
    assert shell("user", "code", "tm@x.org", "--kind", "reset with second factors", who="admin@x.org")[0] == 2
    assert shell("user", "code", "tm@x.org", "--kind", "reset", who="admin@x.org")[0] == 3, (
        "the code alone would open it, and no mail is set up"
    )
    assert shell("protocol", "load", str(ROOT / "protocols" / "licorice-gargle"), who="tm@x.org")[0] == 0
    assert shell("user", "close", "tm@x.org", "--reason", "left the trial", who="admin@x.org")[0] == 0
    assert shell("user", "list", who="tm@x.org")[0] == 3


def test_protocol_check_names_file_and_line_of_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path, capsys)
    assert shell("protocol", "check", str(ROOT / "protocols" / TRIAL))[0] == 0
    broken = tmp_path / TRIAL
    shutil.copytree(ROOT / "protocols" / TRIAL, broken)
    form = broken / "forms" / "pain.yaml"
    text = form.read_text("utf-8").replace("rlp_avg > rlp_worst", "rlp_avg > rlp_wurst")
    form.write_text(text.replace("codelist: CL_ASSIST", "codelist: CL_ASIST"), "utf-8")
    code, out, _ = shell("protocol", "check", str(broken))
    assert code == 2
    lines = out.strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{broken}/forms/pain.yaml:") for line in lines)
    assert "CL_ASIST" in out
    assert "rlp_wurst" in out


def test_the_gate_exits_with_3_and_gives_every_reason(shell: Shell) -> None:
    code, answer = shell.json("gate", TRIAL, "randomise", "--site", "S03", "--on", "2026-03-10")
    assert (code, answer["allowed"]) == (3, False)
    assert {"rule", "severity", "message", "needs"} == set(answer["reasons"][0])
    code, answer = shell.json("gate", TRIAL, "randomise", "--site", "S01", "--on", "2031-03-10")
    assert (code, [reason["rule"] for reason in answer["reasons"]]) == (3, ["GOV-40"])
    assert shell("gate", TRIAL, "randomise", "--site", "S01", "--on", "yesterday")[0] == 2
    assert shell("gate", TRIAL, "randomise", "--site", "S99")[0] == 2
    assert shell("gate", "no-such-trial", "randomise")[0] == 2


def test_randomise_and_its_exit_codes(shell: Shell, sqlite_world: World) -> None:
    sqlite_world.now = datetime.now(UTC)
    ident = builders.ready(sqlite_world)
    who = email("trial-coordinator")
    code, first = shell.json("randomise", TRIAL, ident, "--key", "k1", who=who)
    assert (code, set(first)) == (0, {"participant", "number", "at"})
    assert shell.json("randomise", TRIAL, ident, "--key", "k1", who=who) == (0, first)
    assert shell("randomise", TRIAL, ident, "--key", "k2", who=who)[0] == 4
    assert shell("randomise", TRIAL, builders.screened(sqlite_world), "--key", "k3", who=who)[0] == 3
    assert shell("randomise", TRIAL, ident, "--key", "k4", who=email("monitor"))[0] == 3


def test_forms_from_files(shell: Shell, sqlite_world: World, tmp_path: Path) -> None:
    ident = builders.consented(sqlite_world)
    body = tmp_path / "pain.json"
    body.write_text(json.dumps({"answers": {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}, "complete": True}), "utf-8")
    who = email("research-nurse", "S01")
    code, saved = shell.json("form", "put", TRIAL, ident, "V01", "PAIN", str(body), who=who)
    assert (code, saved["version"]) == (0, 1)
    code, seen = shell.json("form", "get", TRIAL, ident, "V01", "PAIN", who=who)
    assert seen["answers"]["limb_worst"] == 6
    assert shell("form", "put", TRIAL, ident, "V01", "PAIN", str(body), "--version", "7", who=who)[0] == 4
    body.write_text("{", "utf-8")
    code, _, err = shell("form", "put", TRIAL, ident, "V01", "PAIN", str(body), who=who)
    assert (code, "not JSON" in err) == (2, True)
    assert shell("form", "get", TRIAL, ident, "V01", "PAIN", who=email("research-nurse", "S02"))[0] == 3


def test_import_export_and_verify(shell: Shell, sqlite_world: World, tmp_path: Path) -> None:
    builders.randomised(sqlite_world)
    out = tmp_path / "package"
    code, manifest = shell.json("export", TRIAL, "--out", str(out), who=email("statistician-blinded"))
    assert (code, manifest["trial"]) == (0, TRIAL)
    assert shell("export", TRIAL, "--out", str(out), who=email("statistician-blinded"))[0] == 4
    assert shell("export", TRIAL, "--out", str(tmp_path / "x"), "--blinding", "unblinded", who=email("statistician-unblinded"))[0] == 3
    assert run(["export-verify", str(out)]) == 0
    csv = out / "data" / "csv" / "pain.csv"
    code, tried = shell.json("import", TRIAL, "PAIN", str(csv), "--dry-run", who=email("data-manager"))
    assert (code, tried["unchanged"], tried["saved"]) == (0, 1, 0)
    csv.write_text(csv.read_text("utf-8").replace(",5,", ",6,", 1), "utf-8")
    assert run(["export-verify", str(out)]) == 5
    assert shell("import", TRIAL, "CLIN", str(csv), who=email("data-manager"))[0] == 2


def test_a_dry_run_leaves_nothing(shell: Shell, sqlite_world: World, tmp_path: Path) -> None:
    ident = builders.consented(sqlite_world)
    file = tmp_path / "pain.csv"
    file.write_text(f"participant,visit,limb_worst,limb_avg,pain_assist\n{ident},V01,5,3,1\n", "utf-8")
    code, tried = shell.json("import", TRIAL, "PAIN", str(file), "--dry-run", who=email("data-manager"))
    assert (code, tried["saved"]) == (0, 1)
    code, seen = shell.json("form", "get", TRIAL, ident, "V01", "PAIN", who=email("research-nurse", "S01"))
    assert seen["version"] == 0


def test_lifecycle_steps_and_the_register(shell: Shell) -> None:
    manager = email("trial-manager")
    assert shell("site", "move", TRIAL, "S03", "activate", who=manager)[0] == 3
    for event in ("select", "set-up", "confirm", "green-light"):
        assert shell("site", "move", TRIAL, "S03", event, who=manager)[0] == 0
    code, _, said = shell("site", "move", TRIAL, "S03", "activate", who=manager)
    assert (code, "Sponsor green light missing: delegation log" in said) == (3, True)
    assert shell("site", "move", TRIAL, "S02", "suspend", who=manager)[0] == 2
    for event in ("suspend", "resume"):
        assert shell("site", "move", TRIAL, "S02", event, "--reason", "no surgeon for a month", who=manager)[0] == 0
    assert shell("trial", "move", TRIAL, "pause", who=manager)[0] == 3
    assert shell("trial", "move", TRIAL, "pause", "--reason", "safety", who=email("sponsor"))[0] == 0
    code, rows = shell.json("ethics", "status", TRIAL, "--site", "S01", "--on", "2025-01-01")
    assert (code, {row["in_force"] for row in rows}) == (0, {False})
    code, rows = shell.json("ethics", "status", TRIAL, "--site", "S01")
    assert next(row for row in rows if row["body"] == "rec")["in_force"]


def test_steps_are_answered_in_words_and_the_state_as_a_code_in_json(shell: Shell) -> None:
    manager = email("trial-manager")
    assert shell.json("site", "move", TRIAL, "S03", "select", who=manager) == (0, {"site": "S03", "state": "selected"})
    assert shell("site", "move", TRIAL, "S03", "set-up", who=manager)[1] == "Site S03 is now being set up.\n"
    assert shell.json("site", "move", TRIAL, "S03", "confirm", who=manager) == (0, {"site": "S03", "state": "cc_confirmed"})
    assert shell("trial", "move", TRIAL, "close", who=manager)[1] == f"{TRIAL} is now closed to recruitment.\n"
    assert shell.json("trial", "move", TRIAL, "follow-up", who=manager) == (0, {"trial": TRIAL, "state": "follow_up"})
    asked = shell("trial", "move", TRIAL, "lock", "--reason", "a short trial", who=manager)
    assert (asked[0], "A second person confirms it" in asked[1]) == (0, True)
    cleaner = email("data-manager")
    assert shell.json("hold", "move", TRIAL, "lock", "--reason", "a short trial", who=cleaner)[1]["state"] == "locked"


def test_a_ledger_is_verified_against_what_was_noted(shell: Shell, tmp_path: Path) -> None:
    whole, reveal = made(MINIMISED)
    file, opened = tmp_path / "ledger.json", tmp_path / "reveal.json"
    file.write_text(json.dumps(whole), "utf-8")
    opened.write_text(json.dumps(reveal), "utf-8")
    noted = {"--head": whole["heads"][0]["hash"], "--commit": whole["commit"], "--public-key": whole["public_key"]}
    given = [word for pair in noted.items() for word in pair]
    code, found = shell.json("allocation", "verify", str(file), "--reveal", str(opened), *given)
    assert (code, found["holds"], found["commit"], found["public_key"]) == (0, True, whole["commit"], whole["public_key"])
    code, out, _ = shell("allocation", "verify", str(file))
    assert (code, f"Commitment: {whole['commit']}" in out, f"Public key: {whole['public_key']}" in out) == (0, True, True)
    for option, words in (("--head", "noted earlier"), ("--commit", "commitment"), ("--public-key", "public key")):
        code, out, _ = shell("allocation", "verify", str(file), option, "0" * 64)
        assert (code, "VERIFICATION FAILED" in out, words in out, f"Commitment: {whole['commit']}" in out) == (5, True, True, True)
        for short in (noted[option][:8], noted[option] + "00", "z" * 64, ""):
            code, _, err = shell("allocation", "verify", str(file), option, short)
            assert (code, "64 hexadecimal digits" in err) == (2, True)


def test_documents_are_html_or_pdf_and_envelopes_replace_no_file(shell: Shell, sqlite_world: World, tmp_path: Path) -> None:
    statistician = email("statistician-unblinded")
    makes = {
        "specification": ("allocation", "specification", TRIAL),
        "report": ("report", "balance", TRIAL),
        "envelopes": ("allocation", "envelopes", TRIAL, "--site", "S01", "--count", "4"),
    }
    for words in makes.values():
        for name in ("sheet.docx", "sheet"):
            code, _, err = shell(*words, "--out", str(tmp_path / name), who=statistician)
            assert (code, ".html, .htm or .pdf" in err) == (2, True)
    assert not list(tmp_path.glob("sheet*"))
    taken = tmp_path / "sheet.HTM"
    assert shell(*makes["specification"], "--out", str(taken), who=statistician)[0] == 0
    before = taken.read_bytes()
    code, refused = shell.json(*makes["envelopes"], "--out", str(taken), who=statistician)
    assert (code, refused["code"], taken.read_bytes()) == (2, "FILE.EXISTS", before)
    code, found = shell.json(*makes["envelopes"], "--out", str(tmp_path / "four.html"), who=statistician)
    assert (code, found["first"], found["last"]) == (0, 1, 4)


def test_factors_are_listed_below_their_headings(shell: Shell, sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    code, out, _ = shell("allocation", "factors", TRIAL, ident, who=email("monitor"))
    assert (code, out.splitlines()[0].split()) == (0, ["Factor", "Randomised", "Corrected", "Verified"])


def test_the_folder_of_an_instance_is_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    for folder in (tmp_path / "below" / "new", tmp_path / "there"):
        settings.create(folder)
        assert folder.stat().st_mode & 0o777 == 0o700


def test_audit_verify_names_a_changed_row(shell: Shell, sqlite_world: World) -> None:
    from sqlalchemy import text

    builders.randomised(sqlite_world)
    code, found = shell.json("audit", "verify", TRIAL)
    assert (code, found["allocation_events"]) == (0, 1)
    with sqlite_world.instance.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER guard_audit_event_update"))
        connection.execute(text("UPDATE audit_event SET action = 'nothing' WHERE seq = 40"))
    code, _, err = shell("audit", "verify", TRIAL)
    assert code == 1
    assert "audit_event 40" in err


def test_the_register_is_loaded_from_a_folder_of_any_name(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "ethics" / TRIAL, copy)
    assert shell("ethics", "load", str(copy), who=email("trial-manager"))[0] == 0
    approvals = copy / "approvals.yaml"
    approvals.write_text(approvals.read_text("utf-8").replace("site: S02", "site: S77", 1), "utf-8")
    code, _, err = shell("ethics", "load", str(copy), who=email("trial-manager"))
    assert (code, "has no site 'S77'" in err) == (2, True)


def test_a_wrong_option_is_one_json_document_too(shell: Shell) -> None:
    code, found = shell.json("gate", TRIAL, "randomise", "--on", "yesterday")
    assert (code, found["code"]) == (2, "USAGE")
    assert shell("ethics", "status", TRIAL, "--site", "S99")[0] == 2
    nurse = ("user", "add", "y@x.org", "--name", "Y", "--role", "research-nurse")
    assert shell(*nurse, "--site", "S99", who="admin@trial.example")[0] == 2
    assert shell(*nurse, "--site", "S01", "--trial", "none", who="admin@trial.example")[0] == 2


def test_people_are_loaded_from_a_file(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "people.yaml"
    file.write_text(
        f"""trial: {TRIAL}
people:
  - email: new.nurse@x.org
    name: New Nurse
    roles: [{{role: research-nurse, site: S01}}]
    trainings: [{{kind: gcp, date: 2026-01-10}}]
    delegations: [{{tasks: [crf, consent], site: S01, start: 2026-02-01, signed_by_pi: true}}]
""",
        "utf-8",
    )
    code, made = shell.json("people", "load", str(file), who=email("trial-manager"))
    assert (code, [row["email"] for row in made["created"]]) == (0, ["new.nurse@x.org"])
    file.write_text(file.read_text("utf-8").replace("S01", "S77"), "utf-8")
    code, _, err = shell("people", "load", str(file), who=email("trial-manager"))
    assert (code, "S77" in err) == (2, True)
