"""What Alembic runs: every pending migration on the connection that `registry.db.migrate` hands over."""

from alembic import context

from registry.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
