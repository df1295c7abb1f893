"""A connection to SQLite: this project's pragmas, statements run inline, errors in the project's own terms."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pysqlite3 as sqlite3

from registry.db.statements import Parameters, Row, Rows, Statement
from registry.errors import NoSpace, Unavailable

_BUSY_TIMEOUT_S = 10.0
_IOERR_SHMSIZE = sqlite3.SQLITE_IOERR | 19 << 8  # the file beside the log could not grow
_SETUP = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32768",
)


def connect(path: Path) -> Any:
    """Open a connection with this project's pragmas, in autocommit mode. Raises sqlite3.Error."""
    raw = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    for pragma in _SETUP:
        raw.execute(pragma)
    return raw


def refusal(error: sqlite3.Error) -> Unavailable:
    """Translate an error of SQLite: full disk, or anything else that is not the request's fault."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and (code & 0xFF == sqlite3.SQLITE_FULL or code == _IOERR_SHMSIZE):
        return NoSpace("the database's disk is full")
    return Unavailable(f"the database failed: {error}")


def is_busy(error: sqlite3.Error) -> bool:
    """Say whether another connection holds the lock that was asked for."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


def is_io_error(error: sqlite3.Error) -> bool:
    """Say whether the disk failed, a full one included that SQLite calls a failed one."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_IOERR


class Lists:
    """How lists become parameters of `statements.one_of`."""

    def encode_list(self, values: Sequence[str] | Sequence[int]) -> str:
        """Encode for json_each."""
        return json.dumps(values)


class Connection(Lists):
    """A Transaction (or a Reader) on one connection of SQLite. Not to be used by two threads at once."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._cursor = raw.cursor()  # one is enough: what it finds is read to the end at once

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        """Return every row, at once. Raises sqlite3.Error."""
        rows: Rows = self._cursor.execute(statement.sqlite, parameters).fetchall()
        return rows

    async def all(self, statement: Statement, **parameters: Any) -> Rows:
        """Return every row."""
        return self.fetch(statement, parameters)

    async def first(self, statement: Statement, **parameters: Any) -> Row | None:
        """Return the first row, or None."""
        rows = self.fetch(statement, parameters)
        return rows[0] if rows else None

    async def run(self, statement: Statement, **parameters: Any) -> int:
        """Run a statement and return how many rows it touched."""
        touched: int = self._cursor.execute(statement.sqlite, parameters).rowcount
        return touched

    async def run_many(self, statement: Statement, rows: list[Parameters]) -> None:
        """Run a statement once for each set of parameters."""
        self._cursor.executemany(statement.sqlite, rows)
