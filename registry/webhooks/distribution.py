"""The envelope of CNCF distribution, which Keel, Jenkins and many others read.

Source: `notifications/event.go` of distribution. It knows push, pull, mount and delete, so what else happens is told as
one of these where it is one: a tag that a rollback moved was pushed, as is what was undeleted; a tag that was removed
was deleted, as is what was purged.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from registry.event import DELETE, MOUNT, PULL, PURGE, PUSH, TAG, UNDELETE, UNTAG, Event
from registry.webhooks.message import Message, rfc3339

MEDIA_TYPE = "application/vnd.docker.distribution.events.v2+json"
_BLOB = "application/octet-stream"
_TOLD_AS = {
    PUSH: "push",
    PULL: "pull",
    MOUNT: "mount",
    DELETE: "delete",
    TAG: "push",
    UNTAG: "delete",
    UNDELETE: "push",
    PURGE: "delete",
}


def message(event: Event, *, public_url: str) -> Message | None:
    """Return an event as an envelope of one; None if the format has no words for it.

    Args:
        public_url: how the registry is reached, without a slash at the end; "" if that is not known.
    """
    action = _TOLD_AS.get(event.action)
    if action is None or (event.action == TAG and event.cause is None):  # the push of that tag tells of it
        return None
    return envelope(event, action, public_url=public_url)


def envelope(event: Event, action: str, *, public_url: str) -> Message:
    """Return an event as an envelope with an action of any name."""
    asker, known_as = event.asker, urlsplit(public_url).netloc
    host = (asker and asker.host) or known_as  # Keel and others make the name of an image of it
    told = {
        "id": event.cursor,
        "timestamp": rfc3339(event.at),
        "action": action,
        "target": _target(event, public_url),
        "request": {
            "id": asker.id if asker else "",
            **({"addr": asker.address} if asker else {}),
            **({"host": host} if host else {}),
            "method": asker.method if asker else "",
            "useragent": asker.agent if asker else "",
        },
        "actor": {"name": event.actor},
        "source": {"addr": known_as, "instanceID": event.epoch},
    }
    body = json.dumps({"events": [told]}, separators=(",", ":")).encode()
    return Message(body, {"content-type": MEDIA_TYPE})


def _target(event: Event, public_url: str) -> dict[str, Any]:
    is_blob = event.media_type is None and event.action in {PUSH, PULL, MOUNT}
    is_tag = event.action == UNTAG  # of which distribution tells the name alone
    kind = "blobs" if is_blob else "manifests"
    target = {
        "mediaType": _BLOB if is_blob else event.media_type,
        "size": event.size,
        "digest": None if is_tag else event.digest,
        "length": event.size,
        "repository": event.repository,
        "fromRepository": event.source,
        "url": f"{public_url}/v2/{event.repository}/{kind}/{event.digest}"
        if public_url and event.digest and event.action not in {DELETE, UNTAG, PURGE}
        else None,
        "tag": event.tag,
        "references": [_reference(*one) for one in _references(event)] or None,
    }
    return {name: value for name, value in target.items() if value is not None}


def _references(event: Event) -> list[tuple[str, str, int | None]]:
    return [(one.media_type, one.digest, one.size) for one in event.references]


def _reference(media_type: str, digest: str, size: int | None) -> dict[str, Any]:
    return {"mediaType": media_type, **({} if size is None else {"size": size}), "digest": digest}
