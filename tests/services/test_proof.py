"""The proof of the trail: whatever the owner of the database does behind the program's back is found, and named."""

import random
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from tests import builders, tampering
from tests.builders import TRIAL, World
from tests.conftest import Template
from tests.tampering import KINDS, METADATA
from trialdm import instance as instances
from trialdm.domain import notes
from trialdm.domain.errors import Broken, Forbidden, Invalid
from trialdm.services import anchors, places, proof, queries, sealing
from trialdm.services.unit import SYSTEM
from trialdm.store import keys as signing
from trialdm.store.tables import Account, AuditEvent, AuditLeaf, Checkpoint


def furnish(world: World) -> None:
    """A participant who was randomised, corrected forms, a query, checkpoints on the way."""
    sealing.seal_all(world.units)
    ident = builders.randomised(world)
    sealing.seal_all(world.units)
    other = builders.consented(world, "S02")
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 6, "limb_avg": 3}, reason="typing")
    builders.put(world, other, "V01", "PAIN", {"limb_worst": 4, "limb_avg": 2}, site="S02")
    world.run("data-manager", lambda unit: queries.ask(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN", 1), "limb_avg", "The mean?"))
    sealing.seal_all(world.units)


def _proven(template: Template, folder: Path) -> Iterator[World]:
    world = template.copy(folder)
    furnish(world)
    yield world
    world.instance.engine.dispose()


@pytest.fixture(scope="module")
def proven(sqlite_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world in which every test takes back what it did."""
    yield from _proven(sqlite_template, tmp_path_factory.mktemp("proven") / "instance")


@pytest.fixture(scope="module")
def postgres_proven(postgres_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The same on PostgreSQL."""
    yield from _proven(postgres_template, tmp_path_factory.mktemp("proven") / "instance")


def report(world: World, *given: str) -> proof.Report:
    with world.units.reading(SYSTEM) as unit:
        return proof.verify(unit, given)


def test_what_nobody_touched_is_as_it_was_written(proven: World) -> None:
    found = report(proven)
    assert (found.findings, found.open, found.code) == ([], [], 0)
    assert found.leaves == found.entries > 300
    assert found.rows > 150
    assert found.unsealed == 0


RECORD = (
    "account role_grant delegation training credential definition status register_entry participant form_instance form_version query "
    "query_act scheme scheme_event allocation scheme_act notice trial"
).split()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", RECORD)
def test_every_row_of_record_that_was_changed_is_named(proven: World, table: str, kind: str) -> None:
    named_when_changed(proven, table, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", ["account", "form_version", "form_instance", "allocation", "status", "scheme"])
def test_postgresql_hides_no_change_either(postgres_proven: World, table: str, kind: str) -> None:
    named_when_changed(postgres_proven, table, kind)


def test_the_proof_holds_on_postgresql(postgres_proven: World) -> None:
    found = report(postgres_proven, given_away(postgres_proven))
    assert (found.findings, found.open, found.unsealed) == ([], [], 0)
    assert found.rows > 150


def named_when_changed(world: World, table: str, kind: str) -> None:
    chance = random.Random(f"{table} {kind}")
    with tampering.unguarded(world) as connection:
        done = KINDS[kind](connection, METADATA[table], chance)
        if done is None:
            assert kind == "swap"
            return
        found = tampering.verified(world, connection).findings
    named = {(f.table, f.key) for f in found if f.code in ("AUDIT.REPLAY", "AUDIT.GONE", "AUDIT.UNACCOUNTED")}
    assert {(table, " ".join(map(str, key))) for key in done.keys} <= named
    if done.column:
        assert (table, done.column) in {(f.table, f.field) for f in found}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", tampering.TRAIL)
def test_every_change_of_the_trail_itself_is_found(proven: World, table: str, kind: str) -> None:
    for seed in range(3):
        with tampering.unguarded(proven) as connection:
            done = KINDS[kind](connection, METADATA[table], random.Random(seed))
            assert done
            found = tampering.verified(proven, connection)
        assert found.findings, (table, kind, seed, done)
        assert found.code == 1


def test_entries_in_another_order_are_found(proven: World) -> None:
    with tampering.unguarded(proven) as connection:
        done = tampering.reorder(connection, random.Random(1))
        found = tampering.verified(proven, connection).findings
    assert {str(key[0]) for key in done.keys} <= {f.key for f in found if f.code == "AUDIT.LEAF"}


def test_an_answer_that_was_changed_is_named_by_its_question(proven: World) -> None:
    table = METADATA["form_version"]
    with tampering.unguarded(proven) as connection:
        changed = func.replace(table.c.data, '"limb_worst":6', '"limb_worst":1')
        connection.execute(update(table).where(table.c.data.contains('"limb_worst":6')).values(data=changed))
        found = tampering.verified(proven, connection).findings
    assert {(f.table, f.field) for f in found} == {("form_version", "data"), ("form_version", "limb_worst")}


def test_a_row_and_all_of_its_trail_away_at_once_is_found(proven: World) -> None:
    for everything in (True, False):
        with tampering.unguarded(proven) as connection:
            tampering.cut(connection, random.Random(2), everything=everything)
            without = tampering.verified(proven, connection)
            with_anchor = tampering.verified(proven, connection, [given_away(proven)])
        assert "AUDIT.ANCHOR" in {f.code for f in with_anchor.findings}
        assert everything or without.findings


def given_away(world: World) -> str:
    with world.units.reading(SYSTEM) as unit:
        return anchors.complete(unit)


def test_somebody_with_all_keys_but_the_anchor_is_found_by_the_anchor(proven: World) -> None:
    text_given = given_away(proven)
    with tampering.unguarded(proven) as connection:
        leaf = connection.execute(select(AuditLeaf).where(AuditLeaf.trial_id == TRIAL, AuditLeaf.leaf_index == 3)).first()
        assert leaf
        connection.execute(
            update(METADATA["audit_leaf"]).where(METADATA["audit_leaf"].c.event_id == leaf.event_id).values(leaf_hash=b"x" * 32)
        )
        found = tampering.verified(proven, connection, [text_given]).findings
    assert "AUDIT.ANCHOR" in {f.code for f in found}


def test_what_is_given_to_everybody_counts_nothing_that_is_hidden_and_proves_it_all_the_same(proven: World) -> None:
    with proven.units.reading(SYSTEM) as unit:
        told = anchors.for_everybody(unit, TRIAL)
        hidden = sealing.newest(unit, TRIAL, "unblinded")
        assert hidden
    assert {notes.read(note)[0].origin.rpartition("/")[2] for note in notes.apart(told)} == {"open"}
    assert f"\n{hidden.size}\n" not in told
    assert not report(proven, told).findings
    with tampering.unguarded(proven) as connection:
        connection.execute(text("DELETE FROM checkpoint WHERE stream = 'unblinded'"))
        connection.execute(text("DELETE FROM audit_leaf WHERE stream = 'unblinded'"))
        found = tampering.verified(proven, connection, [told]).findings
    assert [f for f in found if f.code == "AUDIT.ANCHOR" and f.key.endswith("unblinded")]


def test_an_anchor_that_says_nothing_or_is_of_another_instance_leaves_the_proof_open(proven: World) -> None:
    other = signing.public_key(b"y" * 32)
    made = notes.Checkpoint(notes.origin(other, TRIAL, "open"), 3, b"r" * 32, proven.now, (0, b""))
    foreign = notes.note(made, other, signing.sign(b"y" * 32, made.text()))
    assert report(proven, foreign).code == 2
    assert report(proven, "nothing").code == 2


def test_yesterdays_database_is_found_by_todays_anchor(sqlite_world: World, tmp_path: Path) -> None:
    world = sqlite_world
    builders.screened(world)
    sealing.seal_all(world.units)
    database = world.instance.settings.folder / "trialdm.db"
    shutil.copy(database, tmp_path / "yesterday.db")
    builders.screened(world)
    sealing.seal_all(world.units)
    today = given_away(world)
    world.instance.engine.dispose()
    shutil.copy(tmp_path / "yesterday.db", database)
    assert report(world).code == 0
    assert {f.code for f in report(world, today).findings} == {"AUDIT.ANCHOR"}
    sealing.seal_all(world.units)
    builders.screened(world)
    builders.screened(world)
    sealing.seal_all(world.units)
    assert {f.code for f in report(world, today).findings} == {"AUDIT.ANCHOR"}


# --- sealing ---------------------------------------------------------------------------------------------------------


def test_entries_wait_a_little_and_are_told_when_they_wait_too_long(world: World) -> None:
    found = report(world)
    assert found.unsealed == found.entries > 0
    assert found.code == 2
    sealing.seal_all(world.units)
    builders.screened(world)
    found = report(world)
    assert (found.unsealed > 0, found.code) == (True, 0)
    world.now += proof.OVERDUE + timedelta(minutes=1)
    assert report(world).code == 2


def test_an_entry_that_comes_late_falls_into_the_next_batch(sqlite_world: World) -> None:
    world = sqlite_world
    builders.screened(world)
    with world.instance.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER guard_audit_event_update"))
        first = connection.execute(select(AuditEvent.seq).order_by(AuditEvent.seq).limit(1)).scalar_one()
        connection.execute(text("UPDATE audit_event SET seq = 10000 WHERE seq = :first"), {"first": first})
    last = sealing.seal_all(world.units).last
    with world.instance.engine.begin() as connection:
        late = connection.execute(select(func.max(AuditEvent.seq))).scalar_one()
        assert late == last == 10000
        connection.execute(text("UPDATE sqlite_sequence SET seq = 5000 WHERE name = 'audit_event'"))
    builders.screened(world)
    assert sealing.seal_all(world.units, last).sealed > 0
    found = report(world)
    assert (found.unsealed, found.findings) == (0, [])


def test_a_batch_that_is_cut_off_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.screened(world)
    real, calls = sealing._signed, []

    def failing(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(sealing, "_signed", failing)
    with pytest.raises(KeyboardInterrupt):
        sealing.seal_all(world.units)
    with world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(AuditLeaf.leaf_index)).all() == []
        assert unit.session.scalars(select(Checkpoint.size)).all() == []
    assert sealing.seal_all(world.units).sealed > 0
    assert report(world).code == 0


def test_many_small_batches_give_every_entry_one_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 37)
    builders.screened(world)
    done = sealing.seal_all(world.units)
    found = report(world)
    assert (done.sealed, found.unsealed, found.code) == (found.entries, 0, 0)
    assert found.checkpoints > 5
    assert sealing.seal_all(world.units, done.last).sealed == 0


def test_a_tree_that_was_changed_is_not_built_upon(sqlite_world: World) -> None:
    sealing.seal_all(sqlite_world.units)
    builders.screened(sqlite_world)
    with sqlite_world.instance.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER guard_checkpoint_update"))
        connection.execute(text("UPDATE checkpoint SET peaks = replace(peaks, 'a', 'b')"))
    with pytest.raises(Broken) as refused:
        sealing.seal_all(sqlite_world.units)
    assert refused.value.code == "AUDIT.CHECKPOINT"


def test_rows_of_an_earlier_version_are_taken_over_once(sqlite_world: World) -> None:
    with sqlite_world.instance.engine.begin() as connection:
        for guard in ("row_seal_delete", "account_update"):
            connection.execute(text(f"DROP TRIGGER IF EXISTS guard_{guard}"))
        connection.execute(text("DELETE FROM row_seal"))
    assert "migrate" in " ".join(report(sqlite_world).open)
    taken = sqlite_world.units.run(SYSTEM, sealing.take_over)
    sealing.seal_all(sqlite_world.units)
    found = report(sqlite_world)
    assert (found.code, found.rows) == (0, taken)
    assert sqlite_world.units.run(SYSTEM, sealing.take_over) == 0
    with sqlite_world.instance.engine.begin() as connection:
        connection.execute(update(Account).values(name="Somebody else"))
    assert {(f.table, f.field) for f in report(sqlite_world).findings} == {("account", "name")}


# --- receipts and the worker -----------------------------------------------------------------------------------------


def test_a_receipt_holds_without_the_database_and_no_other_does(proven: World) -> None:
    with proven.units.reading(SYSTEM) as unit:
        public = anchors.public_key(unit)
        ident = unit.session.scalars(
            select(AuditEvent.event_id).where(AuditEvent.trial_id == TRIAL, AuditEvent.field == "limb_worst")
        ).first()
    receipt = proven.read("unblinded-data-manager", lambda unit: anchors.receipt(unit, TRIAL, str(ident)))
    assert anchors.verify_receipt(receipt, public).size > receipt["leaf_index"]
    changed = [
        receipt | {"entry": receipt["entry"] | {"actor_id": "somebody else"}},
        receipt | {"leaf_index": receipt["leaf_index"] + 1},
        receipt | {"proof": receipt["proof"][::-1]},
        receipt | {"checkpoint": receipt["checkpoint"].replace("/open", "/unblinded")},
        receipt | {"format": "another"},
        {},
    ]
    for document in changed:
        with pytest.raises(Invalid):
            anchors.verify_receipt(document, public)
    with pytest.raises(Invalid):
        anchors.verify_receipt(receipt, signing.public_key(b"z" * 32))
    with pytest.raises(Forbidden):
        proven.read("monitor", lambda unit: anchors.receipt(unit, TRIAL, str(ident)))


def test_the_worker_seals_and_gives_away_once_a_day(sqlite_world: World, tmp_path: Path) -> None:
    from trialdm.services.jobs import Jobs
    from trialdm.settings import Anchors

    sealing.seal_all(sqlite_world.units)
    worker = Jobs(sqlite_world.units, tmp_path, given_away=Anchors(tmp_path / "away", mail=True))
    assert (worker.give_away(), worker.give_away()) == (2, 0)
    sealing.seal_all(sqlite_world.units)
    kept = list(anchors.read_folder(tmp_path / "away"))
    assert len(kept) == 1
    assert report(sqlite_world, *kept).anchors == len(notes.apart(kept[0])) > 1
    sqlite_world.now += timedelta(days=1)
    assert worker.give_away() == 2


def test_an_instance_without_the_sealing_key_gets_it(tmp_path: Path) -> None:
    from trialdm.store import keys

    instance = instances.create(tmp_path / "earlier")
    (instance.settings.keys_folder / "sealing.key").unlink()
    assert len(keys.complete(instance.settings.keys_folder).sealing) == 32
    instance.engine.dispose()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("form_version", "data", "{}}"), ("status", "at", "yesterday"), ("checkpoint", "at", "yesterday"), ("row_seal", "rows", "[")],
)
def test_what_cannot_be_read_any_more_is_a_finding_and_stops_nothing(proven: World, table: str, column: str, value: str) -> None:
    with tampering.unguarded(proven) as connection:
        connection.execute(text(f'UPDATE "{table}" SET "{column}" = :value'), {"value": value})
        connection.execute(text("UPDATE account SET name = 'Somebody else'"))
        found = tampering.verified(proven, connection, [given_away(proven)]).findings
    assert table in {f.table for f in found}
    assert ("account", "name") in {(f.table, f.field) for f in found} or table == "row_seal"
