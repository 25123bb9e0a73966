"""The batteries of `python -m tests.identity`; the suite does not collect this file."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.builders import World
from tests.identity.people import with_vault
from tests.identity.test_crashes import STEPS, killed
from tests.services.test_identities import scanned

COUNT = int(os.environ.get("TRIALDM_BATTERY", "4"))


def test_killed_as_often_as_was_asked(world: World) -> None:
    with_vault(world)
    world.instance.engine.dispose()
    found = Counter((step, done["active"], done["forgotten"]) for step, done in killed(world, COUNT))
    assert {step for step, _, _ in found} == set(STEPS[:COUNT])
    assert {("before", 0, 0), ("pending", 0, 1), ("committed", 1, 0), ("settled", 0, 0)} >= set(found)


def test_scanned_for_as_many_as_was_asked(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert scanned(with_vault(world), COUNT, tmp_path / "out", caplog) == []
