"""A few connections to PostgreSQL, made when they are needed, and made again when the server was away."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from registry.db.postgresql_connection import Raw
from registry.errors import Unavailable

_PATIENCE_S = 10.0
"""How long somebody waits for a connection that another has."""
_IDLE_S = 300.0
"""An idle connection is not trusted for longer: firewalls forget it, and after a failover it may lead to a standby."""
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


class Pool:
    """At most `size` connections. The one given back last is taken first, so that those not needed grow old.

    While the server is away an attempt is made after a pause that grows, and who asks in between is told at once what
    the last attempt met: nobody waits in vain, and a server that comes back is not overrun.
    """

    def __init__(self, connect: Callable[[], Awaitable[Raw]], size: int) -> None:
        self._connect = connect
        self._size = size
        self._open = 0  # connections that there are, or that are being made
        self._idle: list[tuple[Raw, float]] = []
        self._waiting: deque[asyncio.Future[Raw | None]] = deque()
        self._failures = 0
        self._retry_at = 0.0
        self._why = Unavailable("the database is closed")
        self._attempts: set[asyncio.Future[Raw]] = set()
        self._closed = False

    async def take(self) -> Raw:
        """Return a connection of one's own, to be given back or dropped.

        Raises:
            Unavailable: the database can't be reached, or all connections are in use for too long.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _PATIENCE_S
        while True:
            if self._closed:
                raise Unavailable("the database is closed")
            if (idle := self._take_idle(loop.time())) is not None:
                return idle
            if self._open < self._size:
                try:
                    return await self._make(loop)
                except Unavailable:
                    if not self._open:
                        raise
                    # The server has no more for us; but those that we have come back.
            if (given := await self._wait(loop, give_up)) is not None:
                return given

    def give_back(self, raw: Raw) -> None:
        """Let others have a connection that is in order."""
        if self._closed or raw.is_closed():
            self.drop(raw)
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(raw)
                return
        self._idle.append((raw, asyncio.get_running_loop().time()))

    def doubt(self) -> None:
        """A connection was lost: end the idle ones, which may be lost as well, before somebody else finds out."""
        while self._idle:
            self.drop(self._idle.pop()[0])

    def drop(self, raw: Raw) -> None:
        """End a connection at once; the server undoes what it had begun."""
        self._open -= 1
        raw.terminate()
        self._wake()

    async def close(self) -> None:
        """End idle connections in order; those in use are dropped when they are given back."""
        self._closed = True
        if self._attempts:
            await asyncio.wait(self._attempts)
        idle, self._idle = self._idle, []
        for raw, _ in idle:
            self._open -= 1
            try:
                await raw.close(timeout=1.0)
            except Exception:  # noqa: BLE001 - whatever keeps it from an orderly end, it ends
                raw.terminate()
        while self._waiting:
            self._wake()

    def _take_idle(self, now: float) -> Raw | None:
        while self._idle:
            raw, since = self._idle.pop()
            if not raw.is_closed() and now - since < _IDLE_S:
                return raw
            self._open -= 1
            raw.terminate()
        return None

    async def _make(self, loop: asyncio.AbstractEventLoop) -> Raw:
        if loop.time() < self._retry_at:
            raise Unavailable(str(self._why))
        self._open += 1
        # In a task: requests run without one until they wait, and connecting asks for the current task.
        attempt = asyncio.ensure_future(self._connect())
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        try:
            raw = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            # The attempt goes on, for others: asyncpg leaves an error that nobody hears where connecting is cancelled.
            attempt.add_done_callback(self._leave_to_others)
            raise
        except BaseException as error:
            self._note_failure(error)
            raise
        self._failures, self._retry_at = 0, 0.0
        return raw

    def _leave_to_others(self, attempt: "asyncio.Future[Raw]") -> None:
        if attempt.cancelled():  # the process ends
            self._open -= 1
        elif (error := attempt.exception()) is not None:
            self._note_failure(error)
        else:
            self.give_back(attempt.result())

    def _note_failure(self, error: BaseException) -> None:
        self._open -= 1
        if isinstance(error, Unavailable):
            self._failures += 1
            now = asyncio.get_running_loop().time()
            pause = min(_FIRST_PAUSE_S * 2 ** min(self._failures, 10), _LONGEST_PAUSE_S)
            self._retry_at = now + random.uniform(pause / 2, pause)  # noqa: S311 - spreads attempts
            self._why = error
        self._wake()

    async def _wait(self, loop: asyncio.AbstractEventLoop, give_up: float) -> Raw | None:
        """Wait for a connection. None: one has ended, and another may be made."""
        waiting: asyncio.Future[Raw | None] = loop.create_future()
        self._waiting.append(waiting)
        handle = loop.call_at(give_up, _expire, waiting, self._size)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and (raw := waiting.result()) is not None:
                self.give_back(raw)
            raise
        finally:
            handle.cancel()

    def _wake(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return


def _expire(waiting: "asyncio.Future[Raw | None]", size: int) -> None:
    if not waiting.done():
        text = f"all {size} connections to the database (database.pool) have been in use for {_PATIENCE_S:g} s"
        waiting.set_exception(Unavailable(text))
