"""Quotas of projects: setting and clearing them, and walking what has to be counted for one that is new."""

from typing import Any, NamedTuple

from sqlalchemy import ScalarSelect, case, func, literal, or_, select, update
from sqlalchemy import tuple_ as tuple_of

from registry.db.connection import Reader, Transaction
from registry.db.quota_items import Counts, Item, Kind
from registry.db.statements import Statement, now, parameter
from registry.db.tables import links, manifests, projects, quota_items, repositories

_items = quota_items.c
_SET = Statement(
    update(projects)
    .where(projects.c.id == parameter("project_id"))
    .values(
        quota_bytes=parameter("most_bytes"),
        quota_tags=parameter("most_tags"),
        counted_at=case((projects.c.quota_counts == parameter("as_before"), projects.c.counted_at), else_=None),
        quota_counts=parameter("counts"),
    )
)
_CLEAR = Statement(
    update(projects)
    .where(projects.c.id == parameter("project_id"))
    .values(quota_bytes=None, quota_tags=None, used_bytes=0, used_tags=0, counted_at=None)
)
_FINISH = Statement(
    update(projects)
    .where(projects.c.id == parameter("project_id"), projects.c.quota_counts == parameter("counts"))
    .values(counted_at=now())
)
_LOCK = Statement(
    select(projects.c.id, projects.c.quota_bytes, projects.c.quota_tags)
    .where(projects.c.name == parameter("project"))
    .with_for_update(key_share=True)
)
_NAMES = select(projects.c.name).where(
    projects.c.name > parameter("after"), or_(projects.c.quota_bytes.is_not(None), projects.c.quota_tags.is_not(None))
)
_LIMITED = Statement(_NAMES.order_by(projects.c.name).limit(parameter("limit")))
_UNCOUNTED = Statement(
    _NAMES.where(projects.c.counted_at.is_(None)).order_by(projects.c.name).limit(parameter("limit"))
)
_REPOSITORIES = Statement(
    select(repositories.c.id, repositories.c.name)
    .where(repositories.c.name > parameter("after"), repositories.c.name < parameter("end"))
    .order_by(repositories.c.name)
    .limit(parameter("limit"))
)
_LINKS = Statement(
    select(links.c.blob_id)
    .where(links.c.repository_id == parameter("repository_id"), links.c.blob_id > parameter("after"))
    .order_by(links.c.blob_id)
    .limit(parameter("limit"))
)
_MANIFESTS = Statement(
    select(manifests.c.id, manifests.c.digest)
    .where(manifests.c.repository_id == parameter("repository_id"), manifests.c.digest > parameter("after"))
    .order_by(manifests.c.digest)
    .limit(parameter("limit"))
)
_ITEMS = Statement(
    select(_items.kind, _items.item_id, _items.repository_id)
    .where(
        _items.project_id == parameter("project_id"),
        tuple_of(_items.kind, _items.item_id, _items.repository_id)
        > tuple_of(parameter("after_kind"), parameter("after_item"), parameter("after_repository")),
    )
    .order_by(_items.kind, _items.item_id, _items.repository_id)
    .limit(parameter("limit"))
)
_of_project = _items.project_id == parameter("project_id")
_once = (
    select(func.max(_items.size).label("size"))
    .where(_of_project, _items.kind == int(Kind.BLOB))
    .group_by(_items.item_id)
    .subquery()
)


def _sum(kind: Kind) -> ScalarSelect[Any]:
    return (
        select(func.coalesce(func.sum(_items.size), literal(0)))
        .where(_of_project, _items.kind == int(kind))
        .scalar_subquery()
    )


_SUMS = Statement(
    select(
        projects.c.used_bytes,
        projects.c.used_tags,
        select(func.coalesce(func.sum(_once.c.size), literal(0))).scalar_subquery(),
        _sum(Kind.MANIFEST),
        _sum(Kind.TAGS),
    ).where(projects.c.id == parameter("project_id"))
)
_SET_USED = Statement(
    update(projects)
    .where(projects.c.id == parameter("project_id"))
    .values(used_bytes=parameter("right_bytes"), used_tags=parameter("right_tags"))
)


