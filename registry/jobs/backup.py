"""Copies the database into the storage: the job that runs `registry.services.backups` at its time."""

from registry.jobs.runner import Job, Lease, NotYet
from registry.services.backups import Backups, told

NAME = "backup"
LEASE_S = 10
"""Short, so that another process goes on soon after one was killed."""
_EMPTY_S = 600
"""When to look again at a registry that has nothing yet."""
_RETRY_S = 3600


def backup(backups: Backups, *, every_s: int) -> Job:
    """Return the job."""

    async def work(lease: Lease) -> str:
        if await backups.is_pointless():
            raise NotYet(min(every_s, _EMPTY_S))
        made = await backups.make(lease.confirm)
        return "" if made is None else told(made)

    return Job(NAME, every_s, work, lease_s=LEASE_S, retry_s=min(every_s, _RETRY_S))
