"""What hot statements found, remembered for as long as nothing was committed, by any process.

SQLite keeps the state of its log in memory that all its processes share: the file beside the database that ends in
`-shm` begins with a header that every commit changes, and that every reader goes by (https://sqlite.org/walformat.html,
section 2.1). As long as it is the same, a statement finds the same. To compare it takes a third of a microsecond, to
ask SQLite takes ten (`PRAGMA data_version`, the documented way to learn of commits, takes eight).
"""

import mmap
import os
from pathlib import Path
from typing import Any

from registry.db.statements import Row

Key = tuple[Any, ...]
"""A statement and the values of its parameters."""

_HEADER_BYTES = 96  # the header and its copy
_MOST_BYTES = 8 * 1024**2
_LARGEST = 64 * 1024
_ROW_BYTES = 512
"""About what a row takes besides its longest value."""


class Remembered:
    """Rows of one database. Made when a connection of this process has opened it, in WAL mode.

    To be closed after the process's last connection, never before: closing any descriptor of a file drops all locks
    that the process has on it (fcntl(2)), those of SQLite included.
    """

    def __init__(self, database: Path) -> None:
        self._descriptor = os.open(f"{database}-shm", os.O_RDONLY | os.O_CLOEXEC)
        self._shared = mmap.mmap(self._descriptor, _HEADER_BYTES, prot=mmap.PROT_READ)
        self._rows: dict[Key, Row] = {}
        self._used = 0
        self._header = b""

    def header(self) -> bytes:
        """Return what every commit changes."""
        return self._shared[:_HEADER_BYTES]

    def find(self, key: Key) -> Row | None:
        """Return the row that the statement finds now, if it is known."""
        header = self._shared[:_HEADER_BYTES]
        if header == self._header:
            return self._rows.get(key)
        self._header = header
        self._forget()
        return None

    def keep(self, key: Key, row: Row) -> None:
        """Remember what the statement found. `find` has looked for it just before: a commit since then is noticed."""
        longest = row[-1]
        size = _ROW_BYTES + (len(longest) if isinstance(longest, bytes) else 0)
        if size > _LARGEST:
            return
        if self._used + size > _MOST_BYTES:
            self._forget()
        self._rows[key] = row
        self._used += size

    def _forget(self) -> None:
        if self._rows:
            self._rows = {}
            self._used = 0

    def close(self) -> None:
        """Let go of the shared memory."""
        self._shared.close()
        os.close(self._descriptor)
