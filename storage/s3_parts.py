"""The bytes of a part while they come in: in memory that all uploads share, or where that is used up, in a file."""

import io
import tempfile
from collections.abc import Iterator
from typing import IO, cast

from storage.digest import Hasher
from storage.s3_options import LARGEST_PART, SMALLEST_PART
from storage.threads import BUFFER_SIZE, BufferPool

SMALL = 64 * 1024
"""Bytes that an upload may hold without taking from what is shared."""

_GROWS_AFTER = 900
_STEP = 1024 * 1024


def size_of_part(number: int, base: int) -> int:
    """Return how large a part should be: twice as large after each 900, so that the most of them reach 5 TiB."""
    return max(SMALLEST_PART, min(base << (number - 1) // _GROWS_AFTER, LARGEST_PART))


class Collected:
    """Bytes in the order in which they came.

    First in a small buffer of their own, then in blocks from the pool, or in a file without a name (`to_file`). Only
    the methods that say so block.
    """

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self._small = bytearray()
        self._blocks: list[memoryview] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    @property
    def in_file(self) -> bool:
        """Whether the bytes are in a file."""
        return self._file is not None

    def room(self) -> int:
        """Return how many bytes can be added without another block; for a file without end, one block's."""
        if self._file is not None:
            return BUFFER_SIZE
        return len(self._blocks) * BUFFER_SIZE - self.size if self._blocks else SMALL - self.size

    def grow(self) -> bool:
        """Take a block more. Return False if there is none."""
        block = self._pool.take()
        if block is None:
            return False
        if not self._blocks:
            block[: self.size] = self._small
            self._small = bytearray()
        self._blocks.append(block)
        return True

    def view(self) -> memoryview:
        """Return the rest of the last block, to be filled. There must be a block, with room."""
        return self._blocks[-1][self.size - (len(self._blocks) - 1) * BUFFER_SIZE :]

    @property
    def has_block(self) -> bool:
        """Whether `view` may be called, if there is room."""
        return bool(self._blocks)

    def add(self, data: memoryview) -> None:
        """Add bytes for which there is room; not for a file."""
        if self._blocks:
            self.view()[: data.nbytes] = data
        else:
            self._small += data
        self.size += data.nbytes

    def filled(self, count: int) -> None:
        """Count what was put into `view`."""
        self.size += count

    def to_file(self) -> None:
        """Move everything to a file, and give the blocks back by `release`. Blocks. Raises OSError."""
        file = cast("IO[bytes]", tempfile.TemporaryFile(prefix="stowage-"))  # noqa: SIM115 - closed by `release`
        try:
            for piece in self.pieces(0, self.size):
                file.write(piece)
        except BaseException:
            file.close()
            raise
        self._file = file

    def give_blocks(self) -> None:
        """Give the blocks back, once `to_file` has ended."""
        self._small = bytearray()
        while self._blocks:
            self._pool.give(self._blocks.pop())

    def write(self, data: bytes | memoryview, hasher: Hasher) -> None:
        """Add bytes to the file, and hash them. Blocks. Raises OSError."""
        assert self._file is not None  # noqa: S101 - the caller looked
        self._file.seek(self.size)
        self._file.write(data)
        hasher.update(data)
        self.size += len(data)

    def pieces(self, start: int, end: int) -> list[memoryview]:
        """Return the bytes between two positions, as they lie. Blocks where they are in a file."""
        if self._file is not None:
            self._file.seek(start)
            return [memoryview(self._file.read(end - start))]
        if not self._blocks:
            return [memoryview(bytes(self._small[start:end]))]
        found = []
        while start < end:
            block, within = divmod(start, BUFFER_SIZE)
            count = min(BUFFER_SIZE - within, end - start)
            found.append(self._blocks[block][within : within + count])
            start += count
        return found

    def each(self) -> Iterator[memoryview]:
        """Yield all bytes as they lie, never much of a file at once. Blocks where they are in one."""
        for start in range(0, self.size, _STEP):
            yield from self.pieces(start, min(start + _STEP, self.size))

    def content(self) -> bytes:
        """Return everything as one. Blocks where it is in a file."""
        return b"".join(self.pieces(0, self.size))

    def cut(self, size: int) -> None:
        """Forget what follows the first `size` bytes."""
        self.size = size
        if self._file is None and not self._blocks:
            del self._small[size:]
        keep = -(-size // BUFFER_SIZE)
        while len(self._blocks) > max(keep, 1):
            self._pool.give(self._blocks.pop())

    def body(self) -> bytes | IO[bytes]:
        """Return what boto3 sends: large parts without copying them."""
        if self._file is not None:
            self._file.flush()
            self._file.seek(0)
            self._file.truncate(self.size)
            return self._file
        if not self._blocks:
            return bytes(self._small)
        return cast("IO[bytes]", _Body(self.pieces(0, self.size), self.size))

    def release(self) -> None:
        """Give back all that is held. No thread may use it any more."""
        self.give_blocks()
        if self._file is not None:
            self._file.close()
            self._file = None
        self.size = 0


class _Body:
    """A file to be read, made of pieces.

    `read` gives a piece at a time, however little was asked for: who sends it would ask for slices of 16 KiB.
    """

    def __init__(self, pieces: list[memoryview], size: int) -> None:
        self._pieces = pieces
        self._next = 0
        self._size = size

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes | memoryview:
        """Return the next piece, empty at the end."""
        if self._next == len(self._pieces):
            return b""
        self._next += 1
        return self._pieces[self._next - 1]

    def tell(self) -> int:
        """Return the position: always between two pieces."""
        return sum(piece.nbytes for piece in self._pieces[: self._next])

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to the start, which is what a repeated attempt needs, to the end, or back to where `tell` was."""
        if whence == io.SEEK_END:
            self._next = len(self._pieces)
            return self._size
        position, self._next = 0, 0
        while position < offset:
            position += self._pieces[self._next].nbytes
            self._next += 1
        return position


class Deaf:
    """A hasher that hears nothing: for bytes that were hashed before."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take nothing in."""

    def hexdigest(self) -> str:
        """Return nothing: nobody asks."""
        return ""

    def copy(self) -> "Deaf":
        """Return itself."""
        return self
