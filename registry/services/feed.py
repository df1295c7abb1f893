"""Following the stream of events, in one process: the database is asked once for all who follow.

The newest events stay in memory, in one ring for everybody. Each follower has a place of its own in the stream, and no
queue: who is slow takes nothing from others, and reads from the database what the ring has no more.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice

from auth.errors import TooManyAttempts
from registry.db import events
from registry.db.connection import Database
from registry.db.events import Row, Stream
from registry.errors import TooManyWatchers, Unavailable
from registry.event import Event
from registry.services.event_pages import brought_back, read_after

_BUSY_S = 0.1
_IDLE_S = 0.2
"""How often the database is asked: where a commit shows without asking, and else."""
_AFTER_FAILURE_S = 1.0
_MOST_KEPT = 1000
_MOST_KEPT_BYTES = 2 * 1024**2
"""Of what is in the database: in memory it takes some times as much."""
_PAGE = 200
_RETRY_AFTER_S = 5

_logger = logging.getLogger("stowage.events")


@dataclass(slots=True)
class Entry:
    """An event on its way to followers. `texts`: what it was rendered to, for those who come later."""

    event: Event
    size: int
    texts: dict[tuple[bool, bool], bytes] = field(default_factory=dict)


class Feed:
    """What happens, for those who follow it.

    Args:
        most: how many may follow at a time.
        most_each: how often one and the same may; None for as often as there is room.

    Attributes:
        is_closed: this process ends: whoever follows is to go, and come back elsewhere.
    """

    def __init__(self, database: Database, *, most: int, most_each: int | None = None) -> None:
        self._database = database
        self._most = most
        self._most_each = most_each
        self._following: Counter[str] = Counter()
        self._ring: deque[Entry] = deque()
        self._bytes = 0
        self._stream: Stream | None = None
        self._generation: bytes | None = None
        self._news = asyncio.Event()
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_closed = False

    @property
    def followers(self) -> int:
        """How many follow."""
        return self._following.total()

    def start(self) -> None:
        """Let followers come: it looks while there are some."""
        self.is_closed = False

    def wake(self) -> None:
        """Have it look at once: this process placed events."""
        self._look.set()

    def close(self) -> None:
        """Send all followers away, soon."""
        self.is_closed = True
        self._tell()

    async def stop(self) -> None:
        """End."""
        self.close()
        task = self._task
        self._rest()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def following(self, who: str) -> AsyncIterator[None]:
        """Follow for as long as this is open.

        Args:
            who: the one that has the place, for a bound of their own.

        Raises:
            TooManyWatchers, Unavailable
            TooManyAttempts: they follow as often as they may.
        """
        self._admit(who)
        self._following[who] += 1
        try:
            if self._stream is None:
                self._begin(await events.stream(self._database))
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="events")
            yield
        finally:
            self._leave(who)

    def _admit(self, who: str) -> None:
        if self.followers >= self._most:
            text = f"{self._most} clients follow events in this process already: try again later"
            raise TooManyWatchers(text, retry_after=_RETRY_AFTER_S)
        if self._most_each is not None and self._following[who] >= self._most_each:
            text = f"{who} follows events {self._most_each} times in this process already: end one of these first"
            raise TooManyAttempts(text, _RETRY_AFTER_S)

    async def after(self, position: int, *, within_s: float, epoch: str = "") -> Sequence[Entry]:
        """Return events after a position, in order; none if none comes within so many seconds.

        Args:
            epoch: the one that the position is of; "" for whatever stream is there.

        Raises:
            CursorGone: what came next was dropped, or the stream is another by now.
            Unavailable
        """
        if self._is_at_end(position, epoch):
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._news.wait()
        else:
            await asyncio.sleep(0)  # what reads SQLite waits for nothing, and who catches up would keep all others out
        if self._stream is None or self._is_at_end(position, epoch):
            return ()
        if self._ring and self._ring[0].event.position <= position + 1:
            start = position + 1 - self._ring[0].event.position
            return list(islice(self._ring, start, start + _PAGE))
        named = self._stream.epoch
        return [_entry(row, named) for row in await read_after(self._database, position, limit=_PAGE)]

    def _is_at_end(self, position: int, epoch: str) -> bool:
        """Say whether nothing came after a position. Raises CursorGone: the stream is another by now."""
        if self._stream is None:
            return True
        if epoch and self._stream.epoch != epoch:
            raise brought_back()
        return self._stream.position <= position

    def _begin(self, stream: Stream) -> None:
        if self._stream is None:  # somebody else may have asked meanwhile
            self._stream = stream

    def _leave(self, who: str) -> None:
        self._following[who] -= 1
        if not self._following[who]:
            del self._following[who]
        if not self._following:
            self._rest()

    def _rest(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._clear()
        self._stream = self._generation = None

    async def _run(self) -> None:
        while True:
            pause_s = _BUSY_S
            try:
                await self._take()
                if self._generation is None:
                    pause_s = _IDLE_S
            except Unavailable as error:
                _logger.warning("events can't be read: %s", error)
                pause_s = _AFTER_FAILURE_S
            except Exception:  # a defect must not leave those who follow in silence for good
                _logger.exception("events can't be read")
                pause_s = _AFTER_FAILURE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._look.wait()
            self._look.clear()

    async def _take(self) -> None:
        """Put what is new into the ring, and tell those who wait."""
        generation = self._database.generation()
        if generation is not None and generation == self._generation:
            return
        assert self._stream is not None  # noqa: S101 - set before this runs
        now = await events.stream(self._database)
        if now.epoch != self._stream.epoch or now.position < self._stream.position:
            self._begin_anew(now, self._stream)
            return
        last = self._stream.position
        if now.position > last + _MOST_KEPT:  # more than the ring holds: those who need the rest read it themselves
            self._clear()
            last = now.position - _MOST_KEPT
        while last < now.position:
            rows = await events.page(self._database, after=last, limit=_PAGE)
            if not rows:  # they were dropped: those who follow find out when they read them themselves
                self._clear()
                last = now.position
            for row in rows:
                self._keep(_entry(row, now.epoch))
                last = row.position
        if last > self._stream.position:
            self._stream = Stream(now.epoch, last)
            self._tell()
        self._generation = generation

    def _begin_anew(self, now: Stream, before: Stream) -> None:
        """The database was brought back from a copy: nobody who follows knows what happened there.

        Without an epoch of its own the stream has none until the next look, so that they are sent away all the same.
        """
        self._clear()
        self._stream = now if now.epoch != before.epoch else Stream("", now.position)
        self._generation = None
        self._tell()

    def _clear(self) -> None:
        self._ring.clear()
        self._bytes = 0

    def _keep(self, entry: Entry) -> None:
        if self._ring and self._ring[-1].event.position != entry.event.position - 1:
            self._clear()
        self._ring.append(entry)
        self._bytes += entry.size
        while len(self._ring) > _MOST_KEPT or self._bytes > _MOST_KEPT_BYTES:
            self._bytes -= self._ring.popleft().size

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _entry(row: Row, epoch: str) -> Entry:
    return Entry(row.event(epoch), len(row.payload))
