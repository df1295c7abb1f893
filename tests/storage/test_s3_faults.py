"""The S3 driver when the store fails: an error, and nothing that is said to be there and is not."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.digest import digest_bytes, new_hasher, new_key
from storage.errors import ObjectMissing, StorageError, StorageFull, StorageUnavailable
from storage.s3 import S3Driver
from tests.storage.backends import s3_at, s3_options, s3_server
from tests.storage.conftest import read_all
from tests.support.faulty_s3 import Asked, Fault, FaultyS3

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LARGE = hashlib.shake_256(b"large").digest(11 * MIB + 5)
SMALL = hashlib.shake_256(b"small").digest(50_000)
ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>made up</Message></Error>"


@pytest.fixture
def relay() -> Iterator[FaultyS3]:
    """A relay in front of the S3 server."""
    with FaultyS3(s3_server().url) as running:
        yield running


@pytest.fixture
async def driver(anyio_backend: str, relay: FaultyS3, tmp_path: Path) -> AsyncIterator[S3Driver]:
    """A driver whose requests go through the relay; it tries everything twice, and waits four seconds."""
    options = replace(s3_options(tmp_path, relay.url), attempts=2, read_timeout_s=4, connect_timeout_s=4)
    made = S3Driver(options)
    await made.start()
    yield made
    relay.heal()
    assert [found.name async for found in made.uploads()] == []
    assert made.buffers.outstanding == 0
    await made.close()


@pytest.fixture
async def direct(anyio_backend: str, tmp_path: Path) -> AsyncIterator[S3Driver]:
    """A driver on the same store that reaches it as it is."""
    made = s3_at(tmp_path)
    await made.start()
    yield made
    await made.close()


async def push(driver: S3Driver, content: bytes, *, flush: bool = False) -> str:
    """Publish content; whatever fails, discard it as callers do."""
    upload_id = "5f6b2a3e-0000-4000-8000-" + hashlib.sha256(content).hexdigest()[:12]
    writer = await driver.open_upload(upload_id, await driver.create_upload(upload_id), 0, new_hasher("sha256"))
    try:
        for start in range(0, len(content), MIB):
            await writer.write(content[start : start + MIB])
        if flush:
            await writer.flush()
        return await writer.publish(new_key(digest_bytes(content)))
    finally:
        await writer.discard()


async def keys(driver: S3Driver) -> list[str]:
    """List what is published."""
    return [found.name async for found in driver.objects()]


def sends(asked: Asked) -> bool:
    """Whether it sends content: a part or an object."""
    return asked.is_part or asked.is_object


ALWAYS = 1000
FAILURES = {
    "500": Fault(sends, ALWAYS, 500, ERROR % b"InternalError"),
    "503": Fault(sends, ALWAYS, 503, ERROR % b"SlowDown"),
    "403": Fault(sends, ALWAYS, 403, ERROR % b"AccessDenied"),
    "no-xml": Fault(sends, ALWAYS, 502, b"<html>Bad Gateway</html>"),
    "slow": Fault(sends, ALWAYS, 503, after_ms=4500),
    "cut-request": Fault(sends, ALWAYS, cut_request_at=10_000),
    "lost-answer": Fault(sends, ALWAYS, loses_answer=True),
}


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", FAILURES)
async def test_what_can_not_be_sent_is_not_published(
    driver: S3Driver, direct: S3Driver, relay: FaultyS3, name: str, content: bytes
) -> None:
    fault = relay.fail(replace(FAILURES[name]))
    with pytest.raises(StorageUnavailable, match="cannot write") as caught:
        await push(driver, content)
    assert fault.met
    assert "stowage-tests" not in str(caught.value) and "Signature" not in str(caught.value)
    relay.heal()
    assert [found.name async for found in driver.uploads()] == []
    assert await keys(direct) == []


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", ["500", "503", "no-xml", "cut-request", "lost-answer"])
async def test_what_fails_once_is_tried_again(
    driver: S3Driver, direct: S3Driver, relay: FaultyS3, name: str, content: bytes
) -> None:
    fault = relay.fail(replace(FAILURES[name], times=1))
    key = await push(driver, content, flush=True)
    assert fault.met == 1
    reader = await direct.open(key)
    assert await read_all(reader) == content
    reader.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(lambda asked: asked.completes, ALWAYS, 200, ERROR % b"InternalError"),
        Fault(lambda asked: asked.completes, ALWAYS, 500, ERROR % b"InternalError"),
        Fault(lambda asked: asked.completes, ALWAYS, 400, ERROR % b"InvalidPart"),
        Fault(lambda asked: asked.completes, ALWAYS, 200, b""),
        Fault(lambda asked: asked.completes, ALWAYS, 503, after_ms=4500),
    ],
    ids=["error-in-200", "500", "invalid-part", "empty-200", "slow"],
)
async def test_what_can_not_be_completed_is_not_published(
    driver: S3Driver, direct: S3Driver, relay: FaultyS3, fault: Fault
) -> None:
    relay.fail(replace(fault))
    with pytest.raises(StorageError):
        await push(driver, LARGE)
    relay.heal()
    assert [found.name async for found in driver.uploads()] == []
    assert await keys(direct) == []


async def test_a_completion_whose_answer_was_lost_is_found_out(
    driver: S3Driver, direct: S3Driver, relay: FaultyS3
) -> None:
    relay.fail(Fault(lambda asked: asked.completes, 1, loses_answer=True))
    key = await push(driver, LARGE)
    assert await direct.size(key) == len(LARGE)


@pytest.mark.parametrize("code", [b"QuotaExceeded", b"XMinioStorageFull"])
async def test_a_full_store_says_so(driver: S3Driver, relay: FaultyS3, code: bytes) -> None:
    relay.fail(Fault(sends, ALWAYS, 403, ERROR % code))
    with pytest.raises(StorageFull):
        await push(driver, SMALL)
    await driver.check()


def deletes_many(asked: Asked) -> bool:
    """Whether it deletes many objects at once."""
    return asked.method == "POST" and asked.query.startswith("delete")


async def test_many_are_deleted_with_few_requests(driver: S3Driver, relay: FaultyS3) -> None:
    pushed = [await push(driver, str(number).encode()) for number in range(3)]
    relay.asked.clear()
    unused = [f"blobs/sha256/00/{number}" for number in range(1500)]
    assert await driver.delete_many([*pushed[:1], *unused, *pushed[1:]]) == {}
    assert [deletes_many(asked) for asked in relay.asked] == [True, True]
    assert await keys(driver) == []


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (500, "InternalError", "the store answered 500 InternalError"),
        (403, "AccessDenied", "the credentials may not do that"),
        (400, "ExpiredToken", "the credentials have expired"),
    ],
)
async def test_many_that_are_not_deleted_are_told_and_stay(
    driver: S3Driver, relay: FaultyS3, status: int, code: str, why: str
) -> None:
    pushed = sorted([await push(driver, str(number).encode()) for number in range(3)])
    relay.fail(Fault(deletes_many, ALWAYS, status, ERROR % code.encode()))
    failed = await driver.delete_many([*pushed, "../escapes"])
    assert set(failed) == {*pushed, "../escapes"}
    assert all(str(failed[key]).endswith(why) for key in pushed)
    assert await keys(driver) == pushed
    relay.heal()
    relay.asked.clear()
    assert await driver.delete_many(pushed) == {}
    assert await keys(driver) == []
    assert deletes_many(relay.asked[0])


async def test_one_of_many_that_is_not_deleted_is_told(driver: S3Driver, relay: FaultyS3) -> None:
    first, second, third = [await push(driver, str(number).encode()) for number in range(3)]
    prefix = relay.asked[-1].name.partition("/")[0]
    errors = "".join(
        f"<Error><Key>{prefix}/objects/{key}</Key><Code>{code}</Code><Message>made up</Message></Error>"
        for key, code in ((first, "InternalError"), (second, "NoSuchKey"))
    )
    relay.fail(Fault(deletes_many, 1, 200, f"<DeleteResult>{errors}</DeleteResult>".encode()))
    failed = await driver.delete_many([first, second, third])
    assert {key: str(error) for key, error in failed.items()} == {
        first: f"cannot delete {first}: the store answered InternalError"
    }
    assert await driver.delete_many([first, second, third]) == {}


@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "MissingContentMD5")]
)
async def test_a_store_that_deletes_one_by_one_is_not_asked_again(
    driver: S3Driver, relay: FaultyS3, status: int, code: str
) -> None:
    pushed = [await push(driver, str(number).encode()) for number in range(20)]
    relay.fail(Fault(deletes_many, ALWAYS, status, ERROR % code.encode()))
    relay.asked.clear()
    failed = await driver.delete_many([*pushed[:10], "../escapes"])
    assert list(failed) == ["../escapes"]
    assert await driver.delete_many(pushed[10:]) == {}
    assert await keys(driver) == []
    assert sum(map(deletes_many, relay.asked)) == 1


@pytest.mark.parametrize("fault", [Fault(deletes_many, 1, loses_answer=True), Fault(deletes_many, 1, repeats=100)])
async def test_many_that_are_deleted_twice_are_deleted(driver: S3Driver, relay: FaultyS3, fault: Fault) -> None:
    pushed = [await push(driver, str(number).encode()) for number in range(3)]
    relay.fail(replace(fault))
    assert await driver.delete_many(pushed[:2]) == {}
    assert await keys(driver) == pushed[2:]


async def test_a_late_or_repeated_delete_harms_nothing(driver: S3Driver, direct: S3Driver, relay: FaultyS3) -> None:
    first = await push(driver, SMALL)
    relay.fail(Fault(lambda asked: asked.method == "DELETE", 1, repeats=200))
    await driver.delete(first)
    second = await push(driver, SMALL)
    relay.fail(Fault(lambda asked: asked.method == "DELETE" and first in asked.name, ALWAYS, repeats=0))
    await driver.delete(first)
    assert second != first
    assert await direct.size(second) == len(SMALL)


@pytest.mark.parametrize("cut_at", [0, 1, 70_000, 3 * MIB])
async def test_an_answer_that_is_cut_is_asked_for_again(driver: S3Driver, relay: FaultyS3, cut_at: int) -> None:
    key = await push(driver, LARGE)
    relay.fail(Fault(lambda asked: asked.method == "GET" and key in asked.name, 2, cut_answer_at=cut_at))
    reader = await driver.open(key)
    assert await read_all(reader) == LARGE
    reader.close()


async def test_an_answer_that_is_cut_each_time_is_an_error_and_no_short_answer(
    driver: S3Driver, relay: FaultyS3
) -> None:
    small, large = await push(driver, SMALL), await push(driver, LARGE)
    reader = await driver.open(large)
    relay.fail(Fault(lambda asked: asked.method == "GET", ALWAYS, cut_answer_at=20_000))
    with pytest.raises(StorageUnavailable, match="cannot read"):
        await driver.open(small)
    relay.heal()
    relay.fail(Fault(lambda asked: asked.method == "GET", ALWAYS, cut_answer_at=0))
    with pytest.raises(StorageUnavailable, match="cannot read"):
        await reader.read(MIB, MIB)
    reader.close()


async def test_a_missing_object_is_told_from_a_missing_store(
    driver: S3Driver, relay: FaultyS3, unused_key: str
) -> None:
    with pytest.raises(ObjectMissing):
        await driver.size(unused_key)
    relay.fail(Fault(lambda asked: True, ALWAYS, 404, b"not a store"))
    for ask in (driver.size, driver.open):
        with pytest.raises(StorageUnavailable):
            await ask(unused_key)
    with pytest.raises(StorageUnavailable, match=r"bucket registry at http.* can't be used"):
        await driver.check()
