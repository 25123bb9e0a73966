"""The audit trail: what codes and sealing cost beside the same rows without them, proving a million entries, and a thousand tampers."""

import hashlib
import random
import secrets
import shutil
import tempfile
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select

from tests import builders, tampering
from tests.bench.worlds import each_database, line, seconds
from tests.builders import TRIAL, World
from trialdm import instance as instances
from trialdm.domain import audit
from trialdm.domain.audit import Entry
from trialdm.services import places, proof, queries, sealing
from trialdm.services.unit import SYSTEM
from trialdm.store import rows
from trialdm.store.tables import AuditEvent, AuditValue, FormVersion, RowSeal

#: Entries of a form of 25 answers, and how many such forms are saved.
ENTRIES, FORMS = 27, 300


def run() -> None:
    """Codes and sealing against the same rows without them: transactions of one form each, committed one by one."""
    with each_database() as worlds:
        for name, world in worlds:
            sealing.seal_all(world.units)
            bare = seconds(lambda world=world: [_save(world, sealed=False) for _ in range(FORMS)])
            with world.units.reading(SYSTEM) as unit:
                last = unit.session.scalar(select(func.max(AuditEvent.seq))) or 0
            coded = seconds(lambda world=world: [_save(world, sealed=True) for _ in range(FORMS)])
            sealed = seconds(lambda world=world, last=last: sealing.seal_all(world.units, last + sealing.LATE))
            line(
                f"{name}: {FORMS} forms of {ENTRIES} entries: {bare:.2f} s bare, {coded:.2f} s with codes and row seals, "
                f"{sealed:.2f} s sealing: {(coded + sealed) / bare - 1:+.0%}"
            )


def _save(world: World, *, sealed: bool) -> None:
    """What one saved form writes to the trail, with codes and the seals of two rows, or the same columns filled with constants."""
    key, events, values = world.units.keys.audit, [], []
    for number in range(ENTRIES):
        event_id, salt, text = uuid.uuid4().hex, secrets.token_bytes(16), str(number)
        entry = _entry(event_id, audit.commit_text(salt, text))
        events.append({**entry.__dict__, "mac": audit.authenticate(key, entry) if sealed else "0" * 64})
        values.append({"event_id": event_id, "which": "new", "salt": salt, "value": text})
    with world.instance.engine.begin() as connection:
        connection.execute(insert(AuditEvent), events)
        connection.execute(insert(AuditValue), values)
        if sealed:
            version = FormVersion(**{c.name: "x" * 40 for c in FormVersion.__table__.columns})
            text = proof.row_seals.to_text([rows.seal(key, version), rows.seal(key, version)])
            mac = audit.authenticate_rows(key, event_id, text)
            connection.execute(insert(RowSeal), [{"event_id": event_id, "rows": text, "mac": mac}])


def _entry(event_id: str, commitment: str, trial: str = TRIAL) -> Entry:
    fixed = {"at_source": "server", "actor_id": "a" * 32, "actor_role": "Research nurse", "org": "S01", "action": "form.finish"}
    fixed |= {"entity": "note", "entity_id": "b" * 32, "old_commit": "", "reason_code": "", "reason_text_commit": "", "app_version": "1"}
    moment = "2026-03-10T10:00:00.000000+00:00"
    return Entry(
        event_id=event_id,
        trial_id=trial,
        stream="open",
        at_utc=moment,
        field="limb_worst",
        new_commit=commitment,
        request_id="web:1",
        **fixed,
    )


# --- a million entries -----------------------------------------------------------------------------------------------

MILLION = 1_000_000
_AT_ONCE = 20_000


