"""What scrubbing asks of blobs' rows, and what it writes into them.

Nothing locks a blob while its bytes are read: a row is changed only if it still is what was read, in the transaction
that changes it.
"""

from typing import NamedTuple

from sqlalchemy import func, literal, select, update

from registry.db import blobs as blobs_of
from registry.db import repositories as repositories_of
from registry.db.blobs import GOOD, QUARANTINED, Blob
from registry.db.connection import Reader, Transaction
from registry.db.statements import Row, Statement, now, parameter
from registry.db.tables import blobs, links, repositories
from registry.oci.names import RepositoryName


class Scrubbed(NamedTuple):
    """A blob, and when its bytes were last seen to be right: microseconds since the epoch, None if they never were."""

    blob: Blob
    verified_at: int | None


_page = (
    select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.store, blobs.c.key, blobs.c.state, blobs.c.verified_at)
    .where(blobs.c.id > parameter("after"))
    .order_by(blobs.c.id)
    .limit(parameter("limit"))
)
_ALL = Statement(_page)
_UNVERIFIED = Statement(_page.where(blobs.c.verified_at.is_(None)))
_QUARANTINED = Statement(_page.where(blobs.c.state != literal(GOOD)))
_VERIFY = Statement(
    update(blobs)
    .where(blobs.c.id == parameter("blob_id"), blobs.c.key == parameter("read_key"), blobs.c.state == literal(GOOD))
    .values(verified_at=now())
)
_QUARANTINE = Statement(update(blobs).where(blobs.c.id == parameter("blob_id")).values(state=literal(QUARANTINED)))
_RECOVER = Statement(
    update(blobs).where(blobs.c.id == parameter("blob_id")).values(state=literal(GOOD), verified_at=now())
)
_LINKING = Statement(
    select(repositories.c.id, repositories.c.name)
    .select_from(links.join(repositories, repositories.c.id == links.c.repository_id))
    .where(links.c.blob_id == parameter("blob_id"), links.c.deleted_at.is_(None))
    .order_by(repositories.c.id)
)


_COUNT_QUARANTINED = Statement(
    select(func.count()).select_from(
        select(blobs.c.id).where(blobs.c.state != literal(GOOD)).limit(parameter("most")).subquery()
    )
)
_COUNT_UNVERIFIED = Statement(
    select(func.count()).select_from(
        select(blobs.c.id).where(blobs.c.verified_at.is_(None)).limit(parameter("most")).subquery()
    )
)
_COUNT_ALL = Statement(select(func.count(), func.coalesce(func.sum(blobs.c.size), 0)).select_from(blobs))


async def page(reader: Reader, *, after: int, limit: int) -> list[Scrubbed]:
    """Return up to `limit` blobs with ids greater than `after`, in order."""
    return [_scrubbed(row) for row in await reader.all(_ALL, after=after, limit=limit)]


async def unverified(reader: Reader, *, after: int, limit: int) -> list[Scrubbed]:
    """Return those whose bytes nobody has hashed."""
    return [_scrubbed(row) for row in await reader.all(_UNVERIFIED, after=after, limit=limit)]


async def quarantined(reader: Reader, *, after: int, limit: int) -> list[Scrubbed]:
    """Return those that are in quarantine."""
    return [_scrubbed(row) for row in await reader.all(_QUARANTINED, after=after, limit=limit)]


async def count_quarantined(reader: Reader, *, most: int) -> int:
    """Return how many blobs are in quarantine; `most` if there are more."""
    row = await reader.first(_COUNT_QUARANTINED, most=most)
    assert row is not None  # noqa: S101 - it has no condition
    number: int = row[0]
    return number


async def count_unverified(reader: Reader, *, most: int) -> int:
    """Return how many blobs nobody has hashed yet; `most` if there are more."""
    row = await reader.first(_COUNT_UNVERIFIED, most=most)
    assert row is not None  # noqa: S101 - it has no condition
    number: int = row[0]
    return number


async def total(reader: Reader) -> tuple[int, int]:
    """Return how many blobs there are, and their bytes. Takes long where there are many."""
    row = await reader.first(_COUNT_ALL)
    assert row is not None  # noqa: S101 - it has no condition
    return row[0], int(row[1])


async def mark_verified(transaction: Transaction, found: list[Blob]) -> None:
    """Write down that the bytes of these were right just now, unless a row has changed since they were read."""
    await transaction.run_many(_VERIFY, [{"blob_id": blob.id, "read_key": blob.key} for blob in found])


async def linking(reader: Reader, blob_id: int) -> list[tuple[int, RepositoryName]]:
    """Return id and name of each repository that a blob can be seen in, in order of ids."""
    return [(row[0], row[1]) for row in await reader.all(_LINKING, blob_id=blob_id)]


async def lock(transaction: Transaction, read: Blob) -> list[RepositoryName] | None:
    """Lock the repositories that show a blob, then the blob. Return their names; None if its row is another by now."""
    locked = await linking(transaction, read.id)
    for repository_id, _ in locked:
        await repositories_of.lock_known(transaction, repository_id)
    current = await blobs_of.find_to_change(transaction, read.digest)
    if current != read:
        return None
    there = {repository_id for repository_id, _ in await linking(transaction, read.id)}
    return [name for repository_id, name in locked if repository_id in there]


async def quarantine(transaction: Transaction, blob_id: int) -> None:
    """Have a blob that is locked served no more."""
    await transaction.run(_QUARANTINE, blob_id=blob_id)


async def recover(transaction: Transaction, blob_id: int) -> None:
    """Have a blob that is locked served again: its bytes were hashed."""
    await transaction.run(_RECOVER, blob_id=blob_id)


def _scrubbed(row: Row) -> Scrubbed:
    return Scrubbed(Blob._make(row[:-1]), row[-1])
