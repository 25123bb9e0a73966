"""Saving a form of 25 answers through the service, beside the bare transaction that writes the same rows."""

import json
import uuid

from sqlalchemy import Engine, insert

from tests import builders
from tests.bench.worlds import each_database, line, seconds
from trialdm.store.tables import AuditEvent, AuditValue, FormInstance, FormVersion

COUNT = 60


def run() -> None:
    """Print forms a second, and the ratio to the bare transaction."""
    with each_database() as worlds:
        for name, world in worlds:
            idents = [builders.consented(world) for _ in range(COUNT)]
            day = (builders.TODAY + builders.timedelta(days=3)).isoformat()
            given = {**builders.CLINICAL, "surg_date_plan": day, "surgeon_plan": 1}
            service = seconds(
                lambda world=world, idents=idents, given=given: [builders.put(world, i, "V01", "CLIN", given) for i in idents]
            )
            bare = seconds(lambda world=world, idents=idents: [_bare(world.instance.engine, ident) for ident in idents])
            beside = f"{service / bare:5.2f} x the bare transaction ({COUNT / bare:6.1f}/s)"
            line(f"save-form, {name}: {COUNT / service:6.1f} forms/s, {beside}")


def _bare(engine: Engine, participant: str) -> None:
    now, ident = builders.datetime.now(builders.UTC), uuid.uuid4().hex
    with engine.begin() as connection:
        connection.execute(
            insert(FormInstance).values(
                trial_id=builders.TRIAL,
                id=ident,
                participant_id=participant,
                visit="X",
                form="X",
                row=1,
                status="complete",
                seq=1,
                restricted=0,
            )
        )
        connection.execute(
            insert(FormVersion).values(
                trial_id=builders.TRIAL,
                instance_id=ident,
                seq=1,
                definition_seq=1,
                status="complete",
                data=json.dumps({"a": "x" * 400}),
                saved_at=now,
                saved_by="x",
                reason_code="",
                reason_text="",
                confirmed="",
            )
        )
        events = [
            {c.name: "x" * 20 for c in AuditEvent.__table__.columns if c.name != "seq"} | {"event_id": uuid.uuid4().hex} for _ in range(27)
        ]
        connection.execute(insert(AuditEvent), events)
        connection.execute(
            insert(AuditValue), [{"event_id": e["event_id"], "which": "new", "salt": b"0" * 16, "value": "1"} for e in events]
        )
