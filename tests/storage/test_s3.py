"""What only the S3 driver does: writers that take over from each other, parts, memory, and what it asks the store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage import s3_assembly
from storage.digest import digest_bytes, new_hasher, new_key
from storage.errors import UploadDamaged, UploadMissing
from storage.s3 import S3Driver
from storage.s3_bucket import Multipart, Part
from storage.s3_options import MIB
from storage.s3_parts import size_of_part
from storage.s3_state import State, Tail, runs, seal
from storage.s3_writer import S3Writer
from tests.storage.backends import LOCKLESS, Backend, s3_options, s3_server
from tests.storage.conftest import HasherFactory, Store
from tests.support.faulty_s3 import FaultyS3
from tests.support.s3 import BUCKET

pytestmark = pytest.mark.anyio

CONTENT = hashlib.shake_256(b"content").digest(31 * MIB + 5)


@pytest.fixture(params=LOCKLESS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    """S3 alone."""
    chosen: Backend = request.param
    return chosen


async def begun(store: Store, size: int) -> tuple[str, str]:
    """Flush the first bytes of CONTENT. Returns the upload's id and state."""
    upload_id, writer = await store.begin(CONTENT[:size])
    await writer.flush()
    await writer.close()
    return upload_id, writer.state


@pytest.mark.parametrize("acknowledged", [3 * MIB, 12 * MIB])
async def test_who_lost_the_claim_harms_nothing(store: Store, sha256: HasherFactory, acknowledged: int) -> None:
    """The older writer has sent parts that nobody knows of, sends two more, flushes, and goes away."""
    upload_id, state = await begun(store, acknowledged)
    older = await store.driver.open_upload(upload_id, state, acknowledged, sha256())
    await older.write(b"o" * 12 * MIB)
    newer = await store.replica.open_upload(
        upload_id, state, acknowledged, sha256(CONTENT[:acknowledged]), contested=True
    )
    await newer.write(CONTENT[acknowledged : 20 * MIB])
    await older.write(b"o" * 6 * MIB)
    await newer.flush()
    await older.write(b"o" * 4 * MIB)
    await older.flush()
    await older.close()
    state = newer.state
    await newer.close()
    last = await store.driver.open_upload(upload_id, state, 20 * MIB, hasher := sha256(CONTENT[: 20 * MIB]))
    await last.write(CONTENT[20 * MIB :])
    await last.settle()
    assert hasher.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
    await store.publish(last, CONTENT)


async def test_what_was_flushed_and_not_recorded_is_not_needed(store: Store, sha256: HasherFactory) -> None:
    upload_id, state = await begun(store, 8 * MIB + 3)
    lost = await store.driver.open_upload(upload_id, state, 8 * MIB + 3, sha256())
    await lost.write(b"lost" * 2 * MIB)
    await lost.flush()
    await lost.close()
    writer = await store.replica.open_upload(upload_id, state, 8 * MIB + 3, sha256(), contested=True)
    await writer.write(CONTENT[8 * MIB + 3 :])
    await store.publish(writer, CONTENT)


async def test_a_rewind_to_the_beginning_of_a_chunk_brings_the_tail_back(store: Store, sha256: HasherFactory) -> None:
    upload_id, state = await begun(store, 8 * MIB + 3)
    writer = await store.driver.open_upload(upload_id, state, 8 * MIB + 3, sha256())
    await writer.write(b"wrong" * 4 * MIB)
    await writer.rewind(8 * MIB + 3)
    await writer.write(CONTENT[8 * MIB + 3 :])
    await store.publish(writer, CONTENT)


async def test_a_part_that_was_written_over_is_found_out(store: Store, sha256: HasherFactory) -> None:
    upload_id, state = await begun(store, 12 * MIB)
    multipart = State.decode(state, "").multipart
    assert multipart is not None
    assert isinstance(store.driver, S3Driver)
    key = f"{s3_options(store.place).prefix}/{multipart.name}"
    s3_server().client().upload_part(
        Bucket=BUCKET, Key=key, UploadId=multipart.id, PartNumber=1, Body=b"x" * 5 * MIB, ChecksumAlgorithm="CRC32"
    )
    with pytest.raises(UploadDamaged, match="written over"):
        await store.driver.open_upload(upload_id, state, 12 * MIB, sha256())
    await store.driver.remove_upload(upload_id, state)


