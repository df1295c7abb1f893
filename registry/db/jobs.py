"""Leases of background work: one process does a job at a time, by the database's clock."""

from sqlalchemy import literal, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import jobs

_ENSURE = Statement(
    postgresql.insert(jobs)
    .values(name=parameter("name"), owner=parameter("owner"), generation=0, lease_until=0, due_at=0)
    .on_conflict_do_nothing(index_elements=[jobs.c.name])
)
_TAKE = Statement(
    update(jobs)
    .where(jobs.c.name == parameter("job"), jobs.c.due_at <= now(), jobs.c.lease_until <= now())
    .values(
        owner=parameter("new_owner"), generation=jobs.c.generation + literal(1), lease_until=now() + parameter("lease")
    )
    .returning(jobs.c.generation)
)
_RENEW = Statement(
    update(jobs)
    .where(jobs.c.name == parameter("job"), jobs.c.generation == parameter("held"))
    .values(lease_until=now() + parameter("lease"))
)
_FINISH = Statement(
    update(jobs)
    .where(jobs.c.name == parameter("job"), jobs.c.generation == parameter("held"))
    .values(lease_until=0, due_at=now() + parameter("pause"))
)


async def take(transaction: Transaction, name: str, *, owner: str, lease_s: int) -> int | None:
    """Take a job that is due and that nobody holds. Return the generation that fences it, or None."""
    await transaction.run(_ENSURE, name=name, owner=owner)
    row = await transaction.first(_TAKE, job=name, new_owner=owner, lease=lease_s * 1_000_000)
    return None if row is None else row[0]


async def renew(transaction: Transaction, name: str, generation: int, *, lease_s: int) -> bool:
    """Keep a job for longer. Return False if it was lost to another process: then stop at once."""
    return await transaction.run(_RENEW, job=name, held=generation, lease=lease_s * 1_000_000) == 1


async def finish(transaction: Transaction, name: str, generation: int, *, pause_s: int) -> None:
    """Give a job back; it is due again after `pause_s` seconds."""
    await transaction.run(_FINISH, job=name, held=generation, pause=pause_s * 1_000_000)
