"""What is asked before content goes for good ahead of its time: what names it, deleted or not, and where else it is."""

from typing import NamedTuple

from sqlalchemy import select

from registry.db.connection import Reader
from registry.db.statements import Rows, Statement, parameter
from registry.db.tables import blobs, links, manifest_blobs, manifest_children, manifests, repositories, sparse_edges
from storage.digest import Digest


class Naming(NamedTuple):
    """A manifest that names something. `is_hidden`: it was deleted, and can be had back."""

    id: int
    digest: Digest
    is_hidden: bool


class Part(NamedTuple):
    """A blob that a manifest refers to. `size` in bytes."""

    id: int
    digest: Digest
    size: int


_NAMING = (manifests.c.id, manifests.c.digest, manifests.c.deleted_at.is_not(None))
_PARENTS = Statement(
    select(*_NAMING)
    .select_from(manifest_children.join(manifests, manifests.c.id == manifest_children.c.manifest_id))
    .where(manifest_children.c.child_id == parameter("manifest_id"))
    .order_by(manifests.c.id)
)
_NAMED_SPARSELY = Statement(
    select(*_NAMING)
    .select_from(sparse_edges.join(manifests, manifests.c.id == sparse_edges.c.manifest_id))
    .where(sparse_edges.c.repository_id == parameter("repository_id"), sparse_edges.c.digest == parameter("digest"))
    .order_by(manifests.c.id)
)
_CHILDREN = Statement(
    select(*_NAMING)
    .select_from(manifest_children.join(manifests, manifests.c.id == manifest_children.c.child_id))
    .where(manifest_children.c.manifest_id == parameter("manifest_id"))
    .order_by(manifests.c.id)
)
_PARTS = Statement(
    select(blobs.c.id, blobs.c.digest, blobs.c.size)
    .where(
        blobs.c.id.in_(select(manifest_blobs.c.blob_id).where(manifest_blobs.c.manifest_id == parameter("manifest_id")))
    )
    .order_by(blobs.c.id)
)
_REFERRING = Statement(
    select(*_NAMING)
    .select_from(manifest_blobs.join(manifests, manifests.c.id == manifest_blobs.c.manifest_id))
    .where(
        manifest_blobs.c.repository_id == parameter("repository_id"), manifest_blobs.c.blob_id == parameter("blob_id")
    )
    .order_by(manifests.c.id)
    .limit(1)
)
_LINKED = Statement(
    select(blobs.c.id, blobs.c.digest, blobs.c.size)
    .select_from(links.join(blobs, blobs.c.id == links.c.blob_id))
    .where(links.c.repository_id == parameter("repository_id"), blobs.c.digest == parameter("digest"))
)
_ELSEWHERE = Statement(
    select(repositories.c.name)
    .select_from(links.join(repositories, repositories.c.id == links.c.repository_id))
    .where(links.c.blob_id == parameter("blob_id"), repositories.c.name > parameter("after"))
    .order_by(repositories.c.name)
    .limit(parameter("limit"))
)


async def parents(reader: Reader, repository_id: int, manifest_id: int, digest: Digest) -> list[Naming]:
    """Return the indexes that list a manifest, deleted ones too, and those that named it before it was there."""
    rows = list(await reader.all(_PARENTS, manifest_id=manifest_id))
    rows += await reader.all(_NAMED_SPARSELY, repository_id=repository_id, digest=digest)
    return _naming(rows)


async def children(reader: Reader, manifest_id: int) -> list[Naming]:
    """Return the manifests that an index lists, deleted ones too."""
    return _naming(await reader.all(_CHILDREN, manifest_id=manifest_id))


async def parts(reader: Reader, manifest_id: int) -> list[Part]:
    """Return the blobs that a manifest refers to, in the order of their ids."""
    return [Part(*row) for row in await reader.all(_PARTS, manifest_id=manifest_id)]


async def referring(reader: Reader, repository_id: int, blob: Part) -> Naming | None:
    """Return a manifest of the repository that refers to a blob, deleted ones too, or None."""
    rows = list(await reader.all(_REFERRING, repository_id=repository_id, blob_id=blob.id))
    rows += await reader.all(_NAMED_SPARSELY, repository_id=repository_id, digest=blob.digest)
    return next(iter(_naming(rows)), None)


async def linked(reader: Reader, repository_id: int, digest: Digest) -> Part | None:
    """Return a blob that the repository links, deleted there or not, or None."""
    row = await reader.first(_LINKED, repository_id=repository_id, digest=digest)
    return None if row is None else Part(*row)


async def elsewhere(reader: Reader, blob_id: int, *, after: str, limit: int) -> list[str]:
    """Return up to `limit` names greater than `after` of repositories that link a blob, deleted there or not."""
    return [row[0] for row in await reader.all(_ELSEWHERE, blob_id=blob_id, after=after, limit=limit)]


def _naming(rows: Rows) -> list[Naming]:
    return [Naming(row[0], row[1], bool(row[2])) for row in rows]