class Sums(NamedTuple):
    """What a project's row says is used, and what its items come to. Bytes and tags."""

    used_bytes: int
    used_tags: int
    right_bytes: int
    right_tags: int

    @property
    def right(self) -> bool:
        """Whether they agree."""
        return (self.used_bytes, self.used_tags) == (self.right_bytes, self.right_tags)


class Locked(NamedTuple):
    """A project whose row is held. `limited`: it has a quota."""

    id: int
    limited: bool


async def lock(transaction: Transaction, project: str) -> Locked | None:
    """Hold a project, with a quota or without, until the transaction ends. None if there is none of that name."""
    row = await transaction.first(_LOCK, project=project)
    return None if row is None else Locked(row[0], row[1] is not None or row[2] is not None)


async def set_quota(
    transaction: Transaction, project_id: int, *, most_bytes: int | None, most_tags: int | None, counts: Counts
) -> None:
    """Limit what a project may hold. What counted before must be counted anew if something else counts now."""
    await transaction.run(
        _SET,
        project_id=project_id,
        most_bytes=most_bytes,
        most_tags=most_tags,
        as_before=str(counts),
        counts=str(counts),
    )


async def clear(transaction: Transaction, project_id: int) -> None:
    """Let a project hold what it likes. What was counted for it stays for `items` to find."""
    await transaction.run(_CLEAR, project_id=project_id)


async def finish(transaction: Transaction, project_id: int, counts: Counts) -> bool:
    """Record that all is counted. False if something else counts by now."""
    return await transaction.run(_FINISH, project_id=project_id, counts=str(counts)) == 1


async def limited(reader: Reader, *, after: str, limit: int, uncounted: bool = False) -> list[str]:
    """Return names of projects that have a quota, in order; only those that are not counted, if asked."""
    rows = await reader.all(_UNCOUNTED if uncounted else _LIMITED, after=after, limit=limit)
    return [row[0] for row in rows]


async def repository_page(reader: Reader, project: str, *, after: str, limit: int) -> list[tuple[int, str]]:
    """Return id and name of repositories below a project (not the one that is called just like it), in order."""
    first, end = f"{project}/", f"{project}0"  # "0" follows "/"
    rows = await reader.all(_REPOSITORIES, after=max(after, first), end=end, limit=limit)
    return [(row[0], row[1]) for row in rows]


async def link_page(reader: Reader, repository_id: int, *, after: int, limit: int) -> list[int]:
    """Return ids of blobs that a repository links, hidden or not, in order."""
    rows = await reader.all(_LINKS, repository_id=repository_id, after=after, limit=limit)
    return [row[0] for row in rows]


async def manifest_page(reader: Reader, repository_id: int, *, after: str, limit: int) -> list[tuple[int, str]]:
    """Return id and digest of a repository's manifests, hidden or not, in order of the digests."""
    rows = await reader.all(_MANIFESTS, repository_id=repository_id, after=after, limit=limit)
    return [(row[0], row[1]) for row in rows]


async def items(reader: Reader, project_id: int, *, after: Item | None, limit: int) -> list[Item]:
    """Return what was counted for a project, in order of the keys."""
    kind, item, repository = (-1, -1, -1) if after is None else (int(after.kind), after.item_id, after.repository_id)
    rows = await reader.all(
        _ITEMS, project_id=project_id, after_kind=kind, after_item=item, after_repository=repository, limit=limit
    )
    return [Item(Kind(row[0]), row[1], row[2]) for row in rows]


async def sums(reader: Reader, project_id: int) -> Sums | None:
    """Return the sums of a project and what they should be, as of one moment; None if it is gone."""
    row = await reader.first(_SUMS, project_id=project_id)
    return None if row is None else Sums(row[0], row[1], int(row[2]) + int(row[3]), int(row[4]))


async def set_used(transaction: Transaction, project_id: int, right: Sums) -> None:
    """Make a project's sums what its items come to. The project is held."""
    await transaction.run(_SET_USED, project_id=project_id, right_bytes=right.right_bytes, right_tags=right.right_tags)
