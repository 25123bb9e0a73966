"""Cases in which the program does not do yet what it should: each is expected to fail, and says so when it no longer does."""

from typing import Any

import pytest


def not_yet(*case: Any, reason: str) -> Any:
    """A case of a table that is known to fail, with what should happen."""
    return pytest.param(*case, marks=pytest.mark.xfail(strict=True, reason=reason))
