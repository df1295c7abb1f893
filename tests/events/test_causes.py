"""What an event is part of is told, by the API and to endpoints, where it is no push or delete of a client's."""

import json
from typing import Any

import pytest
from sqlalchemy import update

from registry.api.events import shown
from registry.db import events
from registry.db.connection import Database, Transaction
from registry.db.statements import Statement, now
from registry.db.tables import tags
from registry.services import event_pages
from registry.services.event_pages import Filter
from registry.services.expiry_labels import LABEL
from registry.services.tag_expiry import TagExpiry
from registry.webhooks import cloud_events
from tests.factories import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, index_manifest
from tests.unit.services.tagged import BY, Tagged
from tests.unit.services.undoing import Registry

pytestmark = pytest.mark.anyio

A = "team/app"
_ALL_IS_OVER = Statement(update(tags).where(tags.c.expires_at.is_not(None)).values(expires_at=now()))


async def anybody(transaction: Transaction) -> None:
    """Let it go on."""


async def told(database: Database) -> list[dict[str, Any]]:
    """Return what the API tells of what is new, and look whether endpoints are told the same."""

    async def everybody(repository: str, at: int) -> bool:
        return True

    start = await event_pages.cursor_of(database, event_pages.NEWEST)
    await database.write(lambda tx: events.place(tx, limit=100))
    found = []
    for one in (await event_pages.read_page(database, start, Filter(), everybody, limit=100)).events:
        seen = shown(one, with_request=True, with_source=True).model_dump(by_alias=True)
        message = cloud_events.message(one, public_url="", mode="structured")
        data = json.loads(message.body)["data"]
        assert {**data, "time": seen["time"]} == json.loads(json.dumps(seen))
        found.append(seen)
    return found


async def causes(database: Database) -> list[tuple[str, str | None, str | None]]:
    return [(one["action"], one["tag"], one["cause"]) for one in await told(database)]


async def test_what_undoes_something_says_so(database: Database) -> None:
    registry = Registry(database)
    first = await registry.push_image(A, b"config", b"layer", tag="latest")
    then = await registry.moment()
    await registry.push_image(A, b"other", tag="latest")
    await registry.push(A, (await registry.pull_at(A, first, then))[0], "new")
    await registry.untag(A, "new")
    await registry.delete(A, first)
    assert {cause for _, _, cause in await causes(database)} == {None}
    await registry.roll_back(A, at=then)
    assert await causes(database) == [("undelete", None, "rollback"), ("tag", "latest", "rollback")]
    await registry.delete(A, first)
    assert await causes(database) == [("untag", "latest", None), ("delete", None, None)]
    await registry.undelete(A, first)
    assert await causes(database) == [("undelete", None, None), ("tag", "latest", "undelete")]


async def test_what_goes_by_itself_says_why(database: Database) -> None:
    tagged = Tagged(database)
    await tagged.push(A, "old")
    await tagged.push(A, "short", said={LABEL: "1h"})
    await tagged.push(A, "kept")
    policy = await tagged.policy("latest", {"template": "latestPushedK", "count": 2})
    assert {cause for _, _, cause in await causes(database)} == {None}
    await tagged.retention.run(policy, anybody, by=BY)
    [gone] = await told(database)
    assert (gone["action"], gone["tag"], gone["cause"], gone["actor"]) == (
        "untag",
        "old",
        "retention",
        "system:retention",
    )
    await database.write(lambda tx: tx.run(_ALL_IS_OVER))
    await TagExpiry(database, audited=True).run(anybody)
    [gone] = await told(database)
    assert (gone["action"], gone["tag"], gone["cause"], gone["actor"]) == ("untag", "short", "expiry", "system:expiry")


async def test_a_manifest_that_collection_takes_is_told_of_once(database: Database) -> None:
    registry = Registry(database)
    gone = await registry.push_image(A, b"config")
    deleted = await registry.push_image(A, b"other")
    await registry.push_image(A, b"kept", tag="kept")
    await registry.delete(A, deleted)
    await told(database)
    assert (await registry.collect()).manifests == 1  # the other one can be had back for a while
    [event] = await told(database)
    assert (event["action"], event["digest"], event["cause"]) == ("delete", gone, "collection")
    assert event["mediaType"] is not None and event["size"] is not None


async def test_all_that_a_purge_takes_is_told_of(database: Database) -> None:
    registry = Registry(database)
    child = await registry.push_image(A, b"config", b"secret")
    content = image_manifest(b"config", [b"secret"])
    index = await registry.push(A, index_manifest([descriptor(content, OCI_MANIFEST)]))
    await told(database)
    done = await registry.purge(A, index)
    assert done.manifests == [index, child]
    events_of = await told(database)
    assert [(one["action"], one["digest"], one["mediaType"]) for one in events_of] == [
        ("purge", index, OCI_INDEX),
        ("purge", child, OCI_MANIFEST),
        *(("purge", one.digest, None) for one in done.blobs),
    ]
    assert len(done.blobs) == 2
