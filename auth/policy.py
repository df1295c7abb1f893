"""Policies: what a principal may do."""

from enum import StrEnum
from typing import Protocol

from auth.errors import Denied
from auth.principal import Principal


class Action(StrEnum):
    """What can be asked of a repository, or, with no repository, of the registry as a whole."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    CATALOG = "catalog"


class Policy(Protocol):
    """Decides. Asked once by every handler, and by services about other repositories a request touches."""

    async def allows(self, principal: Principal, action: Action, repository: str | None) -> bool:
        """Say whether `principal` may do `action` in `repository`; None asks about the registry as a whole."""


class OpenPolicy:
    """Everybody may do everything: `auth.mode: open`, for a registry that only this machine reaches."""

    async def allows(self, principal: Principal, action: Action, repository: str | None) -> bool:
        """Say yes."""
        return True


async def authorize(policy: Policy, principal: Principal, action: Action, repository: str | None) -> None:
    """Return if the policy allows it.

    Raises:
        Denied: it does not.
    """
    if not await policy.allows(principal, action, repository):
        where = "the registry" if repository is None else repository
        raise Denied(f"{principal.name} may not {action} in {where}")
