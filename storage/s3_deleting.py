"""Deleting many objects of a bucket with few requests, where the store takes them (DeleteObjects of the S3 API)."""

from botocore.exceptions import ClientError

from storage.errors import InvalidKey, StorageError, StorageUnavailable
from storage.keys import check_key
from storage.s3_bucket import OBJECTS, Bucket
from storage.s3_errors import REFUSED, code_of, explanation
from storage.threads import Threads

MOST = 1000
"""As many names as one request may have."""
_NOT_TAKEN = frozenset({400, 405, 411, 501})
"""What stores answer that do not know the request, or want another checksum of it than boto3 sends."""


class Deleter:
    """Deletes, and remembers whether the store takes many names at once. For threads of the driver."""

    def __init__(self, bucket: Bucket, threads: Threads) -> None:
        self._bucket = bucket
        self._threads = threads
        self.takes_many = True

    async def delete(self, key: str) -> None:
        """Delete an object. Raises InvalidKey, StorageUnavailable."""
        await self._threads.run(self._bucket.delete, OBJECTS + check_key(key), key)

    async def try_many(self, keys: list[str]) -> dict[str, StorageError] | None:
        """Delete up to MOST objects. Return what failed, by key; None if the store takes no such request."""
        failed: dict[str, StorageError] = {}
        names: dict[str, str] = {}
        for key in keys:
            try:
                names[OBJECTS + check_key(key)] = key
            except InvalidKey as error:
                failed[key] = error
        try:
            refused = await self._threads.run(self._bucket.delete_many, list(names)) if names else {}
        except StorageUnavailable as error:
            if _is_not_taken(error.__cause__):
                self.takes_many = False
                return None
            return failed | dict.fromkeys(names.values(), error)
        for name, code in refused.items():
            key = names[name]
            failed[key] = StorageUnavailable(f"cannot delete {key}: {explanation(code)}")
        return failed


def _is_not_taken(error: BaseException | None) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(error, ClientError) else 0
    return status in _NOT_TAKEN and code_of(error) not in REFUSED
