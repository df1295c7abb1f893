"""Scrubs: the job that runs `registry.services.scrub` slowly, all the time."""

import logging

from registry.jobs.runner import Job, Lease
from registry.services.scrub import Finding, Scrubber

NAME = "scrub"
_LEASE_S = 30

_logger = logging.getLogger("stowage.scrub")


def scrub(scrubber: Scrubber, *, interval_s: int, every_s: int) -> Job:
    """Return the job. `every_s`: how long after a blob was found right it is read again."""

    async def work(lease: Lease) -> str:
        done = await scrubber.run(lease.confirm, every_s=every_s)
        if not done.found and not done.recovered:
            return ""
        return f"{done.blobs} blobs read, {done.found} damaged, {done.recovered} right again"

    return Job(NAME, interval_s, work, lease_s=_LEASE_S)


def tell(finding: Finding) -> None:
    """Write a line into the log. What was quarantined before was told of then."""
    blob = finding.blob
    if finding.quarantined and not blob.state:
        _logger.error(
            "blob %s is quarantined: %s (store %s, key %s, %d repositories); a push brings it back",
            blob.digest,
            finding.why,
            blob.store,
            blob.key,
            len(finding.repositories),
        )
    elif not finding.quarantined:
        _logger.error("blob %s could not be read: %s (store %s)", blob.digest, finding.why, blob.store)
