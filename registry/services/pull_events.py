"""Pulls as events (`events.pulls`): written now and then, many at once, since a pull must not wait for a write.

What is not written yet is lost with the process: a pull changes nothing.
"""

import asyncio
import json
import logging
from collections import deque
from itertools import islice

from registry.db import outbox
from registry.db.connection import Database
from registry.errors import Unavailable
from registry.services import events
from registry.services.audit import Origin

_EVERY_S = 1.0
_MOST = 10_000
_BATCH = 200

_logger = logging.getLogger("stowage.events")


class PullEvents:
    """Gathers the pulls of this process.

    Attributes:
        lost: how many were not written: there were too many, or the database did not take them for too long.
    """

    def __init__(self, database: Database, *, every_s: float = _EVERY_S) -> None:
        self._database = database
        self._every_s = every_s
        self._noted: deque[tuple[str, dict[str, object]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False
        self.lost = 0

    def note(
        self, repository: str, actor: str, origin: Origin, *, digest: str, media_type: str, size: int, tag: str | None
    ) -> None:
        """Note the pull of a manifest. Costs next to nothing."""
        if len(self._noted) >= _MOST:
            self.lost += 1
            return
        said = {"actor": actor, "digest": digest, "media_type": media_type, "size": size}
        if tag is not None:
            said["tag"] = tag
        self._noted.append((repository, {**said, "request": events.asker_of(origin)}))

    def start(self) -> None:
        """Write every second, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="pulls")

    async def stop(self) -> None:
        """Write what is left, and no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._try_to_write()

    async def write(self) -> None:
        """Write what was noted. Raises Unavailable; then it is kept."""
        while self._noted:
            some = [(repository, json.dumps(said)) for repository, said in islice(self._noted, _BATCH)]
            await self._database.write(
                lambda tx, some=some: outbox.record_many(tx, events.PULL, some),  # type: ignore[misc]
                durable=False,
            )
            for _ in some:
                self._noted.popleft()

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
                _logger.warning("pulls can't be written down as events: %s", error)
            self._is_failing = True
