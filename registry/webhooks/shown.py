"""An event as programs are shown it: the data of a CloudEvent."""

from typing import Any

from registry.event import Event
from registry.webhooks.message import rfc3339


def shown(event: Event) -> dict[str, Any]:
    """Return an event as JSON has it, as `/api/v1/events` does. What does not apply is null, or empty."""
    asker, quota = event.asker, event.quota
    return {
        "id": event.cursor,
        "time": rfc3339(event.at),
        "action": event.action,
        "repository": event.repository,
        "actor": event.actor,
        "digest": event.digest,
        "mediaType": event.media_type,
        "size": event.size,
        "tag": event.tag,
        "tags": list(event.tags),
        "previous": event.previous,
        "subject": event.subject,
        "artifactType": event.artifact_type,
        "source": event.source,
        "references": [
            {"digest": one.digest, "mediaType": one.media_type, "size": one.size} for one in event.references
        ],
        "fault": event.fault,
        "cause": event.cause,
        "quota": quota and {"what": quota.what, "percent": quota.percent, "used": quota.used, "limit": quota.limit},
        "request": asker
        and {
            "id": asker.id,
            "address": asker.address,
            "host": asker.host,
            "method": asker.method,
            "agent": asker.agent,
        },
    }


def name_of(event: Event) -> str:
    """Return what an event happened to, as people name it: REPOSITORY, with a tag, or else with a digest."""
    if event.tag:
        return f"{event.repository}:{event.tag}"
    return f"{event.repository}@{event.digest}" if event.digest else event.repository
