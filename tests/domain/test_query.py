"""The rules of queries: a table of answers and closings, and no sequence of acts that leads outside the table of states."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trialdm.domain import lifecycle, query
from trialdm.domain.errors import Forbidden, Invalid, WrongState
from trialdm.domain.query import Act

ASKED = Act("open", "dm", value="7", version=1)
AGAIN = Act("reopen", "dm", value="5", version=2)

#: acts, response, value now, version now, about the whole form -> refused with this code, or not
ANSWERS = [
    ([ASKED], "corrected", "5", 2, False, ""),
    ([ASKED], "corrected", "7", 2, False, "QUERY.UNCHANGED"),
    ([ASKED], "corrected", '{"missing":"ND"}', 2, False, ""),
    ([ASKED, AGAIN], "corrected", "5", 3, False, "QUERY.UNCHANGED"),
    ([ASKED, AGAIN], "corrected", "7", 3, False, ""),
    ([ASKED], "corrected", "7", 2, True, ""),
    ([ASKED], "corrected", "7", 1, True, "QUERY.UNCHANGED"),
    ([Act("open", "dm", value="null")], "corrected", '"4f"', 1, True, ""),
    ([ASKED], "confirmed", "7", 1, False, ""),
    ([ASKED], "unavailable", "7", 1, False, ""),
    ([ASKED], "done", "7", 1, False, "QUERY.RESPONSE"),
]


@pytest.mark.parametrize(("acts", "response", "value", "version", "whole", "code"), ANSWERS)
def test_an_answer_goes_with_the_data(acts: list[Act], response: str, value: str, version: int, whole: bool, code: str) -> None:
    if not code:
        query.require_answer(acts, response, value, version, whole=whole)
        return
    with pytest.raises(Invalid) as refusal:
        query.require_answer(acts, response, value, version, whole=whole)
    assert refusal.value.code == code


ANSWERED = [ASKED, Act("answer", "nurse", "confirmed", "7", 1)]

#: origin, roles held, person, act -> refused with this code, or not
CLOSINGS = [
    ("person", {"data-manager"}, "dm", "close", ""),
    ("rule", {"unblinded-data-manager"}, "udm", "close", ""),
    ("monitor", {"data-manager"}, "dm", "close", ""),
    ("monitor", {"monitor"}, "mon", "close", ""),
    ("person", {"monitor"}, "mon", "close", "QUERY.ORIGIN"),
    ("rule", {"monitor"}, "mon", "reopen", "QUERY.ORIGIN"),
    ("person", {"data-manager"}, "nurse", "close", "QUERY.OWN_ANSWER"),
    ("person", {"data-manager", "research-nurse"}, "nurse", "reopen", ""),
    ("person", {"data-manager", "principal-investigator"}, "pi", "close", "QUERY.OWN_SITE"),
    ("person", {"trial-manager"}, "tm", "close", "QUERY.ORIGIN"),
]


@pytest.mark.parametrize(("origin", "held", "person", "act", "code"), CLOSINGS)
def test_who_closes(origin: str, held: set[str], person: str, act: str, code: str) -> None:
    if not code:
        query.require_closing(ANSWERED, origin, held, person, act=act)
        return
    with pytest.raises(Forbidden) as refusal:
        query.require_closing(ANSWERED, origin, held, person, act=act)
    assert refusal.value.code == code


#: acts, roles held, person -> whether they may cancel
CANCELLINGS = [
    ([ASKED], {"monitor"}, "dm", True),
    ([ASKED], {"data-manager"}, "x", True),
    ([ASKED], {"monitor"}, "x", False),
    (ANSWERED, {"data-manager"}, "x", True),
    (ANSWERED, {"data-manager", "research-nurse"}, "nurse", False),
    ([Act("open", "nurse"), *ANSWERED[1:]], {"trial-manager", "research-nurse"}, "nurse", False),
    ([*ANSWERED, Act("reopen", "dm", value="7", version=1)], {"data-manager", "research-nurse"}, "nurse", False),
]


@pytest.mark.parametrize(("acts", "held", "person", "allowed"), CANCELLINGS)
def test_who_cancels(acts: list[Act], held: set[str], person: str, allowed: bool) -> None:
    try:
        query.require_cancelling(acts, held, person)
    except Forbidden:
        assert not allowed
    else:
        assert allowed


CLOSED = [*ANSWERED, Act("close", "dm", "", "7", 1)]

#: acts, state, value now -> the query opens again
OUTDATED = [
    (ANSWERED, "answered", "7", False),
    (ANSWERED, "answered", "8", True),
    (CLOSED, "closed", "8", True),
    (CLOSED, "closed", "7", False),
    ([*ANSWERED, Act("settle", "system", "corrected", "8")], "closed", "8", False),
    ([ASKED, Act("answer", "nurse", "corrected", "5", 2)], "answered", "6", False),
    ([*ANSWERED, AGAIN], "reopened", "8", False),
    ([ASKED], "open", "8", False),
]


@pytest.mark.parametrize(("acts", "state", "value", "again"), OUTDATED)
def test_what_was_confirmed_holds_for_that_value_alone(acts: list[Act], state: str, value: str, again: bool) -> None:
    assert query.outdated(acts, state, value) is again


#: newest act, state, value now -> a check need not ask again
BEFORE = [
    (ASKED, "open", "8", True),
    (ANSWERED[-1], "answered", "8", True),
    (CLOSED[-1], "closed", "7", True),
    (CLOSED[-1], "closed", "8", False),
    (Act("cancel", "dm", value="7"), "cancelled", "7", True),
    (Act("settle", "system", "corrected", "7"), "closed", "7", False),
]


@pytest.mark.parametrize(("newest", "state", "value", "known"), BEFORE)
def test_a_check_asks_once(newest: Act, state: str, value: str, known: bool) -> None:
    assert query.asked_before(newest, state, value) is known


@pytest.mark.parametrize(
    ("days", "band"),
    [(0, "0-7"), (7, "0-7"), (8, "8-14"), (14, "8-14"), (15, "15-30"), (30, "15-30"), (31, "31-60"), (60, "31-60"), (61, "over-60")],
)
def test_bands_of_age(days: int, band: str) -> None:
    assert query.band(days) == band


def test_figures_count_what_is_not_done_with_and_the_median_of_what_was_closed() -> None:
    found = query.ageing("S01", [("open", 3), ("answered", 9), ("reopened", 61), ("closed", 4), ("closed", 9), ("cancelled", 1)])
    assert found.bands == {"0-7": 1, "8-14": 1, "15-30": 0, "31-60": 0, "over-60": 1}
    assert (found.total, found.closed, found.median) == (3, 2, 6.5)
    assert query.ageing("S02", []).median is None


@pytest.mark.parametrize(("number", "name"), [(1, "Q1"), (12, "Q12"), (query.FIRST_RESTRICTED, "R1"), (query.FIRST_RESTRICTED + 4, "R5")])
def test_numbers_are_said_and_read(number: int, name: str) -> None:
    assert query.name(number) == name
    assert query.number(name) == query.number(name.lower()) == number


@pytest.mark.parametrize("typed", ["", "Q", "Qx", "X1", "a" * 32, "1" * 32, "Q٣"])
def test_what_is_no_number(typed: str) -> None:
    assert query.number(typed) is None


@pytest.mark.parametrize(
    ("text", "needed", "code"),
    [
        ("  ", "Say why.", "QUERY.WORDS"),
        ("x" * 2001, "", "QUERY.WORDS"),
        ("NHS 943 476 5919", "", "GATE.GOV-41"),
        (" fine ", "Say why.", ""),
    ],
)
def test_words(text: str, needed: str, code: str) -> None:
    if not code:
        assert query.words(text, needed=needed) == "fine"
        return
    with pytest.raises(Invalid) as refusal:
        query.words(text, needed=needed)
    assert refusal.value.code == code


class Queries(RuleBasedStateMachine):
    """People and the system act on one query in any order, while its answer changes."""

    @initialize(value=st.integers(0, 2))
    def ask(self, value: int) -> None:
        self.value, self.version, self.state = str(value), 1, lifecycle.INITIAL["query"]
        self.acts = [Act("open", "dm", "", self.value, self.version)]
        self.path = [self.state]

    def _take(self, act: str, by: str, response: str, check: Any) -> None:
        try:
            state = query.moved(self.state, act)
            check()
        except (WrongState, Invalid, Forbidden):
            return
        self.acts.append(Act(act, by, response, self.value, self.version))
        self.state = state
        self.path.append(state)

    @rule(value=st.integers(0, 2))
    def save(self, value: int) -> None:
        self.value, self.version = str(value), self.version + 1
        if query.outdated(self.acts, self.state, self.value):
            self._take("reopen", query.NOBODY, "", lambda: None)

    @rule(by=st.sampled_from(("nurse", "both")), response=st.sampled_from((*query.RESPONSES, "done")))
    def answer(self, by: str, response: str) -> None:
        self._take("answer", by, response, lambda: query.require_answer(self.acts, response, self.value, self.version, whole=False))

    @rule(by=st.sampled_from(("dm", "both", "mon", "pi")), act=st.sampled_from(("close", "reopen")))
    def close(self, by: str, act: str) -> None:
        held = {"dm": {"data-manager"}, "both": {"data-manager", "research-nurse"}, "mon": {"monitor"}, "pi": {"principal-investigator"}}[
            by
        ]
        self._take(act, by, "", lambda: query.require_closing(self.acts, "person", held, by, act=act))

    @rule(by=st.sampled_from(("dm", "both", "mon")))
    def cancel(self, by: str) -> None:
        held = {"dm": {"data-manager"}, "both": {"data-manager", "research-nurse"}, "mon": {"monitor"}}[by]
        self._take("cancel", by, "", lambda: query.require_cancelling(self.acts, held, by))

    @rule()
    def settle(self) -> None:
        self._take("settle", query.NOBODY, "corrected", lambda: None)

    @invariant()
    def only_ways_of_the_table(self) -> None:
        steps = lifecycle.MACHINES["query"]
        for before, after, act in zip(self.path[:-1], self.path[1:], self.acts[1:], strict=True):
            assert before in steps[act.act][0]
            assert steps[act.act][1] == after

    @invariant()
    def who_answered_is_never_done_with_it(self) -> None:
        for place, act in enumerate(self.acts):
            assert act.act not in ("close", "cancel") or act.by not in {one.by for one in self.acts[:place] if one.act == "answer"}
            assert act.act != "close" or act.by == "dm" or act.by == "both"

    @invariant()
    def corrected_has_another_value(self) -> None:
        asked = None
        for act in self.acts:
            if act.act in ("open", "reopen"):
                asked = act
            elif act.act == "answer" and act.response == "corrected":
                assert asked is not None
                assert asked.value != act.value

    @invariant()
    def what_is_confirmed_stands(self) -> None:
        newest = next((act for act in reversed(self.acts) if act.act == "answer"), None)
        if newest and newest.response == "confirmed" and self.state in ("answered", "closed") and self.acts[-1].act != "settle":
            assert newest.value == self.value


TestQueries = Queries.TestCase
TestQueries.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
