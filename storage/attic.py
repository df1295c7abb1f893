"""What a store keeps beside its content: files that belong to the registry itself, such as copies of its database."""

import re
from pathlib import Path
from typing import Protocol

from storage.driver import StoredObject
from storage.errors import InvalidKey

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}\Z")


class Attic(Protocol):
    """Files by name. They lie outside of objects and uploads: no listing of those shows them.

    A name is 200 characters of `[a-z0-9._-]` at most, the first a letter or digit; every method raises InvalidKey for
    another, and StorageUnavailable. Methods may be called concurrently, for different names.
    """

    async def put(self, name: str, source: Path) -> None:
        """Store a file of this machine, durably, whatever had the name before. `source` may be gone afterwards.

        The name has all of the new content or is as it was, whenever this ends. Raises StorageFull.
        """

    async def get(self, name: str, target: Path) -> None:
        """Copy a file to `target`, which must not exist, and does not if this raises.

        Raises ObjectMissing, StorageFull. Whether `target` is durable is the caller's business.
        """

    async def remove(self, name: str) -> None:
        """Remove a file, durably. Removing one that is not there is no error."""

    async def files(self) -> list[StoredObject]:
        """List all files, by name."""


def check_name(name: str) -> str:
    """Return `name` if it is one. Raises InvalidKey if it is not."""
    if not is_name(name):
        raise InvalidKey(f"not a name of a file beside content: {name[:160]!r}")
    return name


def is_name(name: str) -> bool:
    """Say whether a file may be called so."""
    return _NAME.match(name) is not None
