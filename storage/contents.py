"""Content of small objects, kept in memory.

An object never changes and its key is never used twice, so what is kept under a key is right for ever. Whether anybody
may see it, or whether it still exists, is not asked here: that is a fact, and facts are in the database.
"""

from collections import OrderedDict

LARGEST = 64 * 1024
"""Bytes of the largest object that is kept."""

_OVERHEAD = 512
"""Bytes that an entry takes beside its content: key, dictionary, object headers."""


class Contents:
    """The contents used last, by key: at most `room` bytes of memory, those unused for longest go first.

    Attributes:
        hits: how often content was found.
        misses: how often it was not, though it would have been small enough to be.
        used: bytes of memory taken.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self.hits = 0
        self.misses = 0
        self.used = 0

    def takes(self, size: int) -> bool:
        """Say whether an object of `size` bytes would be kept."""
        return size <= LARGEST and size + _OVERHEAD <= self._room

    def get(self, key: str) -> bytes | None:
        """Return the content kept under `key`, or None."""
        content = self._kept.get(key)
        if content is None:
            self.misses += 1
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        return content

    def keep(self, key: str, content: bytes) -> None:
        """Keep `content`, all of the object `key`. What is too large is left alone."""
        if key in self._kept or not self.takes(len(content)):
            return
        self._kept[key] = content
        self.used += len(content) + _OVERHEAD
        while self.used > self._room:
            _, dropped = self._kept.popitem(last=False)
            self.used -= len(dropped) + _OVERHEAD
