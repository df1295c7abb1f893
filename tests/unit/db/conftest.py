"""A database in a file, migrated and started."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.db.migrate import migrate_sqlite
from registry.db.sqlite import SqliteDatabase


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the schema of this version."""
    migrate_sqlite(tmp_path / "test.sqlite3")
    return tmp_path / "test.sqlite3"


@pytest.fixture
async def database(path: Path, anyio_backend: str) -> AsyncIterator[SqliteDatabase]:
    """A started database."""
    opened = SqliteDatabase(path)
    await opened.start()
    yield opened
    await opened.stop()
