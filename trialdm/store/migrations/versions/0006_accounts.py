"""Second factors, recovery codes, invitations and resets; stages of sessions; scopes and ends of tokens; what is counted."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.tables import Instant

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "second_factor",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_second_factor_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_second_factor"),
        sqlite_strict=True,
    )
    op.create_index("ix_second_factor_account_id", "second_factor", ["account_id"])
    op.create_table(
        "recovery_code",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_recovery_code_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_recovery_code"),
        sqlite_strict=True,
    )
    op.create_index("ix_recovery_code_account_id", "recovery_code", ["account_id"])
    op.create_table(
        "ticket",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_ticket_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ticket"),
        sqlite_strict=True,
    )
    op.create_index("ix_ticket_account_id", "ticket", ["account_id"])
    op.create_table(
        "outside_identity",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_outside_identity_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_outside_identity"),
        sqlite_strict=True,
    )
    op.create_index("ix_outside_identity_account_id", "outside_identity", ["account_id"])
    op.create_table(
        "outside_way",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outside_way"),
        sqlite_strict=True,
    )
    op.create_table(
        "spent",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spent"),
        sqlite_strict=True,
    )
    op.create_index("ix_spent_subject", "spent", ["subject"])
    op.add_column("web_session", sa.Column("stage", sa.Text(), nullable=False, server_default="full"))
    op.add_column("web_session", sa.Column("proved_at", Instant(), nullable=True))
    op.add_column("web_session", sa.Column("challenge", sa.Text(), nullable=False, server_default=""))
    op.add_column("web_session", sa.Column("agent", sa.Text(), nullable=False, server_default=""))
    op.add_column("api_token", sa.Column("scopes", sa.Text(), nullable=False, server_default="read enter randomise unblind export"))
    op.add_column("api_token", sa.Column("expires_at", Instant(), nullable=True))
