"""Long batteries about identities, outside the suite, on SQLite and PostgreSQL.

`python -m tests.identity kill 200` kills the process so many times and reconciles after each; `python -m tests.identity scan 1000`
looks for the identifiers of so many people in database, logs and exports.
"""

import os
import sys

import pytest

from tests.builders import ROOT

_BATTERIES = {"kill": "test_killed_as_often_as_was_asked", "scan": "test_scanned_for_as_many_as_was_asked"}


def main(argv: list[str]) -> int:
    """Run one battery and give its exit code."""
    if len(argv) != 2 or argv[0] not in _BATTERIES or not argv[1].isdigit():
        print(__doc__)  # noqa: T201
        return 2
    os.environ["TRIALDM_BATTERY"] = argv[1]
    return int(pytest.main(["-q", f"--rootdir={ROOT}", str(ROOT / "tests" / "identity" / "battery.py"), "-k", _BATTERIES[argv[0]]]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
