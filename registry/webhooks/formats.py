"""The one table of formats: an event as an endpoint reads it."""

import functools
import importlib
from dataclasses import replace
from typing import Any

from auth.grants import project_of
from registry.event import Event
from registry.webhooks import distribution, slack
from registry.webhooks.endpoint import Endpoint
from registry.webhooks.message import Message

PING = "ping"
"""The action of a message that only tries whether an endpoint takes any."""


def message_for(endpoint: Endpoint, event: Event, *, public_url: str) -> Message | None:
    """Return what an endpoint is sent of an event; None if its format has no words for it.

    Those of projects are not told of the request, nor of another project's repository that a blob was mounted from:
    whoever administers a project need not know where others are, and what else there is.

    Args:
        public_url: how the registry is reached, without a slash at the end; "" if that is not known.
    """
    if endpoint.project and (event.asker is not None or event.source is not None):
        is_theirs = event.source is not None and project_of(event.source) == endpoint.project
        event = replace(event, asker=None, source=event.source if is_theirs else None)
    match endpoint.format:
        case "distribution":
            if event.action == PING:
                return distribution.envelope(event, PING, public_url=public_url)
            return distribution.message(event, public_url=public_url)
        case "slack":
            if event.action == PING:
                return slack.line(f"the webhook `{endpoint.name}` works")
            return slack.message(event)
        case "cloudevents":
            made: Message = _cloud_events().message(event, public_url=public_url, mode=endpoint.options.mode)
            return made


@functools.cache
def _cloud_events() -> Any:
    """Import what only endpoints of that format need: a twentieth of a second."""
    return importlib.import_module("registry.webhooks.cloud_events")
