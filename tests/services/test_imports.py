"""Importing files: what leaves as an export comes back as it was, and what does not fit is named cell by cell."""

import csv
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Conflict, Invalid, Missing, TrialError
from trialdm.domain.ethics import Approval
from trialdm.services import approvals, gates, holds, imports, packages, places, records
from trialdm.services.imports import BadRows, Outcome
from trialdm.services.packages import Request

#: Who enters what: the nurse enters everything that is not named here.
_ENTERED_BY = {
    "operative": "surgeon",
    "deviation": "principal-investigator",
    "status": "principal-investigator",
    "unblinding": "principal-investigator",
}
#: Answers without which a second row, or a visit that has hardly begun, would not do.
_GIVEN = {
    "DIAR": lambda row: {"dia_day": row},
    "PRPI": lambda row: {"prpi_frame": row},
    "PRPB": lambda row: {"prpb_frame": row},
    "PRIF": lambda row: {"prif_frame": row},
}


def everything(world: World) -> str:
    """A participant with whatever can be saved at the first visit of each form; two rows where there are rows, reasons among them."""
    ident = builders.randomised(world)
    for form in world.protocol.forms:
        visit = next(iter(form.visits))
        rows = world.protocol.rows_at(form, world.protocol.visit(visit))
        given = _GIVEN.get(form.code, lambda row: {})
        role = _ENTERED_BY.get(form.kind, "research-nurse")
        for row in (1, 2) if rows else (1,):
            for who in (role, "data-manager") if form.double_entry else (role,):
                with suppress(TrialError):
                    builders.put(world, ident, visit, form.code, given(row), role=who, row=row)
    missing = {"limb_avg": "RF"}
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 7, "pain_assist": 1}, only=True, missing=missing, reason="source")
    return ident


def exported(world: World, folder: Path) -> dict[str, str]:
    """The forms in which something is saved, as the unblinded data manager's eyes would read them: code -> CSV."""
    world.read("statistician-blinded", lambda unit: packages.write(unit, TRIAL, folder, Request(formats=("csv",))))
    found = {path.stem.upper(): path.read_text("utf-8") for path in (folder / "data" / "csv").glob("*.csv")}
    return {form.code: found[form.code] for form in world.protocol.forms if found.get(form.code, "").count("\n") > 1}


def load(world: World, form: str, text: str, role: str = "data-manager", **more: Any) -> Outcome:
    return world.run(role, lambda unit: imports.load(unit, TRIAL, form, text, **more))


def test_every_exported_form_comes_back_and_changes_nothing(world: World, tmp_path: Path) -> None:
    everything(world)
    first = exported(world, tmp_path / "one")
    open_forms = {form.code for form in world.protocol.forms if not form.restricted}
    assert open_forms - set(first) <= {"REOP", "SAE"}, "these need an operation or an event before them"
    assert ",-94," in first["PAIN"]
    assert first["DIAR"].count("\n") == 3
    for form, text in first.items():
        outcome = load(world, form, text)
        assert (outcome.saved, outcome.changes, outcome.errors) == (0, (), ()), form
    assert exported(world, tmp_path / "two") == first


