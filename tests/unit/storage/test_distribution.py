"""The driver that serves another registry's blobs: it reads, and deletes only what it may."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from storage.digest import digest_bytes, new_hasher
from storage.distribution import LAYOUT, DistributionDriver, key_of
from storage.distribution_bucket import DistributionBucketDriver
from storage.errors import InvalidKey, ObjectMissing, StorageUnavailable
from tests.storage.backends import s3_options, s3_server
from tests.support.s3 import BUCKET

pytestmark = pytest.mark.anyio

CONTENT = b"a layer"
KEY = key_of(digest_bytes(CONTENT))


class Permission:
    """Whether the takeover is finished."""

    given = False

    async def __call__(self) -> bool:
        return self.given


@pytest.fixture
def permission() -> Permission:
    return Permission()


@pytest.fixture
async def driver(anyio_backend: str, tmp_path: Path, permission: Permission) -> AsyncIterator[DistributionDriver]:
    file = tmp_path / LAYOUT / KEY
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    made = DistributionDriver("imported-1", tmp_path, permission)
    await made.start()
    yield made
    await made.close()


async def test_an_object_is_read_from_where_it_lies(driver: DistributionDriver) -> None:
    assert KEY.startswith("blobs/sha256/") and KEY.endswith("/data")
    assert await driver.size(KEY) == len(CONTENT)
    reader = await driver.open(KEY)
    assert (reader.size, await reader.read(2, 3)) == (len(CONTENT), CONTENT[2:5])
    assert reader.fileno is not None
    reader.close()
    assert [found.name async for found in driver.objects()] == [KEY]
    assert [found async for found in driver.uploads()] == []


async def test_nothing_is_written(driver: DistributionDriver) -> None:
    for refused in (
        driver.create_upload("00000000-0000-0000-0000-000000000000"),
        driver.open_upload("00000000-0000-0000-0000-000000000000", "", 0, new_hasher("sha256")),
        driver.remove_upload("00000000-0000-0000-0000-000000000000", ""),
    ):
        with pytest.raises(StorageUnavailable, match="another registry"):
            await refused


async def test_nothing_is_deleted_before_the_takeover_is_finished(
    driver: DistributionDriver, tmp_path: Path, permission: Permission
) -> None:
    with pytest.raises(StorageUnavailable, match="not finished"):
        await driver.delete(KEY)
    assert (tmp_path / LAYOUT / KEY).read_bytes() == CONTENT
    permission.given = True
    await driver.delete(KEY)
    await driver.delete(KEY)
    assert not (tmp_path / LAYOUT / KEY).parent.exists()
    with pytest.raises(ObjectMissing):
        await driver.open(KEY)


async def test_what_lies_beside_the_content_stays(
    driver: DistributionDriver, tmp_path: Path, permission: Permission
) -> None:
    beside = (tmp_path / LAYOUT / KEY).with_name("notes")
    beside.write_text("mine")
    permission.given = True
    await driver.delete(KEY)
    assert beside.exists() and not (tmp_path / LAYOUT / KEY).exists()


@pytest.mark.parametrize(
    "key",
    ["", KEY[:-5], f"{KEY}/..", KEY.replace("blobs/", "blobs/../"), "repositories/a/_layers", f"/{KEY}", f"{KEY}\n"],
)
async def test_only_keys_of_the_layout_are_keys(driver: DistributionDriver, key: str, permission: Permission) -> None:
    permission.given = True
    for refused in (driver.open(key), driver.size(key), driver.delete(key)):
        with pytest.raises(InvalidKey):
            await refused


@pytest.mark.parametrize("level", range(3))
async def test_a_symlink_does_not_lead_out(
    driver: DistributionDriver,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    level: int,
    permission: Permission,
) -> None:
    place = [tmp_path / LAYOUT / KEY, *(tmp_path / LAYOUT / KEY).parents][level]
    outside = tmp_path_factory.mktemp("outside") / "moved"
    place.rename(outside)
    place.symlink_to(outside)
    permission.given = True
    for refused in (driver.open(KEY), driver.size(KEY)):
        with pytest.raises(StorageUnavailable):
            await refused
    if level:
        with pytest.raises(StorageUnavailable):
            await driver.delete(KEY)
        assert [file.read_bytes() for file in outside.rglob("data")] == [CONTENT]


async def test_a_store_that_is_gone_is_no_missing_object(driver: DistributionDriver, tmp_path: Path) -> None:
    (tmp_path / "docker").rename(tmp_path / "unmounted")
    with pytest.raises(StorageUnavailable):
        await driver.open(KEY)
    with pytest.raises(StorageUnavailable):
        await driver.check()


class InBucket(NamedTuple):
    """The same in a bucket."""

    driver: DistributionBucketDriver
    file: Path


@pytest.fixture
async def in_bucket(anyio_backend: str, tmp_path: Path, permission: Permission) -> AsyncIterator[InBucket]:
    server, prefix = s3_server(), f"{uuid.uuid4()}/{LAYOUT}"
    file = server.data / BUCKET / prefix / KEY
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    options = replace(s3_options(tmp_path), prefix=prefix)
    made = DistributionBucketDriver("imported-1", options, permission)
    await made.start()
    yield InBucket(made, file)
    await made.close()


async def test_an_object_is_read_from_where_it_lies_in_a_bucket(in_bucket: InBucket) -> None:
    driver, file = in_bucket
    file.with_name("notes").write_text("mine")
    assert await driver.size(KEY) == len(CONTENT)
    reader = await driver.open(KEY)
    assert (reader.size, await reader.read(2, 3)) == (len(CONTENT), CONTENT[2:5])
    reader.close()
    assert [found.name async for found in driver.objects()] == [KEY]
    assert [found async for found in driver.objects(KEY)] == []
    assert await driver.address(KEY, "127.0.0.1") is None
    missing = key_of(digest_bytes(b"never pushed"))
    for refused in (driver.open(missing), driver.size(missing)):
        with pytest.raises(ObjectMissing):
            await refused
    for invalid in (driver.open("blobs/notes"), driver.size("../x"), driver.delete("")):
        with pytest.raises(InvalidKey):
            await invalid


async def test_nothing_is_deleted_from_a_bucket_before_the_takeover_is_finished(
    in_bucket: InBucket, permission: Permission
) -> None:
    driver, file = in_bucket
    other = file.parents[2] / "00" / ("0" * 64) / "data"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="not finished"):
        await driver.delete(KEY)
    assert file.read_bytes() == CONTENT
    permission.given = True
    await driver.delete(KEY)
    await driver.delete(KEY)
    assert not file.exists() and other.exists()
    with pytest.raises(ObjectMissing):
        await driver.open(KEY)


async def test_a_prefix_that_is_empty_is_no_missing_object(in_bucket: InBucket) -> None:
    driver, file = in_bucket
    file.unlink()
    for refused in (driver.open(KEY), driver.size(KEY)):
        with pytest.raises(StorageUnavailable, match="no blobs below"):
            await refused
