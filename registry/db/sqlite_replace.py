"""Putting another file in the place of an SQLite database, which is kept beside it.

At no moment is there no database: what a crash leaves is the one that was there, or the one that was to come.
"""

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pysqlite3 as sqlite3

from registry.db.backups import Backup, Kind
from registry.db.inspection import inspect
from registry.db.migrate import migrate_copy
from registry.db.sqlite_connection import is_busy
from registry.errors import Unavailable
from storage.filesystem_files import sync_folder

_LOCKED_FROM, _LOCKED_BYTES = 0x40000000, 512
"""Where SQLite's locks are in a file (sqlite.org, "File Locking": PENDING_BYTE and what follows it)."""
_LOG_ENDINGS = ("-wal", "-shm", "-journal")


class InUse(Unavailable):
    """Some process has the database open."""


class Replacement:
    """The file that is to take the database's place: `path`, beside it. Made by `replacing`.

    Attributes:
        marks: those that the database has.
    """

    def __init__(self, database: Path, marks: list[Backup]) -> None:
        self._database = database
        self.marks = marks
        self.path = database.with_name(f"{database.name}.restoring")
        self._aside = self._name_aside()

    @property
    def aside_name(self) -> str:
        """What the database will be called that is there now."""
        return self._aside.name

    def clear(self) -> None:
        """Remove what is there of it."""
        for ending in ("", *_LOG_ENDINGS, ".writer"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def fill_from(self, file: Path) -> None:
        """Copy a file there, and its log if it has one. Raises Unavailable."""
        try:
            for ending in ("", "-wal"):
                source = file.with_name(file.name + ending)
                if not ending or source.exists():
                    target = self.path.with_name(self.path.name + ending)
                    with source.open("rb") as reading, target.open("xb") as writing:
                        os.fchmod(writing.fileno(), 0o600)
                        shutil.copyfileobj(reading, writing, 1024 * 1024)
        except OSError as error:
            raise Unavailable(f"{error.filename or file} can't be copied: {error.strerror}") from error

    def migrate(self) -> None:
        """Bring it to this version's schema. Raises Unavailable: a newer version made it."""
        migrate_copy(self.path)

    def settle(self) -> None:
        """Move its log into it. Raises Unavailable."""
        try:
            _settle(self.path)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the copy is damaged, or no database of a registry: {error}") from error

    def take_place(self) -> Path | None:
        """Put it in the database's place, durably. Return where that is now, None if there was none."""
        try:
            _settle(self.path)
            aside = self._put_aside() if self._database.exists() else None
            os.rename(self.path, self._database)
            sync_folder(str(self._database.parent))
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the database {self._database} can't be replaced: {error}") from error
        self.clear()
        return aside

    def _put_aside(self) -> Path:
        """Give the database a second name, and take its log away from the first. It is whole without, if it was read.

        A log that is left, of a database that can't be read, would be taken for the new one's.
        """
        aside = self._aside
        for ending in ("", *_LOG_ENDINGS):
            there = self._database.with_name(self._database.name + ending)
            with suppress(FileNotFoundError, FileExistsError):
                os.link(there, aside.with_name(aside.name + ending))
        sync_folder(str(self._database.parent))
        for ending in _LOG_ENDINGS:
            self._database.with_name(self._database.name + ending).unlink(missing_ok=True)
        return aside

    def _name_aside(self) -> Path:
        """Return a name that is not taken, or one that this file was given by somebody who came no further."""
        stamp = datetime.now(UTC).strftime("%Y%m%dt%H%M%Sz")
        for found in self._database.parent.glob(f"{glob.escape(self._database.name)}.before-restore-*"):
            if self._database.exists() and found.samefile(self._database):
                return found
        aside = self._database.with_name(f"{self._database.name}.before-restore-{stamp}")
        number = 1
        while aside.exists():
            number += 1
            aside = self._database.with_name(f"{self._database.name}.before-restore-{stamp}-{number}")
        return aside


@contextmanager
def replacing(database: Path) -> Iterator[Replacement]:
    """Keep every other process from the database, and from bringing one up in its place, while it is replaced.

    Raises:
        InUse: some process has it open, or brings it up, or replaces it.
        Unavailable: it can't be looked at.
    """
    if database.is_symlink():
        raise Unavailable(f"{database} is a symlink, which would be replaced: name the file itself")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(database.with_name(f"{database.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"the database {database} can't be replaced: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"the database {database} is being migrated or restored by another process") from None
        with _held(database) as recorded:
            replacement = Replacement(database, [one for one in recorded if one.kind is Kind.MARK])
            replacement.clear()
            try:
                yield replacement
            finally:
                replacement.clear()
    finally:
        os.close(lock)


@contextmanager
def _held(database: Path) -> Iterator[tuple[Backup, ...]]:
    """Lock the database, whole, its log moved into it; or as it is, where it can't be read. Yield what it records."""
    found: tuple[Backup, ...] = ()
    if not database.exists():
        yield found
        return
    raw = sqlite3.connect(database, timeout=1, isolation_level=None)
    damaged = False
    try:
        try:
            # Only who is alone with a database may leave the mode with a log, which others come back to.
            raw.execute("PRAGMA journal_mode = DELETE")
            with suppress(Unavailable):
                found = inspect(database).backups
            raw.execute("BEGIN EXCLUSIVE")
            if raw.execute("PRAGMA journal_mode").fetchone() != ("delete",):
                raise _in_use(database)
        except sqlite3.Error as error:
            if is_busy(error):
                raise _in_use(database) from None
            damaged = True
        if not damaged:
            yield found
    finally:
        raw.close()
    if damaged:
        with _locked_by_hand(database):
            yield found


@contextmanager
def _locked_by_hand(database: Path) -> Iterator[None]:
    try:
        descriptor = os.open(database, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"the database {database} can't be opened: {error.strerror}") from error
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKED_BYTES, _LOCKED_FROM)
        except OSError:
            raise _in_use(database) from None
        yield
    finally:
        os.close(descriptor)


def _in_use(database: Path) -> InUse:
    return InUse(
        f"the database {database} is in use: stop the server, and every other command that works on it, and try again"
    )


def _settle(path: Path) -> None:
    """Make one file of a database and its log, durably. Raises sqlite3.Error, OSError."""
    raw = sqlite3.connect(path, isolation_level=None)
    try:
        raw.execute("PRAGMA journal_mode = DELETE")
    finally:
        raw.close()
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
