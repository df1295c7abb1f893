"""What tags were, and what was deleted: listed, and compared with how things are now.

At a moment a tag was what the last row says that had begun by then, if that had not ended: rows of one tag overlap only
where a clock was set back.
"""

import asyncio
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import BigInteger, cast, func, literal, or_, select, tuple_, union
from sqlalchemy.sql.expression import alias

from registry.db.connection import Reader
from registry.db.statements import Row, Rows, Statement, one_of, parameter
from registry.db.tables import manifests, tag_history, tags
from registry.oci.names import Tag
from storage.digest import Digest

_LATEST = 2**62
_LOOKED_AT = 500
"""Rows that one statement looks at: where most do not count, others are to be served meanwhile."""


class Entry(NamedTuple):
    """What a tag was, or is while `ended_at` is None. Times in microseconds since the epoch.

    `is_there`: whether the manifest still is; `is_hidden`: whether it was deleted, and can be had back.
    """

    id: int
    tag: Tag
    digest: Digest
    started_at: int
    started_by: str
    started_from: str
    cause: str
    ended_at: int | None
    ended_by: str | None
    ended_from: str
    ended_cause: str
    is_there: bool
    is_hidden: bool


class Place(NamedTuple):
    """Where a page begins: after the row with this time and id."""

    at: int = _LATEST
    id: int = 0


class Difference(NamedTuple):
    """A tag that was something else then: the digests, None for no tag. `manifest_id`: of what it names now."""

    tag: Tag
    then: Digest | None
    now: Digest | None
    manifest_id: int | None


class Deleted(NamedTuple):
    """A manifest that was deleted and can be had back. Times in microseconds since the epoch, `size` in bytes."""

    id: int
    digest: Digest
    media_type: str
    size: int
    deleted_at: int


class Known(NamedTuple):
    """A manifest of a repository, deleted or not. `size` in bytes."""

    id: int
    media_type: str
    size: int
    is_hidden: bool


_h = tag_history.c
_of_repository = _h.repository_id == parameter("repository_id")
_others, _then = alias(tag_history, "others"), alias(tag_history, "then")
_ENTRIES = (
    select(
        *(_h.id, _h.tag, _h.digest, _h.started_at, _h.started_by, _h.started_from, _h.cause),
        *(_h.ended_at, _h.ended_by, _h.ended_from, _h.ended_cause),
        manifests.c.id.is_not(None),
        manifests.c.deleted_at.is_not(None),
    )
    .select_from(
        tag_history.outerjoin(
            manifests, (manifests.c.repository_id == _h.repository_id) & (manifests.c.digest == _h.digest)
        )
    )
    .limit(parameter("limit"))
)
_after = tuple_(cast(parameter("at"), BigInteger), cast(parameter("id"), BigInteger))
_newest = _ENTRIES.where(_of_repository, tuple_(_h.started_at, _h.id) < _after).order_by(
    _h.started_at.desc(), _h.id.desc()
)
_PAGE = Statement(_newest)
_PAGE_OF_TAG = Statement(_newest.where(_h.tag == parameter("tag")))
_ENDED = Statement(
    select(_h.ended_at, _h.id)
    .where(_of_repository, _h.ended_at.is_not(None), tuple_(_h.ended_at, _h.id) < _after)
    .order_by(_h.ended_at.desc(), _h.id.desc())
    .limit(parameter("limit"))
)
_last_of_tag = (
    select(_others.c.id)
    .where(_others.c.repository_id == _h.repository_id, _others.c.tag == _h.tag)
    .order_by(_others.c.started_at.desc(), _others.c.id.desc())
    .limit(1)
    .correlate(tag_history)
    .scalar_subquery()
)
_REMOVED = Statement(
    _ENTRIES.where(one_of(_h.id, "ids"), _h.id == _last_of_tag).order_by(_h.ended_at.desc(), _h.id.desc())
)

