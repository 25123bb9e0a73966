"""Allocations a second through the service, beside the bare database transaction that writes the same rows."""

import json
import uuid

from sqlalchemy import Engine, insert

from tests import builders
from tests.bench.worlds import each_database, line, seconds
from tests.builders import TRIAL, World
from trialdm.services import allocations
from trialdm.store.tables import Allocation, AuditEvent, AuditValue, Idempotency, SchemeEvent, Status

COUNT = 60


def run() -> None:
    """Print allocations a second, and the ratio to the bare transaction."""
    with each_database() as worlds:
        for name, world in worlds:
            idents = [builders.ready(world, site) for site in ("S01", "S02") * (COUNT // 2)]
            service = seconds(lambda world=world, idents=idents: [_randomise(world, ident) for ident in idents])
            bare = seconds(lambda world=world, idents=idents: [_bare(world.instance.engine, ident, i) for i, ident in enumerate(idents)])
            beside = f"{service / bare:5.2f} x the bare transaction ({COUNT / bare:6.1f}/s)"
            line(f"randomise, {name}: {COUNT / service:6.1f} allocations/s, {beside}")


def _randomise(world: World, ident: str) -> None:
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, f"bench-{ident}"))


def _bare(engine: Engine, ident: str, i: int) -> None:
    """The same number of rows of the same tables, written without any rule."""
    text = json.dumps({"levels": "x" * 300})
    now = builders.datetime.now(builders.UTC)
    with engine.begin() as connection:
        connection.execute(insert(SchemeEvent).values(trial_id=TRIAL, scheme="main", epoch=0, i=100_000 + i, data=text, hash="h" * 64))
        connection.execute(
            insert(Allocation).values(
                trial_id=TRIAL,
                scheme="main",
                participant_id=f"bare {ident}",
                epoch=0,
                event=100_000 + i,
                kind="allocated",
                seq=100_000 + i,
                stratum="bare",
                slot=i,
                levels=text,
                site="B",
                site_no=i,
                number=f"B-{i}",
                arm_sealed=b"0" * 40,
                at=now,
                by="x",
                gate=text,
            )
        )
        connection.execute(
            insert(Idempotency).values(trial_id=TRIAL, route="bare", account_id="x", key=str(i), subject=ident, created_at=now)
        )
        connection.execute(
            insert(Status).values(
                trial_id=TRIAL, machine="bare", subject=ident, seq=1, event="x", state="x", at=now, by="x", reason="", gate=text
            )
        )
        events = [
            {c.name: "x" * 20 for c in AuditEvent.__table__.columns if c.name != "seq"} | {"event_id": uuid.uuid4().hex} for _ in range(13)
        ]
        connection.execute(insert(AuditEvent), events)
        connection.execute(
            insert(AuditValue), [{"event_id": e["event_id"], "which": "new", "salt": b"0" * 16, "value": "1"} for e in events]
        )
