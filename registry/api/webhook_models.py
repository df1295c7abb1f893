"""Webhooks as requests say them, and as answers show them."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from registry.api.models import Said, Secret, Shown, Text, time_of, time_or_none
from registry.db import deliveries
from registry.db.connection import Reader
from registry.db.deliveries import State
from registry.db.webhooks import Webhook as Row
from registry.errors import ValueInvalid
from registry.services.endpoints import address_of, format_of
from registry.services.webhooks import Definition, status
from registry.webhooks.endpoint import (
    LONGEST_S,
    MOST_ATTEMPTS,
    MOST_CONCURRENCY,
    MOST_TIMEOUT_S,
    Options,
)

ActionName = Literal[
    "push", "pull", "mount", "delete", "tag", "untag", "create", "quota", "quarantine", "recover", "undelete", "purge"
]
"""`registry.event.ACTIONS`; a test compares them."""
FormatName = Literal["distribution", "cloudevents", "slack"]
ModeName = Literal["structured", "binary"]
StateName = Literal["waiting", "delivered", "given-up"]
STATES: dict[StateName, State] = {
    "waiting": State.WAITING,
    "delivered": State.DELIVERED,
    "given-up": State.GIVEN_UP,
}
_NAMES = {state: name for name, state in STATES.items()}

WebhookName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$")]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000), Field(json_schema_extra={"format": "password"})]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
Patterns = Annotated[list[Pattern], Field(max_length=100)]
Events = Annotated[list[ActionName], Field(min_length=1, max_length=100)]
Seconds = Annotated[int, Field(ge=1, le=LONGEST_S)]
Pem = Annotated[str, StringConstraints(max_length=32768)]
Headers = Annotated[dict[str, Secret], Field(max_length=50)]


class Webhook(Shown):
    """An endpoint that is told what happens. `project` null: in the whole registry.

    Its URL and secrets are never shown: `address` is the URL's scheme and host, `headers` has names. `fromSettings`:
    the settings decide what it is. `waiting`: deliveries that failed and are tried again, or wait behind one; `behind`:
    events that it has not come to; `missed`: events that were dropped before it did.
    """

    BY_USE: ClassVar[dict[str, Any]] = dict.fromkeys(
        ("waiting", "waiting_seconds", "given_up", "behind", "behind_seconds", "missed"), True
    )

    name: str
    project: str | None
    address: str
    format: FormatName
    mode: ModeName
    events: list[str]
    repositories: list[str]
    tags: list[str]
    media_types: list[str]
    blobs: bool
    signed: bool
    headers: list[str]
    authorization: Literal["basic", "bearer"] | None
    own_ca: bool
    timeout_seconds: int
    concurrency: int
    max_attempts: int
    give_up_seconds: int
    backoff_seconds: int
    backoff_cap_seconds: int
    from_settings: bool
    paused_at: datetime | None
    paused_for: str
    created_at: datetime
    created_by: str
    waiting: int
    waiting_seconds: int
    given_up: int
    behind: int
    behind_seconds: int
    missed: int


class WebhookWithSecret(Webhook):
    """An endpoint, and the secret that was made for it, which is not shown again; null where none was made."""

    secret: str | None


class WebhookChange(Said):
    """What is to be changed of an endpoint; what is left out stays as it is.

    `secret`, `bearer`, `basic` (NAME:PASSWORD) and `ca` (certificates in PEM): "" for none. `headers` replaces all.
    Where `url` gets another scheme, host or port, `headers`, `bearer` and `basic` are to be said again, if there are
    some.
    """

    url: Url | None = None
    format: FormatName | None = None
    mode: ModeName | None = None
    events: Events | None = None
    repositories: Patterns | None = None
    tags: Patterns | None = None
    media_types: Annotated[Patterns | None, Field(alias="mediaTypes")] = None
    blobs: bool | None = None
    secret: Secret | None = None
    headers: Headers | None = None
    bearer: Secret | None = None
    basic: Secret | None = None
    ca: Pem | None = None
    timeout: Annotated[int | None, Field(alias="timeoutSeconds", ge=1, le=MOST_TIMEOUT_S)] = None
    concurrency: Annotated[int | None, Field(ge=1, le=MOST_CONCURRENCY)] = None
    max_attempts: Annotated[int | None, Field(alias="maxAttempts", ge=0, le=MOST_ATTEMPTS)] = None
    give_up: Annotated[Seconds | None, Field(alias="giveUpSeconds")] = None
    backoff: Annotated[Seconds | None, Field(alias="backoffSeconds")] = None
    backoff_cap: Annotated[Seconds | None, Field(alias="backoffCapSeconds")] = None
    paused: bool | None = None


class NewWebhook(WebhookChange):
    """An endpoint to be made. `secret` left out: one is made, and shown once.

    `events` left out: all but pulls and mounts.
    """

    name: WebhookName
    url: Url


class Delivery(Shown):
    """What became of an event at an endpoint. `subject`: what it happened to. `dueAt`: when it is tried again."""

    id: str
    repository: str
    action: str
    subject: str
    state: StateName
    attempts: int
    status: int | None
    error: str | None
    took_milliseconds: int | None
    created_at: datetime
    due_at: datetime | None
    done_at: datetime | None


class Replay(Said):
    """What is to be sent again: deliveries by their ids, or, left out, all that were given up."""

    deliveries: Annotated[list[Text] | None, Field(min_length=1, max_length=1000)] = None


class Replayed(Shown):
    """How many deliveries are made again."""

    replayed: int


class Tried(Shown):
    """What came of a message that means nothing."""

    delivered: bool
    status: int | None
    error: str | None
    took_milliseconds: int


def changed(before: Definition, new: WebhookChange) -> Definition:
    """Return what an endpoint is to be.

    Raises:
        ValueInvalid: it can't be so, or what is sent with each message, and shown to nobody, would go elsewhere.
    """
    if new.url and address_of(new.url) != address_of(before.url):
        sent = {"headers": before.secrets.headers, "bearer": before.secrets.bearer, "basic": before.secrets.basic}
        unsaid = [name for name, value in sent.items() if value and name not in new.model_fields_set]
        if unsaid:
            raise ValueInvalid(f"url: it leads elsewhere than before, so {', '.join(unsaid)} has to be said again")
    options = {
        "mode": new.mode,
        "events": new.events,
        "repositories": new.repositories,
        "tags": new.tags,
        "media_types": new.media_types,
        "blobs": new.blobs,
        "timeout": new.timeout,
        "concurrency": new.concurrency,
        "max_attempts": new.max_attempts,
        "give_up": new.give_up,
        "backoff": new.backoff,
        "backoff_cap": new.backoff_cap,
        "ca": new.ca,
    }
    secrets: dict[str, Any] = {
        "secret": new.secret,
        "headers": new.headers,
        "bearer": new.bearer,
        "basic": new.basic,
    }
    if new.basic and ":" not in new.basic:
        raise ValueInvalid("basic: expected NAME:PASSWORD")
    return Definition(
        new.url or before.url,
        new.format or before.format,
        replace(before.options, **{name: _frozen(value) for name, value in options.items() if value is not None}),
        replace(before.secrets, **{name: value for name, value in secrets.items() if value is not None}),
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


async def webhook_of(reader: Reader, row: Row) -> Webhook:
    """Return an endpoint as it is shown."""
    said = json.loads(row.options)
    options, found = Options.of(said), await status(reader, row)
    return Webhook(
        name=row.name,
        project=row.project or None,
        address=row.address,
        format=format_of(row.format),
        mode=options.mode,
        events=list(options.events),
        repositories=list(options.repositories),
        tags=list(options.tags),
        media_types=list(options.media_types),
        blobs=options.blobs,
        signed=said.get("signed", False),
        headers=said.get("headers", []),
        authorization=said.get("authorization"),
        own_ca=bool(options.ca),
        timeout_seconds=int(options.timeout),
        concurrency=options.concurrency,
        max_attempts=options.max_attempts,
        give_up_seconds=int(options.give_up),
        backoff_seconds=int(options.backoff),
        backoff_cap_seconds=int(options.backoff_cap),
        from_settings=row.is_file,
        paused_at=time_or_none(row.paused_at),
        paused_for=row.paused_for,
        created_at=time_of(row.created_at),
        created_by=row.created_by,
        waiting=found.waiting,
        waiting_seconds=int(found.waiting_s),
        given_up=found.given_up,
        behind=found.behind,
        behind_seconds=int(found.behind_s),
        missed=row.missed,
    )


def delivery_of(row: deliveries.Delivery) -> Delivery:
    """Return a delivery as it is shown."""
    return Delivery(
        id=row.event_id,
        repository=row.repository,
        action=row.action,
        subject=row.subject,
        state=_NAMES[row.state],
        attempts=row.attempts,
        status=row.status,
        error=row.error,
        took_milliseconds=row.took_ms,
        created_at=time_of(row.created_at),
        due_at=time_or_none(row.due_at),
        done_at=time_or_none(row.done_at),
    )