def test_a_draft_that_comes_back_unchanged_stays_a_draft(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.consented(sqlite_world)
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 7}, only=True, complete=False)
    outcome = load(world, "PAIN", f"participant,visit,limb_worst\n{ident},V01,7\n")
    assert (outcome.saved, outcome.unchanged) == (0, 1)
    assert world.read("data-manager", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN"))).status == "draft"


@pytest.mark.parametrize("again", ["{ident},V01,1,6", "{ident},v01,,6", " {ident} ,V01,1,7"], ids=str)
def test_the_same_form_twice_in_a_file_is_refused(sqlite_world: World, again: str) -> None:
    world, ident = sqlite_world, builders.consented(sqlite_world)
    text = f"participant,visit,row,limb_worst\n{ident},V01,1,7\n{again.format(ident=ident)}\n"
    with pytest.raises(BadRows) as refused:
        load(world, "PAIN", text)
    found = [cell for cell in refused.value.outcome.errors if "already" in cell.message]
    assert [(cell.row, cell.column) for cell in found] == [(3, "participant")]


def unblinded(world: World, folder: Path) -> dict[str, str]:
    """Every form in which something is saved, restricted ones too, as they leave a locked trial: code -> CSV."""
    asked = Request(formats=("csv",), blinding="unblinded")
    world.read("statistician-unblinded", lambda unit: packages.write(unit, TRIAL, folder, asked))
    found = {path.stem.upper(): path.read_text("utf-8") for path in (folder / "data" / "csv").glob("*.csv")}
    return {form.code: found[form.code] for form in world.protocol.forms if found.get(form.code, "").count("\n") > 1}


def lock_again(world: World) -> None:
    world.run("trial-manager", lambda unit: gates.move_trial(unit, TRIAL, "lock", reason="a short trial"))
    builders.confirm_lock(world)


def unlock(world: World) -> None:
    words = "a file came back from the surgeons"
    world.run("data-manager", lambda unit: holds.move(unit, holds.target(unit, TRIAL, "trial"), "ask-unlock", reason=words))
    world.run("trial-manager", lambda unit: holds.move(unit, holds.target(unit, TRIAL, "trial"), "unlock", reason=words))


def test_restricted_forms_come_back_for_an_unblinded_data_manager_and_change_nothing(world: World, tmp_path: Path) -> None:
    """Export, import, export: the same bytes, through the unlocking of a trial."""
    ident = everything(world)
    operate(world, ident)
    builders.lock(world)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, SIGNED_PLAN))
    first = unblinded(world, tmp_path / "one")
    restricted = {form.code for form in world.protocol.forms if form.restricted}
    assert restricted <= set(first)
    unlock(world)
    for form, text in first.items():
        outcome = load(world, form, text, "unblinded-data-manager")
        assert (outcome.saved, outcome.changes, outcome.errors) == (0, (), ()), form
        if form in restricted:
            with pytest.raises(Missing):
                load(world, form, text)
    lock_again(world)
    assert unblinded(world, tmp_path / "two") == first


def test_a_changed_restricted_form_is_imported_and_exported_as_it_was_sent(sqlite_world: World, tmp_path: Path) -> None:
    world = sqlite_world
    ident = everything(world)
    operate(world, ident)
    builders.lock(world)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, SIGNED_PLAN))
    rows = list(csv.reader(io.StringIO(unblinded(world, tmp_path / "one")["SURG"])))
    for row in rows[1:]:
        row[rows[0].index("ebl_ml")] = "777"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    sent = text.getvalue()
    unlock(world)
    outcome = load(world, "SURG", sent, "unblinded-data-manager", reason="source: the anaesthetic chart")
    assert [(change.place, change.item, change.new) for change in outcome.changes] == [(f"{ident} V02", "ebl_ml", "777")]
    lock_again(world)
    again = unblinded(world, tmp_path / "two")["SURG"]
    assert ",777," in again
    unlock(world)
    assert load(world, "SURG", again, "unblinded-data-manager").saved == 0
    lock_again(world)
    assert unblinded(world, tmp_path / "three")["SURG"] == again


SIGNED_PLAN = Approval("sap", "signed", decided_on=builders.TODAY)


def operate(world: World, ident: str) -> None:
    """An operation with a nerve, as the surgeon writes it."""
    day = builders.TODAY.isoformat()
    given = {"surg_done": 1, "surg_date": day, "surg_side": 1, "surg_level": 12, "ebl_ml": 300, "surg_id": 1}
    builders.put(world, ident, "V02", "SURG", given, role="surgeon", reason="source")
    builders.put(world, ident, "V02", "NERV", {"nv_nerve": 2, "nv_found": 1, "nv_tech": 4}, role="surgeon", reason="source")


