"""What somebody may do to the tags of a repository: asked once before a transaction, and of each tag within it."""

from dataclasses import dataclass

from auth.policy import Decision, Policy
from auth.principal import Principal
from auth.roles import Action
from registry.db.connection import Transaction
from registry.oci.names import RepositoryName, Tag
from registry.services.audit import Origin
from registry.services.tag_guard import TagGuard

_OF_ADMINS = Decision(allowed=True, reason="system admins may do everything")


@dataclass(frozen=True, slots=True)
class TagRights:
    """Who asks, from where, and what grants let them do in a repository. Rules about tags are asked beside it."""

    repository: RepositoryName
    principal: Principal
    decisions: dict[Action, Decision]
    origin: Origin | None = None

    def guard(self) -> TagGuard:
        """Return what asks the rules, for one transaction."""
        return TagGuard(self.repository, self.principal.subjects)

    async def refusal(self, transaction: Transaction, guard: TagGuard, tag: Tag, *actions: Action) -> str | None:
        """Return why these may not be done to a tag, in words, or None if they may."""
        for action in actions:
            decision = self.decisions[action]
            if not decision.allowed:
                return f"{self.principal.name} may not {action} there: {decision.reason}"
            rule = await guard.forbidding(transaction, action, tag)
            if rule is not None:
                return str(rule)
        return None


async def tag_rights(
    policy: Policy, principal: Principal, repository: RepositoryName, *, origin: Origin | None = None
) -> TagRights:
    """Return what a principal may do to the tags of a repository that is there. Raises Unavailable."""
    asked = (Action.PUSH, Action.OVERWRITE, Action.DELETE)
    if principal.is_admin:  # whether or not the repository's project was made
        return TagRights(repository, principal, dict.fromkeys(asked, _OF_ADMINS), origin)
    decisions = {action: await policy.decide(principal, action, repository) for action in asked}
    return TagRights(repository, principal, decisions, origin)
