"""How complete the data are: what is due when, what counts as complete, and that each figure is the length of its list."""

from datetime import timedelta

import pytest

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Forbidden
from trialdm.services import monitoring


def of(world: World, role: str = "data-manager") -> monitoring.Place:
    return world.read(role, lambda unit: monitoring.by_site(unit, TRIAL)[0])


def listed(world: World, role: str = "data-manager", **asked: str) -> list[monitoring.Due]:
    return world.read(role, lambda unit: monitoring.due(unit, TRIAL, **asked))


def counted(world: World, figure: str, role: str = "data-manager") -> list[monitoring.Line]:
    return world.read(role, lambda unit: monitoring.listed(unit, TRIAL, figure))


def primary(world: World) -> tuple[int, int]:
    return of(world).counts["primary-due"], of(world).counts["primary-there"]


def operated(world: World) -> str:
    ident = builders.randomised(world)
    given = {"surg_done": 1, "surg_date": builders.TODAY.isoformat(), "surg_side": 1, "surg_level": 12}
    builders.put(world, ident, "V02", "SURG", given, role="surgeon")
    return ident


def test_forms_are_due_once_their_visit_has_come_or_a_later_one_has(world: World) -> None:
    ident = builders.consented(world)
    assert {(line.visit, line.form, line.state) for line in listed(world)} >= {("V01", "CONS", "complete"), ("V01", "DEMO", "missing")}
    assert ("V04", "PAIN") not in {(line.visit, line.form) for line in listed(world)}
    ident = operated(world)
    world.at(builders.TODAY + timedelta(days=57))
    late = {(line.visit, line.form): line.state for line in listed(world) if line.participant == ident}
    assert late["V04", "PAIN"] == "missing", "the window of the visit at 6 weeks has closed"
    assert ("V05", "PAIN") not in late
    builders.put(world, ident, "V04", "VISI", {"vs_done": 0, "vs_notdone": 1})
    again = {(line.visit, line.form) for line in listed(world) if line.participant == ident}
    assert ("V04", "PAIN") not in again, "a visit that was missed has no forms"


def test_every_figure_is_the_length_of_its_list(world: World) -> None:
    ident = operated(world)
    world.at(builders.TODAY + timedelta(days=57))
    builders.put(world, ident, "V04", "VISI", {"vs_done": 1, "vs_date": (builders.TODAY + timedelta(days=42)).isoformat(), "vs_mode": 1})
    builders.put(world, ident, "V04", "PAIN", {"rlp_any": 0}, complete=False)
    found = of(world)
    assert found.due == len(listed(world))
    assert (found.complete, found.drafts, found.missing) == tuple(len(listed(world, state=state)) for state in monitoring.STATES)
    assert (found.counts["visits-due"], found.counts["visits-done"], found.counts["visits-overdue"]) == (1, 1, 0)
    assert found.counts == {figure: len(counted(world, figure)) for figure in monitoring.FIGURES}
    assert found.lag in {line.days for line in counted(world, "entry")}
    assert found.drafts == 1
    assert found.lag is not None


def test_the_primary_outcome_is_due_when_its_visit_is(world: World) -> None:
    ident = operated(world)
    assert primary(world) == (0, 0)
    world.at(builders.TODAY + timedelta(days=420))
    assert (primary(world), of(world).primary_percent) == ((1, 0), 0)
    assert [(line.participant, line.site) for line in counted(world, "primary-lacking")] == [(ident, "S01")]
    builders.put(world, ident, "V07", "PAIN", {"rlp_any": 0, "plp_any": 0, "plp_sens": 0, "pain_assist": 1})
    assert (primary(world), of(world).primary_percent) == ((1, 1), 100)


def test_a_blinded_reader_counts_nothing_that_is_restricted(world: World) -> None:
    operated(world)
    forms = {role: {line.form for line in listed(world, role)} for role in ("data-manager", "unblinded-data-manager")}
    assert forms["unblinded-data-manager"] - forms["data-manager"] == {"SURG", "NERV"}


def test_deviations_count_those_that_everybody_may_know_of_and_that_are_some(world: World) -> None:
    ident, day = builders.randomised(world), builders.TODAY.isoformat()
    said = {"dv_date": day, "dv_found": day, "dv_desc": "What"}
    for row, (kind, grade) in enumerate([(6, 1), (96, 2), (4, 2), (6, 0)], 1):
        capa = {"dv_capa": "Done"} if grade else {}
        given = {**said, **capa, "dv_type": kind, "dv_class": grade}
        builders.put(world, ident, "EV", "DEVI", given, only=True, role="principal-investigator", row=row)
    assert [(line.row, line.words) for line in counted(world, "deviations")] == [(1, "Visit window, Minor"), (2, "Other, Major")]


def test_a_form_that_was_entered_once_of_twice_is_a_draft(world: World) -> None:
    ident = operated(world)
    world.at(builders.TODAY + timedelta(days=91))
    builders.put(world, ident, "V05", "VISI", {"vs_done": 1, "vs_date": (builders.TODAY + timedelta(days=91)).isoformat(), "vs_mode": 3})
    builders.put(world, ident, "V05", "PRPB")
    assert [line.state for line in listed(world, form="PRPB", visit="V05")] == ["draft"]


@pytest.mark.parametrize("role", ["statistician-blinded", "sponsor", "surgeon"])
def test_others_read_no_figures(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden):
        of(sqlite_world, role)


def test_a_site_sees_itself(sqlite_world: World) -> None:
    builders.consented(sqlite_world)
    builders.consented(sqlite_world, "S02")
    places = sqlite_world.read("research-nurse", lambda unit: monitoring.by_site(unit, TRIAL))
    assert [one.site for one in places] == ["S01"]
    assert [one.site for one in sqlite_world.read("monitor", lambda unit: monitoring.by_site(unit, TRIAL))] == ["", "S01", "S02"]
