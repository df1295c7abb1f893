"""Gives events their positions, once they are committed. `docs/decisions/024-events.md`.

No job of the runner's: that looks twice a minute, and this is to be done within a fraction of a second.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from registry.db import events
from registry.db.connection import Database, Transaction
from registry.errors import Unavailable
from registry.jobs.leased import RENEW_S, give_back, take_short
from registry.jobs.runner import Lease, LeaseLost, Paused

NAME = "sequence"
_WAIT_S = 1.0
_SOON_S = 0.1
_PAUSE_S = 0.2
"""How often the one looks who has it: where a commit shows without asking, and else; and after giving places, since
pushes wait for that, too."""
_BATCH = 500
"""Events a transaction: pushes wait for it."""

_logger = logging.getLogger("stowage.jobs")


def _unheard() -> None:
    pass


class Sequencer:
    """Gives events their positions, in one process at a time.

    Args:
        owner: who has the lease.
        paused: whether it is to rest: whoever made the registry read-only means to find it as it was.
        record: told of each time that it gave positions: its name, the seconds it took, whether it succeeded.
        placed: called when there is something new to be read.
        wait_s: seconds between two looks of those who do not have the lease, and of those who could not ask.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        paused: Callable[[], bool],
        record: Callable[[str, float, bool], None],
        placed: Callable[[], None] = _unheard,
        wait_s: float = _WAIT_S,
    ) -> None:
        self._database = database
        self._owner = owner
        self._paused = paused
        self._record = record
        self._placed = placed
        self._wait_s = wait_s
        self._task: asyncio.Task[None] | None = None
        self._held: Lease | None = None
        self._renewed_at = 0.0
        self._generation: bytes | None = None  # the database's, when it was last looked for events
        self._is_failing = False

    def start(self) -> None:
        """Begin, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=NAME)

    async def stop(self) -> None:
        """Stop, and let another process go on at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._held is not None:
            held, self._held = self._held, None
            await give_back(held)

    async def _run(self) -> None:
        while True:
            try:
                pause_s = await self._step()
                self._is_failing = False
            except (LeaseLost, Paused):
                self._held, pause_s = None, self._wait_s
            except Unavailable as error:
                if not self._is_failing:
                    _logger.warning("events wait for their place until the database answers: %s", error)
                self._is_failing, pause_s = True, self._wait_s
            except Exception:  # a defect must not end it for good: everybody who is told of events waits for this
                _logger.exception("events can't be given their place")
                self._record(NAME, 0.0, False)
                pause_s = self._wait_s
            await asyncio.sleep(pause_s)

    async def _step(self) -> float:
        """Do what is to be done now, and return after how many seconds to look again. Raises LeaseLost, Paused."""
        if self._paused():
            raise Paused(NAME)
        held = self._held or await self._take()
        if held is None:
            return self._wait_s
        if await self._is_there_news():
            placed = await self._place(held)
            return 0 if placed == _BATCH else _PAUSE_S
        if time.monotonic() - self._renewed_at > RENEW_S:
            await held.renew()
            self._renewed_at = time.monotonic()
        return _PAUSE_S if self._generation is None else _SOON_S

    async def _take(self) -> Lease | None:
        now = time.monotonic()
        self._held = await take_short(self._database, NAME, owner=self._owner, paused=self._paused)
        self._renewed_at, self._generation = now, None
        return self._held

    async def _is_there_news(self) -> bool:
        """Say whether an event waits. Where that shows, the database is asked only if something was committed."""
        generation = self._database.generation()
        if generation is not None and generation == self._generation:
            return False
        found = await events.any_unplaced(self._database)
        self._generation = None if found else generation
        return found

    async def _place(self, lease: Lease) -> int:
        async def work(transaction: Transaction) -> int:
            await lease.confirm(transaction)
            return await events.place(transaction, limit=_BATCH)

        began = time.monotonic()
        placed = await self._database.write(work, reserve=True)
        self._renewed_at = time.monotonic()
        self._record(NAME, self._renewed_at - began, True)
        self._placed()
        return placed
