"""Keys of objects that no row names any more and whose bytes are about to go.

A key comes here in the transaction that removes the last row that named it, and leaves when its object is deleted. It
is never given to a blob again: each publication makes a key of its own, so a delete that comes late, or twice, destroys
nothing.
"""

from typing import NamedTuple

from sqlalchemy import BigInteger, Text, cast, delete, exists, func, select
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import blobs, doomed


class DoomedKey(NamedTuple):
    """A key of the store that was asked for, and the object's size in bytes."""

    key: str
    size: int


_store, _key = cast(parameter("store"), Text), cast(parameter("key"), Text)
_ADD = Statement(
    postgresql.insert(doomed)
    .from_select(
        ["store", "key", "size", "since"],
        select(_store, _key, cast(parameter("size"), BigInteger), now()).where(
            ~exists().where(blobs.c.store == _store, blobs.c.key == _key)
        ),
    )
    .on_conflict_do_nothing(index_elements=[doomed.c.store, doomed.c.key])
)
_PAGE = Statement(
    select(doomed.c.key, doomed.c.size)
    .where(doomed.c.store == parameter("store"), doomed.c.key > parameter("after"))
    .order_by(doomed.c.key)
    .limit(parameter("limit"))
)
_REMOVE = Statement(delete(doomed).where(doomed.c.store == parameter("store"), one_of(doomed.c.key, "keys")))
_KNOWN = Statement(select(doomed.c.key).where(doomed.c.store == parameter("store"), one_of(doomed.c.key, "keys")))
_TOTAL = Statement(select(func.count(), func.coalesce(func.sum(doomed.c.size), 0)).select_from(doomed))


async def add(transaction: Transaction, *, store: str, key: str, size: int) -> None:
    """Doom a key, unless another blob has it: two digests of the same bytes may share one."""
    await transaction.run(_ADD, store=store, key=key, size=size)


async def page(reader: Reader, store: str, *, after: str, limit: int) -> list[DoomedKey]:
    """Return up to `limit` doomed keys of a store that are greater than `after`, in order."""
    return [DoomedKey(*row) for row in await reader.all(_PAGE, store=store, after=after, limit=limit)]


async def remove(transaction: Transaction, store: str, keys: list[str]) -> None:
    """Forget keys whose objects are deleted."""
    await transaction.run(_REMOVE, store=store, keys=transaction.encode_list(keys))


async def known(reader: Reader, store: str, keys: list[str]) -> set[str]:
    """Return those of `keys` that are doomed."""
    return {row[0] for row in await reader.all(_KNOWN, store=store, keys=reader.encode_list(keys))}


async def total(reader: Reader) -> tuple[int, int]:
    """Return how many keys wait for their objects' deletion, and the bytes of those."""
    row = await reader.first(_TOTAL)
    assert row is not None  # noqa: S101 - it has no condition
    return row[0], int(row[1])
