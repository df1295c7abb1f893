"""Files that somebody replaces while the server runs."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from auth.errors import AuthError

T = TypeVar("T")

_logger = logging.getLogger("stowage.auth")


class WatchedFile(Generic[T]):
    """What a file says, read again when it changes. While it can't be read, what it said before holds on.

    Args:
        parse: makes the value of the file's bytes; raises an AuthError.

    Raises:
        OSError, AuthError: it can't be read at first.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._parse = parse
        self._read_as = self._stamp()
        self._value = parse(path.read_bytes())

    async def value(self) -> T:
        """Return what it says now."""
        try:
            stamp = self._stamp()
            if stamp == self._read_as:
                return self._value
            self._read_as = stamp  # said once if it makes no sense
            self._value = self._parse(await asyncio.to_thread(self._path.read_bytes))
        except (OSError, AuthError) as error:
            _logger.warning("%s can't be read, what it said before holds on: %s", self._path, error)
        return self._value

    def _stamp(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
