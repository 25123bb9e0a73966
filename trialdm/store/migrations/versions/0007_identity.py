"""What was done about identities: entered, looked at, asked for, shredded. None of them stands here."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.guards import postgresql_guards, sqlite_guards
from trialdm.store.tables import Instant

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "identity_act",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_identity_act_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_identity_act"),
        sa.UniqueConstraint("trial_id", "request", "act", name="uq_identity_act_trial_id_request_act"),
        sqlite_strict=True,
    )
    op.create_index("ix_identity_act_trial_id_participant_id_act", "identity_act", ["trial_id", "participant_id", "act"])
    op.create_index("ix_identity_act_by_at", "identity_act", ["by", "at"])
    keys = (("trial_id", "id"), ("trial_id", "request", "act"))
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in sqlite_guards("identity_act", keys) if sqlite else postgresql_guards("identity_act"):
        op.execute(sa.text(statement.replace(":", "\\:")))
