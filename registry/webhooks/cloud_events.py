"""CloudEvents 1.0, in structured and in binary mode, by the official library.

The type of an event is `stowage.` and its action; the source is how the registry is reached, the subject what it
happened to. The data is the event as `/api/v1/events` shows it.
"""

from datetime import UTC, datetime
from typing import Literal

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from registry.event import Event
from registry.webhooks.message import Message
from registry.webhooks.shown import name_of, shown

Mode = Literal["structured", "binary"]
_NOWHERE = "/stowage"
"""The source where it is not known how the registry is reached: it has to be something."""


def message(event: Event, *, public_url: str, mode: Mode) -> Message:
    """Return an event in one of the modes."""
    attributes = {
        "specversion": "1.0",
        "id": event.cursor,
        "source": public_url or _NOWHERE,
        "type": f"stowage.{event.action}",
        "subject": name_of(event),
        "time": datetime.fromtimestamp(event.at / 1_000_000, UTC),
        "datacontenttype": "application/json",
    }
    made = CloudEvent(attributes, shown(event))
    written = to_binary_event(made) if mode == "binary" else to_structured_event(made)
    return Message(written.body, {name.lower(): value for name, value in written.headers.items()})
