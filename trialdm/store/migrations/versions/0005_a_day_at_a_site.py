"""Signatures and source data verification, queries, drafts, double entry, transfers between sites, and dictionaries of events."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.guards import postgresql_guards, sqlite_guards
from trialdm.store.tables import Day, Instant

revision = "0005"
down_revision = "0004"

_APPEND_ONLY = {
    "form_act": ("trial_id", "instance_id", "n"),
    "casebook_act": ("trial_id", "participant_id", "n"),
    "form_entry": ("trial_id", "participant_id", "visit", "form", "row", "seq"),
    "query_act": ("trial_id", "query_id", "seq"),
    "transfer": ("trial_id", "participant_id", "seq"),
    "term": ("trial_id", "dictionary", "version", "code"),
}


def upgrade() -> None:
    op.create_table(
        "form_act",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "instance_id"], ["form_instance.trial_id", "form_instance.id"], name="fk_form_act_trial_id_instance_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "instance_id", "n", name="pk_form_act"),
        sqlite_strict=True,
    )
    op.create_table(
        "casebook_act",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_casebook_act_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "participant_id", "n", name="pk_casebook_act"),
        sqlite_strict=True,
    )
    op.create_table(
        "form_draft",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_form_draft_account_id"),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_form_draft_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "account_id", "participant_id", "visit", "form", "row", name="pk_form_draft"),
        sqlite_strict=True,
    )
    op.create_table(
        "form_entry",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("definition_seq", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_form_entry_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "participant_id", "visit", "form", "row", "seq", name="pk_form_entry"),
        sqlite_strict=True,
    )
    op.create_table(
        "query",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("restricted", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_query_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_query"),
        sa.UniqueConstraint("trial_id", "number", name="uq_query_trial_id_number"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_query_trial_id_participant_id_visit_form_row", "query", ["trial_id", "participant_id", "visit", "form", "row"], unique=False
    )
    op.create_table(
        "query_act",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("query_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id", "query_id"], ["query.trial_id", "query.id"], name="fk_query_act_trial_id_query_id"),
        sa.PrimaryKeyConstraint("trial_id", "query_id", "seq", name="pk_query_act"),
        sqlite_strict=True,
    )
    op.create_table(
        "transfer",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("day", Day(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"], ["participant.trial_id", "participant.id"], name="fk_transfer_trial_id_participant_id"
        ),
        sa.PrimaryKeyConstraint("trial_id", "participant_id", "seq", name="pk_transfer"),
        sqlite_strict=True,
    )
    op.create_table(
        "term",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("dictionary", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("up", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_term_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "dictionary", "version", "code", name="pk_term"),
        sqlite_strict=True,
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table, key in _APPEND_ONLY.items():
        for statement in sqlite_guards(table, [key]) if sqlite else postgresql_guards(table):
            op.execute(sa.text(statement.replace(":", "\\:")))
