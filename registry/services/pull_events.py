"""Pulls as events (`events.pulls`). What is not written yet is lost with the process: a pull changes nothing."""

import json
import logging
from itertools import count

from registry.db import outbox
from registry.db.connection import Database
from registry.services import events
from registry.services.audit import Origin
from registry.services.noted import Noted

_EVERY_S = 1.0
_MOST = 10_000

_logger = logging.getLogger("stowage.events")


class PullEvents(Noted[int, tuple[str, dict[str, object]]]):
    """Gathers the pulls of this process, in their order.

    Attributes:
        lost: how many were not written: there were too many, or the database did not take them for too long.
    """

    def __init__(self, database: Database, *, every_s: float = _EVERY_S) -> None:
        super().__init__(
            database,
            every_s=every_s,
            most=_MOST,
            name="pulls",
            refused="pulls can't be written down as events",
            logger=_logger,
        )
        self._numbers = count()
        self.lost = 0

    def note(
        self, repository: str, actor: str, origin: Origin, *, digest: str, media_type: str, size: int, tag: str | None
    ) -> None:
        """Note the pull of a manifest. Costs next to nothing."""
        said = {"actor": actor, "digest": digest, "media_type": media_type, "size": size}
        if tag is not None:
            said["tag"] = tag
        if not self._keep(next(self._numbers), (repository, {**said, "request": events.asker_of(origin)})):
            self.lost += 1

    async def _write(self, notes: dict[int, tuple[str, dict[str, object]]]) -> None:
        some = [(repository, json.dumps(said)) for repository, said in notes.values()]
        await self._database.write(lambda tx: outbox.record_many(tx, events.PULL, some), durable=False)
