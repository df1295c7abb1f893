"""Counts what projects hold whose quota is new, or whose counting was interrupted."""

from contextlib import suppress

from registry.errors import QuotaUnknown, RecordUnknown
from registry.jobs.runner import Job, Lease
from registry.services.quotas import Quotas

NAME = "quotas"
_EVERY_S = 60


def count_quotas(quotas: Quotas) -> Job:
    """Return the job."""

    async def work(lease: Lease) -> str:
        counted = []
        for project in await quotas.uncounted():
            with suppress(RecordUnknown, QuotaUnknown):  # taken away meanwhile
                await quotas.count(project, check=lease.renew)
                counted.append(project)
        return f"counted what {', '.join(counted)} use" if counted else ""

    return Job(NAME, _EVERY_S, work)
