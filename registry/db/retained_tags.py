"""Tags as retention and expiry look at them: page by page, and again in the transaction that lets them go."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import exists, select
from sqlalchemy.sql.expression import alias

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, one_of, parameter
from registry.db.tables import locked_digests, manifest_children, manifests, pulls, repositories, tags
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest


class Found(NamedTuple):
    """A tag, and what is known of its manifest. Times in microseconds since the epoch."""

    tag: Tag
    digest: Digest
    updated_at: int
    expires_at: int | None
    pulled_at: int | None
    is_locked: bool


class Current(NamedTuple):
    """A tag as it is in a transaction that holds the repository. Times in microseconds since the epoch."""

    tag: Tag
    manifest_id: int
    digest: Digest
    updated_at: int
    expires_at: int | None
    is_locked: bool


class Due(NamedTuple):
    """A tag whose time is over. `expires_at`: microseconds since the epoch."""

    expires_at: int
    repository: RepositoryName
    tag: Tag


_named = repositories.join(tags, tags.c.repository_id == repositories.c.id).join(
    manifests, manifests.c.id == tags.c.manifest_id
)
_is_locked = exists().where(
    locked_digests.c.repository_id == manifests.c.repository_id, locked_digests.c.digest == manifests.c.digest
)
_found = (
    select(
        tags.c.name,
        manifests.c.digest,
        tags.c.updated_at,
        tags.c.expires_at,
        pulls.c.pulled_at,
        _is_locked,
    )
    .select_from(_named.outerjoin(pulls, pulls.c.manifest_id == manifests.c.id))
    .where(
        tags.c.repository_id
        == select(repositories.c.id).where(repositories.c.name == parameter("name")).scalar_subquery()
    )
    .order_by(tags.c.name)
)
_PAGE = Statement(_found.where(tags.c.name > parameter("after")).limit(parameter("limit")))
_SEVERAL = Statement(_found.where(one_of(tags.c.name, "names")))
_ENDING = Statement(
    select(tags.c.name, manifests.c.digest, tags.c.expires_at)
    .select_from(tags.join(manifests, manifests.c.id == tags.c.manifest_id))
    .where(
        tags.c.repository_id == parameter("repository_id"),
        one_of(tags.c.name, "names"),
        tags.c.expires_at.is_not(None),
    )
)
_CURRENT = Statement(
    select(tags.c.name, tags.c.manifest_id, manifests.c.digest, tags.c.updated_at, tags.c.expires_at, _is_locked)
    .select_from(tags.join(manifests, manifests.c.id == tags.c.manifest_id))
    .where(tags.c.repository_id == parameter("repository_id"), one_of(tags.c.name, "names"))
    .order_by(tags.c.name)
)
_parents = alias(manifests, "parents")
_STAYING = Statement(
    select(manifests.c.digest)
    .select_from(repositories.join(manifests, manifests.c.repository_id == repositories.c.id))
    .where(
        repositories.c.name == parameter("name"),
        one_of(manifests.c.digest, "digests"),
        manifests.c.deleted_at.is_(None),
        exists().where(tags.c.manifest_id == manifests.c.id)
        | exists().where(
            manifest_children.c.child_id == manifests.c.id,
            _parents.c.id == manifest_children.c.manifest_id,
            _parents.c.deleted_at.is_(None),
        )
        | _is_locked,
    )
)
_OF_PROJECT = Statement(
    select(repositories.c.name)
    .where(
        (repositories.c.name == parameter("same"))
        | ((repositories.c.name > parameter("first")) & (repositories.c.name < parameter("last"))),
        repositories.c.name > parameter("after"),
    )
    .order_by(repositories.c.name)
    .limit(parameter("limit"))
)
_DUE = Statement(
    select(tags.c.expires_at, repositories.c.name, tags.c.name)
    .select_from(_named)
    .where(
        tags.c.expires_at <= now(),
        ~_is_locked,
        (tags.c.expires_at > parameter("after"))
        | (
            (tags.c.expires_at == parameter("at"))
            & (
                (repositories.c.name > parameter("after_name"))
                | ((repositories.c.name == parameter("at_name")) & (tags.c.name > parameter("after_tag")))
            )
        ),
    )
    .order_by(tags.c.expires_at, repositories.c.name, tags.c.name)
    .limit(parameter("limit"))
)


async def page(reader: Reader, name: RepositoryName, *, after: str, limit: int) -> list[Found]:
    """Return up to `limit` tags of a repository greater than `after`, in order of their bytes."""
    rows = await reader.all(_PAGE, name=name, after=after, limit=limit)
    return [Found._make([*row[:-1], bool(row[-1])]) for row in rows]


async def several(reader: Reader, name: RepositoryName, names: Sequence[Tag]) -> list[Found]:
    """Return those of some tags of a repository that are there, in order."""
    rows = await reader.all(_SEVERAL, name=name, names=reader.encode_list(list(names)))
    return [Found._make([*row[:-1], bool(row[-1])]) for row in rows]


async def ending(reader: Reader, repository_id: int, names: Sequence[Tag]) -> dict[tuple[Tag, Digest], int]:
    """Return when those of some tags go that go by themselves, in microseconds since the epoch; by what they name."""
    if not names:
        return {}
    rows = await reader.all(_ENDING, repository_id=repository_id, names=reader.encode_list(sorted(set(names))))
    return {(row[0], row[1]): row[2] for row in rows}


async def current(transaction: Transaction, repository_id: int, names: Sequence[Tag]) -> list[Current]:
    """Return those of some tags that are there, as they are now, in order."""
    rows = await transaction.all(_CURRENT, repository_id=repository_id, names=transaction.encode_list(list(names)))
    return [Current._make([*row[:-1], bool(row[-1])]) for row in rows]


async def staying(reader: Reader, name: RepositoryName, digests: Sequence[Digest]) -> set[Digest]:
    """Return those of some digests that are manifests which a tag or an index names, or that are locked."""
    if not digests:
        return set()
    rows = await reader.all(_STAYING, name=name, digests=reader.encode_list(list(digests)))
    return {row[0] for row in rows}


async def of_project(reader: Reader, project: str, *, after: str, limit: int) -> list[RepositoryName]:
    """Return up to `limit` repositories of a project whose names follow `after`, in order."""
    rows = await reader.all(
        _OF_PROJECT,
        same=project,
        first=f"{project}/",
        last=f"{project}0",  # the character after "/"
        after=after,
        limit=limit,
    )
    return [row[0] for row in rows]


async def due(reader: Reader, *, after: Due | None, limit: int) -> list[Due]:
    """Return up to `limit` tags whose time is over, from `after` on, those first that wait for longest.

    Without those of locked manifests, which stay.
    """
    time, name, tag = (-1, "", "") if after is None else after
    rows = await reader.all(_DUE, after=time, at=time, after_name=name, at_name=name, after_tag=tag, limit=limit)
    return [Due._make(row) for row in rows]