def run_verify() -> None:
    """Sealing and proving a million entries on SQLite, beside hashing the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        need = 2 * 10**9
        if shutil.disk_usage(folder).free < need:
            line(f"{folder} has less than {need // 10**9} GB free: nothing was measured.")
            return
        instance = instances.create(Path(folder) / "million")
        made = seconds(lambda: _fill(instance))
        sealed = seconds(lambda: _seal(instance))
        found: dict[str, Any] = {}

        def prove() -> None:
            with instance.units.reading(SYSTEM) as unit:
                found["report"] = proof.verify(unit)

        proved, hashed = seconds(prove), seconds(lambda: _hash_alone(instance))
        report = found["report"]
        line(
            f"{report.entries} entries ({made:.0f} s to make): sealed in {sealed:.1f} s, proved in {proved:.1f} s, "
            f"{proved / hashed:.1f} times hashing their bytes ({hashed:.1f} s); {len(report.findings)} findings, code {report.code}"
        )
        instance.engine.dispose()


def _fill(instance: Any) -> None:
    key = instance.units.keys.audit
    for _ in range(MILLION // _AT_ONCE):
        events, values = [], []
        for number in range(_AT_ONCE):
            event_id, salt, text = uuid.uuid4().hex, secrets.token_bytes(16), str(number)
            entry = _entry(event_id, audit.commit_text(salt, text))
            events.append({**entry.__dict__, "mac": audit.authenticate(key, entry)})
            values.append({"event_id": event_id, "which": "new", "salt": salt, "value": text})
        with instance.engine.begin() as connection:
            connection.execute(insert(AuditEvent), events)
            connection.execute(insert(AuditValue), values)


def _seal(instance: Any) -> None:
    sealing.seal_all(instance.units)


def _hash_alone(instance: Any) -> None:
    """Read the same columns and hash them: what nobody can do without."""
    columns = [getattr(AuditEvent, name) for name in audit.ORDER]
    with instance.units.reading(SYSTEM) as unit:
        for row in unit.session.execute(select(*columns).execution_options(yield_per=5000)):
            hashlib.sha256("".join(row).encode()).digest()


# --- a thousand tampers ----------------------------------------------------------------------------------------------

TAMPERS = 1000


def run_tamper() -> None:
    """Tampers at random by the owner of the database; says how many were found, and names those that were not."""
    with each_database() as worlds:
        for name, world in worlds:
            _furnish(world)
            with world.units.reading(SYSTEM) as unit:
                given = [proof.anchors.complete(unit)]
            done, missed, counts = 0, [], Counter[str]()
            for seed in range(TAMPERS):
                chance = random.Random(seed)
                with tampering.unguarded(world) as connection:
                    kind = chance.choice([*tampering.KINDS] * 4 + ["reorder", "cut", "cut with its rows"])
                    if kind in tampering.KINDS:
                        table = chance.choice(tampering.filled(connection))
                        made = tampering.KINDS[kind](connection, tampering.METADATA[table], chance)
                    elif kind == "reorder":
                        made = tampering.reorder(connection, chance)
                    else:
                        made = tampering.cut(connection, chance, everything=kind != "cut")
                    if made is None:
                        continue
                    done, report = done + 1, tampering.verified(world, connection, given)
                counts[kind] += 1
                if not report.findings or not _named(made, report):
                    missed.append((seed, kind, made))
            line(f"{name}: {done - len(missed)} of {done} tampers found and named ({dict(counts)}) {missed or ''}")


def _named(made: tampering.Done, report: proof.Report) -> bool:
    """Whether the findings name each row of record that was touched."""
    if made.table not in rows.of_record():
        return True
    named = {(f.table, f.key) for f in report.findings}
    return all((made.table, " ".join(map(str, key))) in named for key in made.keys)


def _furnish(world: World) -> None:
    sealing.seal_all(world.units)
    ident = builders.randomised(world)
    sealing.seal_all(world.units)
    builders.consented(world, "S02")
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 6, "limb_avg": 3}, reason="typing")
    world.run("data-manager", lambda unit: queries.ask(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN", 1), "limb_avg", "The mean?"))
    sealing.seal_all(world.units)
