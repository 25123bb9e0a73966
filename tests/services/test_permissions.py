"""Withdrawals in exports: data to date kept, what was collected later left out, and the manifest counts it.

The files are read by readers that did not write them, and compared with what stands in the database.
"""

import json
from collections import Counter
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import pyreadstat
import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services.test_packages import csv_of, export
from trialdm.domain.ethics.withdrawal import LEVELS
from trialdm.exports import package
from trialdm.services import packages, places, records, trail
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import FormInstance

OPERATED = TODAY + timedelta(days=3)
TOLD, VISITED = OPERATED + timedelta(days=40), OPERATED + timedelta(days=42)


def withdrawn(world: World, code: int, *, on: date = TOLD) -> str:
    """Somebody who told the site on a day, was still seen two days later, and whose withdrawal was entered after that."""
    ident = builders.randomised(world)
    world.at(OPERATED)
    builders.put(world, ident, "V02", "SURG", {"surg_done": 1, "surg_date": OPERATED.isoformat()}, role="surgeon")
    world.at(VISITED)
    builders.put(world, ident, "V04", "VISI", {"vs_done": 1, "vs_date": VISITED.isoformat()}, complete=False)
    builders.put(world, ident, "V04", "PAIN", {"rlp_any": 0, "plp_any": 0}, only=True, complete=False)
    builders.put(world, ident, "EV", "AE", complete=False)
    world.at(VISITED + timedelta(days=1))
    builders.put(world, ident, "EV", "STAT", {"st_status": code, "st_date": on.isoformat()}, only=True)
    return ident


def saved(world: World) -> Counter[str]:
    """Rows of the database that a blinded package may hold, by table."""
    with world.units.reading(SYSTEM) as unit:
        open_forms = {form.code for form in world.protocol.forms if not form.restricted}
        found = unit.session.scalars(select(FormInstance).where(FormInstance.trial_id == TRIAL, FormInstance.restricted == 0)).all()
    return Counter(row.form.lower() for row in found if row.form in open_forms)


def rows_of(manifest: dict[str, Any]) -> Counter[str]:
    return Counter({table["name"]: table["rows"] for table in manifest["tables"] if table["name"] not in ("participants", "visits")})


#: Code of the change, and the visits of each table that are exported after it.
CODES = [
    (1, {"pain": ["V01", "V04"], "visi": ["V01", "V04"], "ae": ["EV"], "clin": ["V01"], "stat": ["EV"]}, 0),
    (2, {"pain": ["V01"], "visi": ["V01"], "ae": ["EV"], "clin": ["V01"], "stat": ["EV"]}, 2),
    (3, {"pain": ["V01"], "visi": ["V01"], "ae": [], "clin": ["V01"], "stat": ["EV"]}, 3),
    (7, {"pain": [], "visi": [], "ae": [], "clin": [], "stat": ["EV"]}, None),
]


@pytest.mark.parametrize(("code", "visits", "left_out"), CODES)
def test_what_is_exported_after_a_withdrawal(
    sqlite_world: World, tmp_path: Path, code: int, visits: dict[str, list[str]], left_out: int | None
) -> None:
    withdrawn(sqlite_world, code)
    builders.consented(sqlite_world)
    manifest = export(sqlite_world, tmp_path / "out")
    folder = tmp_path / "out"
    for table, expected in visits.items():
        assert [row["visit"] for row in csv_of(folder, table)] == expected, table
        frame, _ = pyreadstat.read_sav(folder / "data" / "sav" / f"{table}.sav")
        assert list(frame["visit"]) == expected, table
        frame, _ = pyreadstat.read_dta(folder / "data" / "dta" / f"{table}.dta")
        assert list(frame["visit"]) == expected, table
    consent = manifest["consent"]
    assert Counter(consent["rows_left_out"]) == saved(sqlite_world) - rows_of(manifest), "the manifest accounts for every row"
    if left_out is not None:
        assert sum(consent["rows_left_out"].values()) == left_out
    assert consent["withdrawals"] == {LEVELS[{1: 1, 2: 2, 3: 3, 7: 4}[code]].words: 1}
    assert consent["participants_with_rows_left_out"] == (0 if code == 1 else 1)
    assert ("V04" in {row["visit"] for row in csv_of(folder, "visits")}) is (code == 1)
    assert package.verify_package(folder)["verified"]


def test_data_to_date_stay_in_the_database(sqlite_world: World, tmp_path: Path) -> None:
    ident = withdrawn(sqlite_world, 7)
    export(sqlite_world, tmp_path / "out")
    kept = sqlite_world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN")))
    assert kept.answers.values["limb_worst"] == 5


def test_the_participants_table_says_level_linkage_and_sharing(world: World, tmp_path: Path) -> None:
    gone = withdrawn(world, 7)
    world.at(VISITED + timedelta(days=2))
    stays = builders.screened(world)
    agreed = {"con_m_linkage": 1, "con_m_share": 1, "con_pis_ver": 2, "con_icf_ver": 2, "con_dtm": "2026-04-20T09:00"}
    builders.put(world, stays, "V01", "CONS", {**agreed, "con_pis_date": "2026-04-18", "con_route": 1, "con_capacity": 1, "con_copy": 1})
    export(world, tmp_path / "out")
    rows = {row["participant"]: row for row in csv_of(tmp_path / "out", "participants")}
    said = {ident: [rows[ident][name] for name in ("withdrawal", "withdrawn_on", "may_link", "may_share")] for ident in (gone, stays)}
    assert said == {gone: ["4", TOLD.isoformat(), "0", "0"], stays: ["0", "", "1", "1"]}
    assert rows[gone]["rand_no"], "that somebody was allocated is no answer of theirs"
    assert rows[gone]["limb_rand"] == rows[gone]["opioid_pre_rand"] == ""
    frame, meta = pyreadstat.read_sav(tmp_path / "out" / "data" / "sav" / "participants.sav")
    labels = meta.variable_value_labels["withdrawal"]
    assert labels[4] == "Withdrew fully: data not analysed yet are not used"
    assert sorted(frame["withdrawal"]) == [0, 4]


def test_a_package_as_of_before_the_withdrawal_is_the_one_that_was_analysed(sqlite_world: World, tmp_path: Path) -> None:
    builders.consented(sqlite_world)
    before = sqlite_world.now
    export(sqlite_world, tmp_path / "first", as_of=before)
    sqlite_world.at(TODAY, time(11))
    withdrawn(sqlite_world, 7)
    again = export(sqlite_world, tmp_path / "again", as_of=before)
    assert json.loads((tmp_path / "first" / "manifest.json").read_text("utf-8")) == again
    assert again["consent"]["withdrawals"] == {}


def test_what_was_left_out_stands_in_the_trail(sqlite_world: World, tmp_path: Path) -> None:
    withdrawn(sqlite_world, 3)
    manifest = export(sqlite_world, tmp_path / "out")
    sqlite_world.run("statistician-blinded", lambda unit: packages.record(unit, TRIAL, packages.Request(), manifest))
    lines = sqlite_world.read("monitor", lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(action="export.make")))
    assert lines[0].new["consent"]["rows_left_out"] == {"ae": 1, "pain": 1, "visi": 1}
