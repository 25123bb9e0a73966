"""Append-only guards: triggers by which the database itself refuses to change or remove rows.

They are prevention for mistakes. Somebody who owns the database file can drop a trigger; that is found by verifying the
audit trail. SQLite needs a guard against INSERT OR REPLACE as well, which passes by the other two.
"""

from collections.abc import Iterator, Sequence

#: True unless a redaction is under way in this very transaction.
_NO_PERMIT = "NOT EXISTS (SELECT 1 FROM redaction_permit)"


def sqlite_guards(table: str, keys: Sequence[Sequence[str]]) -> Iterator[str]:
    """Statements that make a SQLite table append-only; `keys` holds its primary key and every unique constraint."""
    say = f"SELECT RAISE(ABORT, 'append-only: {table}')"
    same = " OR ".join("(" + " AND ".join(f'"{column}" = NEW."{column}"' for column in key) + ")" for key in keys)
    yield f'CREATE TRIGGER "guard_{table}_update" BEFORE UPDATE ON "{table}" BEGIN {say}; END'
    yield f'CREATE TRIGGER "guard_{table}_delete" BEFORE DELETE ON "{table}" BEGIN {say}; END'
    yield (
        f'CREATE TRIGGER "guard_{table}_insert" BEFORE INSERT ON "{table}" '
        f'WHEN EXISTS (SELECT 1 FROM "{table}" WHERE {same}) BEGIN {say}; END'
    )


POSTGRESQL_FUNCTION = """
CREATE FUNCTION trialdm_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'append-only: %', TG_TABLE_NAME USING ERRCODE = '42501'; END $$
"""


def postgresql_guards(table: str) -> Iterator[str]:
    """Statements that make a PostgreSQL table append-only."""
    for when, level in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        name = f"guard_{table}_{level.lower()}"
        yield f'CREATE TRIGGER {name} BEFORE {when} ON "{table}" FOR EACH {level} EXECUTE FUNCTION trialdm_append_only()'


def sqlite_redactable(table: str) -> Iterator[str]:
    """Statements by which a guarded SQLite table lets a redaction pass, and nothing else."""
    for act in ("update", "delete"):
        name = f'"guard_{table}_{act}"'
        yield f"DROP TRIGGER {name}"
        yield (
            f'CREATE TRIGGER {name} BEFORE {act.upper()} ON "{table}" WHEN {_NO_PERMIT} '
            f"BEGIN SELECT RAISE(ABORT, 'append-only: {table}'); END"
        )


POSTGRESQL_REDACTABLE = f"""
CREATE FUNCTION trialdm_redactable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF {_NO_PERMIT} THEN RAISE EXCEPTION 'append-only: %', TG_TABLE_NAME USING ERRCODE = '42501'; END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$
"""


def postgresql_redactable(table: str) -> Iterator[str]:
    """Statements by which a guarded PostgreSQL table lets a redaction pass, and nothing else."""
    yield f'DROP TRIGGER guard_{table}_row ON "{table}"'
    yield f'CREATE TRIGGER guard_{table}_row BEFORE UPDATE OR DELETE ON "{table}" FOR EACH ROW EXECUTE FUNCTION trialdm_redactable()'
