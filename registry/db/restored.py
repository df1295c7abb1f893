"""What has to change in a copy of the database that takes the database's place."""

from typing import NamedTuple

from sqlalchemy import delete, literal, select, update
from sqlalchemy.dialects import postgresql

from registry.db import backups, candidates, doomed, events
from registry.db.blobs import QUARANTINED
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import blobs, jobs, upload_sessions
from registry.db.tables import candidates as candidates_table
from registry.db.tables import doomed as doomed_table


class KeyedBlob(NamedTuple):
    """A blob's row by its key. `size` in bytes."""

    id: int
    key: str
    size: int
    digest: str


_PAGE = Statement(
    select(blobs.c.id, blobs.c.key, blobs.c.size, blobs.c.digest)
    .where(blobs.c.store == parameter("store"), blobs.c.key >= parameter("first"))
    .order_by(blobs.c.key, blobs.c.id)
    .limit(parameter("limit"))
    .offset(parameter("skipped"))
)
_STORES = Statement(select(blobs.c.store).distinct().order_by(blobs.c.store))
_QUARANTINE = Statement(update(blobs).where(blobs.c.id == parameter("blob_id")).values(state=QUARANTINED))
_NO_SESSIONS = Statement(delete(upload_sessions))
_NO_LEASES = Statement(delete(jobs))
_LATER = Statement(
    update(candidates_table)
    .where(candidates_table.c.due_at.is_not(None))
    .values(due_at=now() + literal(candidates.LATEST_US))
)
_DOOM = Statement(
    postgresql.insert(doomed_table)
    .values(
        store=parameter("store"),
        key=parameter("key"),
        size=parameter("size"),
        since=now(),
        backup=parameter("backup"),
    )
    .on_conflict_do_nothing(index_elements=[doomed_table.c.store, doomed_table.c.key])
)


async def reset(transaction: Transaction) -> None:
    """End what was under way when the copy was made: upload sessions, leases. Collection looks at nothing for a day.

    Cursors in the stream of events lead nowhere now: what they stood behind happened in another future.
    """
    await transaction.run(_NO_SESSIONS)
    await transaction.run(_NO_LEASES)
    await transaction.run(_LATER)
    await doomed.keep_all(transaction)
    await events.begin_epoch(transaction)


async def stores(reader: Reader) -> list[str]:
    """Return the names of the stores that blobs' rows name."""
    return [row[0] for row in await reader.all(_STORES)]


async def page(reader: Reader, store: str, *, first: str, skipped: int, limit: int) -> list[KeyedBlob]:
    """Return up to `limit` blobs of a store by key, from the key `first` on, but for `skipped` of them."""
    rows = await reader.all(_PAGE, store=store, first=first, skipped=skipped, limit=limit)
    return [KeyedBlob(*row) for row in rows]


async def quarantine(transaction: Transaction, blob_ids: list[int]) -> None:
    """Serve these blobs no more, until a push brings their bytes again."""
    await transaction.run_many(_QUARANTINE, [{"blob_id": blob_id} for blob_id in blob_ids])


async def doom(transaction: Transaction, store: str, found: list[tuple[str, int]]) -> None:
    """Have objects without a row stay as long as every copy that is recorded now. `found`: keys and sizes."""
    newest = await backups.newest(transaction)
    rows = [{"store": store, "key": key, "size": size, "backup": newest} for key, size in found]
    await transaction.run_many(_DOOM, rows)
