"""A database in a file."""

from pathlib import Path

import pytest

from tests.support.databases import new_sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the schema of this version."""
    new_sqlite(tmp_path / "test.sqlite3")
    return tmp_path / "test.sqlite3"
