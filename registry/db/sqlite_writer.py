"""The one writer of a process: transactions run in the event loop, together, and are committed in a thread.

A statement takes microseconds. In a thread each would cost two fights for the interpreter's lock with the loop's own
thread, which is milliseconds when there is much to do. So a thread is for what waits: for other processes, for the
disk. While it waits, the next transactions gather, so that one fsync commits them all.
"""

import asyncio
import fcntl
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pysqlite3 as sqlite3

from registry.db.connection import Transaction
from registry.db.reserve import Reserve
from registry.db.sqlite_connection import Connection, connect, is_busy, is_io_error, refusal
from registry.errors import Unavailable

T = TypeVar("T")

_BATCH = 32
_BUSY_S = 10.0
_RETRY_S = 0.005
_UNSYNCED = 256
"""So many commits without fsync, at most, before one with: it also lets SQLite shorten its log, which takes time."""


class Job:
    """A transaction that waits for the writer, and what became of it."""

    __slots__ = ("durable", "error", "future", "reserve", "result", "work")

    def __init__(self, work: Callable[[Transaction], Awaitable[Any]], *, reserve: bool, durable: bool) -> None:
        self.work = work
        self.reserve = reserve
        self.durable = durable
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Runs jobs in the order they come, as many as wait in one transaction, each behind a savepoint of its own.

    Processes take turns by a lock on a file of their own. SQLite's lock would do, but who waits for it sleeps and asks
    again, and finds it taken by whoever asked more often.
    """

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self._path = path
        self._reserve = reserve
        self._jobs: deque[Job] = deque()
        self._news = asyncio.Event()
        self._stopping = False
        self.batches = 0  # committed by this process
        self._unsynced = 0
        self._log_in_doubt = False
        self._synchronous: bool | None = None
        self._waiting_for_turn: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")

    def start(self) -> None:
        """Open the connection. Raises sqlite3.Error, OSError."""
        self._raw = connect(self._path)
        self._raw.execute("PRAGMA busy_timeout = 0")  # waiting in the event loop is what this is made to avoid
        self._transaction = Connection(self._raw)
        self._turn = os.open(self._path.with_name(f"{self._path.name}.writer"), os.O_RDWR | os.O_CREAT, 0o600)
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Commit what waits, then close."""
        self._stopping = True
        self._news.set()
        await self._task
        await asyncio.to_thread(self._thread.shutdown)
        self._raw.close()
        os.close(self._turn)

    def submit(self, job: Job) -> None:
        """Queue a job; its future is done when it is committed, or has failed."""
        self._jobs.append(job)
        self._news.set()

    async def _serve(self) -> None:
        while not self._stopping or self._jobs:
            await self._news.wait()
            self._news.clear()
            while self._jobs:
                batch = [self._jobs.popleft() for _ in range(min(_BATCH, len(self._jobs)))]
                await self._run_while_room(batch)
                _resolve(batch)
                if self._reserve.incomplete:
                    await self._in_thread(self._reserve.tend)
                # Requests that were answered bring new jobs, and another process has the time to take its turn.
                await asyncio.sleep(0)

    async def _run_while_room(self, batch: list[Job]) -> None:
        """Run a batch. Where the disk is full, run again those that may draw on what is kept.

        First in a log that begins anew, in the room that it has: so a small reserve lasts for any number of them. Then
        with one piece of the reserve after another, for what the database has to grow by.
        """
        await self._run(batch)
        emptied = False
        while again := [job for job in batch if job.reserve and self._reserve.relieves(job.error)]:
            if emptied and not await self._in_thread(self._reserve.give):
                return
            for job in again:
                job.error = None
            await self._run(again, empty_log=True)
            emptied = True

    async def _run(self, batch: list[Job], *, empty_log: bool = False) -> None:
        """Run every job and commit them together; if the transaction itself fails, all fail."""
        try:
            await self._take_turn()
        except (Unavailable, OSError) as error:
            for job in batch:
                job.error = error if isinstance(error, Unavailable) else Unavailable(f"the database's lock: {error}")
            return
        try:
            if self._log_in_doubt:
                await self._renew_log()
            elif empty_log:
                await self._empty_log()
            durable = self._unsynced >= _UNSYNCED or any(job.durable for job in batch)
            await self._begin(durable)
            for job in batch:
                _run_job(self._transaction, job)
            await self._commit(durable)
        except sqlite3.Error as error:
            self._log_in_doubt = self._log_in_doubt or is_io_error(error)
            if self._raw.in_transaction:
                with suppress(sqlite3.Error):  # else the next BEGIN fails, and leads here again
                    self._raw.execute("ROLLBACK")
            for job in batch:
                job.error = refusal(error)
        except Exception as error:  # noqa: BLE001 - the writer must go on, and nobody may wait for ever
            for job in batch:
                job.error = error
        finally:
            with suppress(OSError):
                fcntl.flock(self._turn, fcntl.LOCK_UN)

    async def _take_turn(self) -> None:
        """Raises Unavailable if another process does not let go."""
        if self._waiting_for_turn is None:
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._waiting_for_turn = asyncio.ensure_future(
                    self._in_thread(lambda: fcntl.flock(self._turn, fcntl.LOCK_EX))
                )
            else:
                return
        await asyncio.wait([self._waiting_for_turn], timeout=_BUSY_S)
        if not self._waiting_for_turn.done():
            raise Unavailable(f"another process has been writing to the database for {_BUSY_S:.0f} s")
        taken, self._waiting_for_turn = self._waiting_for_turn, None
        taken.result()

    async def _renew_log(self) -> None:
        """After a failed fsync: move everything out of the log, so that nothing is ever appended behind a gap in it.

        The kernel may have dropped what it could not write, commits without fsync among it, and says so only once.
        """
        row = await self._in_thread(lambda: self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        if row[0]:
            raise Unavailable("the database's log could not be written, and is still in use: try again")
        self._log_in_doubt = False

    async def _empty_log(self) -> None:
        """Move everything out of the log, as far as there is room: the next transaction begins at its front again."""
        with suppress(sqlite3.Error):  # what was not moved is still in the log
            await self._in_thread(lambda: self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())

    async def _begin(self, durable: bool) -> None:
        """Begin, with or without fsync at the end. Somebody else's program may hold SQLite's own lock."""
        if durable is not self._synchronous:
            # Without fsync the commit runs in the loop, and must not shorten the log, which waits for the disk.
            self._raw.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._raw.execute(f"PRAGMA wal_autocheckpoint = {1000 if durable else 0}")
            self._synchronous = durable
        give_up = time.monotonic() + _BUSY_S
        while True:
            try:
                self._raw.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() > give_up:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _commit(self, durable: bool) -> None:
        if durable:
            await self._in_thread(lambda: self._raw.execute("COMMIT"))
            self._unsynced = 0
        else:
            self._raw.execute("COMMIT")
            self._unsynced += 1
        self.batches += 1

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _run_job(transaction: Connection, job: Job) -> None:
    raw = transaction.raw
    raw.execute("SAVEPOINT job")
    try:
        job.result = _run_to_end(job.work(transaction))
    except BaseException as error:  # handed to the caller, whatever it is
        if not raw.in_transaction:
            # A full disk or an I/O error has ended the whole transaction: nothing of the batch may be acknowledged.
            raise error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error)) from error
        raw.execute("ROLLBACK TO job")
        job.error = refusal(error) if isinstance(error, sqlite3.Error) else error
    raw.execute("RELEASE job")


def _run_to_end(work: Awaitable[T]) -> T:
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a transaction waited for something other than its database")


def _resolve(batch: list[Job]) -> None:
    for job in batch:
        if job.future.done():
            continue  # its request was cancelled meanwhile; what it wrote stands
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
