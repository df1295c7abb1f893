"""What `fsck` asks of the database: every row, in pages by key, each with what should be true of it.

Nothing here is hot, and nothing holds a lock: what looks wrong is asked about again, by its key, where it is repaired.
"""

from typing import NamedTuple

from sqlalchemy import BigInteger, and_, cast, exists, literal, null, select, union_all
from sqlalchemy import tuple_ as tuple_of

from registry.db.blobs import Blob
from registry.db.candidates import Kind
from registry.db.connection import Reader
from registry.db.statements import Statement, now, parameter
from registry.db.tables import (
    blobs,
    candidates,
    doomed,
    links,
    manifest_blobs,
    manifest_children,
    manifests,
    repositories,
    sparse_edges,
    tags,
    upload_sessions,
)
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest


class BlobFacts(NamedTuple):
    """A blob. `linked`: some repository links it; `doomed`: its key waits to be deleted."""

    blob: Blob
    linked: bool
    doomed: bool


class LinkFacts(NamedTuple):
    """A link. `digest` and `repository` are None where the row that it names is not there."""

    repository_id: int
    blob_id: int
    repository: RepositoryName | None
    digest: Digest | None
    deleted: bool
    queued: bool


class ManifestFacts(NamedTuple):
    """A manifest without its bytes. `repository` is None where there is no such repository."""

    id: int
    repository_id: int
    repository: RepositoryName | None
    digest: Digest
    media_type: str
    size: int
    deleted: bool
    queued: bool


class TagFacts(NamedTuple):
    """A tag. `digest` is None where its manifest is not there; `deleted`: its manifest is hidden."""

    repository_id: int
    name: Tag
    repository: RepositoryName | None
    manifest_id: int
    digest: Digest | None
    deleted: bool


class RepositoryFacts(NamedTuple):
    """A repository. `kept`: it has manifests or blobs, or is queued for collection."""

    id: int
    name: RepositoryName
    kept: bool


class Edge(NamedTuple):
    """What a manifest refers to; `digest` is None, or `whole` false, where a row that it needs is not there."""

    digest: str | None
    blob_id: int | None
    whole: bool


