"""A database on a PostgreSQL server, as commands name, open, migrate and look at it."""

from pathlib import Path

from registry.database_settings import DatabaseSettings
from registry.db import postgresql_migrate
from registry.db.inspection import Inspected
from registry.db.migrate import Migrated
from registry.db.postgresql import PostgresDatabase
from registry.db.postgresql_connection import Target


class PostgresPlace:
    """A Place on a server."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._target = Target.of(settings)
        self.name = self._target.name
        self.label = self.name
        self.file: Path | None = None

    def make_way(self) -> None:
        """Nothing is in the way here."""

    def open(self) -> PostgresDatabase:
        """Return the database, not started."""
        return PostgresDatabase(self._target)

    def migrate(self) -> Migrated:
        """Bring it to this version's schema. Raises Unavailable."""
        return postgresql_migrate.migrate(self._target)

    def inspect(self) -> Inspected:
        """Look at it. Raises Unavailable."""
        return postgresql_migrate.inspect(self._target)

    def mark(self) -> str:
        """Return what tells it from others; "" if that can't be known."""
        return postgresql_migrate.mark_of(self._target)
