"""Keys of objects that no row names any more and whose bytes are about to go.

A key comes here in the transaction that removes the last row that named it, and leaves when its object is deleted. It
is never given to a blob again: each publication makes a key of its own, so a delete that comes late, or twice, destroys
nothing. While a copy of the database may name a key, its bytes stay (`registry.db.backups`).
"""

from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Text, and_, cast, delete, exists, func, literal, not_, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql

from registry.db import backups
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import backups as backups_table
from registry.db.tables import blobs, doomed

_MARGIN_US = 600 * 1_000_000
"""A key's time is taken a little before its transaction commits, which is what a recovery goes by."""
_EVERY = 2**62


class DoomedKey(NamedTuple):
    """A key of the store that was asked for, the object's size in bytes, and the newest copy that may name it."""

    key: str
    size: int
    backup: int


class Sum(NamedTuple):
    """How many objects, and their bytes."""

    objects: int
    bytes: int


class Limit(NamedTuple):
    """Which keys' bytes may go: those that only copies before `backup` name, doomed `window` microseconds ago."""

    backup: int
    window: int

    @property
    def as_parameters(self) -> dict[str, Any]:
        """For the statements below."""
        return {"backup": self.backup, "window": self.window + _MARGIN_US if self.window else 0}


_store, _key = cast(parameter("store"), Text), cast(parameter("key"), Text)
_newest = select(func.coalesce(func.max(backups_table.c.id), literal(0))).scalar_subquery()
_ADD = Statement(
    postgresql.insert(doomed)
    .from_select(
        ["store", "key", "size", "since", "backup"],
        select(_store, _key, cast(parameter("size"), BigInteger), now(), _newest).where(
            ~exists().where(blobs.c.store == _store, blobs.c.key == _key)
        ),
    )
    .on_conflict_do_nothing(index_elements=[doomed.c.store, doomed.c.key])
)
_window = cast(parameter("window"), BigInteger)
_may_go = (
    doomed.c.backup < parameter("backup"),
    or_(_window == literal(0), doomed.c.since <= now() - _window),  # without a window no clock keeps anything
)
_PAGE = Statement(
    select(doomed.c.key, doomed.c.size, doomed.c.backup)
    .where(
        doomed.c.store == parameter("store"),
        tuple_(doomed.c.backup, doomed.c.key)
        > tuple_(cast(parameter("after_backup"), BigInteger), cast(parameter("after"), Text)),
        *_may_go,
    )
    .order_by(doomed.c.backup, doomed.c.key)
    .limit(parameter("limit"))
)
_REMOVE = Statement(delete(doomed).where(doomed.c.store == parameter("store"), one_of(doomed.c.key, "keys")))
_KNOWN = Statement(select(doomed.c.key).where(doomed.c.store == parameter("store"), one_of(doomed.c.key, "keys")))
_TOTAL = Statement(select(func.count(), func.coalesce(func.sum(doomed.c.size), 0)).select_from(doomed))
_held = select(doomed.c.size).where(not_(and_(*_may_go))).limit(parameter("limit")).subquery()
_HELD = Statement(select(func.count(), func.coalesce(func.sum(_held.c.size), 0)).select_from(_held))
_LET_GO = Statement(
    update(doomed)
    .where(doomed.c.store == parameter("of"), doomed.c.key == parameter("named"))
    .values(since=0, backup=0)
)
_KEEP_ALL = Statement(update(doomed).values(backup=_newest))


async def add(transaction: Transaction, *, store: str, key: str, size: int) -> None:
    """Doom a key, unless another blob has it: two digests of the same bytes may share one."""
    await backups.take_turn(transaction)
    await transaction.run(_ADD, store=store, key=key, size=size)


async def let_go(transaction: Transaction, *, store: str, key: str) -> None:
    """Have a doomed key's bytes go whatever copy of the database names it: there, they are missing then."""
    await transaction.run(_LET_GO, of=store, named=key)


async def limit(reader: Reader, *, window_s: int) -> Limit:
    """Return which keys' bytes may go now. `window_s`: how far back the database may be recovered, in seconds."""
    oldest = await backups.oldest_kept(reader)
    return Limit(_EVERY if oldest is None else oldest, window_s * 1_000_000)


async def page(reader: Reader, store: str, may_go: Limit, *, after: DoomedKey | None, limit: int) -> list[DoomedKey]:
    """Return up to `limit` doomed keys of a store whose bytes may go, beginning after one of them."""
    last = after or DoomedKey("", 0, -1)
    rows = await reader.all(
        _PAGE, store=store, after_backup=last.backup, after=last.key, limit=limit, **may_go.as_parameters
    )
    return [DoomedKey(*row) for row in rows]


async def remove(transaction: Transaction, store: str, keys: list[str]) -> None:
    """Forget keys whose objects are deleted."""
    await transaction.run(_REMOVE, store=store, keys=transaction.encode_list(keys))


async def known_keys(reader: Reader, store: str, keys: list[str]) -> set[str]:
    """Return those of `keys` that are doomed."""
    rows = await reader.all(_KNOWN, store=store, keys=reader.encode_list(keys))
    return {row[0] for row in rows}


async def total(reader: Reader) -> Sum:
    """Return how many keys wait for their objects' deletion, and the bytes of those."""
    row = await reader.first(_TOTAL)
    assert row is not None  # noqa: S101 - it has no condition
    return Sum(row[0], int(row[1]))


async def held(reader: Reader, may_go: Limit, *, most: int) -> Sum:
    """Return how many objects stay for the sake of copies of the database, `most` at most, and their bytes."""
    row = await reader.first(_HELD, limit=most, **may_go.as_parameters)
    assert row is not None  # noqa: S101 - an aggregate
    return Sum(row[0], int(row[1]))


async def keep_all(transaction: Transaction) -> None:
    """Have every doomed key stay for the sake of all copies that are recorded now."""
    await transaction.run(_KEEP_ALL)
