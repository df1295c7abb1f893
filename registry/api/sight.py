"""Which events somebody sees: those of repositories that they may pull from now."""

from auth.grants import project_of
from auth.principal import Principal
from auth.roles import Action
from registry.api.asked import Asked
from registry.db import projects
from registry.event import Event


class Sight:
    """What one caller sees. `principal` may be set anew while they follow."""

    def __init__(self, asked: Asked) -> None:
        self.principal: Principal = asked.principal
        self._policy = asked.api.policy
        self._database = asked.api.database
        self._made: dict[str, int] = {}

    async def shows(self, repository: str, at: int) -> bool:
        """Say whether they see what happened in a repository at a time, in µs since 1970.

        Not what was before the project was made: another one may have been called so.
        """
        if self.principal.is_admin:
            return True
        if not await self._policy.allows(self.principal, Action.PULL, repository):
            return False
        return at >= await self._made_at(project_of(repository))

    async def details(self, one: Event) -> tuple[bool, bool]:
        """Say whether they see the request that an event came of, and the repository that a blob was mounted from."""
        if self.principal.is_admin:
            return True, True
        return (
            await self._policy.allows(self.principal, Action.AUDIT, one.repository),
            one.source is None or await self._policy.allows(self.principal, Action.PULL, one.source),
        )

    def look_again(self, principal: Principal) -> None:
        """Go by who they are now, and what is there now."""
        self.principal = principal
        self._made.clear()

    async def _made_at(self, project: str) -> int:
        if project not in self._made:
            found = await projects.find(self._database, project)
            self._made[project] = 0 if found is None else found.created_at
        return self._made[project]
