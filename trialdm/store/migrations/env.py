"""Alembic's entry: runs the migrations on the connection that `store.migrate` hands over."""

from alembic import context

from trialdm.store.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
