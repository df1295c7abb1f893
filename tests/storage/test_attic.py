"""The contract of the attic: files beside content, by name."""

import os
from pathlib import Path

import pytest

from storage.distribution import DistributionDriver
from storage.errors import InvalidKey, ObjectMissing, StorageFull, StorageUnavailable
from storage.filesystem import FilesystemDriver
from tests.storage.conftest import Store

pytestmark = pytest.mark.anyio

SIZES = [0, 1, 5 * 1024 * 1024 - 1, 5 * 1024 * 1024, 11 * 1024 * 1024]
"""The S3 driver of these tests makes parts of 5 MiB."""
NO_NAMES = ["", ".", "..", "../a", "a/b", ".hidden", "A", "a b", "a\n", "é", "-a", "a" * 201]


def source(folder: Path, data: bytes) -> Path:
    path = folder / "source"
    path.write_bytes(data)
    return path


async def content(store: Store, folder: Path, name: str) -> bytes:
    target = folder / "target"
    await store.replica.attic.get(name, target)
    data = target.read_bytes()
    target.unlink()
    return data


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_what_was_put(store: Store, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    await store.driver.attic.put("copy-1.sqlite3", source(tmp_path, data))
    assert await content(store, tmp_path, "copy-1.sqlite3") == data
    (found,) = await store.replica.attic.files()
    assert (found.name, found.size) == ("copy-1.sqlite3", size)
    await store.driver.attic.remove("copy-1.sqlite3")
    assert await store.replica.attic.files() == []


async def test_a_file_is_replaced_whole(store: Store, tmp_path: Path) -> None:
    await store.driver.attic.put("a", source(tmp_path, b"one" * 1000))
    await store.driver.attic.put("a", source(tmp_path, b"two"))
    assert await content(store, tmp_path, "a") == b"two"
    await store.driver.attic.remove("a")


async def test_files_are_listed_by_name_and_are_no_objects(store: Store, tmp_path: Path) -> None:
    for name in ("b", "a.json", "a"):
        await store.driver.attic.put(name, source(tmp_path, name.encode()))
    assert [found.name for found in await store.driver.attic.files()] == ["a", "a.json", "b"]
    assert await store.keys() == []
    assert await store.upload_ids() == set()
    for name in ("a", "a.json", "b"):
        await store.driver.attic.remove(name)


async def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    assert await store.driver.attic.files() == []
    with pytest.raises(ObjectMissing):
        await store.driver.attic.get("a", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    await store.driver.attic.remove("a")


async def test_nothing_is_overwritten_by_what_is_fetched(store: Store, tmp_path: Path) -> None:
    await store.driver.attic.put("a", source(tmp_path, b"new"))
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(StorageUnavailable):
        await store.driver.attic.get("a", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"old"
    with pytest.raises(StorageUnavailable):
        await store.driver.attic.get("a", tmp_path / "no" / "folder")
    await store.driver.attic.remove("a")


async def test_what_can_not_be_read_changes_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        await store.driver.attic.put("a", tmp_path / "none")
    assert await store.driver.attic.files() == []


@pytest.mark.parametrize("name", NO_NAMES)
async def test_what_is_no_name_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidKey):
        await store.driver.attic.put(name, source(tmp_path, b""))
    with pytest.raises(InvalidKey):
        await store.driver.attic.get(name, tmp_path / "target")
    with pytest.raises(InvalidKey):
        await store.driver.attic.remove(name)


async def test_only_its_owner_may_read_a_file(driver: FilesystemDriver, tmp_path: Path) -> None:
    await driver.attic.put("a", source(tmp_path, b"secret"))
    assert (tmp_path / "root/attic/a").stat().st_mode & 0o777 == 0o600


async def test_from_another_filesystem_it_is_copied(driver: FilesystemDriver, tmp_path: Path) -> None:
    """/dev/shm is a filesystem of its own; what was being copied by somebody who was killed is removed."""
    left = tmp_path / "root/attic/.partial-left"
    left.parent.mkdir()
    left.touch()
    elsewhere = Path("/dev/shm") / f"stowage-attic-{os.getpid()}"
    data = os.urandom(9 * 1024 * 1024)
    elsewhere.write_bytes(data)
    try:
        assert elsewhere.stat().st_dev != left.parent.stat().st_dev
        await driver.attic.put("a", elsewhere)
        assert elsewhere.exists()
    finally:
        elsewhere.unlink()
    assert (tmp_path / "root/attic/a").read_bytes() == data
    assert os.listdir(left.parent) == ["a"]


async def test_the_reserve_is_left_alone(tmp_path: Path) -> None:
    """A copy of a file of another filesystem takes room."""
    full = FilesystemDriver(tmp_path / "root", reserve=2**62)
    await full.start()
    elsewhere = Path("/dev/shm") / f"stowage-attic-full-{os.getpid()}"
    elsewhere.write_bytes(b"content")
    try:
        with pytest.raises(StorageFull):
            await full.attic.put("a", elsewhere)
    finally:
        elsewhere.unlink()
        await full.close()
    assert os.listdir(tmp_path / "root/attic") == []


async def test_nothing_is_kept_in_another_registrys_storage(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    other = DistributionDriver("imported-1", tmp_path, never)
    assert await other.attic.files() == []
    with pytest.raises(StorageUnavailable, match="another registry"):
        await other.attic.put("a", source(tmp_path, b""))
    with pytest.raises(ObjectMissing):
        await other.attic.get("a", tmp_path / "target")
    await other.attic.remove("a")
    await other.close()
