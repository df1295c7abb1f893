"""The writer of one upload in a filesystem store."""

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass

from storage.digest import Hasher
from storage.driver import Source
from storage.errors import StorageError, StorageFull, StorageUnavailable, UploadDamaged
from storage.filesystem_files import (
    BLOCK,
    Folders,
    explained,
    publish_file,
    remove_upload_file,
    storage_error,
    write_at,
)
from storage.filesystem_space import Space
from storage.keys import check_key
from storage.threads import BUFFER_SIZE, BufferPool, Threads, ended

INLINE_LIMIT = 128 * 1024
_REHASH_STEP = 8 * BUFFER_SIZE


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


BOOT_ID = _boot_id()
"""Names this run of the machine; empty where the system has no name for it.

Uploads are not synced before they are published. While the machine runs, the kernel keeps what was written; after
power loss a file may have its length and not its bytes.
"""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all writers of a driver share."""

    threads: Threads
    buffers: BufferPool
    folders: Folders
    space: Space


class FilesystemWriter:
    """Collects what comes in, hashes and writes it a buffer at a time, one buffer in threads while the next fills.

    Bytes first gather in `_pending`; from INLINE_LIMIT on they move to a pooled buffer, or go to a thread as they
    are when the pool is used up. So a small upload takes neither buffer nor thread.

    Three positions: up to `_stored` bytes are in the file, up to `_launched` they are there or in a thread's hands,
    up to `offset` they are accepted.
    """

    def __init__(
        self,
        workshop: Workshop,
        descriptor: int,
        upload_id: str,
        offset: int,
        hasher: Hasher,
        *,
        excess: bool,
        vouched: bool,
    ) -> None:
        self._shared = workshop
        self._descriptor: int | None = descriptor
        self._path = os.path.join(workshop.folders.root, "uploads", upload_id)
        self._subject = f"upload {upload_id}"
        self._hasher = hasher
        self._stored = self._launched = offset
        self._excess = excess
        self._vouched = vouched
        self._pending = bytearray()
        self._buffer: memoryview | None = None
        self._filled = 0
        self._flight: tuple[asyncio.Future[None], ...] = ()
        self._flying: memoryview | None = None
        self._used_thread = False
        self._failure: StorageError | None = None
        self._gone = False

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self._launched + self._waiting

    @property
    def state(self) -> str:
        """The run of the machine that wrote it. The file's name follows from the id, its length from the offset."""
        return BOOT_ID

    @property
    def vouched(self) -> bool:
        """Whether the machine has not restarted since the bytes were written."""
        return self._vouched

    async def write(self, data: bytes) -> None:
        """Append `data`. Raises StorageFull or StorageUnavailable, of this or of an earlier write."""
        self._check_usable()
        self._admit(len(data))
        await self._cut_excess()
        with memoryview(data) as view:
            done = 0
            while done < view.nbytes:
                if self._room() == 0:
                    await self._launch()
                done += self._collect(view[done:])
        if self._room() == 0:
            await self._launch()

    async def append_from(self, source: Source) -> int:
        """Let `source` put bytes into the buffer itself. Raises like `write`."""
        self._check_usable()
        await self._cut_excess()
        if self._room() == 0:
            await self._launch()
        if self._buffer is None and not self._take_buffer():
            with memoryview(bytearray(INLINE_LIMIT)) as view:
                count = await source(view)
                await self.write(bytes(view[:count]))
            return count
        assert self._buffer is not None  # noqa: S101 - taken above
        count = await source(self._buffer[self._filled : self._filled + self._room()])
        self._filled += count
        self._admit(count)
        if self._room() == 0:
            await self._launch()
        return count

    async def settle(self) -> None:
        """Like `flush`."""
        await self.flush()

    async def flush(self) -> None:
        """Hash and write all that was accepted. Raises StorageFull, StorageUnavailable."""
        descriptor = self._check_usable()
        await self._cut_excess()
        if not self._used_thread and self._buffer is None:
            try:
                self._hasher.update(self._pending)
                write_at(descriptor, self._pending, self._launched)
            except OSError as error:
                raise self._fail(error) from error
            self._launched = self._stored = self.offset
            self._pending = bytearray()
            return
        if self._waiting:
            await self._launch()
        await self._land()

    async def rewind(self, offset: int) -> None:
        """Forget every byte after `offset`.

        Raises ValueError if it lies beyond `self.offset`, UploadDamaged if a write failed before it.
        """
        descriptor = self._check_open()
        await self._cut_excess()
        if not 0 <= offset <= self.offset:
            raise ValueError(f"cannot rewind to {offset}: {self.offset} bytes were accepted")
        with suppress(StorageError):
            await self._land()
        if self._failure is None and offset >= self._launched:
            self._keep_waiting(offset - self._launched)
            return
        if offset > self._stored:
            raise UploadDamaged(f"{self._subject} holds {self._stored} bytes, {offset} are expected")
        self._keep_waiting(0)
        try:
            await self._shared.threads.run(os.ftruncate, descriptor, offset)
        except OSError as error:
            raise self._fail(error) from error
        self._launched = self._stored = offset

    async def rehash(self, hasher: Hasher) -> None:
        """Feed `hasher` all bytes up to `offset` from the file. Raises UploadDamaged, StorageUnavailable."""
        await self.flush()
        descriptor = self._check_open()
        for start in range(0, self._stored, _REHASH_STEP):
            # Steps, so that who is cancelled does not wait for the hash of a whole image layer.
            end = min(start + _REHASH_STEP, self._stored)
            await self._shared.threads.run(_rehash, descriptor, hasher, start, end, self._subject)

    async def publish(self, key: str) -> str:
        """Make the upload the object `key`. Raises InvalidKey, StorageFull, StorageUnavailable."""
        self._check_open()
        try:
            check_key(key)
            await self.flush()
            await self._publish(self._check_open(), key)
        except BaseException:
            await self.discard()
            raise
        self._gone = True
        await self.close()
        return key

    async def discard(self) -> None:
        """Remove the upload's file and close. After `close`, raises UploadBusy if another writer took over."""
        if self._gone:
            return
        if self._descriptor is None:
            await self._shared.threads.run(remove_upload_file, self._path, self._subject)
            self._gone = True
            return
        try:
            with suppress(StorageError):
                await self._land()
        finally:
            try:
                await self._shared.threads.run(_unlink, self._path, self._subject)
                self._gone = True
            finally:
                await self.close()

    async def close(self) -> None:
        """Keep what was flushed, and unlock the upload."""
        if self._descriptor is None:
            return
        try:
            with suppress(StorageError):
                await self._land()
        finally:
            self._keep_waiting(0)
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _waiting(self) -> int:
        return self._filled if self._buffer is not None else len(self._pending)

    async def _cut_excess(self) -> None:
        """Remove what an earlier writer left beyond the offset, unacknowledged; in a thread, once."""
        if self._excess:
            try:
                await self._shared.threads.run(os.ftruncate, self._check_open(), self._launched)
            except OSError as error:
                raise self._fail(error) from error
            self._excess = False

    def _check_open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"the writer of {self._subject} is closed")
        return self._descriptor

    def _check_usable(self) -> int:
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))
        return self._check_open()

    def _admit(self, size: int) -> None:
        """Raise StorageFull, for good, if `size` bytes more would touch the disk's reserve."""
        try:
            self._shared.space.admit(size)
        except StorageFull as error:
            self._failure = error
            raise

    def _room(self) -> int:
        """Return how many bytes can be collected before something must be launched."""
        if self._buffer is None and len(self._pending) >= INLINE_LIMIT:
            self._take_buffer()
        if self._buffer is not None:
            # The first buffer of a session that goes on inside a block ends with it: direct writes begin at a block.
            return BUFFER_SIZE - self._launched % BLOCK - self._filled
        return INLINE_LIMIT - len(self._pending)

    def _take_buffer(self) -> bool:
        """Move what waits to a pooled buffer, if there is one."""
        self._buffer = self._shared.buffers.take()
        if self._buffer is None:
            return False
        self._filled = len(self._pending)
        self._buffer[: self._filled] = self._pending
        self._pending.clear()
        return True

    def _collect(self, view: memoryview) -> int:
        count = min(self._room(), view.nbytes)
        if self._buffer is None:
            self._pending += view[:count]
        else:
            self._buffer[self._filled : self._filled + count] = view[:count]
            self._filled += count
        return count

    async def _launch(self) -> None:
        """Hand what waits to two threads, one that hashes and one that writes, once what went before has landed."""
        await self._land()
        data: memoryview | bytearray = self._pending if self._buffer is None else self._buffer[: self._filled]
        descriptor, threads = self._check_open(), self._shared.threads
        # What does not fill a buffer stays in the page cache: it is small, and often pulled at once.
        direct = self._buffer is not None and self._room() == 0
        self._flight = (
            threads.submit(write_at, descriptor, data, self._launched, direct=direct),
            threads.submit(self._hasher.update, data),
        )
        self._used_thread = True
        self._launched += len(data)
        self._flying, self._buffer = self._buffer, None
        self._filled, self._pending = 0, bytearray()

    async def _land(self) -> None:
        """Wait until no thread works for this writer; raise what went wrong there, once or before."""
        flight = self._flight
        if flight:
            try:
                await ended(*flight)
            finally:
                self._flight = ()
                if self._flying is not None:
                    self._shared.buffers.give(self._flying)
                    self._flying = None
                error = next((one.exception() for one in flight if one.exception() is not None), None)
                if error is None:
                    self._stored = self._launched
                else:
                    self._fail(error)
        if self._failure is not None:
            raise type(self._failure)(str(self._failure)) from self._failure.__cause__

    def _fail(self, error: BaseException) -> StorageError:
        if isinstance(error, OSError):
            self._failure = storage_error(error, "write", self._subject)
        else:
            self._failure = StorageUnavailable(f"cannot write {self._subject}: {error!r}")
        self._failure.__cause__ = error
        return self._failure

    def _keep_waiting(self, count: int) -> None:
        """Drop what waits, but for its first `count` bytes."""
        self._pending = self._pending[:count]  # A copy: views of the old one may be held by an error's traceback.
        self._filled = min(self._filled, count)
        if self._buffer is not None and count == 0:
            self._shared.buffers.give(self._buffer)
            self._buffer = None

    async def _publish(self, descriptor: int, key: str) -> None:
        folders, threads = self._shared.folders, self._shared.threads
        publication = threads.submit(publish_file, descriptor, self._path, folders, key, self._stored)
        try:
            await ended(publication)
        except asyncio.CancelledError:
            if publication.exception() is None:
                # The thread came to its end all the same, and the caller will never record this key.
                await threads.run(_unlink, os.path.join(folders.root, key), key)
            raise
        publication.result()


def _unlink(path: str, subject: str) -> None:
    with explained("remove", subject), suppress(FileNotFoundError):
        os.unlink(path)


def _rehash(descriptor: int, hasher: Hasher, start: int, end: int, subject: str) -> None:
    block = bytearray(min(BUFFER_SIZE, end - start))
    with memoryview(block) as view, explained("read", subject):
        while start < end:
            count = os.preadv(descriptor, [view[: min(len(block), end - start)]], start)
            if count == 0:
                raise UploadDamaged(f"{subject} is truncated at {start} bytes")
            hasher.update(view[:count])
            start += count
