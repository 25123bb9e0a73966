"""Killed at any step, vault and research database agree after the reconciler, and doing that again changes nothing."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.builders import TRIAL, World
from tests.identity.people import kept, with_vault
from trialdm import instance as instances
from trialdm.demo.invented import invented
from trialdm.identity.tables import person
from trialdm.services import identities
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import IdentityAct

#: Where the process is killed: before the vault has it, while it is pending there, once the research row is committed, at the end.
STEPS = ("before", "pending", "committed", "settled")


class Dying:
    """A vault that takes the process with it."""

    def __init__(self, inner: Any, step: str) -> None:
        self.inner, self.step = inner, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def enter(self, *given: Any, **more: Any) -> Any:
        self._at("before")
        like = self.inner.enter(*given, **more)
        self._at("pending")
        return like

    def settle(self, *given: Any) -> None:
        self._at("committed")
        self.inner.settle(*given)
        self._at("settled")

    def _at(self, step: str) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def die(world: World, number: int, step: str) -> None:
    """Add somebody in a process of its own, which is killed at the step."""
    child = os.fork()
    if child == 0:
        try:
            opened = instances.open_folder(world.instance.settings.folder)
            vault = Dying(kept(_apart(world)), step)
            units = replace(opened.units, clock=lambda: world.now, world="test", vault=vault)
            units.run(world.actor("research-nurse"), lambda unit: identities.add(unit, TRIAL, "S01", invented(number)))
        finally:
            os._exit(1)  # not reached: the step kills
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process was not killed"


def _apart(world: World) -> Path:
    return world.instance.settings.folder / "apart"


def reconcile(world: World) -> dict[str, int]:
    with world.units.reading(SYSTEM) as unit:
        return identities.reconcile(unit, 0)


def standing(world: World) -> tuple[set[str], set[str]]:
    """Who is entered by the research database, and who is active in the vault; nobody is pending."""
    with world.instance.engine.connect() as connection:
        entered = set(connection.scalars(select(IdentityAct.participant_id).where(IdentityAct.act == "enter")))
    with kept(_apart(world))._reading() as connection:
        rows = connection.execute(select(person.c.participant, person.c.state)).all()
    assert {row.state for row in rows} <= {"active"}
    return entered, {row.participant for row in rows}


def killed(world: World, rounds: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Kill at each step in turn, and reconcile; gives the step and what was done."""
    kept(_apart(world)).create()
    for number in range(rounds):
        step = STEPS[number % len(STEPS)]
        die(world, number, step)
        done = reconcile(world)
        assert reconcile(world) == {"active": 0, "forgotten": 0, "shredded": 0}
        entered, active = standing(world)
        assert entered == active
        yield step, done


def test_killed_at_every_step_nothing_is_in_one_store_only(world: World) -> None:
    with_vault(world)
    world.instance.engine.dispose()
    found = {step: (done["active"], done["forgotten"]) for step, done in killed(world, len(STEPS))}
    assert found == {"before": (0, 0), "pending": (0, 1), "committed": (1, 0), "settled": (0, 0)}
    assert len(standing(world)[0]) == 2
    for number in (0, 1):  # who was not kept can be added again
        world.run("research-nurse", lambda unit, number=number: identities.add(unit, TRIAL, "S01", invented(number)))


def test_what_is_young_and_pending_is_left_alone(sqlite_world: World) -> None:
    with_vault(sqlite_world)
    kept(_apart(sqlite_world)).create()
    die(sqlite_world, 1, "pending")
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert identities.reconcile(unit, 10)["forgotten"] == 0
    with pytest.raises(Exception, match="adding this person"):
        sqlite_world.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", invented(1)))
    assert reconcile(sqlite_world)["forgotten"] == 1
