"""The worklists as an operator types them, and as programs read them."""

import csv
from datetime import timedelta
from pathlib import Path

from tests import builders
from tests.api.test_api import Api
from tests.builders import TODAY, TRIAL, World
from tests.cli.test_commands import Shell
from trialdm.domain.ethics import Document
from trialdm.services import register

NURSE, COORDINATOR = builders.email("research-nurse", "S01"), builders.email("trial-coordinator", "")


def test_worklists(sqlite_world: World, capsys) -> None:
    shell, api = Shell(sqlite_world.instance.settings.folder, capsys), Api(sqlite_world)
    ident = builders.consented(sqlite_world)
    version = Document("ICF", 3, "3.0", TODAY, TODAY, TODAY, reconsent="block")
    sqlite_world.run("trial-manager", lambda unit: register.add(unit, TRIAL, version))
    sqlite_world.now += timedelta(hours=1)
    code, rows = shell.json("reconsent", TRIAL, "--site", "S01", who=NURSE)
    assert (code, [(row["participant"], row["urgency"], row["to"]) for row in rows]) == (
        0,
        [(ident, "block", "ICF v3.0 (2026-03-10)")],
    )
    assert f"{ident}  S01  block" in shell("reconsent", TRIAL, who=COORDINATOR)[1]
    assert shell("reconsent", TRIAL, "--site", "S02", who=NURSE)[0] == 3
    assert api.send("research-nurse", "GET", "/reconsent?site=S01").json == rows
    assert api.send("research-nurse", "GET", "/reconsent?site=S02").status_code == 403

    code, entries = shell.json("screening", TRIAL, who=NURSE)
    assert (code, [(row["number"], row["outcome"]) for row in entries]) == (0, [("S01-S-0001", "open")])
    assert "S01-S-0001  -           Not finished" in shell("screening", TRIAL, "--outcome", "open", who=COORDINATOR)[1]
    assert shell("screening", TRIAL, "--outcome", "declined", who=COORDINATOR)[1].strip() == "No entry."
    assert api.send("research-nurse", "GET", "/screening").json == entries


def test_what_is_entered_twice_is_listed(sqlite_world: World, capsys) -> None:
    shell, api = Shell(sqlite_world.instance.settings.folder, capsys), Api(sqlite_world)
    assert shell("double-entry", TRIAL, who=NURSE)[1].strip() == "Nothing waits."
    ident = builders.randomised(sqlite_world)
    row = {"prpb_frame": 1, **{f"prpb_{n}": 3 for n in range(1, 8)}}
    builders.put(sqlite_world, ident, "V05", "PRPB", row, only=True)
    builders.put(sqlite_world, ident, "V05", "PRPB", {**row, "prpb_7": 4}, only=True, role="data-manager")
    assert (
        f"{TODAY}  {ident}  S01  V05 PRPB 1  Differences to settle (1), entered by Research-Nurse S01 and"
        in shell("double-entry", TRIAL, who=NURSE)[1]
    )
    code, rows = shell.json("double-entry", TRIAL, "--site", "S01", who=NURSE)
    assert (code, [(one["next"], one["yours"]) for one in rows]) == (0, [("settle", False)])
    assert api.send("research-nurse", "GET", "/double-entry?site=S01").json == rows
    assert api.send("research-nurse", "GET", "/double-entry?site=S02").status_code == 403
    assert shell("double-entry", TRIAL, who=builders.email("statistician-blinded", ""))[0] == 3


def test_reports_are_tables(sqlite_world: World, capsys, tmp_path: Path) -> None:
    shell = Shell(sqlite_world.instance.settings.folder, capsys)
    builders.randomised(sqlite_world)
    manager, statistician = builders.email("trial-manager", ""), builders.email("statistician-unblinded", "")

    def report(name: str, who: str, *more: str, out: str = "out.csv") -> tuple[int, list[dict[str, str]]]:
        file = tmp_path / out
        file.unlink(missing_ok=True)
        code = shell("report", name, TRIAL, *more, "--out", str(file), who=who)[0]
        return code, list(csv.DictReader(file.read_text("utf-8").splitlines())) if file.exists() else []

    code, rows = report("RP-01", manager)
    assert (code, {row["site"] for row in rows}, sum(int(row["randomised"]) for row in rows)) == (0, {"S01", "S02"}, 1)
    code, rows = report("RP-02", manager)
    assert (code, {row["group"] for row in rows}) == (0, {""})
    assert next(row["number"] for row in rows if row["box"] == "Randomised") == "1"
    code, rows = report("RP-02", statistician, "--by-arm")
    assert (code, {row["group"] for row in rows}) == (0, {"", "Targeted muscle reinnervation", "Standard nerve handling"})
    assert report("RP-02", manager, "--by-arm") == (3, [])
    assert report("RP-01", manager, "--by-arm") == (2, [])
    assert report("RP-02", manager, out="out.html") == (2, [])
