"""Service accounts: who pushes and pulls for a project, and is nobody."""

from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import projects, service_accounts


class ServiceAccount(NamedTuple):
    """A service account; `project` is its project's name. Times in microseconds since the epoch."""

    id: int
    project_id: int
    project: str
    name: str
    created_at: int
    created_by: str
    disabled_at: int | None

    @property
    def principal(self) -> str:
        """What grants and history call it."""
        return f"serviceaccount:{self.project}/{self.name}"


_TABLE = service_accounts
_FROM = select(
    _TABLE.c.id,
    _TABLE.c.project_id,
    projects.c.name,
    _TABLE.c.name,
    _TABLE.c.created_at,
    _TABLE.c.created_by,
    _TABLE.c.disabled_at,
).join(projects, projects.c.id == _TABLE.c.project_id)
_BY_NAME = Statement(_FROM.where(projects.c.name == parameter("project"), _TABLE.c.name == parameter("account")))
_BY_ID = Statement(_FROM.where(_TABLE.c.id == parameter("account_id")))
_OF_PROJECT = Statement(_FROM.where(_TABLE.c.project_id == parameter("project_id")).order_by(_TABLE.c.name))
_PAGE = Statement(
    _FROM.where(_TABLE.c.project_id == parameter("project_id"), _TABLE.c.name > parameter("after"))
    .order_by(_TABLE.c.name)
    .limit(parameter("most"))
)
_ADD = Statement(
    postgresql.insert(_TABLE)
    .values(project_id=parameter("project_id"), name=parameter("name"), created_at=now(), created_by=parameter("actor"))
    .on_conflict_do_nothing()
)
_DISABLE = Statement(
    update(_TABLE)
    .where(_TABLE.c.id == parameter("account_id"), _TABLE.c.disabled_at.is_(None))
    .values(disabled_at=now())
)
_ENABLE = Statement(
    update(_TABLE)
    .where(_TABLE.c.id == parameter("account_id"), _TABLE.c.disabled_at.is_not(None))
    .values(disabled_at=None)
)
_REMOVE = Statement(delete(_TABLE).where(_TABLE.c.id == parameter("account_id")))


async def find(reader: Reader, project: str, name: str) -> ServiceAccount | None:
    """Return a project's service account of that name, or None."""
    row = await reader.first(_BY_NAME, project=project, account=name)
    return None if row is None else ServiceAccount(*row)


async def find_by_id(reader: Reader, account_id: int) -> ServiceAccount | None:
    """Return the service account with that id, or None."""
    row = await reader.first(_BY_ID, account_id=account_id)
    return None if row is None else ServiceAccount(*row)


async def of_project(reader: Reader, project_id: int) -> list[ServiceAccount]:
    """Return a project's service accounts, in the order of their names."""
    return [ServiceAccount(*row) for row in await reader.all(_OF_PROJECT, project_id=project_id)]


async def page(reader: Reader, project_id: int, *, after: str, most: int) -> list[ServiceAccount]:
    """Return up to `most` of them, from after a name on."""
    return [ServiceAccount(*row) for row in await reader.all(_PAGE, project_id=project_id, after=after, most=most)]


async def add(transaction: Transaction, project_id: int, name: str, *, actor: str) -> bool:
    """Make a service account. False if it is there."""
    return await transaction.run(_ADD, project_id=project_id, name=name, actor=actor) == 1


async def disable(transaction: Transaction, account_id: int) -> bool:
    """Let its tokens in nowhere. False if that was so."""
    return await transaction.run(_DISABLE, account_id=account_id) == 1


async def enable(transaction: Transaction, account_id: int) -> bool:
    """Let its tokens in again. False if that was so."""
    return await transaction.run(_ENABLE, account_id=account_id) == 1


async def remove(transaction: Transaction, account_id: int) -> bool:
    """Remove it with all of its tokens. False if it is not there."""
    return await transaction.run(_REMOVE, account_id=account_id) == 1
