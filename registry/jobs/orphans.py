"""Removes objects that no row names: what a crash left between publishing the bytes and recording them.

Objects of doomed keys are among them, if collection leaves them for a day: who deletes those makes no difference.
"""

import time

from registry.db import blobs
from registry.db.connection import Database
from registry.jobs.runner import Job, Lease
from storage.driver import BlobDriver, StoredObject

NAME = "orphans"
_EVERY_S = 86400
_AGE_S = 86400
"""A push records its object within seconds. A day leaves room for clocks that differ."""
_BATCH = 500


def orphans(database: Database, driver: BlobDriver) -> Job:
    """Return the job. It walks the whole store, a batch at a time."""

    async def work(lease: Lease) -> str:
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
        known = await blobs.known_keys(database, driver.name, [found.name for found in batch])
        unknown = [found for found in batch if found.name not in known]
        for found in unknown:
            await driver.delete(found.name)
        return len(unknown), sum(found.size for found in unknown)

    return Job(NAME, _EVERY_S, work, age_s=_AGE_S)
