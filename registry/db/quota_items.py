"""What counts against projects' quotas: a row for each thing that does, and the sums in the project's own row.

Whether something counts follows from its repository's rows alone, which its transactions hold (`repositories.lock`).
So a row can be compared with what it should be at any time, once or twice, and nothing is ever counted twice. Whoever
changes rows holds the project's, so that the sums are right whenever somebody else looks.
"""

from collections.abc import Collection
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, and_, cast, delete, exists, func, insert, literal, or_, select, update

from registry.db.candidates import Cause
from registry.db.candidates import Kind as CandidateKind
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, one_of, parameter
from registry.db.tables import (
    blobs,
    candidates,
    links,
    manifest_blobs,
    manifest_children,
    manifests,
    projects,
    quota_items,
    sparse_edges,
    tags,
)


class Counts(StrEnum):
    """What counts.

    ALL: all that takes space, what was deleted and can be had back included. VISIBLE: what can be pulled; of blobs that
    only deleted manifests refer to, none. TAGGED: of that, no manifests that no tag names, no index lists and that
    refer to no subject, and no blobs that only such refer to.
    """

    ALL = "all"
    VISIBLE = "visible"
    TAGGED = "tagged"


class Kind(IntEnum):
    """What a row is about. `item_id` is a blob's id, a manifest's, or 0: the tags of a repository have one row."""

    BLOB = 0
    MANIFEST = 1
    TAGS = 2


class Quota(NamedTuple):
    """A project that has a quota. Limits in bytes and tags, None for none; what is used of them."""

    project_id: int
    project: str
    most_bytes: int | None
    most_tags: int | None
    used_bytes: int
    used_tags: int
    counts: Counts


class Item(NamedTuple):
    """A row's key within its project."""

    kind: Kind
    item_id: int
    repository_id: int


class Countable(NamedTuple):
    """What should have a row, or has one. `elsewhere`: another repository of the project has one for the same blob."""

    item_id: int
    size: int
    elsewhere: bool


_items = quota_items.c
_COLUMNS = (
    projects.c.id,
    projects.c.name,
    projects.c.quota_bytes,
    projects.c.quota_tags,
    projects.c.used_bytes,
    projects.c.used_tags,
    projects.c.quota_counts,
)
_LIMITED = or_(projects.c.quota_bytes.is_not(None), projects.c.quota_tags.is_not(None))
_OF = Statement(select(*_COLUMNS).where(projects.c.name == parameter("project"), _LIMITED))
_LOCK = Statement(
    select(*_COLUMNS).where(projects.c.id == parameter("project_id"), _LIMITED).with_for_update(key_share=True)
)

_others = quota_items.alias("others")
_parents = manifests.alias("parents")
_subjects = manifests.alias("subjects")


