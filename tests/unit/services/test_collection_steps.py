"""Collection: the steps of removing something, what becomes of those that are cut short, and who comes in between."""

from dataclasses import replace

import pytest

from registry.db import blobs
from registry.db.connection import Transaction
from registry.errors import BlobUnknown, ManifestReferenceUnknown
from registry.oci.names import RepositoryName
from registry.services.blobs import Blobs
from registry.services.collection import Collector
from storage.errors import StorageUnavailable
from storage.memory import MemoryDriver
from tests.factories import image_manifest
from tests.unit.services.collected import AT_ONCE, DAY, DEFAULTS, HOUR, Registry, anybody

pytestmark = pytest.mark.anyio
A, B = "test/a", "test/b"


async def test_a_key_is_doomed_before_its_object_goes_and_never_used_again(registry: Registry) -> None:
    digest = await registry.push_blob(A, b"content")
    [key] = await registry.objects()
    registry.driver.delete = _fails  # type: ignore[method-assign]  # the store is away
    with pytest.raises(StorageUnavailable):
        await registry.collect()
    assert registry.counts().keys() >= {"doomed"}
    assert registry.blob_digests(A) == set()
    with pytest.raises(BlobUnknown):
        await registry.blobs.exists(RepositoryName(A), digest)
    await registry.push_blob(A, b"content")
    assert len(await registry.objects()) == 2
    del registry.driver.delete
    await registry.driver.delete(key)  # a delete that comes late
    assert await registry.blobs.exists(RepositoryName(A), digest) == 7
    done = await Collector(registry.database, registry.stores, DEFAULTS).run(anybody)
    assert (done.objects, done.bytes) == (1, 7)  # what was doomed; that it is gone already makes no difference
    reader = await registry.blobs.open(RepositoryName(A), digest)
    assert await reader.read(0, 7) == b"content"
    assert registry.rows("SELECT * FROM doomed") == []


async def _fails(key: str) -> None:
    raise StorageUnavailable("the store is away")


async def test_one_object_that_can_not_be_deleted_does_not_keep_the_others(registry: Registry) -> None:
    for content in (b"one", b"two", b"three"):
        await registry.push_blob(A, content)
    bad = sorted(await registry.objects())[0]
    delete = MemoryDriver.delete

    async def fails_once(key: str) -> None:
        if key == bad:
            await _fails(key)
        await delete(registry.driver, key)

    registry.driver.delete = fails_once  # type: ignore[method-assign]  # the store is away for one
    with pytest.raises(StorageUnavailable):
        await registry.collect()
    assert await registry.objects() == {bad}
    assert registry.rows("SELECT key FROM doomed") == [(bad,)]


async def test_a_key_that_two_digests_share_goes_with_the_last(registry: Registry) -> None:
    await registry.push_blob(A, b"content")
    [key] = await registry.objects()
    registry.rows(
        "INSERT INTO blobs (digest, size, store, key, created_at) VALUES ('sha512:x', 7, 'memory', ?, 0)", key
    )
    await registry.collect()
    assert await registry.objects() == {key}
    assert registry.rows("SELECT * FROM doomed") == []


async def test_keys_of_another_store_wait_for_it(registry: Registry) -> None:
    await registry.push_blob(A, b"content")
    registry.rows("UPDATE blobs SET store = 'elsewhere'")
    await registry.collect()
    assert registry.rows("SELECT store, size FROM doomed") == [("elsewhere", 7)]


async def test_who_lost_the_lease_changes_nothing(registry: Registry) -> None:
    await registry.push_blob(A, b"content")

    async def lost(transaction: Transaction) -> None:
        raise KeyError

    before = registry.counts()
    with pytest.raises(KeyError):
        await Collector(registry.database, registry.stores, AT_ONCE).run(lost)
    assert registry.counts() == before
    assert len(await registry.objects()) == 1


async def test_what_needs_a_blob_that_was_collected_meanwhile_is_refused(registry: Registry) -> None:
    strict = Blobs(
        registry.database,
        registry.driver,
        registry.stores,
        registry.blobs._policy,
        registry.blobs._contents,
        hold_s=0,
    )
    digest = await registry.push_blob(A, b"config")
    blob = await blobs.find(registry.database, digest)
    assert blob is not None
    await registry.collect()
    registry.manifests._sparse = "deny"
    with pytest.raises(ManifestReferenceUnknown):
        await registry.push(A, image_manifest(b"config"), "t")
    assert not await registry.database.write(lambda tx: blobs.link_stored(tx, 1, blob, hold=0))
    with pytest.raises(BlobUnknown):
        await strict.exists(RepositoryName(A), digest)


async def test_an_id_that_is_used_again_is_not_taken_for_the_blob_that_had_it(registry: Registry) -> None:
    await registry.push_blob(B, b"other")
    first = await registry.push_blob(A, b"first")
    old = await blobs.find(registry.database, first)
    assert old is not None
    repository_id = registry.rows("SELECT repository_id FROM links WHERE blob_id = ?", old.id)[0][0]
    await registry.deletion.delete_blob(RepositoryName(A), first, actor="test")
    await registry.collect(grace=0)
    await registry.push_blob(B, b"again")
    second = await registry.push_blob(A, b"second")
    new = await blobs.find(registry.database, second)
    assert new is not None
    registry.rows("UPDATE links SET repository_id = ? WHERE blob_id = ?", repository_id, new.id)
    pretended = old._replace(id=new.id)
    assert not await registry.database.write(lambda tx: blobs.hold_link(tx, repository_id, pretended, hold=0))
    assert await registry.database.write(lambda tx: blobs.hold_link(tx, repository_id, new, hold=0))


async def test_a_clock_that_was_ahead_does_not_keep_things_from_being_looked_at(registry: Registry) -> None:
    await registry.push_blob(A, b"content")
    registry.rows("UPDATE candidates SET due_at = due_at + ?", 400 * DAY)
    await registry.collect()
    assert registry.counts() == {}


async def test_what_is_put_off_is_looked_at_when_everything_is(default: Registry) -> None:
    await default.push_blob(A, b"content")
    default.pass_time(3 * HOUR)
    await default.collect()
    collector = Collector(default.database, default.stores, replace(DEFAULTS, grace=0))
    assert (await collector.run(anybody)).objects == 0
    assert (await collector.run(anybody, everything=True)).objects == 1
    assert (collector.objects, collector.bytes) == (1, 7)


async def test_a_rate_bounds_batches_too(registry: Registry) -> None:
    for number in range(7):
        await registry.push_blob(A, b"%d" % number)
    seen: list[int] = []
    collector = Collector(
        registry.database, registry.stores, AT_ONCE, rate=1000, told=lambda done: seen.append(done.objects)
    )
    collector._batch = 3
    assert (await collector.run(anybody)).objects == 7
    assert sorted(set(seen) - {0}) == [3, 6, 7]
