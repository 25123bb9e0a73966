"""What one more allocation costs through the service when a scheme has a hundred, and when it has a hundred thousand."""

import json
import uuid

from sqlalchemy import insert, text

from tests import builders
from tests.bench.ledgers import SIZES
from tests.bench.worlds import each_database, line, seconds
from tests.builders import TRIAL, World
from trialdm.domain.randomisation import ledger
from trialdm.domain.randomisation.commitment import canonical
from trialdm.services import allocations, chains, schemes, studies
from trialdm.services.unit import Unit
from trialdm.store.tables import Allocation, SchemeEvent

_EACH = 12


def run() -> None:
    """Print the time of an allocation after each filling, as a ratio to the first."""
    with each_database() as worlds:
        for name, world in worlds:
            first = 0.0
            world.run("trial-manager", _no_target)
            for size in SIZES:
                world.run("trial-manager", lambda unit, size=size: _fill(unit, size))
                _statistics(world)
                idents = [builders.ready(world) for _ in range(_EACH + 1)]
                started = seconds(lambda world=world, idents=idents: _randomise(world, idents[0]))
                each = seconds(lambda world=world, idents=idents: [_randomise(world, ident) for ident in idents[1:]]) / _EACH
                first = first or each
                line(
                    f"one allocation, {name}, after {size:7,}: {each * 1000:6.1f} ms, {each / first:5.2f} x that after {SIZES[0]}; "
                    f"the first one, which reads what it has not seen, {started * 1000:8.1f} ms"
                )


def _randomise(world: World, ident: str) -> None:
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, f"flat-{ident}"))


def _statistics(world: World) -> None:
    """What a running database does by itself after a while."""
    with world.instance.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _no_target(unit: Unit) -> None:
    """The trial's target would end recruitment at 220."""
    texts = json.loads(studies.definition(unit, TRIAL).texts)
    top = f"{TRIAL}/protocol.yaml"
    studies.put_in_force(unit, {**texts, top: texts[top].replace("participants: 220", "participants: 1000000")})


def _fill(unit: Unit, size: int) -> None:
    """Places up to this number, as the service would have made them, for participants who have no forms."""
    protocol = studies.protocol(unit, TRIAL)
    row = schemes.locked_live(unit, protocol, "main")
    state, made = chains.running(unit, row), schemes.keys(unit, row)
    head, at, events, places = chains.head(row), unit.now.isoformat(timespec="microseconds"), [], []
    factors = schemes.config(row)["factors"]
    sites = ("S03", "S04", "S05")
    for number in range(row.places, size):
        levels = {f["name"]: f["levels"][number * 7919 // 10 % len(f["levels"])] for f in factors} | {"site": sites[number % 3]}
        placed = state.allocator.next(list(levels.values()))
        state.allocator.take(placed)
        ident, arm = f"fill {uuid.uuid4().hex}", state.allocator.arm(placed)
        event = ledger.placing_event(made, head, kind="allocated", stratum=placed.stratum, levels=levels, participant=ident, at=at, arm=arm)
        head = ledger.append(head, event)
        events.append(
            {"trial_id": TRIAL, "scheme": "main", "epoch": 0, "i": head.events, "data": canonical(event).decode(), "hash": head.hash.hex()}
        )
        places.append(
            {
                "trial_id": TRIAL,
                "scheme": "main",
                "participant_id": ident,
                "epoch": 0,
                "event": head.events,
                "kind": "allocated",
                "seq": placed.seq,
                "stratum": placed.stratum,
                "slot": placed.slot,
                "levels": json.dumps(levels),
                "site": levels["site"],
                "site_no": 1000 + number,
                "number": f"F-{number}",
                "arm_sealed": chains.seal_arm(unit, protocol.scheme, TRIAL, 0, ident, arm),
                "at": unit.now,
                "by": "bench",
                "gate": "{}",
            }
        )
    chains._RUNNING.clear()
    unit.session.execute(insert(SchemeEvent), events)
    unit.session.execute(insert(Allocation), places)
    row.events, row.places, row.head = head.events, head.places, head.hash.hex()
    unit.covered(row)
