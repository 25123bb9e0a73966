"""Exports and imports through the services: what leaves the database is what stands in it, and comes back as it was."""

import csv
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import pyreadstat
import pytest

from tests import builders
from tests.builders import ROOT, TRIAL, World
from trialdm.definitions import sources
from trialdm.domain import ethics
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Refused
from trialdm.exports import package
from trialdm.services import approvals, history, imports, packages, people, register, studies, unblinding
from trialdm.services.jobs import Jobs
from trialdm.services.packages import Request
from trialdm.services.unit import SYSTEM

LICORICE = ROOT.parent / "shared" / "data" / "licorice_gargle.csv"


def export(world: World, folder: Path, role: str = "statistician-blinded", **asked: Any) -> dict[str, Any]:
    return world.read(role, lambda unit: packages.write(unit, TRIAL, folder, Request(**asked)))


def csv_of(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / "data" / "csv" / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_blinded_package_holds_no_arm_and_no_restricted_form(world: World, tmp_path: Path) -> None:
    builders.randomised(world)
    manifest = export(world, tmp_path / "out")
    names = {table["name"] for table in manifest["tables"]}
    assert {"participants", "visits", "clin", "pain"} <= names
    assert not {"surg", "nerv", "rand", "unbl"} & names
    assert "arm" not in csv_of(tmp_path / "out", "participants")[0]
    for path in (tmp_path / "out" / "data" / "csv").iterdir():
        assert "Targeted muscle" not in path.read_text("utf-8")


def test_a_blinded_package_counts_no_restricted_row(world: World, tmp_path: Path) -> None:
    ident, day = builders.consented(world), builders.TODAY.isoformat()
    said = {"dv_class": 2, "dv_date": day, "dv_found": day, "dv_desc": "Said once", "dv_capa": "None yet"}
    builders.put(world, ident, "EV", "DEVI", {**said, "dv_type": 4}, role="principal-investigator", only=True, row=501)
    export(world, tmp_path / "one", formats=("csv",))
    assert [row["visit"] for row in csv_of(tmp_path / "one", "visits")] == ["V01"]
    builders.put(world, ident, "EV", "DEVI", {**said, "dv_type": 96}, role="principal-investigator", only=True)
    export(world, tmp_path / "two", formats=("csv",))
    counts = [(row["visit"], row["forms_saved"], row["forms_complete"]) for row in csv_of(tmp_path / "two", "visits")]
    assert counts == [("V01", "1", "1"), ("EV", "1", "1")]


def test_the_files_agree_with_the_form_that_was_saved(world: World, tmp_path: Path) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 7, "pain_assist": 1}, only=True, missing={"limb_avg": "RF"})
    export(world, tmp_path / "out")
    row = csv_of(tmp_path / "out", "pain")[0]
    assert (row["participant"], row["visit"], row["limb_worst"], row["limb_avg"], row["pain_pre"]) == (ident, "V01", "7", "-94", "2")
    frame, meta = pyreadstat.read_sav(tmp_path / "out" / "data" / "sav" / "pain.sav", user_missing=True)
    assert frame.loc[0, "limb_avg"] == -94
    assert meta.missing_ranges["limb_avg"] == [{"lo": -95.0, "hi": -91.0}]
    assert meta.variable_value_labels["limb_avg"][-94] == "Refused"


def test_the_same_request_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    builders.randomised(world)
    first = export(world, tmp_path / "one")
    world.now += timedelta(hours=3)
    second = export(world, tmp_path / "two")
    assert first == second


def test_as_of_a_moment_the_data_stand_as_they_stood(world: World, tmp_path: Path) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 7, "limb_avg": 3, "pain_assist": 1}, only=True)
    then = world.now
    world.now += timedelta(days=1)
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 2, "limb_avg": 1, "pain_assist": 1}, only=True, reason="source")
    builders.consented(world)
    export(world, tmp_path / "then", as_of=then, formats=("csv",))
    export(world, tmp_path / "now", formats=("csv",))
    assert [row["limb_worst"] for row in csv_of(tmp_path / "then", "pain")] == ["7"]
    assert [row["limb_worst"] for row in csv_of(tmp_path / "now", "pain")] == ["2"]
    assert (len(csv_of(tmp_path / "then", "participants")), len(csv_of(tmp_path / "now", "participants"))) == (1, 2)


def test_days_are_those_of_london(sqlite_world: World, tmp_path: Path) -> None:
    sqlite_world.at(date(2026, 6, 10), time(0, 30))  # 9 June, 23:30 UTC
    builders.randomised(sqlite_world)
    export(sqlite_world, tmp_path / "out", formats=("csv",))
    assert [(row["added_on"], row["rand_on"]) for row in csv_of(tmp_path / "out", "participants")] == [("2026-06-10", "2026-06-10")]


