"""Failed logins, counted by what was tried and from where, for all replicas."""

from sqlalchemy import case, delete, literal, select
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import login_failures

_TABLE = login_failures
_RECENT = Statement(
    select(_TABLE.c.key, _TABLE.c.count, _TABLE.c.until, now()).where(
        one_of(_TABLE.c.key, "keys"), _TABLE.c.last_at > now() - parameter("window")
    )
)
_insert = postgresql.insert(_TABLE).values(
    key=parameter("key"), count=literal(1), last_at=now(), until=now() + parameter("pause")
)
_ADD = Statement(
    _insert.on_conflict_do_update(
        index_elements=[_TABLE.c.key],
        set_={
            "count": case(
                (_TABLE.c.last_at > now() - parameter("window"), _TABLE.c.count + literal(1)), else_=literal(1)
            ),
            "last_at": now(),
            "until": now() + parameter("pause"),
        },
    )
)
_REMOVE = Statement(delete(_TABLE).where(_TABLE.c.key == parameter("tried")))
_FORGET = Statement(delete(_TABLE).where(_TABLE.c.last_at < parameter("before")))


async def recent(reader: Reader, keys: list[str], *, window: int) -> dict[str, tuple[int, int]]:
    """Return for each key that has failures how many, and for how long nobody is let in: microseconds, 0 for no more.

    `window`: so many microseconds are failures kept in mind after the last one.
    """
    rows = await reader.all(_RECENT, keys=reader.encode_list(keys), window=window)
    return {row[0]: (int(row[1]), max(0, (row[2] or 0) - row[3])) for row in rows}


async def add(transaction: Transaction, key: str, *, pause: int, window: int) -> None:
    """Count a failure. `pause`: for so many microseconds nobody is let in."""
    await transaction.run(_ADD, key=key, pause=pause, window=window)


async def remove(transaction: Transaction, key: str) -> bool:
    """Forget the failures of one key. False if there are none."""
    return await transaction.run(_REMOVE, tried=key) == 1


async def forget(transaction: Transaction, before: int) -> int:
    """Forget what last failed before a time (microseconds since the epoch), and return of how many keys."""
    return await transaction.run(_FORGET, before=before)
