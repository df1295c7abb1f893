"""When manifests were pulled last: written down at most once an hour for each."""

import logging
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from time import monotonic

from registry.db import jobs, pulls, repositories
from registry.db.connection import Database, Transaction
from registry.oci.names import RepositoryName
from registry.services.noted import Noted
from storage.digest import Digest

_EVERY_S = 20.0
_AGAIN_S = 3600.0
_MOST = 20_000

_logger = logging.getLogger("stowage.retention")

_Key = tuple[RepositoryName, Digest]


class Pulls(Noted[_Key, float]):
    """Remembers what this process served, and what of it is to be written down."""

    def __init__(self, database: Database, *, every_s: float = _EVERY_S, again_s: float = _AGAIN_S) -> None:
        super().__init__(
            database,
            every_s=every_s,
            most=_MOST,
            name="last pulls",
            refused="when manifests were pulled can't be written down",
            logger=_logger,
        )
        self._again_s = again_s
        self._lately: dict[_Key, float] = {}

    def note(self, repository: RepositoryName, digest: Digest) -> None:
        """Say that a manifest is being pulled. Costs next to nothing."""
        key, now = (repository, digest), monotonic()
        if now - self._lately.get(key, -self._again_s) < self._again_s or not self._keep(key, now):
            return
        if len(self._lately) >= _MOST:  # rather write some again than remember them all
            self._lately = dict(self._notes)
        self._lately[key] = now

    def _batches(self, keys: list[_Key]) -> Iterator[list[_Key]]:
        """Give a repository after the other: none of two processes waits for the other's rows."""
        for _, some in groupby(keys, key=itemgetter(0)):
            yield from super()._batches(list(some))

    async def _write(self, notes: dict[_Key, float]) -> None:
        name = next(iter(notes))[0]
        pulled = {digest: at for (_, digest), at in notes.items()}
        await self._database.write(lambda tx: _mark(tx, name, pulled), durable=False)


async def _mark(transaction: Transaction, name: RepositoryName, pulled: dict[Digest, float]) -> None:
    repository_id = await repositories.lock(transaction, name)
    if repository_id is None:
        return
    clock, here = await jobs.clock(transaction), monotonic()
    for digest, at in pulled.items():
        await pulls.mark(transaction, repository_id, digest, clock - int((here - at) * 1_000_000))
