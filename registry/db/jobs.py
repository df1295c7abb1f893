"""Leases of background work: one process does a job at a time, by the database's clock.

A clock that was ahead and was set back must not keep a job from running: a lease, or a pause, that ends later than any
can is over. Twice their length leaves room for clocks that are set back a little.
"""

from sqlalchemy import literal, or_, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import jobs

_ENSURE = Statement(
    postgresql.insert(jobs)
    .values(name=parameter("name"), owner=parameter("owner"), generation=0, lease_until=0, due_at=0)
    .on_conflict_do_nothing(index_elements=[jobs.c.name])
)
_taking = (
    update(jobs)
    .where(
        jobs.c.name == parameter("job"),
        or_(jobs.c.lease_until <= now(), jobs.c.lease_until > now() + literal(2) * parameter("lease")),
    )
    .values(
        owner=parameter("new_owner"), generation=jobs.c.generation + literal(1), lease_until=now() + parameter("lease")
    )
    .returning(jobs.c.generation)
)
_TAKE_ANYWAY = Statement(_taking)
_TAKE = Statement(_taking.where(or_(jobs.c.due_at <= now(), jobs.c.due_at > now() + literal(2) * parameter("pause"))))
_HOLDER = Statement(select(jobs.c.owner).where(jobs.c.name == parameter("job"), jobs.c.lease_until > now()))
_IS_HELD = Statement(
    select(jobs.c.name).where(
        jobs.c.name == parameter("job"),
        jobs.c.lease_until > now(),
        jobs.c.lease_until <= now() + literal(2) * parameter("lease"),
    )
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


_CLOCK = Statement(select(now()))


async def clock(reader: Reader) -> int:
    """Return the database's time in microseconds since the epoch."""
    row = await reader.first(_CLOCK)
    assert row is not None  # noqa: S101 - it has no condition
    time: int = row[0]
    return time


async def take(transaction: Transaction, name: str, *, owner: str, lease_s: int, pause_s: int) -> int | None:
    """Take a job that is due every `pause_s` seconds and that nobody holds. Return the generation that fences it."""
    await transaction.run(_ENSURE, name=name, owner=owner)
    row = await transaction.first(
        _TAKE, job=name, new_owner=owner, lease=lease_s * 1_000_000, pause=pause_s * 1_000_000
    )
    return None if row is None else row[0]


async def take_anyway(transaction: Transaction, name: str, *, owner: str, lease_s: int) -> int | None:
    """Take a job that nobody holds, due or not. Return the generation that fences it."""
    await transaction.run(_ENSURE, name=name, owner=owner)
    row = await transaction.first(_TAKE_ANYWAY, job=name, new_owner=owner, lease=lease_s * 1_000_000)
    return None if row is None else row[0]


async def holder(reader: Reader, name: str) -> str | None:
    """Return who holds a job, None if nobody does."""
    row = await reader.first(_HOLDER, job=name)
    return None if row is None else row[0]


async def is_held(reader: Reader, name: str, *, lease_s: int) -> bool:
    """Say whether somebody holds a job, so that `take_anyway` would be in vain."""
    return await reader.first(_IS_HELD, job=name, lease=lease_s * 1_000_000) is not None


async def renew(transaction: Transaction, name: str, generation: int, *, lease_s: int) -> bool:
    """Keep a job for longer. Return False if it was lost to another process: then stop at once."""
    return await transaction.run(_RENEW, job=name, held=generation, lease=lease_s * 1_000_000) == 1


async def finish(transaction: Transaction, name: str, generation: int, *, pause_s: int) -> None:
    """Give a job back; it is due again after `pause_s` seconds."""
    await transaction.run(_FINISH, job=name, held=generation, pause=pause_s * 1_000_000)
