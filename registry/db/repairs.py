"""What `fsck` changes in the database: each in a transaction that has looked again."""

from sqlalchemy import Text, cast, delete, exists, insert, select, update

from registry.db import tags as tags_of
from registry.db.connection import Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import (
    blobs,
    links,
    manifest_blobs,
    manifest_children,
    manifests,
    sparse_edges,
    tag_history,
    tags,
)
from registry.oci.names import Tag

_REMOVE_LINK = Statement(
    delete(links).where(links.c.repository_id == parameter("repository_id"), links.c.blob_id == parameter("blob_id"))
)
_REMOVE_EDGES_TO = Statement(
    delete(manifest_blobs).where(
        manifest_blobs.c.repository_id == parameter("repository_id"), manifest_blobs.c.blob_id == parameter("blob_id")
    )
)
_REMOVE_BLOB = Statement(
    delete(blobs).where(
        blobs.c.id == parameter("blob_id"), ~exists().where(links.c.blob_id == blobs.c.id).correlate(blobs)
    )
)
_SPARSE_PARENTS = Statement(
    insert(sparse_edges).from_select(
        ["manifest_id", "role", "digest", "repository_id"],
        select(
            manifest_children.c.manifest_id,
            cast(parameter("role"), Text),
            manifests.c.digest,
            manifests.c.repository_id,
        )
        .select_from(manifest_children.join(manifests, manifests.c.id == manifest_children.c.child_id))
        .where(
            manifest_children.c.child_id == parameter("manifest_id"),
            ~exists().where(
                sparse_edges.c.manifest_id == manifest_children.c.manifest_id,
                sparse_edges.c.digest == manifests.c.digest,
            ),
        ),
    )
)
_NO_PARENTS = Statement(delete(manifest_children).where(manifest_children.c.child_id == parameter("manifest_id")))
_NO_TAGS = Statement(delete(tags).where(tags.c.repository_id == parameter("repository_id")))
_NO_HISTORY = Statement(delete(tag_history).where(tag_history.c.repository_id == parameter("repository_id")))
_REMOVE_TAG = Statement(
    delete(tags).where(tags.c.repository_id == parameter("repository_id"), tags.c.name == parameter("tag"))
)
_END_HISTORY = Statement(
    update(tag_history)
    .where(
        tag_history.c.repository_id == parameter("repository_id"),
        tag_history.c.tag == parameter("tag"),
        tag_history.c.ended_at.is_(None),
    )
    .values(ended_at=now(), ended_by=parameter("actor"), ended_cause=parameter("cause"))
)


async def remove_link(transaction: Transaction, repository_id: int, blob_id: int) -> None:
    """Remove a link of which nothing is left, and the edges that lead there."""
    await transaction.run(_REMOVE_EDGES_TO, repository_id=repository_id, blob_id=blob_id)
    await transaction.run(_REMOVE_LINK, repository_id=repository_id, blob_id=blob_id)


async def remove_blob(transaction: Transaction, blob_id: int) -> bool:
    """Remove the row of a blob that nothing links. Return whether it did."""
    return await transaction.run(_REMOVE_BLOB, blob_id=blob_id) == 1


async def unlist(transaction: Transaction, manifest_id: int) -> None:
    """Have indexes refer to a manifest by its digest alone, as to one that was not pushed yet."""
    await transaction.run(_SPARSE_PARENTS, manifest_id=manifest_id, role="child")
    await transaction.run(_NO_PARENTS, manifest_id=manifest_id)


async def forget(transaction: Transaction, repository_id: int, manifest_id: int) -> None:
    """Remove what names a manifest of a repository that is not there: all tags, what they were, and indexes' edges."""
    await transaction.run(_NO_TAGS, repository_id=repository_id)
    await transaction.run(_NO_HISTORY, repository_id=repository_id)
    await transaction.run(_NO_PARENTS, manifest_id=manifest_id)


async def remove_tag(transaction: Transaction, repository_id: int, name: Tag, *, actor: str) -> None:
    """Remove a tag whose manifest is not there, and end it in the history."""
    await transaction.run(
        _END_HISTORY, repository_id=repository_id, tag=name, actor=actor, cause=tags_of.Why.REPAIR.value
    )
    await transaction.run(_REMOVE_TAG, repository_id=repository_id, tag=name)
