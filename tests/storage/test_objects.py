"""The contract of objects: reading, deleting, listing."""

import asyncio
import os
import random
import socket
import time
from contextlib import suppress

import pytest

from storage.driver import READ_CHUNK, ObjectStream
from storage.errors import InvalidKey, ObjectMissing, StorageUnavailable
from tests.storage.conftest import Store, read_all

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 800  # 200 KiB
SIZES = [0, 1, 64 * 1024, READ_CHUNK, READ_CHUNK + 1]
NO_KEYS = [
    "",
    "/",
    "blobs",
    "blobs/",
    "/blobs/a",
    "blobs//a",
    "blobs/a/",
    "blobs/./a",
    "blobs/../a",
    "blobs/..",
    "../blobs/a",
    "uploads/a",
    "blobs/A",
    "blobs/a b",
    "blobs/a\x00",
    "blobs/a\n",
    "blobs/é",
    "blobs/.hidden",
    "blobs/" + "a" * 256,
    "blobs" + "/a" * 300,
]


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_is_what_was_published(store: Store, size: int) -> None:
    data = (CONTENT * 6)[:size]
    key = await store.put(data)
    assert await store.driver.size(key) == size
    assert await store.content(key) == data
    assert await store.replica.size(key) == size


async def test_read_returns_exactly_the_range(store: Store) -> None:
    reader = await store.driver.open(await store.put(CONTENT))
    assert reader.size == len(CONTENT)
    for offset, length in [(0, 0), (0, 1), (5, 100_000), (len(CONTENT) - 1, 1), (len(CONTENT), 0), (0, len(CONTENT))]:
        assert await reader.read(offset, length) == CONTENT[offset : offset + length]
    reader.close()


async def test_read_gives_no_short_answer(store: Store) -> None:
    reader = await store.driver.open(await store.put(CONTENT))
    with pytest.raises(StorageUnavailable):
        await reader.read(len(CONTENT) - 10, 11)
    with pytest.raises(StorageUnavailable):
        await reader.read(len(CONTENT) + 5, 1)
    with pytest.raises(StorageUnavailable):
        reader.read_now(len(CONTENT), 1)
    reader.close()


async def test_read_is_bounded(store: Store) -> None:
    reader = await store.driver.open(await store.put(CONTENT))
    for offset, length in [(0, READ_CHUNK + 1), (-1, 1), (0, -1)]:
        with pytest.raises(ValueError, match="a read is of"):
            await reader.read(offset, length)
        with pytest.raises(ValueError, match="a read is of"):
            reader.read_now(offset, length)
    reader.close()


async def test_read_now_returns_the_range_or_none(store: Store) -> None:
    reader = await store.driver.open(await store.put(CONTENT))
    for offset, length in [(0, 0), (0, 1), (7, 64 * 1024), (0, 128 * 1024)]:
        assert reader.read_now(offset, length) in (CONTENT[offset : offset + length], None)
    # Written a moment ago and small: a driver with a descriptor must have it at hand.
    if reader.fileno is not None:
        assert reader.read_now(0, 4096) == CONTENT[:4096]
    reader.close()


async def test_what_read_now_returned_stays_as_it_is(store: Store) -> None:
    one, two = (
        await store.driver.open(await store.put(b"1" * 100)),
        await store.driver.open(await store.put(b"2" * 100)),
    )
    kept = one.read_now(0, 100)
    two.read_now(0, 100)
    assert kept in (b"1" * 100, None)
    assert isinstance(kept, bytes | None)
    one.close()
    two.close()


async def test_fileno_is_a_file_of_exactly_these_bytes(store: Store) -> None:
    reader = await store.driver.open(await store.put(CONTENT))
    if reader.fileno is not None:
        assert os.fstat(reader.fileno).st_size == len(CONTENT)
        assert os.pread(reader.fileno, len(CONTENT), 0) == CONTENT
        assert os.lseek(reader.fileno, 0, os.SEEK_CUR) == 0
    reader.close()


async def test_a_stream_is_of_exactly_these_bytes(store: Store) -> None:
    content = random.Random(7).randbytes(6 * READ_CHUNK)
    reader = await store.driver.open(await store.put(content))
    for offset in (0, 100_000, READ_CHUNK):
        length = len(content) - offset - 7
        stream = await reader.stream(offset, length)
        if stream is not None:
            assert stream.head + await asyncio.to_thread(receive, stream) == content[offset : offset + length]
        assert await reader.read(offset + 5, READ_CHUNK) == content[offset + 5 : offset + 5 + READ_CHUNK]
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        await reader.stream(0, len(content))


def receive(stream: ObjectStream) -> bytes:
    """Take what belongs to the stream from its socket."""
    received = bytearray()
    with socket.socket(fileno=os.dup(stream.fileno)) as taking:
        taking.settimeout(stream.patience)
        while len(received) < stream.left and (data := taking.recv(stream.left - len(received))):
            received += data
    return bytes(received)


async def test_a_closed_reader_reads_nothing(store: Store) -> None:
    reader = await store.driver.open(await store.put(CONTENT))
    reader.close()
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        await reader.read(0, 1)
    with pytest.raises(ValueError, match="closed"):
        reader.read_now(0, 1)


