"""Locked digests: manifests that nobody deletes, and nothing collects."""

from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import locked_digests, repositories
from registry.oci.names import RepositoryName
from storage.digest import Digest


class Lock(NamedTuple):
    """A lock. `created_at`: microseconds since the epoch."""

    repository: RepositoryName
    digest: Digest
    reason: str
    created_at: int
    created_by: str


_COLUMNS = (
    repositories.c.name,
    locked_digests.c.digest,
    locked_digests.c.reason,
    locked_digests.c.created_at,
    locked_digests.c.created_by,
)
_joined = locked_digests.join(repositories, repositories.c.id == locked_digests.c.repository_id)
_FIND = Statement(
    select(*_COLUMNS)
    .select_from(_joined)
    .where(locked_digests.c.repository_id == parameter("repository_id"), locked_digests.c.digest == parameter("digest"))
)
_PAGE = Statement(
    select(*_COLUMNS)
    .select_from(_joined)
    .where(repositories.c.name == parameter("name"), locked_digests.c.digest > parameter("after"))
    .order_by(locked_digests.c.digest)
    .limit(parameter("limit"))
)
_ADD = Statement(
    postgresql.insert(locked_digests)
    .values(
        repository_id=parameter("repository_id"),
        digest=parameter("digest"),
        reason=parameter("reason"),
        created_at=now(),
        created_by=parameter("actor"),
    )
    .on_conflict_do_nothing()
)
_REMOVE = Statement(
    delete(locked_digests).where(
        locked_digests.c.repository_id == parameter("repository_id"), locked_digests.c.digest == parameter("digest")
    )
)


async def find(reader: Reader, repository_id: int, digest: Digest) -> Lock | None:
    """Return the lock of a manifest, or None."""
    row = await reader.first(_FIND, repository_id=repository_id, digest=digest)
    return None if row is None else Lock._make(row)


async def page(reader: Reader, name: RepositoryName, *, after: str, limit: int) -> list[Lock]:
    """Return up to `limit` locks in a repository with digests that follow `after`, in their order."""
    return [Lock._make(row) for row in await reader.all(_PAGE, name=name, after=after, limit=limit)]


async def add(transaction: Transaction, repository_id: int, digest: Digest, *, reason: str, actor: str) -> bool:
    """Lock a manifest. False if it is locked."""
    return await transaction.run(_ADD, repository_id=repository_id, digest=digest, reason=reason, actor=actor) == 1


async def remove(transaction: Transaction, repository_id: int, digest: Digest) -> bool:
    """Unlock a manifest. False if it is not locked."""
    return await transaction.run(_REMOVE, repository_id=repository_id, digest=digest) == 1