async def test_a_part_that_is_written_over_while_a_writer_is_open_is_not_published(store: Store) -> None:
    _, writer = await store.begin(CONTENT[: 12 * MIB])
    await writer.flush()
    multipart = State.decode(writer.state, "").multipart
    assert multipart is not None
    key = f"{s3_options(store.place).prefix}/{multipart.name}"
    s3_server().client().upload_part(
        Bucket=BUCKET, Key=key, UploadId=multipart.id, PartNumber=1, Body=b"x" * 5 * MIB, ChecksumAlgorithm="CRC32"
    )
    with pytest.raises(UploadDamaged):
        await writer.publish(new_key(digest_bytes(CONTENT)))


async def test_who_read_the_parts_and_was_gone_leaves_an_upload_that_goes_on(
    store: Store, sha256: HasherFactory
) -> None:
    upload_id, state = await begun(store, 15 * MIB)
    gone = await store.driver.open_upload(upload_id, state, 15 * MIB, sha256())
    await gone.rehash(sha256())
    await gone.close()
    writer = await store.replica.open_upload(upload_id, state, 15 * MIB, sha256(CONTENT[: 15 * MIB]), contested=True)
    hasher = sha256()
    await writer.rehash(hasher)
    assert hasher.hexdigest() == hashlib.sha256(CONTENT[: 15 * MIB]).hexdigest()
    await writer.write(CONTENT[15 * MIB :])
    await store.publish(writer, CONTENT)


async def test_an_upload_whose_state_is_lost_is_removed(store: Store) -> None:
    for size in (3 * MIB, 5 * MIB, 12 * MIB):
        upload_id, _ = await begun(store, size)
        assert upload_id in await store.upload_ids()
        await store.driver.remove_upload(upload_id, "")
        assert upload_id not in await store.upload_ids()
    writer = (await store.begin(CONTENT))[1]  # parts that no flush has told of
    await writer.close()
    [upload_id] = await store.upload_ids()
    await store.replica.remove_upload(upload_id, "")


async def test_removing_an_upload_late_harms_no_object(store: Store) -> None:
    upload_id, writer = await store.begin(CONTENT)
    await writer.flush()
    state = writer.state
    await store.publish(writer, CONTENT)
    for text in ("", state):
        await store.driver.remove_upload(upload_id, text)
    await writer.discard()


