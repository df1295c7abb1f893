"""The blob driver that keeps bytes in a folder.

Layout: `blobs/<algorithm>/<2 hex>/<hex>-<random>` for objects, `uploads/<upload id>` for uploads, `attic/<name>` for
files that are no content. A file moves from
one to the other by rename, so the root must be one filesystem. How the name becomes durable is in
`storage.filesystem_files.publish_file`.
"""

import errno
import fcntl
import os
import stat
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage.deleting import delete_each
from storage.digest import Hasher
from storage.driver import StoredObject
from storage.errors import ObjectMissing, StorageError, StorageFull, StorageUnavailable, UploadDamaged, UploadMissing
from storage.filesystem_attic import FilesystemAttic
from storage.filesystem_files import (
    Folders,
    create_upload_file,
    delete_file,
    explained,
    open_locked,
    open_regular,
    remove_upload_file,
    storage_error,
)
from storage.filesystem_reader import READ_NOW_LIMIT, FilesystemReader
from storage.filesystem_space import Space
from storage.filesystem_writer import BOOT_ID, FilesystemWriter, Workshop
from storage.keys import KEY_PREFIX, check_key, is_key, is_upload_id
from storage.threads import BufferPool, Threads

THREADS = 8
BUFFERS = 32
_BATCH = 256
_PROBE = ".probe-"


