"""What was deleted and can be had back: bringing it to sight again.

All of this is for a transaction that holds the repository: collection holds it too when it looks whether anything keeps
what it is about to remove, and finds what is done here, or has done its work before.
"""

from collections.abc import Sequence

from sqlalchemy import or_, select, update

from registry.db.blobs import GOOD
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, one_of, parameter
from registry.db.tables import blobs, links, manifest_blobs, manifest_children, manifests, sparse_edges

_SHOW = Statement(update(manifests).where(manifests.c.id == parameter("manifest_id")).values(deleted_at=None))
_CHILDREN = Statement(
    select(manifest_children.c.manifest_id, manifests.c.id)
    .select_from(manifest_children.join(manifests, manifests.c.id == manifest_children.c.child_id))
    .where(one_of(manifest_children.c.manifest_id, "ids"), manifests.c.deleted_at.is_not(None))
    .union(
        select(sparse_edges.c.manifest_id, manifests.c.id)
        .select_from(
            sparse_edges.join(
                manifests,
                (manifests.c.repository_id == sparse_edges.c.repository_id)
                & (manifests.c.digest == sparse_edges.c.digest),
            )
        )
        .where(one_of(sparse_edges.c.manifest_id, "ids"), manifests.c.deleted_at.is_not(None))
    )
)
_of_manifest = select(manifest_blobs.c.blob_id).where(manifest_blobs.c.manifest_id == parameter("manifest_id"))
_of_manifest_sparsely = (
    select(blobs.c.id)
    .select_from(sparse_edges.join(blobs, blobs.c.digest == sparse_edges.c.digest))
    .where(sparse_edges.c.manifest_id == parameter("manifest_id"))
)
_SHOW_LINKS = Statement(
    update(links)
    .where(
        links.c.repository_id == parameter("repository_id"),
        links.c.deleted_at.is_not(None),
        or_(links.c.blob_id.in_(_of_manifest), links.c.blob_id.in_(_of_manifest_sparsely)),
    )
    .values(deleted_at=None)
)
_DAMAGED = Statement(
    select(manifest_blobs.c.manifest_id, blobs.c.digest)
    .select_from(manifest_blobs.join(blobs, blobs.c.id == manifest_blobs.c.blob_id))
    .where(one_of(manifest_blobs.c.manifest_id, "ids"), blobs.c.state != GOOD)
)


async def show(transaction: Transaction, manifest_id: int) -> None:
    """Have a hidden manifest seen again, without what it refers to."""
    await transaction.run(_SHOW, manifest_id=manifest_id)


async def show_many(transaction: Transaction, repository_id: int, manifest_ids: Sequence[int]) -> None:
    """Have hidden manifests of a repository seen again, with their blobs, and without their children."""
    await transaction.run_many(_SHOW, [{"manifest_id": one} for one in manifest_ids])
    where = {"repository_id": repository_id}
    await transaction.run_many(_SHOW_LINKS, [{**where, "manifest_id": one} for one in manifest_ids])


async def children(reader: Reader, manifest_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the hidden children of manifests: ids of parents, and of their children."""
    rows = await reader.all(_CHILDREN, ids=reader.encode_list(manifest_ids))
    return [(row[0], row[1]) for row in rows]


async def damaged(reader: Reader, manifest_ids: Sequence[int]) -> dict[int, str]:
    """Return a digest of a blob that is quarantined for each of some manifests that has one."""
    return {row[0]: row[1] for row in await reader.all(_DAMAGED, ids=reader.encode_list(manifest_ids))}
