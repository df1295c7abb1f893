"""What a takeover writes, many rows at a time, and what it remembers of the runs before."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, delete, insert, literal, or_, select
from sqlalchemy.dialects import postgresql

from registry.db import candidates, doomed, jobs
from registry.db import tags as tags_of
from registry.db.candidates import Cause, Kind
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import (
    blobs,
    imported_manifests,
    imported_tags,
    links,
    manifests,
    repositories,
    tag_history,
    tags,
)
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest

HOLD_US = 24 * 3600 * 1_000_000
"""How long a layer is held for the manifest that refers to it and comes later in the same run."""


class StoredBlob(NamedTuple):
    """Where the bytes of a blob's row are, and whether they are good (`registry.db.blobs`)."""

    id: int
    store: str
    key: str
    state: int


class NewBlob(NamedTuple):
    """A blob to be recorded. `size` in bytes; `verified`: its bytes were hashed."""

    digest: Digest
    size: int
    store: str
    key: str
    verified: bool


class SetTag(NamedTuple):
    """A tag as it is, or as a run set it: the digest it names, and since when (microseconds since the epoch)."""

    digest: Digest
    set_at: int


class Assignment(NamedTuple):
    """What a tag named from `started_at` on, until `ended_at` or until now; in microseconds since the epoch."""

    digest: Digest
    started_at: int
    ended_at: int | None


_FIND_BLOBS = Statement(
    select(blobs.c.digest, blobs.c.id, blobs.c.store, blobs.c.key, blobs.c.state).where(
        one_of(blobs.c.digest, "digests")
    )
)
_LINKED = Statement(
    select(blobs.c.digest, blobs.c.store, blobs.c.state)
    .select_from(
        repositories.join(links, links.c.repository_id == repositories.c.id).join(blobs, blobs.c.id == links.c.blob_id)
    )
    .where(repositories.c.name == parameter("name"), one_of(blobs.c.digest, "digests"))
)
_new_blob = {
    "digest": parameter("digest"),
    "size": parameter("size"),
    "store": parameter("store"),
    "key": parameter("key"),
    "state": 0,
    "created_at": now(),
}
_ADD_BLOB = Statement(postgresql.insert(blobs).values(**_new_blob).on_conflict_do_nothing())
_ADD_VERIFIED = Statement(postgresql.insert(blobs).values(**_new_blob, verified_at=now()).on_conflict_do_nothing())
_move = (
    blobs.update()
    .where(blobs.c.id == parameter("blob_id"))
    .values(size=parameter("new_size"), store=parameter("new_store"), key=parameter("new_key"), state=0)
)
_MOVE = Statement(_move.values(verified_at=None))
_MOVE_VERIFIED = Statement(_move.values(verified_at=now()))
_linked = {"linked_at": now(), "held_until": now() + literal(HOLD_US)}
_LINK = Statement(
    postgresql.insert(links)
    .from_select(
        ["repository_id", "blob_id", *_linked],
        select(repositories.c.id, blobs.c.id, *_linked.values()).where(
            repositories.c.id == parameter("repository_id"), one_of(blobs.c.digest, "digests")
        ),
    )
    .on_conflict_do_nothing()
)
_KNOWN_MANIFESTS = Statement(
    select(manifests.c.digest)
    .select_from(repositories.join(manifests, manifests.c.repository_id == repositories.c.id))
    .where(repositories.c.name == parameter("name"), one_of(manifests.c.digest, "digests"))
    .union(
        select(imported_manifests.c.digest).where(
            imported_manifests.c.store_id == parameter("store_id"),
            imported_manifests.c.repository == parameter("repository"),
            one_of(imported_manifests.c.digest, "remembered"),
        )
    )
)
_REMEMBER_MANIFEST = Statement(
    postgresql.insert(imported_manifests)
    .values(store_id=parameter("store_id"), repository=parameter("repository"), digest=parameter("digest"))
    .on_conflict_do_nothing()
)
_REMEMBERED_TAGS = Statement(
    select(imported_tags.c.tag, imported_tags.c.digest, imported_tags.c.set_at).where(
        imported_tags.c.store_id == parameter("store_id"),
        imported_tags.c.repository == parameter("repository"),
        one_of(imported_tags.c.tag, "tags"),
    )
)
_remembering = postgresql.insert(imported_tags).values(
    store_id=parameter("store_id"),
    repository=parameter("repository"),
    tag=parameter("tag"),
    digest=parameter("digest"),
    set_at=parameter("set_at"),
)
_REMEMBER_TAG = Statement(
    _remembering.on_conflict_do_update(
        index_elements=[imported_tags.c.store_id, imported_tags.c.repository, imported_tags.c.tag],
        set_={"digest": _remembering.excluded.digest, "set_at": _remembering.excluded.set_at},
    )
)
_CURRENT_TAG = Statement(
    select(manifests.c.digest, tags.c.updated_at)
    .select_from(tags.join(manifests, manifests.c.id == tags.c.manifest_id))
    .where(tags.c.repository_id == parameter("repository_id"), tags.c.name == parameter("tag"))
)
_assigning = postgresql.insert(tags).values(
    repository_id=parameter("repository_id"),
    name=parameter("tag"),
    manifest_id=parameter("manifest_id"),
    updated_at=parameter("set_at"),
)
_ASSIGN = Statement(
    _assigning.on_conflict_do_update(
        index_elements=[tags.c.repository_id, tags.c.name],
        set_={
            "manifest_id": _assigning.excluded.manifest_id,
            "updated_at": _assigning.excluded.updated_at,
            "expires_at": None,
        },
    )
)
_END_ENTRY = Statement(
    tag_history.update()
    .where(
        tag_history.c.repository_id == parameter("of"),
        tag_history.c.tag == parameter("named"),
        tag_history.c.ended_at.is_(None),
    )
    .values(ended_at=parameter("at"), ended_by=parameter("actor"), ended_cause=parameter("cause"))
)
_ADD_ENTRY = Statement(
    insert(tag_history).values(
        repository_id=parameter("repository_id"),
        tag=parameter("tag"),
        manifest_id=parameter("manifest_id"),
        digest=parameter("digest"),
        started_at=parameter("started_at"),
        started_by=parameter("actor"),
        cause=parameter("cause"),
        ended_at=parameter("ended_at"),
        ended_by=parameter("ended_by"),
        ended_cause=parameter("ended_cause"),
    )
)
_TAGS_HERE = Statement(
    select(imported_tags.c.repository, imported_tags.c.tag)
    .select_from(
        imported_tags.join(repositories, repositories.c.name == imported_tags.c.repository).join(
            tags,
            and_(
                tags.c.repository_id == repositories.c.id,
                tags.c.name == imported_tags.c.tag,
                tags.c.updated_at == imported_tags.c.set_at,
            ),
        )
    )
    .where(
        imported_tags.c.store_id == parameter("store_id"),
        or_(
            imported_tags.c.repository > parameter("repository"),
            and_(imported_tags.c.repository == parameter("same"), imported_tags.c.tag > parameter("tag")),
        ),
    )
    .order_by(imported_tags.c.repository, imported_tags.c.tag)
    .limit(parameter("limit"))
)
_NEXT_REMEMBERED = Statement(
    select(imported_manifests.c.repository)
    .where(imported_manifests.c.store_id == parameter("store_id"))
    .union_all(select(imported_tags.c.repository).where(imported_tags.c.store_id == parameter("store")))
    .limit(1)
)
_FORGET_TAGS = Statement(
    delete(imported_tags).where(
        imported_tags.c.store_id == parameter("store_id"), imported_tags.c.repository == parameter("repository")
    )
)
_FORGET_MANIFESTS = Statement(
    delete(imported_manifests).where(
        imported_manifests.c.store_id == parameter("store_id"),
        imported_manifests.c.repository == parameter("repository"),
    )
)


