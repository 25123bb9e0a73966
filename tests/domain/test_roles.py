"""Every role against every action and kind of form (`tests/spec/roles.yaml`), and where a role reaches."""

from itertools import combinations
from typing import Any

import pytest

from tests.spec import table
from trialdm.domain.crf import FORM_KINDS
from trialdm.domain.roles import (
    ACTIONS,
    FORM_ENTRY,
    FORM_TASK,
    INCOMPATIBLE,
    MEDICAL,
    ROLES,
    TASKS,
    UNBLINDED,
    Grant,
    clash,
    may,
    may_enter,
    names,
    sees_allocations,
    sites_seen,
)

TABLE: dict[str, Any] = table("roles")
SLUG: dict[str, str] = TABLE["roles"]


def held(short: str) -> Grant:
    return Grant(SLUG[short], "pre-tmr", "S01" if short in TABLE["at_one_site"].split() else "")


def test_the_table_names_every_role_action_and_kind_of_form() -> None:
    assert sorted(SLUG.values()) == sorted(ROLES)
    assert list(TABLE["actions"]) == list(ACTIONS)
    assert list(TABLE["forms"]) == list(FORM_ENTRY) == list(FORM_KINDS)
    assert {s for s, (_, site) in ROLES.items() if site} == {SLUG[short] for short in TABLE["at_one_site"].split()}


@pytest.mark.parametrize("short", SLUG)
@pytest.mark.parametrize("action", TABLE["actions"])
def test_action(action: str, short: str) -> None:
    assert may([held(short)], action, "pre-tmr", "S01") is (short in TABLE["actions"][action].split())


@pytest.mark.parametrize("short", SLUG)
@pytest.mark.parametrize("kind", TABLE["forms"])
def test_form(kind: str, short: str) -> None:
    assert may_enter([held(short)], kind, "pre-tmr", "S01") is (short in TABLE["forms"][kind].split())


@pytest.mark.parametrize("short", SLUG)
def test_sees_allocations_at_the_own_site(short: str) -> None:
    expected = short in TABLE["see_allocations"].split()
    assert sees_allocations([held(short)], "pre-tmr", "S01") is expected
    assert (SLUG[short] in UNBLINDED) is expected


@pytest.mark.parametrize(
    ("grant", "trial", "site", "covers"),
    [
        (Grant("monitor", "pre-tmr"), "pre-tmr", "S01", True),
        (Grant("monitor", "pre-tmr"), "pre-tmr", None, True),
        (Grant("monitor", "pre-tmr"), "other", "S01", False),
        (Grant("monitor", "*"), "other", "S01", True),
        (Grant("research-nurse", "pre-tmr", "S01"), "pre-tmr", "S01", True),
        (Grant("research-nurse", "pre-tmr", "S01"), "pre-tmr", "S02", False),
        (Grant("research-nurse", "pre-tmr", "S01"), "pre-tmr", None, True),
        (Grant("research-nurse", "*", "S01"), "other", "S02", False),
    ],
)
def test_a_role_reaches_its_trial_and_its_site(grant: Grant, trial: str, site: str | None, covers: bool) -> None:
    assert grant.covers(trial, site) is covers


@pytest.mark.parametrize(
    ("grants", "site", "sees"),
    [
        ([Grant("principal-investigator", "pre-tmr", "S01")], "S01", True),
        ([Grant("principal-investigator", "pre-tmr", "S01")], "S02", False),
        ([Grant("principal-investigator", "pre-tmr", "S01")], None, False),
        ([Grant("statistician-unblinded", "pre-tmr")], None, True),
        ([Grant("statistician-unblinded", "other")], None, False),
        ([Grant("chief-investigator", "pre-tmr")], "S01", False),
        ([Grant("trial-coordinator", "*")], "S01", False),
        ([], "S01", False),
    ],
)
def test_everybody_is_blinded_unless_a_role_says_otherwise(grants: list[Grant], site: str | None, sees: bool) -> None:
    assert sees_allocations(grants, "pre-tmr", site) is sees


@pytest.mark.parametrize(
    ("grants", "sites"),
    [
        ([], frozenset()),
        ([Grant("research-nurse", "pre-tmr", "S01"), Grant("surgeon", "pre-tmr", "S02")], frozenset({"S01", "S02"})),
        ([Grant("research-nurse", "pre-tmr", "S01"), Grant("monitor", "pre-tmr")], None),
        ([Grant("research-nurse", "pre-tmr", "S01"), Grant("sponsor", "pre-tmr")], frozenset({"S01"})),
        ([Grant("research-nurse", "other", "S01")], frozenset()),
    ],
)
def test_sites_at_which_participants_are_seen(grants: list[Grant], sites: frozenset[str] | None) -> None:
    assert sites_seen(grants, "participant.see", "pre-tmr") == sites


@pytest.mark.parametrize("pair", list(combinations(SLUG, 2)), ids="+".join)
def test_roles_that_one_person_may_not_hold_together(pair: tuple[str, str]) -> None:
    refused = sorted(pair) in [sorted(clashing) for clashing in TABLE["clashes"]]
    for order in (pair, pair[::-1]):
        assert (clash(SLUG[short] for short in order) is not None) is refused


def test_names_are_given_once_in_the_order_of_the_grants() -> None:
    grants = [Grant("surgeon", "a", "S01"), Grant("monitor", "b"), Grant("surgeon", "a", "S02")]
    assert names(grants) == ["Trial surgeon", "Monitor"]
    assert names(grants, "b") == ["Monitor"]


def test_tables_name_only_roles_and_tasks_that_exist() -> None:
    used = {role for roles in (*ACTIONS.values(), *FORM_ENTRY.values()) for role in roles}
    assert used | MEDICAL | UNBLINDED | {role for pair in INCOMPATIBLE for role in pair} <= set(ROLES)
    assert set(FORM_TASK.values()) <= set(TASKS)
    assert set(FORM_TASK) <= set(FORM_KINDS)
