"""The first tables, with their append-only guards."""

import sqlalchemy as sa
from alembic import op

from trialdm.store.guards import POSTGRESQL_FUNCTION, postgresql_guards, sqlite_guards
from trialdm.store.tables import Day, Instant

revision = "0001"
down_revision = None

_APPEND_ONLY = {
    "role_grant": [("trial_id", "id")],
    "delegation": [("trial_id", "id")],
    "training": [("trial_id", "id")],
    "credential": [("trial_id", "id")],
    "definition": [("trial_id", "seq")],
    "status": [("trial_id", "machine", "subject", "seq")],
    "register_entry": [("trial_id", "seq")],
    "participant": [("trial_id", "id"), ("trial_id", "site", "number")],
    "form_version": [("trial_id", "instance_id", "seq")],
    "scheme_event": [("trial_id", "scheme", "epoch", "i")],
    "allocation": [
        ("trial_id", "scheme", "participant_id"),
        ("trial_id", "scheme", "epoch", "seq"),
        ("trial_id", "scheme", "epoch", "stratum", "slot"),
        ("trial_id", "scheme", "number"),
    ],
    "list_slot": [("trial_id", "scheme", "epoch", "stratum", "slot")],
    "idempotency": [("trial_id", "route", "account_id", "key")],
    "audit_event": [("seq",), ("event_id",)],
    "audit_value": [("event_id", "which")],
}


def upgrade() -> None:
    _tables()
    if op.get_bind().dialect.name == "sqlite":
        statements = [s for table, keys in _APPEND_ONLY.items() for s in sqlite_guards(table, keys)]
    else:
        statements = [POSTGRESQL_FUNCTION, *(s for table in _APPEND_ONLY for s in postgresql_guards(table))]
    for statement in statements:
        op.execute(sa.text(statement.replace(":", "\\:")))


