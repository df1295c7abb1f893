"""Bringing a database to the schema of this version.

On SQLite a copy of the file is put aside first, and a lock file keeps two processes from migrating at once.
"""

import fcntl
import glob
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pysqlite3 as sqlite3
from sqlalchemy.exc import DBAPIError

from registry.db.reserve import is_full
from registry.errors import NoSpace, Unavailable

REVISION = "0009"
"""The schema that this version needs: the newest in `registry.db.migrations`."""

_PARTIAL = ".partial"
_OLDEST_SQLITE = (3, 51, 3)
_FOREIGN_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "lustre", "ocfs2"}


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done: `before` is None for a new database, `copy` is the file put aside, if there was one."""

    before: str | None
    after: str
    copy: Path | None


def migrate_sqlite(path: Path) -> Migrated:
    """Create the database or bring it to this version's schema.

    Raises:
        Unavailable: the SQLite library is too old, the filesystem can't be trusted with it, the file can't be opened
            or its schema is newer than this version knows.
    """
    check_sqlite(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            return _migrate(path)
    except OSError as error:
        raise Unavailable(f"the database {path} can't be opened: {error.strerror}") from error
    except (sqlite3.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if is_full(path.parent):
            raise NoSpace(f"the database {path} can't be opened: its disk is full; make room there first") from error
        raise Unavailable(f"the database {path} can't be migrated: {cause}") from error


def check_sqlite(path: Path) -> None:
    """Refuse what is known to corrupt databases. Raises Unavailable.

    Before 3.51.3, checkpoints and writes of several connections in WAL mode can corrupt the file
    (sqlite.org/wal.html#walresetbug); WAL needs shared memory and locks that network filesystems don't keep.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise Unavailable(f"SQLite {sqlite3.sqlite_version} is too old: {oldest} or newer is needed")
    kind = filesystem_of(path)
    if kind in _FOREIGN_FILESYSTEMS or kind.startswith("fuse"):
        raise Unavailable(
            f"the database {path} would lie on a {kind} filesystem, where SQLite loses data: "
            "put `database.url` on a local disk"
        )


def filesystem_of(path: Path) -> str:
    """Return the type of the filesystem that holds `path` or would, as the kernel names it; empty if unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    target = str(path.resolve())
    best, kind = "", ""
    for line in lines:
        fields, _, source = line.partition(" - ")
        mount = fields.split(" ")[4].encode().decode("unicode_escape", errors="replace")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, source.split(" ")[0]
    return kind


def _migrate(path: Path) -> Migrated:
    before = _revision_of(path)
    if before == REVISION:
        return Migrated(before, before, None)
    # Alembic takes a fifth of a second to import, which a server that starts with its own schema has better uses for.
    upgrade = importlib.import_module("registry.db.upgrade")
    upgrade.check_known(before)
    copy = None if before is None else _put_aside(path, before)
    upgrade.upgrade(path)
    return Migrated(before, REVISION, copy)


def migrate_copy(path: Path) -> None:
    """Bring a copy that nobody else uses to this version's schema. Raises Unavailable: it can't be."""
    try:
        before = _revision_of(path)
        if before != REVISION:
            upgrade = importlib.import_module("registry.db.upgrade")
            upgrade.check_known(before)
            upgrade.upgrade(path)
    except (sqlite3.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise Unavailable(f"{path} can't be migrated: {cause}") from error


def _revision_of(path: Path) -> str | None:
    """Return the revision of the database's schema, where Alembic writes it down; None if there is nothing yet."""
    raw = sqlite3.connect(path)
    try:
        raw.execute("PRAGMA journal_mode = WAL")
        if raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone() is None:
            return None
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    finally:
        raw.close()


def partial_copies(path: Path) -> list[Path]:
    """Return the files of copies that are being put aside now, or that a crash left unfinished."""
    return list(path.parent.glob(f"{glob.escape(path.name)}.before-*{_PARTIAL}"))


def _put_aside(path: Path, revision: str) -> Path:
    copy = path.with_name(f"{path.name}.before-{revision}")
    if not copy.exists():
        partial = path.with_name(f"{copy.name}{_PARTIAL}")
        partial.unlink(missing_ok=True)
        _vacuum_into(path, partial)
        os.rename(partial, copy)
    return copy


def copy_database(path: Path, copy: Path) -> None:
    """Write a consistent copy to a file that does not exist, while others may write. Raises Unavailable."""
    try:
        _vacuum_into(path, copy)
    except sqlite3.Error as error:
        raise Unavailable(f"the database {path} can't be copied to {copy}: {error}") from error


def _vacuum_into(path: Path, copy: Path) -> None:
    raw = sqlite3.connect(path)
    try:
        raw.execute("VACUUM INTO ?", (str(copy),))
    finally:
        raw.close()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
