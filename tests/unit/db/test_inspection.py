"""A look at a database changes nothing, whatever is there."""

from pathlib import Path

import pytest

from registry.db.inspection import inspect, mark_of
from registry.db.migrate import REVISION, migrate_sqlite
from registry.db.sqlite_connection import connect
from registry.errors import Unavailable


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("-shm", "-wal"))}


def test_where_nothing_is_nothing_is_found_or_made(tmp_path: Path) -> None:
    assert inspect(tmp_path / "none" / "db").revision is None
    assert mark_of(tmp_path / "none") == ""
    (tmp_path / "empty").touch()
    assert inspect(tmp_path / "empty").revision is None
    assert contents(tmp_path) == {"empty": b""}


@pytest.mark.parametrize("name", ["db", "with space?mode=rw#%41"])
def test_the_schema_is_found_and_the_file_stays_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    migrate_sqlite(path)
    before = contents(tmp_path)
    found = inspect(path)
    assert (found.revision, found.maintenance, found.is_older, found.is_newer) == (REVISION, None, False, False)
    assert contents(tmp_path) == before


def test_it_works_while_somebody_writes(path: Path) -> None:
    raw = connect(path)
    raw.execute("BEGIN IMMEDIATE")
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    assert inspect(path).revision == REVISION
    raw.execute("COMMIT")
    assert inspect(path).is_newer
    raw.close()


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no database " * 100)
    for path in (tmp_path / "words", tmp_path):
        with pytest.raises(Unavailable, match=str(path)):
            inspect(path)


def test_a_mark_is_a_files_own(tmp_path: Path) -> None:
    one, other, link = tmp_path / "one", tmp_path / "other", tmp_path / "link"
    one.touch()
    other.touch()
    link.symlink_to(one)
    assert mark_of(one) == mark_of(link) != mark_of(other) != ""
