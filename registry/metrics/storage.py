"""A BlobDriver that is measured: how long opening, publishing and deleting take, and how often they fail."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, TypeVar

from registry.metrics.families import STORAGE_OPERATIONS
from registry.metrics.figures import Figures
from storage.digest import Hasher
from storage.driver import BlobDriver, ObjectReader, StoredObject, UploadWriter
from storage.errors import StorageError, StorageFull, StorageUnavailable

T = TypeVar("T")
Part = Callable[[str], AbstractContextManager[Any]]
_BROKEN = (StorageFull, StorageUnavailable)  # the rest is about one object or upload, and no fault of the storage


class MeasuredDriver:
    """Passes everything on to `driver`.

    Args:
        part: spans a publication, for traces.
    """

    def __init__(self, driver: BlobDriver, figures: Figures, part: Part) -> None:
        self._driver = driver
        self._part = part
        self._took = {name: figures.duration("storage_operation_duration_seconds", name) for name in STORAGE_OPERATIONS}
        self._failed = {name: figures.counter("storage_errors", name) for name in STORAGE_OPERATIONS}
        # What is not measured takes no way around.
        self.start = driver.start
        self.check = driver.check
        self.close = driver.close
        self.remove_upload = driver.remove_upload
        self.address = driver.address
        self.attic = driver.attic

    @property
    def name(self) -> str:
        """What a blob's row records as its store."""
        return self._driver.name

    @property
    def locks(self) -> bool:
        """Whether `open_upload` keeps others out."""
        return self._driver.locks

    @property
    def redirects(self) -> bool:
        """Whether `address` ever returns one."""
        return self._driver.redirects

    async def _measured(self, name: str, operation: Awaitable[T]) -> T:
        """Await `operation`. A generator's context manager would say the same, for 2 us more of every blob's HEAD."""
        began = perf_counter()
        try:
            return await operation
        except _BROKEN:
            self._failed[name]()
            raise
        finally:
            self._took[name](perf_counter() - began)

    async def open(self, key: str) -> ObjectReader:
        """Open an object."""
        return await self._measured("open", self._driver.open(key))

    async def size(self, key: str) -> int:
        """Return an object's size."""
        return await self._measured("size", self._driver.size(key))

    async def delete(self, key: str) -> None:
        """Delete an object."""
        await self._measured("delete", self._driver.delete(key))

    async def delete_many(self, keys: Sequence[str]) -> dict[str, StorageError]:
        """Delete objects: one operation, and as many failures as there are."""
        failed = await self._measured("delete", self._driver.delete_many(keys))
        for error in failed.values():
            if isinstance(error, _BROKEN):
                self._failed["delete"]()
        return failed

    async def create_upload(self, upload_id: str) -> str:
        """Begin an upload."""
        return await self._measured("create_upload", self._driver.create_upload(upload_id))

    async def open_upload(
        self, upload_id: str, state: str, offset: int, hasher: Hasher, *, contested: bool = False
    ) -> UploadWriter:
        """Continue an upload."""
        writer = await self._driver.open_upload(upload_id, state, offset, hasher, contested=contested)
        return _MeasuredWriter(writer, self._publish)

    def objects(self, after: str = "") -> AsyncIterator[StoredObject]:
        """List objects."""
        return self._driver.objects(after)

    def uploads(self) -> AsyncIterator[StoredObject]:
        """List uploads."""
        return self._driver.uploads()

    async def _publish(self, writer: UploadWriter, key: str) -> str:
        with self._part("storage publish"):
            return await self._measured("publish", writer.publish(key))


class _MeasuredWriter:
    """An UploadWriter whose publication is measured."""

    def __init__(self, writer: UploadWriter, publish: Callable[[UploadWriter, str], Awaitable[str]]) -> None:
        self._writer = writer
        self._publish = publish
        self.write = writer.write
        self.append_from = writer.append_from
        self.settle = writer.settle
        self.flush = writer.flush
        self.rewind = writer.rewind
        self.rehash = writer.rehash
        self.discard = writer.discard
        self.close = writer.close

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self._writer.offset

    @property
    def state(self) -> str:
        """What the driver must be given to open this upload again."""
        return self._writer.state

    @property
    def vouched(self) -> bool:
        """Whether what was flushed before opening is certain to be what it was then."""
        return self._writer.vouched

    async def publish(self, key: str) -> str:
        """Make the upload's bytes an object."""
        return await self._publish(self._writer, key)
