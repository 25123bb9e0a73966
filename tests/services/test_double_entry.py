"""Double data entry: two people enter a form unseen by each other, a third one settles what differs; rows included."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.services.test_signatures import sign_casebook
from tests.services.test_versions import Edit, propose, take_up
from trialdm.domain.crf import Answers
from trialdm.domain.errors import TrialError, WrongState
from trialdm.services import double_entry, holds, imports, inbox, places, records, studies
from trialdm.services.records import Submission, View
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import AuditEvent, FormEntry, FormVersion

TWICE: Edit = (f"{TRIAL}/forms/diar.yaml", "repeating: true\n", "repeating: true\ndouble_entry: true\n")
DAY = {"dia_day": 1, "dia_date": TODAY.isoformat(), "dia_rlp": 3, "dia_plp": 0}


@pytest.fixture
def ident(world: World) -> str:
    """A participant of a site at which the diary is entered twice."""
    person = builders.randomised(world)
    take_up(world, propose(world, TWICE))
    return person


def enter(world: World, ident: str, role: str, row: int = 1, complete: bool = True, **answers: Any) -> View:
    def work(unit: Unit) -> View:
        place = places.locate(unit, TRIAL, ident, "V03", "DIAR", row)
        confirm = tuple(check.id for check in place.form.checks if check.severity == "soft")
        return records.save(unit, place, Submission({**DAY, **answers}, complete=complete, confirm=confirm))

    return world.run(role, work)


def code_of(world: World, ident: str, role: str, **sent: Any) -> str:
    with pytest.raises(TrialError) as refused:
        enter(world, ident, role, **sent)
    return refused.value.code


def test_two_equal_entries_make_the_form(world: World, ident: str) -> None:
    first = enter(world, ident, "research-nurse")
    assert (first.status, first.version, first.answers.values) == ("blank", 0, {})
    assert first.entries is not None
    assert first.entries.to_json() == {"next": "second", "entered_by": ["Research-Nurse S01"], "differ": []}
    second = enter(world, ident, "data-manager")
    assert (second.status, second.version, second.answers.values["dia_rlp"]) == ("complete", 1, 3)


def test_nobody_enters_the_same_form_twice_and_an_entry_is_whole(world: World, ident: str) -> None:
    assert code_of(world, ident, "research-nurse", complete=False) == "CRF.WHOLE_ENTRY"
    enter(world, ident, "research-nurse")
    assert code_of(world, ident, "research-nurse") == "CRF.ENTERED"


def test_what_differs_is_settled_by_a_third_person(world: World, ident: str) -> None:
    enter(world, ident, "research-nurse", dia_rlp=3)
    second = enter(world, ident, "data-manager", dia_rlp=8)
    assert (second.status, second.version) == ("blank", 0)
    assert second.entries is not None
    assert (second.entries.next, second.entries.differ) == ("settle", ("dia_rlp",))
    for role in ("research-nurse", "data-manager"):
        assert code_of(world, ident, role) == "CRF.ENTERED"
    settled = enter(world, ident, "sub-investigator", dia_rlp=8)
    assert (settled.status, settled.version, settled.saved_by) == ("complete", 1, world.actor("sub-investigator").id)
    with world.units.reading(SYSTEM) as unit:
        kept = [json.loads(data)["answers"]["dia_rlp"] for data in unit.session.scalars(select(FormEntry.data).order_by(FormEntry.seq))]
        acts = unit.session.scalars(
            select(AuditEvent.action).where(AuditEvent.action.startswith("form.enter")).order_by(AuditEvent.seq)
        ).all()
    assert kept == [3, 8]
    assert acts == ["form.enter-first", "form.enter-second"]


def test_each_row_is_entered_twice_by_itself(world: World, ident: str) -> None:
    enter(world, ident, "research-nurse", row=1)
    enter(world, ident, "data-manager", row=2, dia_day=2)
    enter(world, ident, "research-nurse", row=2, dia_day=2)
    with world.units.reading(SYSTEM) as unit:
        assert len(unit.session.scalars(select(FormVersion).where(FormVersion.data.contains('"dia_day":2'))).all()) == 1
    assert waiting(world, "monitor") == [(1, "second", ("Research-Nurse S01",), 0, False)]


def waiting(world: World, role: str, site: str = "") -> list[tuple[int, str, tuple[str, ...], int, bool]]:
    found = world.read(role, lambda unit: double_entry.listed(unit, TRIAL), site)
    return [(line.row, line.next, line.entered_by, line.differ, line.yours) for line in found]


def asked(world: World, role: str, site: str = "") -> list[tuple[str, str, str]]:
    found = world.read(role, inbox.waiting, site)
    return [(one.kind, one.what, one.site) for one in found if one.kind in ("second", "settle")]


def test_what_waits_is_listed_and_asked_of_whoever_may_do_it_and_has_not_yet(world: World, ident: str) -> None:
    enter(world, ident, "research-nurse", row=1)
    enter(world, ident, "research-nurse", row=2, dia_day=2)
    enter(world, ident, "data-manager", row=2, dia_day=2, dia_rlp=8, dia_plp=1)
    nurse, manager = "Research-Nurse S01", "Data-Manager"
    for role, first, second in (
        ("research-nurse", False, False),
        ("data-manager", True, False),
        ("sub-investigator", True, True),
        ("monitor", False, False),
    ):
        assert waiting(world, role) == [(1, "second", (nurse,), 0, first), (2, "settle", (nurse, manager), 2, second)], role
        tasks = [("second", "1 form", "S01")] * first + [("settle", "1 form", "S01")] * second
        assert asked(world, role) == tasks, role
    assert waiting(world, "research-nurse", "S02") == []
    assert world.read("monitor", lambda unit: double_entry.listed(unit, TRIAL, site="S02")) == []
    assert asked(world, "research-nurse", "S02") == []
    enter(world, ident, "sub-investigator", row=2, dia_day=2)
    assert [row for row, *_ in waiting(world, "monitor")] == [1]


def test_the_list_is_for_whoever_reads_forms(sqlite_world: World) -> None:
    for role, site in (("statistician-blinded", ""), ("research-nurse", "S02")):
        with pytest.raises(TrialError) as refused:
            sqlite_world.read(role, lambda unit, site=site: double_entry.listed(unit, TRIAL, site=site and "S01"), site)
        assert refused.value.code == "ROLE.FORM.SEE"


def test_after_a_full_withdrawal_nobody_is_asked_to_enter_a_form_again(world: World, ident: str) -> None:
    enter(world, ident, "research-nurse")
    builders.put(world, ident, "EV", "STAT", {"st_status": 3, "st_date": TODAY.isoformat(), "st_reason": None})
    assert waiting(world, "data-manager") == [(1, "second", ("Research-Nurse S01",), 0, False)]
    assert asked(world, "data-manager") == []


def test_a_file_does_not_stand_for_the_second_entry(sqlite_world: World) -> None:
    world, ident = sqlite_world, builders.randomised(sqlite_world)
    row = {"prpb_frame": 1, **{f"prpb_{n}": 3 for n in range(1, 8)}}
    typed(world, ident, "research-nurse", row)
    assert [line.form for line in world.read("monitor", lambda unit: double_entry.listed(unit, TRIAL))] == ["PRPB"]
    text = f"participant,visit,row,{','.join(row)}\n{ident},V05,1,{','.join(map(str, row.values()))}\n"
    with pytest.raises(imports.BadRows) as refused:
        world.run("data-manager", lambda unit: imports.load(unit, TRIAL, "PRPB", text))
    assert "which two people enter" in refused.value.outcome.errors[0].message
    assert [line.form for line in world.read("monitor", lambda unit: double_entry.listed(unit, TRIAL))] == ["PRPB"]


def test_a_form_of_the_shipped_trial_is_entered_twice(world: World) -> None:
    ident = builders.randomised(world)
    first = {"prpb_frame": 1, **{f"prpb_{n}": 3 for n in range(1, 8)}}
    assert typed(world, ident, "research-nurse", first).version == 0
    second = typed(world, ident, "data-manager", {**first, "prpb_4": 4})
    assert second.entries is not None
    assert second.entries.differ == ("prpb_4",)
    settled = typed(world, ident, "sub-investigator", first)
    assert (settled.version, settled.answers.values["prpb_raw"]) == (1, 21)


def typed(world: World, ident: str, role: str, answers: dict[str, int], row: int = 1) -> View:
    def work(unit: Unit) -> View:
        return records.save(unit, places.locate(unit, TRIAL, ident, "V05", "PRPB", row), Submission(answers, complete=True))

    return world.run(role, work)


def test_a_row_that_was_begun_keeps_its_number(world: World) -> None:
    ident = builders.randomised(world)
    row = {"prpb_frame": 1, **{f"prpb_{n}": 3 for n in range(1, 8)}}
    typed(world, ident, "research-nurse", row)

    def following(unit: Unit, after: int = 0) -> int:
        place = places.locate(unit, TRIAL, ident, "V05", "PRPB")
        return double_entry.next_row(
            unit, place.participant, place.form, "V05", places.next_row(places.book(unit, place), place.form, "V05"), after
        )

    assert world.read("research-nurse", following) == 2
    typed(world, ident, "research-nurse", {**row, "prpb_frame": 2}, row=2)
    assert world.read("data-manager", following) == 3, "a new row"
    typed(world, ident, "data-manager", row)
    assert world.read("data-manager", lambda unit: following(unit, after=1)) == 2, "the next row that waits for this person"


def test_a_form_that_was_entered_twice_is_changed_with_a_reason_like_any_other(world: World, ident: str) -> None:
    enter(world, ident, "research-nurse")
    enter(world, ident, "data-manager")
    changed = builders.put(world, ident, "V03", "DIAR", {**DAY, "dia_rlp": 4}, only=True, reason="source")
    assert (changed.version, changed.answers.values["dia_rlp"]) == (2, 4)


DIFFERENCES: list[tuple[str, Answers, Answers, tuple[str, ...]]] = [
    ("nothing", Answers({"dia_rlp": 1}, {}), Answers({"dia_rlp": 1}, {}), ()),
    ("an answer", Answers({"dia_rlp": 1}, {}), Answers({"dia_rlp": 2}, {}), ("dia_rlp",)),
    ("an answer and none", Answers({"dia_rlp": 1}, {}), Answers({}, {}), ("dia_rlp",)),
    ("an answer and a reason", Answers({"dia_rlp": 1}, {}), Answers({}, {"dia_rlp": "ND"}), ("dia_rlp",)),
    ("two reasons", Answers({}, {"dia_plp": "NK"}), Answers({}, {"dia_plp": "ND"}), ("dia_plp",)),
]


@pytest.mark.parametrize(("what", "first", "second", "found"), DIFFERENCES, ids=[row[0] for row in DIFFERENCES])
def test_what_counts_as_a_difference(sqlite_world: World, what: str, first: Answers, second: Answers, found: tuple[str, ...]) -> None:
    form = sqlite_world.read("monitor", lambda unit: studies.protocol(unit, TRIAL)).form("DIAR")
    assert double_entry.different(form, first, second) == found


def test_what_waits_for_a_second_entry_stands_against_the_signature_under_the_casebook_and_the_lock(world: World, ident: str) -> None:
    def against() -> list[str]:
        with world.units.reading(world.actor("trial-manager")) as unit:
            return [detail.code for detail in holds.against(unit, holds.target(unit, TRIAL, "participant", ident))]

    def refusal() -> str:
        with pytest.raises(WrongState) as refused:
            sign_casebook(world, ident)
        return refused.value.message

    enter(world, ident, "research-nurse", dia_rlp=3)
    assert refusal() == "The casebook cannot be signed: 1 form waits for a second entry or for a third person."
    assert against() == ["HOLD.ENTRIES", "HOLD.SIGNATURE"]
    enter(world, ident, "data-manager", dia_rlp=8)
    assert "third person" in refusal()
    enter(world, ident, "sub-investigator", dia_rlp=8)
    assert sign_casebook(world, ident)
    assert against() == []


def test_an_entry_that_nobody_may_settle_any_more_keeps_no_casebook_from_being_signed(world: World, ident: str) -> None:
    """The participant allows no further data: there will be no second entry."""
    enter(world, ident, "research-nurse")
    builders.put(world, ident, "EV", "STAT", {"st_status": 3, "st_date": TODAY.isoformat(), "st_reason": None})
    assert sign_casebook(world, ident)
