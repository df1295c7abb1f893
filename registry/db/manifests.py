"""Manifests and their edges."""

from dataclasses import dataclass

from sqlalchemy import exists, insert, select, update

from registry.db import candidates
from registry.db.candidates import Cause, Kind
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import (
    manifest_children,
    manifests,
    repositories,
    tags,
)
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What a HEAD of a manifest shows. `size` in bytes."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ManifestContent:
    """A manifest as it was pushed."""

    digest: Digest
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A manifest's identity inside its repository. `deleted`: it can be had back, and is not to be seen."""

    id: int
    digest: Digest
    media_type: str
    size: int
    deleted: bool


_BY_TAG = (
    repositories.join(tags, tags.c.repository_id == repositories.c.id).join(
        manifests, manifests.c.id == tags.c.manifest_id
    ),
    (repositories.c.name == parameter("name"), tags.c.name == parameter("tag")),
)
_BY_DIGEST = (
    repositories.join(manifests, manifests.c.repository_id == repositories.c.id),
    (
        repositories.c.name == parameter("name"),
        manifests.c.digest == parameter("digest"),
        manifests.c.deleted_at.is_(None),
    ),
)
_HEAD = (manifests.c.digest, manifests.c.media_type, manifests.c.size)
_CONTENT = (manifests.c.digest, manifests.c.media_type, manifests.c.content)
_HEAD_BY_TAG = Statement(select(*_HEAD).select_from(_BY_TAG[0]).where(*_BY_TAG[1]), hot=True)
_HEAD_BY_DIGEST = Statement(select(*_HEAD).select_from(_BY_DIGEST[0]).where(*_BY_DIGEST[1]), hot=True)
_CONTENT_BY_TAG = Statement(select(*_CONTENT).select_from(_BY_TAG[0]).where(*_BY_TAG[1]), hot=True)
_CONTENT_BY_DIGEST = Statement(select(*_CONTENT).select_from(_BY_DIGEST[0]).where(*_BY_DIGEST[1]), hot=True)

_FIND = Statement(
    select(
        manifests.c.id,
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.size,
        manifests.c.deleted_at.is_not(None),
    ).where(manifests.c.repository_id == parameter("repository_id"), manifests.c.digest == parameter("digest"))
)
_FIND_SEVERAL = Statement(
    select(manifests.c.digest, manifests.c.id, manifests.c.size).where(
        manifests.c.repository_id == parameter("repository_id"),
        one_of(manifests.c.digest, "digests"),
        manifests.c.deleted_at.is_(None),
    )
)
_INSERT = Statement(
    insert(manifests)
    .values(
        repository_id=parameter("repository_id"),
        digest=parameter("digest"),
        media_type=parameter("media_type"),
        size=parameter("size"),
        artifact_type=parameter("artifact_type"),
        subject=parameter("subject"),
        descriptor=parameter("descriptor"),
        pushed_at=now(),
        content=parameter("content"),
    )
    .returning(manifests.c.id)
)
_REVIVE = Statement(
    update(manifests)
    .where(manifests.c.id == parameter("manifest_id"))
    .values(
        media_type=parameter("media_type"),
        artifact_type=parameter("artifact_type"),
        subject=parameter("subject"),
        descriptor=parameter("descriptor"),
        pushed_at=now(),
        deleted_at=None,
    )
)
_DELETE = Statement(
    update(manifests).where(manifests.c.id == parameter("manifest_id")).values(deleted_at=parameter("at"))
)
_REFERRERS = (
    select(manifests.c.id, manifests.c.descriptor)
    .select_from(repositories.join(manifests, manifests.c.repository_id == repositories.c.id))
    .where(
        repositories.c.name == parameter("name"),
        manifests.c.subject == parameter("subject"),
        manifests.c.id > parameter("after"),
        manifests.c.deleted_at.is_(None),
    )
    .order_by(manifests.c.id)
    .limit(parameter("limit"))
)
_REFERRERS_ALL = Statement(_REFERRERS)
_REFERRERS_OF_TYPE = Statement(_REFERRERS.where(manifests.c.artifact_type == parameter("artifact_type")))


_parents = manifests.alias("parents")
_ROOTS = Statement(
    select(manifests.c.id, manifests.c.digest, manifests.c.subject.is_not(None))
    .where(
        manifests.c.repository_id
        == select(repositories.c.id).where(repositories.c.name == parameter("name")).scalar_subquery(),
        manifests.c.id > parameter("after"),
        manifests.c.deleted_at.is_(None),
        ~exists().where(
            manifest_children.c.child_id == manifests.c.id,
            _parents.c.id == manifest_children.c.manifest_id,
            _parents.c.deleted_at.is_(None),
        ),
    )
    .order_by(manifests.c.id)
    .limit(parameter("limit"))
)


