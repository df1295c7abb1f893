"""Who may do what: grants, own roles, and rules about tags."""

from collections.abc import Iterable

from auth.errors import Denied
from auth.grants import Grant, TagRule
from auth.names import parse_pattern, parse_role, parse_subject, parse_tag_pattern
from auth.principal import Principal
from auth.roles import BUILT_IN, GRANTABLE, Action
from registry.db import grants, projects, service_accounts, users
from registry.db.connection import Database, Reader, Transaction
from registry.db.grants import Given
from registry.errors import RecordExists, RecordInUse, RecordUnknown, ValueInvalid
from registry.services.permissions import GrantPolicy
from registry.services.rights import Change, changed

RULED = frozenset({Action.PUSH, Action.OVERWRITE, Action.DELETE})
"""What a rule can take away: what is done to a tag. Pulling goes by digest too."""

_MOST_EXCEPTIONS = 100
MOST_RULES = 500
"""In a project, and in the whole registry: each tag that is pushed or deleted is held against all of them."""


class Granting:
    """Grants, roles and rules in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(self, grant: Grant, *, actor: str) -> bool:
        """Record a grant. False if it is there.

        Whom it names need not be known yet, but for service accounts: a directory's people come when they log in.

        Raises:
            NameRefused: the subject or the pattern is malformed.
            RecordUnknown: there is no such role, project or service account.
            ValueInvalid: a pattern without a project.
        """
        parse_subject(grant.subject)
        if grant.pattern and not grant.project:
            raise ValueInvalid("a pattern of repositories goes with a project")
        if grant.pattern:
            parse_pattern(grant.pattern, grant.project)

        async def work(transaction: Transaction) -> bool:
            project_id = await projects.owner_id(transaction, grant.project)
            await check_role(transaction, grant.role)
            await _check_account(transaction, grant.subject)
            return await grants.add(transaction, project_id, grant, actor=actor)

        return await changed(self._database, Change("grant.add", actor, grant.project, {"grant": str(grant)}), work)

    async def revoke(self, grant: Grant, *, actor: str) -> None:
        """Take a grant back. Raises RecordUnknown: there is no such grant."""

        async def work(transaction: Transaction) -> None:
            project_id = await projects.owner_id(transaction, grant.project)
            if not await grants.remove(transaction, project_id, grant):
                raise RecordUnknown(f"there is no grant of {grant}")

        await changed(
            self._database, Change("grant.remove", actor, grant.project, {"grant": str(grant)}), work, takes_away=True
        )

    async def check_may_grant(self, policy: GrantPolicy, principal: Principal, grant: Grant) -> None:
        """Return if somebody may give this grant, or take it back: who has `grant` there, and all that the role gives.

        So nobody gets more by granting. Raises Denied, RecordUnknown.
        """
        await check_role(self._database, grant.role)
        for action in sorted({Action.GRANT} | (await self.roles())[grant.role]):
            if grant.project:
                decision = await policy.decide_on_project(principal, action, grant.project)
            else:
                decision = await policy.decide(principal, action, None)
            if not decision.allowed:
                raise Denied(f"{principal.name} may not give {grant}: {decision.reason}")

    async def is_known(self, subject: str) -> bool:
        """Say whether a user or group of that name is known here; of others, yes."""
        kind, _, name = subject.partition(":")
        if kind == "user":
            return await users.find(self._database, name) is not None
        if kind == "group":
            return bool(await users.members(self._database, name, after="", most=1))
        return True

    async def page(
        self, project: str | None, subject: str | None = None, *, after: int = 0, most: int = grants.ALL
    ) -> list[Given]:
        """Return up to `most` grants, the oldest first, from after an id on.

        Args:
            project: those in it, "" for those in the whole registry, None for wherever.
            subject: those that name it; None, where a project is said, for all.

        Raises:
            NameRefused: that is no subject.
            RecordUnknown: there is no such project.
        """
        where = None if project is None else await projects.owner_id(self._database, project)
        who = None if subject is None else parse_subject(subject)
        return await grants.page(self._database, where, who, after=after, most=most)

    async def find(self, project: str, grant_id: int) -> Given:
        """Return a grant in a project, "" for the whole registry. Raises RecordUnknown."""
        for one in await self.page(project, after=grant_id - 1, most=1):
            if one.id == grant_id:
                return one
        raise RecordUnknown(f"there is no grant {grant_id} there")

    async def roles(self) -> dict[str, frozenset[Action]]:
        """Return all roles by name, those that are built in first."""
        return {**BUILT_IN, **await grants.own_roles(self._database)}

    async def add_role(self, name: str, actions: Iterable[str], *, actor: str) -> None:
        """Make a role.

        Raises:
            NameRefused: none can be called so.
            RecordExists: there is one.
            ValueInvalid: an action is none, or there is none.
        """
        parse_role(name)
        words = parse_actions(actions, GRANTABLE)

        async def work(transaction: Transaction) -> None:
            if not await grants.add_role(transaction, name, words):
                raise RecordExists(f"there is a role {name} already")

        await changed(
            self._database, Change("role.add", actor, about={"role": name, "actions": sorted(map(str, words))}), work
        )

    async def remove_role(self, name: str, *, actor: str) -> None:
        """Remove a role.

        Raises:
            ValueInvalid: it is built in.
            RecordUnknown: there is none.
            RecordInUse: a grant gives it.
        """
        if name in BUILT_IN:
            raise ValueInvalid(f"{name} is built in")

        async def work(transaction: Transaction) -> None:
            if await grants.is_role_in_use(transaction, name):
                raise RecordInUse(f"grants give the role {name}: revoke them first")
            if not await grants.remove_role(transaction, name):
                raise RecordUnknown(f"there is no role {name if name.isprintable() else repr(name)}")

        await changed(self._database, Change("role.remove", actor, about={"role": name}), work, takes_away=True)

    async def rules(self, project: str, *, after: int = 0, most: int = grants.ALL) -> dict[int, TagRule]:
        """Return up to `most` rules in a project, "" for the whole registry, by id, from after one on.

        Raises RecordUnknown.
        """
        project_id = await projects.owner_id(self._database, project)
        return await grants.page_of_tag_rules(self._database, project_id, project, after=after, most=most)

    async def add_rule(self, rule: TagRule, *, actor: str) -> int:
        """Record a rule about tags, and return its id.

        Raises:
            NameRefused: a pattern or a subject is malformed.
            RecordUnknown: there is no such project or service account.
            RecordInUse: there are as many rules as there may be.
            ValueInvalid: an action that no rule can take away, too many exceptions.
        """
        parse_tag_pattern(rule.tag)
        parse_actions(rule.actions, RULED)
        if rule.pattern:
            parse_pattern(rule.pattern, rule.project)
        if len(rule.excepted) > _MOST_EXCEPTIONS:
            raise ValueInvalid(f"a rule names {_MOST_EXCEPTIONS} exceptions at most: make a group of them")
        for subject in rule.excepted:
            parse_subject(subject)

        async def work(transaction: Transaction) -> int:
            project_id = await projects.owner_id(transaction, rule.project)
            for subject in rule.excepted:
                await _check_account(transaction, subject)
            if len(await grants.tag_rules_of(transaction, project_id, rule.project)) >= MOST_RULES:
                raise RecordInUse(f"there are {MOST_RULES} rules already, as many as there may be: remove one first")
            await grants.add_tag_rule(transaction, project_id, rule, actor=actor)
            return max(await grants.tag_rules_of(transaction, project_id, rule.project))

        return await changed(
            self._database,
            Change("rule.add", actor, rule.project, {"rule": str(rule), "except": sorted(rule.excepted)}),
            work,
        )

    async def remove_rule(self, project: str, rule_id: int, *, actor: str) -> None:
        """Remove a rule of a project, "" for the whole registry. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> None:
            if not await grants.remove_tag_rule(transaction, await projects.owner_id(transaction, project), rule_id):
                raise RecordUnknown(f"{project or 'the whole registry'} has no rule {rule_id}")

        await changed(self._database, Change("rule.remove", actor, project, {"rule": rule_id}), work)


def parse_actions(words: Iterable[str], allowed: frozenset[Action]) -> frozenset[Action]:
    """Return actions by their words. Raises ValueInvalid: one is none of those that are allowed, or there is none."""
    asked = frozenset(words)
    known = {str(action) for action in allowed}
    if not asked or asked - known:
        raise ValueInvalid(f"expected some of {', '.join(sorted(known))}, got {', '.join(sorted(asked)) or 'nothing'}")
    return frozenset(Action(word) for word in asked)


async def check_role(reader: Reader, name: str) -> None:
    """Return if there is such a role. Raises RecordUnknown."""
    if name in BUILT_IN:
        return
    own = await grants.own_roles(reader)
    if name not in own:
        raise RecordUnknown(f"there is no role {name[:100]!r}: expected one of {', '.join([*BUILT_IN, *own])}")


async def _check_account(reader: Reader, subject: str) -> None:
    kind, _, name = subject.partition(":")
    if kind != "serviceaccount":
        return
    project, _, account = name.partition("/")
    if await service_accounts.find(reader, project, account) is None:
        raise RecordUnknown(f"there is no service account {name}")
