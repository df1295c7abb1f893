"""Tags, and what each was before."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import postgresql

from registry.db import candidates
from registry.db.candidates import Cause, Kind
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import manifests, repositories, tag_history, tags
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class CurrentTag:
    """What a tag names now."""

    manifest_id: int
    digest: Digest


_PAGE = Statement(
    select(tags.c.name)
    .where(
        tags.c.repository_id
        == select(repositories.c.id).where(repositories.c.name == parameter("name")).scalar_subquery(),
        tags.c.name > parameter("after"),
    )
    .order_by(tags.c.name)
    .limit(parameter("limit"))
)
_CURRENT = Statement(
    select(tags.c.manifest_id, manifests.c.digest)
    .select_from(tags.join(manifests, manifests.c.id == tags.c.manifest_id))
    .where(tags.c.repository_id == parameter("repository_id"), tags.c.name == parameter("tag"))
)
_OF_MANIFEST = Statement(
    select(tags.c.name).where(tags.c.manifest_id == parameter("manifest_id")).order_by(tags.c.name)
)
_assigning = postgresql.insert(tags).values(
    repository_id=parameter("repository_id"),
    name=parameter("tag"),
    manifest_id=parameter("manifest_id"),
    updated_at=now(),
)
_ASSIGN = Statement(
    _assigning.on_conflict_do_update(
        index_elements=[tags.c.repository_id, tags.c.name],
        set_={"manifest_id": _assigning.excluded.manifest_id, "updated_at": _assigning.excluded.updated_at},
    )
)
_REMOVE = Statement(
    delete(tags).where(tags.c.repository_id == parameter("repository_id"), tags.c.name == parameter("tag"))
)
_BEGIN_ENTRY = Statement(
    insert(tag_history).values(
        repository_id=parameter("repository_id"),
        tag=parameter("tag"),
        manifest_id=parameter("manifest_id"),
        digest=parameter("digest"),
        started_at=now(),
        started_by=parameter("actor"),
    )
)
_END_ENTRY = Statement(
    update(tag_history)
    .where(
        tag_history.c.repository_id == parameter("repository_id"),
        tag_history.c.tag == parameter("tag"),
        tag_history.c.ended_at.is_(None),
    )
    .values(ended_at=now(), ended_by=parameter("actor"))
)


async def page(reader: Reader, name: RepositoryName, *, after: str, limit: int) -> list[str]:
    """Return up to `limit` tags greater than `after`, in order of their bytes; none if there is no such repository."""
    return [row[0] for row in await reader.all(_PAGE, name=name, after=after, limit=limit)]


async def current(reader: Reader, repository_id: int, tag: Tag) -> CurrentTag | None:
    """Return what the tag names now, or None."""
    row = await reader.first(_CURRENT, repository_id=repository_id, tag=tag)
    return None if row is None else CurrentTag(*row)


async def of_manifest(reader: Reader, manifest_id: int) -> list[Tag]:
    """Return every tag that names the manifest."""
    return [Tag(row[0]) for row in await reader.all(_OF_MANIFEST, manifest_id=manifest_id)]


async def assign(
    transaction: Transaction, repository_id: int, tag: Tag, *, manifest_id: int, digest: Digest, actor: str
) -> bool:
    """Make the tag name the manifest, and remember what it was. Return whether that changed anything.

    What it named is queued for collection: it may have been its last tag.
    """
    before = await current(transaction, repository_id, tag)
    if before is not None and before.manifest_id == manifest_id:
        return False
    if before is not None:
        await transaction.run(_END_ENTRY, repository_id=repository_id, tag=tag, actor=actor)
        await candidates.add(transaction, Kind.MANIFEST, repository_id, before.manifest_id, Cause.UNTAGGED)
    await transaction.run(_ASSIGN, repository_id=repository_id, tag=tag, manifest_id=manifest_id)
    await transaction.run(
        _BEGIN_ENTRY, repository_id=repository_id, tag=tag, manifest_id=manifest_id, digest=digest, actor=actor
    )
    return True


async def remove(transaction: Transaction, repository_id: int, tag: Tag, *, manifest_id: int, actor: str) -> None:
    """Remove a tag of a manifest, which is queued for collection, and remember what it was."""
    await candidates.add(transaction, Kind.MANIFEST, repository_id, manifest_id, Cause.UNTAGGED)
    await transaction.run(_END_ENTRY, repository_id=repository_id, tag=tag, actor=actor)
    await transaction.run(_REMOVE, repository_id=repository_id, tag=tag)
