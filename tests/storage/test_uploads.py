"""The contract of uploads: one writer, what it keeps, what it forgets, how it ends."""

import asyncio
import hashlib
import time
import uuid

import pytest

from storage.digest import digest_bytes, new_hasher, new_key
from storage.errors import InvalidKey, ObjectMissing, UploadBusy, UploadDamaged, UploadMissing
from tests.storage.conftest import HasherFactory, Store

pytestmark = pytest.mark.anyio

KIB = 1024
MIB = 1024 * KIB
BLOCK = hashlib.shake_256(b"content").digest(3 * MIB + 77)
NO_IDS = [
    "",
    "..",
    "../../etc/passwd",
    "a",
    "0" * 36,
    str(uuid.UUID(int=0)).upper().replace("0", "A"),
    f"{uuid.UUID(int=1)}\n",
]


@pytest.mark.parametrize("chunk", [1000, 128 * KIB, 256 * KIB, MIB, len(BLOCK)])
async def test_the_hasher_sees_every_byte_in_order(store: Store, sha256: HasherFactory, chunk: int) -> None:
    upload_id = str(uuid.uuid4())
    hasher = sha256()
    writer = await store.driver.open_upload(upload_id, await store.driver.create_upload(upload_id), 0, hasher)
    for start in range(0, len(BLOCK), chunk):
        await writer.write(BLOCK[start : start + chunk])
        assert writer.offset == min(start + chunk, len(BLOCK))
    await writer.flush()
    assert hasher.hexdigest() == hashlib.sha256(BLOCK).hexdigest()
    await store.publish(writer, BLOCK)


async def test_published_without_flush_all_is_there(store: Store) -> None:
    for size in (0, 1, 100 * KIB, 128 * KIB, 300 * KIB, MIB, len(BLOCK)):
        await store.put(BLOCK[:size])


