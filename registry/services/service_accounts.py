"""Service accounts: who pushes and pulls for a project, and is nobody. Their tokens are `credentials`."""

from auth.grants import Grant
from auth.names import parse_account
from registry.db import grants, projects, service_accounts
from registry.db.connection import Database, Reader, Transaction
from registry.db.service_accounts import ServiceAccount
from registry.errors import RecordExists, RecordUnknown
from registry.services.granting import check_role
from registry.services.rights import Change, changed


class ServiceAccounts:
    """Service accounts in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, project: str, name: str, *, role: str | None = None, actor: str) -> ServiceAccount:
        """Make a service account in a project, with a role there if one is said.

        Raises:
            NameRefused: none can be called so.
            RecordUnknown: there is no such project, or no such role.
            RecordExists: the project has one of that name.
        """
        parse_account(name)

        async def work(transaction: Transaction) -> ServiceAccount:
            owner = await projects.known(transaction, project)
            if not await service_accounts.add(transaction, owner.id, name, actor=actor):
                raise RecordExists(f"{project} has a service account {name} already")
            account = await _find(transaction, project, name)
            if role is not None:
                await check_role(transaction, role)
                await grants.add(transaction, owner.id, Grant(role, account.principal, project), actor=actor)
            return account

        return await changed(
            self._database, Change("serviceaccount.add", actor, project, {"name": name, "role": role or ""}), work
        )

    async def disable(self, project: str, name: str, *, actor: str) -> bool:
        """Let its tokens in nowhere. False if that was so. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> bool:
            return await service_accounts.disable(transaction, (await _find(transaction, project, name)).id)

        return await changed(
            self._database, Change("serviceaccount.disable", actor, project, {"name": name}), work, takes_away=True
        )

    async def enable(self, project: str, name: str, *, actor: str) -> bool:
        """Let its tokens in again. False if that was so. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> bool:
            return await service_accounts.enable(transaction, (await _find(transaction, project, name)).id)

        return await changed(self._database, Change("serviceaccount.enable", actor, project, {"name": name}), work)

    async def remove(self, project: str, name: str, *, actor: str) -> None:
        """Remove a service account with its tokens and grants. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> None:
            account = await _find(transaction, project, name)
            await grants.forget(transaction, account.principal)
            await service_accounts.remove(transaction, account.id)

        await changed(
            self._database, Change("serviceaccount.remove", actor, project, {"name": name}), work, takes_away=True
        )

    async def find(self, project: str, name: str) -> ServiceAccount:
        """Return a project's service account. Raises RecordUnknown."""
        return await _find(self._database, project, name)

    async def page(self, project: str, *, after: str = "", most: int = 1000) -> list[ServiceAccount]:
        """Return up to `most` of a project's in the order of their names, from after one on. Raises RecordUnknown."""
        owner = await projects.known(self._database, project)
        return await service_accounts.page(self._database, owner.id, after=after, most=most)


async def _find(reader: Reader, project: str, name: str) -> ServiceAccount:
    found = await service_accounts.find(reader, project, name)
    if found is None:
        raise RecordUnknown(f"there is no service account {_shown(f'{project}/{name}')}")
    return found


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 300 else repr(name[:300])