async def find_blobs(reader: Reader, digests: Sequence[Digest]) -> dict[str, StoredBlob]:
    """Return the rows of those digests that have one, whoever links them."""
    rows = await reader.all(_FIND_BLOBS, digests=reader.encode_list(list(digests)))
    return {row[0]: StoredBlob(*row[1:]) for row in rows}


async def linked(reader: Reader, name: RepositoryName, digests: Sequence[Digest]) -> dict[str, tuple[str, int]]:
    """Return store and state of those digests that the repository links, or linked until they were deleted."""
    rows = await reader.all(_LINKED, name=name, digests=reader.encode_list(list(digests)))
    return {row[0]: (row[1], row[2]) for row in rows}


async def add_blobs(transaction: Transaction, new: Sequence[NewBlob]) -> None:
    """Record blobs; one whose digest has a row by now stays as it is. What was collected before is doomed no more."""
    await _spare(transaction, new)
    for statement, verified in ((_ADD_BLOB, False), (_ADD_VERIFIED, True)):
        rows = [
            {"digest": blob.digest, "size": blob.size, "store": blob.store, "key": blob.key}
            for blob in new
            if blob.verified is verified
        ]
        if rows:
            await transaction.run_many(statement, rows)


async def _spare(transaction: Transaction, new: Sequence[NewBlob]) -> None:
    """Have no bytes deleted that are recorded anew: a key of another registry's storage comes again."""
    for store in {blob.store for blob in new}:
        await doomed.remove(transaction, store, [blob.key for blob in new if blob.store == store])


async def move_blob(transaction: Transaction, blob_id: int, new: NewBlob) -> None:
    """Record that a blob's bytes are elsewhere now, and good as far as is known."""
    await _spare(transaction, [new])
    statement = _MOVE_VERIFIED if new.verified else _MOVE
    await transaction.run(statement, blob_id=blob_id, new_size=new.size, new_store=new.store, new_key=new.key)