def _tables() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("staff_no", sa.Integer(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("email", name="uq_account_email"),
        sa.UniqueConstraint("staff_no", name="uq_account_staff_no"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_event",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("at_utc", sa.Text(), nullable=False),
        sa.Column("at_source", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("actor_role", sa.Text(), nullable=False),
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("old_commit", sa.Text(), nullable=False),
        sa.Column("new_commit", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("reason_text_commit", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("app_version", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_event"),
        sa.UniqueConstraint("event_id", name="uq_audit_event_event_id"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_audit_event_trial_id_entity_entity_id", "audit_event", ["trial_id", "entity", "entity_id"], unique=False)
    op.create_table(
        "audit_value",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("which", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "which", name="pk_audit_value"),
        sqlite_strict=True,
    )
    op.create_table(
        "idempotency",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "route", "account_id", "key", name="pk_idempotency"),
        sqlite_strict=True,
    )
    op.create_table(
        "sign_in_failure",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sign_in_failure"),
        sqlite_strict=True,
    )
    op.create_index("ix_sign_in_failure_subject", "sign_in_failure", ["subject"], unique=False)
    op.create_table(
        "trial",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trial"),
        sqlite_strict=True,
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_api_token_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_token"),
        sqlite_strict=True,
    )
    op.create_table(
        "credential",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("surgeon", sa.Integer(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("valid_from", Day(), nullable=False),
        sa.Column("valid_to", Day(), nullable=True),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("recorded_at", Instant(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_credential_account_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_credential"),
        sqlite_strict=True,
    )
    op.create_table(
        "definition",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("texts", sa.Text(), nullable=False),
        sa.Column("loaded_at", Instant(), nullable=False),
        sa.Column("loaded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_definition_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "seq", name="pk_definition"),
        sqlite_strict=True,
    )
    op.create_table(
        "delegation",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("tasks", sa.Text(), nullable=False),
        sa.Column("start", Day(), nullable=False),
        sa.Column("end", Day(), nullable=True),
        sa.Column("signed_by_pi", sa.Integer(), nullable=False),
        sa.Column("recorded_at", Instant(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_delegation_account_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_delegation"),
        sqlite_strict=True,
    )
    op.create_table(
        "export_job",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_export_job_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_export_job"),
        sqlite_strict=True,
    )
    op.create_table(
        "participant",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("added_at", Instant(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_participant_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_participant"),
        sa.UniqueConstraint("trial_id", "site", "number", name="uq_participant_trial_id_site_number"),
        sqlite_strict=True,
    )
    op.create_table(
        "register_entry",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("recorded_at", Instant(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_register_entry_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "seq", name="pk_register_entry"),
        sqlite_strict=True,
    )
    op.create_table(
        "role_grant",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_role_grant_account_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_role_grant"),
        sqlite_strict=True,
    )
    op.create_index("ix_role_grant_account_id", "role_grant", ["account_id"], unique=False)
    op.create_table(
        "scheme",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("world", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=False),
        sa.Column("contribution", sa.Text(), nullable=False),
        sa.Column("master_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_scheme_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "name", "epoch", name="pk_scheme"),
        sqlite_strict=True,
    )
    op.create_table(
        "status",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_status_trial_id"),
        sa.PrimaryKeyConstraint("trial_id", "machine", "subject", "seq", name="pk_status"),
        sqlite_strict=True,
    )
    op.create_table(
        "training",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("on", Day(), nullable=False),
        sa.Column("valid_to", Day(), nullable=True),
        sa.Column("recorded_at", Instant(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_training_account_id"),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_training"),
        sqlite_strict=True,
    )
    op.create_table(
        "web_session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_web_session_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_web_session"),
        sqlite_strict=True,
    )
    op.create_table(
        "allocation",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("event", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("levels", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("arm_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"],
            ["participant.trial_id", "participant.id"],
            name="fk_allocation_trial_id_participant_id",
        ),
        sa.PrimaryKeyConstraint("trial_id", "scheme", "participant_id", name="pk_allocation"),
        sa.UniqueConstraint("trial_id", "scheme", "epoch", "seq", name="uq_allocation_trial_id_scheme_epoch_seq"),
        sa.UniqueConstraint("trial_id", "scheme", "epoch", "stratum", "slot", name="uq_allocation_trial_id_scheme_epoch_stratum_slot"),
        sa.UniqueConstraint("trial_id", "scheme", "number", name="uq_allocation_trial_id_scheme_number"),
        sqlite_strict=True,
    )
    op.create_table(
        "form_instance",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("restricted", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "participant_id"],
            ["participant.trial_id", "participant.id"],
            name="fk_form_instance_trial_id_participant_id",
        ),
        sa.PrimaryKeyConstraint("trial_id", "id", name="pk_form_instance"),
        sa.UniqueConstraint(
            "trial_id", "participant_id", "visit", "form", "row", name="uq_form_instance_trial_id_participant_id_visit_form_row"
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "list_slot",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("arm_sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "scheme", "epoch"],
            ["scheme.trial_id", "scheme.name", "scheme.epoch"],
            name="fk_list_slot_trial_id_scheme_epoch",
        ),
        sa.PrimaryKeyConstraint("trial_id", "scheme", "epoch", "stratum", "slot", name="pk_list_slot"),
        sqlite_strict=True,
    )
    op.create_table(
        "scheme_event",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("i", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "scheme", "epoch"],
            ["scheme.trial_id", "scheme.name", "scheme.epoch"],
            name="fk_scheme_event_trial_id_scheme_epoch",
        ),
        sa.PrimaryKeyConstraint("trial_id", "scheme", "epoch", "i", name="pk_scheme_event"),
        sqlite_strict=True,
    )
    op.create_table(
        "form_version",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("definition_seq", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("saved_at", Instant(), nullable=False),
        sa.Column("saved_by", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("reason_text", sa.Text(), nullable=False),
        sa.Column("confirmed", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id", "instance_id"],
            ["form_instance.trial_id", "form_instance.id"],
            name="fk_form_version_trial_id_instance_id",
        ),
        sa.PrimaryKeyConstraint("trial_id", "instance_id", "seq", name="pk_form_version"),
        sqlite_strict=True,
    )
