"""The revision of rights, as one process knows it: never older than two seconds. `docs/decisions/018-identities.md`."""

import asyncio
from contextlib import suppress
from time import monotonic

from registry.db import authority
from registry.db.connection import Database
from registry.errors import Unavailable

EVERY_S = 0.5
OLDEST_S = 2.0


class Revision:
    """Says which revision counts.

    Args:
        polled: it is asked for every half second, where asking costs a way over the network; else with each question.
    """

    def __init__(self, database: Database, *, polled: bool) -> None:
        self._database = database
        self._polled = polled
        self._known = -1
        self._generation: bytes | None = None  # of the database, when it was asked
        self._asked_at = -OLDEST_S
        self._polling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask."""
        if self._polled:
            self._polling = asyncio.create_task(self._poll(), name="revision of rights")

    async def stop(self) -> None:
        """Ask no more."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
            self._polling = None

    async def now(self) -> int:
        """Return the revision. Raises Unavailable if it was not heard of for two seconds, and can't be asked for."""
        if not self._polled:
            generation = self._database.generation()
            if generation is None or generation != self._generation:
                self._known = await authority.revision(self._database)
                self._generation = generation
            return self._known
        if monotonic() - self._asked_at < OLDEST_S:
            return self._known
        return await self._ask()

    async def look_again(self) -> None:
        """Ask now: this process has changed something itself, and goes by it at once. Raises Unavailable."""
        await self._ask()

    async def _ask(self) -> int:
        began = monotonic()
        found = await authority.revision(self._database)
        if began >= self._asked_at:  # or somebody who asked later has heard of more
            self._known, self._asked_at = found, began
        return self._known

    async def _poll(self) -> None:
        while True:
            with suppress(Unavailable):  # who needs to know asks for himself, and says so
                await self._ask()
            await asyncio.sleep(EVERY_S)
