"""When credentials were last used: each request uses one."""

import logging
from time import monotonic

from registry.db import credentials, jobs
from registry.db.connection import Database, Transaction
from registry.services.noted import Noted

_EVERY_S = 10.0
_MOST = 10_000

_logger = logging.getLogger("stowage.auth")


class LastUse(Noted[int, float]):
    """Remembers what was used in this process until it is written down."""

    def __init__(self, database: Database, *, every_s: float = _EVERY_S) -> None:
        super().__init__(
            database,
            every_s=every_s,
            most=_MOST,
            name="last use of credentials",
            refused="when credentials were used can't be written down",
            logger=_logger,
        )

    def note(self, credential_id: int) -> None:
        """Say that a credential is being used. Costs next to nothing."""
        self._keep(credential_id, monotonic())

    async def _write(self, notes: dict[int, float]) -> None:
        await self._database.write(lambda tx: _mark(tx, notes), durable=False)


async def _mark(transaction: Transaction, used: dict[int, float]) -> None:
    clock, here = await jobs.clock(transaction), monotonic()
    for credential_id, at in used.items():
        await credentials.mark_used(transaction, credential_id, clock - int((here - at) * 1_000_000))
