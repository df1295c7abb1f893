"""Blobs and the links that make them visible in repositories.

Where `hold` is an argument, it is how long content stays that a client was told exists, in microseconds. A new hold
lasts twice as long, so that an answer "it exists" rarely has to write.
"""

from typing import NamedTuple

from sqlalchemy import BigInteger, and_, case, cast, exists, insert, literal, select, update
from sqlalchemy.dialects import postgresql

from registry.db import candidates, doomed
from registry.db.candidates import Cause, Kind
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import blobs, links, manifest_blobs, manifests, repositories
from registry.oci.names import RepositoryName
from storage.digest import Digest

GOOD = 0
QUARANTINED = 1


class Blob(NamedTuple):
    """Where a digest's bytes are. `size` in bytes."""

    id: int
    digest: Digest
    size: int
    store: str
    key: str
    state: int


class LinkedBlob(NamedTuple):
    """A blob as one repository sees it. `hold_due`: the link is a candidate for collection whose hold runs out."""

    repository_id: int
    blob: Blob
    hold_due: bool


_COLUMNS = (blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.store, blobs.c.key, blobs.c.state)
_LINKED = (
    select(links.c.repository_id, *_COLUMNS)
    .select_from(
        repositories.join(links, links.c.repository_id == repositories.c.id).join(blobs, blobs.c.id == links.c.blob_id)
    )
    .where(
        repositories.c.name == parameter("name"),
        blobs.c.digest == parameter("digest"),
        links.c.deleted_at.is_(None),
    )
)
_FIND = Statement(select(*_COLUMNS).where(blobs.c.digest == parameter("digest")))
_FIND_SHARED = Statement(
    select(*_COLUMNS).where(blobs.c.digest == parameter("digest")).with_for_update(read=True, of=blobs)
)
_FIND_OWN = Statement(
    select(*_COLUMNS).where(blobs.c.digest == parameter("digest")).with_for_update(key_share=True, of=blobs)
)
_FIND_LINKED = Statement(_LINKED, hot=True)
_FIND_LINKED_WITH_HOLD = Statement(
    _LINKED.add_columns(
        and_(
            links.c.held_until < now() + parameter("hold"),
            ~exists()
            .where(
                manifest_blobs.c.repository_id == links.c.repository_id,
                manifest_blobs.c.blob_id == links.c.blob_id,
                manifests.c.id == manifest_blobs.c.manifest_id,
                manifests.c.deleted_at.is_(None),
            )
            .correlate(links),
        )
    )
)
_FIND_ANYWHERE = Statement(
    select(*_COLUMNS)
    .where(
        blobs.c.digest == parameter("digest"),
        exists().where(links.c.blob_id == blobs.c.id, links.c.deleted_at.is_(None)),
    )
    .limit(1)
)
_REPOSITORIES = Statement(
    select(repositories.c.name)
    .select_from(
        blobs.join(links, links.c.blob_id == blobs.c.id).join(repositories, repositories.c.id == links.c.repository_id)
    )
    .where(blobs.c.digest == parameter("digest"), links.c.deleted_at.is_(None))
    .order_by(repositories.c.name)
    .limit(parameter("limit"))
)
_FIND_SEVERAL = Statement(
    select(blobs.c.digest, blobs.c.id, blobs.c.size)
    .select_from(blobs.join(links, links.c.blob_id == blobs.c.id))
    .where(
        links.c.repository_id == parameter("repository_id"),
        one_of(blobs.c.digest, "digests"),
        links.c.deleted_at.is_(None),
        blobs.c.state == GOOD,
    )
)
_INSERT = Statement(
    insert(blobs).values(
        digest=parameter("digest"),
        size=parameter("size"),
        store=parameter("store"),
        key=parameter("key"),
        state=GOOD,
        created_at=now(),
        verified_at=now(),
    )
)
_MOVE = Statement(
    update(blobs)
    .where(blobs.c.id == parameter("blob_id"))
    .values(size=parameter("size"), store=parameter("store"), key=parameter("key"), state=GOOD, verified_at=now())
)
_NEW_HOLD = now() + literal(2) * cast(parameter("hold"), BigInteger)
_linked = {"linked_at": now(), "held_until": _NEW_HOLD}


