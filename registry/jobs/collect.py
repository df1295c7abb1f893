"""Collects garbage: the job that runs `registry.services.collection` at its time."""

from registry.jobs.runner import Job, Lease
from registry.services.collection import Collector

NAME = "collection"
LEASE_S = 10
"""Short, so that another process goes on soon after one was killed."""


def collect(collector: Collector, *, every_s: int, age_s: int) -> Job:
    """Return the job. `age_s`: what it removes became needless at least so many seconds ago."""

    async def work(lease: Lease) -> str:
        collected = await collector.run(lease.confirm)
        return str(collected) if collected.rows or collected.objects else ""

    return Job(NAME, every_s, work, age_s=age_s, lease_s=LEASE_S)
