"""Keys that sign tokens: their public halves, and the private ones, sealed."""

from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import signing_keys


class Key(NamedTuple):
    """A key. `public`: a JSON Web Key. Times in microseconds since the epoch; `ends_at` None for the newest."""

    kid: str
    public: str
    sealed: bytes
    created_at: int
    signs_from: int
    ends_at: int | None


_TABLE = signing_keys
_ALL = Statement(
    select(*(_TABLE.c[name] for name in Key._fields)).order_by(
        _TABLE.c.signs_from.desc(), _TABLE.c.created_at.desc(), _TABLE.c.kid
    )
)
_NOW = Statement(select(now()))
_ADD = Statement(
    postgresql.insert(_TABLE).values(
        kid=parameter("kid"),
        algorithm=parameter("algorithm"),
        public=parameter("public"),
        sealed=parameter("sealed"),
        created_at=now(),
        signs_from=parameter("signs_from"),
    )
)
_END = Statement(
    update(_TABLE)
    .where(_TABLE.c.kid != parameter("newest"), _TABLE.c.ends_at.is_(None))
    .values(ends_at=parameter("ends"))
)
_FORGET = Statement(delete(_TABLE).where(_TABLE.c.ends_at < now()))


async def every(reader: Reader) -> list[Key]:
    """Return all keys, the one that signs last first."""
    return [Key(*row) for row in await reader.all(_ALL)]


async def clock(reader: Reader) -> int:
    """Return the database's time: microseconds since the epoch."""
    row = await reader.first(_NOW)
    return 0 if row is None else int(row[0])


async def add(
    transaction: Transaction, *, kid: str, algorithm: str, public: str, sealed: bytes, signs_from: int
) -> None:
    """Record a key. `signs_from` in microseconds since the epoch."""
    values = {"kid": kid, "algorithm": algorithm, "public": public, "sealed": sealed}
    await transaction.run(_ADD, **values, signs_from=signs_from)


async def end_others(transaction: Transaction, newest: str, ends_at: int) -> int:
    """Say when the keys beside the newest end, which had no end yet, and return how many that were."""
    return await transaction.run(_END, newest=newest, ends=ends_at)


async def forget(transaction: Transaction) -> int:
    """Remove the keys that have ended, and return how many."""
    return await transaction.run(_FORGET)
