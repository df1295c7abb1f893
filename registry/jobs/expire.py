"""Removes tags whose time is over."""

from registry.jobs.runner import Job, Lease
from registry.services.tag_expiry import TagExpiry

NAME = "expire"
_EVERY_S = 60
_AGE_S = 3600
_LEASE_S = 30


def expire(expiry: TagExpiry) -> Job:
    """Return the job."""

    async def work(lease: Lease) -> str:
        removed = await expiry.run(lease.confirm)
        return f"{removed} tags removed whose time was over" if removed else ""

    return Job(NAME, _EVERY_S, work, age_s=_AGE_S, lease_s=_LEASE_S, retry_s=_EVERY_S)