async def test_an_open_object_outlives_its_deletion(store: Store) -> None:
    key = await store.put(CONTENT)
    reader = await store.driver.open(key)
    await store.replica.delete(key)
    del store.expected[key]
    if reader.fileno is None:
        with suppress(StorageUnavailable):  # which a store of other machines may answer, but never other bytes
            assert await read_all(reader) == CONTENT
    else:
        assert await read_all(reader) == CONTENT
    reader.close()


async def test_what_is_not_there_is_missing(store: Store, unused_key: str) -> None:
    with pytest.raises(ObjectMissing):
        await store.driver.open(unused_key)
    with pytest.raises(ObjectMissing):
        await store.driver.size(unused_key)


async def test_what_lies_below_an_object_is_missing(store: Store) -> None:
    key = await store.put(b"leaf")
    with pytest.raises(ObjectMissing):
        await store.driver.open(f"{key}/below")
    with pytest.raises(ObjectMissing):
        await store.driver.size(f"{key}/below")
    await store.driver.delete(f"{key}/below")


@pytest.mark.parametrize("text", NO_KEYS)
async def test_what_is_no_key_is_refused(store: Store, text: str) -> None:
    with pytest.raises(InvalidKey):
        await store.driver.open(text)
    with pytest.raises(InvalidKey):
        await store.driver.size(text)
    with pytest.raises(InvalidKey):
        await store.driver.delete(text)
    upload_id, writer = await store.begin(b"content")
    with pytest.raises(InvalidKey):
        await writer.publish(text)
    assert upload_id not in await store.upload_ids()


async def test_a_deleted_object_is_gone_for_all(store: Store) -> None:
    key = await store.put(CONTENT)
    other = await store.put(CONTENT)
    await store.driver.delete(key)
    del store.expected[key]
    for driver in (store.driver, store.replica):
        with pytest.raises(ObjectMissing):
            await driver.open(key)
        assert await driver.size(other) == len(CONTENT)


async def test_a_delete_may_be_repeated(store: Store, unused_key: str) -> None:
    key = await store.put(b"x")
    await store.driver.delete(key)
    await store.driver.delete(key)
    await store.replica.delete(key)
    await store.driver.delete(unused_key)
    del store.expected[key]


async def test_many_are_deleted_at_once(store: Store, unused_key: str) -> None:
    keys = [await store.put(str(number).encode()) for number in range(20)]
    kept = await store.put(CONTENT)
    failed = await store.driver.delete_many([*keys, "../escapes", unused_key])
    for key in keys:
        del store.expected[key]
    assert {key: type(error) for key, error in failed.items()} == {"../escapes": InvalidKey}
    assert await store.keys() == [kept]
    assert await store.replica.delete_many(keys) == {}
    assert await store.driver.delete_many([]) == {}


async def test_objects_are_listed_in_order_after_a_key(store: Store) -> None:
    for number in range(60):
        await store.put(str(number).encode())
    keys = sorted(store.expected)
    assert await store.keys() == keys
    assert await store.keys(keys[17]) == keys[18:]
    assert await store.keys(keys[17][:-1]) == keys[17:]
    assert await store.keys(keys[17] + "0") == keys[18:]
    assert await store.keys("blobs/sha256/80") == [key for key in keys if key > "blobs/sha256/80"]
    assert await store.keys("blobs/sha257") == []
    assert await store.keys(keys[-1]) == []


async def test_the_order_is_that_of_whole_keys(store: Store) -> None:
    # "-" and "." come before "/", so folders sorted by their bare names would come out wrong.
    keys = ["blobs/a-b/c", "blobs/a.b/c", "blobs/a/c", "blobs/a0/c", "blobs/a-b/c-d", "blobs/b"]
    for key in keys:
        await store.put(key.encode(), key)
    for after in ["", *keys, "blobs/a", "blobs/a/", "blobs/a-"]:
        assert await store.keys(after) == sorted(key for key in keys if key > after)


async def test_a_listing_tells_size_and_time_of_publication(store: Store) -> None:
    upload_id, writer = await store.begin(b"12345")
    await writer.flush()
    await writer.close()
    step = store.backend.clock_step_s
    time.sleep(1 + step)  # noqa: ASYNC251 - the clock must go on between the last write and publication
    [upload] = [found async for found in store.driver.uploads()]
    assert (upload.name, upload.size) == (upload_id, 5)
    published = time.time()
    writer = await store.driver.open_upload(upload_id, writer.state, 5, _Ignore())
    key = await store.publish(writer, b"12345")
    [item] = [found async for found in store.driver.objects()]
    assert (item.name, item.size) == (key, 5)
    assert item.modified_at >= published - step
    assert upload.modified_at <= published - 1


async def test_a_listing_bears_deletions_meanwhile(store: Store) -> None:
    for number in range(20):
        await store.put(str(number).encode())
    seen = []
    async for found in store.driver.objects():
        seen.append(found.name)
        await store.driver.delete(found.name)
        del store.expected[found.name]
    assert seen == sorted(set(seen))
    assert await store.keys() == []


async def test_a_started_store_answers(store: Store) -> None:
    await store.driver.check()
    await store.driver.start()
    await store.replica.check()
    assert store.driver.name == store.backend.name


class _Ignore:
    """A hasher for who does not ask."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        pass

    def hexdigest(self) -> str:
        return ""

    def copy(self) -> "_Ignore":
        return self
