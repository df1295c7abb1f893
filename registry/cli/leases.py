"""How commands take the lease of a job that servers do by themselves."""

import asyncio
import os
from collections.abc import Callable

from registry.db import jobs
from registry.db.connection import Database
from registry.jobs.runner import Lease, Paused, never, take

_LOOK_S = 0.5


async def take_lease(
    database: Database,
    name: str,
    *,
    lease_s: int,
    command: str,
    waiting: Callable[[str], None],
    paused: Callable[[], bool] = never,
) -> Lease:
    """Take a job's lease, due or not, and wait while somebody else has it.

    Args:
        command: who takes it, for others to see.
        waiting: told who has it.

    Raises:
        Paused: it may not be taken now.
    """
    owner = f"`{command}`, process {os.getpid()}"
    while True:
        if paused():
            raise Paused(name)
        lease = await take(database, name, owner=owner, lease_s=lease_s, paused=paused)
        if lease is not None:
            return lease
        waiting(str(await jobs.holder(database, name)))
        await asyncio.sleep(_LOOK_S)
