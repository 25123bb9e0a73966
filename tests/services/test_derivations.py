"""Derived items through the services: who reads which, what they count, that nothing is stored, and that exports hold the same."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services.test_packages import csv_of, export, unblinded
from trialdm.domain.errors import Forbidden, Missing, Refused
from trialdm.services import derivations, packages, trail
from trialdm.services.derivations import Line
from trialdm.services.unit import Unit

RATED = {"rlp_any": 1, "rlp_worst": 3, "plp_any": 0}


def followed(world: World, site: str = "S01", **clinical: Any) -> str:
    """Somebody operated on three days after randomisation, in the TMR arm in full where they are in it, and rated at 12 months."""
    ident = builders.randomised(world, site, **clinical)
    arm, operated = builders.arm_of(world, ident), TODAY + timedelta(days=3)
    world.at(operated)
    told = {"surg_done": 1, "surg_date": operated.isoformat(), "proc_given": arm, "surg_level": 15}
    builders.put(world, ident, "V02", "SURG", told, role="surgeon", site=site)
    if arm == 1:
        for row, nerve in enumerate((1, 2, 3), 1):
            nerves = {"nv_nerve": nerve, "nv_found": 1, "nv_tech": 1, "nv_muscle": 1}
            builders.put(world, ident, "V02", "NERV", nerves, role="surgeon", site=site, row=row)
    day = operated + timedelta(days=365)
    world.at(day)
    builders.put(world, ident, "V07", "VISI", {"vs_done": 1, "vs_date": day.isoformat()}, site=site)
    builders.put(world, ident, "V07", "PAIN", RATED, role="research-nurse", site=site, complete=False, only=True)
    return ident


def values(lines: list[Line]) -> dict[str, Any]:
    return {line.derivation.name: line.value for line in lines}


def of_one(world: World, role: str, ident: str) -> derivations.OnePerson:
    return world.read(role, lambda unit: derivations.of_person(unit, TRIAL, ident))


def test_a_blinded_reader_gets_what_is_open_with_the_forms_that_it_was_read_from(world: World) -> None:
    ident = followed(world)
    found = of_one(world, "research-nurse", ident)
    given = values(list(found.values))
    assert (str(given["prim_rlp_12"]), given["prim_rlp_src"], given["ttr_event"], given["ttr_reint"]) == ("3.00", 2, 0, 365)
    assert not {"pp", "trt_given", "as_allocated", "ice_cross", "ice_reamp", "dev_major"} & given.keys()
    assert values(list(found.visits["V07"]))["pain_free"] == 0
    primary = next(line for line in found.values if line.derivation.name == "prim_rlp_12")
    assert list(primary.read) == [("V07", "PAIN", 1)]
    safety = next(line for line in found.values if line.derivation.name == "safety")
    assert (safety.value, list(safety.read)) == (1, []), "the operation is known, its form is not opened"
    assert [one.read for one in of_one(world, "surgeon", ident).values if one.derivation.name == "safety"] == [[("V02", "SURG", 1)]]


def test_whoever_reads_allocations_asks_for_the_rest_and_each_time_is_recorded(world: World) -> None:
    ident = followed(world)
    assert "pp" not in values(list(of_one(world, "surgeon", ident).values))
    found = world.run("surgeon", lambda unit: derivations.of_person_restricted(unit, TRIAL, ident))
    given = values(list(found.values))
    assert (given["trt_given"], given["as_allocated"], given["ice_cross"]) == (builders.arm_of(world, ident), 1, 0)
    assert given["pp"] == (1 if given["dev_major"] == 0 else 0)
    world.run("statistician-unblinded", lambda unit: derivations.of_trial_restricted(unit, TRIAL))
    lines = world.read("sponsor", lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(action="report.read")))
    assert [line.reason for line in lines] == ["Derived items, restricted"] * 2
    for role in ("research-nurse", "data-manager", "trial-manager"):
        with pytest.raises(Refused) as refused:
            world.run(role, lambda unit: derivations.of_person_restricted(unit, TRIAL, ident))
        assert refused.value.code == "GATE.GOV-45"
        assert not world.read(role, lambda unit: derivations.may_open(unit, TRIAL, "S01"))


def test_participants_of_other_sites_are_not_shown(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    for ask in (derivations.of_person, derivations.of_person_restricted):
        with pytest.raises((Forbidden, Missing)):
            sqlite_world.run("research-nurse", lambda unit, ask=ask: ask(unit, TRIAL, ident), "S02")


@pytest.mark.parametrize("role", ["research-nurse", "surgeon", "principal-investigator", "monitor", "chief-investigator", "sponsor"])
def test_others_read_nothing_of_everybody(sqlite_world: World, role: str) -> None:
    for ask in (derivations.of_trial, derivations.of_trial_restricted):
        with pytest.raises(Forbidden):
            sqlite_world.run(role, lambda unit, ask=ask: ask(unit, TRIAL))


def test_of_everybody_the_blinded_read_what_is_open_and_its_counts(world: World) -> None:
    ident, other = followed(world), builders.consented(world, "S02")
    found = world.read("statistician-blinded", lambda unit: derivations.of_trial(unit, TRIAL))
    counts = {tally.derivation.name: tally for tally in found.tallies()}
    assert not any(tally.derivation.restricted for tally in counts.values())
    assert (counts["itt"].codes, counts["itt"].missing) == ({0: 1, 1: 1}, 0)
    assert (counts["ttr_reint"].known, counts["ttr_reint"].missing, counts["ttr_reint"].least) == (1, 1, 365)
    rows = {row["participant"]: row for row in found.table("participant")}
    assert rows.keys() == {ident, other}
    assert (rows[ident]["site"], rows[ident]["prim_rlp_12"], rows[other]["prim_rlp_12"]) == ("S01", "3.00", None)
    assert [row["pain_free"] for row in found.table("visit") if row["visit"] == "V07"] == [0]
    for role in ("data-manager", "trial-manager", "statistician-blinded"):
        with pytest.raises(Refused):
            world.run(role, lambda unit: derivations.of_trial_restricted(unit, TRIAL))


def test_as_of_a_moment_values_are_those_of_that_moment(world: World) -> None:
    ident = followed(world)
    then = world.now
    world.now += timedelta(days=1)
    builders.put(world, ident, "V07", "PAIN", {**RATED, "rlp_worst": 8}, only=True, complete=False)

    def rated(as_of: Any) -> str:
        found = world.read("data-manager", lambda unit: derivations.of_trial(unit, TRIAL, as_of))
        return str(found.table("participant")[0]["prim_rlp_12"])

    assert (rated(then), rated(None)) == ("3.00", "8.00")


def test_of_somebody_whose_data_are_not_used_nothing_is_calculated_from_forms(sqlite_world: World) -> None:
    ident = followed(sqlite_world)
    builders.put(sqlite_world, ident, "EV", "STAT", {"st_status": 7, "st_date": sqlite_world.now.date().isoformat()}, only=True)
    row = sqlite_world.read("statistician-blinded", lambda unit: derivations.of_trial(unit, TRIAL)).table("participant")[0]
    assert (row["itt"], row["prim_rlp_12"], row["ttr_reint"]) == (1, None, None)


@contextmanager
def counted(world: World) -> Iterator[list[str]]:
    """The statements that are sent to the database meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(statement)

    event.listen(world.instance.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(world.instance.engine, "before_cursor_execute", note)


def test_more_participants_need_no_more_statements(sqlite_world: World) -> None:
    def statements() -> int:
        with counted(sqlite_world) as sent:
            sqlite_world.run("statistician-unblinded", lambda unit: derivations.of_trial_restricted(unit, TRIAL))
        return len(sent)

    followed(sqlite_world)
    statements()
    few = statements()
    sqlite_world.at(TODAY)
    followed(sqlite_world, "S02")
    sqlite_world.at(TODAY)
    followed(sqlite_world)
    assert statements() <= few
    assert few < 40


# --- exports ---------------------------------------------------------------------------------------------------------


def test_packages_hold_the_same_values_as_the_pages(world: World, tmp_path: Path) -> None:
    followed(world)
    builders.consented(world)
    found = world.read("statistician-blinded", lambda unit: derivations.of_trial(unit, TRIAL))
    manifest = export(world, tmp_path / "out")
    tables = {table["name"]: table for table in manifest["tables"]}
    assert (tables["derived"]["rows"], tables["derived_visits"]["rows"]) == (2, len(found.table("visit")))
    for name, per in (("derived", "participant"), ("derived_visits", "visit")):
        rows = [{k: v for k, v in row.items() if k != "visit_no"} for row in csv_of(tmp_path / "out", name)]
        assert rows == [{column: _cell(value) for column, value in row.items()} for row in found.table(per)]
    codebook = (tmp_path / "out" / "codebook.html").read_text("utf-8")
    assert "Primary outcome: worst residual limb pain at 12 months" in codebook
    assert "Mean of the diary at 12 months where at least 4 of 7 days were rated" in codebook
    assert "as_allocated" not in codebook


def _cell(value: Any) -> str:
    """A value as CSV files have it: no trailing zeros of a number, no missing word."""
    if value is None:
        return ""
    return f"{float(value):g}" if isinstance(value, str) and value.replace(".", "").isdigit() else str(value)


def test_an_empty_trial_has_the_same_columns(sqlite_world: World, tmp_path: Path) -> None:
    empty = export(sqlite_world, tmp_path / "empty", formats=("csv",))
    followed(sqlite_world)
    full = export(sqlite_world, tmp_path / "full", formats=("csv",))
    for name in ("derived", "derived_visits"):
        structures = [next(t["structure"] for t in manifest["tables"] if t["name"] == name) for manifest in (empty, full)]
        assert structures[0] == structures[1]
        with (tmp_path / "empty" / "data" / "csv" / f"{name}.csv").open(encoding="utf-8") as file:
            assert len(list(csv.reader(file))) == 1


def test_an_unblinded_package_holds_the_restricted_items_and_the_delivery(world: World, tmp_path: Path) -> None:
    idents = [followed(world)]
    while len({builders.arm_of(world, ident) for ident in idents}) < 2:
        world.at(TODAY)
        idents.append(followed(world))
    manifest = unblinded(world, tmp_path / "out")
    rows = {row["participant"]: row for row in csv_of(tmp_path / "out", "derived")}
    arms = {row["participant"]: row["arm"] for row in csv_of(tmp_path / "out", "participants")}
    assert {ident: (row["trt_given"], row["as_allocated"]) for ident, row in rows.items()} == {i: (arms[i], "1") for i in arms}
    delivered = {row["participant"]: row["tmr_delivered"] for row in csv_of(tmp_path / "out", "visits") if row["visit"] == "V02"}
    assert delivered == {ident: "1" if arm == "1" else "" for ident, arm in arms.items()}
    again = export(world, tmp_path / "again", "statistician-unblinded", blinding="unblinded")
    assert manifest == again


def test_a_protocol_without_derived_items_has_no_such_table(sqlite_world: World) -> None:
    bare = replace(sqlite_world.protocol, derivations=())
    assert not {"derived", "derived_visits"} & {table.name for table in packages.plan(bare, True)}


def test_nothing_is_stored(sqlite_world: World) -> None:
    followed(sqlite_world)

    def work(unit: Unit) -> None:
        derivations.of_trial(unit, TRIAL)
        assert not unit.session.new
        assert not unit.session.dirty

    sqlite_world.read("data-manager", work)