def test_as_of_a_moment_labels_are_those_of_that_moment(world: World, tmp_path: Path) -> None:
    builders.consented(world)
    then = world.now
    first = export(world, tmp_path / "one", as_of=then, formats=("csv",))
    world.now += timedelta(days=1)
    newer = ethics.Document("ICF", 3, "3.0", builders.TODAY, builders.TODAY, builders.TODAY)
    world.run("trial-manager", lambda unit: register.add(unit, TRIAL, newer))
    world.run("system-administrator", lambda unit: people.add(unit, "later@trial.example", "Later", builders.PASSWORD))
    assert export(world, tmp_path / "two", as_of=then, formats=("csv",)) == first
    builders.consented(world)
    export(world, tmp_path / "now", formats=("csv",))
    codebook = (tmp_path / "now" / "codebook.html").read_text("utf-8")
    assert "3.0" in codebook


def test_the_allocation_leaves_only_when_plan_and_lock_allow_it(world: World, tmp_path: Path) -> None:
    builders.randomised(world)
    with pytest.raises(Refused) as refused:
        export(world, tmp_path / "out", "statistician-unblinded", blinding="unblinded")
    assert refused.value.code == "GATE.GOV-49"
    with pytest.raises(Refused) as blind:
        export(world, tmp_path / "out", "statistician-blinded", blinding="unblinded")
    assert "GATE.GOV-45" in [detail.code for detail in blind.value.details]
    assert not (tmp_path / "out").exists()


def test_the_blinded_statistician_exports_the_allocation_once_the_trial_is_unblinded(sqlite_world: World, tmp_path: Path) -> None:
    ident = builders.randomised(sqlite_world)

    def codes() -> list[str]:
        with pytest.raises(Refused) as refused:
            export(sqlite_world, tmp_path / "out", "statistician-blinded", blinding="unblinded")
        return [refused.value.code, *(detail.code for detail in refused.value.details)]

    builders.lock(sqlite_world)
    assert "GATE.GOV-45" in codes()
    sqlite_world.run("sponsor", lambda unit: unblinding.end_of_trial(unit, TRIAL))
    assert "GATE.GOV-45" in codes()
    sqlite_world.run("statistician-unblinded", lambda unit: unblinding.end_of_trial(unit, TRIAL))
    assert "GATE.GOV-45" not in codes()
    plan = ethics.Approval("sap", "signed", decided_on=builders.TODAY)
    sqlite_world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, plan))
    export(sqlite_world, tmp_path / "out", "statistician-blinded", blinding="unblinded")
    assert ident in {row["participant"] for row in csv_of(tmp_path / "out", "participants") if row["arm"]}


def unblinded(world: World, folder: Path, **asked: Any) -> dict[str, Any]:
    """An unblinded package, once trial and plan allow it."""
    builders.lock(world)
    plan = ethics.Approval("sap", "signed", decided_on=builders.TODAY)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, plan))
    return export(world, folder, "statistician-unblinded", blinding="unblinded", **asked)


def test_of_somebody_whose_data_are_not_used_the_allocation_record_is_left_out_and_counted(sqlite_world: World, tmp_path: Path) -> None:
    idents = [builders.randomised(sqlite_world), builders.randomised(sqlite_world)]
    builders.put(sqlite_world, idents[0], "EV", "STAT", {"st_status": 7, "st_date": builders.TODAY.isoformat()}, only=True)
    manifest = unblinded(sqlite_world, tmp_path / "out")
    factors = {row["participant"]: row["limb_rand"] for row in csv_of(tmp_path / "out", "participants")}
    assert factors == {idents[0]: "", idents[1]: "1"}
    assert [row["participant"] for row in csv_of(tmp_path / "out", "rand")] == idents[1:]
    assert manifest["consent"]["rows_left_out"]["rand"] == 1


@pytest.mark.parametrize("role", ["research-nurse", "monitor", "surgeon", "trial-coordinator"])
def test_other_roles_export_nothing(sqlite_world: World, tmp_path: Path, role: str) -> None:
    with pytest.raises(Forbidden):
        export(sqlite_world, tmp_path / "out", role)


