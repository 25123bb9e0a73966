"""Several rows in one step: all of them or none, each judged, versioned and audited as a row by itself."""

import pytest

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Invalid, TrialError, Unanswered
from trialdm.services import places, removals, rows, trail
from trialdm.services.records import Submission, View
from trialdm.services.unit import Unit

TODAY = builders.TODAY.isoformat()


def day(number: int, rlp: object = 4, **more: object) -> dict[str, object]:
    return {"dia_day": number, "dia_date": TODAY, "dia_rlp": rlp, "dia_plp": 2, **more}


def submission(answers: dict[str, object], version: int = 0, *, confirm: tuple[str, ...] = ("DIAR-05",), **more: str) -> Submission:
    return Submission(answers, {}, True, more.get("reason", ""), confirm, version)


def save(world: World, ident: str, *sent: tuple[int, Submission]) -> list[View]:
    return world.run("research-nurse", lambda unit: rows.save(unit, places.locate(unit, TRIAL, ident, "V01", "DIAR"), sent))


def saved(world: World, ident: str) -> dict[int, int]:
    """Row -> version."""

    def work(unit: Unit) -> dict[int, int]:
        found = places.book(unit, places.locate(unit, TRIAL, ident, "V01", "DIAR")).rows("DIAR", "V01")
        return {stored.instance.row: stored.instance.seq for stored in found}

    return world.read("research-nurse", work)


def test_rows_are_saved_together_and_each_has_its_trail(world: World) -> None:
    ident = builders.consented(world)
    views = save(world, ident, (1, submission(day(1))), (2, submission(day(2))))
    assert [view.status for view in views] == ["complete", "complete"]
    assert saved(world, ident) == {1: 1, 2: 1}
    for row in (1, 2):
        lines = world.read(
            "research-nurse", lambda unit, row=row: trail.of_form(unit, places.locate(unit, TRIAL, ident, "V01", "DIAR", row))
        )
        assert {"form.finish", "form.confirm"} & {line.action for line in lines} >= {"form.finish"}


def test_one_wrong_row_keeps_every_row_from_being_saved_and_is_named(world: World) -> None:
    ident = builders.consented(world)
    with pytest.raises(Invalid) as wrong:
        save(world, ident, (1, submission(day(1))), (2, submission(day(2, "eleven"))), (3, submission(day(3, None))))
    assert [(d.place, d.message.split(":")[0]) for d in wrong.value.details] == [("2.dia_rlp", "Row 2"), ("3.dia_rlp", "Row 3")]
    assert saved(world, ident) == {}


def test_rows_of_one_step_are_judged_beside_one_another(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    with pytest.raises(Invalid) as twice:
        save(sqlite_world, ident, (1, submission(day(1))), (2, submission(day(1))))
    assert [(d.code, d.place) for d in twice.value.details] == [("DIAR-01", "2.dia_day")]


def test_soft_findings_are_asked_row_by_row(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    with pytest.raises(Unanswered) as asked:
        save(sqlite_world, ident, (1, submission(day(1))), (2, submission(day(2), confirm=())))
    assert [(d.code, d.place, d.severity) for d in asked.value.details] == [("DIAR-05", "2.dia_date", "soft")]
    assert saved(sqlite_world, ident) == {}


def test_a_row_that_somebody_else_saved_is_stale_and_nothing_is_saved(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    save(sqlite_world, ident, (1, submission(day(1))))
    for version in (0, 7):
        with pytest.raises(Invalid) as stale:
            save(sqlite_world, ident, (1, submission(day(1, 9), version, reason="source")), (2, submission(day(2))))
        assert stale.value.details[0].place == "1"
    assert saved(sqlite_world, ident) == {1: 1}
    save(sqlite_world, ident, (1, submission(day(1, 9), 1, reason="source")), (2, submission(day(2))))
    assert saved(sqlite_world, ident) == {1: 2, 2: 1}


def test_a_removed_row_is_not_written_over(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    save(sqlite_world, ident, (1, submission(day(1))))
    sqlite_world.run("research-nurse", lambda unit: removals.remove(unit, places.locate(unit, TRIAL, ident, "V01", "DIAR"), "by mistake"))
    with pytest.raises(TrialError):
        save(sqlite_world, ident, (1, submission(day(1))))
    assert saved(sqlite_world, ident) == {}


def test_only_short_forms_have_a_table(sqlite_world: World) -> None:
    assert {form.code for form in sqlite_world.protocol.forms if rows.short(form)} >= {"DIAR", "PRPI"}
    assert not [form.code for form in sqlite_world.protocol.forms if rows.short(form) and (form.restricted_when or not form.repeating)]
    assert not any(rows.short(sqlite_world.protocol.form(code)) for code in ("ANLG", "AE", "NERV", "DEVI"))
