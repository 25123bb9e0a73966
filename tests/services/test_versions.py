"""A new version of the protocol on a running trial: proposed, compared with what is saved, and taken up site by site."""

import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from tests import builders
from tests.builders import ROOT, TODAY, TRIAL, World
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, TrialError, WrongState
from trialdm.services import casebooks, epochs, imports, overview, packages, participants, places, records, studies, versions
from trialdm.services.records import Submission
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import FormVersion

TOP, PAIN_FORM, LISTS = f"{TRIAL}/protocol.yaml", f"{TRIAL}/forms/pain.yaml", f"{TRIAL}/codelists.yaml"
PAIN = {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}

NOTE = "items:\n  - {name: pain_note, label: Note on pain, type: text, required: false}\n"
MAP = next(part for part in (ROOT / "protocols" / PAIN_FORM).read_text("utf-8").split("\n  - ") if "pain_site_map" in part)

#: What a version 1.1 changes beside its name: (file, text, other text).
Edit = tuple[str, str, str]
NEW_ITEM: Edit = (PAIN_FORM, "items:\n", NOTE)
WINDOW: Edit = (TOP, "target: 42, before: 14, after: 14", "target: 42, before: 14, after: 21")
LABEL: Edit = (PAIN_FORM, "Residual limb pain: now", "Residual limb pain: right now")
REQUIRED: Edit = (PAIN_FORM, "items:\n", NOTE.replace(", required: false", ""))
RANGE: Edit = (PAIN_FORM, 'in the affected limb, past 7 days", type: int, min: 0, max: 10', 'in the limb", type: int, min: 0, max: 5')
NO_MAP: Edit = (PAIN_FORM, f"  - {MAP}\n", "")
NEW_SITE: Edit = (TOP, "\nallocation:\n", "  - {code: S15, name: Fernhill Hospital, nation: ENG, target: 5}\n\nallocation:\n")


def texts(world: World, *edits: Edit, version: str = "1.1") -> dict[str, str]:
    """The files in force with these changes, as another version."""
    with world.units.reading(SYSTEM) as unit:
        found: dict[str, str] = json.loads(studies.definition(unit, TRIAL).texts)
    now = world.read("trial-manager", lambda unit: studies.protocol(unit, TRIAL).version)
    for file, old, new in ((TOP, f'version: "{now}"', f'version: "{version}"'), *edits):
        assert old in found[file], old
        found[file] = found[file].replace(old, new)
    return found


def propose(world: World, *edits: Edit, version: str = "1.1") -> int:
    """Load a version, and give its number."""
    files = texts(world, *edits, version=version)
    world.run("trial-manager", lambda unit: studies.load(unit, files))
    return world.read("trial-manager", lambda unit: versions.listed(unit, TRIAL)[0].seq)


def take_up(world: World, seq: int, site: str = "S01", day: date = TODAY) -> None:
    world.run("trial-manager", lambda unit: versions.use(unit, TRIAL, seq, site, day, "MOD-1"))


def refused(world: World, *edits: Edit, version: str = "1.1") -> Any:
    files = texts(world, *edits, version=version)
    with pytest.raises(TrialError) as problem:
        world.run("trial-manager", lambda unit: studies.load(unit, files))
    return problem.value


def seen(world: World, ident: str, visit: str = "V01", form: str = "PAIN", site: str = "S01") -> records.View:
    return world.read("research-nurse", lambda unit: records.view(unit, places.locate(unit, TRIAL, ident, visit, form)), site)


def items(world: World, ident: str, site: str = "S01") -> set[str]:
    return set(seen(world, ident, site=site).place.form.by_name)


# --- proposing -------------------------------------------------------------------------------------------------------


def test_a_proposed_version_changes_nothing_until_a_site_takes_it_up(world: World) -> None:
    ident = builders.consented(world)
    seq = propose(world, NEW_ITEM, WINDOW)
    assert seq == 2
    assert world.read("trial-manager", lambda unit: studies.protocol(unit, TRIAL)).version == "1.0"
    assert "pain_note" not in items(world, ident)
    found = world.read("trial-manager", lambda unit: versions.proposed(unit, TRIAL))
    assert [(one.seq, one.version, one.state, dict(one.sites)) for one in found] == [(2, "1.1", "proposed", {})]
    builders.randomised(world)


def test_the_same_texts_again_make_no_new_version(world: World) -> None:
    files = texts(world, NEW_ITEM)
    for _ in range(2):
        world.run("trial-manager", lambda unit: studies.load(unit, files))
    assert world.read("trial-manager", lambda unit: [row.seq for row in studies.loaded(unit, TRIAL)]) == [1, 2]


