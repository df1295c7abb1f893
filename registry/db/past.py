"""What a repository had at a moment, for who pulls as of then. Moments are in microseconds since the epoch.

Tags are those of then. By digest there is what is there now, and what was deleted later and can be had back.
"""

import asyncio

from sqlalchemy import BigInteger, and_, cast, exists, or_, select, tuple_
from sqlalchemy.sql.expression import alias

from registry.db.blobs import Blob, LinkedBlob
from registry.db.connection import Reader
from registry.db.manifests import ManifestContent, ManifestHead
from registry.db.statements import Statement, parameter
from registry.db.tables import blobs, links, manifests, repositories, tag_history
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest

_LOOKED_AT = 5000
"""Rows that one statement looks at, but for those of one tag: where most had gone, others are served meanwhile."""
_LAST = "\x7f"
"""Greater than all tags."""
_at = cast(parameter("at"), BigInteger)
_h = tag_history.c
_newer = alias(tag_history, "newer")
_TAG = Statement(
    select(_h.digest, _h.ended_at)
    .select_from(tag_history.join(repositories, repositories.c.id == _h.repository_id))
    .where(repositories.c.name == parameter("name"), _h.tag == parameter("tag"), _h.started_at <= _at)
    .order_by(_h.started_at.desc(), _h.id.desc())
    .limit(1)
)
_following = and_(
    _h.repository_id == select(repositories.c.id).where(repositories.c.name == parameter("name")).scalar_subquery(),
    _h.tag > parameter("after"),
)
_LAST_OF_PART = Statement(select(_h.tag).where(_following).order_by(_h.tag).limit(1).offset(parameter("number")))
_TAGS = Statement(
    select(_h.tag)
    .where(
        _following,
        _h.tag <= parameter("last"),
        _h.started_at <= _at,
        or_(_h.ended_at.is_(None), _h.ended_at > _at),
        ~exists()
        .where(
            _newer.c.repository_id == _h.repository_id,
            _newer.c.tag == _h.tag,
            _newer.c.started_at <= _at,
            tuple_(_newer.c.started_at, _newer.c.id) > tuple_(_h.started_at, _h.id),
        )
        .correlate(tag_history),
    )
    .order_by(_h.tag)
    .limit(parameter("limit"))
)
_MANIFEST = repositories.join(manifests, manifests.c.repository_id == repositories.c.id)
_OF_DIGEST = (
    repositories.c.name == parameter("name"),
    manifests.c.digest == parameter("digest"),
    or_(manifests.c.deleted_at.is_(None), manifests.c.deleted_at > _at),
)
_HEAD = Statement(
    select(manifests.c.digest, manifests.c.media_type, manifests.c.size).select_from(_MANIFEST).where(*_OF_DIGEST)
)
_CONTENT = Statement(
    select(manifests.c.digest, manifests.c.media_type, manifests.c.content).select_from(_MANIFEST).where(*_OF_DIGEST)
)
_LINKED = Statement(
    select(
        *(links.c.repository_id, blobs.c.id, blobs.c.digest),
        *(blobs.c.size, blobs.c.store, blobs.c.key, blobs.c.state),
    )
    .select_from(
        repositories.join(links, links.c.repository_id == repositories.c.id).join(blobs, blobs.c.id == links.c.blob_id)
    )
    .where(
        repositories.c.name == parameter("name"),
        blobs.c.digest == parameter("digest"),
        or_(links.c.deleted_at.is_(None), links.c.deleted_at > _at),
    )
)
_referrers = (
    select(manifests.c.id, manifests.c.descriptor)
    .select_from(_MANIFEST)
    .where(
        repositories.c.name == parameter("name"),
        manifests.c.subject == parameter("subject"),
        manifests.c.id > parameter("after"),
        or_(manifests.c.deleted_at.is_(None), manifests.c.deleted_at > _at),
    )
    .order_by(manifests.c.id)
    .limit(parameter("limit"))
)
_REFERRERS_ALL = Statement(_referrers)
_REFERRERS_OF_TYPE = Statement(_referrers.where(manifests.c.artifact_type == parameter("artifact_type")))


async def tag(reader: Reader, name: RepositoryName, asked: Tag, *, at: int) -> Digest | None:
    """Return what a tag named then, or None if it was not there."""
    row = await reader.first(_TAG, name=name, tag=asked, at=at)
    return None if row is None or (row[1] is not None and row[1] <= at) else row[0]


async def tags(reader: Reader, name: RepositoryName, *, at: int, after: str, limit: int) -> list[str]:
    """Return up to `limit` tags that were there then and are greater than `after`, in order of their bytes.

    Lets others work now and then.
    """
    found: list[str] = []
    while len(found) < limit:
        row = await reader.first(_LAST_OF_PART, name=name, after=after, number=_LOOKED_AT - 1)
        last = _LAST if row is None else row[0]
        rows = await reader.all(_TAGS, name=name, at=at, after=after, last=last, limit=limit - len(found))
        found += [row[0] for row in rows]
        if last == _LAST:
            break
        after = last
        await asyncio.sleep(0)
    return found


async def head(reader: Reader, name: RepositoryName, digest: Digest, *, at: int) -> ManifestHead | None:
    """Return a manifest that is there, or was deleted later than then."""
    row = await reader.first(_HEAD, name=name, digest=digest, at=at)
    return None if row is None else ManifestHead(*row)


async def content(reader: Reader, name: RepositoryName, digest: Digest, *, at: int) -> ManifestContent | None:
    """Return the same with its bytes."""
    row = await reader.first(_CONTENT, name=name, digest=digest, at=at)
    return None if row is None else ManifestContent(*row)


async def linked(reader: Reader, name: RepositoryName, digest: Digest, *, at: int) -> LinkedBlob | None:
    """Return a blob that is there, or was deleted later than then."""
    row = await reader.first(_LINKED, name=name, digest=digest, at=at)
    return None if row is None else LinkedBlob(row[0], Blob(*row[1:]), hold_due=False)


async def referrers(
    reader: Reader, name: RepositoryName, subject: Digest, *, artifact_type: str | None, after: int, limit: int, at: int
) -> list[tuple[int, str]]:
    """Return referrers that are there, or were deleted later, as `registry.db.manifests.referrers` does."""
    asked = {"name": name, "subject": subject, "after": after, "limit": limit, "at": at}
    if artifact_type is None:
        rows = await reader.all(_REFERRERS_ALL, **asked)
    else:
        rows = await reader.all(_REFERRERS_OF_TYPE, **asked, artifact_type=artifact_type)
    return [(row[0], row[1]) for row in rows]