class FilesystemDriver:
    """Objects and uploads as files under `root`, which several processes may share.

    While less than `reserve` bytes are free there, uploads raise StorageFull.

    A driver owns a few threads: `close` ends them. Methods without a word of threads in their docstring
    make one or two system calls on names and run in the event loop.
    """

    def __init__(self, root: Path, *, reserve: int = 0) -> None:
        self._root = os.path.abspath(root)
        self._threads = Threads(THREADS)
        self._folders = Folders(self._root)
        self._space = Space(self._root, reserve)
        self.buffers = BufferPool(BUFFERS)
        self._scratch = memoryview(bytearray(READ_NOW_LIMIT))
        self._attic = FilesystemAttic(self._folders, self._space, self._threads, lambda: self._check_there("blobs"))

    @property
    def name(self) -> str:
        """What a blob's row records as its store."""
        return "filesystem"

    @property
    def locks(self) -> bool:
        """Whether `open_upload` keeps others out: it does, by flock."""
        return True

    @property
    def redirects(self) -> bool:
        """Whether `address` ever returns one: it does not."""
        return False

    @property
    def attic(self) -> FilesystemAttic:
        """Where files that are no content are kept."""
        return self._attic

    async def start(self) -> None:
        """Create the folders, and try every operation once, in a thread. Raises StorageUnavailable."""
        await self._threads.run(self._prepare)
        await self._threads.run(self._probe)
        await self._threads.run(self._remove_old_probes)

    async def check(self) -> None:
        """Try every operation once, in a thread. Raises StorageUnavailable. A full disk is no reason."""
        await self._threads.run(self._probe)

    async def close(self) -> None:
        """End the threads. Readers and writers must be closed before."""
        await self._threads.close()

    async def create_upload(self, upload_id: str) -> str:
        """Create an empty file. Raises UploadBusy if the id is taken, UploadMissing if it is no UUID, StorageFull."""
        self._space.admit()
        create_upload_file(self._upload_path(upload_id), f"upload {upload_id}")
        return BOOT_ID

    async def open_upload(
        self, upload_id: str, state: str, offset: int, hasher: Hasher, *, contested: bool = False
    ) -> FilesystemWriter:
        """Lock the upload's file. The writer cuts it to `offset` before it changes anything else."""
        subject = f"upload {upload_id}"
        try:
            descriptor = open_locked(self._upload_path(upload_id), subject)
        except UploadMissing:
            self._check_there("uploads")
            raise
        try:
            with explained("look at", subject):
                size = os.fstat(descriptor).st_size
            if size < offset:
                raise UploadDamaged(f"{subject} holds {size} bytes, {offset} are expected")
        except BaseException:
            os.close(descriptor)
            raise
        workshop = Workshop(self._threads, self.buffers, self._folders, self._space)
        vouched = state == BOOT_ID != ""
        return FilesystemWriter(workshop, descriptor, upload_id, offset, hasher, excess=size > offset, vouched=vouched)

    async def remove_upload(self, upload_id: str, state: str) -> None:
        """Remove an upload's file, in a thread. Raises UploadBusy while a writer is open."""
        with suppress(UploadMissing):
            path = self._upload_path(upload_id)
            await self._threads.run(remove_upload_file, path, f"upload {upload_id}")

    async def open(self, key: str) -> FilesystemReader:
        """Open an object. Raises ObjectMissing, InvalidKey, StorageUnavailable."""
        try:
            descriptor = open_regular(self._object_path(key), os.O_RDONLY, key)
        except FileNotFoundError:
            raise self._missing(key) from None
        try:
            with explained("look at", key):
                return FilesystemReader(descriptor, key, self._threads, self._scratch)
        except StorageUnavailable:
            os.close(descriptor)
            raise

    async def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises like `open`."""
        try:
            found = os.stat(self._object_path(key), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None
        except OSError as error:
            raise storage_error(error, "look at", key) from error
        if not stat.S_ISREG(found.st_mode):
            raise StorageUnavailable(f"cannot look at {key}: it is not a regular file")
        return found.st_size

    async def address(self, key: str, client: str) -> str | None:
        """Return None: there is no way to the bytes but this server."""
        check_key(key)
        return None

    async def delete(self, key: str) -> None:
        """Delete an object, durably, in a thread. Raises InvalidKey, StorageUnavailable."""
        await self._threads.run(delete_file, self._root, check_key(key))
        self._check_there("blobs")

    async def delete_many(self, keys: Sequence[str]) -> dict[str, StorageError]:
        """Delete objects, a few at a time. Return what could not be deleted, and why."""
        return await delete_each(self.delete, keys)

    async def objects(self, after: str = "") -> AsyncIterator[StoredObject]:
        """List objects by key, in threads. Holds the names of one folder a level."""
        # What is still to be visited, next one last; folders end with a slash, as they do inside a key, so that
        # sorting siblings sorts the keys.
        stack = [KEY_PREFIX]
        while stack:
            batch: list[str] = []
            while stack and len(batch) < _BATCH and not stack[-1].endswith("/"):
                batch.append(stack.pop())
            for found in await self._threads.run(self._look_at, batch) if batch else ():
                yield found
            if stack and stack[-1].endswith("/"):
                stack.extend(await self._threads.run(self._children, stack.pop(), after))

    async def uploads(self) -> AsyncIterator[StoredObject]:
        """List uploads, in threads."""
        names = await self._threads.run(self._upload_names)
        for start in range(0, len(names), _BATCH):
            for found in await self._threads.run(self._look_at, names[start : start + _BATCH], "uploads/"):
                yield found

    def _upload_path(self, upload_id: str) -> str:
        if not is_upload_id(upload_id):
            raise UploadMissing("an upload's id is a UUID")
        return os.path.join(self._root, "uploads", upload_id)

    def _object_path(self, key: str) -> str:
        return os.path.join(self._root, check_key(key))

    def _missing(self, key: str) -> ObjectMissing:
        self._check_there("blobs")
        return ObjectMissing(f"{key} does not exist")

    def _check_there(self, folder: str) -> None:
        """Raise StorageUnavailable if the store itself is gone, say unmounted: then nothing is known to be missing."""
        with explained("look at", f"the store's folder {folder}"):
            os.stat(os.path.join(self._root, folder))

    def _prepare(self) -> None:
        try:
            self._folders.prepare()
        except (FileExistsError, NotADirectoryError) as error:
            culprit = str(error.filename)
            while not os.path.lexists(culprit):
                culprit = os.path.dirname(culprit)
            raise StorageUnavailable(
                f"the store's root {self._root} can't be used: {culprit} is not a folder. "
                "Move it away, or choose another folder as the root"
            ) from error
        except OSError as error:
            raise self._unusable(error) from error

    def _probe(self) -> None:
        """Write a file, read it, publish it and delete it, under names that are neither upload's nor key's."""
        name = f"{_PROBE}{uuid.uuid4()}"
        path, target = (os.path.join(self._root, folder, name) for folder in ("uploads", "blobs"))
        try:
            create_upload_file(path, "a probe file")
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.pwrite(descriptor, b"probe", 0)
                if os.pread(descriptor, 8, 0) != b"probe":
                    raise StorageUnavailable(f"the store's root {self._root} can't be used: it returns other bytes")
            finally:
                os.close(descriptor)
            os.rename(path, target)
            os.unlink(target)
        except OSError as error:
            self._forgive_full(error)
        except StorageFull:
            return  # What is there can be read and deleted, and deleting makes room: that is no outage.
        except StorageUnavailable as error:
            if isinstance(error.__cause__, OSError):
                raise self._unusable(error.__cause__) from error
            raise
        finally:
            for leftover in (path, target):
                with suppress(OSError):
                    os.unlink(leftover)

    def _remove_old_probes(self) -> None:
        """Remove what probes left that were killed; one of the last hour may be another process's, at work.

        The hour is the filesystem's: a probe has just changed the folders. This machine's clock may be another.
        """
        for folder in (os.path.join(self._root, name) for name in ("uploads", "blobs")):
            latest = os.stat(folder).st_mtime - 3600
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        if entry.name.startswith(_PROBE) and entry.stat().st_mtime < latest:
                            os.unlink(entry.path)

    def _forgive_full(self, error: OSError) -> None:
        if not isinstance(storage_error(error, "write", "a probe file"), StorageFull):
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StorageUnavailable:
        ways_out = {
            errno.EACCES: f"Give user id {os.geteuid()} the right to read and write there",
            errno.EPERM: f"Give user id {os.geteuid()} the right to read and write there",
            errno.EROFS: "Mount it for writing",
            errno.ENOENT: "Bring the folder back, or start again to create it",
            errno.EXDEV: "Its folders blobs and uploads must lie on one filesystem",
        }
        reason = os.strerror(error.errno) if error.errno else str(error)
        way_out = ways_out.get(error.errno or 0, "Look at the disk and at the system's log")
        return StorageUnavailable(
            f"the store's root {self._root} can't be used: {reason} ({error.filename or self._root}). {way_out}"
        )

    def _children(self, folder: str, after: str) -> list[str]:
        """Return what may hold keys greater than `after` in `folder`, in descending order."""
        try:
            with explained("list", folder), os.scandir(os.path.join(self._root, folder)) as entries:
                return sorted(_wanted(folder, entries, after), reverse=True)
        except StorageUnavailable as error:
            if folder != KEY_PREFIX and isinstance(error.__cause__, FileNotFoundError):
                return []
            raise

    def _upload_names(self) -> list[str]:
        with explained("list", "uploads"):
            return [name for name in os.listdir(os.path.join(self._root, "uploads")) if is_upload_id(name)]

    def _look_at(self, names: list[str], folder: str = "") -> list[StoredObject]:
        """Stat files that a listing found, leaving out those that have gone since."""
        found = []
        for name in names:
            with explained("look at", name), suppress(FileNotFoundError):
                status = os.stat(os.path.join(self._root, folder + name), follow_symlinks=False)
                found.append(StoredObject(name, status.st_size, status.st_mtime))
        return found


def from_options(options: Mapping[str, Any]) -> FilesystemDriver:
    """Return a driver for `root` and `reserve`: what the entry point `filesystem` names."""
    return FilesystemDriver(Path(options["root"]), reserve=int(options.get("reserve", 0)))


def _wanted(folder: str, entries: Iterable[os.DirEntry[str]], after: str) -> Iterable[str]:
    for entry in entries:
        name = folder + entry.name
        if not is_key(name):
            continue
        if entry.is_dir(follow_symlinks=False):
            name += "/"
            if name > after or after.startswith(name):
                yield name
        elif name > after and entry.is_file(follow_symlinks=False):
            yield name
