"""Whoever asks: who they are here, their password, their tokens and sessions."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from auth.errors import Denied, Unauthenticated
from registry.api.asked import MOST, After, Caller, Limit, after_number, page
from registry.api.models import Page, Said, Secret, Shown, Text
from registry.api.tokens import NewToken, Token, TokenWithSecret, make_token, shown_once, tokens_of
from registry.db.credentials import Kind
from registry.errors import ValueInvalid
from registry.services.credentials import LONGEST_SESSION_S

router = APIRouter(tags=["me"])

_SESSION_S = 3600


class Me(Shown):
    """Who asks. `token`: the number of the token that they showed; null for a password."""

    principal: str
    groups: list[str]
    admin: bool
    token: int | None


class NewOwnPassword(Said):
    """A password to be changed by who has it."""

    current_password: Annotated[Secret, Field(alias="currentPassword")]
    new_password: Annotated[Secret, Field(alias="newPassword")]
    revoke_tokens: Annotated[bool, Field(alias="revokeTokens")] = False


class NewSession(Said):
    """A session to be opened."""

    name: Text = ""
    expires_in_seconds: Annotated[int, Field(alias="expiresInSeconds", ge=1, le=LONGEST_SESSION_S)] = _SESSION_S


@router.get("/me")
async def show_me(asked: Caller) -> Me:
    """Say who asks."""
    asked.be_anybody()
    principal = asked.principal
    return Me(
        principal=principal.name,
        groups=sorted(principal.groups),
        admin=principal.is_admin,
        token=principal.credential,
    )


@router.put("/me/password", status_code=204)
async def change_own_password(asked: Caller, new: NewOwnPassword) -> None:
    """Change one's password. Sessions and logins with the old one end, this one too."""
    user = await asked.be_person()
    try:
        subject = await asked.api.whose(user.name, new.current_password, asked.origin.address)
    except Unauthenticated:
        raise Denied("the current password is wrong") from None
    if subject != asked.actor:
        raise Denied("the current password is wrong")
    await asked.api.accounts.set_password(user.name, new.new_password, with_tokens=new.revoke_tokens, actor=asked.actor)


@router.get("/me/tokens")
async def list_own_tokens(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[Token]:
    """List one's tokens and sessions, those that have ended too."""
    user = await asked.be_person()
    found = await tokens_of(asked, user, after=after_number(after), most=limit + 1)
    return page(asked, response, found, limit, lambda one: str(one.id))


@router.post("/me/tokens", status_code=201)
async def make_own_token(asked: Caller, response: Response, new: NewToken) -> TokenWithSecret:
    """Make a token by which one's programs log in."""
    return await make_token(asked, response, await asked.be_person(), new)


@router.post("/session", status_code=201)
async def open_session(asked: Caller, response: Response, new: NewSession) -> TokenWithSecret:
    """Open a session: a token that lasts an hour, a day at most, and can do what one may do."""
    user = await asked.be_person()
    made = await asked.api.credentials.make_session(
        user, expires_s=new.expires_in_seconds, label=new.name, actor=asked.actor
    )
    return shown_once(asked, response, made, asked.actor)


@router.delete("/session", status_code=204)
async def end_session(asked: Caller) -> None:
    """Log out: end the session whose token the request came with."""
    await asked.be_person()
    number = asked.principal.credential
    if number is None or (await asked.api.credentials.find(number)).kind != Kind.SESSION:
        raise ValueInvalid("the request did not come with a session's token")
    await asked.api.credentials.revoke(number, actor=asked.actor)
