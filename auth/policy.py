"""Policies: what a principal may do."""

from dataclasses import dataclass
from typing import Protocol

from auth.errors import Denied, InsufficientScope, Unauthenticated
from auth.grants import Grant, TagRule
from auth.principal import Principal
from auth.roles import Action
from auth.scopes import ALL, CATALOG, REGISTRY, REPOSITORY
from auth.visible import Visible

__all__ = ["Action", "Decision", "OpenPolicy", "Policy", "authorize", "scope_for"]


# Who pushes also asks what is there.
_SCOPED = {Action.PUSH: "pull,push", Action.OVERWRITE: "pull,push"}


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer, and why.

    Attributes:
        allowed: whether the principal may.
        reason: in words, for people: which grant allows it, or what is missing.
        by: the grant or rule that decided; None where none did.
        unbound: whether the principal may, but not with this credential.
    """

    allowed: bool
    reason: str
    by: Grant | TagRule | None = None
    unbound: bool = False


class Policy(Protocol):
    """Decides. Asked once by every handler, and by services about other repositories a request touches."""

    async def allows(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> bool:
        """Say whether `principal` may do `action` in `repository`; None asks about the registry as a whole."""

    async def decide(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> Decision:
        """Say so, and why."""

    async def visible(self, principal: Principal) -> Visible | None:
        """Return what of the catalog a principal sees; None for all of it."""


class OpenPolicy:
    """Everybody may do everything: `auth.mode: open`, for a registry that only this machine reaches."""

    async def allows(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> bool:
        """Say yes."""
        return True

    async def decide(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> Decision:
        """Say yes."""
        return Decision(allowed=True, reason="auth.mode is open: whoever reaches the server may do everything")

    async def visible(self, principal: Principal) -> Visible | None:
        """Return None: all."""
        return None


async def authorize(
    policy: Policy, principal: Principal, action: Action, repository: str | None, tag: str | None = None
) -> None:
    """Return if the policy allows it.

    Raises:
        Unauthenticated: it does not, and nobody said who they are.
        InsufficientScope: another token for the same subject would do.
        Denied: nothing would help.
    """
    if await policy.allows(principal, action, repository, tag):
        return
    decision = await policy.decide(principal, action, repository, tag)
    if decision.allowed:  # it came to be allowed just now
        return
    if principal.is_anonymous:
        raise Unauthenticated("authentication is required", scope=scope_for(action, repository))
    if decision.unbound:
        raise InsufficientScope(
            f"the token's scope does not include {action} in {repository or 'the registry'}",
            scope=scope_for(action, repository),
        )
    where = "the registry" if repository is None else repository if tag is None else f"{repository}:{tag}"
    raise Denied(f"{principal.name} may not {action} in {where}: {decision.reason}")


def scope_for(action: Action, repository: str | None) -> str:
    """Return the scope that a token needs for an action; "" where any token will do."""
    if repository is None:
        return f"{REGISTRY}:{CATALOG}:{ALL}" if action is Action.CATALOG else ""
    return f"{REPOSITORY}:{repository}:{_SCOPED.get(action, action)}"
