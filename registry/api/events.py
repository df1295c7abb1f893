"""What happened in the repositories that whoever asks may pull from: page by page, from a cursor on."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from registry import event
from registry.api.asked import MOST, After, Caller, Limit, link
from registry.api.models import Shown, precise_time_of
from registry.api.sight import Sight
from registry.services import event_pages

router = APIRouter(prefix="/events", tags=["events"])

Repository = Annotated[
    str,
    Query(
        max_length=event_pages.MOST_PATTERN,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Only of repositories like this: * and ? within a component, ** across them.",
    ),
]
Actions = Annotated[
    list[event.ActionName],
    Query(max_length=len(event.ACTIONS), description="Only these actions. May be given several times."),
]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class EventPart(Shown):
    """What a pushed manifest refers to."""

    digest: str
    media_type: str
    size: int | None


class EventQuota(Shown):
    """How far a quota is used, when a push brought it there."""

    what: str
    percent: int
    used: int
    limit: int


class EventRequest(Shown):
    """The request that something came of."""

    id: str
    address: str
    host: str
    method: str
    agent: str


class Event(Shown):
    """What happened. `id`: what to go on after. `request`: for those who may read the project's audit log.

    `source`: for those who may pull from there.
    """

    id: str
    time: Time
    action: str
    repository: str
    actor: str
    digest: str | None
    media_type: str | None
    size: int | None
    tag: str | None
    tags: list[str]
    previous: str | None
    subject: str | None
    artifact_type: str | None
    source: str | None
    references: list[EventPart]
    fault: str | None
    cause: str | None
    quota: EventQuota | None
    request: EventRequest | None


class Events(Shown):
    """Part of the stream, in order. `next`: what to say as `after` for what is there already; null at the end.

    `cursor`: the same, for what is still to come.
    """

    items: list[Event]
    next: str | None
    cursor: str


@router.get("")
async def list_events(
    asked: Caller,
    response: Response,
    repository: Repository = "",
    action: Actions = [],  # noqa: B006 - the framework copies it
    limit: Limit = MOST,
    after: After = "",
) -> Events:
    """List what happened after a cursor, in order: the `id` of an event, or `oldest`. Without one, the newest events.

    A page may have fewer entries than its limit, even none, and more to come: `next` says so. 410: what came after the
    cursor is not known any more. Then list what is there, and go on from `newest`.
    """
    asked.be_anybody()
    wanted, sight, reader = event_pages.filter_of(repository, list(action)), Sight(asked), asked.api.database
    if after:
        cursor = await event_pages.cursor_of(reader, after)
        found = await event_pages.read_page(reader, cursor, wanted, sight.shows, limit=limit)
    else:
        found = await event_pages.read_newest(reader, wanted, sight.shows, limit=limit)
    items = []
    for one in found.events:
        with_request, with_source = await sight.details(one)
        items.append(shown(one, with_request=with_request, with_source=with_source))
    reached = str(found.cursor)
    if found.more:
        link(asked, response, limit, reached)
    return Events(items=items, next=reached if found.more else None, cursor=reached)


def shown(one: event.Event, *, with_request: bool, with_source: bool) -> Event:
    """Return an event as the API shows it. `with_request`, `with_source`: with what `Sight.details` says."""
    asker, quota = one.asker if with_request else None, one.quota
    return Event(
        id=one.cursor,
        time=precise_time_of(one.at),
        action=one.action,
        repository=one.repository,
        actor=one.actor,
        digest=one.digest,
        media_type=one.media_type,
        size=one.size,
        tag=one.tag,
        tags=list(one.tags),
        previous=one.previous,
        subject=one.subject,
        artifact_type=one.artifact_type,
        source=one.source if with_source else None,
        references=[
            EventPart(digest=part.digest, media_type=part.media_type, size=part.size) for part in one.references
        ],
        fault=one.fault,
        cause=one.cause,
        quota=None
        if quota is None
        else EventQuota(what=quota.what, percent=quota.percent, used=quota.used, limit=quota.limit),
        request=None
        if asker is None
        else EventRequest(id=asker.id, address=asker.address, host=asker.host, method=asker.method, agent=asker.agent),
    )
