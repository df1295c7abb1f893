"""Files beside the content of a filesystem store: `attic/NAME` under its root."""

import errno
import fcntl
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from storage.attic import check_name, is_name
from storage.driver import StoredObject
from storage.errors import ObjectMissing
from storage.filesystem_files import Folders, delete_file, explained, open_regular, sync_folder
from storage.filesystem_space import Space
from storage.threads import Threads

_FOLDER = "attic"
_CHUNK = 4 * 1024 * 1024
_PARTIAL = ".partial-"
_SECRET = 0o600


class FilesystemAttic:
    """Files that only their owner may read: a database has secrets in it.

    Args:
        check_there: raises StorageUnavailable if the store itself is gone, say unmounted.
    """

    def __init__(self, folders: Folders, space: Space, threads: Threads, check_there: Callable[[], None]) -> None:
        self._root = folders.root
        self._folder = os.path.join(folders.root, _FOLDER)
        self._folders = folders
        self._space = space
        self._threads = threads
        self._check_there = check_there

    async def put(self, name: str, source: Path) -> None:
        """Store a file: moved, if it lies on the same filesystem, or else copied, leaving the reserve alone."""
        target = os.path.join(self._folder, check_name(name))
        self._check_there()
        if await self._threads.run(self._move_in, source, target, name):
            return
        partial = os.path.join(self._folder, f"{_PARTIAL}{uuid.uuid4()}")
        try:
            with explained("read", name), source.open("rb") as reading, explained("write", name):
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _SECRET)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    while chunk := await self._threads.run(reading.read, _CHUNK):
                        self._space.admit(len(chunk))
                        await self._threads.run(_write, descriptor, chunk, name)
                    await self._threads.run(self._publish, descriptor, partial, target, name)
                finally:
                    os.close(descriptor)
        finally:
            with suppress(OSError):
                os.unlink(partial)

    async def get(self, name: str, target: Path) -> None:
        """Copy a file, a piece at a time."""
        try:
            descriptor = open_regular(os.path.join(self._folder, check_name(name)), os.O_RDONLY, name)
        except FileNotFoundError:
            self._check_there()
            raise ObjectMissing(f"{name} does not exist") from None
        with os.fdopen(descriptor, "rb", buffering=0) as reading:
            with explained("write", str(target)):
                made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _SECRET)
            try:
                while chunk := await self._threads.run(_read, reading.fileno(), name):
                    await self._threads.run(_write, made, chunk, str(target))
            except BaseException:
                os.unlink(target)
                raise
            finally:
                os.close(made)

    async def remove(self, name: str) -> None:
        """Remove a file, in a thread."""
        await self._threads.run(delete_file, self._root, f"{_FOLDER}/{check_name(name)}")
        self._check_there()

    async def files(self) -> list[StoredObject]:
        """List the folder, in a thread."""
        self._check_there()
        return await self._threads.run(self._list)

    def _move_in(self, source: Path, target: str, name: str) -> bool:
        """Return False if the file lies on another filesystem."""
        with explained("write", name):
            self._folders.require(self._folder)
            self._sweep()
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_dev != os.stat(self._folder).st_dev:
                    return False
                os.fchmod(descriptor, _SECRET)
                self._publish(descriptor, str(source), target, name)
            except OSError as error:
                if error.errno != errno.EXDEV:  # two mounts of one filesystem
                    raise
                return False
            finally:
                os.close(descriptor)
        return True

    def _publish(self, descriptor: int, path: str, target: str, name: str) -> None:
        os.fsync(descriptor)
        os.rename(path, target)
        with explained("write", name):
            sync_folder(self._folder)

    def _sweep(self) -> None:
        """Remove what was being copied by a process that was killed: those that are not have it locked."""
        with os.scandir(self._folder) as entries:
            left = [entry.path for entry in entries if entry.name.startswith(_PARTIAL)]
        for path in left:
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                finally:
                    os.close(descriptor)

    def _list(self) -> list[StoredObject]:
        found = []
        with explained("list", _FOLDER), suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if is_name(entry.name) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.append(StoredObject(entry.name, status.st_size, status.st_mtime))
        return sorted(found, key=lambda one: one.name)


def _read(descriptor: int, name: str) -> bytes:
    with explained("read", name):
        return os.read(descriptor, _CHUNK)


def _write(descriptor: int, chunk: bytes, subject: str) -> None:
    view = memoryview(chunk)
    with explained("write", subject):
        while view:
            view = view[os.write(descriptor, view) :]