async def link(transaction: Transaction, repository_id: int, digests: Sequence[Digest]) -> None:
    """Make blobs visible in a repository, but for those that were deleted there, and queue them for collection."""
    listed = transaction.encode_list(list(digests))
    await transaction.run(_LINK, repository_id=repository_id, digests=listed)
    since = await jobs.clock(transaction)
    await candidates.add_blobs(transaction, repository_id, list(digests), since=since)


async def known_manifests(
    reader: Reader, store_id: int, name: RepositoryName, digests: Sequence[Digest]
) -> set[Digest]:
    """Return those that the repository has, or had: deleted ones too, and what earlier runs brought."""
    listed = reader.encode_list(list(digests))
    rows = await reader.all(
        _KNOWN_MANIFESTS, name=name, repository=name, store_id=store_id, digests=listed, remembered=listed
    )
    return {row[0] for row in rows}


async def remember_manifests(
    transaction: Transaction, store_id: int, name: RepositoryName, digests: Sequence[Digest]
) -> None:
    """Remember that these need not be looked at again."""
    rows = [{"store_id": store_id, "repository": name, "digest": digest} for digest in digests]
    if rows:
        await transaction.run_many(_REMEMBER_MANIFEST, rows)


async def remembered_tags(
    reader: Reader, store_id: int, name: RepositoryName, listed: Sequence[Tag]
) -> dict[Tag, SetTag]:
    """Return tags as earlier runs set them."""
    rows = await reader.all(_REMEMBERED_TAGS, store_id=store_id, repository=name, tags=reader.encode_list(list(listed)))
    return {row[0]: SetTag(row[1], row[2]) for row in rows}


async def current_tag(reader: Reader, repository_id: int, tag: Tag) -> SetTag | None:
    """Return what a tag names now, or None."""
    row = await reader.first(_CURRENT_TAG, repository_id=repository_id, tag=tag)
    return None if row is None else SetTag(*row)


async def set_tag(
    transaction: Transaction,
    repository_id: int,
    tag: Tag,
    *,
    history: Sequence[Assignment],
    ids: dict[Digest, int],
    actor: str,
) -> SetTag:
    """Make a tag name what the last of `history` says, and remember the others as what it was before.

    `ids`: of those manifests that the repository has; the last one's must be among them. What the tag named until now
    is queued for collection: it may have been its last tag.
    """
    last = history[-1]
    before = await tags_of.current(transaction, repository_id, tag)
    if before is not None:
        await candidates.add(transaction, Kind.MANIFEST, repository_id, before.manifest_id, Cause.UNTAGGED)
    cause = tags_of.Why.IMPORT.value
    await transaction.run(_END_ENTRY, of=repository_id, named=tag, at=history[0].started_at, actor=actor, cause=cause)
    for entry in history:
        await transaction.run(
            _ADD_ENTRY,
            repository_id=repository_id,
            tag=tag,
            manifest_id=ids.get(entry.digest),
            digest=entry.digest,
            started_at=entry.started_at,
            actor=actor,
            cause=cause,
            ended_at=entry.ended_at,
            ended_by=None if entry.ended_at is None else actor,
            ended_cause="" if entry.ended_at is None else cause,
        )
    await transaction.run(
        _ASSIGN, repository_id=repository_id, tag=tag, manifest_id=ids[last.digest], set_at=last.started_at
    )
    return SetTag(last.digest, last.started_at)


async def remember_tag(transaction: Transaction, store_id: int, name: RepositoryName, tag: Tag, was: SetTag) -> None:
    """Remember a tag as it was set just now."""
    await transaction.run(
        _REMEMBER_TAG, store_id=store_id, repository=name, tag=tag, digest=was.digest, set_at=was.set_at
    )


async def tags_here(
    reader: Reader, store_id: int, *, after: tuple[str, str], limit: int
) -> list[tuple[RepositoryName, Tag]]:
    """Return repositories and tags that are as runs have set them, in order, after the ones given."""
    repository, tag = after
    rows = await reader.all(_TAGS_HERE, store_id=store_id, repository=repository, same=repository, tag=tag, limit=limit)
    return [(row[0], row[1]) for row in rows]


async def next_remembered(reader: Reader, store_id: int) -> RepositoryName | None:
    """Return a repository of which runs remembered something, or None."""
    row = await reader.first(_NEXT_REMEMBERED, store_id=store_id, store=store_id)
    return None if row is None else row[0]


async def forget(transaction: Transaction, store_id: int, name: RepositoryName) -> None:
    """Forget what runs remembered of a repository: there will be none any more."""
    await transaction.run(_FORGET_TAGS, store_id=store_id, repository=name)
    await transaction.run(_FORGET_MANIFESTS, store_id=store_id, repository=name)
