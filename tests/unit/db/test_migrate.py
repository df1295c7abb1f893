"""Migrations: what they make, the copy put aside, and what is refused."""

from pathlib import Path

import pysqlite3 as sqlite3
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from registry.db import migrate, upgrade
from registry.db.migrate import REVISION, check_sqlite, filesystem_of, migrate_sqlite
from registry.db.tables import metadata
from registry.errors import Unavailable
from tests.support.schemas import take_back


def test_migrations_make_what_the_tables_say(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", module=sqlite3)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_revision_that_is_asked_for_is_the_newest_there_is() -> None:
    assert upgrade.newest_revision() == REVISION


def test_a_new_database_is_made_with_its_folder_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.sqlite3"
    first = migrate_sqlite(path)
    assert (first.before, first.after, first.copy) == (None, REVISION, None)
    assert migrate_sqlite(path).before == REVISION


def test_a_copy_is_put_aside_before_an_older_database_is_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = sqlite3.connect(path)
    raw.execute("INSERT INTO repositories (name, created_at) VALUES ('kept', 0)")
    raw.commit()
    raw.close()
    monkeypatch.setattr(migrate, "REVISION", "9999")
    monkeypatch.setattr(upgrade, "_upgrade", lambda connection: connection.exec_driver_sql("DROP TABLE outbox"))
    done = migrate_sqlite(path)
    assert done.copy == path.with_name(f"{path.name}.before-{done.before}")
    copy = sqlite3.connect(done.copy)
    assert copy.execute("SELECT name FROM repositories").fetchall() == [("kept",)]
    assert copy.execute("SELECT count(*) FROM outbox").fetchall() == [(0,)]
    copy.close()


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(connection: object) -> None:
        connection.exec_driver_sql("DROP TABLE outbox")  # type: ignore[attr-defined]  # a Connection of SQLAlchemy
        raise sqlite3.OperationalError("in the middle")

    monkeypatch.setattr(migrate, "REVISION", "9999")
    monkeypatch.setattr(upgrade, "_upgrade", fails)
    with pytest.raises(Unavailable, match="in the middle"):
        migrate_sqlite(path)
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT count(*) FROM outbox").fetchall() == [(0,)]
    raw.close()


def test_a_database_of_the_first_schema_is_brought_to_the_newest(path: Path) -> None:
    take_back(path, "0001")
    done = migrate_sqlite(path)
    assert (done.before, done.after) == ("0001", REVISION)
    raw = sqlite3.connect(path)
    indexes = raw.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'outbox'").fetchall()
    raw.close()
    assert ("ix_outbox_created_at",) not in indexes


def test_a_schema_from_the_future_is_refused(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    with pytest.raises(Unavailable, match="newer version of stowage"):
        migrate_sqlite(path)


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    with pytest.raises(Unavailable, match="too old"):
        check_sqlite(tmp_path / "x")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(migrate, "filesystem_of", lambda _: kind)
    with pytest.raises(Unavailable, match=kind):
        check_sqlite(tmp_path / "x")


def test_the_filesystem_is_the_one_of_the_deepest_mount() -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(Path("/")) not in {"", "proc"}


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        migrate_sqlite(tmp_path / "file" / "x.sqlite3")
