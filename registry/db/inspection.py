"""A look at a database that may be in use, or not there: nothing is created or changed."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pysqlite3 as sqlite3

from registry.db import backups, maintenance, stores
from registry.db.backups import Backup
from registry.db.maintenance import MaintenanceRow
from registry.db.migrate import REVISION
from registry.db.sqlite_connection import Connection
from registry.db.stores import Store
from registry.errors import Unavailable

_BUSY_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found.

    Attributes:
        revision: of its schema, None where there is none yet.
        maintenance: whether the registry is read-only.
        is_read_only: whether the database itself is, like PostgreSQL's standbys.
        connections: how many its server takes; None for a file.
        imported: stores of other registries that blobs lie in.
        backups: copies that are recorded in a file, and attempts that failed.
    """

    revision: str | None
    maintenance: MaintenanceRow | None
    is_read_only: bool = False
    connections: int | None = None
    imported: tuple[Store, ...] = ()
    backups: tuple[Backup, ...] = ()

    @property
    def is_older(self) -> bool:
        """Whether a migration is due."""
        return self.revision is not None and self.revision < REVISION

    @property
    def is_newer(self) -> bool:
        """Whether a later version made its schema: revisions are numbers of four digits."""
        return self.revision is not None and self.revision > REVISION


def inspect(path: Path) -> Inspected:
    """Look at the database.

    Raises:
        Unavailable: there is a file, and it can't be read as a database.
    """
    if not path.exists():
        return Inspected(None, None)
    try:
        raw = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
    except sqlite3.Error as error:
        raise Unavailable(f"the database {path} can't be opened: {error}") from error
    try:
        tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
        found = asyncio.run(maintenance.find(Connection(raw))) if "maintenance" in tables else None
        imported = asyncio.run(stores.in_use(Connection(raw))) if "stores" in tables else []
        copies = asyncio.run(backups.every(Connection(raw))) if "backups" in tables else []
    except sqlite3.Error as error:
        raise Unavailable(f"the database {path} can't be read: {error}") from error
    finally:
        raw.close()
    return Inspected(None if row is None else str(row[0]), found, imported=tuple(imported), backups=tuple(copies))


def mark_of(path: Path) -> str:
    """Return what tells this file from others, so that two programs can find out that they mean the same; or ""."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return hashlib.sha256(f"{found.st_dev}:{found.st_ino}".encode()).hexdigest()[:12]
