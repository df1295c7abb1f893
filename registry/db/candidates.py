"""The queue of what nothing may need any more, until collection has looked at it.

Being in it decides nothing: collection asks again, inside the transaction that removes. What is missing from it is
never found, so whatever makes a link, a manifest or a repository needless queues it, in the same transaction.
"""

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, SmallInteger, Table, case, cast, delete, func, literal, select, update
from sqlalchemy import tuple_ as tuple_of
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import blobs, candidates, links, manifest_blobs, manifest_children, manifests, sparse_edges

LATEST_US = 86400 * 1_000_000
"""Whatever is known to be kept for longer is looked at each day, since settings change, and clocks."""


class Kind(IntEnum):
    """What is queued. `item_id` is a manifest's id, a blob's, or the repository's own."""

    MANIFEST = 0
    LINK = 1
    REPOSITORY = 2


class Cause(IntEnum):
    """Why it was queued."""

    UPLOADED = 0
    DELETED = 1
    UNTAGGED = 2
    INDEX_GONE = 3
    SUBJECT_GONE = 4
    MANIFEST_GONE = 5
    EMPTIED = 6


class Candidate(NamedTuple):
    """A row of the queue. `since` and `due_at` in microseconds since the epoch; `due_at` None: kept by a setting."""

    kind: Kind
    repository_id: int
    item_id: int
    cause: Cause
    since: int
    due_at: int | None


_table = candidates.c
_COLUMNS = (_table.kind, _table.repository_id, _table.item_id, _table.cause, _table.since, _table.due_at)
_NAMES = [column.name for column in _COLUMNS]


def _queueing(insertion: postgresql.Insert) -> Statement:
    """Queue, or have what is queued already looked at anew; the later `since` counts."""
    new = insertion.excluded
    return Statement(
        insertion.on_conflict_do_update(
            index_elements=[_table.kind, _table.repository_id, _table.item_id],
            set_={
                "cause": new.cause,
                "since": case((_table.since > new.since, _table.since), else_=new.since),
                "due_at": new.due_at,
            },
        )
    )


def _queueing_found(
    kind: Kind, cause: Cause, source: Any, repository: ColumnElement[int], item: ColumnElement[int], *where: Any
) -> Statement:
    """Queue what is found in `source`, each item once, all since the parameter `since`."""
    found = (
        select(
            cast(literal(int(kind)), SmallInteger),
            repository,
            item,
            cast(literal(int(cause)), SmallInteger),
            cast(parameter("since"), BigInteger),
            now(),
        )
        .select_from(source)
        .where(*where)
        .group_by(repository, item)
    )
    return _queueing(postgresql.insert(candidates).from_select(_NAMES, found))


def _children_of(edges: Table, item: ColumnElement[int]) -> Any:
    return select(item).where(edges.c.manifest_id == parameter("manifest_id"))


_ADD = _queueing(
    postgresql.insert(candidates).values(
        kind=parameter("kind"),
        repository_id=parameter("repository_id"),
        item_id=parameter("item_id"),
        cause=parameter("cause"),
        since=now(),
        due_at=now(),
    )
)
_ADD_BLOBS = _queueing_found(
    Kind.LINK,
    Cause.UPLOADED,
    links.join(blobs, blobs.c.id == links.c.blob_id),
    links.c.repository_id,
    links.c.blob_id,
    links.c.repository_id == parameter("repository_id"),
    one_of(blobs.c.digest, "digests"),
)
_ADD_LINKS = _queueing_found(
    Kind.LINK,
    Cause.MANIFEST_GONE,
    manifest_blobs,
    manifest_blobs.c.repository_id,
    manifest_blobs.c.blob_id,
    manifest_blobs.c.manifest_id == parameter("manifest_id"),
)
_ADD_CHILDREN = _queueing_found(
    Kind.MANIFEST,
    Cause.INDEX_GONE,
    manifest_children.join(manifests, manifests.c.id == manifest_children.c.child_id),
    manifests.c.repository_id,
    manifests.c.id,
    manifest_children.c.manifest_id == parameter("manifest_id"),
)
_ADD_SPARSE_LINKS = _queueing_found(
    Kind.LINK,
    Cause.MANIFEST_GONE,
    sparse_edges.join(blobs, blobs.c.digest == sparse_edges.c.digest).join(
        links,
        (links.c.repository_id == sparse_edges.c.repository_id) & (links.c.blob_id == blobs.c.id),
    ),
    links.c.repository_id,
    links.c.blob_id,
    sparse_edges.c.manifest_id == parameter("manifest_id"),
)
_ADD_SPARSE_CHILDREN = _queueing_found(
    Kind.MANIFEST,
    Cause.INDEX_GONE,
    sparse_edges.join(
        manifests,
        (manifests.c.repository_id == sparse_edges.c.repository_id) & (manifests.c.digest == sparse_edges.c.digest),
    ),
    manifests.c.repository_id,
    manifests.c.id,
    sparse_edges.c.manifest_id == parameter("manifest_id"),
)
_ADD_REFERRERS = _queueing_found(
    Kind.MANIFEST,
    Cause.SUBJECT_GONE,
    manifests,
    manifests.c.repository_id,
    manifests.c.id,
    manifests.c.repository_id == parameter("repository_id"),
    manifests.c.subject == parameter("digest"),
)


