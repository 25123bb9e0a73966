"""Versions of a protocol that wait to go live, and from which day a site uses one."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.guards import postgresql_guards, sqlite_guards
from trialdm.store.tables import Day, Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("definition", sa.Column("state", sa.Text(), nullable=False, server_default="in_force"))
    op.create_table(
        "definition_use",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("from_day", Day(), nullable=False),
        sa.Column("modification", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id", "seq"], ["definition.trial_id", "definition.seq"], name="fk_definition_use_trial_id_seq"),
        sa.PrimaryKeyConstraint("trial_id", "site", "seq", name="pk_definition_use"),
        sqlite_strict=True,
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    guards = sqlite_guards("definition_use", [("trial_id", "site", "seq")]) if sqlite else postgresql_guards("definition_use")
    for statement in guards:
        op.execute(sa.text(statement.replace(":", "\\:")))
