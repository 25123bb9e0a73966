"""Every row of the guide's table of rules: what it says is allowed is allowed, what it says is refused is refused."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import pytest

from tests.domain.gate_cases import ROWS, case_of_row, protocol, situation_of_row
from trialdm.domain import crf
from trialdm.domain.crf import Context
from trialdm.domain.ethics import ACTIONS, PARAMETERS, RULES, gate, holds
from trialdm.domain.ethics.clocks import deadlines

BY_ID = {rule.id: rule for rule in RULES}


def test_there_are_59_rules_and_each_has_its_row() -> None:
    assert list(BY_ID) == [f"GOV-{number:02d}" for number in range(1, 60)]
    assert [row["rule"] for row in ROWS] == list(BY_ID)


def sides(part: str) -> list[Any]:
    return [pytest.param(row["rule"], row[part], id=row["rule"]) for row in ROWS]


@pytest.mark.parametrize(("rule", "row"), sides("allows"))
def test_what_a_rule_allows(rule: str, row: Mapping[str, Any]) -> None:
    if "act" in row:
        assert [reason.message for reason in gate(case_of_row(row)).reasons if reason.rule == rule] == []
    elif "answers" in row:
        assert [f.id for f in findings(row) if f.rule == rule] == []
    else:
        due, state = deadline(rule, row)
        assert (due, state) == (moment(row.get("due")), row.get("state"))


@pytest.mark.parametrize(("rule", "row"), sides("refuses"))
def test_what_a_rule_refuses(rule: str, row: Mapping[str, Any]) -> None:
    if "act" in row:
        asked = case_of_row(row)
        assert row["act"] in BY_ID[rule].actions
        assert holds(BY_ID[rule], asked.protocol)
        reasons = [reason for reason in gate(asked).reasons if reason.rule == rule]
        assert any(reason.message.startswith(row["message"]) for reason in reasons), [r.message for r in reasons]
        assert all(reason.needs and reason.severity in (BY_ID[rule].severity, "block", "warn") for reason in reasons)
        warns = BY_ID[rule].severity != "block"
        assert gate(asked).allowed is (warns and all(r.severity != "block" for r in gate(asked).reasons))
    elif "answers" in row:
        assert row["check"] in [f.id for f in findings(row) if f.rule == rule]
    else:
        assert deadline(rule, row) == (moment(row["due"]), row["state"])


def moment(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def findings(row: Mapping[str, Any]) -> tuple[crf.Finding, ...]:
    facts: dict[str, Any] = {"today": date(2026, 4, 20), "now": datetime(2026, 4, 20, 10, 0), "visit": "EV", "row": 1}
    return crf.validate(protocol().form(row["form"]), row["answers"], {}, Context(facts), complete=False).findings


def deadline(rule: str, row: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The first deadline of a rule and its state; nothing where there is none."""
    situation, now = situation_of_row(row)
    found = [d for d in deadlines(situation) if d.rule == rule]
    return (found[0].due, found[0].state(now)) if found else (None, None)


def test_the_tables_fit_together() -> None:
    assert {action for rule in RULES for action in rule.actions} == set(ACTIONS) - {"export-blinded"}
    assert all(rule.source and rule.status and rule.title for rule in RULES)
    assert all(rule.judgements or rule.elsewhere for rule in RULES)
    assert all(default.source and default.unit for default in PARAMETERS.values())


def test_a_sponsors_policy_is_never_worded_as_law() -> None:
    assert {rule.id for rule in RULES if rule.status.startswith("sponsor policy")} >= {"GOV-07", "GOV-16", "GOV-30", "GOV-52"}
    assert all("sponsor" in PARAMETERS[name].source.lower() for name in ("gcp_months", "gcp_policy", "min_tmr_cases", "sae_sponsor_hours"))
