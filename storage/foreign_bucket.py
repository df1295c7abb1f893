"""The storage of another registry in a bucket: CNCF distribution's driver `s3`.

Importing this imports boto3, which takes a third of a second.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from storage.distribution import LAYOUT
from storage.errors import ObjectMissing, StorageUnavailable
from storage.foreign import SmallFile, Unreadable
from storage.s3_bucket import Bucket
from storage.s3_client import make_client
from storage.s3_errors import code_of
from storage.s3_options import S3Options
from storage.s3_reader import open_object
from storage.threads import Threads, ended

_OF_ONE_OBJECT = frozenset({"AccessDenied", "403", "InvalidObjectState"})
"""What a store answers that is about one object: no right to read it, or it lies in an archive."""

Result = TypeVar("Result")


class ForeignBucket:
    """Objects below a prefix. Small ones are asked for in parallel, by as many threads as `options` allow.

    Args:
        place: where it is, as it is written down.
        options: of the bucket; the prefix is that of the other registry with LAYOUT after it.

    Raises:
        StorageUnavailable: no client can be made: no such profile, a malformed address.
    """

    at_once = 4

    def __init__(self, place: str, options: S3Options) -> None:
        self.place = place
        self._options = options
        self._bucket = Bucket(make_client(options), options)
        self._threads = Threads(options.threads)

    async def close(self) -> None:
        """End the threads and close the connections."""
        await self._threads.close()
        self._bucket.close()

    async def check(self) -> None:
        """Look for the two folders that every such storage has once something was pushed."""
        for name in ("repositories/", "blobs/"):
            found, _ = await self._threads.run(self._bucket.page, name, "", 1)
            if not found:
                raise StorageUnavailable(await self._threads.run(self._explain_missing))

    async def folders(self, path: str) -> AsyncIterator[list[str]]:
        """List what is below a prefix up to the next slash, in the order of the store."""
        token, more = "", True
        while more:
            names, token = await self._threads.run(self._bucket.folders, f"{path}/", token)
            more = bool(token)
            yield [name for name in names if name]

    async def read(self, paths: Sequence[str], limit: int) -> list[SmallFile | Unreadable | None]:
        """Read objects whole, in parallel."""
        return await self._each(lambda path: self._read(path, limit), paths)

    async def sizes(self, paths: Sequence[str]) -> list[int | Unreadable | None]:
        """Look at objects, in parallel."""
        return await self._each(lambda path: self._bucket.head(path, path).size, paths)

    async def _each(self, function: Callable[[str], Result], paths: Sequence[str]) -> list[Result | Unreadable | None]:
        futures = [self._threads.submit(_found, function, path) for path in paths]
        await ended(*futures)
        failed = [error for future in futures if (error := future.exception()) is not None]
        if failed:
            raise failed[0]
        return [future.result() for future in futures]

    def _read(self, path: str, limit: int) -> SmallFile | Unreadable:
        found, content = open_object(self._bucket, path, path, limit)
        if found.size > limit:
            return Unreadable(f"{path} has {found.size} bytes, at most {limit} are read")
        return SmallFile(content, round(found.modified_at * 1_000_000))

    def _explain_missing(self) -> str:
        where = f"below {self._options.prefix} in the {self._options.place}"
        message = f"there is no registry: no repositories and blobs {where}"
        root = self._options.prefix.removesuffix(LAYOUT).rstrip("/")
        if root.endswith(LAYOUT):
            bucket, above = self._options.bucket, root.removesuffix(LAYOUT).strip("/")
            return f"{message}. Did you mean s3://{bucket}/{above}?"
        return message


def _found(function: Callable[[str], Result], path: str) -> Result | Unreadable | None:
    try:
        return function(path)
    except ObjectMissing:
        return None
    except StorageUnavailable as error:
        if code_of(error.__cause__) in _OF_ONE_OBJECT:
            return Unreadable(str(error))
        raise
