"""Making a project by pushing to it: `auth.create_projects`."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from auth.grants import project_of
from auth.principal import Principal
from registry.errors import RecordExists
from registry.services.permissions import GrantPolicy
from registry.services.projects import Projects


class Founding:
    """Makes the projects that those push to who may make them. They get registry-admin there."""

    def __init__(self, policy: GrantPolicy, projects: Projects) -> None:
        self._policy = policy
        self._projects = projects

    async def admit(self, principal: Principal, repository: str, authorize: Callable[[], Awaitable[None]]) -> None:
        """Return if a principal may push to a repository, whose project is there afterwards.

        Args:
            authorize: returns if it may, and raises if not.
        """
        was_there = await self._policy.has_project(repository)
        await authorize()
        if was_there:
            return
        with suppress(RecordExists):  # somebody else was first: then it is theirs, and asked of again
            await self._projects.add(project_of(repository), admin=principal.name, actor=principal.name)
        await self._policy.look_again()
        await authorize()
