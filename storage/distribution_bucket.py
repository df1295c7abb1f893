"""A driver that serves blobs from where they lie in the storage of CNCF distribution in a bucket.

Importing this imports boto3, which takes a third of a second.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from storage.deleting import delete_each
from storage.distribution import ForeignDriver, checked, is_key
from storage.driver import StoredObject
from storage.errors import ObjectMissing, StorageError, StorageUnavailable
from storage.s3_bucket import Bucket, Found
from storage.s3_client import make_client
from storage.s3_options import S3Options
from storage.s3_reader import Allowance, S3Reader, open_object
from storage.s3_signing import Signer
from storage.threads import Threads

_BLOBS = "blobs/"
_LIST_EVERY_S = 60.0
"""Listing costs ten times what other requests do, where requests cost something."""
_READ_AHEAD = 64
"""Chunks of 1 MiB that all pulls of a driver together read ahead, beside one each."""


class DistributionBucketDriver(ForeignDriver):
    """A BlobDriver for blobs that another registry has stored in S3.

    Args:
        name: of the store.
        options: of the bucket; the prefix is that of the other registry with `storage.distribution.LAYOUT` after it.
        may_delete: asked before each deletion; while it says no, `delete` raises StorageUnavailable.

    Raises:
        StorageUnavailable: no client can be made: no such profile, a malformed address.
    """

    def __init__(self, name: str, options: S3Options, may_delete: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(name, may_delete)
        self._options = options
        self._bucket = Bucket(make_client(options), options)
        self._signer = Signer(options)
        self._threads = Threads(options.threads)
        self._allowance = Allowance(_READ_AHEAD)
        self._seen_at = -_LIST_EVERY_S

    @property
    def redirects(self) -> bool:
        """Whether `address` ever returns one."""
        return self._options.redirection.enabled

    async def start(self) -> None:
        """Like `check`."""
        await self.check()

    async def check(self) -> None:
        """Ask for the bucket, and once a minute for the first blob. Raises StorageUnavailable."""
        await self._threads.run(self._look)

    async def close(self) -> None:
        """End the threads. Readers must be closed before."""
        await self._threads.close()
        self._bucket.close()

    async def open(self, key: str) -> S3Reader:
        """Open an object, and take its first bytes. Raises ObjectMissing, InvalidKey, StorageUnavailable."""
        found, first = await self._threads.run(self._open, checked(key))
        return S3Reader(self._bucket, self._threads, self._allowance, key, found, first)

    async def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises like `open`."""
        return await self._threads.run(self._size, checked(key))

    async def address(self, key: str, client: str) -> str | None:
        """Return a signed URL, unless redirecting is off or off for this client. Raises InvalidKey."""
        checked(key)
        if not self._signer.serves(client):
            return None
        return await self._threads.run(self._signer.sign, key)

    async def delete(self, key: str) -> None:
        """Delete an object. Raises InvalidKey, and StorageUnavailable while the takeover is not finished."""
        await self.check_deletable(key)
        await self._threads.run(self._bucket.delete, key, key)

    async def delete_many(self, keys: Sequence[str]) -> dict[str, StorageError]:
        """Delete objects, a few at a time. Return what could not be deleted, and why."""
        return await delete_each(self.delete, keys)

    async def objects(self, after: str = "") -> AsyncIterator[StoredObject]:
        """List objects by key, those of manifests too, a page at a time."""
        last, more = after, True
        while more:
            page, more = await self._threads.run(self._bucket.page, _BLOBS, last)
            for found in page:
                last = found.name
                if is_key(found.name) and found.name > after:
                    yield StoredObject(found.name, found.size, found.modified_at)

    def _look(self) -> None:
        if time.monotonic() - self._seen_at < _LIST_EVERY_S:
            self._bucket.look()
            return
        self._check_there()
        self._seen_at = time.monotonic()

    def _open(self, key: str) -> tuple[Found, bytes]:
        try:
            return open_object(self._bucket, key, key)
        except ObjectMissing:
            self._check_there()
            raise

    def _size(self, key: str) -> int:
        try:
            return self._bucket.head(key, key).size
        except ObjectMissing:
            self._check_there()
            raise

    def _check_there(self) -> None:
        """Raise StorageUnavailable if the whole store is gone, or the bucket is another: then nothing is missing."""
        found, _ = self._bucket.page(_BLOBS, "", 1)
        if not found:
            raise StorageUnavailable(
                f"there are no blobs below {self._options.prefix} in the {self._options.place}: is it the right one?"
            )
