"""Tables of cases: read by the tests that run them and by the help pages that show them."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


def table(name: str) -> dict[str, Any]:
    """The table in `NAME.yaml`."""
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return loaded
