"""Groups, which are there while somebody is in them: for system admins. Directories call theirs nearly anything."""

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Path, Response

from registry.api.asked import MOST, After, Caller, Limit, page
from registry.api.models import NameInPath, Page, Shown

router = APIRouter(prefix="/groups", tags=["groups"])

GroupInPath = Annotated[
    str,
    Path(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$", description="May have slashes, as they are."),
]
_MOST_SOURCES = 16
"""More than can say that somebody is in a group."""


class Group(Shown):
    """A group. `members`: how many are in it."""

    name: str
    members: int


class Member(Shown):
    """A user in a group. `sources`: who says so."""

    user: str
    sources: list[str]


@router.get("")
async def list_groups(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[Group]:
    """List the groups that somebody is in."""
    asked.be_admin()
    found = await asked.api.accounts.group_page(after=after, most=limit + 1)
    groups = [Group(name=name, members=members) for name, members in found]
    return page(asked, response, groups, limit, lambda one: one.name)


@router.get("/{group:path}/members")
async def list_members(
    asked: Caller, response: Response, group: GroupInPath, limit: Limit = MOST, after: After = ""
) -> Page[Member]:
    """List who is in a group: nobody, where there is none of that name."""
    asked.be_admin()
    most = limit + 1 + _MOST_SOURCES
    rows = await asked.api.accounts.members(group, after=after, most=most)
    members = [
        Member(user=user, sources=[source for _, source in several])
        for user, several in groupby(rows, key=lambda row: row[0])
    ]
    if len(rows) == most and len(members) > limit + 1:  # the last one's sources may not all be among them
        members.pop()
    return page(asked, response, members, limit, lambda one: one.user)


@router.put("/{group:path}/members/{user}", status_code=204)
async def add_member(asked: Caller, group: GroupInPath, user: NameInPath) -> None:
    """Put a user into a group."""
    asked.be_admin()
    await asked.api.accounts.join(group, user, actor=asked.actor)


@router.delete("/{group:path}/members/{user}", status_code=204)
async def remove_member(asked: Caller, group: GroupInPath, user: NameInPath) -> None:
    """Take a user out of a group that it was put into here."""
    asked.be_admin()
    await asked.api.accounts.leave(group, user, actor=asked.actor)
