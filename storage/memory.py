"""The blob driver that keeps bytes in memory: for tests, and for nothing that matters."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage.attic import check_name
from storage.deleting import delete_each
from storage.digest import Hasher
from storage.driver import READ_CHUNK, ObjectStream, Source, StoredObject
from storage.errors import (
    InvalidKey,
    ObjectMissing,
    StorageError,
    StorageUnavailable,
    UploadBusy,
    UploadDamaged,
    UploadMissing,
)
from storage.keys import check_key, is_upload_id


@dataclass(slots=True)
class _Upload:
    data: bytearray = field(default_factory=bytearray)
    modified_at: float = field(default_factory=time.time)
    busy: bool = False


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    modified_at: float


class MemoryReader:
    """Reads an object's bytes, which stay even if the object is deleted."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data
        self._size = len(data)

    @property
    def size(self) -> int:
        """Bytes in the object."""
        return self._size

    @property
    def fileno(self) -> int | None:
        """None: there is no file."""
        return None

    async def read(self, offset: int, length: int) -> bytes:
        """Return the `length` bytes at `offset`. Raises StorageUnavailable if they are not there."""
        return self.read_now(offset, length)

    def read_now(self, offset: int, length: int) -> bytes:
        """Like `read`: all of it is at hand."""
        if offset < 0 or not 0 <= length <= READ_CHUNK:
            raise ValueError(f"cannot read {length} bytes at {offset}: a read is of 0 to {READ_CHUNK} bytes")
        if self._data is None:
            raise ValueError("the object's reader is closed")
        if offset + length > self._size:
            raise StorageUnavailable(f"cannot read {length} bytes at {offset}: the object has {self._size}")
        return self._data[offset : offset + length]

    async def stream(self, offset: int, length: int) -> ObjectStream | None:
        """None: all is at hand."""
        self.read_now(offset, 0)
        return None

    def close(self) -> None:
        """Forget the bytes."""
        self._data = None


class MemoryWriter:
    """Writes one upload. What was not flushed is lost at `close`: a caller that relies on more is found out."""

    def __init__(self, driver: "MemoryDriver", upload_id: str, upload: _Upload, offset: int, hasher: Hasher) -> None:
        self._driver = driver
        self._id = upload_id
        self._upload = upload
        self._hasher = hasher
        self._flushed = offset
        self._pending = bytearray()
        self._closed = False
        self._gone = False

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self._flushed + len(self._pending)

    @property
    def state(self) -> str:
        """How many bytes were flushed: `open_upload` refuses an offset beyond it."""
        return str(self._flushed)

    @property
    def vouched(self) -> bool:
        """True: memory that is still there is what it was."""
        return True

    async def write(self, data: bytes) -> None:
        """Append `data`."""
        self._check_open()
        self._pending += data

    async def append_from(self, source: Source) -> int:
        """Append what `source` has."""
        self._check_open()
        block = bytearray(READ_CHUNK)
        count = await source(memoryview(block))
        self._pending += memoryview(block)[:count]
        return count

    async def settle(self) -> None:
        """Like `flush`."""
        await self.flush()

    async def flush(self) -> None:
        """Move what is pending to the upload, and feed it to the hasher."""
        self._check_open()
        self._hasher.update(self._pending)
        self._upload.data[self._flushed :] = self._pending
        self._flushed += len(self._pending)
        self._upload.modified_at = time.time()
        self._pending.clear()

    async def rewind(self, offset: int) -> None:
        """Forget every byte after `offset`. Raises ValueError if it lies beyond `self.offset`."""
        self._check_open()
        if not 0 <= offset <= self.offset:
            raise ValueError(f"cannot rewind to {offset}: {self.offset} bytes were accepted")
        del self._pending[max(0, offset - self._flushed) :]
        self._flushed = min(self._flushed, offset)
        del self._upload.data[self._flushed :]

    async def rehash(self, hasher: Hasher) -> None:
        """Feed `hasher` all bytes up to `offset`."""
        await self.flush()
        hasher.update(self._upload.data)

    async def publish(self, key: str) -> str:
        """Make the upload the object `key`. Raises InvalidKey."""
        self._check_open()
        try:
            check_key(key)
            await self.flush()
            self._driver.put(key, bytes(self._upload.data))
        finally:
            await self.discard()
        return key

    async def discard(self) -> None:
        """Remove the upload and close. After `close`, raises UploadBusy if another writer took over."""
        if self._gone:
            return
        if self._closed:
            await self._driver.remove_upload(self._id, "")
        else:
            self._driver.drop(self._id)
        self._gone = True
        await self.close()

    async def close(self) -> None:
        """Keep what was flushed, and let others write."""
        if not self._closed:
            self._closed = True
            self._upload.busy = False

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of upload {self._id} is closed")


