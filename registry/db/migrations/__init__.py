"""Schema migrations, run by `registry.db.migrate` through Alembic."""
