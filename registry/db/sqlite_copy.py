"""Copies of an SQLite database: making one while others write, and looking whether one is whole.

VACUUM INTO reads one snapshot, and in WAL mode who reads keeps nobody from writing. `docs/decisions/017-backup.md` has
what that was found to cost.
"""

import asyncio
import fcntl
import glob
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pysqlite3 as sqlite3

from registry.db.sqlite_connection import refusal
from registry.errors import NoSpace, Unavailable
from storage.errors import StorageFull
from storage.filesystem_files import sync_folder
from storage.filesystem_space import Space

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Facts:
    """What a copy is: its schema's revision, bytes, and their SHA-256 in hexadecimal."""

    schema: str
    size: int
    sha256: str


class Room:
    """A file beside a database for a copy that is being made, which nobody else uses and which goes in the end.

    Args:
        reserve: bytes that must stay free on its disk.
    """

    def __init__(self, database: Path, reserve: int) -> None:
        self._database = database
        self._space = Space(str(database.parent), max(reserve, 1))
        self.path = database.with_name(f"{database.name}.backup-{os.urandom(6).hex()}.partial")
        self._descriptor = -1

    def __enter__(self) -> "Room":
        _sweep(self._database)
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise Unavailable(f"no copy of the database can be made: {error.strerror} ({self.path})") from error
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            _journal(self.path).unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    async def copy(self) -> None:
        """Copy the database into the file, in a thread.

        Raises:
            NoSpace: there is no room for it, or there was none any more: the rest of the disk is left alone.
            Unavailable: the database can't be read.
        """
        try:
            self._space.admit(self._database.stat().st_size)
            raw = sqlite3.connect(self._database, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the database can't be copied: {error}") from error
        except StorageFull as error:
            raise NoSpace(f"there is no room for a copy of the database beside it: {error}") from error
        try:
            await _interruptible(raw, self._has_room, lambda: raw.execute("VACUUM INTO ?", (str(self.path),)))
        except sqlite3.Error as error:
            if not self._has_room():
                raise NoSpace("there is no room for a copy of the database beside it") from error
            raise refusal(error) from error
        finally:
            raw.close()

    def _has_room(self) -> bool:
        left = self._space.beyond_reserve()
        return left is None or left >= 0


def _sweep(database: Path) -> None:
    """Remove what was being made by a process that was killed: those that are not have it locked."""
    for path in database.parent.glob(f"{glob.escape(database.name)}.backup-*.partial"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _journal(path).unlink(missing_ok=True)
                path.unlink()
            finally:
                os.close(descriptor)


def _journal(path: Path) -> Path:
    """Return what SQLite has beside a file that it is writing."""
    return path.with_name(f"{path.name}-journal")


async def _interruptible(raw: Any, may_go_on: Callable[[], bool], work: Callable[[], Any]) -> Any:
    """Do `work` on a connection in a thread; have SQLite stop when it may not go on, or this task is cancelled."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        while not working.done():
            await asyncio.wait([working], timeout=_LOOK_S)
            if not may_go_on():
                raw.interrupt()
    except asyncio.CancelledError:
        while not working.done():
            raw.interrupt()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([working], timeout=_LOOK_S)
        working.exception()  # seen: nobody asks for it any more
        raise
    return working.result()


async def look_at(copy: Path, *, thoroughly: bool = False) -> Facts:
    """Read a copy whole, in threads, and return what it is. It has no log beside it.

    Args:
        thoroughly: compare the indexes with the tables, too: they were just made of them in a new copy.

    Raises:
        Unavailable: it is damaged, or no registry's database.
    """
    raw = None
    try:
        raw = sqlite3.connect(f"file:{quote(str(copy))}?mode=ro", uri=True, check_same_thread=False)
        check = f"PRAGMA {'integrity' if thoroughly else 'quick'}_check(1)"
        [(found,)] = await _interruptible(raw, lambda: True, lambda: raw.execute(check).fetchall())
        if found != "ok":
            raise Unavailable(f"{copy.name} is damaged: {found}")
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        raw.execute("SELECT 1 FROM blobs LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise Unavailable(f"{copy.name} is damaged, or no database of a registry: {error}") from error
    finally:
        if raw is not None:
            raw.close()
    if row is None:
        raise Unavailable(f"{copy.name} is no database of a registry: it has no schema")
    size, sha256 = await asyncio.to_thread(digest_of, copy)
    return Facts(str(row[0]), size, sha256)


def digest_of(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes and its SHA-256. Raises OSError."""
    with path.open("rb") as reading:
        digest = hashlib.file_digest(reading, "sha256").hexdigest()
        return reading.tell(), digest


def move_new(source: Path, target: Path, description: str, ending: str) -> None:
    """Give a file a name that is not taken, durably, on this or another filesystem, and put its description beside it.

    Raises:
        Unavailable: a name is taken, or can't be given; nothing is left there.
    """
    made: list[Path] = []
    try:
        with target.open("xb") as writing, source.open("rb") as reading:
            made.append(target)
            os.fchmod(writing.fileno(), 0o600)
            shutil.copyfileobj(reading, writing, 1024 * 1024)
            writing.flush()
            os.fsync(writing.fileno())
        beside = target.with_name(target.name + ending)
        with beside.open("x", encoding="utf-8") as described:
            made.append(beside)
            described.write(description)
            described.flush()
            os.fsync(described.fileno())
        sync_folder(str(target.absolute().parent))
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise Unavailable(f"the copy can't be written to {error.filename or target}: {error.strerror}") from error
