"""Has a new key sign tokens now and then, and removes keys whose last token has ended."""

from collections.abc import Awaitable, Callable

from registry.db.connection import Database, Transaction
from registry.jobs.runner import Job, Lease

NAME = "signing-keys"
_EVERY_S = 3600


def signing_keys(database: Database, rotate: Callable[[Transaction], Awaitable[str]]) -> Job:
    """Return the job. `rotate` looks whether something is to be done, does it, and says what."""

    async def work(lease: Lease) -> str:
        async def confirmed(transaction: Transaction) -> str:
            await lease.confirm(transaction)
            return await rotate(transaction)

        return await database.write(confirmed, reserve=True)

    return Job(NAME, _EVERY_S, work)
