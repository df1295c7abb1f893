"""Copies of the database that are kept, and which doomed keys they may name.

A copy is recorded before it is made, and a doomed key has the newest copy recorded when its row went. So a copy can
name the key only if it is recorded up to there, whatever clocks say; and once every such copy is gone the bytes may go.
"""

from enum import IntEnum
from typing import NamedTuple

from sqlalchemy import Text, and_, cast, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter, turn_of
from registry.db.tables import backups

TURN = "backups"
"""Who dooms a key takes this turn before it looks for the newest copy, and who records a copy takes it, too: no
transaction that began before a copy was recorded ends after that copy was begun."""


class Kind(IntEnum):
    """What a row stands for."""

    COPY = 0
    MARK = 1
    FAILURE = 2


class Backup(NamedTuple):
    """A row. Times in microseconds since the epoch; `size` in bytes, None while a copy is not whole and safe."""

    id: int
    name: str
    kind: Kind
    made_at: int
    kept_until: int | None
    size: int | None
    error: str | None


_COLUMNS = (
    *(backups.c.id, backups.c.name, backups.c.kind, backups.c.made_at),
    *(backups.c.kept_until, backups.c.size, backups.c.error),
)
_TURN = Statement(select(turn_of("turn")))
_ADD = Statement(
    postgresql.insert(backups).values(
        name=parameter("name"),
        kind=parameter("kind"),
        made_at=parameter("made_at"),
        kept_until=parameter("kept_until"),
        size=parameter("size"),
        error=parameter("error"),
    )
)
_NEWEST = Statement(select(func.coalesce(func.max(backups.c.id), 0)))
_OLDEST = Statement(
    select(func.min(backups.c.id)).where(
        backups.c.kind != Kind.FAILURE.value, or_(backups.c.kept_until.is_(None), backups.c.kept_until > now())
    )
)
_ALL = Statement(select(*_COLUMNS).order_by(backups.c.id))
_DONE = Statement(update(backups).where(backups.c.name == parameter("backup")).values(size=parameter("bytes")))
_REMOVE = Statement(delete(backups).where(backups.c.name == parameter("backup")))
_REMOVE_COPIES = Statement(delete(backups).where(backups.c.kind != Kind.MARK.value))
_FAILED = Statement(
    update(backups)
    .where(backups.c.name == parameter("backup"))
    .values(kind=Kind.FAILURE.value, error=cast(parameter("why"), Text))
)
_REMOVE_SPENT = Statement(
    delete(backups).where(
        or_(
            backups.c.kind == Kind.FAILURE.value,
            and_(backups.c.kind == Kind.MARK.value, backups.c.kept_until <= now()),
        )
    )
)


async def take_turn(transaction: Transaction) -> None:
    """Wait until no other transaction dooms keys or records copies."""
    await transaction.first(_TURN, turn=TURN)


async def add(
    transaction: Transaction,
    name: str,
    kind: Kind,
    *,
    made_at: int,
    kept_until: int | None = None,
    size: int | None = None,
) -> None:
    """Record a copy or a mark: from the commit on, what is doomed stays for its sake."""
    await take_turn(transaction)
    await transaction.run(
        _ADD, name=name, kind=kind.value, made_at=made_at, kept_until=kept_until, size=size, error=None
    )


async def done(transaction: Transaction, name: str, *, size: int) -> None:
    """Record that a copy is whole and safe. What failed before is forgotten, and marks that are over."""
    await transaction.run(_REMOVE_SPENT)
    await transaction.run(_DONE, backup=name, bytes=size)


async def failed(transaction: Transaction, name: str, why: str) -> None:
    """Record why a copy could not be made, in place of what failed before."""
    await transaction.run(_REMOVE_SPENT)
    await transaction.run(_FAILED, backup=name, why=why)


async def remove(transaction: Transaction, name: str) -> bool:
    """Forget a copy or a mark. Return False if there is none of that name."""
    return await transaction.run(_REMOVE, backup=name) == 1


async def remove_copies(transaction: Transaction) -> None:
    """Forget all but marks: ids go on all the same."""
    await transaction.run(_REMOVE_COPIES)


async def every(reader: Reader) -> list[Backup]:
    """Return all rows, in the order in which they came."""
    return [Backup(row[0], row[1], Kind(row[2]), *row[3:]) for row in await reader.all(_ALL)]


async def newest(reader: Reader) -> int:
    """Return the id of the row that came last; 0 if there is none."""
    row = await reader.first(_NEWEST)
    assert row is not None  # noqa: S101 - an aggregate
    newest: int = row[0]
    return newest


async def oldest_kept(reader: Reader) -> int | None:
    """Return the id of the oldest copy or mark for whose sake bytes stay; None if there is none."""
    row = await reader.first(_OLDEST)
    return None if row is None else row[0]
