"""Roles: everybody may know them, system admins make them."""

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Response
from pydantic import Field

from auth.roles import BUILT_IN
from registry.api.asked import MOST, After, Caller, Limit, created, page
from registry.api.models import Name, NameInPath, Page, Said, Shown
from registry.api.paths import collection
from registry.errors import RecordUnknown

router = APIRouter(prefix="/roles", tags=["roles"])

ActionName = Literal["audit", "delete", "grant", "overwrite", "pull", "push", "settings"]
"""`auth.roles.GRANTABLE`; a test compares them."""


class Role(Shown):
    """A set of actions that grants give."""

    name: str
    actions: list[str]
    built_in: bool


class NewRole(Said):
    """A role to be made. Who has `push` but not `overwrite` makes tags, and moves none."""

    name: Name
    actions: Annotated[list[ActionName], Field(min_length=1, max_length=20)]


@router.get("")
async def list_roles(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[Role]:
    """List all roles by name, and what each may do."""
    asked.be_anybody()
    roles = sorted((await asked.api.granting.roles()).items())
    found = [_role(name, actions) for name, actions in roles if name > after]
    return page(asked, response, found, limit, lambda one: one.name)


@router.post("", status_code=201)
async def add_role(asked: Caller, response: Response, new: NewRole) -> Role:
    """Make a role."""
    asked.be_admin()
    await asked.api.granting.add_role(new.name, new.actions, actor=asked.actor)
    created(asked, response, f"{collection('roles')}/{quote(new.name, safe='')}")
    return _role(new.name, frozenset(new.actions))


@router.get("/{role}")
async def show_role(asked: Caller, role: NameInPath) -> Role:
    """Show a role."""
    asked.be_anybody()
    actions = (await asked.api.granting.roles()).get(role)
    if actions is None:
        raise RecordUnknown(f"there is no role {role}")
    return _role(role, actions)


@router.delete("/{role}", status_code=204)
async def remove_role(asked: Caller, role: NameInPath) -> None:
    """Remove a role that no grant gives."""
    asked.be_admin()
    await asked.api.granting.remove_role(role, actor=asked.actor)


def _role(name: str, actions: frozenset[str]) -> Role:
    return Role(name=name, actions=sorted(str(action) for action in actions), built_in=name in BUILT_IN)
