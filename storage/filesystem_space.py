"""How much room a disk has: what grows is refused before the disk is full.

Deleting needs room too, for a journal if for nothing else. So a reserve stays free, and only what makes room may
go on when the disk has come that far.
"""

import os
import time

from storage.errors import StorageFull

_SHARE = 16
_LOOK_S = 1.0


class Space:
    """The free space of the filesystem that holds `folder`, and how much of it is a reserve.

    Asking the kernel at every write would cost more than the write of a small blob. So after each look a sixteenth of
    what is left may be taken before the next, within a second: several processes that write at once still stop at the
    reserve, and where little is left every write looks. While nothing is left every call looks, so that what grows goes
    on as soon as there is room again.

    `reserve` in bytes may be changed at any time; 0 asks for no reserve. For one thread.
    """

    def __init__(self, folder: str, reserve: int) -> None:
        self.reserve = reserve
        self._folder = folder
        self._budget = -1
        self._look_at = 0.0

    def admit(self, size: int = 0) -> None:
        """Return if `size` bytes more leave the reserve alone.

        Raises:
            StorageFull: they don't.
        """
        self._budget -= size
        if self.reserve and (self._budget < 0 or time.monotonic() >= self._look_at):
            self._look(size)

    def free(self) -> int | None:
        """Return how many bytes are free; None if nobody knows."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return None
        # A filesystem without a limit (tmpfs can be one) says that it has no blocks at all.
        return found.f_bavail * found.f_frsize if found.f_blocks else None

    def beyond_reserve(self) -> int | None:
        """Return how many bytes are free beyond the reserve, negative where it is touched; None if nobody knows."""
        free = self.free()
        return None if free is None else free - self.reserve

    def _look(self, size: int) -> None:
        left = self.beyond_reserve()
        if left is None:
            return  # what is tried next says what is wrong
        if left < size:
            self._budget = -1
            raise StorageFull("the disk is full but for a reserve: what makes room is accepted, nothing else")
        self._budget = (left - size) // _SHARE
        self._look_at = time.monotonic() + _LOOK_S