def test_a_changed_form_is_imported_and_exported_as_it_was_sent(world: World, tmp_path: Path) -> None:
    """Export, change, import, export: the same bytes apart from version and moment of the changed row."""
    ident = everything(world)
    text = exported(world, tmp_path / "one")["PAIN"]
    header, *rows = text.splitlines()
    column = header.split(",").index("limb_worst")
    changed = [row.split(",") for row in rows]
    for cells in changed:
        if cells[header.split(",").index("visit")] == "V01":
            cells[column] = "9"
    sent = "\n".join([header, *(",".join(cells) for cells in changed)]) + "\n"
    outcome = load(world, "PAIN", sent, reason="source: read again")
    assert [(c.place, c.item, c.old, c.new) for c in outcome.changes if c.item == "limb_worst"] == [
        (f"{ident} V01", "limb_worst", "7", "9")
    ]
    again = exported(world, tmp_path / "two")["PAIN"]
    assert again != text
    assert load(world, "PAIN", again).saved == 0
    assert exported(world, tmp_path / "three")["PAIN"] == again


def test_a_column_that_is_not_in_the_file_leaves_what_is_saved(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    builders.put(sqlite_world, ident, "V01", "PAIN", {"limb_worst": 7, "limb_avg": 4, "pain_assist": 1}, only=True)
    outcome = load(sqlite_world, "PAIN", f"participant,visit,limb_worst\n{ident},V01,8\n", reason="source")
    assert [(c.item, c.old, c.new) for c in outcome.changes if c.item.startswith("limb")] == [("limb_worst", "7", "8")]
    view = sqlite_world.read("data-manager", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN")))
    assert view.answers.values["limb_avg"] == 4


#: (form, file with P for the participant, code of the refusal, column that it names)
WRONG: list[tuple[str, str, str, str]] = [
    ("PAIN", "participant,visit,an_drug\nP,V01,x\n", "IMPORT.HEADER", "an_drug"),
    ("PAIN", "participant,limb_worst\nP,5\n", "IMPORT.HEADER", "visit"),
    ("PAIN", "participant,visit,limb_worst\nP,V99,5\n", "IMPORT.CELLS", "participant"),
    ("PAIN", "participant,visit,limb_worst\nX999-9999-XX,V01,5\n", "IMPORT.CELLS", "participant"),
    ("PAIN", "participant,visit,limb_worst,limb_avg,pain_assist\nP,V01,11,3,1\n", "IMPORT.CELLS", "limb_worst"),
    ("ANLG", "participant,visit,row,an_any,an_days7\nP,V01,1,0,3\n", "IMPORT.CELLS", "an_days7"),
    ("ANLG", "participant,visit,row,an_any\nP,V01,one,0\n", "IMPORT.CELLS", "row"),
    ("ANLG", "participant,visit,row,an_any\nP,V01,²,0\n", "IMPORT.CELLS", "row"),
    ("ANLG", f"participant,visit,row,an_any\nP,V01,{'9' * 5000},0\n", "IMPORT.CELLS", "row"),
    ("SURG", "participant,visit\nP,V02\n", "CRF.NO_FORM", ""),
]


@pytest.mark.parametrize(("form", "text", "code", "column"), WRONG)
def test_what_does_not_fit_is_named_and_nothing_is_saved(sqlite_world: World, form: str, text: str, code: str, column: str) -> None:
    ident = builders.consented(sqlite_world)
    with pytest.raises(TrialError) as refused:
        load(sqlite_world, form, text.replace("P,", f"{ident},"))
    assert refused.value.code == code
    named = (
        [c.column for c in refused.value.outcome.errors] if isinstance(refused.value, BadRows) else [d.place for d in refused.value.details]
    )
    assert column in named if column else not named
    book = sqlite_world.read("data-manager", lambda unit: places.book(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN")))
    assert set(book.forms) == {("V01", "CONS", 1)}


def test_a_value_for_a_question_that_is_not_asked_is_refused_at_its_cell(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    outcome = imports.tried(
        lambda work: sqlite_world.run("data-manager", work), TRIAL, "ANLG", f"participant,visit,row,an_any,an_days7\n{ident},V01,1,0,3\n"
    )
    (cell,) = outcome.errors
    assert (cell.row, cell.column, cell.value) == (2, "an_days7", "3")
    assert "not asked" in cell.message


def test_a_locked_form_is_not_imported_into(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    view = builders.put(sqlite_world, ident, "V01", "PAIN", {"limb_worst": 7, "limb_avg": 4, "pain_assist": 1}, only=True)

    def freeze(unit: Any) -> None:
        holds.move(unit, holds.target(unit, TRIAL, "form", view.instance), "freeze", reason="cleaning")

    sqlite_world.run("data-manager", freeze)
    with pytest.raises(BadRows) as bad:
        load(sqlite_world, "PAIN", f"participant,visit,limb_worst\n{ident},V01,8\n", reason="source")
    assert "frozen" in bad.value.outcome.errors[0].message


def test_a_dry_run_leaves_nothing_behind(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    text = f"participant,visit,limb_worst,limb_avg,pain_assist\n{ident},V01,5,3,1\n"
    outcome = imports.tried(lambda work: sqlite_world.run("data-manager", work), TRIAL, "PAIN", text)
    assert (outcome.saved, len(outcome.changes) > 2) == (1, True)
    assert load(sqlite_world, "PAIN", text).saved == 1


def test_the_header_of_an_empty_file_can_be_imported_and_names_nothing_restricted(sqlite_world: World) -> None:
    for form in sqlite_world.protocol.forms:
        if form.restricted:
            with pytest.raises(Missing):
                sqlite_world.read("data-manager", lambda unit, form=form: imports.columns(unit, TRIAL, form.code))
            continue
        header = sqlite_world.read("data-manager", lambda unit, form=form: imports.columns(unit, TRIAL, form.code))
        assert not {item.name for item in form.items if item.restricted} & set(header)
        with pytest.raises(Invalid) as empty:
            load(sqlite_world, form.code, ",".join(header) + "\n")
        assert empty.value.code == "IMPORT.FILE"


# --- from the preview to the import ----------------------------------------------------------------------------------


def test_what_was_previewed_is_imported_and_nothing_else(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.consented(sqlite_world)
    text = f"participant,visit,limb_worst,limb_avg,pain_assist\n{ident},V01,5,3,1\n"
    run: Callable[[Any], Any] = lambda work: world.run("data-manager", work)  # noqa: E731
    outcome = imports.tried(run, TRIAL, "PAIN", text)
    token = run(lambda unit: imports.sealed(unit, TRIAL, "PAIN", text, "", outcome))
    for wrong, form, role in (
        (token[:-8] + "AAAAAAA=", "PAIN", "data-manager"),
        (token, "ANLG", "data-manager"),
        (token, "PAIN", "trial-manager"),
    ):
        with pytest.raises(Invalid) as refused:
            world.run(role, lambda unit, wrong=wrong, form=form: imports.load_sealed(unit, TRIAL, form, wrong))
        assert refused.value.code == "IMPORT.PREVIEW"
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 2, "limb_avg": 1, "pain_assist": 1}, only=True, complete=False)
    with pytest.raises(Conflict) as changed:
        run(lambda unit: imports.load_sealed(unit, TRIAL, "PAIN", token))
    assert changed.value.code == "IMPORT.CHANGED"
    fresh = imports.tried(run, TRIAL, "PAIN", text)
    token = run(lambda unit: imports.sealed(unit, TRIAL, "PAIN", text, "", fresh))
    assert run(lambda unit: imports.load_sealed(unit, TRIAL, "PAIN", token)) == fresh


def test_a_hidden_row_is_imported_under_its_own_number_once(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    day = builders.TODAY.isoformat()

    def file(row: int) -> str:
        return f"participant,visit,row,dv_type,dv_class,dv_date,dv_found,dv_desc,dv_capa\n{ident},EV,{row},4,1,{day},{day},What,Done\n"

    with pytest.raises(BadRows) as refused:
        load(world, "DEVI", file(31), "unblinded-data-manager")
    assert [(cell.column, "501" in cell.message) for cell in refused.value.outcome.errors] == [("row", True)]
    assert [load(world, "DEVI", file(501), "unblinded-data-manager").saved for _ in range(2)] == [1, 0]
