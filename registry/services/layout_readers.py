"""Reading an OCI image layout that a stranger made: a folder, or a tar archive. Nothing of it is ever unpacked."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from storage import beneath
from storage.driver import READ_CHUNK
from storage.errors import StorageError

MOST_FILES = 1_000_000
"""Files of an archive."""
_LONGEST_HEADER = 1024 * 1024
"""Bytes of what tells of a file in an archive: names, times. Python's reader would take as many as there are."""


class LayoutInvalid(Exception):
    """This is no layout, or one that must not be loaded. The message is one line."""


class LayoutReader(Protocol):
    """The files of a layout. Every method may raise LayoutInvalid."""

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, None if it is not there."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read a file that is there, from its beginning to its end."""

    def close(self) -> None:
        """Let go of what is open."""


def read_all(reader: LayoutReader, path: str, limit: int) -> bytes:
    """Return a file's content. Raises LayoutInvalid if it is not there or has more than `limit` bytes."""
    size = reader.size(path)
    if size is None:
        raise LayoutInvalid(f"there is no {path}")
    if size > limit:
        raise LayoutInvalid(f"{path} has {size} bytes, at most {limit} are read")
    return b"".join(reader.chunks(path))


class FolderReader:
    """A layout in a folder. Symlinks in it are refused."""

    def __init__(self, folder: Path) -> None:
        self._root = os.path.realpath(folder)

    def size(self, path: str) -> int | None:
        """Look at a file."""
        try:
            return beneath.size_of(self._root, path)
        except FileNotFoundError:
            return None
        except StorageError as error:
            raise LayoutInvalid(str(error)) from None

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read a file."""
        try:
            descriptor = beneath.open_file(self._root, path)
        except (FileNotFoundError, StorageError) as error:
            raise LayoutInvalid(f"{path} can't be read: {error}") from None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            while chunk := file.read(READ_CHUNK):
                yield chunk

    def close(self) -> None:
        """Nothing is open."""


class _Member(NamedTuple):
    """Where an archive holds a file's bytes."""

    offset: int
    size: int


class ArchiveReader:
    """A layout in a tar archive, plain: not compressed. The file, at its start, is the reader's to close."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            self._members = _members(self._file)
        except BaseException:
            self._file.close()
            raise

    def size(self, path: str) -> int | None:
        """Look at a file."""
        member = self._members.get(path)
        return None if member is None else member.size

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read a file."""
        offset, left = self._members[path]
        while left:
            chunk = os.pread(self._file.fileno(), min(READ_CHUNK, left), offset)
            if not chunk:
                raise LayoutInvalid(f"the archive ends in the middle of {path}")
            yield chunk
            offset, left = offset + len(chunk), left - len(chunk)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _members(file: BinaryIO) -> dict[str, _Member]:
    """List an archive, and refuse what no layout holds."""
    if file.read(2) == b"\x1f\x8b":
        raise LayoutInvalid("the archive is compressed: unpack it with gunzip first")
    file.seek(0)
    found: dict[str, _Member] = {}
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Careful(file)), mode="r:", errorlevel=2) as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # not in the stubs; it would keep them all
                if info.size < 0:
                    raise LayoutInvalid("the archive tells a size below 0")
                if info.isdir():
                    continue
                path = _checked(info)
                if path in found:
                    raise LayoutInvalid(f"the archive holds {path!r} twice")
                if len(found) == MOST_FILES:
                    raise LayoutInvalid(f"the archive holds more than {MOST_FILES} files")
                found[path] = _Member(info.offset_data, info.size)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise LayoutInvalid(f"this is no tar archive that can be read: {str(error) or type(error).__name__}") from None
    return found


def _checked(info: tarfile.TarInfo) -> str:
    """Return the path of a member as a layout names it."""
    if not info.isreg() or info.issparse():
        raise LayoutInvalid(f"{info.name[:200]!r} in the archive is no plain file: links and devices are refused")
    path = info.name.removeprefix("./")
    if path.startswith("/") or ".." in path.split("/"):
        raise LayoutInvalid(f"{info.name[:200]!r} in the archive leads out of it")
    return path


class _Careful:
    """What tarfile reads from: no read beyond a bound, and never back to what was read before."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._furthest = 0

    def read(self, size: int = -1) -> bytes:
        """Read a header."""
        if not 0 <= size <= _LONGEST_HEADER:
            raise LayoutInvalid("the archive tells of a file in more than a mebibyte")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go on."""
        if whence != 0 or offset < self._furthest - tarfile.BLOCKSIZE:
            raise LayoutInvalid("the archive leads back to where it was read already")
        self._furthest = max(self._furthest, offset)
        return self._file.seek(offset)

    def tell(self) -> int:
        """Say where it is."""
        return self._file.tell()
