"""SQLite: reads inline on the event loop, writes through the one writer of the process.

A read takes about 6 µs, less than handing it to a thread, and what hot statements found is remembered
(`registry.db.sqlite_remembered`). `work` is a coroutine that waits for nothing but its transaction, which here never
waits: one `send(None)` runs it to its end (`registry.db.sqlite_writer`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pysqlite3 as sqlite3

from registry.db.connection import Transaction
from registry.db.inspection import mark_of
from registry.db.reserve import Reserve
from registry.db.sqlite_connection import Connection, Lists, connect, refusal
from registry.db.sqlite_remembered import Remembered
from registry.db.sqlite_writer import Job, Writer
from registry.db.statements import Parameters, Row, Rows, Statement
from registry.errors import Unavailable

T = TypeVar("T")

__all__ = ["SqliteDatabase", "connect"]


class SqliteDatabase(Lists):
    """A Database in one file. `reserve` is the room kept on its disk; none if it is not given."""

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        self._path = path
        self._reserve = Reserve(path, 0) if reserve is None else reserve
        self._reader: Connection | None = None
        self._remembered: Remembered | None = None
        self._writer: Writer | None = None
        self._mark = ""

    async def start(self) -> None:
        """Open the connections and start the writer."""
        self._reserve.make_way()
        try:
            self._reader = Connection(connect(self._path))
            self._reader.raw.execute("SELECT 1 FROM sqlite_schema").fetchall()  # makes a copy's shared memory
            self._remembered = Remembered(self._path)
            writer = Writer(self._path, self._reserve)
            writer.start()
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"the database {self._path} can't be opened: {error}") from error
        self._reserve.start()
        self._mark = mark_of(self._path)  # now: another file may come to lie there, and this one stays open
        self._writer = writer

    async def stop(self) -> None:
        """Commit what waits, then close."""
        if self._writer is not None:
            await self._writer.stop()
            self._writer = None
        if self._reader is not None:
            self._reader.raw.close()
            self._reader = None
            if self._remembered is not None:
                self._remembered.close()
                self._remembered = None
            await asyncio.to_thread(self._reserve.fill)  # with what the log took, or the next start may find no room

    async def check(self) -> None:
        """Ask the file a question that reads it."""
        try:
            self._open_reader().raw.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except sqlite3.Error as error:
            raise refusal(error) from error

    def mark(self) -> str:
        """Return what tells this file from others."""
        return self._mark

    def generation(self) -> bytes | None:
        """Return the header of the shared memory."""
        return None if self._remembered is None else self._remembered.header()

    async def all(self, statement: Statement, **parameters: Any) -> Rows:
        """Return every row."""
        return self._fetch(statement, parameters)

    async def first(self, statement: Statement, **parameters: Any) -> Row | None:
        """Return the first row, or None."""
        if statement.hot and self._remembered is not None:
            return self._remember(self._remembered, statement, parameters)
        rows = self._fetch(statement, parameters)
        return rows[0] if rows else None

    def _remember(self, remembered: Remembered, statement: Statement, parameters: Parameters) -> Row | None:
        key = (statement, *parameters.values())
        row = remembered.find(key)
        if row is None:
            rows = self._fetch(statement, parameters)
            if rows:
                row = rows[0]
                remembered.keep(key, row)
        return row

    def _fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        try:
            return self._open_reader().fetch(statement, parameters)
        except sqlite3.Error as error:
            raise refusal(error) from error

    @property
    def batches(self) -> int:
        """How many transactions the writer has committed since the start."""
        return 0 if self._writer is None else self._writer.batches

    def check_room(self) -> None:
        """Look at the disk, now and then, and at what is kept free there."""
        self._reserve.admit()

    async def write(
        self, work: Callable[[Transaction], Awaitable[T]], *, reserve: bool = False, durable: bool = True
    ) -> T:
        """Hand `work` to the writer and wait until it is committed."""
        if self._writer is None:
            raise Unavailable("the database is closed")
        if not reserve:
            self._reserve.admit()
        job = Job(work, reserve=reserve, durable=durable)
        self._writer.submit(job)
        result: T = await job.future
        return result

    def _open_reader(self) -> Connection:
        if self._reader is None:
            raise Unavailable("the database is closed")
        return self._reader
