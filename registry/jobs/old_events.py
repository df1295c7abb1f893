"""Drops events once they are older than the settings keep them, and nobody waits for them, or waits for too long."""

from registry.db import events
from registry.db.connection import Database
from registry.jobs.runner import Job, Lease

NAME = "old-events"
_EVERY_S = 3600
_BATCH = 1000
"""Events a transaction: pushes wait for it."""
AWAITED_S = 30 * 86400
"""How much longer they are kept for a webhook that takes nothing, and that nobody pauses: else the disk would fill."""


def old_events(database: Database, *, keep_s: int) -> Job:
    """Return the job."""

    async def work(lease: Lease) -> str:
        dropped = 0
        while True:
            count = await database.write(
                lambda tx: events.forget(tx, age_s=keep_s, limit=_BATCH, awaited_s=keep_s + AWAITED_S), reserve=True
            )
            dropped += count
            if count < _BATCH:
                break
            await lease.renew()
        return f"{dropped} events dropped" if dropped else ""

    return Job(NAME, _EVERY_S, work, age_s=keep_s)
