"""What Alembic runs: every pending migration, on the connection that it is handed (SQLite) or as text (PostgreSQL).

As text means that a migration can't ask the database anything: what depends on rows is said in SQL.
"""

from alembic import context

from registry.db.tables import metadata

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        target_metadata=metadata,
        transactional_ddl=False,  # who runs the text has a transaction around it
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        transaction_per_migration=False,
        render_as_batch=True,
    )
with context.begin_transaction():
    context.run_migrations()