def _elsewhere(item: ColumnElement[int], kind: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(
        _others.c.project_id == parameter("project_id"),
        _others.c.kind == kind,
        _others.c.item_id == item,
        _others.c.repository_id != parameter("repository_id"),
    )


def _manifests(*where: ColumnElement[bool]) -> Statement:
    return Statement(
        select(manifests.c.id, manifests.c.size, literal(0)).where(
            one_of(manifests.c.id, "ids"), manifests.c.repository_id == parameter("repository_id"), *where
        )
    )


_seen = manifests.c.deleted_at.is_(None)
_reached = or_(
    exists().where(tags.c.manifest_id == manifests.c.id),
    exists().where(
        manifest_children.c.child_id == manifests.c.id,
        _parents.c.id == manifest_children.c.manifest_id,
        _parents.c.deleted_at.is_(None),
    ),
    exists().where(
        sparse_edges.c.repository_id == manifests.c.repository_id,
        sparse_edges.c.digest == manifests.c.digest,
        _parents.c.id == sparse_edges.c.manifest_id,
        _parents.c.deleted_at.is_(None),
    ),
    exists().where(
        _subjects.c.repository_id == manifests.c.repository_id,
        _subjects.c.digest == manifests.c.subject,
        _subjects.c.deleted_at.is_(None),
    ),
)
_MANIFESTS_ALL = _manifests()
_MANIFESTS_VISIBLE = _manifests(_seen)
_MANIFESTS_TAGGED = _manifests(_seen, _reached)


def _blobs(*where: ColumnElement[bool]) -> Statement:
    return Statement(
        select(links.c.blob_id, blobs.c.size, _elsewhere(links.c.blob_id, literal(int(Kind.BLOB))))
        .select_from(links.join(blobs, blobs.c.id == links.c.blob_id))
        .where(links.c.repository_id == parameter("repository_id"), one_of(links.c.blob_id, "ids"), *where)
    )


_edge = and_(manifest_blobs.c.repository_id == links.c.repository_id, manifest_blobs.c.blob_id == links.c.blob_id)
_BLOBS_ALL = _blobs()
_BLOBS_VISIBLE = _blobs(
    links.c.deleted_at.is_(None),
    or_(
        # A manifest that counts refers to it,
        exists().where(
            _edge,
            _others.c.project_id == parameter("project_id"),
            _others.c.kind == int(Kind.MANIFEST),
            _others.c.item_id == manifest_blobs.c.manifest_id,
        ),
        # or none does yet: what did and was collected is different, since its blobs are about to follow it.
        and_(
            ~exists().where(_edge),
            ~exists().where(
                candidates.c.kind == int(CandidateKind.LINK),
                candidates.c.repository_id == links.c.repository_id,
                candidates.c.item_id == links.c.blob_id,
                candidates.c.cause == int(Cause.MANIFEST_GONE),
            ),
        ),
    ),
)
_SHOULD = {
    (Kind.MANIFEST, Counts.ALL): _MANIFESTS_ALL,
    (Kind.MANIFEST, Counts.VISIBLE): _MANIFESTS_VISIBLE,
    (Kind.MANIFEST, Counts.TAGGED): _MANIFESTS_TAGGED,
    (Kind.BLOB, Counts.ALL): _BLOBS_ALL,
    (Kind.BLOB, Counts.VISIBLE): _BLOBS_VISIBLE,
    (Kind.BLOB, Counts.TAGGED): _BLOBS_VISIBLE,
}
_HAS = Statement(
    select(_items.item_id, _items.size, _elsewhere(_items.item_id, _items.kind)).where(
        _items.project_id == parameter("project_id"),
        _items.kind == parameter("kind"),
        one_of(_items.item_id, "ids"),
        _items.repository_id == parameter("repository_id"),
    )
)
_ADD = Statement(
    insert(quota_items).values(
        project_id=parameter("project_id"),
        kind=parameter("kind"),
        item_id=parameter("item_id"),
        repository_id=parameter("repository_id"),
        size=parameter("size"),
    )
)
_ONE = (
    _items.project_id == parameter("of_project"),
    _items.kind == parameter("of_kind"),
    _items.item_id == parameter("of_item"),
)
_REMOVE = Statement(delete(quota_items).where(*_ONE, _items.repository_id == parameter("of_repository")))
_RESIZE = Statement(update(quota_items).where(*_ONE).values(size=parameter("new_size")))
_SET_TAGS = Statement(
    update(quota_items)
    .where(*_ONE, _items.repository_id == parameter("of_repository"))
    .values(size=parameter("new_size"))
)
_COUNTING = Statement(
    select(_items.project_id, func.max(_items.size))
    .select_from(projects.join(quota_items, _items.project_id == projects.c.id))
    .where(_items.kind == int(Kind.BLOB), _items.item_id == parameter("blob_id"))
    .group_by(_items.project_id)
    .order_by(_items.project_id)
)
_COUNT_TAGS = Statement(
    select(func.count()).select_from(tags).where(tags.c.repository_id == parameter("repository_id"))
)
_BLOBS_OF = Statement(
    select(manifest_blobs.c.blob_id)
    .where(one_of(manifest_blobs.c.manifest_id, "ids"))
    .union(
        select(links.c.blob_id)
        .select_from(
            sparse_edges.join(blobs, blobs.c.digest == sparse_edges.c.digest).join(
                links, and_(links.c.repository_id == sparse_edges.c.repository_id, links.c.blob_id == blobs.c.id)
            )
        )
        .where(one_of(sparse_edges.c.manifest_id, "ids"))
    )
)
_RELATED = Statement(
    select(manifest_children.c.child_id)
    .where(one_of(manifest_children.c.manifest_id, "ids"))
    .union(
        select(manifests.c.id)
        .select_from(
            sparse_edges.join(
                manifests,
                and_(
                    manifests.c.repository_id == sparse_edges.c.repository_id,
                    manifests.c.digest == sparse_edges.c.digest,
                ),
            )
        )
        .where(one_of(sparse_edges.c.manifest_id, "ids")),
        select(manifests.c.id)
        .select_from(
            _subjects.join(
                manifests,
                and_(manifests.c.repository_id == _subjects.c.repository_id, manifests.c.subject == _subjects.c.digest),
            )
        )
        .where(one_of(_subjects.c.id, "ids")),
    )
)
_LINKED_IDS = Statement(
    select(blobs.c.id)
    .select_from(blobs.join(links, links.c.blob_id == blobs.c.id))
    .where(links.c.repository_id == parameter("repository_id"), one_of(blobs.c.digest, "digests"))
)
_more_bytes, _more_tags = cast(parameter("more_bytes"), BigInteger), cast(parameter("more_tags"), BigInteger)
_GROW = Statement(
    update(projects)
    .where(
        projects.c.id == parameter("project_id"),
        or_(
            cast(parameter("bound"), BigInteger) == literal(0),
            and_(
                or_(
                    _more_bytes <= literal(0),
                    projects.c.quota_bytes.is_(None),
                    projects.c.used_bytes + _more_bytes <= projects.c.quota_bytes,
                ),
                or_(
                    _more_tags <= literal(0),
                    projects.c.quota_tags.is_(None),
                    projects.c.used_tags + _more_tags <= projects.c.quota_tags,
                ),
            ),
        ),
    )
    .values(used_bytes=projects.c.used_bytes + _more_bytes, used_tags=projects.c.used_tags + _more_tags)
)


async def of(reader: Reader, project: str) -> Quota | None:
    """Return a project's quota, or None if it has none. Asked in a transaction, it is so until a repository is free."""
    return _quota(await reader.first(_OF, project=project))


async def lock(transaction: Transaction, project_id: int) -> Quota | None:
    """Like `of`. Until the transaction ends, nobody else counts in this project: so it comes last."""
    return _quota(await transaction.first(_LOCK, project_id=project_id))


async def should_count(
    transaction: Transaction, quota: Quota, kind: Kind, repository_id: int, ids: Collection[int]
) -> list[Countable]:
    """Return which of these blobs or manifests of a repository count, as its rows are now."""
    return await _countable(transaction, _SHOULD[kind, quota.counts], quota, repository_id, ids)


async def counted(
    transaction: Transaction, quota: Quota, kind: Kind, repository_id: int, ids: Collection[int]
) -> list[Countable]:
    """Return which of them have been counted."""
    return await _countable(transaction, _HAS, quota, repository_id, ids, kind=int(kind))


async def _countable(
    transaction: Transaction, statement: Statement, quota: Quota, repository_id: int, ids: Collection[int], **more: int
) -> list[Countable]:
    listed = transaction.encode_list(sorted(ids))
    rows = await transaction.all(
        statement, project_id=quota.project_id, repository_id=repository_id, ids=listed, **more
    )
    return [Countable(row[0], row[1], bool(row[2])) for row in rows]


async def add(transaction: Transaction, quota: Quota, kind: Kind, repository_id: int, new: list[Countable]) -> None:
    """Record what counts from now on."""
    own = {"project_id": quota.project_id, "kind": int(kind), "repository_id": repository_id}
    if new:
        await transaction.run_many(_ADD, [{**own, "item_id": one.item_id, "size": one.size} for one in new])


async def remove(transaction: Transaction, project_id: int, gone: list[Item]) -> None:
    """Forget what counts no more."""
    if gone:
        await transaction.run_many(
            _REMOVE, [{**_key(project_id, one.kind, one.item_id), "of_repository": one.repository_id} for one in gone]
        )


async def resize(transaction: Transaction, quota: Quota, kind: Kind, item_id: int, size: int) -> None:
    """Record that something has another size than was thought, wherever in the project it is."""
    await transaction.run(_RESIZE, **_key(quota.project_id, kind, item_id), new_size=size)


async def counting_blob(transaction: Transaction, blob_id: int) -> list[tuple[int, int]]:
    """Return the projects that count a blob, in order of their ids, and for how many bytes each."""
    return [(row[0], row[1]) for row in await transaction.all(_COUNTING, blob_id=blob_id)]


async def counted_tags(transaction: Transaction, quota: Quota, repository_id: int) -> int | None:
    """Return how many tags of a repository were counted; None if none have been looked for yet."""
    found = await counted(transaction, quota, Kind.TAGS, repository_id, [0])
    return found[0].size if found else None


async def count_tags(transaction: Transaction, repository_id: int) -> int:
    """Return how many tags a repository has."""
    row = await transaction.first(_COUNT_TAGS, repository_id=repository_id)
    assert row is not None  # noqa: S101 - a count
    number: int = row[0]
    return number


async def set_tags(transaction: Transaction, quota: Quota, repository_id: int, number: int) -> None:
    """Record how many tags of a repository count, where some number was recorded before."""
    key = _key(quota.project_id, Kind.TAGS, 0)
    await transaction.run(_SET_TAGS, **key, of_repository=repository_id, new_size=number)


async def grow(transaction: Transaction, quota: Quota, more_bytes: int, more_tags: int, *, bound: bool) -> bool:
    """Add to the sums. Return False, and add nothing, if it is `bound` and what it adds to would exceed its limit."""
    more = {"more_bytes": more_bytes, "more_tags": more_tags}
    return await transaction.run(_GROW, project_id=quota.project_id, **more, bound=int(bound)) == 1


async def blobs_of(reader: Reader, manifest_ids: Collection[int]) -> set[int]:
    """Return the ids of the blobs that manifests refer to, of those that are there."""
    return {row[0] for row in await reader.all(_BLOBS_OF, ids=reader.encode_list(sorted(manifest_ids)))}


async def related_to(reader: Reader, manifest_ids: Collection[int]) -> set[int]:
    """Return the ids of the manifests that these list, and of those whose subject is one of these."""
    return {row[0] for row in await reader.all(_RELATED, ids=reader.encode_list(sorted(manifest_ids)))}


async def linked_ids(reader: Reader, repository_id: int, digests: list[str]) -> set[int]:
    """Return the ids of blobs that a repository links, hidden or not."""
    rows = await reader.all(_LINKED_IDS, repository_id=repository_id, digests=reader.encode_list(digests))
    return {row[0] for row in rows}


def _key(project_id: int, kind: Kind, item_id: int) -> dict[str, int]:
    return {"of_project": project_id, "of_kind": int(kind), "of_item": item_id}


def _quota(row: Any) -> Quota | None:
    return None if row is None else Quota._make([*row[:6], Counts(row[6])])
