"""A Database that is measured: how long writes take until they are committed, and one read a second.

To measure a read takes a fifth of what it takes to read, so the others go straight to the database.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, TypeVar

from registry.db.connection import Database, Transaction
from registry.db.statements import Row, Rows, Statement
from registry.errors import Unavailable
from registry.metrics.figures import Figures

T = TypeVar("T")
Part = Callable[[str], AbstractContextManager[Any]]


class MeasuredDatabase:
    """Passes everything on to `database`.

    Args:
        part: spans a write, for traces.
    """

    def __init__(self, database: Database, figures: Figures, part: Part) -> None:
        self._database = database
        self._part = part
        self._read = figures.duration("database_read_duration_seconds")
        figures.every_second(self._measure_next)
        self._written = figures.duration("database_write_duration_seconds")
        self._write_failed = figures.counter("database_write_errors")
        self.all: Callable[..., Coroutine[Any, Any, Rows]] = database.all
        self.first: Callable[..., Coroutine[Any, Any, Row | None]] = database.first
        # What is not measured takes no way around.
        self.start = database.start
        self.stop = database.stop
        self.check = database.check
        self.mark = database.mark
        self.generation = database.generation
        self.check_room = database.check_room
        self.encode_list = database.encode_list

    @property
    def batches(self) -> int:
        """How many transactions were committed since the start."""
        return self._database.batches

    def _measure_next(self) -> None:
        self.all = self._measured_all
        self.first = self._measured_first

    def _measure_no_more(self) -> None:
        self.all = self._database.all
        self.first = self._database.first

    async def _measured_all(self, statement: Statement, **parameters: Any) -> Rows:
        self._measure_no_more()
        began = perf_counter()
        try:
            return await self._database.all(statement, **parameters)
        finally:
            self._read(perf_counter() - began)

    async def _measured_first(self, statement: Statement, **parameters: Any) -> Row | None:
        self._measure_no_more()
        began = perf_counter()
        try:
            return await self._database.first(statement, **parameters)
        finally:
            self._read(perf_counter() - began)

    async def write(
        self, work: Callable[[Transaction], Awaitable[T]], *, reserve: bool = False, durable: bool = True
    ) -> T:
        """Run `work` in a transaction. What `work` itself refuses was written in vain, not in error."""
        began = perf_counter()
        with self._part("database write"):
            try:
                return await self._database.write(work, reserve=reserve, durable=durable)
            except Unavailable:
                self._write_failed()
                raise
            finally:
                self._written(perf_counter() - began)
