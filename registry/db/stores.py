"""Stores of other registries: where they are, and how far their takeover is."""

from typing import NamedTuple

from sqlalchemy import exists, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import blobs, stores
from storage.bucket_place import identity_of


class Store(NamedTuple):
    """A store. `name` is what blobs' rows say. Times in microseconds since the epoch, None for what was not yet."""

    id: int
    name: str
    place: str
    imported_at: int | None
    finished_at: int | None


_COLUMNS = (stores.c.id, stores.c.name, stores.c.place, stores.c.imported_at, stores.c.finished_at)
_BY_NAME = Statement(select(*_COLUMNS).where(stores.c.name == parameter("store")))
_ALL = Statement(select(*_COLUMNS).order_by(stores.c.id))
_IN_USE = Statement(
    select(*_COLUMNS).where(exists(select(blobs.c.id).where(blobs.c.store == stores.c.name))).order_by(stores.c.id)
)
_MOVE = Statement(update(stores).where(stores.c.id == parameter("store_id")).values(place=parameter("where")))
_LAST = Statement(select(stores.c.id).order_by(stores.c.id.desc()).limit(1))
_ADD = Statement(
    postgresql.insert(stores)
    .values(name=parameter("name"), place=parameter("place"), created_at=now())
    .on_conflict_do_nothing()
)
_IMPORTED = Statement(update(stores).where(stores.c.id == parameter("store_id")).values(imported_at=now()))
_FINISHED = Statement(
    update(stores).where(stores.c.id == parameter("store_id"), stores.c.finished_at.is_(None)).values(finished_at=now())
)
_ALL_FINISHED = Statement(select(stores.c.name).where(stores.c.finished_at.is_not(None)).order_by(stores.c.id))
_IS_FINISHED = Statement(select(stores.c.finished_at.is_not(None)).where(stores.c.name == parameter("store")))


async def find(reader: Reader, name: str) -> Store | None:
    """Return the store of that name, or None."""
    row = await reader.first(_BY_NAME, store=name)
    return None if row is None else Store(*row)


async def find_at(reader: Reader, place: str) -> Store | None:
    """Return the store at a place, or None."""
    wanted = identity_of(place)
    return next((found for found in await every(reader) if identity_of(found.place) == wanted), None)


async def in_use(reader: Reader) -> list[Store]:
    """Return the stores that some blob lies in."""
    return [Store(*row) for row in await reader.all(_IN_USE)]


async def find_or_add(transaction: Transaction, place: str) -> Store:
    """Return the store at a place; it is known afterwards, and how it is reached is as `place` says."""
    found = await find_at(transaction, place)
    if found is None:
        last = await transaction.first(_LAST)
        await transaction.run(_ADD, name=f"imported-{1 if last is None else last[0] + 1}", place=place)
        found = await find_at(transaction, place)
        assert found is not None  # noqa: S101 - added above
    elif found.place != place:
        await transaction.run(_MOVE, store_id=found.id, where=place)
        found = found._replace(place=place)
    return found


async def is_finished(reader: Reader, name: str) -> bool:
    """Say whether the takeover of a store is finished: what it holds is ours to delete."""
    row = await reader.first(_IS_FINISHED, store=name)
    return row is not None and bool(row[0])


async def finished(reader: Reader) -> list[str]:
    """Return the names of stores whose takeover is finished."""
    return [row[0] for row in await reader.all(_ALL_FINISHED)]


async def every(reader: Reader) -> list[Store]:
    """Return all stores that were taken over, or are being."""
    return [Store(*row) for row in await reader.all(_ALL)]


async def mark_imported(transaction: Transaction, store_id: int) -> None:
    """Write down that a run came to its end."""
    await transaction.run(_IMPORTED, store_id=store_id)


async def finish(transaction: Transaction, store_id: int) -> bool:
    """End the takeover. Return False if it was ended before."""
    return await transaction.run(_FINISHED, store_id=store_id) == 1
