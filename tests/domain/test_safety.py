"""Where a serious event stands, the bands of age, and the terms that fit what a site wrote."""

from typing import Any

import pytest

from trialdm.domain.ethics.deadline import STATES as CLOCK_STATES
from trialdm.domain.protocol import Term
from trialdm.domain.safety import LIGHTS, STATES, Judgement, age_band, state, suggestions

BOTH = {"site": True, "sponsor": True}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, "new"),
        ({"sponsor": True}, "new"),
        ({"site": True}, "pi_assessed"),
        ({"site": True, "outcome": 1}, "pi_assessed"),
        (BOTH, "sponsor_assessed"),
        ({**BOTH, "outcome": 98}, "sponsor_assessed"),
        ({**BOTH, "outcome": 3}, "follow_up"),
        ({**BOTH, "outcome": 4}, "follow_up"),
        ({**BOTH, "outcome": 1}, "closed"),
        ({**BOTH, "outcome": 5}, "closed"),
        ({**BOTH, "reportable": True}, "reportable"),
        ({**BOTH, "reportable": True, "outcome": 5}, "reportable"),
        ({**BOTH, "reportable": True, "sent": True}, "rec_sent"),
        ({**BOTH, "reportable": True, "sent": True, "outcome": 3}, "follow_up"),
        ({**BOTH, "reportable": True, "sent": True, "outcome": 2}, "closed"),
    ],
)
def test_where_a_serious_event_stands(known: dict[str, Any], expected: str) -> None:
    assert state(Judgement(**known)) == expected
    assert expected in STATES


def test_every_state_of_a_clock_has_a_light_of_its_own_symbol() -> None:
    assert set(LIGHTS) == set(CLOCK_STATES)
    assert len({symbol for _, symbol in LIGHTS.values()}) == len(LIGHTS)


@pytest.mark.parametrize(
    ("years", "band"), [(None, ""), (17, "under 18"), (18, "18-39"), (39, "18-39"), (40, "40-49"), (79, "70-79"), (80, "80 and over")]
)
def test_age_band(years: object, band: str) -> None:
    assert age_band(years) == band


TERMS = [Term("1", "Wound dehiscence"), Term("2", "Wound"), Term("3", "Wound necrosis"), Term("4", "Fall"), Term("5", "Re-amputation")]


@pytest.mark.parametrize(
    ("reported", "codes"),
    [
        ("wound", ["2", "1", "3"]),
        ("  WOUND Dehiscence. ", ["1", "2"]),
        ("wound necrosis of the stump", ["2", "3"]),
        ("re amputation", ["5"]),
        ("Falling", ["4"]),
        ("delirium", []),
        (" . ", []),
    ],
)
def test_terms_that_fit(reported: str, codes: list[str]) -> None:
    assert [term.code for term in suggestions(reported, TERMS)] == codes
