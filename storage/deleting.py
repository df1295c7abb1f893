"""Deleting many objects, where the store is told of each by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from storage.errors import StorageError

_AT_ONCE = 8


async def delete_each(delete: Callable[[str], Awaitable[None]], keys: Sequence[str]) -> dict[str, StorageError]:
    """Call `delete` with each key, a few at a time. Return what it raised, by key: `BlobDriver.delete_many`."""
    failed: dict[str, StorageError] = {}
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        results = await asyncio.gather(*map(delete, some), return_exceptions=True)
        for key, result in zip(some, results, strict=True):
            if isinstance(result, StorageError):
                failed[key] = result
            elif result is not None:
                raise result
    return failed