def _linking(insertion: postgresql.Insert) -> Statement:
    """Have a link that is there held anew, and one that was deleted come back."""
    new = insertion.excluded
    return Statement(
        insertion.on_conflict_do_update(
            index_elements=[links.c.repository_id, links.c.blob_id],
            set_={
                "held_until": new.held_until,
                "linked_at": case((links.c.deleted_at.is_(None), links.c.linked_at), else_=new.linked_at),
                "deleted_at": None,
            },
        )
    )


_LINK = _linking(
    postgresql.insert(links).values(repository_id=parameter("repository_id"), blob_id=parameter("blob_id"), **_linked)
)
_LINK_STORED = _linking(
    postgresql.insert(links).from_select(
        ["repository_id", "blob_id", *_linked],
        select(repositories.c.id, blobs.c.id, *_linked.values())
        .where(
            repositories.c.id == parameter("repository_id"),
            blobs.c.id == parameter("blob_id"),
            blobs.c.key == parameter("key"),
            blobs.c.state == GOOD,
        )
        .with_for_update(read=True, of=blobs),
    )
)
_HOLD = Statement(
    update(links)
    .where(
        links.c.repository_id == parameter("repository"),
        links.c.blob_id == parameter("blob"),
        links.c.deleted_at.is_(None),
        exists().where(blobs.c.id == links.c.blob_id, blobs.c.key == parameter("key")),
    )
    .values(held_until=_NEW_HOLD)
)
_HOLD_OF = Statement(
    update(links)
    .where(
        links.c.repository_id == parameter("repository"),
        links.c.blob_id.in_(
            select(manifest_blobs.c.blob_id).where(manifest_blobs.c.manifest_id == parameter("manifest_id"))
        ),
        links.c.held_until < now() + cast(parameter("hold"), BigInteger),
    )
    .values(held_until=now() + cast(parameter("hold"), BigInteger))
)
_UNLINK = Statement(
    update(links)
    .where(links.c.repository_id == parameter("repository"), links.c.blob_id == parameter("blob"))
    .values(deleted_at=now())
)
_KEYS = Statement(select(blobs.c.key).where(blobs.c.store == parameter("store"), one_of(blobs.c.key, "keys")))


async def find(reader: Reader, digest: Digest) -> Blob | None:
    """Return the digest's row, whoever links it. Not for answering clients: knowing a digest opens nothing."""
    row = await reader.first(_FIND, digest=digest)
    return None if row is None else Blob(*row)


async def find_to_link(transaction: Transaction, digest: Digest) -> Blob | None:
    """Like `find`; until the transaction ends, nobody moves or collects the blob. A repository is locked before."""
    row = await transaction.first(_FIND_SHARED, digest=digest)
    return None if row is None else Blob(*row)


async def find_to_change(transaction: Transaction, digest: Digest) -> Blob | None:
    """Like `find`; until the transaction ends, nobody else links, moves or collects the blob."""
    row = await transaction.first(_FIND_OWN, digest=digest)
    return None if row is None else Blob(*row)


async def find_anywhere(reader: Reader, digest: Digest) -> Blob | None:
    """Return a blob that some repository links: for mounting without a source, where everything may be read."""
    row = await reader.first(_FIND_ANYWHERE, digest=digest)
    return None if row is None else Blob(*row)


async def repositories_of(reader: Reader, digest: str, *, limit: int) -> list[RepositoryName]:
    """Return the names of up to `limit` repositories that show a blob."""
    return [RepositoryName(row[0]) for row in await reader.all(_REPOSITORIES, digest=digest, limit=limit)]


