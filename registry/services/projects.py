"""Projects: made with who builds, runs and deploys what is in them, and removed when nothing is."""

from auth.errors import NameRefused
from auth.grants import Grant
from auth.names import parse_project
from auth.principal import ANYBODY
from auth.roles import ADMIN, EDITOR, VIEWER
from registry.db import grants, projects, repositories, retention, service_accounts, webhooks
from registry.db.connection import Database, Transaction
from registry.db.projects import Project
from registry.errors import RecordExists, RecordInUse
from registry.oci.moments import is_reserved
from registry.services.rights import Change, changed

ACCOUNTS = {"builder": EDITOR, "default": VIEWER, "deployer": VIEWER}
"""Service accounts that every project is made with, and the role of each in it."""


class Projects:
    """Projects in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, *, is_public: bool = False, admin: str | None = None, actor: str) -> Project:
        """Make a project with its service accounts and their grants.

        Args:
            is_public: whoever reaches the registry may pull.
            admin: a subject that gets registry-admin in it.

        Raises:
            NameRefused: no project can be called so.
            RecordExists: there is one.
        """
        parse_project(name)
        if is_reserved(name):
            raise NameRefused(f"a project can't be called {name}: such names stand for moments of the past")

        async def work(transaction: Transaction) -> Project:
            if not await projects.add(transaction, name, actor=actor):
                raise RecordExists(f"there is a project {name} already")
            project = await projects.known(transaction, name)
            given = [Grant(ADMIN, admin, name)] if admin is not None else []
            for account, role in ACCOUNTS.items():
                await service_accounts.add(transaction, project.id, account, actor=actor)
                given.append(Grant(role, f"serviceaccount:{name}/{account}", name))
            if is_public:
                given.append(_public(name))
            for grant in given:
                await grants.add(transaction, project.id, grant, actor=actor)
            return project

        return await changed(
            self._database, Change("project.add", actor, name, {"public": is_public, "admin": admin or ""}), work
        )

    async def set_public(self, name: str, *, is_public: bool, actor: str) -> bool:
        """Let whoever reaches the registry pull, or no longer. False if that was so. Raises RecordUnknown.

        Grants of other roles to everybody, and those by pattern, stay.
        """

        async def work(transaction: Transaction) -> bool:
            project = await projects.known(transaction, name)
            if is_public:
                return await grants.add(transaction, project.id, _public(name), actor=actor)
            return await grants.remove(transaction, project.id, _public(name))

        return await changed(
            self._database, Change("project.public", actor, name, {"public": is_public}), work, takes_away=not is_public
        )

    async def remove(self, name: str, *, actor: str) -> None:
        """Remove a project with its webhooks, its service accounts, their tokens, and all grants in it and to them.

        Raises:
            RecordUnknown: there is none.
            RecordInUse: repositories belong to it.
        """

        async def work(transaction: Transaction) -> None:
            project = await projects.known(transaction, name)
            await repositories.wait_for_creators(transaction, name)
            if await projects.has_repositories(transaction, name):
                raise RecordInUse(
                    f"repositories belong to {name}: delete what is in them first; they go when it is collected "
                    "(`stowage gc --now --grace 0s --window 0s` does that at once)"
                )
            for account in await service_accounts.of_project(transaction, project.id):
                await grants.forget(transaction, account.principal)
                await service_accounts.remove(transaction, account.id)
            await grants.remove_of_project(transaction, project.id)
            await webhooks.remove_of_project(transaction, project.id)
            await retention.remove_of_project(transaction, project.id)
            await projects.remove(transaction, project.id)

        await changed(self._database, Change("project.remove", actor, name), work, takes_away=True)

    async def find(self, name: str) -> Project:
        """Return a project. Raises RecordUnknown."""
        return await projects.known(self._database, name)

    async def page(self, *, after: str = "", most: int = 1000) -> list[Project]:
        """Return up to `most` projects in the order of their names, from after one on."""
        return await projects.page(self._database, after=after, most=most)

    async def is_public(self, project: Project) -> bool:
        """Say whether whoever reaches the registry may pull from all of it."""
        public = _public(project.name)
        return any(
            (one.role, one.subject, one.pattern) == (public.role, public.subject, "")
            for one in await grants.of_project(self._database, project.id)
        )


def _public(name: str) -> Grant:
    return Grant(VIEWER, ANYBODY, name)
