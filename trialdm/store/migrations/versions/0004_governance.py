"""Letters and other evidence, signatures and ends in the delegation log, reminders of deadlines, and the gate's answer with each form."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.guards import postgresql_guards, sqlite_guards
from trialdm.store.tables import Day, Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("form_version", sa.Column("gate", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "evidence",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_evidence_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "sha256", name="pk_evidence"),
        sqlite_strict=True,
    )
    op.create_table(
        "delegation_act",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("day", Day(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id", "line"], ["delegation.trial_id", "delegation.id"], name="fk_delegation_act_trial_id_line"),
        sa.PrimaryKeyConstraint("trial_id", "line", "seq", name="pk_delegation_act"),
        sqlite_strict=True,
    )
    op.create_table(
        "reminder",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("deadline", sa.Text(), nullable=False),
        sa.Column("due", sa.Text(), nullable=False),
        sa.Column("day", Day(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_reminder_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "deadline", "due", "day", name="pk_reminder"),
        sqlite_strict=True,
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table, key in (("evidence", ("trial_id", "sha256")), ("delegation_act", ("trial_id", "line", "seq"))):
        guards = sqlite_guards(table, [key]) if sqlite else postgresql_guards(table)
        for statement in guards:
            op.execute(sa.text(statement.replace(":", "\\:")))
