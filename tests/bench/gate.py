"""What the gate costs in a randomisation: the case, all rules, and the answer as it is kept; beside the whole allocation.

Measured where it happens, with the register of a small trial and with one of a large one (400 entries, 400 lines), once when it
was read before and once when it has just changed, so that it is read again.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from tests import builders
from tests.bench.worlds import each_database, line, seconds
from tests.builders import TODAY, TRIAL, World
from trialdm.domain.ethics import Fact
from trialdm.services import allocations, delegations, gates, people, register
from trialdm.services.unit import Unit

COUNT = 40
LARGE = 400


def run() -> None:
    """Print milliseconds of the gate in an allocation, and their ratio to it."""
    with each_database() as worlds:
        for name, world in worlds:
            _measure(world, f"gate, {name}, small register")
            _enlarge(world)
            _measure(world, f"gate, {name}, large register")
            _measure(world, f"gate, {name}, large register that has just changed", changing=True)


def _measure(world: World, name: str, *, changing: bool = False) -> None:
    idents = [builders.ready(world, site) for site in ("S01", "S02") * (COUNT // 2)]
    took: list[float] = []
    whole = 0.0
    for ident in idents:
        if changing:
            world.run("sponsor", lambda unit: register.add(unit, TRIAL, Fact("done", TODAY, about="bench")))
        with _timed(took):
            whole += seconds(lambda ident=ident: _randomise(world, ident))
    middle = statistics.median(took)
    line(f"{name}: {1000 * middle:5.2f} ms an allocation, {sum(took) / whole:5.3f} x the whole allocation")


@contextmanager
def _timed(took: list[float]) -> Iterator[None]:
    """Adds how long each question to the gate takes."""
    ask = gates.require

    def timed(*given: Any, **more: Any) -> Any:
        start = time.perf_counter()
        answer = ask(*given, **more)
        took.append(time.perf_counter() - start)
        return answer

    with patch.object(gates, "require", timed):
        yield


def _randomise(world: World, ident: str) -> None:
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, f"bench-{ident}"))


def _enlarge(world: World) -> None:
    def work(unit: Unit) -> None:
        nurse = people.by_email(unit, builders.email("research-nurse", "S01"))
        for i in range(LARGE):
            register.add(unit, TRIAL, Fact("done", TODAY, about=f"bench:{i}", text="x" * 200))
            start = TODAY - timedelta(days=900 - i)
            delegations.transcribe(unit, TRIAL, nurse, tasks=("crf",), start=start, end=start, site="S01")

    world.run("trial-manager", work)