def _settling(kind: Kind, referred: Any) -> Statement:
    return Statement(
        delete(candidates).where(
            _table.kind == int(kind),
            _table.repository_id == parameter("repository_id"),
            _table.item_id.in_(referred),
        )
    )


_SETTLE_LINKS = _settling(Kind.LINK, _children_of(manifest_blobs, manifest_blobs.c.blob_id))
_SETTLE_CHILDREN = _settling(Kind.MANIFEST, _children_of(manifest_children, manifest_children.c.child_id))
_SETTLE_SEVERAL = (
    _settling(Kind.LINK, select(manifest_blobs.c.blob_id).where(one_of(manifest_blobs.c.manifest_id, "ids"))),
    _settling(
        Kind.MANIFEST, select(manifest_children.c.child_id).where(one_of(manifest_children.c.manifest_id, "ids"))
    ),
)
_ONE = (
    _table.kind == parameter("of_kind"),
    _table.repository_id == parameter("repository"),
    _table.item_id == parameter("item"),
)
_FIND = Statement(select(*_COLUMNS).where(*_ONE))
_DROP = Statement(delete(candidates).where(*_ONE))
_POSTPONE = Statement(update(candidates).where(*_ONE).values(due_at=parameter("until")))
_DUE = Statement(
    select(*_COLUMNS)
    .where(_table.kind == parameter("kind"), _table.due_at <= now())
    .order_by(_table.due_at)
    .limit(parameter("limit"))
)
_PAGE = Statement(
    select(*_COLUMNS)
    .where(
        _table.kind == parameter("kind"),
        tuple_of(_table.repository_id, _table.item_id)
        > tuple_of(parameter("after_repository"), parameter("after_item")),
    )
    .order_by(_table.repository_id, _table.item_id)
    .limit(parameter("limit"))
)
_BRING_BACK = Statement(
    update(candidates)
    .where(_table.kind == parameter("of_kind"), _table.due_at > now() + literal(2 * LATEST_US))
    .values(due_at=now())
)
_UNPARK = Statement(
    update(candidates).where(_table.kind == int(Kind.MANIFEST), _table.due_at.is_(None)).values(due_at=now())
)
_COUNT = Statement(
    select(func.count()).select_from(
        select(literal(1)).select_from(candidates).where(_table.due_at.is_not(None)).limit(parameter("most")).subquery()
    )
)


async def add(transaction: Transaction, kind: Kind, repository_id: int, item_id: int, cause: Cause) -> None:
    """Queue one item, from now on."""
    await transaction.run(_ADD, kind=int(kind), repository_id=repository_id, item_id=item_id, cause=int(cause))


async def add_many(
    transaction: Transaction, kind: Kind, repository_id: int, items: Collection[int], cause: Cause
) -> None:
    """Queue several items, from now on."""
    where = {"kind": int(kind), "repository_id": repository_id, "cause": int(cause)}
    await transaction.run_many(_ADD, [{**where, "item_id": item} for item in sorted(set(items))])


