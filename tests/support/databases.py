"""The databases that tests run on: a file of SQLite, a database of PostgreSQL; opened, and looked into from outside."""

import asyncio
import functools
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pysqlite3 as sqlite3

from registry.db.connection import Database
from registry.db.migrate import migrate_sqlite
from registry.db.postgresql import PostgresDatabase
from registry.db.sqlite import SqliteDatabase
from tests.support import postgresql

DIALECTS = ("sqlite", "postgresql")


class Place(Protocol):
    """A database with this version's schema, which several may open."""

    def new(self) -> Database:
        """Return it, not started."""

    def sql(self, text: str) -> list[tuple[str, ...]]:
        """Run SQL on it, and return what it gives, as text; "" is NULL."""

    def remove(self) -> None:
        """Leave nothing of it."""


class SqlitePlace:
    """A file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "db"
        new_sqlite(self.path)

    def new(self) -> SqliteDatabase:
        return SqliteDatabase(self.path)

    def sql(self, text: str) -> list[tuple[str, ...]]:
        return sql_on_file(self.path, text)

    def remove(self) -> None:
        """The folder is the test's."""


class PostgresPlace:
    """A database on the server that all tests share."""

    def __init__(self) -> None:
        self._cluster = postgresql.shared_cluster()
        self.url = self._cluster.create()

    def new(self) -> PostgresDatabase:
        return PostgresDatabase(postgresql.target_of(self.url))

    def sql(self, text: str) -> list[tuple[str, ...]]:
        return sql_on_server(self._cluster, self.url, text)

    def remove(self) -> None:
        self._cluster.drop(self.url)


def new_sqlite(path: Path) -> None:
    """Make a database with this version's schema: a copy, since to migrate one takes a sixth of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time:
        content = _migrated()
    path.write_bytes(content)


_one_at_a_time = threading.Lock()


@functools.cache
def _migrated() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        migrate_sqlite(path)
        return path.read_bytes()


async def place(dialect: str, folder: Path) -> Place:
    """Make a database. In a thread, since there is an event loop, and migrations have one of their own."""
    if dialect == "postgresql":
        postgresql.shared_cluster()  # in this thread: the server ends with the thread that starts it
    return await asyncio.to_thread(PostgresPlace if dialect == "postgresql" else lambda: SqlitePlace(folder))


def sql_on_file(path: Path, text: str) -> list[tuple[str, ...]]:
    """Run SQL on a file of SQLite: several statements, of which the last one may give rows."""
    connection = sqlite3.connect(path, timeout=120)
    try:
        with connection:
            rows = []
            for statement in filter(None, (one.strip() for one in text.split(";"))):
                rows = connection.execute(statement).fetchall()
    finally:
        connection.close()
    return [tuple("" if cell is None else str(cell) for cell in row) for row in rows]


def sql_on_server(cluster: postgresql.Cluster, url: str, text: str) -> list[tuple[str, ...]]:
    """The same on PostgreSQL."""
    output = cluster.run(text, postgresql.name_of(url))
    return [tuple(line.split("|")) for line in output.splitlines()]
