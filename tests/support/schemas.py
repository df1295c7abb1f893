"""Schemas of versions before: the migrations' way back, which the product itself never takes."""

import io
from pathlib import Path

from alembic import command

from registry.db import upgrade
from registry.db.migrate import REVISION


def take_back(path: Path, revision: str) -> None:
    """Give a file of SQLite the schema that `revision` made."""
    config = upgrade._alembic()
    engine = upgrade._engine(path)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
    finally:
        engine.dispose()


def way_back(revision: str) -> str:
    """Return the SQL that gives a database of PostgreSQL the schema that `revision` made."""
    config = upgrade._alembic()
    config.output_buffer = text = io.StringIO()
    command.downgrade(config, f"{REVISION}:{revision}", sql=True)
    return text.getvalue()
