"""Forgets failed logins that are long ago, and credentials that ended a month ago."""

import time

from registry.db import credentials, login_failures
from registry.db.connection import Database, Transaction
from registry.jobs.runner import Job, Lease

NAME = "old-logins"
_EVERY_S = 3600
_SECOND = 1_000_000
_KEPT_S = 30 * 86400


def old_logins(database: Database, *, window_s: int) -> Job:
    """Return the job. `window_s`: how long failures count."""

    async def work(lease: Lease) -> str:
        async def forget(transaction: Transaction) -> tuple[int, int]:
            await lease.confirm(transaction)
            failures = await login_failures.forget(transaction, _ago(window_s))
            return failures, await credentials.forget(transaction, _ago(_KEPT_S))

        failures, ended = await database.write(forget, reserve=True)
        return f"{failures} failed logins and {ended} credentials forgotten" if failures or ended else ""

    return Job(NAME, _EVERY_S, work, age_s=_KEPT_S)


def _ago(seconds: int) -> int:
    return int((time.time() - seconds) * _SECOND)
