"""When credentials were last used: written down now and then, many at once, since each request uses one."""

import asyncio
import logging
from time import monotonic

from registry.db import credentials, jobs
from registry.db.connection import Database, Transaction
from registry.errors import Unavailable

_EVERY_S = 10.0
_MOST = 10_000
_BATCH = 200

_logger = logging.getLogger("stowage.auth")


class LastUse:
    """Remembers what was used in this process until it is written down.

    What is noted while the database can't be written to is kept, up to some thousands of credentials.
    """

    def __init__(self, database: Database, *, every_s: float = _EVERY_S) -> None:
        self._database = database
        self._every_s = every_s
        self._used: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    def note(self, credential_id: int) -> None:
        """Say that a credential is being used. Costs next to nothing."""
        if len(self._used) < _MOST or credential_id in self._used:
            self._used[credential_id] = monotonic()

    def start(self) -> None:
        """Write down every few seconds, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="last use of credentials")

    async def stop(self) -> None:
        """Write down what is left, and no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._try_to_write()

    async def write(self) -> None:
        """Write down what was noted. Raises Unavailable; then it is kept."""
        used, self._used = self._used, {}
        # In one order in every process: two of them that wait for each other's rows would wait for ever.
        waiting = sorted(used)
        try:
            while waiting:
                some = {one: used[one] for one in waiting[:_BATCH]}
                await self._database.write(lambda tx, some=some: _mark(tx, some), durable=False)  # type: ignore[misc]
                del waiting[:_BATCH]
        finally:
            for one in waiting:
                self._used.setdefault(one, used[one])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._try_to_write()

    async def _try_to_write(self) -> None:
        try:
            await self.write()
            self._is_failing = False
        except Unavailable as error:
            if not self._is_failing:
                _logger.warning("when credentials were used can't be written down: %s", error)
            self._is_failing = True


async def _mark(transaction: Transaction, used: dict[int, float]) -> None:
    clock, here = await jobs.clock(transaction), monotonic()
    for credential_id, at in used.items():
        await credentials.mark_used(transaction, credential_id, clock - int((here - at) * 1_000_000))
