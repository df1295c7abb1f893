"""Looks after the audit log: seals it, writes it elsewhere, forgets what is old."""

import logging

from registry.db import audit
from registry.db.connection import Database, Transaction
from registry.jobs.runner import Job, Lease
from registry.services import audit_chain
from registry.services.audit_lines import Lines
from storage.errors import StorageUnavailable

NAME = "audit"
_EVERY_S = 60
_EVERY_QUIETLY_S = 3600
_LEASE_S = 30

_logger = logging.getLogger("stowage.audit")


def look_after_audit(database: Database, lines: Lines, *, keep_s: int, enabled: bool) -> Job:
    """Return the job. `enabled`: requests are recorded, so that there is something to do all the time."""

    async def forget(transaction: Transaction, lease: Lease) -> int:
        await lease.confirm(transaction)
        return await audit.forget_batch(transaction, age_s=keep_s)

    async def work(lease: Lease) -> str:
        sealed = await audit_chain.seal(database, lease.confirm)
        if sealed is not None:  # whoever keeps the log of the server keeps this out of reach of the database
            _logger.info("the audit log is sealed up to entry %d: %s", sealed.last_id, sealed.hash.hex())
        try:
            await lines.write(lease.confirm, sealed)
        except OSError as error:
            raise StorageUnavailable(f"the audit log can't be written to audit.file: {error}") from error
        forgotten = 0
        while count := await database.write(lambda tx: forget(tx, lease), reserve=True):
            forgotten += count
        return f"{forgotten} entries of the audit log forgotten" if forgotten else ""

    every_s = _EVERY_S if enabled or lines.are_wanted else _EVERY_QUIETLY_S
    return Job(NAME, every_s, work, age_s=0, lease_s=_LEASE_S, retry_s=_EVERY_S)