async def add_blobs(transaction: Transaction, repository_id: int, digests: list[str], *, since: int) -> None:
    """Queue blobs that a repository links, uploaded at `since`."""
    listed = transaction.encode_list(digests)
    await transaction.run(_ADD_BLOBS, repository_id=repository_id, digests=listed, since=since)


async def add_edges(transaction: Transaction, manifest_id: int, *, since: int) -> None:
    """Queue all that a manifest refers to, before its edges go. `since`: when it became needless itself."""
    for statement in (_ADD_LINKS, _ADD_CHILDREN, _ADD_SPARSE_LINKS, _ADD_SPARSE_CHILDREN):
        await transaction.run(statement, manifest_id=manifest_id, since=since)


async def add_referrers(transaction: Transaction, repository_id: int, digest: str, *, since: int) -> None:
    """Queue the manifests whose subject is going."""
    await transaction.run(_ADD_REFERRERS, repository_id=repository_id, digest=digest, since=since)


async def settle(transaction: Transaction, repository_id: int, manifest_id: int, *, has_children: bool) -> None:
    """Take from the queue what a manifest refers to, now that its edges are there."""
    await transaction.run(_SETTLE_LINKS, repository_id=repository_id, manifest_id=manifest_id)
    if has_children:
        await transaction.run(_SETTLE_CHILDREN, repository_id=repository_id, manifest_id=manifest_id)


async def settle_many(transaction: Transaction, repository_id: int, manifest_ids: Sequence[int]) -> None:
    """Do the same for several manifests, of which any may have children."""
    for statement in _SETTLE_SEVERAL:
        await transaction.run(statement, repository_id=repository_id, ids=transaction.encode_list(manifest_ids))


async def find(reader: Reader, candidate: Candidate) -> Candidate | None:
    """Return the row as it is now, or None if it was taken from the queue."""
    row = await reader.first(_FIND, **_key(candidate))
    return None if row is None else _candidate(row)


async def drop(transaction: Transaction, candidate: Candidate) -> None:
    """Take one item from the queue."""
    await transaction.run(_DROP, **_key(candidate))


async def postpone(transaction: Transaction, candidate: Candidate, until: int | None) -> None:
    """Have it looked at from `until` on; if that is None, when `unpark` is called."""
    await transaction.run(_POSTPONE, **_key(candidate), until=until)


async def due(reader: Reader, kind: Kind, *, limit: int) -> list[Candidate]:
    """Return up to `limit` items that are to be looked at now, those first that wait for longest."""
    return [_candidate(row) for row in await reader.all(_DUE, kind=int(kind), limit=limit)]


async def page(reader: Reader, kind: Kind, *, after: Candidate | None, limit: int) -> list[Candidate]:
    """Return up to `limit` items that follow `after`, due or not, in the order of their keys."""
    repository, item = (-1, -1) if after is None else (after.repository_id, after.item_id)
    rows = await reader.all(_PAGE, kind=int(kind), after_repository=repository, after_item=item, limit=limit)
    return [_candidate(row) for row in rows]


async def bring_back(transaction: Transaction) -> None:
    """Look now at what was put off for longer than anything is: the clock was ahead then."""
    for kind in Kind:
        await transaction.run(_BRING_BACK, of_kind=int(kind))


async def unpark(transaction: Transaction) -> int:
    """Look again at what a setting kept, which says something else now. Return how many that are."""
    return await transaction.run(_UNPARK)


async def count(reader: Reader, *, most: int) -> int:
    """Return how many items wait to be looked at, without those that a setting keeps; `most` if there are more."""
    row = await reader.first(_COUNT, most=most)
    assert row is not None  # noqa: S101 - it has no condition
    number: int = row[0]
    return number


def _key(candidate: Candidate) -> dict[str, int]:
    return {"of_kind": int(candidate.kind), "repository": candidate.repository_id, "item": candidate.item_id}


def _candidate(row: tuple[Any, ...]) -> Candidate:
    kind, repository_id, item_id, cause, since, due_at = row
    return Candidate(Kind(kind), repository_id, item_id, Cause(cause), since, due_at)