async def test_an_upload_is_no_object_and_an_object_no_upload(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(b"abc")
    await writer.flush()
    assert await store.upload_ids() == {upload_id}
    assert await store.keys() == []
    state = writer.state
    await store.publish(writer, b"abc")
    assert await store.upload_ids() == set()
    with pytest.raises(UploadMissing):
        await store.driver.open_upload(upload_id, state, 3, sha256())


async def test_an_upload_is_continued_where_it_was_left(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(BLOCK[:MIB])
    await writer.flush()
    await writer.close()
    hasher = sha256(BLOCK[:MIB])
    writer = await store.replica.open_upload(upload_id, writer.state, MIB, hasher)
    assert writer.offset == MIB
    await writer.write(BLOCK[MIB:])
    await writer.flush()
    assert hasher.hexdigest() == hashlib.sha256(BLOCK).hexdigest()
    await store.publish(writer, BLOCK)


@pytest.mark.parametrize("first", ["write", "flush", "rewind", "rehash", "publish"])
async def test_a_writer_forgets_what_is_beyond_its_offset(store: Store, sha256: HasherFactory, first: str) -> None:
    upload_id, writer = await store.begin(BLOCK[: 2 * MIB])
    await writer.flush()
    await writer.close()
    hasher = sha256(BLOCK[:1000])
    writer = await store.driver.open_upload(upload_id, writer.state, 1000, hasher)
    assert writer.offset == 1000
    kept, follows = (900, b"") if first == "rewind" else (1000, b"other" if first == "write" else b"")
    match first:
        case "write":
            await writer.write(follows)
        case "flush":
            await writer.flush()
        case "rewind":
            await writer.rewind(kept)
        case "rehash":
            await writer.rehash(whole := sha256())
            assert whole.hexdigest() == hasher.hexdigest()
    await store.publish(writer, BLOCK[:kept] + follows)
    assert first == "rewind" or hasher.hexdigest() == hashlib.sha256(BLOCK[:kept] + follows).hexdigest()


async def test_opening_alone_forgets_nothing(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(BLOCK)
    await writer.flush()
    state = writer.state
    await writer.close()
    late = await store.replica.open_upload(upload_id, state, 1000, sha256())
    await late.close()
    writer = await store.driver.open_upload(upload_id, state, len(BLOCK), sha256(BLOCK))
    await store.publish(writer, BLOCK)


async def test_opening_alone_changes_nothing(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(BLOCK[: 2 * MIB])
    await writer.flush()
    await writer.close()
    stale = await store.driver.open_upload(upload_id, writer.state, 1000, sha256(BLOCK[:1000]))
    await stale.close()
    latest = await store.driver.open_upload(upload_id, writer.state, 2 * MIB, sha256(BLOCK[: 2 * MIB]))
    await store.publish(latest, BLOCK[: 2 * MIB])


async def test_what_was_flushed_a_moment_ago_is_vouched_for(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(BLOCK[:1000])
    await writer.flush()
    await writer.close()
    writer = await store.replica.open_upload(upload_id, writer.state, 1000, sha256(BLOCK[:1000]))
    assert writer.vouched
    await writer.discard()


async def test_opening_beyond_what_is_there_tells_of_damage(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(b"12345")
    await writer.flush()
    await writer.close()
    with pytest.raises(UploadDamaged):
        await store.driver.open_upload(upload_id, writer.state, 6, sha256())
    # And leaves it openable.
    again = await store.driver.open_upload(upload_id, writer.state, 5, sha256())
    await again.discard()


async def test_there_is_one_writer_at_a_time(locking_store: Store, sha256: HasherFactory) -> None:
    store = locking_store
    upload_id, writer = await store.begin(b"first")
    for driver in (store.driver, store.replica):
        with pytest.raises(UploadBusy):
            await driver.open_upload(upload_id, writer.state, 0, sha256())
        with pytest.raises(UploadBusy):
            await driver.remove_upload(upload_id, writer.state)
    await writer.flush()
    await writer.close()
    second = await store.replica.open_upload(upload_id, writer.state, 5, sha256())
    with pytest.raises(UploadBusy):
        await store.driver.open_upload(upload_id, writer.state, 5, sha256())
    with pytest.raises(UploadBusy):
        await writer.discard()
    await writer.close()
    await second.write(b", second")
    await store.publish(second, b"first, second")


async def test_an_id_is_given_once(locking_store: Store) -> None:
    store = locking_store
    upload_id, writer = await store.begin(b"kept")
    with pytest.raises(UploadBusy):
        await store.driver.create_upload(upload_id)
    await store.publish(writer, b"kept")


@pytest.mark.parametrize("upload_id", NO_IDS)
async def test_what_is_no_id_is_missing(store: Store, sha256: HasherFactory, upload_id: str) -> None:
    with pytest.raises(UploadMissing):
        await store.driver.create_upload(upload_id)
    with pytest.raises(UploadMissing):
        await store.driver.open_upload(upload_id, "", 0, sha256())
    await store.driver.remove_upload(upload_id, "")


async def test_what_was_never_created_is_missing(store: Store, sha256: HasherFactory) -> None:
    upload_id = str(uuid.uuid4())
    with pytest.raises(UploadMissing):
        await store.driver.open_upload(upload_id, "", 0, sha256())
    await store.driver.remove_upload(upload_id, "")


async def test_close_keeps_what_was_flushed(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(BLOCK[: 2 * MIB])
    await writer.flush()
    state = writer.state
    await writer.write(BLOCK[2 * MIB :])
    await writer.close()
    await writer.close()
    writer = await store.driver.open_upload(upload_id, state, 2 * MIB, sha256())
    await store.publish(writer, BLOCK[: 2 * MIB])


@pytest.mark.parametrize("written", [0, 1000, MIB, len(BLOCK)])
@pytest.mark.parametrize("flushed", [False, True])
async def test_discard_leaves_nothing(store: Store, sha256: HasherFactory, written: int, flushed: bool) -> None:
    upload_id, writer = await store.begin(BLOCK[:written])
    if flushed:
        await writer.flush()
    await writer.discard()
    await writer.discard()
    await writer.close()
    assert await store.upload_ids() == set()
    with pytest.raises(UploadMissing):
        await store.driver.open_upload(upload_id, "", 0, sha256())


async def test_discard_is_allowed_after_close_and_nothing_after_publish(store: Store) -> None:
    _, writer = await store.begin(b"gone")
    await writer.flush()
    await writer.close()
    await writer.discard()
    assert await store.upload_ids() == set()
    _, writer = await store.begin(b"stays")
    await store.publish(writer, b"stays")
    await writer.discard()
    await writer.close()


async def test_a_closed_writer_takes_nothing(store: Store, unused_key: str) -> None:
    for end in ("close", "discard", "publish"):
        _, writer = await store.begin(end.encode())
        await writer.flush()
        if end == "publish":
            await store.publish(writer, end.encode())
        else:
            await (writer.close() if end == "close" else writer.discard())
        with pytest.raises(ValueError, match="closed"):
            await writer.write(b"more")
        with pytest.raises(ValueError, match="closed"):
            await writer.flush()
        with pytest.raises(ValueError, match="closed"):
            await writer.rewind(0)
        with pytest.raises(ValueError, match="closed"):
            await writer.rehash(new_hasher("sha256"))
        with pytest.raises(ValueError, match="closed"):
            await writer.publish(unused_key)
        await writer.discard()


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 100 * KIB, MIB, 2 * MIB + 5, len(BLOCK)])
@pytest.mark.parametrize("follows", [b"", b"and then"])
async def test_rewind_forgets_what_follows(store: Store, offset: int, flushed: bool, follows: bytes) -> None:
    _, writer = await store.begin(BLOCK)
    if flushed:
        await writer.flush()
    await writer.rewind(offset)
    assert writer.offset == offset
    if follows:
        await writer.write(follows)
    await store.publish(writer, BLOCK[:offset] + follows)


async def test_rewind_goes_back_only(store: Store) -> None:
    _, writer = await store.begin(b"123")
    for offset in (-1, 4):
        with pytest.raises(ValueError, match="rewind"):
            await writer.rewind(offset)
    await store.publish(writer, b"123")


async def test_rehash_reads_back_everything(store: Store, sha256: HasherFactory) -> None:
    for data in (b"", b"1", BLOCK[: 100 * KIB], BLOCK, BLOCK * 3):
        _, writer = await store.begin(data)
        hasher = new_hasher("sha512")
        await writer.rehash(hasher)
        assert hasher.hexdigest() == hashlib.sha512(data).hexdigest()
        await writer.write(b"goes on")
        await store.publish(writer, data + b"goes on")


async def test_a_taken_key_is_refused_and_its_object_stays(store: Store) -> None:
    key = await store.put(b"first")
    for data in (b"first", b"second"):
        _, writer = await store.begin(data)
        with pytest.raises(InvalidKey, match="taken"):
            await writer.publish(key)
        await writer.close()
    assert await store.content(key) == b"first"


async def test_one_content_has_many_objects(store: Store) -> None:
    keys = {await store.put(b"same") for _ in range(3)}
    assert len(keys) == 3
    gone = keys.pop()
    await store.driver.delete(gone)
    del store.expected[gone]


async def test_remove_upload_removes_it(store: Store, sha256: HasherFactory) -> None:
    upload_id, writer = await store.begin(BLOCK)
    await writer.flush()
    await writer.close()
    await store.replica.remove_upload(upload_id, writer.state)
    await store.driver.remove_upload(upload_id, writer.state)
    with pytest.raises(UploadMissing):
        await store.driver.open_upload(upload_id, writer.state, 0, sha256())


async def test_many_uploads_at_once_keep_apart(store: Store) -> None:
    contents = [hashlib.shake_128(bytes([number])).digest(250 * KIB + number) for number in range(48)]
    writers = [(await store.begin())[1] for _ in contents]
    for start in range(0, 251 * KIB, 50 * KIB):
        await asyncio.gather(
            *(writer.write(data[start : start + 50 * KIB]) for writer, data in zip(writers, contents, strict=True))
        )
    await asyncio.gather(*(store.publish(writer, data) for writer, data in zip(writers, contents, strict=True)))


class SlowHasher:
    """A hasher that takes its time, and says whether it is being used."""

    def __init__(self) -> None:
        self.busy = False
        self.seen = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self.busy = True
        time.sleep(0.1)
        self.seen += len(data)
        self.busy = False

    def hexdigest(self) -> str:
        return ""

    def copy(self) -> "SlowHasher":
        return SlowHasher()


@pytest.mark.parametrize("operation", ["write", "flush", "publish", "close", "discard"])
async def test_a_cancelled_call_ends_after_its_thread(store: Store, operation: str, unused_key: str) -> None:
    upload_id = str(uuid.uuid4())
    hasher = SlowHasher()
    writer = await store.driver.open_upload(upload_id, await store.driver.create_upload(upload_id), 0, hasher)
    await writer.write(BLOCK[:MIB])
    calls = {
        "write": lambda: writer.write(BLOCK[: 2 * MIB]),
        "flush": writer.flush,
        "publish": lambda: writer.publish(unused_key),
        "close": writer.close,
        "discard": writer.discard,
    }
    task = asyncio.ensure_future(calls[operation]())
    await asyncio.sleep(0.02)
    task.cancel()
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    assert not hasher.busy
    if isinstance(outcome, asyncio.CancelledError) and operation == "publish":
        with pytest.raises(ObjectMissing):
            await store.driver.open(unused_key)
        assert await store.upload_ids() == set()
    elif operation == "publish":
        store.expected[unused_key] = BLOCK[:MIB]
    seen = hasher.seen
    await writer.close()
    if operation in ("write", "flush", "close"):
        # Of what was not flushed, there need be nothing in the store.
        assert await store.upload_ids() <= {upload_id}
        await writer.discard()
    assert hasher.seen >= seen
    assert not hasher.busy


async def test_a_cancelled_publication_leaves_no_object(store: Store) -> None:
    for delay in (0, 0, 0.0005, 0.001, 0.002, 0.003, 0.005):
        _, writer = await store.begin(BLOCK[: 300 * KIB])
        key = new_key(digest_bytes(BLOCK[: 300 * KIB]))
        task = asyncio.ensure_future(writer.publish(key))
        await asyncio.sleep(delay)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(outcome, str):
            assert outcome == key
            store.expected[key] = BLOCK[: 300 * KIB]
        else:
            assert isinstance(outcome, asyncio.CancelledError)
        assert await store.upload_ids() == set()
        assert (key in await store.keys()) == isinstance(outcome, str)


async def test_a_cancelled_publication_under_a_taken_key_leaves_the_object_that_has_it(store: Store) -> None:
    key = await store.put(b"first")
    _, writer = await store.begin(b"first")
    task = asyncio.ensure_future(writer.publish(key))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await store.content(key) == b"first"