async def test_an_upload_that_took_long_is_dated_by_its_publication(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some stores date an object by when its upload began: its bytes go into another then."""
    monkeypatch.setattr(s3_assembly, "_FRESH_S", -60)
    _, writer = await store.begin(CONTENT)
    await store.publish(writer, CONTENT)


@pytest.fixture
async def relayed(anyio_backend: str, tmp_path: Path) -> AsyncIterator[tuple[S3Driver, FaultyS3]]:
    """A driver, and the relay that sees what it asks the store."""
    with FaultyS3(s3_server().url) as relay:
        driver = S3Driver(replace(s3_options(tmp_path, relay.url), part_size=8 * MIB))
        await driver.start()
        relay.asked.clear()
        yield driver, relay
        await driver.close()


async def test_small_content_is_one_request(relayed: tuple[S3Driver, FaultyS3], sha256: HasherFactory) -> None:
    driver, relay = relayed
    upload_id = "00000000-0000-4000-8000-000000000000"
    state = await driver.create_upload(upload_id)
    writer = await driver.open_upload(upload_id, state, 0, sha256())
    assert relay.asked == []
    await writer.write(CONTENT[:100_000])
    await writer.settle()
    key = await writer.publish(new_key(digest_bytes(b"")))
    assert [(asked.method, asked.query) for asked in relay.asked] == [("PUT", "")]
    relay.asked.clear()
    reader = await driver.open(key)
    await reader.read(0, 100_000)
    reader.close()
    assert [asked.method for asked in relay.asked] == ["GET"]


async def test_large_content_is_sent_once(relayed: tuple[S3Driver, FaultyS3], sha256: HasherFactory) -> None:
    driver, relay = relayed
    upload_id = "00000000-0000-4000-8000-000000000001"
    writer = await driver.open_upload(upload_id, await driver.create_upload(upload_id), 0, sha256())
    await writer.write(CONTENT)
    await writer.settle()
    key = await writer.publish(new_key(digest_bytes(b"")))
    assert [asked.method for asked in relay.asked if not asked.is_part] == ["POST", "POST", "HEAD"]
    assert sum(asked.is_part for asked in relay.asked) == 4
    relay.asked.clear()
    reader = await driver.open(key)
    for offset in range(0, reader.size, MIB):
        await reader.read(offset, min(MIB, reader.size - offset))
    reader.close()
    assert len(relay.asked) <= 3


async def test_reads_in_any_order_are_right(store: Store) -> None:
    reader = await store.driver.open(await store.put(CONTENT))
    offsets = [
        0,
        MIB,
        2 * MIB,
        3 * MIB,
        4 * MIB,
        20 * MIB,
        21 * MIB,
        22 * MIB,
        5 * MIB,
        5,
        MIB + 5,
        2 * MIB + 5,
        30 * MIB,
    ]
    for offset in offsets:
        for length in (MIB, 1000):
            assert await reader.read(offset, length) == CONTENT[offset : offset + length]
    for offset in range(0, len(CONTENT), MIB):
        length = min(MIB, len(CONTENT) - offset)
        assert await reader.read(offset, length) == CONTENT[offset : offset + length]
    reader.close()


async def test_a_reader_may_be_closed_while_it_reads_ahead(store: Store) -> None:
    key = await store.put(CONTENT)
    for _ in range(3):
        reader = await store.driver.open(key)
        assert await reader.read(0, MIB) == CONTENT[:MIB]
        reader.close()


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[S3Driver]:
    """A driver with memory for a few parts, not started."""
    yield S3Driver(replace(s3_options(tmp_path), memory=20 * MIB))


async def test_memory_is_bounded_and_slow_uploads_stop_nobody(
    anyio_backend: str, cramped: S3Driver, sha256: HasherFactory
) -> None:
    """Uploads that wait in the middle of a part hold all the memory there is; others go through, and these, too."""
    writers: list[S3Writer] = []
    for number in range(10):
        upload_id = f"00000000-0000-4000-8000-0000000000{number:02}"
        hasher = new_hasher("sha256")
        writers.append(await cramped.open_upload(upload_id, await cramped.create_upload(upload_id), 0, hasher))
    slow, fast = writers[:5], writers[5:]
    for writer in slow:
        await writer.write(CONTENT[: 4 * MIB])
    assert cramped.buffers.take() is None
    keys = []
    async with asyncio.timeout(600):
        for writer in fast:
            await writer.write(CONTENT)
            keys.append(await writer.publish(new_key(digest_bytes(CONTENT))))
        for writer in slow:
            await writer.write(CONTENT[4 * MIB :])
            keys.append(await writer.publish(new_key(digest_bytes(CONTENT))))
    for key in keys:
        assert await cramped.size(key) == len(CONTENT)
        reader = await cramped.open(key)
        seen = sha256()
        for offset in range(0, reader.size, MIB):
            seen.update(await reader.read(offset, min(MIB, reader.size - offset)))
        assert seen.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
        reader.close()
    assert cramped.buffers.outstanding == 0
    await cramped.close()


def test_the_most_parts_reach_five_tebibytes() -> None:
    for base in (5, 16, 1024):
        sizes = [size_of_part(number, base * MIB) for number in range(1, 10_001)]
        assert sum(sizes) >= 5 * 1024 * 1024 * MIB
        assert sizes == sorted(sizes)
        assert sizes[0] >= 5 * MIB and sizes[-1] <= 5 * 1024 * MIB


def test_a_state_is_read_back() -> None:
    parts = [Part(number, 5 * MIB, f'"{number}"') for number in (1, 2, 3, 20, 22, 23)]
    state = State(Multipart("a", "b", 1.5), runs(parts), 30 * MIB, seal(parts), "x", Tail("t", 3, "e"), ("o",))
    assert state.runs == ((1, 3), (20, 20), (22, 23))
    assert State.decode(state.encode(), "it") == state
    strays = [Part(21, 7, "s"), Part(24, 7, "s")]
    assert state.chosen(sorted([*parts, *strays], key=lambda part: part.number), "it") == parts
    with pytest.raises(UploadDamaged):
        state.chosen(parts[:-1], "it")
    for text in ("", "{}", "null", "[]", '{"v":2}', state.encode()[:-1]):
        with pytest.raises(UploadMissing):
            State.decode(text, "it")


def test_the_state_of_a_large_upload_fits() -> None:
    parts = [Part(number, 5 * MIB, '"e"') for number in range(1, 10_001) if number % 17]
    state = State(Multipart("a", "b" * 200), runs(parts), 5, seal(parts), "x" * 40, None, ("o" * 90,) * 3)
    assert len(state.encode()) < 64 * 1024
