"""A database in a file, migrated."""

from pathlib import Path

import pytest

from registry.db.migrate import migrate_sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the schema of this version."""
    migrate_sqlite(tmp_path / "test.sqlite3")
    return tmp_path / "test.sqlite3"
