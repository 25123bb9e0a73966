"""Schemes that are signed, corrected and verified; envelopes; disclosures, notices and rehearsals."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.guards import postgresql_guards, sqlite_guards
from trialdm.store.tables import Instant

revision = "0002"
down_revision = "0001"

_APPEND_ONLY = {
    "allocation_note": [("trial_id", "scheme", "participant_id", "seq")],
    "scheme_act": [("trial_id", "scheme", "epoch", "seq")],
    "scheme_head": [("trial_id", "scheme", "epoch", "i")],
    "envelope": [("trial_id", "site", "number")],
    "envelope_use": [("trial_id", "site", "number")],
    "disclosure": [("trial_id", "id")],
    "theatre_check": [("trial_id", "id")],
}

_ALLOCATION_KEYS = [
    ("trial_id", "scheme", "participant_id"),
    ("trial_id", "scheme", "epoch", "seq"),
    ("trial_id", "scheme", "epoch", "stratum", "slot"),
    ("trial_id", "scheme", "number"),
    ("trial_id", "scheme", "site", "site_no"),
]

_KEPT = "trial_id scheme participant_id epoch event seq stratum slot levels number arm_sealed at by gate".split()


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    _allocation_sqlite() if sqlite else _allocation_postgresql()
    op.create_index("ix_allocation_trial_id_participant_id", "allocation", ["trial_id", "participant_id"])
    _tables()
    if sqlite:
        guards = dict(_APPEND_ONLY, allocation=_ALLOCATION_KEYS)
        statements = [s for table, keys in guards.items() for s in sqlite_guards(table, keys)]
    else:
        statements = [s for table in _APPEND_ONLY for s in postgresql_guards(table)]
    for statement in statements:
        op.execute(sa.text(statement.replace(":", "\\:")))
    _schemes_in_use_stay_so()


# --- the allocation table ---------------------------------------------------------------------------------------------


def _allocation_sqlite() -> None:
    """SQLite changes a table by making it anew. `site_no` and `site` come from the number, `kind` from the scheme's method."""
    op.rename_table("allocation", "allocation_before")
    op.create_table(
        "allocation",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("event", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("levels", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("site_no", sa.Integer(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("arm_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "scheme", "participant_id", name="pk_allocation"),
        sa.ForeignKeyConstraint(
            ["trial_id", "scheme", "epoch"],
            ["scheme.trial_id", "scheme.name", "scheme.epoch"],
            name="fk_allocation_trial_id_scheme_epoch",
        ),
        sa.UniqueConstraint("trial_id", "scheme", "epoch", "seq", name="uq_allocation_trial_id_scheme_epoch_seq"),
        sa.UniqueConstraint("trial_id", "scheme", "epoch", "stratum", "slot", name="uq_allocation_trial_id_scheme_epoch_stratum_slot"),
        sa.UniqueConstraint("trial_id", "scheme", "number", name="uq_allocation_trial_id_scheme_number"),
        sa.UniqueConstraint("trial_id", "scheme", "site", "site_no", name="uq_allocation_trial_id_scheme_site_site_no"),
        sqlite_strict=True,
    )
    kept = ", ".join(f'"{name}"' for name in _KEPT)
    op.execute(
        f"INSERT INTO allocation ({kept}, kind, site, site_no) SELECT {kept}, 'allocated', substr(number, 1, instr(number, '-') - 1), "
        "CAST(substr(number, instr(number, '-') + 1) AS INTEGER) FROM allocation_before"
    )
    op.drop_table("allocation_before")
    _lists_are_external()


def _allocation_postgresql() -> None:
    op.drop_constraint("fk_allocation_trial_id_participant_id", "allocation", type_="foreignkey")
    op.execute("ALTER TABLE allocation DISABLE TRIGGER USER")
    op.add_column("allocation", sa.Column("kind", sa.Text(), nullable=False, server_default="allocated"))
    op.add_column("allocation", sa.Column("site", sa.Text(), nullable=False, server_default=""))
    op.add_column("allocation", sa.Column("site_no", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE allocation SET site = split_part(number, '-', 1), site_no = CAST(split_part(number, '-', 2) AS INTEGER)")
    _lists_are_external()
    for column in ("kind", "site", "site_no"):
        op.alter_column("allocation", column, server_default=None)
    op.execute("ALTER TABLE allocation ENABLE TRIGGER USER")
    op.create_foreign_key(
        "fk_allocation_trial_id_scheme_epoch",
        "allocation",
        "scheme",
        ["trial_id", "scheme", "epoch"],
        ["trial_id", "name", "epoch"],
    )
    op.create_unique_constraint("uq_allocation_trial_id_scheme_site_site_no", "allocation", ["trial_id", "scheme", "site", "site_no"])


def _lists_are_external() -> None:
    op.execute(
        "UPDATE allocation SET kind = 'external' WHERE EXISTS (SELECT 1 FROM list_slot WHERE list_slot.trial_id = allocation.trial_id "
        "AND list_slot.scheme = allocation.scheme AND list_slot.epoch = allocation.epoch)"
    )


def _schemes_in_use_stay_so() -> None:
    """A scheme made by an earlier version was in use from its making on."""
    op.execute(
        'INSERT INTO status (trial_id, machine, subject, seq, event, state, at, "by", reason, gate) '
        "SELECT trial_id, 'scheme', name || '/' || epoch, 1, 'take-over', 'live', created_at, created_by, '', '' FROM scheme"
    )


# --- new tables -------------------------------------------------------------------------------------------------------


def _tables() -> None:
    op.create_table(
        "allocation_note",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event", sa.Integer(), nullable=False),
        sa.Column("levels", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("reason_text", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "scheme", "participant_id"],
            ["allocation.trial_id", "allocation.scheme", "allocation.participant_id"],
            name="fk_allocation_note_trial_id_scheme_participant_id",
        ),
        sa.PrimaryKeyConstraint("trial_id", "scheme", "participant_id", "seq", name="pk_allocation_note"),
        sqlite_strict=True,
    )
    op.create_table(
        "scheme_act",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "scheme", "epoch"], ["scheme.trial_id", "scheme.name", "scheme.epoch"], name="fk_scheme_act_trial_id_scheme_epoch"
        ),
        sa.PrimaryKeyConstraint("trial_id", "scheme", "epoch", "seq", name="pk_scheme_act"),
        sqlite_strict=True,
    )
    op.create_table(
        "scheme_head",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("i", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "scheme", "epoch"], ["scheme.trial_id", "scheme.name", "scheme.epoch"], name="fk_scheme_head_trial_id_scheme_epoch"
        ),
        sa.PrimaryKeyConstraint("trial_id", "scheme", "epoch", "i", name="pk_scheme_head"),
        sqlite_strict=True,
    )
    op.create_table(
        "envelope",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("arm_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("printed_at", Instant(), nullable=False),
        sa.Column("printed_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_envelope_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "site", "number", name="pk_envelope"),
        sqlite_strict=True,
    )
    op.create_table(
        "envelope_use",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("in_order", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "site", "number"],
            ["envelope.trial_id", "envelope.site", "envelope.number"],
            name="fk_envelope_use_trial_id_site_number",
        ),
        sa.PrimaryKeyConstraint("trial_id", "site", "number", name="pk_envelope_use"),
        sqlite_strict=True,
    )
    op.create_table(
        "disclosure",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("reason_text", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_disclosure_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_disclosure"),
        sqlite_strict=True,
    )
    op.create_index("ix_disclosure_trial_id_participant_id_account_id", "disclosure", ["trial_id", "participant_id", "account_id"])
    op.create_table(
        "notice",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("restricted", sa.Integer(), nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.Column("read_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_notice_account_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_notice"),
        sqlite_strict=True,
    )
    op.create_index("ix_notice_account_id_made_at", "notice", ["account_id", "made_at"])
    op.create_table(
        "outgoing",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("to", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outgoing"),
        sqlite_strict=True,
    )
    op.create_table(
        "theatre_check",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("planned", sa.Text(), nullable=False),
        sa.Column("agrees", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_theatre_check_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_theatre_check"),
        sqlite_strict=True,
    )
    op.create_table(
        "rehearsal_job",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("signed_by", sa.Text(), nullable=False),
        sa.Column("signed_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_rehearsal_job_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_rehearsal_job"),
        sqlite_strict=True,
    )
