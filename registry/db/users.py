"""People, and the groups that they are in."""

from typing import NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import user_groups, users

LOCAL = "local"
"""The source of users whose password is here, and of members that were put into a group here."""


class User(NamedTuple):
    """Somebody. `source`: what knows the password; `password` is its argon2id hash, where that is here.

    Times in microseconds since the epoch.
    """

    id: int
    name: str
    source: str
    subject: str | None
    password: str | None
    is_admin: bool
    created_at: int
    disabled_at: int | None
    password_at: int | None
    seen_at: int | None


_COLUMNS = tuple(users.c[name] for name in User._fields)
_BY_NAME = Statement(select(*_COLUMNS).where(users.c.name == parameter("user")))
_BY_ID = Statement(select(*_COLUMNS).where(users.c.id == parameter("user_id")))
_BY_SUBJECT = Statement(
    select(*_COLUMNS).where(users.c.source == parameter("origin"), users.c.subject == parameter("identity"))
)
_PAGE = Statement(
    select(*_COLUMNS).where(users.c.name > parameter("after")).order_by(users.c.name).limit(parameter("most"))
)
_COUNT_ADMINS = Statement(
    select(func.count()).select_from(users).where(users.c.is_admin == 1, users.c.disabled_at.is_(None))
)
_ADD = Statement(
    postgresql.insert(users)
    .values(
        name=parameter("name"),
        source=parameter("source"),
        subject=parameter("subject"),
        password=parameter("password"),
        is_admin=parameter("is_admin"),
        created_at=now(),
        password_at=now(),
    )
    .on_conflict_do_nothing()
)
_PASSWORD = Statement(
    update(users).where(users.c.id == parameter("user_id")).values(password=parameter("secret"), password_at=now())
)
_ADMIN = Statement(update(users).where(users.c.id == parameter("user_id")).values(is_admin=parameter("admin")))
_DISABLE = Statement(
    update(users).where(users.c.id == parameter("user_id"), users.c.disabled_at.is_(None)).values(disabled_at=now())
)
_ENABLE = Statement(
    update(users).where(users.c.id == parameter("user_id"), users.c.disabled_at.is_not(None)).values(disabled_at=None)
)
_SEEN = Statement(update(users).where(users.c.id == parameter("user_id")).values(seen_at=now()))
_REMOVE = Statement(delete(users).where(users.c.id == parameter("user_id")))
_GROUPS = Statement(
    select(user_groups.c.name, user_groups.c.source)
    .where(user_groups.c.user_id == parameter("user_id"))
    .order_by(user_groups.c.name, user_groups.c.source)
)
_JOIN = Statement(
    postgresql.insert(user_groups)
    .values(user_id=parameter("user_id"), name=parameter("name"), source=parameter("source"))
    .on_conflict_do_nothing()
)
_LEAVE = Statement(
    delete(user_groups).where(
        user_groups.c.user_id == parameter("user_id"),
        user_groups.c.name == parameter("group"),
        user_groups.c.source == parameter("origin"),
    )
)
_GROUP_PAGE = Statement(
    select(user_groups.c.name, func.count(user_groups.c.user_id.distinct()))
    .where(user_groups.c.name > parameter("after"))
    .group_by(user_groups.c.name)
    .order_by(user_groups.c.name)
    .limit(parameter("most"))
)
_MEMBERS = Statement(
    select(users.c.name, user_groups.c.source)
    .select_from(user_groups.join(users, users.c.id == user_groups.c.user_id))
    .where(user_groups.c.name == parameter("group"), users.c.name > parameter("after"))
    .order_by(users.c.name, user_groups.c.source)
    .limit(parameter("most"))
)


async def find(reader: Reader, name: str) -> User | None:
    """Return the user of that name, or None."""
    return _user(await reader.first(_BY_NAME, user=name))


async def find_by_id(reader: Reader, user_id: int) -> User | None:
    """Return the user with that id, or None."""
    return _user(await reader.first(_BY_ID, user_id=user_id))


async def find_by_subject(reader: Reader, source: str, subject: str) -> User | None:
    """Return whom an identity provider calls so, or None."""
    return _user(await reader.first(_BY_SUBJECT, origin=source, identity=subject))


async def page(reader: Reader, *, after: str, most: int) -> list[User]:
    """Return up to `most` users in the order of their names, from after one on."""
    return [User(*row)._replace(is_admin=bool(row[5])) for row in await reader.all(_PAGE, after=after, most=most)]


async def count_admins(reader: Reader) -> int:
    """Return how many system admins there are that are not disabled."""
    row = await reader.first(_COUNT_ADMINS)
    return 0 if row is None else int(row[0])


async def add(
    transaction: Transaction,
    name: str,
    *,
    source: str = LOCAL,
    subject: str | None = None,
    password: str | None = None,
    is_admin: bool = False,
) -> bool:
    """Make a user. `password`: its hash. False if the name, or the subject of that source, is taken."""
    values = {"name": name, "source": source, "subject": subject, "password": password, "is_admin": int(is_admin)}
    return await transaction.run(_ADD, **values) == 1


async def set_password(transaction: Transaction, user_id: int, password: str) -> None:
    """Change a password. `password`: its hash."""
    await transaction.run(_PASSWORD, user_id=user_id, secret=password)


async def set_admin(transaction: Transaction, user_id: int, *, is_admin: bool) -> None:
    """Make a user a system admin, or no longer."""
    await transaction.run(_ADMIN, user_id=user_id, admin=int(is_admin))


async def disable(transaction: Transaction, user_id: int) -> bool:
    """Let nobody in as this user. False if that was so."""
    return await transaction.run(_DISABLE, user_id=user_id) == 1


async def enable(transaction: Transaction, user_id: int) -> bool:
    """Let this user in again. False if that was so."""
    return await transaction.run(_ENABLE, user_id=user_id) == 1


async def mark_seen(transaction: Transaction, user_id: int) -> None:
    """Write down a login."""
    await transaction.run(_SEEN, user_id=user_id)


async def remove(transaction: Transaction, user_id: int) -> bool:
    """Remove a user with all credentials. False if it is not there."""
    return await transaction.run(_REMOVE, user_id=user_id) == 1


async def groups(reader: Reader, user_id: int) -> list[tuple[str, str]]:
    """Return the groups that a user is in, each with who says so."""
    return [(row[0], row[1]) for row in await reader.all(_GROUPS, user_id=user_id)]


async def join(transaction: Transaction, user_id: int, group: str, source: str = LOCAL) -> bool:
    """Put a user into a group. False if it is in it."""
    return await transaction.run(_JOIN, user_id=user_id, name=group, source=source) == 1


async def leave(transaction: Transaction, user_id: int, group: str, source: str = LOCAL) -> bool:
    """Take a user out of a group. False if it is not in it."""
    return await transaction.run(_LEAVE, user_id=user_id, group=group, origin=source) == 1


async def group_page(reader: Reader, *, after: str, most: int) -> list[tuple[str, int]]:
    """Return up to `most` groups in the order of their names, from after one on, each with how many are in it."""
    return [(row[0], row[1]) for row in await reader.all(_GROUP_PAGE, after=after, most=most)]


async def members(reader: Reader, group: str, *, after: str, most: int) -> list[tuple[str, str]]:
    """Return up to `most` users in a group in the order of their names, from after one on, each with who says so."""
    return [(row[0], row[1]) for row in await reader.all(_MEMBERS, group=group, after=after, most=most)]


def _user(row: tuple[object, ...] | None) -> User | None:
    return None if row is None else User(*row)._replace(is_admin=bool(row[5]))  # type: ignore[arg-type]  # the columns, in this order
