"""Dictionaries and safety reports as an operator types them."""

import csv
from pathlib import Path
from typing import Any

from tests import builders
from tests.builders import TODAY, TRIAL, World, put
from tests.cli.test_commands import Shell

MANAGER, NURSE, SPONSOR = builders.email("data-manager", ""), builders.email("research-nurse", "S01"), builders.email("sponsor", "")


def test_a_dictionary_is_loaded_and_listed(sqlite_world: World, capsys: Any, tmp_path: Path) -> None:
    shell = Shell(sqlite_world.instance.settings.folder, capsys)
    file = tmp_path / "terms.csv"
    file.write_text("code,term,up\n1,Something,Things\n", "utf-8")
    load = ("dictionary", "load", TRIAL, str(file), "--name", "Own", "--version", "1")
    assert shell(*load, who=NURSE)[0] == 3
    assert shell(*load, who=MANAGER)[1].strip() == "1 new terms of Own 1."
    code, found = shell.json("dictionary", "list", TRIAL, who=MANAGER)
    assert (code, found[1]) == (0, {"name": "Own", "version": "1", "terms": 1})


def test_the_safety_reports_are_written_for_the_sponsor(sqlite_world: World, capsys: Any, tmp_path: Path) -> None:
    shell = Shell(sqlite_world.instance.settings.folder, capsys)
    ident = builders.randomised(sqlite_world)
    put(sqlite_world, ident, "EV", "AE", {"ae_term": "Pneumonia", "ae_ser": 1, "ae_start": TODAY.isoformat()})
    put(sqlite_world, ident, "EV", "SAE", {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": "2026-03-10T08:00"}, only=True, complete=False)
    for name, column, said in (("RP-05", "event", "Pneumonia"), ("RP-06", "what", "Serious adverse event 1 to the sponsor")):
        file = tmp_path / f"{name}.csv"
        assert shell("report", name, TRIAL, "--out", str(file), who=NURSE)[0] == 3
        assert shell("report", name, TRIAL, "--out", str(file), who=SPONSOR)[0] == 0
        assert [row[column] for row in csv.DictReader(file.read_text("utf-8").splitlines())] == [said]