async def find_linked(reader: Reader, name: RepositoryName, digest: Digest) -> LinkedBlob | None:
    """Return a blob that the repository links, or None."""
    row = await reader.first(_FIND_LINKED, name=name, digest=digest)
    return None if row is None else LinkedBlob(row[0], Blob(*row[1:]), hold_due=False)


async def find_linked_with_hold(
    reader: Reader, name: RepositoryName, digest: Digest, *, hold: int
) -> LinkedBlob | None:
    """Like `find_linked`, and say whether the hold has to be renewed before a client is told that the blob exists."""
    row = await reader.first(_FIND_LINKED_WITH_HOLD, name=name, digest=digest, hold=hold)
    return None if row is None else LinkedBlob(row[0], Blob(*row[1:-1]), hold_due=bool(row[-1]))


async def find_several(transaction: Transaction, repository_id: int, digests: list[str]) -> dict[str, tuple[int, int]]:
    """Return id and size in bytes of those digests that the repository links."""
    rows = await transaction.all(_FIND_SEVERAL, repository_id=repository_id, digests=transaction.encode_list(digests))
    return {row[0]: (row[1], row[2]) for row in rows}


async def insert_blob(transaction: Transaction, *, digest: Digest, size: int, store: str, key: str) -> Blob:
    """Record a digest that is not there yet, and whose bytes were hashed."""
    await transaction.run(_INSERT, digest=digest, size=size, store=store, key=key)
    blob = await find(transaction, digest)
    assert blob is not None  # noqa: S101 - inserted above, in this transaction
    return blob


async def move(transaction: Transaction, before: Blob, *, size: int, store: str, key: str) -> None:
    """Record that a digest's bytes are elsewhere now, hashed and good; the key that they had before is doomed."""
    await transaction.run(_MOVE, blob_id=before.id, size=size, store=store, key=key)
    await doomed.add(transaction, store=before.store, key=before.key, size=before.size)


async def link(transaction: Transaction, repository_id: int, blob_id: int, *, hold: int) -> None:
    """Make a blob visible in a repository, hold it, and queue it for collection until something refers to it."""
    await transaction.run(_LINK, repository_id=repository_id, blob_id=blob_id, hold=hold)
    await candidates.add(transaction, Kind.LINK, repository_id, blob_id, Cause.UPLOADED)


async def link_stored(transaction: Transaction, repository_id: int, blob: Blob, *, hold: int) -> bool:
    """Like `link`, if the blob is still where `blob` says, and good. Return False if not."""
    found = await transaction.run(_LINK_STORED, repository_id=repository_id, blob_id=blob.id, key=blob.key, hold=hold)
    if found != 1:
        return False
    await candidates.add(transaction, Kind.LINK, repository_id, blob.id, Cause.UPLOADED)
    return True


async def hold_link(transaction: Transaction, repository_id: int, blob: Blob, *, hold: int) -> bool:
    """Hold a link anew. Return False if it was deleted or collected meanwhile: ids may be used again, keys are not."""
    return await transaction.run(_HOLD, repository=repository_id, blob=blob.id, key=blob.key, hold=hold) == 1


async def hold_of(transaction: Transaction, repository_id: int, manifest_id: int, *, hold: int) -> None:
    """Hold what a manifest refers to for `hold`: while the manifest was there, "it exists" was told without holding."""
    await transaction.run(_HOLD_OF, repository=repository_id, manifest_id=manifest_id, hold=hold)


async def unlink(transaction: Transaction, repository_id: int, blob_id: int) -> None:
    """Hide a blob from a repository, and queue it for collection."""
    await transaction.run(_UNLINK, repository=repository_id, blob=blob_id)
    await candidates.add(transaction, Kind.LINK, repository_id, blob_id, Cause.DELETED)


async def known_keys(reader: Reader, store: str, keys: list[str]) -> set[str]:
    """Return those of `keys` that a blob's row names."""
    rows = await reader.all(_KEYS, store=store, keys=reader.encode_list(keys))
    return {row[0] for row in rows}
