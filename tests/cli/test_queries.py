"""Queries and edit checks as an operator types them."""

import csv
from pathlib import Path
from typing import Any

from tests import builders
from tests.builders import TRIAL, World
from tests.cli.test_commands import Shell
from tests.services.test_queries import break_quietly, with_clinical

MANAGER, NURSE = builders.email("data-manager", ""), builders.email("research-nurse", "S01")


def test_a_query_from_asking_to_cancelling(sqlite_world: World, capsys: Any, tmp_path: Path) -> None:
    shell = Shell(sqlite_world.instance.settings.folder, capsys)
    ident = with_clinical(sqlite_world)
    code, made = shell.json("query", "open", TRIAL, ident, "V01", "CLIN", "--item", "asa", "--text", "Please check.", who=MANAGER)
    assert (code, made["number"], made["state"]) == (0, "Q1", "open")
    assert "V01 CLIN asa: Please check." in shell("query", "list", TRIAL, "--state", "waiting", who=NURSE)[1]
    assert shell("query", "answer", TRIAL, "Q1", "--response", "corrected", who=NURSE)[0] == 2
    assert shell("query", "answer", TRIAL, "Q1", "--response", "confirmed", who=NURSE)[0] == 0
    assert shell("query", "close", TRIAL, "Q1", who=NURSE)[0] == 3
    assert shell("query", "close", TRIAL, "1", who=MANAGER)[1].strip() == "Query Q1 is closed."
    assert shell("query", "close", TRIAL, "Q1", who=MANAGER)[0] == 3
    assert shell("query", "reopen", TRIAL, "Q1", "--text", "Once more.", who=MANAGER)[0] == 0
    assert shell("query", "cancel", TRIAL, "Q1", "--text", "Asked twice.", who=MANAGER)[1].strip() == "Query Q1 is cancelled."
    file = tmp_path / "ages.csv"
    assert shell("report", "RP-04", TRIAL, "--out", str(file), who=MANAGER)[0] == 0
    rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    assert [(row["by"], row["of"], row["unsettled"]) for row in rows] == [("all", "", "0"), ("site", "S01", "0"), ("form", "CLIN", "0")]
    assert shell("query", "list", TRIAL, "--state", "open", who=MANAGER)[1].strip() == "No query."


def test_checks_run(sqlite_world: World, capsys: Any) -> None:
    shell = Shell(sqlite_world.instance.settings.folder, capsys)
    break_quietly(sqlite_world, with_clinical(sqlite_world), "CLIN", asa=None)
    assert "Queries would be opened: 1; would be closed: 0." in shell("checks", "run", TRIAL, "--dry-run", who=MANAGER)[1]
    code, done = shell.json("checks", "run", TRIAL, "--site", "S01", who=MANAGER)
    assert (code, done["opened"], done["found"]["hard"]) == (0, 1, 1)
    assert shell("checks", "run", TRIAL, who=NURSE)[0] == 3
