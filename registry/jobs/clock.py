"""Notices clocks that jump, so that nothing is taken for old that is not."""

import logging
import math
import time
from collections.abc import Callable

from registry.db import jobs
from registry.db.connection import Database

logger = logging.getLogger("stowage.jobs")

_JUMP_S = 60.0


class Clock:
    """The two clocks that ages are measured by: the database's, and this machine's, which the times of files are from.

    Both are compared with a clock that nobody sets. Looked at every half minute, a difference of a minute is a jump
    (or a machine that slept).
    """

    def __init__(
        self,
        database: Database,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._wall = wall
        self._steady = steady
        self._offsets: tuple[float, float] | None = None
        self._jumped_at = -math.inf

    async def look(self) -> None:
        """Compare the clocks with how they were at the last look. Raises Unavailable."""
        database = await jobs.clock(self._database) / 1_000_000
        steady = self._steady()
        offsets = (database - steady, self._wall() - steady)
        before, self._offsets = self._offsets or offsets, offsets
        jump = max((now - then for now, then in zip(offsets, before, strict=True)), key=abs)
        if abs(jump) > _JUMP_S:
            self._jumped_at = steady
            logger.warning("a clock jumped by %.0f s: what is removed by its age stays for as long again", jump)

    def steady_for(self) -> float:
        """Return for how many seconds no clock has jumped, as far as this process knows."""
        return self._steady() - self._jumped_at