_moment = cast(parameter("at"), BigInteger)
_changed = union(
    select(_h.tag).where(_of_repository, _h.started_at > _moment),
    select(_h.tag).where(_of_repository, _h.ended_at > _moment),
).subquery("changed")
_row_then = (
    select(_others.c.id)
    .where(
        _others.c.repository_id == parameter("repository_id"),
        _others.c.tag == _changed.c.tag,
        _others.c.started_at <= _moment,
    )
    .order_by(_others.c.started_at.desc(), _others.c.id.desc())
    .limit(1)
    .correlate(_changed)
    .scalar_subquery()
)
_lasted = or_(_then.c.ended_at.is_(None), _then.c.ended_at > _moment)
_DIFFERING = Statement(
    select(_changed.c.tag, _then.c.digest, manifests.c.digest, tags.c.manifest_id)
    .select_from(
        _changed.outerjoin(_then, (_then.c.id == _row_then) & _lasted)
        .outerjoin(tags, (tags.c.repository_id == parameter("repository_id")) & (tags.c.name == _changed.c.tag))
        .outerjoin(manifests, manifests.c.id == tags.c.manifest_id)
    )
    .where(_then.c.digest.is_distinct_from(manifests.c.digest))
    .order_by(_changed.c.tag)
    .limit(parameter("limit"))
)
_THEN = Statement(
    select(_h.digest, _h.ended_at)
    .where(_of_repository, _h.tag == parameter("tag"), _h.started_at <= _moment)
    .order_by(_h.started_at.desc(), _h.id.desc())
    .limit(1)
)
_NOW = Statement(
    select(manifests.c.digest, tags.c.manifest_id)
    .select_from(tags.join(manifests, manifests.c.id == tags.c.manifest_id))
    .where(tags.c.repository_id == parameter("repository_id"), tags.c.name == parameter("tag"))
)
_BEFORE = Statement(
    select(_h.digest)
    .where(
        _of_repository,
        _h.tag == parameter("tag"),
        _h.ended_at.is_not(None),
        _h.digest != parameter("current"),
    )
    .order_by(_h.started_at.desc(), _h.id.desc())
    .limit(1)
)
_EVER = Statement(select(literal(1)).where(_of_repository, _h.tag == parameter("tag")).limit(1))
_LAST_START = Statement(select(func.max(_h.started_at)).where(_of_repository))
_LAST_END = Statement(select(func.max(_h.ended_at)).where(_of_repository, _h.ended_at.is_not(None)))
_DELETED = Statement(
    select(manifests.c.id, manifests.c.digest, manifests.c.media_type, manifests.c.size, manifests.c.deleted_at)
    .where(
        manifests.c.repository_id == parameter("repository_id"),
        manifests.c.deleted_at.is_not(None),
        tuple_(manifests.c.deleted_at, manifests.c.id) < _after,
    )
    .order_by(manifests.c.deleted_at.desc(), manifests.c.id.desc())
    .limit(parameter("limit"))
)
_WENT_WITH = Statement(
    select(_h.digest, _h.ended_at, _h.tag, _h.ended_by).where(
        _of_repository, one_of(_h.digest, "digests"), _h.ended_at.is_not(None), one_of(_h.ended_at, "times")
    )
)
_KNOWN = Statement(
    select(
        manifests.c.digest,
        manifests.c.id,
        manifests.c.media_type,
        manifests.c.size,
        manifests.c.deleted_at.is_not(None),
    ).where(manifests.c.repository_id == parameter("repository_id"), one_of(manifests.c.digest, "digests"))
)
_DELETED_AT = Statement(
    select(manifests.c.deleted_at).where(
        manifests.c.repository_id == parameter("repository_id"), manifests.c.digest == parameter("digest")
    )
)


async def page(
    reader: Reader, repository_id: int, *, tag: Tag | None, removed: bool, after: Place | None, limit: int
) -> list[Entry]:
    """Return up to `limit` rows, those that began last first: of one tag, or of all.

    With `removed`, rows of tags that are not there any more, those that ended last first; `tag` is not looked at.
    """
    where = {"repository_id": repository_id, **(after or Place())._asdict(), "limit": limit}
    if removed:
        rows: Rows = await _removed(reader, repository_id, after or Place(), limit)
    elif tag is None:
        rows = await reader.all(_PAGE, **where)
    else:
        rows = await reader.all(_PAGE_OF_TAG, **where, tag=tag)
    return [Entry._make([*row[:-2], bool(row[-2]), bool(row[-1])]) for row in rows]


