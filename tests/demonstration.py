"""The demonstration that tests walk through: built once for all processes of a run, and copied for whoever changes it."""

import fcntl
import json
from datetime import date
from pathlib import Path
from typing import Any

from trialdm import instance as instances
from trialdm.demo import build

TODAY = date(2026, 11, 20)


def made(folder: Path, **chosen: Any) -> instances.Instance:
    """The demonstration in a folder: found there, or built."""
    asked = {"participants": 12, "seed": 1, "today": TODAY, "fresh": False, **chosen}
    return build.ready(folder, say=lambda words: None, **asked)


def shared(folder: Path) -> Path:
    """The demonstration in a folder that several processes ask for: the first one builds it, the others wait."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made(folder).engine.dispose()
    return folder


def sign_ins(instance: instances.Instance) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((instance.settings.folder / build.SIGN_INS).read_text("utf-8"))
    return rows
