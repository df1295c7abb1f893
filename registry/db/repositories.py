"""Repositories: names that content is linked to.

Collection removes those that are empty, and SQLite may give their ids to others: an id is good for one transaction.
"""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from registry.db import projects
from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter, turn_of
from registry.db.tables import repositories
from registry.oci.names import RepositoryName

_FIND = Statement(select(repositories.c.id).where(repositories.c.name == parameter("name")))
_LOCK = Statement(
    select(repositories.c.id).where(repositories.c.name == parameter("name")).with_for_update(key_share=True)
)
_LOCK_KNOWN = Statement(
    select(repositories.c.id).where(repositories.c.id == parameter("repository_id")).with_for_update(key_share=True)
)
_NAME_OF = Statement(select(repositories.c.name).where(repositories.c.id == parameter("repository_id")))
_CREATE = Statement(
    insert(repositories)
    .values(name=parameter("name"), created_at=now())
    .on_conflict_do_nothing(index_elements=[repositories.c.name])
    .returning(repositories.c.id)
)
_TURN_TO_CREATE = Statement(select(turn_of("project", share=True)))
_TURN_TO_WALK = Statement(select(turn_of("project")))
_PAGE = Statement(
    select(repositories.c.name)
    .where(repositories.c.name > parameter("after"))
    .order_by(repositories.c.name)
    .limit(parameter("limit"))
)


async def find(reader: Reader, name: RepositoryName) -> int | None:
    """Return the repository's id, or None."""
    row = await reader.first(_FIND, name=name)
    return None if row is None else row[0]


async def lock(transaction: Transaction, name: RepositoryName) -> int | None:
    """Return the repository's id, or None. Until the transaction ends nobody else changes the repository.

    Every transaction that changes what belongs to a repository begins with this, `lock_known` or `find_or_create`: so
    the changes of one repository come one after the other, each sees all that came before, and none waits for what a
    second one holds that waits for the first.
    """
    row = await transaction.first(_LOCK, name=name)
    return None if row is None else row[0]


async def lock_known(transaction: Transaction, repository_id: int) -> None:
    """Like `lock`, of a repository whose id is known."""
    await transaction.first(_LOCK_KNOWN, repository_id=repository_id)


async def name_of(reader: Reader, repository_id: int) -> str | None:
    """Return a repository's name, or None."""
    row = await reader.first(_NAME_OF, repository_id=repository_id)
    return None if row is None else row[0]


async def find_or_create(transaction: Transaction, name: RepositoryName) -> int:
    """Return the repository's id; it exists afterwards, and is locked like with `lock`."""
    found = await lock(transaction, name)
    return (await create(transaction, name))[0] if found is None else found


async def create(transaction: Transaction, name: RepositoryName, *, in_project: bool = False) -> tuple[int, bool]:
    """Return the id of a repository that `lock` did not find, locked, and whether this made it, not somebody else.

    Args:
        in_project: it is made only where its project is there, whose removal waits for this transaction.

    Raises:
        RecordUnknown: the project was removed.
    """
    await transaction.first(_TURN_TO_CREATE, project=_turn_of(name))
    if in_project:
        await projects.known(transaction, name.partition("/")[0])
    while True:  # if somebody else was faster, and collection again
        row = await transaction.first(_CREATE, name=name)
        if row is not None:
            return row[0], True
        found = await lock(transaction, name)
        if found is not None:
            return found, False


async def wait_for_creators(transaction: Transaction, project: str) -> None:
    """Wait for those who are making a repository of a project now: who comes later sees what was committed before.

    Who comes while the transaction is under way waits for its end.
    """
    await transaction.first(_TURN_TO_WALK, project=_turn_of(project))


def _turn_of(name: str) -> str:
    return f"repositories of {name.partition('/')[0]}"


async def page(reader: Reader, *, after: str, limit: int) -> list[str]:
    """Return up to `limit` names greater than `after`, in order of their bytes."""
    return [row[0] for row in await reader.all(_PAGE, after=after, limit=limit)]