async def _removed(reader: Reader, repository_id: int, place: Place, limit: int) -> list[Row]:
    """Return rows of tags that are not there any more. Lets others work now and then: few may be, of many."""
    found: list[Row] = []
    while len(found) < limit:
        ended = await reader.all(_ENDED, repository_id=repository_id, **place._asdict(), limit=_LOOKED_AT)
        ids = reader.encode_list([row[1] for row in ended])
        found += await reader.all(_REMOVED, ids=ids, limit=limit - len(found))
        if len(ended) < _LOOKED_AT:
            break
        place = Place(*ended[-1])
        await asyncio.sleep(0)
    return found


async def differences(reader: Reader, repository_id: int, at: int, *, limit: int) -> list[Difference]:
    """Return up to `limit` tags that were something else at a moment, in their order.

    It costs what has changed since, and not what there is.
    """
    rows = await reader.all(_DIFFERING, repository_id=repository_id, at=at, limit=limit)
    return [Difference(*row) for row in rows]


async def difference(reader: Reader, repository_id: int, tag: Tag, at: int) -> Difference:
    """Return what a tag was at a moment beside what it is now."""
    row = await reader.first(_THEN, repository_id=repository_id, tag=tag, at=at)
    then = None if row is None or (row[1] is not None and row[1] <= at) else row[0]
    now: Row | None = await reader.first(_NOW, repository_id=repository_id, tag=tag)
    return Difference(tag, then, *(now or (None, None)))


async def compared(reader: Reader, repository_id: int, tag: Tag, digest: Digest | None) -> Difference:
    """Return what a tag is now beside a digest; without one, beside what it was before: None if it never was."""
    row: Row | None = await reader.first(_NOW, repository_id=repository_id, tag=tag)
    now, manifest_id = row or (None, None)
    if digest is None:
        before = await reader.first(_BEFORE, repository_id=repository_id, tag=tag, current=now or "")
        digest = None if before is None else before[0]
    return Difference(tag, digest, now, manifest_id)


async def ever_was(reader: Reader, repository_id: int, tag: Tag) -> bool:
    """Say whether there is or was such a tag."""
    return await reader.first(_EVER, repository_id=repository_id, tag=tag) is not None


async def last_change(reader: Reader, repository_id: int) -> int:
    """Return when a tag of the repository began or ended last, in microseconds since the epoch; 0 for never."""
    found = [await reader.first(one, repository_id=repository_id) for one in (_LAST_START, _LAST_END)]
    return max((row[0] or 0 for row in found if row is not None), default=0)


async def deleted(reader: Reader, repository_id: int, *, after: Place | None, limit: int) -> list[Deleted]:
    """Return up to `limit` manifests that were deleted and are there still, the last first."""
    rows = await reader.all(_DELETED, repository_id=repository_id, **(after or Place())._asdict(), limit=limit)
    return [Deleted(*row) for row in rows]


async def went_with(
    reader: Reader, repository_id: int, gone: Sequence[tuple[Digest, int]]
) -> dict[tuple[Digest, int], list[tuple[Tag, str]]]:
    """Return the tags that went with deleted manifests, and who did it.

    `gone`: digests, and when each was deleted: its tags ended in the same moment.
    """
    found: dict[tuple[Digest, int], list[tuple[Tag, str]]] = {one: [] for one in gone}
    rows = await reader.all(
        _WENT_WITH,
        repository_id=repository_id,
        digests=reader.encode_list([digest for digest, _ in gone]),
        times=reader.encode_list([at for _, at in gone]),
    )
    for digest, at, tag, actor in sorted(rows, key=itemgetter(2)):  # an index that orders them finds them slowly
        if (digest, at) in found:
            found[digest, at].append((tag, actor or ""))
    return found


async def known(reader: Reader, repository_id: int, digests: Sequence[Digest]) -> dict[Digest, Known]:
    """Return those that are manifests of the repository, deleted ones too."""
    rows = await reader.all(_KNOWN, repository_id=repository_id, digests=reader.encode_list(list(digests)))
    return {row[0]: Known(row[1], row[2], row[3], bool(row[4])) for row in rows}


async def deleted_at(reader: Reader, repository_id: int, digest: Digest) -> int | None:
    """Return when a manifest was deleted, in microseconds since the epoch; None if it was not, or is not there."""
    row = await reader.first(_DELETED_AT, repository_id=repository_id, digest=digest)
    return None if row is None else row[0]
