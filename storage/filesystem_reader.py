"""An open object of a filesystem store."""

import errno
import os

from storage.driver import READ_CHUNK, ObjectStream
from storage.errors import StorageUnavailable
from storage.filesystem_files import read_exactly, storage_error
from storage.threads import Threads

READ_NOW_LIMIT = 64 * 1024
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class FilesystemReader:
    """Reads one object through one descriptor, which is open until `close`."""

    def __init__(self, descriptor: int, key: str, threads: Threads, scratch: memoryview) -> None:
        """Read `descriptor`. `scratch` is READ_NOW_LIMIT bytes that all readers of an event loop may share."""
        self._descriptor: int | None = descriptor
        self._key = key
        self._threads = threads
        self._scratch = scratch
        self._size = os.fstat(descriptor).st_size

    @property
    def size(self) -> int:
        """Bytes in the object, when it was opened."""
        return self._size

    @property
    def fileno(self) -> int | None:
        """The descriptor, for sendfile. Raises ValueError after `close`."""
        return self._open()

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes (at most READ_CHUNK) at `offset`. Raises StorageUnavailable if they are not there."""
        _check_range(offset, length)
        return await self._threads.run(read_exactly, self._open(), offset, length, self._key)

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Return up to 64 KiB that are in memory; None if there is more to read, or a disk to wait for."""
        _check_range(offset, length)
        descriptor = self._open()
        if length > READ_NOW_LIMIT:
            return None
        data = self._scratch[:length]
        try:
            count = os.preadv(descriptor, [data], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NO_NOWAIT:
                raise storage_error(error, "read", self._key) from error
            # Such a filesystem is in memory itself (tmpfs), or so small a read is the lesser evil.
            return read_exactly(descriptor, offset, length, self._key)
        if count == length:
            return bytes(data)
        if count == 0:
            raise StorageUnavailable(f"cannot read {self._key}: it is truncated")
        return None

    async def stream(self, offset: int, length: int) -> ObjectStream | None:
        """None: there is a file."""
        self._open()
        return None

    def close(self) -> None:
        """Close the descriptor. Closing twice is allowed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("the object's reader is closed")
        return self._descriptor


def _check_range(offset: int, length: int) -> None:
    if offset < 0 or not 0 <= length <= READ_CHUNK:
        raise ValueError(f"cannot read {length} bytes at {offset}: a read is of 0 to {READ_CHUNK} bytes")
