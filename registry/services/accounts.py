"""People, as administrators handle them: users, their passwords, and the groups that they are in."""

from collections.abc import Awaitable, Callable

from auth.names import check_password, parse_group, parse_user
from registry.db import credentials, grants, users
from registry.db.connection import Database, Reader, Transaction
from registry.db.users import LOCAL, User
from registry.errors import RecordExists, RecordInUse, RecordUnknown, ValueInvalid
from registry.services.rights import Change, changed

Hash = Callable[[str], Awaitable[str]]
"""Hashes a password, somewhere else than in the event loop."""


class Accounts:
    """Users and groups in the database."""

    def __init__(self, database: Database, hash_password: Hash) -> None:
        self._database = database
        self._hash = hash_password

    async def add(self, name: str, password: str, *, is_admin: bool = False, actor: str) -> User:
        """Make a user whose password is kept here.

        Raises:
            NameRefused: nobody can be called so, or the password breaks the rules.
            RecordExists: the name is taken.
        """
        parse_user(name)
        check_password(password, name)
        hashed = await self._hash(password)

        async def work(transaction: Transaction) -> User:
            if not await users.add(transaction, name, password=hashed, is_admin=is_admin):
                raise RecordExists(f"there is a user {name} already")
            return await _find(transaction, name)

        return await changed(self._database, Change("user.add", actor, about={"user": name, "admin": is_admin}), work)

    async def set_password(self, name: str, password: str, *, with_tokens: bool = False, actor: str) -> User:
        """Change a user's password. Sessions and logins with the old one end, and personal tokens too if that is said.

        Raises:
            NameRefused: the password breaks the rules.
            RecordUnknown: there is no such user.
            ValueInvalid: somebody else keeps the password.
        """
        check_password(password, name)
        _check_is_here(await _find(self._database, name))
        hashed = await self._hash(password)

        async def work(transaction: Transaction) -> User:
            user = _check_is_here(await _find(transaction, name))
            await users.set_password(transaction, user.id, hashed)
            await credentials.revoke_logins_of_user(transaction, user.id)
            if with_tokens:
                await credentials.revoke_of_user(transaction, user.id)
            return user

        return await changed(
            self._database,
            Change("user.password", actor, about={"user": name, "tokens": with_tokens}),
            work,
            takes_away=True,
        )

    async def disable(self, name: str, *, actor: str) -> bool:
        """Let nobody in as this user, whatever they show. False if that was so.

        Raises:
            RecordUnknown: there is no such user.
            RecordInUse: it is the last system admin.
        """

        async def work(transaction: Transaction) -> bool:
            user = await _find(transaction, name)
            await _check_is_not_last(transaction, user)
            return await users.disable(transaction, user.id)

        return await changed(self._database, Change("user.disable", actor, about={"user": name}), work, takes_away=True)

    async def enable(self, name: str, *, actor: str) -> bool:
        """Let this user in again. False if that was so. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> bool:
            return await users.enable(transaction, (await _find(transaction, name)).id)

        return await changed(self._database, Change("user.enable", actor, about={"user": name}), work)

    async def set_admin(self, name: str, *, is_admin: bool, actor: str) -> bool:
        """Make a user a system admin, or no longer. False if that was so.

        Raises:
            RecordUnknown: there is no such user.
            RecordInUse: it is the last system admin.
        """

        async def work(transaction: Transaction) -> bool:
            user = await _find(transaction, name)
            if user.is_admin == is_admin:
                return False
            if not is_admin:
                await _check_is_not_last(transaction, user)
            await users.set_admin(transaction, user.id, is_admin=is_admin)
            return True

        return await changed(
            self._database,
            Change("user.admin", actor, about={"user": name, "admin": is_admin}),
            work,
            takes_away=not is_admin,
        )

    async def remove(self, name: str, *, actor: str) -> None:
        """Remove a user with all tokens and grants: who gets the name later gets nothing with it.

        Raises:
            RecordUnknown: there is no such user.
            RecordInUse: it is the last system admin.
        """

        async def work(transaction: Transaction) -> None:
            user = await _find(transaction, name)
            await _check_is_not_last(transaction, user)
            await grants.forget(transaction, f"user:{name}")
            await users.remove(transaction, user.id)

        await changed(self._database, Change("user.remove", actor, about={"user": name}), work, takes_away=True)

    async def find(self, name: str) -> User:
        """Return a user. Raises RecordUnknown."""
        return await _find(self._database, name)

    async def page(self, *, after: str = "", most: int = 1000) -> list[User]:
        """Return up to `most` users in the order of their names, from after one on."""
        return await users.page(self._database, after=after, most=most)

    async def groups_of(self, user: User) -> list[tuple[str, str]]:
        """Return the groups that a user is in, each with who says so."""
        return await users.groups(self._database, user.id)

    async def join(self, group: str, name: str, *, actor: str) -> bool:
        """Put a user into a group, which is there while somebody is in it. False if that was so.

        Raises:
            NameRefused: no group can be called so.
            RecordUnknown: there is no such user.
        """
        parse_group(group)

        async def work(transaction: Transaction) -> bool:
            return await users.join(transaction, (await _find(transaction, name)).id, group)

        return await changed(self._database, Change("group.join", actor, about={"group": group, "user": name}), work)

    async def leave(self, group: str, name: str, *, actor: str) -> None:
        """Take a user out of a group that it was put into here.

        Raises:
            RecordUnknown: there is no such user, or it is not in it.
            ValueInvalid: a directory or a provider says that it is in it, and would again.
        """

        async def work(transaction: Transaction) -> None:
            user = await _find(transaction, name)
            if await users.leave(transaction, user.id, group):
                return
            sources = [source for one, source in await users.groups(transaction, user.id) if one == group]
            if sources:
                raise ValueInvalid(f"{sources[0]} says that {name} is in {group}: it has to be changed there")
            raise RecordUnknown(f"{name} is not in {group}")

        await changed(
            self._database, Change("group.leave", actor, about={"group": group, "user": name}), work, takes_away=True
        )

    async def group_page(self, *, after: str = "", most: int = 1000) -> list[tuple[str, int]]:
        """Return up to `most` groups in the order of their names, from after one on, each with how many are in it."""
        return await users.group_page(self._database, after=after, most=most)

    async def members(self, group: str, *, after: str = "", most: int = 1000) -> list[tuple[str, str]]:
        """Return up to `most` users in a group, from after one on, each with who says so."""
        return await users.members(self._database, group, after=after, most=most)


async def _find(reader: Reader, name: str) -> User:
    found = await users.find(reader, name)
    if found is None:
        raise RecordUnknown(f"there is no user {_shown(name)}")
    return found


def _check_is_here(user: User) -> User:
    if user.source != LOCAL:
        raise ValueInvalid(f"the password of {user.name} is not kept here: {user.source} knows it")
    return user


async def _check_is_not_last(transaction: Transaction, user: User) -> None:
    if user.is_admin and user.disabled_at is None and await users.count_admins(transaction) == 1:
        raise RecordInUse(f"{user.name} is the last system admin: make another one first")


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 128 else repr(name[:128])
