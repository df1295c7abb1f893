"""Writing an OCI image layout: into a folder, or as a tar archive. What is not finished never has the final name."""

import os
import secrets
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.errors import Unavailable
from registry.oci.layout import INDEX_FILE, MARKER, MARKER_FILE


class TargetExists(Exception):
    """The name is taken: nothing is overwritten."""


class LayoutWriter(Protocol):
    """A layout in the making. Every method raises OSError, and blocks: it is for a command."""

    def begin(self) -> None:
        """Make the place. Raises TargetExists."""

    async def add(self, path: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """Add a file of `size` bytes."""

    async def finish(self, index: bytes) -> None:
        """Add `index.json`, and give everything its final name, durably. Raises TargetExists."""

    def discard(self) -> None:
        """Remove what was written, unless it was finished."""


class FolderWriter:
    """A layout in a folder."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._folder = _beside(target)
        self._made: set[Path] = set()

    def begin(self) -> None:
        """Make a folder beside the target."""
        _check_free(self._target)
        self._folder.mkdir(mode=0o755)

    async def add(self, path: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """Write a file and sync it."""
        file = self._folder / path
        if file.parent not in self._made:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._made.update([file.parent, file.parent.parent])
        with file.open("xb") as stream:
            async for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())

    async def finish(self, index: bytes) -> None:
        """Sync every folder, and rename."""
        for name, content in ((MARKER_FILE, MARKER), (INDEX_FILE, index)):
            await self.add(name, len(content), _once(content))
        for folder in sorted({*self._made, self._folder}, reverse=True):
            _sync(folder)
        _check_free(self._target)
        os.rename(self._folder, self._target)
        _sync(self._target.parent)

    def discard(self) -> None:
        """Remove the folder beside the target."""
        shutil.rmtree(self._folder, ignore_errors=True)


class TarWriter:
    """A layout as a tar archive on a stream; `index.json` comes last, so that a part of an archive is no layout."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def begin(self) -> None:
        """Write what every layout has."""
        self._head(MARKER_FILE, len(MARKER))
        self._stream.write(MARKER)
        self._pad(len(MARKER))

    async def add(self, path: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """Write a file."""
        self._head(path, size)
        written = 0
        async for chunk in chunks:
            self._stream.write(chunk)
            written += len(chunk)
        if written != size:
            raise Unavailable(f"{path} had {written} bytes, {size} were expected")
        self._pad(size)

    async def finish(self, index: bytes) -> None:
        """Write the end."""
        await self.add(INDEX_FILE, len(index), _once(index))
        self._stream.write(bytes(2 * tarfile.BLOCKSIZE))
        self._stream.flush()

    def discard(self) -> None:
        """Leave the stream as it is: it has no `index.json`."""

    def _head(self, path: str, size: int) -> None:
        info = tarfile.TarInfo(path)
        info.size = size
        self._stream.write(info.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, size: int) -> None:
        self._stream.write(bytes(-size % tarfile.BLOCKSIZE))


class ArchiveWriter:
    """A layout as a tar archive in a file."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._file = _beside(target)
        self._stream: BinaryIO | None = None

    def begin(self) -> None:
        """Make a file beside the target."""
        _check_free(self._target)
        self._stream = self._file.open("xb")
        TarWriter(self._stream).begin()

    async def add(self, path: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """Write a file."""
        await TarWriter(self._opened).add(path, size, chunks)

    async def finish(self, index: bytes) -> None:
        """Sync the file, and rename."""
        await TarWriter(self._opened).finish(index)
        os.fsync(self._opened.fileno())
        self._opened.close()
        _check_free(self._target)
        os.rename(self._file, self._target)
        _sync(self._target.parent)

    def discard(self) -> None:
        """Remove the file beside the target."""
        if self._stream is not None:
            self._stream.close()
        self._file.unlink(missing_ok=True)

    @property
    def _opened(self) -> BinaryIO:
        assert self._stream is not None  # noqa: S101 - `begin` comes first
        return self._stream


def _beside(target: Path) -> Path:
    return target.absolute().with_name(f".{target.absolute().name}.partial-{secrets.token_hex(6)}")


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise TargetExists(f"{target} is there already: nothing is overwritten")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