_queued = exists().where(
    candidates.c.kind == parameter("of_kind"),
    candidates.c.repository_id == links.c.repository_id,
    candidates.c.item_id == links.c.blob_id,
)
_BLOBS = (
    select(
        blobs.c.id,
        blobs.c.digest,
        blobs.c.size,
        blobs.c.store,
        blobs.c.key,
        blobs.c.state,
        exists().where(links.c.blob_id == blobs.c.id),
        exists().where(doomed.c.store == blobs.c.store, doomed.c.key == blobs.c.key),
    )
    .where(blobs.c.store == parameter("store"))
    .order_by(blobs.c.key, blobs.c.id)
)
_BLOB_PAGE = Statement(
    _BLOBS.where(tuple_of(blobs.c.key, blobs.c.id) > tuple_of(parameter("after"), parameter("after_id"))).limit(
        parameter("limit")
    )
)
_BLOB = Statement(_BLOBS.where(blobs.c.id == parameter("blob_id")))
_STORES_OF_BLOBS = Statement(
    select(blobs.c.store).where(blobs.c.store > parameter("after")).order_by(blobs.c.store).limit(1)
)
_LINKS = (
    select(
        links.c.repository_id,
        links.c.blob_id,
        repositories.c.name,
        blobs.c.digest,
        links.c.deleted_at.is_not(None),
        _queued
        | exists().where(
            manifest_blobs.c.repository_id == links.c.repository_id, manifest_blobs.c.blob_id == links.c.blob_id
        ),
    )
    .select_from(
        links.outerjoin(repositories, repositories.c.id == links.c.repository_id).outerjoin(
            blobs, blobs.c.id == links.c.blob_id
        )
    )
    .order_by(links.c.repository_id, links.c.blob_id)
)
_LINK_PAGE = Statement(
    _LINKS.where(
        tuple_of(links.c.repository_id, links.c.blob_id) > tuple_of(parameter("after"), parameter("after_blob"))
    ).limit(parameter("limit"))
)
_LINK = Statement(
    _LINKS.where(links.c.repository_id == parameter("repository_id"), links.c.blob_id == parameter("blob_id"))
)
_MANIFESTS = (
    select(
        manifests.c.id,
        manifests.c.repository_id,
        repositories.c.name,
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.size,
        manifests.c.deleted_at.is_not(None),
        exists().where(
            candidates.c.kind == parameter("of_kind"),
            candidates.c.repository_id == manifests.c.repository_id,
            candidates.c.item_id == manifests.c.id,
        )
        | exists().where(tags.c.manifest_id == manifests.c.id),
    )
    .select_from(manifests.outerjoin(repositories, repositories.c.id == manifests.c.repository_id))
    .order_by(manifests.c.id)
)
_MANIFEST_PAGE = Statement(_MANIFESTS.where(manifests.c.id > parameter("after")).limit(parameter("limit")))
_MANIFEST = Statement(_MANIFESTS.where(manifests.c.id == parameter("manifest_id")))
_CONTENT = Statement(select(manifests.c.content).where(manifests.c.id == parameter("manifest_id")))
_children = manifests.alias("children")
_EDGES = Statement(
    union_all(
        select(blobs.c.digest, manifest_blobs.c.blob_id, and_(links.c.blob_id.is_not(None), blobs.c.id.is_not(None)))
        .select_from(
            manifest_blobs.outerjoin(
                links,
                and_(
                    links.c.repository_id == manifest_blobs.c.repository_id,
                    links.c.blob_id == manifest_blobs.c.blob_id,
                ),
            ).outerjoin(blobs, blobs.c.id == manifest_blobs.c.blob_id)
        )
        .where(manifest_blobs.c.manifest_id == parameter("manifest_id")),
        select(_children.c.digest, cast(null(), BigInteger), _children.c.id.is_not(None))
        .select_from(manifest_children.outerjoin(_children, _children.c.id == manifest_children.c.child_id))
        .where(manifest_children.c.manifest_id == parameter("manifest_id")),
        select(sparse_edges.c.digest, cast(null(), BigInteger), sparse_edges.c.digest.is_not(None)).where(
            sparse_edges.c.manifest_id == parameter("manifest_id")
        ),
    )
)
_LINKED = Statement(
    select(blobs.c.id)
    .select_from(links.join(blobs, blobs.c.id == links.c.blob_id))
    .where(links.c.repository_id == parameter("repository_id"), blobs.c.digest == parameter("digest"))
)
_TAGS = (
    select(
        tags.c.repository_id,
        tags.c.name,
        repositories.c.name,
        tags.c.manifest_id,
        manifests.c.digest,
        manifests.c.deleted_at.is_not(None),
    )
    .select_from(
        tags.outerjoin(repositories, repositories.c.id == tags.c.repository_id).outerjoin(
            manifests, manifests.c.id == tags.c.manifest_id
        )
    )
    .order_by(tags.c.repository_id, tags.c.name)
)
_TAG_PAGE = Statement(
    _TAGS.where(
        tuple_of(tags.c.repository_id, tags.c.name) > tuple_of(parameter("after"), parameter("after_name"))
    ).limit(parameter("limit"))
)
_TAG = Statement(_TAGS.where(tags.c.repository_id == parameter("repository_id"), tags.c.name == parameter("tag")))
_REPOSITORY_PAGE = Statement(
    select(
        repositories.c.id,
        repositories.c.name,
        exists().where(manifests.c.repository_id == repositories.c.id)
        | exists().where(links.c.repository_id == repositories.c.id)
        | exists().where(
            candidates.c.kind == literal(int(Kind.REPOSITORY)),
            candidates.c.repository_id == repositories.c.id,
            candidates.c.item_id == repositories.c.id,
        ),
    )
    .where(repositories.c.id > parameter("after"))
    .order_by(repositories.c.id)
    .limit(parameter("limit"))
)
_IDLE = Statement(
    select(upload_sessions.c.id)
    .where(
        upload_sessions.c.id > parameter("after"),
        upload_sessions.c.received > literal(0),
        upload_sessions.c.updated_at < now() - parameter("age"),
    )
    .order_by(upload_sessions.c.id)
    .limit(parameter("limit"))
)


async def blob_page(reader: Reader, store: str, *, after: tuple[str, int], limit: int) -> list[BlobFacts]:
    """Return up to `limit` blobs of a store whose (key, id) is greater than `after`, in that order."""
    rows = await reader.all(_BLOB_PAGE, store=store, after=after[0], after_id=after[1], limit=limit)
    return [BlobFacts(Blob._make(row[:6]), bool(row[6]), bool(row[7])) for row in rows]


