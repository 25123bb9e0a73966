"""What came of screening somebody: the first No decides."""

import pytest

from trialdm.domain.screening import outcome

#: Eligible, approached, consented, and what came of it.
CASES = [
    (0, None, None, "not-eligible"),
    (1, 0, None, "not-approached"),
    (1, 1, 0, "declined"),
    (1, 1, 1, "consented"),
    (None, None, None, "open"),
    (1, None, None, "open"),
    (1, 1, None, "open"),
    (0, 1, 1, "not-eligible"),
    (None, 1, 1, "open"),
]


@pytest.mark.parametrize(("eligible", "approached", "consented", "expected"), CASES)
def test_what_came_of_screening(eligible: int | None, approached: int | None, consented: int | None, expected: str) -> None:
    assert outcome(eligible, approached, consented) == expected
