"""Room on the database's disk for what must work when it is full: deleting, cancelling, collecting, logging in."""

import logging
import os
from pathlib import Path

from registry.errors import NoSpace, Unavailable
from storage.errors import StorageFull
from storage.filesystem_space import Space

logger = logging.getLogger("stowage.database")

_TRANSACTION_BYTES = 64 * 1024
_PIECES = 16
_SMALLEST_PIECE = 128 * 1024
_STEP = 64 * 1024
_SHARE = 16
_LEAST = 4 * 1024 * 1024
"""About what the log takes before it is shortened: so much of a full disk is taken back when a process stops."""
_TO_OPEN = 128 * 1024
"""SQLite needs files of its own beside the database (the log, its index) before it can be read at all."""


def is_full(folder: Path) -> bool:
    """Say whether there is next to no room: SQLite calls what fails then an I/O error as often as a full disk."""
    return (Space(str(folder), _TO_OPEN).beyond_reserve() or 0) < 0


class Reserve:
    """Room kept in two ways, `size` bytes each; 0 keeps none.

    What grows is refused while less than `size` is free. And since other programs fill disks too, a file of that size
    lies beside the database. It is given up piece by piece to transactions that may draw on it, and made whole again
    as soon as there is room, before anything may grow. Several processes may share the file.

    `admit` is for the event loop; the other methods block and are for one thread at a time.
    """

    def __init__(self, database: Path, size: int) -> None:
        self._file = database.with_name(f"{database.name}.reserve")
        self._size = size
        self._missing = 0
        self._space = Space(str(database.parent), size)

    def admit(self) -> None:
        """Return if a transaction that grows may begin.

        Raises:
            NoSpace: it would take what is kept.
        """
        try:
            self._space.admit(_TRANSACTION_BYTES)
        except StorageFull as error:
            raise NoSpace(f"the database: {error}") from None

    @property
    def incomplete(self) -> bool:
        """Whether a piece of the file is missing."""
        return self._missing > 0

    def make_way(self) -> None:
        """Before the database is opened: leave it the little that it needs."""
        while is_full(self._file.parent) and self.give():
            pass

    def relieves(self, error: BaseException | None) -> bool:
        """Say whether `error`, of a transaction that came to nothing, is one that more room would have spared."""
        return isinstance(error, NoSpace) or (isinstance(error, Unavailable) and is_full(self._file.parent))

    def give(self) -> bool:
        """Give up a piece of the file. Return False if there is nothing left to give."""
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            there = os.fstat(descriptor).st_size
            left = max(0, there - max(_SMALLEST_PIECE, self._size // _PIECES))
            os.ftruncate(descriptor, left)
            os.fsync(descriptor)  # a journalling filesystem reuses blocks once it has written that they are free
        except OSError as error:
            logger.error("%s could not be given up: %s", self._file, error)
            return False
        finally:
            os.close(descriptor)
        self._note(left)
        if there:
            logger.warning("the database's disk is full: %d bytes of %s were given up", there - left, self._file)
        return there > 0

    def tend(self) -> None:
        """Make the file whole if there is room for it beyond what stays free. Costs nothing while it is whole."""
        if self._missing and (self._space.beyond_reserve() or 0) >= 0:
            self._make(self._size)

    def start(self) -> None:
        """Look at what there is of the file, and make it whole if there is room."""
        if self._size == 0:
            self._file.unlink(missing_ok=True)
            return
        if self._file.exists():
            if self._file.stat().st_size > self._size:
                os.truncate(self._file, self._size)
            self._note(_held(self._file.stat()))
        else:
            self._note(0)
        self.tend()
        if self._missing:
            logger.warning(
                "the database's disk has too little room: database.reserve asks for %d bytes to stay free and %d more "
                "for %s, and %d are free; only what makes room will be accepted",
                self._size,
                self._missing,
                self._file,
                self._space.free() or 0,
            )

    def fill(self) -> None:
        """Take for the file what room there is, before the process stops and others fill the disk.

        The log has just left some, which the next start will need. More than that is not taken, or than a sixteenth of
        the room: where the setting asks for more than the disk has, that would leave other programs nothing.
        """
        if self._missing == 0:
            return
        there, free = self._size - self._missing, self._space.free()
        self._make(self._size if free is None else max(_LEAST, (there + free) // _SHARE))

    def _make(self, size: int) -> None:
        """Make the file so large, or as large as there is room for. Another process may have made it larger."""
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self._note(_allocate(descriptor, min(self._size, max(size, _held(os.fstat(descriptor))))))
            finally:
                os.close(descriptor)
        except OSError as error:
            logger.error("%s can't be made: %s", self._file, error)

    def _note(self, there: int) -> None:
        self._missing = max(0, self._size - there)
        self._space.reserve = self._size + self._missing if self._size else 0


def _held(found: os.stat_result) -> int:
    """Return how much room a file really takes, up to its end: a copy of it may be all holes."""
    return min(found.st_size, found.st_blocks * 512)


def _allocate(descriptor: int, size: int) -> int:
    """Allocate from the front, and cut off what could not be had. Return how much there is."""
    there = 0
    while there < size:
        step = min(_STEP, size - there)
        try:
            os.posix_fallocate(descriptor, there, step)
        except OSError:
            break
        there += step
    os.ftruncate(descriptor, there)
    return there
