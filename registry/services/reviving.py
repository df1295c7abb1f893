"""Bringing back manifests that were deleted, whole: with their blobs, and the children that were deleted after them.

Collection may be about to remove them: both hold the repository, and collection asks again once it does. What is
brought back is taken from its queue, or queued anew, so that no time before counts against it.
"""

from collections.abc import Collection

from registry.db import candidates, hidden
from registry.db.candidates import Cause, Kind
from registry.db.connection import Reader, Transaction
from registry.services.counting import Counting


class Buried:
    """Hidden manifests, and the hidden ones below them, which come back with them. For one transaction."""

    def __init__(self) -> None:
        self._children: dict[int, list[int]] = {}
        self._damaged: dict[int, str] = {}

    async def look(self, reader: Reader, manifest_ids: Collection[int]) -> None:
        """Find out what is below some manifests: a few statements for all of them."""
        new = sorted(set(manifest_ids) - self._children.keys())
        while new:
            self._children |= {one: [] for one in new}
            for parent, child in await hidden.children(reader, new):
                self._children[parent].append(child)
            self._damaged |= await hidden.damaged(reader, new)
            new = sorted({child for one in new for child in self._children[one]} - self._children.keys())

    def obstacle(self, manifest_id: int) -> str | None:
        """Return why a manifest that was looked at can't be brought back, in words, or None if it can."""
        for one in self._whole([manifest_id]):
            if one in self._damaged:
                return f"its blob {self._damaged[one]} is damaged, and in quarantine"
        return None

    async def revive(self, transaction: Transaction, counted: Counting, manifest_ids: Collection[int]) -> None:
        """Have manifests that were looked at seen again, with all that they refer to.

        The transaction holds the repository.
        """
        found = self._whole(manifest_ids)
        if not found:
            return
        await hidden.show_many(transaction, counted.repository_id, found)
        await candidates.settle_many(transaction, counted.repository_id, found)
        await candidates.add_many(transaction, Kind.MANIFEST, counted.repository_id, found, Cause.UNTAGGED)
        for one in found:
            await counted.touched(transaction, one)

    def _whole(self, manifest_ids: Collection[int]) -> list[int]:
        """Return manifests and all that are hidden below them."""
        found: set[int] = set()
        waiting = list(manifest_ids)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self._children[one]
        return sorted(found)
