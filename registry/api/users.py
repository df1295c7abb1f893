"""Users: for system admins. Everybody else has `me`, and their own tokens here as well."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from fastapi import APIRouter, Response
from pydantic import Field

from registry.api import conditions
from registry.api.asked import MOST, After, Caller, Limit, after_number, created, page
from registry.api.conditions import IfMatch, Represent, etag_of
from registry.api.models import Name, NameInPath, Page, Said, Secret, Shown, time_of, time_or_none
from registry.api.paths import collection
from registry.api.tokens import NewToken, Token, TokenWithSecret, make_token, tokens_of
from registry.db import users
from registry.db.connection import Database, Reader
from registry.errors import RecordUnknown

router = APIRouter(prefix="/users", tags=["users"])


class Membership(Shown):
    """A group that somebody is in. `source`: who says so."""

    name: str
    source: str


class User(Shown):
    """Somebody. `source`: what knows the password."""

    BY_USE: ClassVar[Mapping[str, Any]] = {"last_login_at": True}

    name: str
    source: str
    admin: bool
    disabled: bool
    created_at: datetime
    password_changed_at: datetime | None
    last_login_at: datetime | None


class UserWithGroups(User):
    """A user, and the groups that it is in."""

    groups: list[Membership]


class NewUser(Said):
    """A user to be made, whose password is kept here."""

    name: Name
    password: Secret
    admin: bool = False


class UserChange(Said):
    """What is to be changed of a user; what is left out stays as it is."""

    admin: bool | None = None
    disabled: bool | None = None


class NewPassword(Said):
    """A password to be set. `revokeTokens`: end the user's own tokens as well."""

    password: Secret
    revoke_tokens: Annotated[bool, Field(alias="revokeTokens")] = False


@router.get("")
async def list_users(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[User]:
    """List users by name."""
    asked.be_admin()
    found = [_user(one) for one in await asked.api.accounts.page(after=after, most=limit + 1)]
    return page(asked, response, found, limit, lambda one: one.name)


@router.post("", status_code=201)
async def add_user(asked: Caller, response: Response, new: NewUser) -> UserWithGroups:
    """Make a user."""
    asked.be_admin()
    await asked.api.accounts.add(new.name, new.password, is_admin=new.admin, actor=asked.actor)
    created(asked, response, f"{collection('users')}/{quote(new.name, safe='')}")
    shown = await _shown(new.name)(asked.api.database)
    response.headers["etag"] = etag_of(shown)
    return shown


@router.get("/{user}")
async def show_user(asked: Caller, response: Response, user: NameInPath) -> UserWithGroups:
    """Show a user, and the groups that it is in."""
    asked.be_admin()
    shown = await _shown(user)(asked.api.database)
    response.headers["etag"] = etag_of(shown)
    return shown


@router.patch("/{user}")
async def change_user(
    asked: Caller, response: Response, user: NameInPath, new: UserChange, if_match: IfMatch = None
) -> UserWithGroups:
    """Make a user a system admin, keep it out, or take that back. The last system admin stays one."""
    asked.be_admin()

    async def work(database: Database) -> None:
        accounts = asked.api.accounts_in(database)
        if new.admin is not None:
            await accounts.set_admin(user, is_admin=new.admin, actor=asked.actor)
        if new.disabled is not None:
            await (accounts.disable if new.disabled else accounts.enable)(user, actor=asked.actor)

    takes_away = new.admin is not True and new.disabled is not False
    shown = await conditions.change(asked, _shown(user), work, takes_away=takes_away)
    response.headers["etag"] = etag_of(shown)
    return shown


@router.delete("/{user}", status_code=204)
async def remove_user(asked: Caller, user: NameInPath, if_match: IfMatch = None) -> None:
    """Remove a user with all tokens and grants."""
    asked.be_admin()

    async def work(database: Database) -> None:
        await asked.api.accounts_in(database).remove(user, actor=asked.actor)

    await conditions.remove(asked, _shown(user), work)


@router.put("/{user}/password", status_code=204)
async def set_password(asked: Caller, user: NameInPath, new: NewPassword) -> None:
    """Change a user's password. Sessions and logins with the old one end."""
    asked.be_admin()
    await asked.api.accounts.set_password(user, new.password, with_tokens=new.revoke_tokens, actor=asked.actor)


@router.get("/{user}/tokens")
async def list_tokens_of_user(
    asked: Caller, response: Response, user: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[Token]:
    """List a user's tokens and sessions, those that have ended too."""
    asked.be_admin_or(user)
    owner = await asked.api.accounts.find(user)
    found = await tokens_of(asked, owner, after=after_number(after), most=limit + 1)
    return page(asked, response, found, limit, lambda one: str(one.id))


@router.post("/{user}/tokens", status_code=201)
async def make_token_of_user(asked: Caller, response: Response, user: NameInPath, new: NewToken) -> TokenWithSecret:
    """Make a token of a user's: whoever has it is that user, so it says who made it."""
    asked.be_admin_or(user)
    return await make_token(asked, response, await asked.api.accounts.find(user), new)


def _shown(name: str) -> Represent[UserWithGroups]:
    async def represent(reader: Reader) -> UserWithGroups:
        user = await users.find(reader, name)
        if user is None:
            raise RecordUnknown(f"there is no user {name}")
        groups = [Membership(name=group, source=source) for group, source in await users.groups(reader, user.id)]
        return UserWithGroups(**_user(user).model_dump(), groups=groups)

    return represent


def _user(user: users.User) -> User:
    return User(
        name=user.name,
        source=user.source,
        admin=bool(user.is_admin),
        disabled=user.disabled_at is not None,
        created_at=time_of(user.created_at),
        password_changed_at=time_or_none(user.password_at),
        last_login_at=time_or_none(user.seen_at),
    )
