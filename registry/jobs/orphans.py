"""Removes objects that no row names: what a crash left between publishing the bytes and recording them.

Objects of doomed keys are left to collection, which knows how long copies of the database may name them. Nothing is
removed while the store has copies that this database knows nothing of: then it is another, or an older one, than the
objects belong to, and whoever restores the right one wants to find them.
"""

import logging
import time

from registry.db import blobs, doomed
from registry.db.connection import Database
from registry.jobs.runner import Job, Lease
from registry.services.backups import unknown_copies
from storage.driver import BlobDriver, StoredObject

logger = logging.getLogger("stowage.jobs")

NAME = "orphans"
_EVERY_S = 86400
_AGE_S = 86400
"""A push records its object within seconds. A day leaves room for clocks that differ."""
_BATCH = 500


def orphans(database: Database, driver: BlobDriver) -> Job:
    """Return the job. It walks the whole store, a batch at a time."""

    async def work(lease: Lease) -> str:
        if unknown := await unknown_copies(database, driver.attic):
            logger.warning(
                "objects without a row stay: the storage has %d copies of a database that this one is not, such as %s; "
                "bring one back with `stowage restore`, or give them up with `stowage backup forget`",
                len(unknown),
                unknown[-1],
            )
            return ""
        removed = freed = 0
        batch: list[StoredObject] = []
        latest = time.time() - _AGE_S
        async for found in driver.objects():
            if found.modified_at < latest:
                batch.append(found)
            if len(batch) == _BATCH:
                count, size = await _sweep(batch)
                removed, freed = removed + count, freed + size
                batch.clear()
                await lease.renew()
        count, size = await _sweep(batch)
        removed, freed = removed + count, freed + size
        return f"{removed} objects without a row removed, {freed} bytes freed" if removed else ""

    async def _sweep(batch: list[StoredObject]) -> tuple[int, int]:
        keys = [found.name for found in batch]
        known = await blobs.known_keys(database, driver.name, keys) | await doomed.known_keys(
            database, driver.name, keys
        )
        unknown = [found for found in batch if found.name not in known]
        for found in unknown:
            await driver.delete(found.name)
        return len(unknown), sum(found.size for found in unknown)

    return Job(NAME, _EVERY_S, work, age_s=_AGE_S)
