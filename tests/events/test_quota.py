"""Who fills a quota is told of in time, once for each share that is reached."""

import json
from collections.abc import AsyncIterator

import pytest

from registry.db.connection import Database
from registry.errors import QuotaExceeded
from registry.oci.names import RepositoryName
from tests.support.databases import Place
from tests.unit.services.quoted import PROJECT, Quoted

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registry(place: Place, database: Database) -> AsyncIterator[Quoted]:
    yield Quoted(place, database)


def warnings(registry: Quoted) -> list[tuple[str, list[object]]]:
    rows = registry.place.sql("SELECT repository, payload FROM outbox WHERE action = 'quota' ORDER BY id")
    return [(repository, json.loads(payload)["quota"]) for repository, payload in rows]


async def test_a_quota_that_is_used_nearly_and_wholly_is_told_of(registry: Quoted) -> None:
    await registry.limit(1000, 4)
    await registry.push_blob(f"{PROJECT}/a", b"x" * 700)
    assert warnings(registry) == []
    await registry.push_blob(f"{PROJECT}/b", b"y" * 100)  # 80 %, to the byte
    await registry.push_blob(f"{PROJECT}/b", b"z" * 100)
    with pytest.raises(QuotaExceeded):
        await registry.push_blob(f"{PROJECT}/b", b"v" * 101)
    await registry.push_blob("other/x", b"w" * 5000)
    assert warnings(registry) == [(f"{PROJECT}/b", ["bytes", 80, 800, 1000])]
    await registry.push_blob(f"{PROJECT}/a", b"u" * 100)
    assert warnings(registry)[1:] == [(f"{PROJECT}/a", ["bytes", 100, 1000, 1000])]


async def test_a_jump_over_both_shares_is_one_event_and_making_room_is_none(registry: Quoted) -> None:
    await registry.limit(1000, None)
    digest = await registry.push_blob(f"{PROJECT}/a", b"x" * 1000)
    assert [share for _, share in warnings(registry)] == [["bytes", 100, 1000, 1000]]
    await registry.deletion.delete_blob(RepositoryName(f"{PROJECT}/a"), digest, actor="test")
    assert len(warnings(registry)) == 1
    await registry.push_blob(f"{PROJECT}/a", b"y" * 900)
    assert [share for _, share in warnings(registry)][1:] == [["bytes", 80, 900, 1000]]
