"""Projects: a repository's first component, and what is set for all of its repositories."""

from typing import NamedTuple

from sqlalchemy import delete, exists, literal, or_, select
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import projects, repositories
from registry.errors import RecordUnknown

EVERYWHERE = 0
"""In place of a project's id: the whole registry."""


class Project(NamedTuple):
    """A project. Quotas in bytes and tags, None without limit; `used_*` count only while there is a quota.

    `quota_counts`: what does (`registry.db.quota_items`); `counted_at`: when all was counted, None until then.
    """

    id: int
    name: str
    created_at: int
    created_by: str
    quota_bytes: int | None
    quota_tags: int | None
    used_bytes: int
    used_tags: int
    quota_counts: str
    counted_at: int | None


_LONGEST = 300
"""So much of a name is said that somebody made up."""
_COLUMNS = tuple(projects.c[name] for name in Project._fields)
_BY_NAME = Statement(select(*_COLUMNS).where(projects.c.name == parameter("project")))
_PAGE = Statement(
    select(*_COLUMNS).where(projects.c.name > parameter("after")).order_by(projects.c.name).limit(parameter("most"))
)
_ADD = Statement(
    postgresql.insert(projects)
    .values(name=parameter("name"), created_at=now(), created_by=parameter("actor"))
    .on_conflict_do_nothing()
)
_DELETE = Statement(delete(projects).where(projects.c.id == parameter("project_id")))
_HAS_REPOSITORIES = Statement(
    select(
        exists(
            select(literal(1))
            .select_from(repositories)
            .where(
                or_(
                    repositories.c.name == parameter("project"),
                    (repositories.c.name >= parameter("first")) & (repositories.c.name < parameter("end")),
                )
            )
        )
    )
)


async def find(reader: Reader, name: str) -> Project | None:
    """Return the project of that name, or None."""
    row = await reader.first(_BY_NAME, project=name)
    return None if row is None else Project(*row)


async def known(reader: Reader, name: str) -> Project:
    """Return the project of that name. Raises RecordUnknown."""
    found = await find(reader, name)
    if found is None:
        raise unknown(name)
    return found


async def owner_id(reader: Reader, name: str) -> int:
    """Return what owns what a project has, or the whole registry (""): an id, or EVERYWHERE. Raises RecordUnknown."""
    return (await known(reader, name)).id if name else EVERYWHERE


def unknown(name: str) -> RecordUnknown:
    """Return what is raised where there is no such project, or none that whoever asks may know of."""
    shown = name if name.isprintable() and len(name) <= _LONGEST else repr(name[:_LONGEST])
    return RecordUnknown(f"there is no project {shown}")


async def page(reader: Reader, *, after: str, most: int) -> list[Project]:
    """Return up to `most` projects in the order of their names, from after one on."""
    return [Project(*row) for row in await reader.all(_PAGE, after=after, most=most)]


async def add(transaction: Transaction, name: str, *, actor: str) -> bool:
    """Make a project. False if it is there."""
    return await transaction.run(_ADD, name=name, actor=actor) == 1


async def remove(transaction: Transaction, project_id: int) -> bool:
    """Remove a project, which nothing may refer to any more. False if it is not there."""
    return await transaction.run(_DELETE, project_id=project_id) == 1


async def has_repositories(reader: Reader, name: str) -> bool:
    """Say whether a repository belongs to the project of that name."""
    row = await reader.first(_HAS_REPOSITORIES, project=name, first=f"{name}/", end=f"{name}0")  # "0" follows "/"
    return row is not None and bool(row[0])