@pytest.mark.parametrize("asked", [{"formats": ("xls",)}, {"formats": ()}, {"blinding": "open"}, {"layout": "square"}])
def test_what_does_not_exist_is_refused(sqlite_world: World, tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        export(sqlite_world, tmp_path / "out", **asked)


def test_a_requested_package_is_made_in_the_background_and_survives_being_cut_off(sqlite_world: World) -> None:
    builders.randomised(sqlite_world)
    row = sqlite_world.run("statistician-blinded", lambda unit: packages.ask_for(unit, TRIAL, Request()))
    jobs = Jobs(sqlite_world.units, sqlite_world.instance.settings.folder)
    jobs._requeue()
    assert jobs.run_pending() == 1
    done = sqlite_world.read("statistician-blinded", lambda unit: packages.job(unit, TRIAL, row.id))
    assert done.state == "done"
    assert package.verify_package(jobs.package_folder(TRIAL, row.id))
    with pytest.raises(Exception, match="no such export of yours"):
        sqlite_world.read("data-manager", lambda unit: packages.job(unit, TRIAL, row.id))


# --- imports ---------------------------------------------------------------------------------------------------------


def test_an_import_saves_every_row_or_none_and_names_each_wrong_cell(world: World) -> None:
    first, second = builders.consented(world), builders.consented(world)
    text = f"participant,visit,limb_worst,limb_avg,pain_assist\n{first},V01,5,3,1\n{second},V01,eleven,3,7\n"
    with pytest.raises(imports.BadRows) as bad:
        world.run("data-manager", lambda unit: imports.load(unit, TRIAL, "PAIN", text))
    wrong = [(cell.row, cell.column, cell.value) for cell in bad.value.outcome.errors]
    assert wrong == [(3, "limb_worst", "eleven"), (3, "pain_assist", "7")]
    right = text.replace("eleven", "-92").replace(",7\n", ",1\n")
    outcome = world.run("data-manager", lambda unit: imports.load(unit, TRIAL, "PAIN", right))
    assert (outcome.rows, outcome.saved, outcome.unchanged) == (2, 2, 0)


@pytest.mark.parametrize(
    "header",
    ["participant,limb_worst", "participant,visit,limb_wurst", "participant,visit,visit", "", "participant;visit;limb_worst"],
)
def test_a_wrong_header_is_named(sqlite_world: World, header: str) -> None:
    with pytest.raises(Invalid) as refused:
        sqlite_world.run("data-manager", lambda unit: imports.load(unit, TRIAL, "PAIN", f"{header}\nx,y,z\n"))
    assert refused.value.code in ("IMPORT.HEADER", "IMPORT.FILE")


# --- a finished trial ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not LICORICE.exists(), reason="the data of the licorice gargle trial are not beside the project")
def test_the_licorice_gargle_trial_gives_its_published_risk_ratios(sqlite_world: World, tmp_path: Path) -> None:
    """Ruetzler et al. 2013: any sore throat at rest is less frequent with licorice, by about 0.5, 0.3 and 0.5."""
    world = sqlite_world
    world.run("trial-manager", lambda unit: studies.load(unit, sources.read_folder(ROOT / "protocols" / "licorice-gargle")))
    text = LICORICE.read_text("utf-8")
    loaded = world.run("unblinded-data-manager", lambda unit: history.load(unit, "licorice-gargle", text))
    assert loaded == 235
    with pytest.raises(Conflict):
        world.run("unblinded-data-manager", lambda unit: history.load(unit, "licorice-gargle", text))
    asked = Request(blinding="unblinded", formats=("sav",))
    world.read("statistician-unblinded", lambda unit: packages.write(unit, "licorice-gargle", tmp_path / "out", asked))
    symptoms, _ = pyreadstat.read_sav(tmp_path / "out" / "data" / "sav" / "symp.sav")
    people_, _ = pyreadstat.read_sav(tmp_path / "out" / "data" / "sav" / "participants.sav")
    both = symptoms.merge(people_[["participant", "arm"]], on="participant")
    both = both[both["throat_pain"].notna()]
    both["sore"] = both["throat_pain"] > 0
    found = {}
    for visit in ("P30", "P90", "H4"):
        share = both[both["visit"] == visit].groupby("arm")["sore"].mean()
        found[visit] = share[1] / share[0]
    assert found["P30"] == pytest.approx(0.52, abs=0.06)
    assert found["P90"] == pytest.approx(0.32, abs=0.06)
    assert found["H4"] == pytest.approx(0.48, abs=0.08)


@pytest.mark.skipif(not LICORICE.exists(), reason="the data of the licorice gargle trial are not beside the project")
def test_a_historical_file_that_does_not_fit_leaves_nothing_behind(sqlite_world: World) -> None:
    sqlite_world.run("trial-manager", lambda unit: studies.load(unit, sources.read_folder(ROOT / "protocols" / "licorice-gargle")))
    text = LICORICE.read_text("utf-8")
    rows = text.splitlines()
    cases = {
        "HISTORY.HEADER": text.replace("preOp_age", "age", 1),
        "HISTORY.ROWS": "\n".join(rows[:-1]),
        "HISTORY.CELL": "\n".join([rows[0], rows[1].replace("67", "6700", 1), *rows[2:]]),
    }
    for code, broken in cases.items():
        with pytest.raises(Invalid) as refused:
            sqlite_world.run("unblinded-data-manager", lambda unit, broken=broken: history.load(unit, "licorice-gargle", broken))
        assert refused.value.code == code
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert studies.states(unit, "licorice-gargle", "participant") == {}
