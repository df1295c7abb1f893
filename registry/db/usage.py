"""What repositories hold. Deleted content counts until it is collected: it takes room."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, exists, func, literal, select
from sqlalchemy.sql.expression import alias

from registry.db import doomed
from registry.db.connection import Reader
from registry.db.statements import Statement, parameter
from registry.db.tables import blobs, links, manifests, repositories, tags


@dataclass(frozen=True, slots=True)
class Usage:
    """What one repository holds.

    Attributes:
        blobs: how many.
        total: their bytes.
        alone: the bytes of those that no other repository has.
        manifests: how many.
        manifest_bytes: their bytes, which are in the database.
        tags: how many.
    """

    name: str
    blobs: int
    total: int
    alone: int
    manifests: int
    manifest_bytes: int
    tags: int

    @property
    def shared(self) -> int:
        """Bytes of the blobs that others have, too."""
        return self.total - self.alone


@dataclass(frozen=True, slots=True)
class Stored:
    """What all repositories hold together: each blob counts once.

    Attributes:
        doomed: bytes without a row, not deleted yet.
        held: those of them that stay for the sake of copies of the database.
    """

    blobs: int
    total: int
    doomed: int
    held: int


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


_others = alias(links, "others")
_shared = exists().where(_others.c.blob_id == links.c.blob_id, _others.c.repository_id != links.c.repository_id)
_ID = select(repositories.c.id).where(repositories.c.name == parameter("name")).scalar_subquery()
_BLOBS = Statement(
    select(func.count(), _sum(blobs.c.size), _sum(case((_shared, literal(0)), else_=blobs.c.size)))
    .select_from(links.join(blobs, blobs.c.id == links.c.blob_id))
    .where(links.c.repository_id == _ID)
)
_MANIFESTS = Statement(
    select(func.count(), _sum(manifests.c.size)).select_from(manifests).where(manifests.c.repository_id == _ID)
)
_TAGS = Statement(select(func.count()).select_from(tags).where(tags.c.repository_id == _ID))
_STORED = Statement(select(func.count(), _sum(blobs.c.size)).select_from(blobs))


async def of_repository(reader: Reader, name: str) -> Usage:
    """Return what a repository holds: nothing if there is none of this name."""
    [(count, total, alone)] = await reader.all(_BLOBS, name=name)
    [(manifest_count, manifest_bytes)] = await reader.all(_MANIFESTS, name=name)
    [(tag_count,)] = await reader.all(_TAGS, name=name)
    return Usage(name, count, int(total), int(alone), manifest_count, int(manifest_bytes), tag_count)


async def stored(reader: Reader, *, window_s: int) -> Stored:
    """Return what all repositories hold together. Reads every blob's row.

    Args:
        window_s: how far back the database may be recovered, in seconds.
    """
    [(count, total)] = await reader.all(_STORED)
    waiting = await doomed.total(reader)
    held = await doomed.held(reader, await doomed.limit(reader, window_s=window_s), most=waiting.objects)
    return Stored(count, int(total), waiting.bytes, held.bytes)
