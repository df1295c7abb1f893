"""Permissions by grants: `auth.mode: users`. `docs/decisions/019-permissions.md`."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from auth.grants import Grant, TagRule, denying, granting, project_of
from auth.policy import Decision
from auth.principal import Principal
from auth.roles import BUILT_IN, Action
from auth.visible import Visible
from registry.db import grants, projects
from registry.db.connection import Database
from registry.services.revision import Revision

CreateProjects = Literal["deny", "admins", "users"]
"""Whose push to a project that is not there makes it."""

_MOST_PROJECTS = 10_000
_MOST_ALLOWED = 10_000
_MOST_VIEWS = 1000
_NOBODY = Decision(allowed=False, reason="nobody is logged in")
_OF_ADMINS = Decision(allowed=True, reason="system admins may do everything")
_ENTERED = Decision(allowed=True, reason="everybody who is known may enter")
_UNBOUND = "this credential is not for that"
_FOUNDING = frozenset({Action.PUSH, Action.OVERWRITE})


@dataclass(frozen=True, slots=True)
class _Rights:
    """What holds in a project, or in the whole registry, as of a revision."""

    revision: int
    exists: bool
    grants: tuple[Grant, ...]
    rules: tuple[TagRule, ...]
    roles: Mapping[str, frozenset[Action]]


class GrantPolicy:
    """A Policy that goes by grants, roles and rules in the database.

    Args:
        create_projects: whose push to a project that is not there makes it; `registry.services.founding` does.
    """

    def __init__(self, database: Database, revision: Revision, *, create_projects: CreateProjects = "deny") -> None:
        self._database = database
        self._revision = revision
        self._create_projects = create_projects
        self._known: OrderedDict[str, _Rights] = OrderedDict()
        self._allowed: dict[tuple[int, Action, str | None], Principal] = {}  # what was allowed as of a revision
        self._allowed_at = -1
        self._views: OrderedDict[frozenset[str], tuple[int, Visible]] = OrderedDict()

    async def allows(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> bool:
        """Say whether `principal` may do `action` in `repository`; None asks about the registry as a whole."""
        if tag is not None:
            return (await self.decide(principal, action, repository, tag)).allowed
        revision = await self._revision.now()
        if revision != self._allowed_at:
            self._allowed, self._allowed_at = {}, revision
        # A request's principal is the same object for as long as the revision is the same: to compare that takes less.
        key = (id(principal), action, repository)
        if self._allowed.get(key) is principal:
            return True
        decision = await self.decide(principal, action, repository)
        if decision.allowed and revision == self._allowed_at:
            if len(self._allowed) >= _MOST_ALLOWED:
                self._allowed = {}
            self._allowed[key] = principal
        return decision.allowed

    async def decide(
        self, principal: Principal, action: Action, repository: str | None, tag: str | None = None
    ) -> Decision:
        """Say so, and why. Raises Unavailable."""
        decision = await self._decide(principal, action, repository, tag)
        if not decision.allowed or principal.bound is None or action is Action.ENTER:
            return decision
        asked = "*" if repository is None else _asked_as(action)
        if principal.bound.covers(asked, repository):
            return decision
        return Decision(allowed=False, reason=_UNBOUND, by=decision.by, unbound=True)

    async def visible(self, principal: Principal) -> Visible | None:
        """Return what of the catalog a principal sees; None for all of it. Raises Unavailable."""
        everywhere = await self._rights("")
        if self._in_registry(principal, Action.PULL, everywhere).allowed:
            return None
        subjects = principal.subjects
        known = self._views.get(subjects)
        if known is not None and known[0] == everywhere.revision:
            return known[1]
        given = await grants.of_subjects(self._database, subjects)
        visible = Visible(one for one in given if one.project and Action.PULL in everywhere.roles.get(one.role, ()))
        self._views[subjects] = (everywhere.revision, visible)
        self._views.move_to_end(subjects)
        if len(self._views) > _MOST_VIEWS:
            self._views.popitem(last=False)
        return visible

    async def decide_on_project(self, principal: Principal, action: Action, project: str) -> Decision:
        """Say whether a principal may do this in all of a project, or to the project itself, and why.

        Grants by pattern do not count: who administers some repositories does not administer the project. A credential
        with a bound is for repositories, and no good here. Raises Unavailable.
        """
        everywhere = await self._rights("")
        rights = await self._rights(project)
        decision = self._in_registry(principal, action, everywhere)
        if not principal.is_admin:
            whole = tuple(grant for grant in rights.grants if not grant.pattern)
            if (grant := granting(principal, action, project, whole, rights.roles)) is not None:
                decision = Decision(allowed=True, reason=str(grant), by=grant)
        if decision.allowed and principal.bound is not None:
            return Decision(allowed=False, reason=_UNBOUND, by=decision.by, unbound=True)
        return decision

    async def sees_project(self, principal: Principal, project: str) -> bool:
        """Say whether a principal is to know that there is such a project: some grant names it. Raises Unavailable."""
        rights, everywhere = await self._rights(project), await self._rights("")
        if not rights.exists:
            return False
        subjects = principal.subjects
        return principal.is_admin or any(one.subject in subjects for one in rights.grants + everywhere.grants)

    async def has_project(self, repository: str) -> bool:
        """Say whether the project of a repository is there. Raises Unavailable."""
        return (await self._rights(project_of(repository))).exists

    async def look_again(self) -> None:
        """Go by what has changed just now. Raises Unavailable."""
        await self._revision.look_again()

    async def _decide(self, principal: Principal, action: Action, repository: str | None, tag: str | None) -> Decision:
        if action is Action.ENTER:
            # Who shows a token for nobody has been here before, to get it.
            return _NOBODY if principal.is_anonymous and principal.bound is None else _ENTERED
        if action is Action.CATALOG:
            return await self._in_catalog(principal)
        everywhere = await self._rights("")
        if repository is None:
            return self._in_registry(principal, action, everywhere)
        project = await self._rights(project_of(repository))
        decision = self._in_repository(principal, action, repository, (project, everywhere))
        if not project.exists and action in _FOUNDING:
            decision = self._without_project(principal, repository, everywhere, decision)
        if tag is None or not decision.allowed:
            return decision  # who may do nothing there learns nothing of its rules
        rule = denying(principal.subjects, action, repository, tag, project.rules + everywhere.rules)
        return decision if rule is None else Decision(allowed=False, reason=str(rule), by=rule)

    async def _in_catalog(self, principal: Principal) -> Decision:
        """Decide about the catalog. Programs that log in when they are told to are told so where they see nothing."""
        if principal.is_anonymous and principal.bound is None:
            visible = await self.visible(principal)
            if visible is not None and not visible:
                return Decision(allowed=False, reason="nothing is public")
        return Decision(allowed=True, reason="everybody sees what they may pull")

    def _in_registry(self, principal: Principal, action: Action, everywhere: _Rights) -> Decision:
        if principal.is_admin:
            return _OF_ADMINS
        grant = granting(principal, action, "", everywhere.grants, everywhere.roles)
        if grant is None:
            return Decision(allowed=False, reason=f"no grant gives {action} in the whole registry")
        return Decision(allowed=True, reason=str(grant), by=grant)

    def _in_repository(
        self, principal: Principal, action: Action, repository: str, several: tuple[_Rights, ...]
    ) -> Decision:
        if principal.is_admin:
            return _OF_ADMINS
        for rights in several:
            if (grant := granting(principal, action, repository, rights.grants, rights.roles)) is not None:
                return Decision(allowed=True, reason=str(grant), by=grant)
        return Decision(allowed=False, reason=f"no grant gives {action} there")

    def _without_project(
        self, principal: Principal, repository: str, everywhere: _Rights, decision: Decision
    ) -> Decision:
        """Decide about a push to a project that is not there. Only who could push to any is told that it is not."""
        is_admin = self._in_registry(principal, Action.SETTINGS, everywhere).allowed
        may = principal.name.startswith("user:") and (
            self._create_projects == "users" or (self._create_projects == "admins" and is_admin)
        )
        name = project_of(repository)
        if may:
            return Decision(allowed=True, reason=f"pushing makes the project {name}: auth.create_projects says so")
        if decision.allowed:
            return Decision(allowed=False, reason=f"there is no project {name}: `stowage project add {name}` makes it")
        return decision

    async def _rights(self, project: str) -> _Rights:
        """Return what holds in a project; "" for the whole registry."""
        revision = await self._revision.now()
        known = self._known.get(project)
        if known is not None and known.revision == revision:
            return known
        # Read after the number: what changes meanwhile is read again at the next question.
        rights = await self._read(project, revision)
        self._known[project] = rights
        self._known.move_to_end(project)
        if len(self._known) > _MOST_PROJECTS:
            self._known.popitem(last=False)
        return rights

    async def _read(self, project: str, revision: int) -> _Rights:
        roles = {**BUILT_IN, **await grants.own_roles(self._database)}
        project_id = projects.EVERYWHERE
        if project:
            found = await projects.find(self._database, project)
            if found is None:
                return _Rights(revision, False, (), (), roles)
            project_id = found.id
        given = await grants.of_project(self._database, project_id)
        rules = await grants.tag_rules_of(self._database, project_id, project)
        return _Rights(
            revision,
            True,
            tuple(Grant(one.role, one.subject, one.project, one.pattern) for one in given),
            tuple(rules.values()),
            roles,
        )


def _asked_as(action: Action) -> str:
    """Return what scopes of tokens call an action: they know pull, push and delete."""
    return Action.PUSH if action is Action.OVERWRITE else action