async def blob(reader: Reader, read: Blob) -> BlobFacts | None:
    """Return a blob as it is now, or None if it is not what was read any more."""
    row = await reader.first(_BLOB, store=read.store, blob_id=read.id)
    if row is None or Blob._make(row[:6]) != read:
        return None
    return BlobFacts(read, bool(row[6]), bool(row[7]))


async def next_store(reader: Reader, after: str) -> str | None:
    """Return the next name of a store, after `after`, that a blob's row has."""
    row = await reader.first(_STORES_OF_BLOBS, after=after)
    return None if row is None else row[0]


async def link_page(reader: Reader, *, after: tuple[int, int], limit: int) -> list[LinkFacts]:
    """Return up to `limit` links that follow `after`: ids of repository and blob."""
    rows = await reader.all(_LINK_PAGE, of_kind=int(Kind.LINK), after=after[0], after_blob=after[1], limit=limit)
    return [LinkFacts._make([*row[:4], *map(bool, row[4:])]) for row in rows]


async def link(reader: Reader, repository_id: int, blob_id: int) -> LinkFacts | None:
    """Return one link, or None."""
    row = await reader.first(_LINK, of_kind=int(Kind.LINK), repository_id=repository_id, blob_id=blob_id)
    return None if row is None else LinkFacts._make([*row[:4], *map(bool, row[4:])])


async def manifest_page(reader: Reader, *, after: int, limit: int) -> list[ManifestFacts]:
    """Return up to `limit` manifests with ids greater than `after`, in order."""
    rows = await reader.all(_MANIFEST_PAGE, of_kind=int(Kind.MANIFEST), after=after, limit=limit)
    return [ManifestFacts._make([*row[:6], *map(bool, row[6:])]) for row in rows]


async def manifest(reader: Reader, manifest_id: int) -> ManifestFacts | None:
    """Return one manifest, or None."""
    row = await reader.first(_MANIFEST, of_kind=int(Kind.MANIFEST), manifest_id=manifest_id)
    return None if row is None else ManifestFacts._make([*row[:6], *map(bool, row[6:])])


async def content(reader: Reader, manifest_id: int) -> bytes | None:
    """Return a manifest's bytes, or None if it is gone."""
    row = await reader.first(_CONTENT, manifest_id=manifest_id)
    if row is None:
        return None
    found = row[0]
    return found.encode() if isinstance(found, str) else bytes(found)  # text, if somebody wrote to SQLite's file


async def edges(reader: Reader, manifest_id: int) -> list[Edge]:
    """Return all that is recorded of what a manifest refers to."""
    return [Edge(row[0], row[1], bool(row[2])) for row in await reader.all(_EDGES, manifest_id=manifest_id)]


async def linked(reader: Reader, repository_id: int, digest: str) -> int | None:
    """Return the id of a blob that a repository links, hidden or not, quarantined or not; else None."""
    row = await reader.first(_LINKED, repository_id=repository_id, digest=digest)
    return None if row is None else row[0]


async def tag_page(reader: Reader, *, after: tuple[int, str], limit: int) -> list[TagFacts]:
    """Return up to `limit` tags that follow `after`: a repository's id and a name."""
    rows = await reader.all(_TAG_PAGE, after=after[0], after_name=after[1], limit=limit)
    return [TagFacts._make([*row[:5], bool(row[5])]) for row in rows]


async def tag(reader: Reader, repository_id: int, name: Tag) -> TagFacts | None:
    """Return one tag, or None."""
    row = await reader.first(_TAG, repository_id=repository_id, tag=name)
    return None if row is None else TagFacts._make([*row[:5], bool(row[5])])


async def repository_page(reader: Reader, *, after: int, limit: int) -> list[RepositoryFacts]:
    """Return up to `limit` repositories with ids greater than `after`, in order."""
    rows = await reader.all(_REPOSITORY_PAGE, after=after, limit=limit)
    return [RepositoryFacts(row[0], row[1], bool(row[2])) for row in rows]


async def idle_sessions(reader: Reader, *, after: str, age_s: int, limit: int) -> list[str]:
    """Return ids greater than `after` of sessions that have bytes and that nobody wrote to for `age_s` seconds."""
    return [row[0] for row in await reader.all(_IDLE, after=after, age=age_s * 1_000_000, limit=limit)]