class MemoryAttic:
    """Files as entries of a dict."""

    def __init__(self) -> None:
        self._files: dict[str, _Object] = {}

    async def put(self, name: str, source: Path) -> None:
        """Store a file."""
        check_name(name)
        try:
            data = await asyncio.to_thread(source.read_bytes)
        except OSError as error:
            raise StorageUnavailable(f"cannot read {source}: {error.strerror}") from error
        self._files[name] = _Object(data, time.time())

    async def get(self, name: str, target: Path) -> None:
        """Write a file. Raises ObjectMissing."""
        found = self._files.get(check_name(name))
        if found is None:
            raise ObjectMissing(f"{name} does not exist")
        try:
            with target.open("xb") as writing:
                writing.write(found.data)
        except OSError as error:
            raise StorageUnavailable(f"cannot write {target}: {error.strerror}") from error

    async def remove(self, name: str) -> None:
        """Remove a file, or nothing."""
        self._files.pop(check_name(name), None)

    async def files(self) -> list[StoredObject]:
        """List files by name."""
        return [StoredObject(name, len(one.data), one.modified_at) for name, one in sorted(self._files.items())]


class MemoryDriver:
    """Objects and uploads as entries of two dicts."""

    def __init__(self) -> None:
        self._attic = MemoryAttic()
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, _Upload] = {}

    @property
    def name(self) -> str:
        """What a blob's row records as its store."""
        return "memory"

    @property
    def locks(self) -> bool:
        """Whether `open_upload` keeps others out: it does."""
        return True

    @property
    def redirects(self) -> bool:
        """Whether `address` ever returns one: it does not."""
        return False

    @property
    def attic(self) -> MemoryAttic:
        """Where files that are no content are kept."""
        return self._attic

    async def start(self) -> None:
        """Nothing needs to be prepared."""

    async def check(self) -> None:
        """Memory answers."""

    async def close(self) -> None:
        """Nothing needs to be released."""

    async def create_upload(self, upload_id: str) -> str:
        """Begin an upload. Raises UploadBusy if the id is taken, UploadMissing if it is not a UUID."""
        if not is_upload_id(upload_id):
            raise UploadMissing("an upload's id is a UUID")
        if upload_id in self._uploads:
            raise UploadBusy(f"upload {upload_id} exists already")
        self._uploads[upload_id] = _Upload()
        return "0"

    async def open_upload(
        self, upload_id: str, state: str, offset: int, hasher: Hasher, *, contested: bool = False
    ) -> MemoryWriter:
        """Continue an upload. Raises UploadMissing, UploadBusy, UploadDamaged, ValueError for a state of earlier."""
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise UploadMissing(f"upload {upload_id} does not exist")
        if upload.busy:
            raise UploadBusy(f"upload {upload_id} is being written by another request")
        if len(upload.data) < offset:
            raise UploadDamaged(f"upload {upload_id} holds {len(upload.data)} bytes, {offset} are expected")
        if int(state) < offset:
            raise ValueError(f"the state given for upload {upload_id} is not the one of offset {offset}")
        upload.busy = True
        return MemoryWriter(self, upload_id, upload, offset, hasher)

    async def remove_upload(self, upload_id: str, state: str) -> None:
        """Remove an upload. Raises UploadBusy while a writer is open."""
        upload = self._uploads.get(upload_id)
        if upload is not None and upload.busy:
            raise UploadBusy(f"upload {upload_id} is being written by another request")
        self.drop(upload_id)

    async def open(self, key: str) -> MemoryReader:
        """Open an object. Raises ObjectMissing, InvalidKey."""
        return MemoryReader(self._get(key).data)

    async def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises ObjectMissing, InvalidKey."""
        return len(self._get(key).data)

    async def address(self, key: str, client: str) -> str | None:
        """Return None: there is no way to the bytes but this process."""
        check_key(key)
        return None

    async def delete(self, key: str) -> None:
        """Delete an object, or nothing. Raises InvalidKey."""
        self._objects.pop(check_key(key), None)

    async def delete_many(self, keys: Sequence[str]) -> dict[str, StorageError]:
        """Delete objects, a few at a time. Return what could not be deleted, and why."""
        return await delete_each(self.delete, keys)

    async def objects(self, after: str = "") -> AsyncIterator[StoredObject]:
        """List objects by key."""
        for key in sorted(key for key in self._objects if key > after):
            found = self._objects.get(key)
            if found is not None:
                yield StoredObject(key, len(found.data), found.modified_at)

    async def uploads(self) -> AsyncIterator[StoredObject]:
        """List uploads."""
        for upload_id, upload in list(self._uploads.items()):
            yield StoredObject(upload_id, len(upload.data), upload.modified_at)

    def put(self, key: str, data: bytes) -> None:
        """Store an object. Raises InvalidKey if the key is taken."""
        if key in self._objects:
            raise InvalidKey(f"{key} is taken: an object is never overwritten")
        self._objects[key] = _Object(data, time.time())

    def drop(self, upload_id: str) -> None:
        """Forget an upload, or nothing."""
        self._uploads.pop(upload_id, None)

    def _get(self, key: str) -> _Object:
        found = self._objects.get(check_key(key))
        if found is None:
            raise ObjectMissing(f"{key} does not exist")
        return found
