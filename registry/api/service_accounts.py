"""A project's service accounts, their tokens, and pull secrets: for those who may `grant` in the project."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Response
from pydantic import Field

from auth.grants import Grant
from auth.roles import Action
from registry.api import conditions
from registry.api.asked import MOST, After, Caller, Limit, after_number, created, page
from registry.api.conditions import IfMatch, Represent, etag_of
from registry.api.models import Expiry, Name, NameInPath, Page, Said, Shown, time_of
from registry.api.paths import collection
from registry.api.tokens import NewToken, Token, TokenWithSecret, make_token, tokens_of
from registry.db import service_accounts
from registry.db.connection import Database, Reader
from registry.errors import RecordUnknown, ValueInvalid
from registry.services.pull_secrets import Format, is_host, label_for, written
from registry.services.service_accounts import ServiceAccounts

router = APIRouter(prefix="/projects/{project}/service-accounts", tags=["service accounts"])


class ServiceAccount(Shown):
    """A service account. `principal`: what grants call it."""

    project: str
    name: str
    principal: str
    disabled: bool
    created_at: datetime
    created_by: str


class NewServiceAccount(Said):
    """A service account to be made. `role`: what it gets in its project."""

    name: Name
    role: Name | None = None


class ServiceAccountChange(Said):
    """What is to be changed of a service account."""

    disabled: bool


class NewPullSecret(Said):
    """A pull secret to be made. `host`: what names of images begin with; without it, that of `http.public_url`."""

    # By its words, since JSON has no enumerations and models are strict.
    format: Annotated[str, Field(pattern="^(dockerconfigjson|dockercfg|kubernetes)$", max_length=20)] = (
        "dockerconfigjson"
    )
    host: Annotated[str | None, Field(min_length=1, max_length=260)] = None
    expires_in_seconds: Annotated[Expiry | None, Field(alias="expiresInSeconds")] = None


class PullSecret(Shown):
    """A pull secret, with a new token in it. `content`: what goes into a file, or to `kubectl apply`."""

    format: str
    content: str
    token: int


@router.get("")
async def list_service_accounts(
    asked: Caller, response: Response, project: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[ServiceAccount]:
    """List a project's service accounts."""
    await asked.have(Action.GRANT, project)
    found = [_account(one) for one in await asked.api.service_accounts.page(project, after=after, most=limit + 1)]
    return page(asked, response, found, limit, lambda one: one.name)


@router.post("", status_code=201)
async def add_service_account(
    asked: Caller, response: Response, project: NameInPath, new: NewServiceAccount
) -> ServiceAccount:
    """Make a service account."""
    await asked.have(Action.GRANT, project)
    if new.role is not None:
        await asked.be_able_to_give(Grant(new.role, f"serviceaccount:{project}/{new.name}", project))
    made = await asked.api.service_accounts.add(project, new.name, role=new.role, actor=asked.actor)
    created(asked, response, f"{collection('service-accounts', project)}/{quote(made.name, safe='')}")
    return _tagged(response, _account(made))


@router.get("/{account}")
async def show_service_account(
    asked: Caller, response: Response, project: NameInPath, account: NameInPath
) -> ServiceAccount:
    """Show a service account."""
    await asked.have(Action.GRANT, project)
    return _tagged(response, await _shown(project, account)(asked.api.database))


@router.patch("/{account}")
async def change_service_account(
    asked: Caller,
    response: Response,
    project: NameInPath,
    account: NameInPath,
    new: ServiceAccountChange,
    if_match: IfMatch = None,
) -> ServiceAccount:
    """Let a service account's tokens in nowhere, or in again."""
    await asked.have(Action.GRANT, project)

    async def work(database: Database) -> None:
        accounts = ServiceAccounts(database)
        await (accounts.disable if new.disabled else accounts.enable)(project, account, actor=asked.actor)

    return _tagged(response, await conditions.change(asked, _shown(project, account), work, takes_away=new.disabled))


@router.delete("/{account}", status_code=204)
async def remove_service_account(
    asked: Caller, project: NameInPath, account: NameInPath, if_match: IfMatch = None
) -> None:
    """Remove a service account with its tokens and grants."""
    await asked.have(Action.GRANT, project)

    async def work(database: Database) -> None:
        await ServiceAccounts(database).remove(project, account, actor=asked.actor)

    await conditions.remove(asked, _shown(project, account), work)


@router.get("/{account}/tokens")
async def list_tokens_of_service_account(
    asked: Caller, response: Response, project: NameInPath, account: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[Token]:
    """List a service account's tokens, those that have ended too."""
    await asked.have(Action.GRANT, project)
    owner = await asked.api.service_accounts.find(project, account)
    found = await tokens_of(asked, owner, after=after_number(after), most=limit + 1)
    return page(asked, response, found, limit, lambda one: str(one.id))


@router.post("/{account}/tokens", status_code=201)
async def make_token_of_service_account(
    asked: Caller, response: Response, project: NameInPath, account: NameInPath, new: NewToken
) -> TokenWithSecret:
    """Make a token of a service account: for those who could give what it may do in the project."""
    await asked.be_able_to_act_as(project, account)
    owner = await asked.api.service_accounts.find(project, account)
    return await make_token(asked, response, owner, new)


@router.post("/{account}/pull-secret", status_code=201)
async def make_pull_secret(
    asked: Caller, response: Response, project: NameInPath, account: NameInPath, new: NewPullSecret
) -> PullSecret:
    """Make a pull secret of a service account, with a new token of its own. The answer is shown once."""
    await asked.be_able_to_act_as(project, account)
    host = new.host or urlsplit(asked.api.settings.http.public_url or "").netloc
    if not is_host(host):
        raise ValueInvalid("host: expected HOST or HOST:PORT, as in the names of images")
    owner = await asked.api.service_accounts.find(project, account)
    made = await asked.api.credentials.make_for_account(
        owner, label=label_for(host), expires_s=new.expires_in_seconds, actor=asked.actor
    )
    created(asked, response, f"{collection('tokens')}/{made.credential.id}")
    content = written(Format(new.format), host, f"{project}/{account}", made.secret)
    return PullSecret(format=new.format, content=content, token=made.credential.id)


def _tagged(response: Response, shown: ServiceAccount) -> ServiceAccount:
    response.headers["etag"] = etag_of(shown)
    return shown


def _shown(project: str, name: str) -> Represent[ServiceAccount]:
    async def represent(reader: Reader) -> ServiceAccount:
        found = await service_accounts.find(reader, project, name)
        if found is None:
            raise RecordUnknown(f"there is no service account {project}/{name}")
        return _account(found)

    return represent


def _account(found: service_accounts.ServiceAccount) -> ServiceAccount:
    return ServiceAccount(
        project=found.project,
        name=found.name,
        principal=found.principal,
        disabled=found.disabled_at is not None,
        created_at=time_of(found.created_at),
        created_by=found.created_by,
    )
