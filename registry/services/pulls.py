"""When manifests were pulled last: noted in memory, and written down many at once, each at most once an hour."""

import asyncio
import logging
from time import monotonic

from registry.db import jobs, pulls, repositories
from registry.db.connection import Database, Transaction
from registry.errors import Unavailable
from registry.oci.names import RepositoryName
from storage.digest import Digest

_EVERY_S = 20.0
_AGAIN_S = 3600.0
_MOST = 20_000
_BATCH = 200

_logger = logging.getLogger("stowage.retention")

_Key = tuple[RepositoryName, Digest]


class Pulls:
    """Remembers what this process served until it is written down. What a process that is killed knew is lost."""

    def __init__(self, database: Database, *, every_s: float = _EVERY_S, again_s: float = _AGAIN_S) -> None:
        self._database = database
        self._every_s = every_s
        self._again_s = again_s
        self._noted: dict[_Key, float] = {}
        self._waiting: dict[_Key, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    def note(self, repository: RepositoryName, digest: Digest) -> None:
        """Say that a manifest is being pulled. Costs next to nothing."""
        key, now = (repository, digest), monotonic()
        if now - self._noted.get(key, -self._again_s) < self._again_s:
            return
        if len(self._noted) >= _MOST:  # rather write some again than remember them all
            self._noted = dict(self._waiting)
            if len(self._noted) >= _MOST:  # the database has taken none for long
                return
        self._noted[key] = self._waiting[key] = now

    def start(self) -> None:
        """Write down now and then, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="last pulls")

    async def stop(self) -> None:
        """Write down what is left, and no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._try_to_write()

    async def write(self) -> None:
        """Write down what was noted. Raises Unavailable; then it is kept."""
        waiting, self._waiting = self._waiting, {}
        # In one order in every process, a repository after the other: none of two waits for the other's rows.
        left = sorted(waiting)
        try:
            while left:
                name = left[0][0]
                some = [key for key in left[:_BATCH] if key[0] == name]
                pulled = {digest: waiting[name, digest] for _, digest in some}
                await self._database.write(
                    lambda tx, name=name, pulled=pulled: _mark(tx, name, pulled),  # type: ignore[misc]
                    durable=False,
                )
                del left[: len(some)]
        finally:
            for key in left:
                self._waiting.setdefault(key, waiting[key])

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
                _logger.warning("when manifests were pulled can't be written down: %s", error)
            self._is_failing = True


async def _mark(transaction: Transaction, name: RepositoryName, pulled: dict[Digest, float]) -> None:
    repository_id = await repositories.lock(transaction, name)
    if repository_id is None:
        return
    clock, here = await jobs.clock(transaction), monotonic()
    for digest, at in pulled.items():
        await pulls.mark(transaction, repository_id, digest, clock - int((here - at) * 1_000_000))
