"""What collection asks of a candidate, and what it removes.

What may change the answer is locked first, where the database locks rows, and asked about afterwards: what refers to
the candidate already is seen then, and what is about to waits, and finds it gone.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, delete, exists, func, literal, select
from sqlalchemy.sql.expression import alias

from registry.db import doomed
from registry.db import repositories as repositories_of
from registry.db.candidates import Candidate, Kind
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, parameter
from registry.db.tables import (
    blobs,
    links,
    locked_digests,
    manifest_blobs,
    manifest_children,
    manifests,
    repositories,
    sparse_edges,
    tag_history,
    tags,
    upload_sessions,
)


class ManifestFacts(NamedTuple):
    """What may keep a manifest. Times in microseconds since the epoch.

    `listed`: an index has it for a child, or referred to its digest before it was there; hidden indexes count, since
    they can be had back whole. `locked`: somebody wants it to stay. `named_until`: when the last tag that named it went
    on; None if none ever did.
    """

    repository: str
    digest: str
    size: int
    subject: str | None
    deleted_at: int | None
    tagged: bool
    listed: bool
    subject_there: bool
    locked: bool
    named_until: int | None


class LinkFacts(NamedTuple):
    """What may keep a blob in a repository. Times in microseconds since the epoch, `size` in bytes.

    `referred`: a manifest of the repository refers to it, hidden ones too, or did before it was there. `last`: no other
    repository links it. `uploading_at`: when somebody last wrote to an upload session of the repository that was begun
    before the hold ended; None if there is none.
    """

    repository: str
    digest: str
    size: int
    held_until: int
    deleted_at: int | None
    referred: bool
    last: bool
    uploading_at: int | None


class RepositoryFacts(NamedTuple):
    """What may keep a repository's name.

    `used`: it has manifests or blobs, hidden ones too. `ended_at`: when the last of its tags ended, in microseconds
    since the epoch; None if there never was one.
    """

    repository: str
    used: bool
    ended_at: int | None


class Freed(NamedTuple):
    """An object that no row names any more."""

    store: str
    key: str
    size: int


_subjects, _others = alias(manifests, "subjects"), alias(links, "others")
_MANIFEST = Statement(
    select(
        repositories.c.name,
        manifests.c.digest,
        manifests.c.size,
        manifests.c.subject,
        manifests.c.deleted_at,
        exists().where(tags.c.manifest_id == manifests.c.id),
        exists().where(manifest_children.c.child_id == manifests.c.id)
        | exists().where(
            sparse_edges.c.repository_id == manifests.c.repository_id, sparse_edges.c.digest == manifests.c.digest
        ),
        exists().where(
            _subjects.c.repository_id == manifests.c.repository_id, _subjects.c.digest == manifests.c.subject
        ),
        exists().where(
            locked_digests.c.repository_id == manifests.c.repository_id, locked_digests.c.digest == manifests.c.digest
        ),
        select(func.max(tag_history.c.ended_at)).where(tag_history.c.manifest_id == manifests.c.id).scalar_subquery(),
    )
    .select_from(manifests.join(repositories, repositories.c.id == manifests.c.repository_id))
    .where(manifests.c.id == parameter("item_id"), manifests.c.repository_id == parameter("repository_id"))
)

_LINK = Statement(
    select(
        repositories.c.name,
        blobs.c.digest,
        blobs.c.size,
        links.c.held_until,
        links.c.deleted_at,
        exists().where(
            manifest_blobs.c.repository_id == links.c.repository_id, manifest_blobs.c.blob_id == links.c.blob_id
        )
        | exists().where(
            sparse_edges.c.repository_id == links.c.repository_id, sparse_edges.c.digest == blobs.c.digest
        ),
        ~exists().where(_others.c.blob_id == links.c.blob_id, _others.c.repository_id != links.c.repository_id),
        select(func.max(upload_sessions.c.updated_at))
        .where(upload_sessions.c.repository == repositories.c.name, upload_sessions.c.created_at <= links.c.held_until)
        .scalar_subquery(),
    )
    .select_from(
        links.join(repositories, repositories.c.id == links.c.repository_id).join(blobs, blobs.c.id == links.c.blob_id)
    )
    .where(links.c.repository_id == parameter("repository_id"), links.c.blob_id == parameter("item_id"))
)

_REPOSITORY = Statement(
    select(
        repositories.c.name,
        exists().where(manifests.c.repository_id == repositories.c.id)
        | exists().where(links.c.repository_id == repositories.c.id),
    ).where(repositories.c.id == parameter("repository_id"))
)

_ONE = literal(1)
_LOCK_BLOB = Statement(select(_ONE).where(blobs.c.id == parameter("blob_id")).with_for_update(of=blobs))
_LAST_TAG = Statement(
    select(func.max(tag_history.c.ended_at)).where(tag_history.c.repository_id == parameter("repository_id"))
)
_REMOVE_MANIFEST = Statement(delete(manifests).where(manifests.c.id == parameter("manifest_id")))
_REMOVE_LINK = Statement(
    delete(links).where(links.c.repository_id == parameter("repository_id"), links.c.blob_id == parameter("blob_id"))
)
_REMOVE_BLOB = Statement(
    delete(blobs)
    .where(blobs.c.id == parameter("blob_id"), ~exists().where(links.c.blob_id == blobs.c.id))
    .returning(blobs.c.store, blobs.c.key, blobs.c.size)
)
_REMOVE_HISTORY = Statement(
    delete(tag_history).where(
        tag_history.c.id.in_(
            select(tag_history.c.id)
            .where(tag_history.c.repository_id == parameter("repository_id"))
            .limit(parameter("limit"))
        )
    )
)
_REMOVE_LOCKS = Statement(delete(locked_digests).where(locked_digests.c.repository_id == parameter("repository_id")))
_REMOVE_REPOSITORY = Statement(delete(repositories).where(repositories.c.id == parameter("repository_id")))
_ALONE = Statement(
    select(func.coalesce(func.sum(blobs.c.size), 0))
    .select_from(blobs)
    .where(
        blobs.c.id.in_(
            select(manifest_blobs.c.blob_id).where(manifest_blobs.c.manifest_id == parameter("manifest_id"))
        ),
        ~exists()
        .where(_others.c.blob_id == blobs.c.id, _others.c.repository_id != parameter("repository_id"))
        .correlate(blobs),
        ~exists()
        .where(
            and_(
                manifest_blobs.c.repository_id == parameter("repository_id"),
                manifest_blobs.c.blob_id == blobs.c.id,
                manifest_blobs.c.manifest_id != parameter("manifest_id"),
            )
        )
        .correlate(blobs),
    )
)
_HISTORY_BATCH = 1000


async def lock(transaction: Transaction, found: Sequence[Candidate]) -> None:
    """Lock what candidates belong to, until the transaction's end.

    All repositories come before the first blob, each in one order: whoever pushes holds one repository, and waits for
    nothing but blobs.
    """
    for repository_id in sorted({one.repository_id for one in found}):
        await repositories_of.lock_known(transaction, repository_id)
    for blob_id in sorted({one.item_id for one in found if one.kind is Kind.LINK}):
        await transaction.first(_LOCK_BLOB, blob_id=blob_id)


async def manifest(reader: Reader, repository_id: int, manifest_id: int) -> ManifestFacts | None:
    """Return what is known of a manifest, deleted or not; None if there is none."""
    row = await reader.first(_MANIFEST, repository_id=repository_id, item_id=manifest_id)
    if row is None:
        return None
    return ManifestFacts._make([*row[:5], *map(bool, row[5:-1]), row[-1]])


async def link(reader: Reader, repository_id: int, blob_id: int) -> LinkFacts | None:
    """Return what is known of a blob in a repository, deleted there or not; None if it is not linked."""
    row = await reader.first(_LINK, repository_id=repository_id, item_id=blob_id)
    if row is None:
        return None
    return LinkFacts._make([*row[:5], *map(bool, row[5:-1]), row[-1]])


async def repository(reader: Reader, repository_id: int) -> RepositoryFacts | None:
    """Return what is known of a repository; None if there is none."""
    row = await reader.first(_REPOSITORY, repository_id=repository_id)
    if row is None:
        return None
    name, used = row
    last = None if used else await reader.first(_LAST_TAG, repository_id=repository_id)
    return RepositoryFacts(name, bool(used), None if last is None else last[0])


async def alone(reader: Reader, repository_id: int, manifest_id: int) -> int:
    """Return the bytes of the blobs that only this manifest refers to, of this repository and all others."""
    row = await reader.first(_ALONE, repository_id=repository_id, manifest_id=manifest_id)
    assert row is not None  # noqa: S101 - a sum
    return int(row[0])


async def remove_manifest(transaction: Transaction, manifest_id: int) -> None:
    """Remove a manifest for good, and its edges. What tags were keeps its digest."""
    await transaction.run(_REMOVE_MANIFEST, manifest_id=manifest_id)


async def remove_link(transaction: Transaction, repository_id: int, blob_id: int) -> Freed | None:
    """Remove a link for good; with the blob's last one its row goes, and its key is doomed. Return what that frees."""
    await transaction.run(_REMOVE_LINK, repository_id=repository_id, blob_id=blob_id)
    row = await transaction.first(_REMOVE_BLOB, blob_id=blob_id)
    if row is None:
        return None
    freed = Freed(*row)
    await doomed.add(transaction, store=freed.store, key=freed.key, size=freed.size)
    return freed


async def remove_repository(transaction: Transaction, repository_id: int) -> bool:
    """Remove an empty repository and the history of its tags.

    Return False if there is more history than goes at once: then call again, in another transaction.
    """
    removed = await transaction.run(_REMOVE_HISTORY, repository_id=repository_id, limit=_HISTORY_BATCH)
    if removed == _HISTORY_BATCH:
        return False
    await transaction.run(_REMOVE_LOCKS, repository_id=repository_id)  # of what was damaged, and lost
    await transaction.run(_REMOVE_REPOSITORY, repository_id=repository_id)
    return True
