"""Maintenance: whether the registry is read-only, known to every process within a second and asked of at every write.

The truth is a row in the database. A query at each write would cost more than many a write, so each process looks
every half second, and asks its own memory in between.
"""

import asyncio
import logging

from registry.db import maintenance
from registry.db.connection import Database
from registry.db.maintenance import MaintenanceRow
from registry.errors import ReadOnly, Unavailable

_LOOK_S = 0.5

_logger = logging.getLogger("stowage.maintenance")


class Maintenance:
    """What this process knows of it.

    Attributes:
        row: what the database said at the last look; None while the registry may be written to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self._known = False
        self.row: MaintenanceRow | None = None

    @property
    def on(self) -> bool:
        """Whether the registry is read-only."""
        return self.row is not None

    def admit(self) -> None:
        """Return if the registry may be written to.

        Raises:
            ReadOnly: it may not.
            Unavailable: the database has not been able to say, since the start.
        """
        if not self._known:
            raise Unavailable("whether the registry is read-only is not known yet: its database does not answer")
        if self.row is not None:
            why = f": {self.row.message}" if self.row.message else ""
            raise ReadOnly(f"the registry is read-only for maintenance{why}", retry_after=self.row.retry_after)

    async def learn(self) -> None:
        """Look now, if the database could not be asked since the start. Raises Unavailable."""
        if not self._known:
            await self._look()

    async def start(self) -> None:
        """Look once, then every half second in a task of its own."""
        await self._try_to_look()
        self._task = asyncio.create_task(self._run(), name="maintenance")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._try_to_look()

    async def _try_to_look(self) -> None:
        try:
            await self._look()
        except Unavailable as error:  # what was true stays so until the database says otherwise
            _logger.warning("whether there is maintenance can't be asked: %s", error)

    async def _look(self) -> None:
        before, self.row = self.row, await maintenance.find(self._database)
        self._known = True
        if self.row is not None and before is None:
            _logger.info("maintenance: read-only from now on")
        elif self.row is None and before is not None:
            _logger.info("maintenance is over: writes are accepted again")
