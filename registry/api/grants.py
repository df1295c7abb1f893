"""Grants: in a project for those who may `grant` there, in the whole registry for system admins."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from auth.grants import Grant as Given
from auth.roles import Action
from registry.api.asked import MOST, After, Asked, Caller, Limit, after_number, created, page
from registry.api.models import Name, NameInPath, Number, Page, Said, Shown, Text, time_of
from registry.api.paths import EVERYWHERE, collection
from registry.db import grants
from registry.errors import RecordUnknown

router = APIRouter(tags=["grants"])

OfSubject = Annotated[str | None, Query(min_length=1, max_length=300, description="All that name this one.")]


class Grant(Shown):
    """Who has which role where. `project` and `repositories` are null where they are not limited."""

    id: int
    role: str
    subject: str
    project: str | None
    repositories: str | None
    created_at: datetime
    created_by: str


class GrantGiven(Grant):
    """A grant that was given. `subjectKnown`: whether whom it names is known here; it counts as soon as that is."""

    subject_known: bool


class NewGrant(Said):
    """A grant to be given in the whole registry."""

    role: Name
    subject: Name


class NewGrantInProject(NewGrant):
    """A grant to be given in a project, or in those of its repositories that match a pattern."""

    repositories: Text | None = None


@router.get("/grants")
async def list_grants(
    asked: Caller,
    response: Response,
    subject: OfSubject = None,
    limit: Limit = MOST,
    after: After = "",
) -> Page[Grant]:
    """List the grants in the whole registry, or, of a subject, those everywhere."""
    asked.be_admin()
    where = EVERYWHERE if subject is None else None
    return await _page(asked, response, (where, subject), limit, after)


@router.post("/grants", status_code=201, responses={200: {"model": GrantGiven, "description": "It was there already."}})
async def give(asked: Caller, response: Response, new: NewGrant) -> GrantGiven:
    """Give somebody a role in the whole registry."""
    asked.be_admin()
    return await _give(asked, response, Given(new.role, new.subject))


@router.get("/grants/{grant}")
async def show_grant(asked: Caller, grant: Number) -> Grant:
    """Show a grant in the whole registry."""
    asked.be_admin()
    return _grant(await asked.api.granting.find(EVERYWHERE, grant))


@router.delete("/grants/{grant}", status_code=204)
async def revoke(asked: Caller, grant: Number) -> None:
    """Take a role in the whole registry back."""
    asked.be_admin()
    await _revoke(asked, await asked.api.granting.find(EVERYWHERE, grant))


@router.get("/projects/{project}/grants")
async def list_grants_in_project(
    asked: Caller,
    response: Response,
    project: NameInPath,
    subject: OfSubject = None,
    limit: Limit = MOST,
    after: After = "",
) -> Page[Grant]:
    """List the grants in a project, or, of a subject, those there."""
    await asked.have(Action.GRANT, project)
    return await _page(asked, response, (project, subject), limit, after)


@router.post(
    "/projects/{project}/grants",
    status_code=201,
    responses={200: {"model": GrantGiven, "description": "It was there already."}},
)
async def give_in_project(asked: Caller, response: Response, project: NameInPath, new: NewGrantInProject) -> GrantGiven:
    """Give somebody a role in a project. Nobody gives more than they have."""
    await asked.have(Action.GRANT, project)
    given = Given(new.role, new.subject, project, new.repositories or "")
    await asked.be_able_to_give(given)
    return await _give(asked, response, given)


@router.get("/projects/{project}/grants/{grant}")
async def show_grant_in_project(asked: Caller, project: NameInPath, grant: Number) -> Grant:
    """Show a grant in a project."""
    await asked.have(Action.GRANT, project)
    return _grant(await asked.api.granting.find(project, grant))


@router.delete("/projects/{project}/grants/{grant}", status_code=204)
async def revoke_in_project(asked: Caller, project: NameInPath, grant: Number) -> None:
    """Take a role in a project back. Nobody takes what they could not give."""
    await asked.have(Action.GRANT, project)
    found = await asked.api.granting.find(project, grant)
    await asked.be_able_to_give(Given(found.role, found.subject, found.project, found.pattern))
    await _revoke(asked, found)


async def _give(asked: Asked, response: Response, given: Given) -> GrantGiven:
    is_new = await asked.api.granting.grant(given, actor=asked.actor)
    wanted = (given.role, given.subject, given.pattern)
    for one in await asked.api.granting.page(given.project, given.subject):
        if (one.role, one.subject, one.pattern) == wanted:
            created(asked, response, f"{collection('grants', given.project)}/{one.id}")
            response.status_code = 201 if is_new else 200
            known = await asked.api.granting.is_known(given.subject)
            return GrantGiven(**_grant(one).model_dump(), subject_known=known)
    raise RecordUnknown("somebody took the grant back meanwhile")


async def _revoke(asked: Asked, found: grants.Given) -> None:
    given = Given(found.role, found.subject, found.project, found.pattern)
    await asked.api.granting.revoke(given, actor=asked.actor)


async def _page(
    asked: Asked, response: Response, of: tuple[str | None, str | None], limit: int, after: str
) -> Page[Grant]:
    """Return a page of the grants in a project, to a subject, or both."""
    found = await asked.api.granting.page(*of, after=after_number(after), most=limit + 1)
    return page(asked, response, [_grant(one) for one in found], limit, lambda one: str(one.id))


def _grant(one: grants.Given) -> Grant:
    return Grant(
        id=one.id,
        role=one.role,
        subject=one.subject,
        project=one.project or None,
        repositories=one.pattern or None,
        created_at=time_of(one.created_at),
        created_by=one.created_by,
    )
