"""Saying why somebody may or may not do something: what `stowage can-i` shows."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from auth.names import parse_subject
from auth.policy import Decision
from auth.principal import ANONYMOUS, AUTHENTICATED, Principal
from auth.roles import BUILT_IN, GRANTABLE, Action
from registry.db import grants, projects, repositories, service_accounts, tags, users
from registry.db.connection import Database
from registry.errors import ValueInvalid
from registry.oci.names import RepositoryName, Tag
from registry.services.permissions import GrantPolicy


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision, and what is worth knowing beside it.

    Attributes:
        roles: which would allow it, where no grant does.
        notes: in sentences.
    """

    decision: Decision
    roles: tuple[str, ...]
    notes: tuple[str, ...]


class Explaining:
    """Asks the policy on behalf of others.

    Args:
        admins: names of users who may do everything, beside those whose row says so.
    """

    def __init__(self, database: Database, policy: GrantPolicy, *, admins: Collection[str] = ()) -> None:
        self._database = database
        self._policy = policy
        self._admins = frozenset(admins)

    async def explain(
        self,
        subject: str,
        action: str,
        repository: RepositoryName | None,
        tag: Tag | None = None,
        *,
        known: Principal | None = None,
    ) -> Explained:
        """Say whether a subject may do this, and why.

        Args:
            repository: None asks about the registry as a whole.
            tag: pushing to one that is there asks about moving it, too.
            known: the subject, where it asks itself: as it came with its request.

        Raises:
            NameRefused: that is no subject.
            ValueInvalid: there is no such action.
        """
        asked = _action(action)
        principal, notes = await self._principal(subject) if known is None else (known, ())
        decision = await self._policy.decide(principal, asked, repository, tag)
        if asked is Action.PUSH and decision.allowed and repository is not None and tag is not None:
            moving = await self._policy.decide(principal, Action.OVERWRITE, repository, tag)
            is_there = await self._has_tag(repository, tag)
            if is_there and not moving.allowed:
                decision = replace(moving, reason=f"the tag is there, and may not be moved: {moving.reason}")
            elif not moving.allowed:
                notes = (*notes, f"once the tag is there, it may not be moved: {moving.reason}")
            asked = Action.OVERWRITE if is_there else asked
        if any("disabled" in note for note in notes):
            decision = Decision(allowed=False, reason=f"{subject} is disabled")
        if repository is not None and await projects.find(self._database, repository.partition("/")[0]) is None:
            notes = (*notes, f"there is no project {repository.partition('/')[0]}")
        is_missing = not decision.allowed and decision.by is None
        return Explained(decision, await self._roles(asked) if is_missing else (), notes)

    async def _principal(self, subject: str) -> tuple[Principal, tuple[str, ...]]:
        """Return whom a subject stands for, as it would come with a request, and what is odd about it."""
        kind, _, name = parse_subject(subject).partition(":")
        if subject == ANONYMOUS.name:
            return ANONYMOUS, ()
        if subject == AUTHENTICATED:
            return Principal(AUTHENTICATED), ()
        if kind == "group":
            return Principal(subject, frozenset({name})), ()
        if kind == "serviceaccount":
            project, _, account = name.partition("/")
            found = await service_accounts.find(self._database, project, account)
            if found is None:
                return Principal(subject), (f"there is no service account {name}",)
            return Principal(subject), () if found.disabled_at is None else (f"{subject} is disabled",)
        user = await users.find(self._database, name)
        if user is None:
            return Principal(subject, is_admin=name in self._admins), (f"nobody called {name} is known here",)
        groups = frozenset(group for group, _ in await users.groups(self._database, user.id))
        principal = Principal(subject, groups, is_admin=user.is_admin or user.name in self._admins)
        return principal, () if user.disabled_at is None else (f"{subject} is disabled",)

    async def _has_tag(self, repository: RepositoryName, tag: Tag) -> bool:
        repository_id = await repositories.find(self._database, repository)
        return repository_id is not None and await tags.current(self._database, repository_id, tag) is not None

    async def _roles(self, action: Action) -> tuple[str, ...]:
        roles = {**BUILT_IN, **await grants.own_roles(self._database)}
        return tuple(name for name, actions in roles.items() if action in actions)


def _action(word: str) -> Action:
    if word not in {str(action) for action in GRANTABLE}:
        raise ValueInvalid(f"expected one of {', '.join(sorted(GRANTABLE))}, got {word[:40]!r}")
    return Action(word)
