"""Edges: what a manifest refers to, and who refers to something."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, parameter
from registry.db.tables import manifest_blobs, manifest_children, manifests, sparse_edges

_DROP_BLOBS = Statement(delete(manifest_blobs).where(manifest_blobs.c.manifest_id == parameter("manifest_id")))
_DROP_CHILDREN = Statement(delete(manifest_children).where(manifest_children.c.manifest_id == parameter("manifest_id")))
_DROP_SPARSE = Statement(delete(sparse_edges).where(sparse_edges.c.manifest_id == parameter("manifest_id")))
_ADD_BLOB = Statement(
    insert(manifest_blobs).values(
        manifest_id=parameter("manifest_id"),
        role=parameter("role"),
        repository_id=parameter("repository_id"),
        blob_id=parameter("blob_id"),
    )
)
_ADD_CHILD = Statement(
    insert(manifest_children).values(manifest_id=parameter("manifest_id"), child_id=parameter("child_id"))
)
_ADD_SPARSE = Statement(
    insert(sparse_edges).values(
        manifest_id=parameter("manifest_id"),
        role=parameter("role"),
        digest=parameter("digest"),
        repository_id=parameter("repository_id"),
    )
)
_REFERRING = Statement(
    select(manifests.c.digest)
    .select_from(manifest_blobs.join(manifests, manifests.c.id == manifest_blobs.c.manifest_id))
    .where(
        manifest_blobs.c.repository_id == parameter("repository_id"),
        manifest_blobs.c.blob_id == parameter("blob_id"),
        manifests.c.deleted_at.is_(None),
    )
    .limit(1)
)
_LISTING = Statement(
    select(manifests.c.digest)
    .select_from(manifest_children.join(manifests, manifests.c.id == manifest_children.c.manifest_id))
    .where(manifest_children.c.child_id == parameter("manifest_id"), manifests.c.deleted_at.is_(None))
    .limit(1)
)
_SPARSE = Statement(
    select(manifests.c.digest)
    .select_from(sparse_edges.join(manifests, manifests.c.id == sparse_edges.c.manifest_id))
    .where(
        sparse_edges.c.repository_id == parameter("repository_id"),
        sparse_edges.c.digest == parameter("digest"),
        manifests.c.deleted_at.is_(None),
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Edges:
    """What a manifest refers to, resolved. Each list holds (role, id) or (role, digest), or the child's id."""

    blobs: list[tuple[str, int]]
    children: list[int]
    sparse: list[tuple[str, str]]


async def replace(transaction: Transaction, manifest_id: int, repository_id: int, edges: Edges) -> None:
    """Make `edges` the manifest's edges."""
    for statement in (_DROP_BLOBS, _DROP_CHILDREN, _DROP_SPARSE):
        await transaction.run(statement, manifest_id=manifest_id)
    await add(transaction, manifest_id, repository_id, edges)


async def add(transaction: Transaction, manifest_id: int, repository_id: int, edges: Edges) -> None:
    """Add a new manifest's edges."""
    own = {"manifest_id": manifest_id, "repository_id": repository_id}
    if edges.blobs:
        await transaction.run_many(_ADD_BLOB, [{**own, "role": role, "blob_id": blob} for role, blob in edges.blobs])
    if edges.children:
        children = [{"manifest_id": manifest_id, "child_id": child} for child in edges.children]
        await transaction.run_many(_ADD_CHILD, children)
    if edges.sparse:
        sparse = [{**own, "role": role, "digest": digest} for role, digest in edges.sparse]
        await transaction.run_many(_ADD_SPARSE, sparse)


async def listing_index(reader: Reader, repository_id: int, digest: str, manifest_id: int) -> str | None:
    """Return the digest of a manifest of the repository that has this manifest for a child, or None."""
    row = await reader.first(_LISTING, manifest_id=manifest_id)
    return await _sparsely(reader, repository_id, digest) if row is None else row[0]


async def referring_manifest(reader: Reader, repository_id: int, digest: str, blob_id: int) -> str | None:
    """Return the digest of a manifest of the repository that refers to this blob, or None."""
    row = await reader.first(_REFERRING, repository_id=repository_id, blob_id=blob_id)
    return await _sparsely(reader, repository_id, digest) if row is None else row[0]


async def _sparsely(reader: Reader, repository_id: int, digest: str) -> str | None:
    """Return a manifest that referred to the digest before it was there, or None."""
    row = await reader.first(_SPARSE, repository_id=repository_id, digest=digest)
    return None if row is None else row[0]
