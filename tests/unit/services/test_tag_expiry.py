"""Labels that give tags an end, on both databases."""

import json
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update

from auth.grants import IMMUTABLE, TagRule
from registry.db.connection import Database, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import tag_history, tags
from registry.oci.names import RepositoryName, Tag
from registry.services.chunk import Chunk
from registry.services.expiry_labels import LABEL, label_of, parse_lifetime
from registry.services.granting import Granting
from registry.services.locks import Locks
from registry.services.tag_expiry import TagExpiry
from storage.digest import Digest, digest_bytes
from tests.factories import OCI_MANIFEST, descriptor, image_manifest, index_manifest
from tests.unit.services.tagged import BY, Tagged

pytestmark = pytest.mark.anyio

APP = RepositoryName("team/app")
S = 1_000_000
_LEFT = Statement(select(tags.c.expires_at - now()).where(tags.c.name == parameter("tag")))
_END = Statement(update(tags).where(tags.c.expires_at.is_not(None)).values(expires_at=now() - parameter("age")))
_ENDED = Statement(select(tag_history.c.tag, tag_history.c.ended_cause).where(tag_history.c.ended_at.is_not(None)))


async def anybody(transaction: Transaction) -> None:
    """Let it go on."""


@pytest.fixture
async def tagged(database: Database) -> Tagged:
    return Tagged(database)


async def left(tagged: Tagged, tag: str) -> int | None:
    """The seconds that a tag has left, rounded; None: for ever."""
    row = await tagged.database.first(_LEFT, tag=tag)
    assert row is not None
    return None if row[0] is None else round(row[0] / S)


async def push_config(tagged: Tagged, config: bytes) -> None:
    digest = digest_bytes(config)

    async def one() -> AsyncIterator[bytes]:
        yield config

    await tagged.uploads.push_whole(APP, digest, Chunk(one()), actor=BY)


def config_of(value: str | None, **more: object) -> bytes:
    labels = {"other": "1", **({} if value is None else {LABEL: value})}
    return json.dumps({"os": "linux", "architecture": "amd64", "config": {"Labels": labels}, **more}).encode()


async def image(tagged: Tagged, value: str | None, *names: str, **more: object) -> bytes:
    config = config_of(value, **more)
    await push_config(tagged, config)
    content = image_manifest(config, [])
    await tagged.push("team/app", *names, content=content)
    return content


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("12h", 43_200), ("3d", 259_200), (" 2w ", 1_209_600)]
    + [
        (text, None)
        for text in ("", "0s", "-1d", "1.5h", "2", "w", "1y", "1W", "99999999999s", "999999999w", "1d;", "\uff11d")
    ],
)
def test_what_a_label_says(text: str, seconds: int | None) -> None:
    assert parse_lifetime(text) == (None if seconds is None else seconds * S)


@pytest.mark.parametrize(
    "config",
    [b"", b"{", b'"quay.expires-after"', b'{"config": ["quay.expires-after"]}', b'{"quay.expires-after": "unknown"}'],
)
def test_a_config_that_says_nothing(config: bytes) -> None:
    assert label_of(config).value is None


async def test_labels_and_annotations_give_a_tag_an_end(tagged: Tagged) -> None:
    await image(tagged, "2h", "label")
    await image(tagged, None, "none")
    await image(tagged, "soon", "wrong")
    await tagged.push("team/app", "annotated", said={LABEL: "1d"})
    assert [await left(tagged, one) for one in ("label", "none", "wrong", "annotated")] == [7200, None, None, 86_400]
    # Moving the tag ends that, and pushing the same again gives it as long again.
    await image(tagged, None, "label")
    assert await left(tagged, "label") is None
    content = await image(tagged, "2h", "label")
    await tagged.database.write(lambda tx: tx.run(_END, age=-60 * S))
    assert await left(tagged, "label") == 60
    await tagged.push("team/app", "label", content=content)
    assert await left(tagged, "label") == 7200


async def test_an_index_has_what_all_its_images_say(tagged: Tagged) -> None:
    amd, arm = await image(tagged, "2h"), await image(tagged, "2h", variant="v8")
    attestation = await image(tagged, None, os="unknown", architecture="unknown")
    other, silent = await image(tagged, "3h"), await image(tagged, None)
    for name, children, seconds in (
        ("all", [amd, arm, attestation], 7200),
        ("differ", [amd, other], None),
        ("some", [amd, silent], None),
        ("no", [attestation], None),
    ):
        content = index_manifest([descriptor(child, OCI_MANIFEST) for child in children])
        await tagged.push("team/app", name, content=content)
        assert await left(tagged, name) == seconds


async def test_what_is_due_goes_but_for_what_is_locked_or_immutable(tagged: Tagged) -> None:
    digests: dict[str, Digest] = {}
    for name in ("a", "b", "locked", "v1", "later"):
        digests[name] = await tagged.push("team/app", name, said={LABEL: "1h"})
    await tagged.push("team/app", "ever")
    await tagged.push("team/base", "a", said={LABEL: "1h"})
    await Locks(tagged.database).lock(APP, digests["locked"], reason="", actor=BY)
    await Granting(tagged.database).add_rule(TagRule("v*", IMMUTABLE), actor=BY)
    counts: list[int] = []
    expiry = TagExpiry(tagged.database, audited=True, told=counts.append)
    assert await expiry.run(anybody) == 0
    await tagged.database.write(lambda tx: tx.run(_END, age=S))
    await tagged.push("team/app", "later", said={LABEL: "1h"})
    assert await expiry.run(anybody) == 3
    assert sum(counts) == 3
    assert await tagged.tags("team/app") == ["ever", "later", "locked", "v1"]
    assert await tagged.tags("team/base") == []
    ended = {(row[0], row[1]) for row in await tagged.database.all(_ENDED)}
    assert {("a", "expiry"), ("b", "expiry")} < ended
    assert await expiry.run(anybody) == 0
    await tagged.deletion.delete_tag(APP, Tag("locked"), actor=BY)
