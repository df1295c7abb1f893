"""The storage of another registry in a folder: CNCF distribution's driver `filesystem`."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from storage import beneath
from storage.distribution import LAYOUT
from storage.errors import StorageUnavailable
from storage.filesystem_files import read_exactly
from storage.foreign import SmallFile, Unreadable

_PAGE = 500


class ForeignFolder:
    """Files below `root`, the `rootdirectory` of the other registry. Every call blocks until the disk has answered."""

    at_once = 1

    def __init__(self, root: Path) -> None:
        self.place = os.path.realpath(root)
        self._given = root
        self._root = os.path.join(self.place, LAYOUT)

    async def check(self) -> None:
        """Look for the two folders that every such storage has once something was pushed."""
        for name in ("repositories", "blobs"):
            try:
                os.close(beneath.open_folder(self.place, f"{LAYOUT}/{name}"))
            except FileNotFoundError:
                raise StorageUnavailable(self._explain_missing()) from None

    async def folders(self, path: str) -> AsyncIterator[list[str]]:
        """List folders, in the order of the disk."""
        try:
            descriptor = beneath.open_folder(self._root, path)
        except FileNotFoundError:
            return
        try:
            with os.scandir(descriptor) as entries:
                while page := _take_page(path, entries):
                    yield [name for name in page if name]
        finally:
            os.close(descriptor)

    async def read(self, paths: Sequence[str], limit: int) -> list[SmallFile | Unreadable | None]:
        """Read files whole."""
        return [self._read(path, limit) for path in paths]

    async def sizes(self, paths: Sequence[str]) -> list[int | Unreadable | None]:
        """Look at files."""
        return [self._size(path) for path in paths]

    async def close(self) -> None:
        """Hold nothing."""

    def _read(self, path: str, limit: int) -> SmallFile | Unreadable | None:
        try:
            descriptor = beneath.open_file(self._root, path)
        except FileNotFoundError:
            return None
        except StorageUnavailable as error:
            return Unreadable(str(error))
        try:
            found = os.fstat(descriptor)
            if found.st_size > limit:
                return Unreadable(f"{path} has {found.st_size} bytes, at most {limit} are read")
            content = read_exactly(descriptor, 0, found.st_size, path)
        except StorageUnavailable as error:
            return Unreadable(str(error))
        finally:
            os.close(descriptor)
        return SmallFile(content, found.st_mtime_ns // 1000)

    def _size(self, path: str) -> int | Unreadable | None:
        try:
            return beneath.size_of(self._root, path)
        except FileNotFoundError:
            return None
        except StorageUnavailable as error:
            return Unreadable(str(error))

    def _explain_missing(self) -> str:
        message = f"{self._given} holds no registry: there is no folder {LAYOUT} with repositories and blobs in it"
        for name in (self.place, os.path.join(self.place, "v2")):
            if os.path.isdir(os.path.join(name, "repositories")) and name.endswith(f"/{LAYOUT}"):
                return f"{message}. Did you mean {name.removesuffix(LAYOUT).rstrip('/') or '/'}?"
        return message


def _take_page(path: str, entries: Iterator[os.DirEntry[str]]) -> list[str]:
    """Return the next names, empty ones for what is neither folder nor symlink; nothing at the end."""
    page: list[str] = []
    try:
        for entry in entries:
            page.append(entry.name if entry.is_symlink() or entry.is_dir(follow_symlinks=False) else "")
            if len(page) == _PAGE:
                break
    except OSError as error:
        raise StorageUnavailable(f"cannot list {path}: {error.strerror}") from error
    return page
