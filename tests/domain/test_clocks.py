"""Deadlines: when each begins, what ends it, and on which days its owners are reminded."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any

import pytest

from tests.domain.gate_cases import having, modification, protocol
from trialdm.domain.ethics import Approval, Register, Training
from trialdm.domain.ethics.clocks import counted, deadlines
from trialdm.domain.ethics.deadline import Deadline, SeriousEvent, Situation


def situation(on: date, **more: Any) -> Situation:
    return Situation(on=on, **{"protocol": protocol(), "register": Register(), **more})


def only(rule: str, found: Iterable[Deadline]) -> Deadline:
    return next(deadline for deadline in found if deadline.rule == rule)


def test_ac_06_the_committee_is_told_within_15_days_and_owners_are_reminded_on_three_days() -> None:
    event = SeriousEvent("K7QF", "S01", 1, related=True, unexpected=True, ci_aware=date(2026, 6, 1))
    found = only("GOV-31", deadlines(situation(date(2026, 6, 2), serious=(event,))))
    assert found.due == date(2026, 6, 16)
    days = list(found.reminders())
    assert days[:3] == [date(2026, 6, 11), date(2026, 6, 14), date(2026, 6, 16)]
    assert days[3] == date(2026, 6, 23)


@pytest.mark.parametrize(("related", "unexpected", "due"), [(True, True, True), (True, False, False), (False, True, False)])
def test_only_related_and_unexpected_events_go_to_the_committee(related: bool, unexpected: bool, due: bool) -> None:
    event = SeriousEvent("K7QF", "S01", 1, related=related, unexpected=unexpected, ci_aware=date(2026, 6, 1))
    assert any(d.rule == "GOV-31" for d in deadlines(situation(date(2026, 6, 2), serious=(event,)))) is due


@pytest.mark.parametrize(
    ("now", "state"),
    [("2026-04-13T23:59", "soon"), ("2026-04-07T12:00", "open"), ("2026-04-14T00:00", "today"), ("2026-04-14T23:59", "today"),
     ("2026-04-15T00:00", "overdue")],
)  # fmt: skip
def test_states_of_a_deadline_by_the_day(now: str, state: str) -> None:
    deadline = Deadline("k", "GOV-27", "t", date(2026, 4, 1), date(2026, 4, 14), ())
    assert deadline.state(datetime.fromisoformat(now)) == state


def test_hours_count_by_the_minute() -> None:
    deadline = Deadline("k", "GOV-30", "t", date(2026, 4, 1), datetime(2026, 4, 2, 9, 0), ())
    assert deadline.state(datetime(2026, 4, 2, 9, 0)) == "today"
    assert deadline.state(datetime(2026, 4, 2, 9, 1)) == "overdue"
    assert replace(deadline, done=datetime(2026, 4, 2, 9, 1)).state(datetime(2026, 5, 1)) == "late"


def test_registration_is_due_at_the_first_consent_where_that_comes_earlier() -> None:
    opinion = Approval("rec", "favourable", decided_on=date(2026, 1, 1), second_check_by="b")
    register = Register(approvals=(opinion,))
    assert only("GOV-09", deadlines(situation(date(2026, 1, 2), register=register))).due == date(2026, 4, 1)
    early = situation(date(2026, 3, 2), register=register, first_consent=date(2026, 2, 1))
    assert only("GOV-09", deadlines(early)).due == date(2026, 2, 1)


def test_the_clocks_of_a_substantial_modification_follow_its_steps() -> None:
    steps = [
        {"event": "submit", "on": date(2026, 3, 1)},
        {"event": "validate", "on": date(2026, 3, 3)},
        {"event": "ask", "on": date(2026, 3, 20)},
        {"event": "answer", "on": date(2026, 4, 1)},
    ]
    asked = modification(
        {"kind": "substantial", "category": "A", "steps": [*steps, {"event": "notify", "on": date(2026, 4, 2), "site": "S01"}]}
    )
    found = deadlines(situation(date(2026, 4, 3), register=Register(modifications=(asked,))))
    due = {d.key.rpartition(":")[2]: (d.due, d.done) for d in found if d.rule == "GOV-22"}
    assert due == {
        "submit": (date(2026, 3, 8), date(2026, 3, 3)),
        "validate": (date(2026, 4, 7), date(2026, 3, 20)),
        "ask": (date(2026, 5, 19), date(2026, 4, 1)),
        "answer": (date(2026, 4, 11), None),
    }
    assert only("GOV-24", found).due == date(2026, 5, 7)


def test_training_is_called_for_sixty_days_before_it_ends() -> None:
    register = having(trainings=(Training("p1", "gcp", date(2024, 1, 1)),))
    assert not [d for d in deadlines(situation(date(2026, 10, 30), register=register)) if d.rule == "GOV-16"]
    found = only("GOV-16", deadlines(situation(date(2026, 11, 1), register=register)))
    assert (found.due, found.person) == (date(2026, 12, 31), "p1")


def test_a_historical_trial_has_no_deadlines() -> None:
    past = replace(protocol(), origin="historical")
    assert deadlines(situation(date(2026, 4, 1), protocol=past, moves=(("pause", date(2026, 3, 1)),))) == []


def test_deadlines_are_counted_by_state() -> None:
    moves = (("pause", date(2026, 3, 1)), ("terminate", date(2026, 4, 1)))
    found = deadlines(situation(date(2026, 4, 2), moves=moves))
    assert counted(found, datetime(2026, 4, 2, 12)) == {"overdue": 1, "open": 3}


def test_insurance_is_overdue_from_the_day_after_it_ends_and_met_by_a_renewal_without_a_gap() -> None:
    cover = Approval("insurance", "in_force", "A", decided_on=date(2026, 1, 5), effective_to=date(2026, 12, 31))
    renewal = replace(cover, ref="B", decided_on=date(2026, 12, 1), effective_from=date(2027, 1, 1), effective_to=date(2027, 12, 31))

    def on(day: date, *covers: Approval) -> list[str]:
        now = datetime.combine(day, time(12))
        return [d.state(now) for d in deadlines(situation(day, register=Register(approvals=covers))) if d.rule == "GOV-40"]

    assert [on(day, cover) for day in (date(2026, 10, 1), date(2026, 11, 5), date(2026, 12, 31), date(2027, 1, 1))] == [
        [], ["open"], ["today"], ["overdue"],
    ]  # fmt: skip
    assert on(date(2026, 12, 30), cover, renewal) == ["met"]
    assert on(date(2027, 1, 1), cover, renewal) == []
    late = replace(renewal, effective_from=date(2027, 1, 15))
    assert [on(day, cover, late) for day in (date(2026, 12, 30), date(2027, 1, 1), date(2027, 1, 15))] == [["soon"], ["overdue"], []]
