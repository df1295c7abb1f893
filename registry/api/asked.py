"""A request as handlers have it: who asks, and the calls by which each of them asks what they may do."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Depends, Query, Response
from starlette.requests import Request as PageRequest

from auth.errors import Denied, TooManyAttempts
from auth.grants import Grant, project_of
from auth.policy import Decision
from auth.principal import Principal
from auth.roles import Action
from registry.api.context import Api
from registry.api.models import Page
from registry.api.paths import ASKED
from registry.db import projects
from registry.db.users import User
from registry.errors import QueryInvalid
from registry.http.origin import origin_of
from registry.http.request import Request, parse_query
from registry.services.audit import Origin

T = TypeVar("T")

_USER = "user:"
_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    api: Api
    request: Request

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self.request.principal

    @property
    def actor(self) -> str:
        """Who is written down as having done it."""
        return self.principal.name

    @property
    def origin(self) -> Origin:
        """Where the request came from, for events and the audit log."""
        return origin_of(self.request, audited=self.api.settings.requests_are_audited)

    def be_anybody(self) -> None:
        """Return: whoever is logged in may do this. It says so in the handler."""

    def be_admin(self) -> None:
        """Return if a system admin asks. Raises Denied."""
        if not self.principal.is_admin:
            raise Denied("only system admins may do this")

    def be_admin_or(self, user: str) -> None:
        """Return if a system admin asks, or that user. Raises Denied."""
        if self.actor != f"{_USER}{user}":
            self.be_admin()

    async def be_person(self) -> User:
        """Return the user who asks. Raises Denied: it is a service account."""
        if not self.actor.startswith(_USER):
            raise Denied("only people have this: service accounts do not")
        return await self.api.accounts.find(self.actor.removeprefix(_USER))

    async def see(self, project: str) -> None:
        """Return if whoever asks may know of a project. Raises RecordUnknown, as for one that is not there."""
        if not await self.api.policy.sees_project(self.principal, project):
            if await self.api.policy.has_project(project):
                self.api.note_denial(self.request)
            raise projects.unknown(project)

    async def have(self, action: Action, project: str) -> None:
        """Return if whoever asks may do this in all of a project.

        Raises:
            RecordUnknown: it is not there, or not for them to know of.
            Denied: they may not.
        """
        await self.see(project)
        decision = await self.api.policy.decide_on_project(self.principal, action, project)
        if not decision.allowed:
            raise Denied(f"{self.actor} may not {action} in {project}: {decision.reason}")

    async def be_able_to(self, action: Action, repository: str) -> None:
        """Return if whoever asks may do this in a repository.

        Raises:
            RecordUnknown: its project is not there, or not for them to know of.
            Denied: they may not.
        """
        if self.principal.is_admin:
            return
        decision = await self.api.policy.decide(self.principal, action, repository)
        if not decision.allowed:
            await self.see(project_of(repository))
            raise Denied(f"{self.actor} may not {action} in {repository}: {decision.reason}")

    async def audits_everything(self) -> Decision:
        """Say whether whoever asks may read the whole audit log."""
        return await self.api.policy.decide(self.principal, Action.AUDIT, None)

    async def be_able_to_audit(self, project: str | None) -> None:
        """Return if whoever asks may read the audit log, or what it tells of a project. Raises as `have`."""
        decision = await self.audits_everything()
        if decision.allowed:
            return
        if project is None:
            raise Denied(f"{self.actor} may not audit the whole registry: {decision.reason}")
        await self.have(Action.AUDIT, project)

    async def be_able_to_give(self, grant: Grant) -> None:
        """Return if whoever asks may give this, or take it back: they have all of it. Raises as `have`."""
        if grant.project:
            await self.see(grant.project)
        await self.api.granting.check_may_grant(self.api.policy, self.principal, grant)

    async def be_able_to_act_as(self, project: str, account: str) -> None:
        """Return if whoever asks may have a token of a service account: they could give what it has in its project.

        What it has elsewhere was given by who may there, to whoever administers the project. Raises as `have`.
        """
        await self.have(Action.GRANT, project)
        for one in await self.api.granting.page(project, f"serviceaccount:{project}/{account}"):
            await self.be_able_to_give(Grant(one.role, one.subject, one.project, one.pattern))

    @asynccontextmanager
    async def alone(self, what: str) -> AsyncIterator[None]:
        """Do what takes long, and is of no use several times side by side. Raises TooManyAttempts: it is being done."""
        under_way = self.api.under_way
        if what in under_way:
            raise TooManyAttempts(f"{what} already: wait for that", _RETRY_AFTER_S)
        under_way.add(what)
        try:
            yield
        finally:
            under_way.discard(what)


async def _asked(request: PageRequest) -> Asked:
    return Asked(request.app.state.api, request.scope[ASKED])


Caller = Annotated[Asked, Depends(_asked)]

Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries of the page.")]
After = Annotated[str, Query(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$", description="`next` of the page before.")]
MOST = 100
"""Entries of a page, unless a request says how many."""


def page(asked: Asked, response: Response, found: Sequence[T], limit: int, key: Callable[[T], str]) -> Page[T]:
    """Return a page of what was found, which is one more than the page's entries where others follow.

    Also sets the header Link to what follows (RFC 8288).
    """
    if len(found) <= limit:
        return Page(items=list(found), next=None)
    after = key(found[limit - 1])
    link(asked, response, limit, after)
    return Page(items=list(found[:limit]), next=after)


def link(asked: Asked, response: Response, limit: int, after: str) -> None:
    """Set the header Link to the page after one (RFC 8288)."""
    others = [(name, value) for name, value in parse_query(asked.request.scope["query_string"]) if name not in _OF_PAGE]
    path = f"{quote(asked.request.path)}?{urlencode([*others, ('limit', str(limit)), ('after', after)])}"
    response.headers["link"] = f'<{asked.api.location(asked.request, path)}>; rel="next"'


_OF_PAGE = frozenset({"after", "limit"})


def after_number(text: str) -> int:
    """Return the number that a page of numbered things begins after. Raises QueryInvalid."""
    if not text:
        return 0
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise QueryInvalid("after: expected what the page before has as `next`")
    return int(text)


def created(asked: Asked, response: Response, path: str) -> None:
    """Say where what was made is."""
    response.headers["location"] = asked.api.location(asked.request, path)
