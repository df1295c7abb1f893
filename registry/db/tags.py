"""Tags, and what each was before."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import BigInteger, case, cast, delete, func, insert, select, update
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


@dataclass(frozen=True, slots=True)
class Moved:
    """That a tag was made, or moved: `previous` is what it named before."""

    previous: Digest | None


class Reassignment(NamedTuple):
    """A tag that changes: the ids of the manifests that it names and is to name, None for none."""

    tag: Tag
    before_id: int | None
    manifest_id: int | None
    digest: Digest | None


class Why(StrEnum):
    """What moves tags, as history tells it."""

    PUSH = "push"
    DELETE = "delete"
    IMPORT = "import"
    LOAD = "load"
    ROLLBACK = "rollback"
    UNDELETE = "undelete"
    REPAIR = "repair"
    RETENTION = "retention"
    EXPIRY = "expiry"


class Move(NamedTuple):
    """Who moves tags, why, and from where.

    Attributes:
        address: of the request; "" where there is none.
        at: when, in microseconds since the epoch; None for now. For those that are to have moved in one moment.
    """

    actor: str
    cause: str
    address: str = ""
    at: int | None = None


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
_at = func.coalesce(cast(parameter("at"), BigInteger), now())
_expires_at = now() + cast(parameter("lifetime"), BigInteger)
_assigning = postgresql.insert(tags).values(
    repository_id=parameter("repository_id"),
    name=parameter("tag"),
    manifest_id=parameter("manifest_id"),
    updated_at=_at,
    expires_at=_expires_at,
)
_ASSIGN = Statement(
    _assigning.on_conflict_do_update(
        index_elements=[tags.c.repository_id, tags.c.name],
        set_={
            "manifest_id": _assigning.excluded.manifest_id,
            "updated_at": _assigning.excluded.updated_at,
            "expires_at": _assigning.excluded.expires_at,
        },
    )
)
_PROLONG = Statement(
    update(tags)
    .where(tags.c.repository_id == parameter("repository"), tags.c.name == parameter("tag"))
    .values(expires_at=_expires_at)
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
        started_at=_at,
        started_by=parameter("actor"),
        started_from=parameter("address"),
        cause=parameter("cause"),
    )
)
# Clocks are set back: nothing ends before it began.
_ending = (
    update(tag_history)
    .where(
        tag_history.c.repository_id == parameter("repository_id"),
        tag_history.c.tag == parameter("tag"),
        tag_history.c.ended_at.is_(None),
    )
    .values(
        ended_at=case((tag_history.c.started_at > _at, tag_history.c.started_at), else_=_at),
        ended_by=parameter("actor"),
        ended_from=parameter("address"),
        ended_cause=parameter("cause"),
    )
)
_END_ENTRY = Statement(_ending.returning(tag_history.c.ended_at))
_END_ENTRY_AT = Statement(_ending)


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
    transaction: Transaction, repository_id: int, tag: Tag, *, manifest_id: int, digest: Digest, move: Move
) -> Moved | None:
    """Make the tag name the manifest, and remember what it was. Return None if it names that already."""
    before = await current(transaction, repository_id, tag)
    return await reassign(transaction, repository_id, tag, before, manifest_id=manifest_id, digest=digest, move=move)


async def reassign(
    transaction: Transaction,
    repository_id: int,
    tag: Tag,
    before: CurrentTag | None,
    *,
    manifest_id: int,
    digest: Digest,
    move: Move,
    lifetime: int | None = None,
) -> Moved | None:
    """Make the tag name the manifest, `before` being what it names now. Return None if that is the same.

    What it named is queued for collection: it may have been its last tag. There is no moment between the two.

    Args:
        lifetime: microseconds after which the tag goes by itself; one that names the manifest already gets as long
            again.
    """
    if before is not None and before.manifest_id == manifest_id:
        if lifetime is not None:
            await transaction.run(_PROLONG, repository=repository_id, tag=tag, lifetime=lifetime)
        return None
    if before is not None:
        ended_at = await _end(transaction, repository_id, tag, move)
        move = move._replace(at=ended_at or move.at)
        await candidates.add(transaction, Kind.MANIFEST, repository_id, before.manifest_id, Cause.UNTAGGED)
    await transaction.run(
        _ASSIGN, repository_id=repository_id, tag=tag, manifest_id=manifest_id, at=move.at, lifetime=lifetime
    )
    await transaction.run(
        _BEGIN_ENTRY,
        repository_id=repository_id,
        tag=tag,
        manifest_id=manifest_id,
        digest=digest,
        **move._asdict(),
    )
    return Moved(None if before is None else before.digest)


async def change_many(
    transaction: Transaction, repository_id: int, changes: Sequence[Reassignment], *, move: Move, at: int
) -> None:
    """Make many tags name other manifests, or nothing, in one moment, and remember what they were.

    `at`: in microseconds since the epoch, later than anything that happened to them: two statements for each kind of
    change would otherwise be four for each tag.
    """
    where = {"repository_id": repository_id}
    moved = {**move._replace(at=at)._asdict(), **where}
    ended = [one for one in changes if one.before_id is not None]
    if ended:
        await transaction.run_many(_END_ENTRY_AT, [{**moved, "tag": one.tag} for one in ended])
        left = [one.before_id for one in ended if one.before_id is not None]
        await candidates.add_many(transaction, Kind.MANIFEST, repository_id, left, Cause.UNTAGGED)
    gone = [one.tag for one in changes if one.manifest_id is None]
    if gone:
        await transaction.run_many(_REMOVE, [{**where, "tag": tag} for tag in gone])
    new = [
        {**moved, "tag": one.tag, "manifest_id": one.manifest_id, "digest": one.digest}
        for one in changes
        if one.manifest_id is not None
    ]
    if new:
        assigned = [{name: one[name] for name in ("repository_id", "tag", "manifest_id", "at")} for one in new]
        await transaction.run_many(_ASSIGN, [{**one, "lifetime": None} for one in assigned])
        await transaction.run_many(_BEGIN_ENTRY, new)


async def remove(transaction: Transaction, repository_id: int, tag: Tag, *, manifest_id: int, move: Move) -> None:
    """Remove a tag of a manifest, which is queued for collection, and remember what it was."""
    await candidates.add(transaction, Kind.MANIFEST, repository_id, manifest_id, Cause.UNTAGGED)
    await _end(transaction, repository_id, tag, move)
    await transaction.run(_REMOVE, repository_id=repository_id, tag=tag)


async def _end(transaction: Transaction, repository_id: int, tag: Tag, move: Move) -> int | None:
    """End what the tag is, and return when."""
    row = await transaction.first(_END_ENTRY, repository_id=repository_id, tag=tag, **move._asdict())
    return None if row is None else row[0]
