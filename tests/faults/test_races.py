"""Several processes at once, and processes that are killed: one participant, one allocation, none lost, none twice."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import ROOT, TRIAL, World
from trialdm.domain.errors import Refused
from trialdm.domain.ethics import Approval
from trialdm.services import allocations, approvals, chains
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import Allocation, SchemeEvent

PROCESSES = 6
PARTICIPANTS = 14


def start(folder: Path, prefix: str, shift: int, pause: float = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.worker", str(folder), prefix, str(shift), str(pause)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answers(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), err
    return [json.loads(line) for line in out.splitlines() if line.endswith("}")]


def everything(world: World) -> list[Allocation]:
    with world.units.reading(SYSTEM) as unit:
        return list(unit.session.scalars(select(Allocation).order_by(Allocation.seq)))


def assert_whole(world: World) -> None:
    """No gap, no double, in order, and the chain leads to its head."""
    rows = everything(world)
    assert [row.seq for row in rows] == list(range(len(rows)))
    assert len({row.participant_id for row in rows}) == len({row.number for row in rows}) == len(rows)
    with world.units.reading(SYSTEM) as unit:
        assert chains.verify_chain(unit, TRIAL) == len(rows)
        moments = [json.loads(row.data)["at"] for row in unit.session.scalars(select(SchemeEvent).order_by(SchemeEvent.i))]
    assert len(moments) == len(rows)


def test_processes_racing_for_the_same_participants(world: World) -> None:
    idents = [builders.ready(world, site) for site in ("S01", "S02") * (PARTICIPANTS // 2)]
    folder = world.instance.settings.folder
    running = [start(folder, f"p{i}", 3 * i) for i in range(PROCESSES)]
    told = [line for process in running for line in answers(process)]
    assert Counter(line["participant"] for line in told if line.get("new")) == dict.fromkeys(idents, 1)
    assert {line["refused"] for line in told if "refused" in line} == {"ALLOC.ALREADY"}
    assert len(told) == PROCESSES * PARTICIPANTS
    assert_whole(world)


def test_killed_processes_lose_nothing_that_was_acknowledged(world: World) -> None:
    """Each process is killed somewhere in its work; the next one repeats the same keys and gets the same answers."""
    for site in ("S01", "S02") * (PARTICIPANTS // 2):
        builders.ready(world, site)
    chance = random.Random(5)
    folder = world.instance.settings.folder
    acknowledged: dict[str, dict[str, Any]] = {}
    for _ in range(4):
        process = start(folder, "same", 0)
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(chance.randint(1, 5))]
        time.sleep(chance.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        for line in [json.loads(text) for text in seen if text] + answers(process):
            before = acknowledged.setdefault(line["participant"], line)
            assert (before["number"], before["at"]) == (line["number"], line["at"])
    for line in answers(start(folder, "same", 0)):
        before = acknowledged.setdefault(line["participant"], line)
        assert (before["number"], before["at"]) == (line["number"], line["at"])
    assert {row.participant_id: row.number for row in everything(world)} == {p: line["number"] for p, line in acknowledged.items()}
    assert_whole(world)


def test_no_allocation_after_the_opinion_is_withdrawn(world: World) -> None:
    for site in ("S01", "S02") * (PARTICIPANTS // 2):
        builders.ready(world, site)
    running = [start(world.instance.settings.folder, f"p{i}", 0, pause=0.1) for i in range(3)]
    first = running[0].stdout
    assert first is not None
    seen = [json.loads(first.readline()) for _ in range(2)]
    withdrawn = Approval("rec", "withdrawn", decided_on=builders.TODAY)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, withdrawn))
    told = seen + [line for process in running for line in answers(process)]
    made = {line["participant"] for line in told if line.get("new")}
    before = len(everything(world))
    assert before == len(made) < PARTICIPANTS
    left = next(line["participant"] for line in told if line.get("refused", "").startswith("GATE."))
    with pytest.raises(Refused, match="favourable ethics opinion"):
        world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, left, "afterwards"))
    assert_whole(world)
