"""Work without an end that one process at a time does, under a lease that it keeps renewing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from registry.db import jobs
from registry.db.connection import Database
from registry.errors import Unavailable
from registry.jobs.runner import Lease, LeaseLost, Paused, take

RENEW_S = 1.5
"""How often a short lease is to be renewed."""
_LEASE_S = 5
_LOOK_S = 1.0

_logger = logging.getLogger("stowage.jobs")


async def take_short(database: Database, name: str, *, owner: str, paused: Callable[[], bool]) -> Lease | None:
    """Take a lease that another process may take soon after this one was killed; None if another has it now."""
    if await jobs.is_held(database, name, lease_s=_LEASE_S):  # looked at every second: that must not write
        return None
    return await take(database, name, owner=owner, lease_s=_LEASE_S, paused=paused, durable=False)


async def give_back(lease: Lease) -> None:
    """Let another process go on at once; if the database can't be told, when the lease is over."""
    with suppress(Unavailable):
        await lease.give_back()


class LeasedWork:
    """Takes the lease when it is free and there is something to do, and has the work done until it is lost.

    Args:
        owner: who has the lease.
        is_wanted: whether there is something to do at all.
        work: what is done; it is cancelled when another process is to do it. Raises LeaseLost too.
        paused: whether it is to rest: whoever made the registry read-only means to find it as it was.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        owner: str,
        is_wanted: Callable[[], Awaitable[bool]],
        work: Callable[[Lease], Awaitable[None]],
        paused: Callable[[], bool],
    ) -> None:
        self._database = database
        self._name = name
        self._owner = owner
        self._is_wanted = is_wanted
        self._work = work
        self._paused = paused
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    def start(self) -> None:
        """Begin, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Stop, and let another process go on at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                lease = await self._take()
                if lease is not None:
                    await self._hold(lease)
                self._is_failing = False
            except (LeaseLost, Paused):
                pass
            except Unavailable as error:
                if not self._is_failing:
                    _logger.warning("%s waits until the database answers: %s", self._name, error)
                self._is_failing = True
            except Exception:  # a defect must not end it for good
                _logger.exception("%s failed, and is begun anew", self._name)
            await asyncio.sleep(_LOOK_S)

    async def _take(self) -> Lease | None:
        if self._paused() or not await self._is_wanted():
            return None
        return await take_short(self._database, self._name, owner=self._owner, paused=self._paused)

    async def _hold(self, lease: Lease) -> None:
        """Have the work done for as long as the lease is kept. Raises LeaseLost, Paused, and what the work raises."""
        working = asyncio.ensure_future(self._work(lease))
        try:
            while not working.done():
                await asyncio.wait([working], timeout=RENEW_S)
                with suppress(Unavailable):  # it may be renewed before it ends, all the same
                    await lease.renew()
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await give_back(lease)
