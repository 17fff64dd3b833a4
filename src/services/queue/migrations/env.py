"""Alembic's entry: runs the migrations on the connection that ``migrate`` hands over."""

from alembic import context

from src.core.retrain_tables import schema_version

context.configure(connection=context.config.attributes["connection"], version_table=schema_version.name)
with context.begin_transaction():
    context.run_migrations()
