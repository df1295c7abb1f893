"""Where the database is: a file, or a server. What commands ask before it is open, and how it is opened."""

import importlib
from pathlib import Path
from typing import Protocol, cast

from registry.db.connection import Database
from registry.db.inspection import Inspected, inspect, mark_of
from registry.db.migrate import Migrated, migrate_sqlite
from registry.db.reserve import Reserve
from registry.db.sqlite import SqliteDatabase
from registry.settings import Settings


class Place(Protocol):
    """A database that the settings name. None of this may be called in an event loop but `open`.

    Attributes:
        name: for messages: the file, or the URL without its password.
        label: the same, with the kind of database.
        file: SQLite's, of which a copy is put aside before a migration; None on a server.
    """

    name: str
    label: str
    file: Path | None

    def make_way(self) -> None:
        """Before anything else: on a full disk, leave it the little that it needs to be opened."""

    def open(self) -> Database:
        """Return the database, not started."""

    def migrate(self) -> Migrated:
        """Create it or bring it to this version's schema. Raises Unavailable."""

    def inspect(self) -> Inspected:
        """Look at it, and change nothing. Raises Unavailable."""

    def mark(self) -> str:
        """Return what `Database.mark` returns once it is open; "" if that can't be known."""


def place_of(settings: Settings) -> Place:
    """Return where the database of these settings is."""
    if not settings.database.is_postgresql:
        return SqlitePlace(settings.sqlite_path, settings.database.reserve)
    # asyncpg takes a tenth of a second to import, which who uses SQLite has better uses for.
    module = importlib.import_module("registry.db.postgresql_place")
    return cast(Place, module.PostgresPlace(settings.database))


class SqlitePlace:
    """A Place in a file. `reserve`: bytes kept for a full disk."""

    def __init__(self, path: Path, reserve: int) -> None:
        self.name = str(path)
        self.label = f"sqlite {path}"
        self.file: Path | None = path
        self._path = path
        self._reserve = reserve

    def make_way(self) -> None:
        """Give up of the reserve what is needed to open it."""
        Reserve(self._path, self._reserve).make_way()

    def open(self) -> SqliteDatabase:
        """Return the database, not started."""
        return SqliteDatabase(self._path, Reserve(self._path, self._reserve))

    def migrate(self) -> Migrated:
        """Create the file or bring it to this version's schema. Raises Unavailable."""
        return migrate_sqlite(self._path)

    def inspect(self) -> Inspected:
        """Look at the file. Raises Unavailable."""
        return inspect(self._path)

    def mark(self) -> str:
        """Return what tells the file from others; "" if it is not there."""
        return mark_of(self._path)