def test_a_version_needs_a_name_of_its_own(world: World) -> None:
    assert refused(world, NEW_ITEM, version="1.0").code == "PROTOCOL.VERSION"
    propose(world, NEW_ITEM)
    assert refused(world, LABEL).code == "PROTOCOL.VERSION"


FIXED: list[Edit] = [
    (TOP, 'p: "4/5"', 'p: "3/4"'),
    (TOP, "label: Standard nerve handling, ratio: 1", "label: Standard nerve handling, ratio: 2"),
    (TOP, "participant_after: V07", "participant_after: V08"),
    (TOP, "identity: vault", "identity: site-held"),
]


@pytest.mark.parametrize("edit", FIXED, ids=["allocation", "arms", "unblinding", "identity"])
def test_what_no_version_may_change_is_named(sqlite_world: World, edit: Edit) -> None:
    problem = refused(sqlite_world, edit)
    assert problem.code == "PROTOCOL.BREAKS"
    assert len(problem.details) == 1 + ("ratio" in edit[1])
    assert all(detail.needs for detail in problem.details)


def test_what_answers_stand_in_cannot_go(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", {**PAIN, "pain_site_map": "A1"}, only=True)
    gone = refused(world, NO_MAP)
    assert (gone.code, [detail.place for detail in gone.details]) == ("PROTOCOL.BREAKS", ["PAIN.pain_site_map"])
    cases: list[tuple[Edit, str]] = [
        (
            (PAIN_FORM, "type: text, length: 500,\n     lines: 2, required: false, scan: true", "type: int, required: false"),
            "PAIN.pain_site_map",
        ),
        ((f"{TRIAL}/forms/eq5d.yaml", "V01: required, ", ""), "EQ5D"),
        ((LISTS, 'CL_ASSIST: {1: "Self"', 'CL_ASSIST: {7: "Self"'), "CL_ASSIST.1"),
    ]
    builders.put(world, ident, "V01", "EQ5D")
    for edit, place in cases:
        assert place in {detail.place for detail in refused(world, edit).details}


def test_what_nobody_has_answered_may_go(world: World) -> None:
    builders.put(world, builders.consented(world), "V01", "PAIN", PAIN, only=True)
    assert propose(world, NO_MAP) == 2


def test_only_who_configures_the_trial_proposes(world: World) -> None:
    files = texts(world, NEW_ITEM)
    with pytest.raises(Forbidden):
        world.run("sponsor", lambda unit: studies.load(unit, files))


def test_an_ended_trial_takes_no_version(world: World) -> None:
    world.run("trial-manager", lambda unit: studies.enter(unit, TRIAL, "trial", TRIAL, "end", "ended"))
    assert refused(world, NEW_ITEM).code == "STATE.TRIAL"


# --- site by site ----------------------------------------------------------------------------------------------------


def test_each_site_works_with_the_version_that_it_took_up(world: World) -> None:
    here, there = builders.consented(world), builders.consented(world, "S02")
    take_up(world, propose(world, NEW_ITEM))
    assert "pain_note" in items(world, here)
    assert "pain_note" not in items(world, there, "S02")
    builders.put(world, here, "V01", "PAIN", {**PAIN, "pain_note": "as told"}, only=True)
    builders.put(world, there, "V01", "PAIN", PAIN, only=True, site="S02")
    with world.units.reading(SYSTEM) as unit:
        assert sorted(row.definition_seq for row in unit.session.query(FormVersion) if "limb_worst" in row.data) == [1, 2]
        assert studies.protocol(unit, TRIAL).version == "1.1"
    rows = world.read("trial-manager", lambda unit: versions.listed(unit, TRIAL))
    assert [(row.version, row.state) for row in rows] == [("1.1", "in_use"), ("1.0", "in_use")]


def test_a_version_is_used_from_its_day_on(world: World) -> None:
    ident = builders.consented(world)
    take_up(world, propose(world, NEW_ITEM), day=TODAY + timedelta(days=7))
    assert "pain_note" not in items(world, ident)
    world.at(TODAY + timedelta(days=7))
    assert "pain_note" in items(world, ident)


def test_earlier_answers_are_read_and_kept_under_the_newer_form(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    take_up(world, propose(world, NEW_ITEM, LABEL))
    assert seen(world, ident).answers.values == {**PAIN, "pain_pre": 2}
    builders.put(world, ident, "V01", "PAIN", {**PAIN, "pain_note": "later"}, only=True, reason="source: a note")
    assert seen(world, ident).answers.values == {**PAIN, "pain_pre": 2, "pain_note": "later"}


def test_answers_to_an_item_that_is_gone_stay_with_the_form(world: World) -> None:
    ident = builders.consented(world)
    seq = propose(world, NO_MAP)
    take_up(world, seq, "S02")
    builders.put(world, ident, "V01", "PAIN", {**PAIN, "pain_site_map": "A1"}, only=True)
    with world.units.reading(SYSTEM) as unit:
        person = participants.known(unit, TRIAL, ident)
        form = studies.parsed(studies.loaded(unit, TRIAL)[1]).form("PAIN")
        assert "pain_site_map" not in casebooks.read(unit, TRIAL, person).get("V01", "PAIN", 1).answers(form).values  # type: ignore[union-attr]
    with pytest.raises(Invalid) as stranded:
        take_up(world, seq)
    assert stranded.value.code == "PROTOCOL.BREAKS"


def test_a_form_saved_again_without_an_item_keeps_its_answer(world: World) -> None:
    """Written past the refusal, as a version that was in use before the refusal would have."""
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", {**PAIN, "pain_site_map": "A1"}, only=True)
    files = texts(world, NO_MAP)
    world.run("trial-manager", lambda unit: studies.put_in_force(unit, files))
    builders.put(world, ident, "V01", "PAIN", {**PAIN, "limb_avg": 3}, only=True, reason="source: misread")
    with world.units.reading(SYSTEM) as unit:
        newest = casebooks.read(unit, TRIAL, participants.known(unit, TRIAL, ident)).get("V01", "PAIN", 1)
        assert newest is not None
        assert json.loads(newest.data)["answers"] == {**PAIN, "limb_avg": 3, "pain_pre": 2, "pain_site_map": "A1"}


def test_the_whole_trial_counts_windows_and_exports_by_each_place(world: World) -> None:
    ident, other = builders.randomised(world), builders.randomised(world, "S02")
    take_up(world, propose(world, WINDOW, NEW_ITEM))

    def closes(unit: Unit, participant: str, site: str) -> date:
        rows = overview.grid(unit, studies.protocol_at(unit, TRIAL, site), participants.known(unit, TRIAL, participant))
        window = next(row["window"] for row in rows if row["code"] == "V04")
        return window.closes  # type: ignore[no-any-return]

    mine = world.read("research-nurse", lambda unit: closes(unit, ident, "S01"))
    theirs = world.read("research-nurse", lambda unit: closes(unit, other, "S02"), "S02")
    assert mine - theirs == timedelta(days=7)
    plan = world.read("data-manager", lambda unit: packages.plan(studies.protocol(unit, TRIAL), True))
    assert "pain_note" in {column.name for table in plan if table.name == "pain" for column in table.columns}
    assert world.read("research-nurse", lambda unit: overview.tasks(unit, TRIAL)) is not None


def test_an_export_holds_answers_of_both_versions(world: World, tmp_path: Any) -> None:
    here, there = builders.consented(world), builders.consented(world, "S02")
    take_up(world, propose(world, NEW_ITEM))
    builders.put(world, here, "V01", "PAIN", {**PAIN, "pain_note": "as told"}, only=True)
    builders.put(world, there, "V01", "PAIN", PAIN, only=True, site="S02")
    asked = packages.Request(("csv",))
    manifest = world.read("data-manager", lambda unit: packages.write(unit, TRIAL, tmp_path / "out", asked))
    assert manifest["protocol_version"] == "1.1"
    text = next((tmp_path / "out").rglob("pain.csv")).read_text("utf-8")
    assert "as told" in text
    assert len(text.splitlines()) == 3


def test_a_file_is_imported_by_the_version_of_each_site(world: World) -> None:
    here, there = builders.consented(world), builders.consented(world, "S02")
    take_up(world, propose(world, NEW_ITEM))
    line = "{},V01,6,4,1,{}\n"
    head = "participant,visit,limb_worst,limb_avg,pain_assist,pain_note\n"
    good = head + line.format(here, "a note") + line.format(there, "")
    assert world.run("data-manager", lambda unit: imports.load(unit, TRIAL, "PAIN", good)).saved == 2
    bad = head + line.format(there, "a note")
    with pytest.raises(imports.BadRows) as problem:
        world.run("data-manager", lambda unit: imports.load(unit, TRIAL, "PAIN", bad, reason="source"))
    assert [cell.column for cell in problem.value.outcome.errors] == ["pain_note"]


def test_a_site_that_came_with_a_version_works_with_it(world: World) -> None:
    seq = propose(world, NEW_SITE)
    assert world.read("trial-manager", lambda unit: {s.code for s in overview.sites(unit, TRIAL)} & {"S15"}) == set()
    take_up(world, seq, "S15")
    with world.units.reading(SYSTEM) as unit:
        assert studies.state(unit, TRIAL, "site", "S15") == "identified"
        assert studies.definition_at(unit, TRIAL, "S15").seq == seq
        assert studies.definition_at(unit, TRIAL, "S01").seq == 1


def test_which_site_uses_which_version_is_recorded_once_and_never_backwards(world: World) -> None:
    first, second = propose(world, NEW_ITEM), propose(world, LABEL, version="1.2")
    take_up(world, second, day=TODAY)
    cases: list[tuple[int, str, date, type[TrialError], str]] = [
        (first, "S01", TODAY, WrongState, "VERSION.OLDER"),
        (second, "S01", TODAY, Conflict, "VERSION.ALREADY"),
        (1, "S01", TODAY, WrongState, "VERSION.OLDER"),
        (9, "S01", TODAY, Missing, "VERSION.UNKNOWN"),
        (second, "S99", TODAY, Missing, "SITE.UNKNOWN"),
    ]
    for seq, site, day, kind, code in cases:
        with pytest.raises(kind) as problem:
            take_up(world, seq, site, day)
        assert problem.value.code == code
    third = propose(world, WINDOW, version="1.3")
    with pytest.raises(Invalid) as early:
        take_up(world, third, day=TODAY - timedelta(days=1))
    assert early.value.code == "VERSION.DAY"
    take_up(world, third)
    lines = world.read("trial-manager", lambda unit: [use.seq for use in studies.uses(unit, TRIAL)])
    assert lines == [second, third]


# --- a page that was opened before -----------------------------------------------------------------------------------


def test_a_form_opened_under_another_version_is_not_saved(world: World) -> None:
    ident = builders.consented(world)
    opened = seen(world, ident).place.definition
    take_up(world, propose(world, NEW_ITEM))

    def save(unit: Unit, definition: int | None) -> records.View:
        place = places.locate(unit, TRIAL, ident, "V01", "PAIN")
        return records.save(unit, place, Submission(PAIN, complete=True, definition=definition))

    for number, words in ((opened, "protocol version 1.0"), (77, "an unknown version of the protocol")):
        with pytest.raises(Refused) as problem:
            world.run("research-nurse", lambda unit, number=number: save(unit, number))
        assert problem.value.code == "GATE.GOV-25"
        assert problem.value.message == (f"This form was opened under {words}; site S01 works with 1.1 since {TODAY.isoformat()}.")
        assert problem.value.needs == "Open the form again and enter the change there."
    assert world.run("research-nurse", lambda unit: save(unit, 2)).version == 1


# --- amendments of the allocation ------------------------------------------------------------------------------------

COIN: Edit = (TOP, 'p: "4/5"', 'p: "3/4"')


def amend(world: World, version: str = "2.0") -> None:
    files = texts(world, COIN, version=version)
    world.run("trial-manager", lambda unit: epochs.amend(unit, TRIAL, files, reason="approved amendment 1"))


def test_an_amendment_waits_until_every_site_has_the_version(world: World) -> None:
    seq = propose(world, NEW_ITEM)
    take_up(world, seq)
    with pytest.raises(WrongState) as problem:
        amend(world)
    assert problem.value.code == "ALLOC.VERSION_WAITS"
    for site in world.protocol.sites:
        if site.code != "S01":
            take_up(world, seq, site.code)
    amend(world)
    world.run("sponsor", lambda unit: epochs.sign(unit, TRIAL))
    with world.units.reading(SYSTEM) as unit:
        now = studies.protocol(unit, TRIAL)
        assert (now.version, now.scheme.parameters["p"], "pain_note" in now.form("PAIN").by_name) == ("2.0", "3/4", True)
        assert studies.definition_at(unit, TRIAL, "S02").seq == seq + 1


def test_a_version_that_went_live_after_an_amendment_is_not_taken_back_by_its_signature(world: World) -> None:
    amend(world)
    seq = propose(world, NEW_ITEM)
    for site in world.protocol.sites:
        take_up(world, seq, site.code)
    with pytest.raises(Conflict) as problem:
        world.run("sponsor", lambda unit: epochs.sign(unit, TRIAL))
    assert problem.value.code == "ALLOC.STALE"


def test_an_amendment_leaves_a_version_that_nobody_uses_behind(world: World) -> None:
    seq = propose(world, NEW_ITEM)
    amend(world)
    world.run("sponsor", lambda unit: epochs.sign(unit, TRIAL))
    assert world.read("trial-manager", lambda unit: versions.proposed(unit, TRIAL)) == []
    with pytest.raises(WrongState) as problem:
        take_up(world, seq)
    assert problem.value.code == "VERSION.OLDER"


# --- the impact ------------------------------------------------------------------------------------------------------


def impact(world: World, seq: int, role: str = "trial-manager", site: str = "") -> versions.Impact:
    return world.read(role, lambda unit: versions.impact(unit, TRIAL, seq), site)


def by_place(found: versions.Impact) -> Mapping[str, versions.Touched]:
    return {one.difference.place: one for one in found.touched}


@pytest.fixture
def two_saved(world: World) -> World:
    for site in ("S01", "S02"):
        builders.put(world, builders.consented(world, site), "V01", "PAIN", PAIN, only=True, site=site)
    return world


def test_wording_touches_nothing(two_saved: World) -> None:
    found = impact(two_saved, propose(two_saved, LABEL))
    assert [(one.difference.effect, one.forms) for one in found.touched] == [("none", None), ("none", None)]
    assert (found.unmet, found.owed) == ((), ())
    assert [(one.table, one.column, one.change) for one in found.exports] == [("pain", "rlp_now", "altered")]


def test_a_new_item_is_a_new_column_and_touches_the_forms_that_are_saved(two_saved: World) -> None:
    found = impact(two_saved, propose(two_saved, NEW_ITEM))
    touched = by_place(found)["PAIN.pain_note"]
    assert (touched.difference.effect, touched.forms, touched.by_site, touched.participants) == ("adds", 2, {"S01": 1, "S02": 1}, 2)
    assert found.unmet == ()
    assert [(one.column, one.change) for one in found.exports] == [("pain_note", "added"), ("pain_note_mr", "added")]


@pytest.mark.parametrize(("edit", "said"), [(REQUIRED, "Note on pain"), (RANGE, "from 0 to 5")])
def test_complete_forms_that_would_not_pass_are_listed(two_saved: World, edit: Edit, said: str) -> None:
    found = impact(two_saved, propose(two_saved, edit))
    assert found.unmet_by_form == {"PAIN": 2}
    assert [(one.where.site, one.where.visit, one.where.form, one.where.row) for one in found.unmet] == [
        ("S01", "V01", "PAIN", 1),
        ("S02", "V01", "PAIN", 1),
    ]
    assert all(said in one.problems[0] for one in found.unmet)


def test_a_form_that_becomes_required_is_owed(two_saved: World) -> None:
    found = impact(two_saved, propose(two_saved, (f"{TRIAL}/forms/anlg.yaml", "visits: {", "visits: {V00: required, ")))
    assert found.owed == ()
    edit = (f"{TRIAL}/forms/pgic.yaml", "visits: {", "visits: {V01: required, ")
    found = impact(two_saved, propose(two_saved, edit, version="1.2"))
    assert found.owed_by_form == {"PGIC": 2}


def test_readers_see_their_sites_and_no_participant_without_the_right(two_saved: World) -> None:
    seq = propose(two_saved, REQUIRED)
    nurse, sponsor = impact(two_saved, seq, "research-nurse"), impact(two_saved, seq, "sponsor")
    assert (nurse.unmet_by_form, len(nurse.unmet)) == ({"PAIN": 1}, 1)
    assert (sponsor.unmet_by_form, sponsor.unmet) == ({"PAIN": 2}, ())
    assert by_place(sponsor)["PAIN.pain_note"].people == ()
    with pytest.raises(Forbidden):
        impact(two_saved, seq, "system-administrator")


def test_a_blinded_reader_counts_no_restricted_form(world: World) -> None:
    edit = (f"{TRIAL}/forms/surg.yaml", "items:\n", "items:\n  - {name: surg_note, label: Note on surgery, type: text, required: false}\n")
    seq = propose(world, edit)
    manager, unblinded, sponsor = (impact(world, seq, role) for role in ("trial-manager", "statistician-unblinded", "sponsor"))
    assert by_place(manager)["SURG.surg_note"].forms is None
    assert by_place(unblinded)["SURG.surg_note"].forms == 0
    assert ("SURG.surg_note" in by_place(sponsor), sponsor.withheld) == (False, 1)
    assert {one.table for one in manager.exports} == set()
    assert {one.table for one in unblinded.exports} == {"surg"}


def test_the_impact_is_one_json_document(two_saved: World) -> None:
    found = json.loads(json.dumps(impact(two_saved, propose(two_saved, REQUIRED, WINDOW)).to_json()))
    assert found["would_not_pass"]["forms"] == 2
    assert {row["effect"] for row in found["differences"]} == {"none", "adds", "alters"}
    assert found["against"] == "1.0"
