"""What the service's own PostgreSQL role may do: read and add everywhere, change what is not a table of record, and define nothing.

The tables belong to another role, which migrates. Whoever takes over the service can then neither drop a guard nor truncate a table; what a
database's owner could still do is found by verifying the trail.
"""

from collections.abc import Iterator

from trialdm.store.tables import APPEND_ONLY, REDACTABLE, Table

#: Tables of record whose rows are locked, which PostgreSQL lets only those do who could change a column; the guard stands before that.
_LOCKED = {"participant": "trial_id"}

#: Tables of which rows go again: drafts that became forms, the permit of a removal, and values that two people removed.
_EMPTIED = ("form_draft", "redaction_permit", "audit_value")


def statements(role: str, database: str) -> Iterator[str]:
    """Statements that the owner of the tables runs after each migration; they take back whatever the role had before."""
    yield f'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "{role}"'
    yield f'REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM "{role}"'
    yield f'REVOKE CREATE ON SCHEMA public FROM "{role}", PUBLIC'
    yield f'GRANT CONNECT ON DATABASE "{database}" TO "{role}"'
    yield f'GRANT USAGE ON SCHEMA public TO "{role}"'
    yield f'GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO "{role}"'
    yield f'GRANT SELECT ON "alembic_version" TO "{role}"'
    for table in sorted(Table.metadata.tables):
        yield f'GRANT {", ".join(_rights(table))} ON "{table}" TO "{role}"'
    for table, column in _LOCKED.items():
        yield f'GRANT UPDATE ("{column}") ON "{table}" TO "{role}"'


def _rights(table: str) -> Iterator[str]:
    yield from ("SELECT", "INSERT")
    if table not in APPEND_ONLY or table in REDACTABLE:
        yield "UPDATE"
    if table in _EMPTIED:
        yield "DELETE"
