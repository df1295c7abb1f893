"""Running migrations: the one module of the server that needs Alembic."""

import io
from pathlib import Path
from typing import Any

import pysqlite3 as sqlite3
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event

from registry.errors import Unavailable


def newest_revision() -> str:
    """Return the newest revision in `registry.db.migrations`."""
    head = ScriptDirectory.from_config(_alembic()).get_current_head()
    assert head is not None  # noqa: S101 - migrations/versions is never empty
    return head


def check_known(revision: str | None) -> None:
    """Raise Unavailable for a schema that a newer version has made."""
    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if revision is not None and revision not in known:
        raise Unavailable(
            f"the database has schema {revision}, which this version does not know: run a newer version of stowage"
        )


def upgrade(path: Path) -> None:
    """Run every pending migration, in one transaction. Raises DBAPIError."""
    engine = _engine(path)
    try:
        with engine.begin() as connection:
            _upgrade(connection)
    finally:
        engine.dispose()


def as_text(before: str | None) -> str:
    """Return the SQL of every migration after `before`, for PostgreSQL; to be run in one transaction."""
    config = _alembic()
    config.output_buffer = text = io.StringIO()
    command.upgrade(config, f"{before or 'base'}:head", sql=True)
    return text.getvalue()


def _upgrade(connection: Connection) -> None:
    config = _alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _engine(path: Path) -> Engine:
    """Return an engine whose transactions hold schema changes too (the driver's own begin too late for that)."""
    engine = create_engine(URL.create("sqlite", database=str(path)), module=sqlite3)

    @event.listens_for(engine, "connect")
    def _autocommit(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
