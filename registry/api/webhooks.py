"""Webhooks: of a project for those who may change its settings, of the whole registry for system admins."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from auth.roles import Action
from registry.api import conditions
from registry.api.asked import MOST, After, Asked, Caller, Limit, created, page
from registry.api.conditions import IfMatch, Represent, etag_of
from registry.api.models import NameInPath, Page
from registry.api.paths import EVERYWHERE, collection
from registry.api.webhook_models import (
    STATES,
    Delivery,
    NewWebhook,
    Replay,
    Replayed,
    StateName,
    Tried,
    Webhook,
    WebhookChange,
    WebhookWithSecret,
    changed,
    delivery_of,
    webhook_of,
)
from registry.db import deliveries, projects, webhooks
from registry.db.connection import Database, Reader
from registry.db.deliveries import Key
from registry.errors import QueryInvalid, ValueInvalid
from registry.services.endpoints import Endpoints, configured
from registry.services.vault import vault_of
from registry.services.webhooks import Definition, Webhooks, find
from registry.webhooks.endpoint import Options, Secrets
from registry.webhooks.signature import new_secret

router = APIRouter(tags=["webhooks"])

_LAST = 2**62


StateQuery = Annotated[StateName | None, Query(description="Only those in this state.")]
RepositoryQuery = Annotated[str, Query(max_length=300, description="Only those of this repository.")]


@router.get("/webhooks")
async def list_webhooks(asked: Caller, response: Response, limit: Limit = MOST, after: After = "") -> Page[Webhook]:
    """List the endpoints of the whole registry."""
    asked.be_admin()
    return await _page(asked, response, EVERYWHERE, limit, after)


@router.post("/webhooks", status_code=201)
async def add_webhook(asked: Caller, response: Response, new: NewWebhook) -> WebhookWithSecret:
    """Make an endpoint that is told what happens in the whole registry, from now on."""
    asked.be_admin()
    return await _add(asked, response, EVERYWHERE, new)


@router.get("/webhooks/{webhook}")
async def show_webhook(asked: Caller, response: Response, webhook: NameInPath) -> Webhook:
    """Show an endpoint of the whole registry, and how it fares."""
    asked.be_admin()
    return _tagged(response, await _shown(EVERYWHERE, webhook)(asked.api.database))


@router.patch("/webhooks/{webhook}")
async def change_webhook(
    asked: Caller, response: Response, webhook: NameInPath, new: WebhookChange, if_match: IfMatch = None
) -> Webhook:
    """Change an endpoint of the whole registry, or pause it, or have it go on."""
    asked.be_admin()
    return await _change(asked, response, EVERYWHERE, webhook, new)


@router.delete("/webhooks/{webhook}", status_code=204)
async def remove_webhook(asked: Caller, webhook: NameInPath, if_match: IfMatch = None) -> None:
    """Remove an endpoint of the whole registry, and what is known of its deliveries."""
    asked.be_admin()
    await _remove(asked, EVERYWHERE, webhook)


@router.get("/webhooks/{webhook}/deliveries")
async def list_deliveries(
    asked: Caller,
    response: Response,
    webhook: NameInPath,
    state: StateQuery = None,
    repository: RepositoryQuery = "",
    limit: Limit = MOST,
    after: After = "",
) -> Page[Delivery]:
    """List what became of events at an endpoint of the whole registry, the newest first."""
    asked.be_admin()
    return await _deliveries(asked, response, EVERYWHERE, webhook, state, repository, limit, after)


@router.post("/webhooks/{webhook}/replay")
async def replay_deliveries(asked: Caller, webhook: NameInPath, new: Replay) -> Replayed:
    """Send events again to an endpoint of the whole registry."""
    asked.be_admin()
    return await _replay(asked, EVERYWHERE, webhook, new)


@router.post("/webhooks/{webhook}/test")
async def test_webhook(asked: Caller, webhook: NameInPath) -> Tried:
    """Send an endpoint of the whole registry a message that means nothing, at once."""
    asked.be_admin()
    return await _test(asked, EVERYWHERE, webhook)


@router.get("/projects/{project}/webhooks")
async def list_webhooks_of_project(
    asked: Caller, response: Response, project: NameInPath, limit: Limit = MOST, after: After = ""
) -> Page[Webhook]:
    """List the endpoints of a project."""
    await asked.have(Action.SETTINGS, project)
    return await _page(asked, response, project, limit, after)


@router.post("/projects/{project}/webhooks", status_code=201)
async def add_webhook_to_project(
    asked: Caller, response: Response, project: NameInPath, new: NewWebhook
) -> WebhookWithSecret:
    """Make an endpoint that is told what happens in a project, from now on."""
    await asked.have(Action.SETTINGS, project)
    return await _add(asked, response, project, new)


@router.get("/projects/{project}/webhooks/{webhook}")
async def show_webhook_of_project(
    asked: Caller, response: Response, project: NameInPath, webhook: NameInPath
) -> Webhook:
    """Show an endpoint of a project, and how it fares."""
    await asked.have(Action.SETTINGS, project)
    return _tagged(response, await _shown(project, webhook)(asked.api.database))


@router.patch("/projects/{project}/webhooks/{webhook}")
async def change_webhook_of_project(
    asked: Caller,
    response: Response,
    project: NameInPath,
    webhook: NameInPath,
    new: WebhookChange,
    if_match: IfMatch = None,
) -> Webhook:
    """Change an endpoint of a project, or pause it, or have it go on."""
    await asked.have(Action.SETTINGS, project)
    return await _change(asked, response, project, webhook, new)


@router.delete("/projects/{project}/webhooks/{webhook}", status_code=204)
async def remove_webhook_from_project(
    asked: Caller, project: NameInPath, webhook: NameInPath, if_match: IfMatch = None
) -> None:
    """Remove an endpoint of a project, and what is known of its deliveries."""
    await asked.have(Action.SETTINGS, project)
    await _remove(asked, project, webhook)


@router.get("/projects/{project}/webhooks/{webhook}/deliveries")
async def list_deliveries_of_project(
    asked: Caller,
    response: Response,
    project: NameInPath,
    webhook: NameInPath,
    state: StateQuery = None,
    repository: RepositoryQuery = "",
    limit: Limit = MOST,
    after: After = "",
) -> Page[Delivery]:
    """List what became of events at an endpoint of a project, the newest first."""
    await asked.have(Action.SETTINGS, project)
    return await _deliveries(asked, response, project, webhook, state, repository, limit, after)


@router.post("/projects/{project}/webhooks/{webhook}/replay")
async def replay_deliveries_of_project(
    asked: Caller, project: NameInPath, webhook: NameInPath, new: Replay
) -> Replayed:
    """Send events again to an endpoint of a project."""
    await asked.have(Action.SETTINGS, project)
    return await _replay(asked, project, webhook, new)


@router.post("/projects/{project}/webhooks/{webhook}/test")
async def test_webhook_of_project(asked: Caller, project: NameInPath, webhook: NameInPath) -> Tried:
    """Send an endpoint of a project a message that means nothing, at once."""
    await asked.have(Action.SETTINGS, project)
    return await _test(asked, project, webhook)


def _service(asked: Asked, database: Database) -> Webhooks:
    settings = asked.api.settings
    delivery = settings.delivery
    return Webhooks(database, vault_of(settings), networks=delivery.networks, most=delivery.most)


async def _add(asked: Asked, response: Response, project: str, new: NewWebhook) -> WebhookWithSecret:
    made = new_secret() if new.secret is None else None
    definition = changed(Definition(new.url, new.format or "distribution", Options(), Secrets(secret=made or "")), new)
    service = _service(asked, asked.api.database)
    await service.add(project, new.name, definition, actor=asked.actor, paused=bool(new.paused))
    created(asked, response, f"{collection('webhooks', project)}/{quote(new.name, safe='')}")
    shown = await _shown(project, new.name)(asked.api.database)
    return WebhookWithSecret(**_tagged(response, shown).model_dump(), secret=made)


async def _change(asked: Asked, response: Response, project: str, name: str, new: WebhookChange) -> Webhook:
    said = new.model_fields_set - {"paused"}

    async def work(database: Database) -> None:
        service = _service(asked, database)
        if said:
            await service.change(project, name, lambda before: changed(before, new), actor=asked.actor)
        if new.paused is not None:
            await (service.pause if new.paused else service.resume)(project, name, actor=asked.actor)

    takes_away = bool(new.paused) and not said
    return _tagged(response, await conditions.change(asked, _shown(project, name), work, takes_away=takes_away))


async def _remove(asked: Asked, project: str, name: str) -> None:
    async def work(database: Database) -> None:
        await _service(asked, database).remove(project, name, actor=asked.actor)

    await conditions.remove(asked, _shown(project, name), work)


async def _page(asked: Asked, response: Response, project: str, limit: int, after: str) -> Page[Webhook]:
    reader = asked.api.database
    found = await webhooks.page(reader, await projects.owner_id(reader, project), after=after, most=limit + 1)
    shown = [await webhook_of(reader, one) for one in found]
    return page(asked, response, shown, limit, lambda one: one.name)


async def _deliveries(
    asked: Asked,
    response: Response,
    project: str,
    name: str,
    state: StateName | None,
    repository: str,
    limit: int,
    after: str,
) -> Page[Delivery]:
    webhook = await find(asked.api.database, project, name)
    found = await deliveries.page(
        asked.api.database,
        webhook.id,
        state=None if state is None else STATES[state],
        repository=repository,
        before=_position(after, "after") if after else _LAST,
        limit=limit + 1,
    )
    return page(asked, response, [delivery_of(one) for one in found], limit, lambda one: one.id)


async def _replay(asked: Asked, project: str, name: str, new: Replay) -> Replayed:
    keys = None if new.deliveries is None else [Key(_position(one, "deliveries"), one) for one in new.deliveries]
    service = _service(asked, asked.api.database)
    return Replayed(replayed=await service.replay(project, name, keys, actor=asked.actor))


async def _test(asked: Asked, project: str, name: str) -> Tried:
    settings = asked.api.settings
    endpoints = Endpoints(vault_of(settings), configured(settings.webhooks))
    service = _service(asked, asked.api.database)
    sent = await service.test(project, name, endpoints, public_url=settings.http.public_url or "", actor=asked.actor)
    return Tried(delivered=sent.delivered, status=sent.status, error=sent.error, took_milliseconds=sent.took_ms)


def _position(text: str, where: str) -> int:
    """Return the position that an event's id ends with. Raises QueryInvalid, ValueInvalid."""
    number = text.rpartition("-")[2]
    if not number.isascii() or not number.isdecimal() or len(number) > 18:
        wrong = f"{where}: expected the id of a delivery"
        raise QueryInvalid(wrong) if where == "after" else ValueInvalid(wrong)
    return int(number)


def _tagged(response: Response, shown: Webhook) -> Webhook:
    response.headers["etag"] = etag_of(shown)
    return shown


def _shown(project: str, name: str) -> Represent[Webhook]:
    async def represent(reader: Reader) -> Webhook:
        return await webhook_of(reader, await find(reader, project, name))

    return represent
