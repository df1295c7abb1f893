"""Tokens of people and service accounts: shown once, found by their number, ended at any time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from auth.roles import Action
from registry.api.asked import Asked, Caller, created
from registry.api.models import Expiry, Number, Said, Shown, Text, time_of, time_or_none
from registry.api.paths import collection
from registry.db import jobs, service_accounts, users
from registry.db.credentials import Credential, Kind
from registry.db.service_accounts import ServiceAccount
from registry.db.users import User
from registry.errors import RecordUnknown
from registry.services.credentials import Made

router = APIRouter(prefix="/tokens", tags=["tokens"])

_KINDS: dict[Kind, Literal["token", "session", "refresh"]] = {
    Kind.TOKEN: "token",
    Kind.SESSION: "session",
    Kind.REFRESH: "refresh",
}


class Token(Shown):
    """A token without its secret. `begins`: the secret's first characters. `counts`: whether it lets anybody in."""

    BY_USE: ClassVar[Mapping[str, Any]] = {"counts": True, "last_used_at": True}

    id: int
    owner: str
    begins: str
    kind: Literal["token", "session", "refresh"]
    name: str
    scope: str | None
    counts: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokenWithSecret(Token):
    """A new token, and its secret, which can't be had again."""

    secret: str


class NewToken(Said):
    """A token to be made. `scope`: the most it may be used for, like `repository:team/app:pull`."""

    name: Text = ""
    expires_in_seconds: Annotated[Expiry | None, Field(alias="expiresInSeconds")] = None
    scope: Annotated[str | None, Field(max_length=4096, min_length=1)] = None


class Revoked(Shown):
    """How many tokens were ended."""

    revoked: int


@router.get("/{token}")
async def show_token(asked: Caller, token: Number) -> Token:
    """Show a token: one's own, one of a service account whose project one administers, any to system admins."""
    found, owner = await _find(asked, token)
    return token_of(found, owner, await jobs.clock(asked.api.database))


@router.delete("/{token}", status_code=204)
async def revoke_token(asked: Caller, token: Number) -> None:
    """End a token, and the logins that were made with it. Every server obeys within two seconds."""
    await _find(asked, token)
    await asked.api.credentials.revoke(token, actor=asked.actor)


@router.delete("")
async def revoke_all_tokens(asked: Caller) -> Revoked:
    """End all tokens of everybody, that of this request too."""
    asked.be_admin()
    return Revoked(revoked=await asked.api.credentials.revoke_all(actor=asked.actor))


async def _find(asked: Asked, token: int) -> tuple[Credential, str]:
    """Return a token that is whoever asks's to handle, and its owner. Raises RecordUnknown: it is not, or not there."""
    found, reader = await asked.api.credentials.find(token), asked.api.database
    owner: User | ServiceAccount | None = None
    if found.user_id is not None:
        owner = await users.find_by_id(reader, found.user_id)
    elif found.service_account_id is not None:
        owner = await service_accounts.find_by_id(reader, found.service_account_id)
    if owner is not None and await _is_theirs(asked, owner):
        return found, principal_of(owner)
    raise RecordUnknown(f"there is no token {token}")


async def _is_theirs(asked: Asked, owner: User | ServiceAccount) -> bool:
    if asked.principal.is_admin:
        return True
    if isinstance(owner, User):
        return asked.actor == principal_of(owner)
    return (await asked.api.policy.decide_on_project(asked.principal, Action.GRANT, owner.project)).allowed


def principal_of(owner: User | ServiceAccount) -> str:
    """Return what grants call a token's owner."""
    return f"user:{owner.name}" if isinstance(owner, User) else owner.principal


def token_of(one: Credential, owner: str, clock: int) -> Token:
    """Return what is shown of a token. `clock`: the database's time."""
    return Token(
        id=one.id,
        owner=owner,
        begins=one.hint,
        kind=_KINDS[Kind(one.kind)],
        name=one.name,
        scope=one.scope,
        counts=one.revoked_at is None and (one.expires_at is None or one.expires_at > clock),
        created_at=time_of(one.created_at),
        created_by=one.created_by,
        expires_at=time_or_none(one.expires_at),
        revoked_at=time_or_none(one.revoked_at),
        last_used_at=time_or_none(one.used_at),
    )


async def tokens_of(asked: Asked, owner: User | ServiceAccount, *, after: int, most: int) -> list[Token]:
    """Return up to `most` tokens of somebody by number, those that have ended too."""
    credentials, clock = asked.api.credentials, await jobs.clock(asked.api.database)
    if isinstance(owner, User):
        found = await credentials.of_user(owner, after=after, most=most)
    else:
        found = await credentials.of_account(owner, after=after, most=most)
    return [token_of(one, principal_of(owner), clock) for one in found]


async def make_token(asked: Asked, response: Response, owner: User | ServiceAccount, new: NewToken) -> TokenWithSecret:
    """Make a token, and answer with it."""
    credentials = asked.api.credentials
    if isinstance(owner, User):
        made = await credentials.make_personal(
            owner, label=new.name, expires_s=new.expires_in_seconds, scope=new.scope, actor=asked.actor
        )
    else:
        made = await credentials.make_for_account(
            owner, label=new.name, expires_s=new.expires_in_seconds, scope=new.scope, actor=asked.actor
        )
    return shown_once(asked, response, made, principal_of(owner))


def shown_once(asked: Asked, response: Response, made: Made, owner: str) -> TokenWithSecret:
    """Return what is shown of a new token, this once. Nobody on the way keeps it: all answers are `no-store`."""
    created(asked, response, f"{collection('tokens')}/{made.credential.id}")
    token = token_of(made.credential, owner, made.credential.created_at)
    return TokenWithSecret(**token.model_dump(), secret=made.secret)
