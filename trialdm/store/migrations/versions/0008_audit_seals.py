"""Seals of the audit trail: what rows held, leaves, checkpoints and anchors; and the removal of values entered by mistake."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.guards import POSTGRESQL_REDACTABLE, postgresql_guards, postgresql_redactable, sqlite_guards, sqlite_redactable
from trialdm.store.tables import Instant

revision = "0008"
down_revision = "0007"

#: Table -> its keys; the first one is the primary key.
_APPEND_ONLY = {
    "row_seal": [("event_id",)],
    "audit_leaf": [("trial_id", "stream", "leaf_index"), ("event_id",)],
    "checkpoint": [("trial_id", "stream", "size")],
    "anchor": [("trial_id", "stream", "size", "kind")],
    "redaction_act": [("trial_id", "event_id", "n")],
}
_REDACTABLE = ("audit_value", "form_version", "form_entry", "query_act")


def upgrade() -> None:
    op.create_table(
        "row_seal",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("rows", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_row_seal"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_leaf",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "stream", "leaf_index", name="pk_audit_leaf"),
        sa.UniqueConstraint("event_id", name="uq_audit_leaf_event_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "checkpoint",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("prev_size", sa.Integer(), nullable=False),
        sa.Column("prev", sa.Text(), nullable=False),
        sa.Column("peaks", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "stream", "size", name="pk_checkpoint"),
        sqlite_strict=True,
    )
    op.create_table(
        "anchor",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "stream", "size", "kind", name="pk_anchor"),
        sqlite_strict=True,
    )
    op.create_table(
        "redaction_act",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("which", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["audit_event.event_id"], name="fk_redaction_act_event_id"),
        sa.PrimaryKeyConstraint("trial_id", "event_id", "n", name="pk_redaction_act"),
        sqlite_strict=True,
    )
    op.create_table(
        "redaction_permit",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_redaction_permit"),
        sqlite_strict=True,
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    statements = [] if sqlite else [POSTGRESQL_REDACTABLE]
    for table, keys in _APPEND_ONLY.items():
        statements += sqlite_guards(table, keys) if sqlite else postgresql_guards(table)
    for table in _REDACTABLE:
        statements += sqlite_redactable(table) if sqlite else postgresql_redactable(table)
    for statement in statements:
        op.execute(sa.text(statement.replace(":", "\\:")))