async def head_by_tag(reader: Reader, name: RepositoryName, tag: Tag) -> ManifestHead | None:
    """Return what the tag names now, or None."""
    row = await reader.first(_HEAD_BY_TAG, name=name, tag=tag)
    return None if row is None else ManifestHead(*row)


async def head_by_digest(reader: Reader, name: RepositoryName, digest: Digest) -> ManifestHead | None:
    """Return the repository's manifest with this digest, or None."""
    row = await reader.first(_HEAD_BY_DIGEST, name=name, digest=digest)
    return None if row is None else ManifestHead(*row)


async def content_by_tag(reader: Reader, name: RepositoryName, tag: Tag) -> ManifestContent | None:
    """Return what the tag names now, with its bytes, or None."""
    row = await reader.first(_CONTENT_BY_TAG, name=name, tag=tag)
    return None if row is None else ManifestContent(*row)


async def content_by_digest(reader: Reader, name: RepositoryName, digest: Digest) -> ManifestContent | None:
    """Return the repository's manifest with this digest and its bytes, or None."""
    row = await reader.first(_CONTENT_BY_DIGEST, name=name, digest=digest)
    return None if row is None else ManifestContent(*row)


async def find(reader: Reader, repository_id: int, digest: Digest) -> ManifestRow | None:
    """Return a manifest's row, deleted or not."""
    row = await reader.first(_FIND, repository_id=repository_id, digest=digest)
    return None if row is None else ManifestRow(row[0], row[1], row[2], row[3], bool(row[4]))


async def find_several(transaction: Transaction, repository_id: int, digests: list[str]) -> dict[str, tuple[int, int]]:
    """Return id and size in bytes of those digests that are manifests of the repository."""
    rows = await transaction.all(_FIND_SEVERAL, repository_id=repository_id, digests=transaction.encode_list(digests))
    return {row[0]: (row[1], row[2]) for row in rows}


async def insert_manifest(
    transaction: Transaction,
    *,
    repository_id: int,
    digest: Digest,
    media_type: str,
    artifact_type: str | None,
    subject: str | None,
    descriptor: str | None,
    content: bytes,
) -> int:
    """Record a new manifest and return its id. Its edges are added apart."""
    row = await transaction.first(
        _INSERT,
        repository_id=repository_id,
        digest=digest,
        media_type=media_type,
        size=len(content),
        artifact_type=artifact_type,
        subject=subject,
        descriptor=descriptor,
        content=content,
    )
    assert row is not None  # noqa: S101 - RETURNING of one inserted row
    manifest_id: int = row[0]
    return manifest_id


async def revive(
    transaction: Transaction,
    manifest_id: int,
    *,
    media_type: str,
    artifact_type: str | None,
    subject: str | None,
    descriptor: str | None,
) -> None:
    """Make a manifest visible as pushed anew: what its media type says may differ from the time before."""
    await transaction.run(
        _REVIVE,
        manifest_id=manifest_id,
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject,
        descriptor=descriptor,
    )


async def delete_manifest(transaction: Transaction, repository_id: int, manifest_id: int, *, at: int) -> None:
    """Hide a manifest, and queue it for collection. Its edges stay, so that it can be had back whole.

    `at`: now, in microseconds since the epoch; the tags that go with it end at the same time.
    """
    await transaction.run(_DELETE, manifest_id=manifest_id, at=at)
    await candidates.add(transaction, Kind.MANIFEST, repository_id, manifest_id, Cause.DELETED)


async def referrers(
    reader: Reader, name: RepositoryName, subject: Digest, *, artifact_type: str | None, after: int, limit: int
) -> list[tuple[int, str]]:
    """Return (id, descriptor as JSON) of up to `limit` referrers with an id greater than `after`, in order of ids."""
    if artifact_type is None:
        rows = await reader.all(_REFERRERS_ALL, name=name, subject=subject, after=after, limit=limit)
    else:
        rows = await reader.all(
            _REFERRERS_OF_TYPE, name=name, subject=subject, after=after, limit=limit, artifact_type=artifact_type
        )
    return [(row[0], row[1]) for row in rows]


async def roots(reader: Reader, name: RepositoryName, *, after: int, limit: int) -> list[tuple[int, Digest, bool]]:
    """Return manifests that no index of the repository lists, in order of ids greater than `after`.

    Of each its id, its digest, and whether it refers to another manifest as its subject.
    """
    rows = await reader.all(_ROOTS, name=name, after=after, limit=limit)
    return [(row[0], row[1], bool(row[2])) for row in rows]
