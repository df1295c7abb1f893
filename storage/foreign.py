"""What is asked of the storage of another registry while it is taken over: facts, by path. Nothing is written.

Paths are relative to the place where CNCF distribution's layout begins (`storage.distribution.LAYOUT`). Methods take
many at a time, so that a store that is far away can be asked for many at once.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class SmallFile(NamedTuple):
    """A file's content, and when it was last written, in microseconds since the epoch."""

    content: bytes
    modified_at: int


class Unreadable(NamedTuple):
    """Something is there and can't be used. `reason`: a sentence for people."""

    reason: str


class ForeignStorage(Protocol):
    """The files of a registry that may go on serving meanwhile. For a command, not for a server: calls may block."""

    @property
    def place(self) -> str:
        """Where it is, as it is written down: the same text for the same storage."""

    @property
    def at_once(self) -> int:
        """How many repositories are worth reading at once, and of one how many manifests or tags.

        1 where waiting is not what takes the time.
        """

    async def check(self) -> None:
        """Return if this looks like a registry's storage; raise StorageUnavailable, saying why, if not."""

    def folders(self, path: str) -> AsyncIterator[list[str]]:
        """List the names of the folders in a folder, in pages, in any order; nothing if it is not there.

        Symlinks are listed too, and turn out to be unreadable. Raises StorageUnavailable if it can't be listed.
        """

    async def read(self, paths: Sequence[str], limit: int) -> list[SmallFile | Unreadable | None]:
        """Read files whole. None for one that is not there, Unreadable for one of more than `limit` bytes."""

    async def sizes(self, paths: Sequence[str]) -> list[int | Unreadable | None]:
        """Return the sizes of files in bytes, without reading them. None for one that is not there."""

    async def close(self) -> None:
        """Release what is held (threads, connections)."""
