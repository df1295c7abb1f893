"""What the filesystem driver syncs, in which order, and what it does when the disk refuses."""

import errno
import hashlib
import os
import resource
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.digest import digest_bytes, new_hasher, new_key
from storage.errors import ObjectMissing, StorageFull, StorageUnavailable, UploadDamaged
from storage.filesystem import FilesystemDriver
from tests.storage.backends import Backend
from tests.storage.conftest import Store
from tests.storage.trace import Trace

pytestmark = pytest.mark.anyio

BLOCK = hashlib.shake_256(b"block").digest(3 * 1024 * 1024)


@pytest.fixture
def backend() -> Backend:
    """This driver alone."""
    return Backend("filesystem", FilesystemDriver)


@pytest.mark.parametrize("size", [10, len(BLOCK)])
async def test_a_publication_is_synced_in_order(store: Store, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    trace = Trace(monkeypatch)
    upload_id, writer = await store.begin(BLOCK[:size])
    key = await store.publish(writer, BLOCK[:size])
    folder = (store.place / key).parent
    upload = ("fsync", str(store.place / "uploads" / upload_id))
    written = [place for place, (name, _) in enumerate(trace.calls) if name == "pwrite"]
    order = [
        written[-1],
        trace.calls.index(upload),
        trace.calls.index(("rename", str(store.place / key))),
        len(trace.calls) - 1 - trace.calls[::-1].index(("fsync", str(folder))),
    ]
    assert order == sorted(order)
    assert trace.calls.count(upload) == 1
    for made in trace.only("mkdir"):
        parent = ("fsync", str(Path(made).parent))
        assert parent in trace.calls[trace.calls.index(("mkdir", made)) :]
    assert {str(folder), str(folder.parent)} == set(trace.only("mkdir"))


async def test_a_folder_that_another_process_made_is_synced_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await store.put(b"first")
    _, writer = await store.begin(b"first")
    folder = (store.place / key).parent
    trace = Trace(monkeypatch)
    replica = FilesystemDriver(store.place)  # Not started: it has seen nothing of the folder yet.
    state = await replica.create_upload(other := str(uuid.uuid4()))
    second = await replica.open_upload(other, state, 0, new_hasher("sha256"))
    await second.write(b"first")
    await store.publish(second, b"first")
    assert {str(folder), str(folder.parent), str(folder.parent.parent)} <= set(trace.only("fsync"))
    trace.calls.clear()
    await store.publish(writer, b"first")
    assert str(folder.parent) not in trace.only("fsync")
    await replica.close()


async def test_a_root_and_its_parents_are_synced_when_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)
    root = tmp_path / "new" / "root"
    driver = FilesystemDriver(root)
    await driver.start()
    await driver.close()
    assert {str(root), str(root.parent), str(tmp_path)} <= set(trace.only("fsync"))
    assert (root / "blobs").is_dir()
    assert list((root / "uploads").iterdir()) == []


@pytest.mark.parametrize("size", [10, len(BLOCK)])
async def test_a_failed_sync_of_the_file_discards_it(store: Store, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    upload_id, writer = await store.begin(BLOCK[:size])
    trace = Trace(monkeypatch)
    trace.failing = lambda name, path: name == "fsync" and path.endswith(upload_id)
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        await writer.publish(new_key(digest_bytes(BLOCK[:size])))
    assert [path for path in trace.only("fsync") if path.endswith(upload_id)] == [
        str(store.place / "uploads" / upload_id)
    ]
    assert trace.only("rename") == []
    await writer.discard()
    assert [path for path in trace.only("fsync") if path.endswith(upload_id)] == [
        str(store.place / "uploads" / upload_id)
    ]


async def test_a_failed_sync_of_the_folder_takes_the_object_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await store.put(b"here")
    folder = str((store.place / key).parent)
    _, writer = await store.begin(b"here")
    trace = Trace(monkeypatch)
    trace.failing = lambda name, path: name == "fsync" and path == folder
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        await writer.publish(other := new_key(digest_bytes(b"here")))
    assert trace.only("fsync").count(folder) == 1
    with pytest.raises(ObjectMissing):
        await store.driver.open(other)


async def test_a_failed_sync_of_a_new_folder_is_not_taken_for_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, writer = await store.begin(b"one")
    trace = Trace(monkeypatch)
    parent = str(store.place / "blobs" / "sha256")
    trace.failing = lambda name, path: name == "fsync" and path == parent
    with pytest.raises(StorageUnavailable):
        await writer.publish(new_key(digest_bytes(b"one")))
    trace.failing = lambda name, path: False
    trace.calls.clear()
    await store.put(b"one")
    assert parent in trace.only("fsync")


async def test_a_delete_is_synced_even_if_the_name_is_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await store.put(b"x")
    folder = str((store.place / key).parent)
    trace = Trace(monkeypatch)
    trace.failing = lambda name, path: name == "fsync"
    with pytest.raises(StorageUnavailable):
        await store.driver.delete(key)
    trace.failing = lambda name, path: False
    await store.driver.delete(key)
    assert trace.only("fsync") == [folder, folder]
    del store.expected[key]


async def test_a_failed_write_ends_what_the_writer_takes(
    driver: FilesystemDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = Trace(monkeypatch)
    for size in (1000, len(BLOCK)):
        upload_id = str(uuid.uuid4())
        writer = await driver.open_upload(upload_id, await driver.create_upload(upload_id), 0, new_hasher("sha256"))
        await writer.write(b"good")
        await writer.flush()
        trace.failing = lambda name, path: name == "pwrite"
        with pytest.raises(StorageUnavailable, match="cannot write upload"):
            await writer.write(BLOCK[:size])
            await writer.flush()
        trace.failing = lambda name, path: False
        for call in (
            writer.flush,
            lambda writer=writer: writer.write(b"more"),
            lambda writer=writer: writer.rehash(new_hasher("sha256")),
        ):
            with pytest.raises(StorageUnavailable, match="cannot write upload"):
                await call()
        with pytest.raises(UploadDamaged):
            await writer.rewind(5)
        await writer.rewind(4)
        with pytest.raises(StorageUnavailable):
            await writer.write(b"more")
        await writer.close()
        again = await driver.open_upload(upload_id, writer.state, 4, new_hasher("sha256"))
        await again.write(b", better")
        key = new_key(digest_bytes(b"good, better"))
        await again.publish(key)
        assert await driver.size(key) == len(b"good, better")


async def test_a_failed_write_fails_the_publication(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)
    trace.failing = lambda name, path: name == "pwrite"
    for size in (1000, 1_500_000):
        _, writer = await store.begin(BLOCK[:size])
        with pytest.raises(StorageUnavailable, match="Input/output error"):
            await writer.publish(new_key(digest_bytes(BLOCK)))
        assert trace.only("rename") == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file larger than `size` bytes: the kernel then refuses as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100_000, len(BLOCK)])
async def test_no_room_is_told_from_no_answer(store: Store, size: int) -> None:
    kept = await store.put(b"kept")
    _, writer = await store.begin(b"acknowledged")
    await writer.flush()
    with largest_file(50_000), pytest.raises(StorageFull, match="cannot write upload"):
        await writer.write(BLOCK[:size])
        await writer.flush()
    assert await store.content(kept) == b"kept"
    await writer.rewind(12)
    await writer.close()
    upload_id = next(iter(await store.upload_ids()))
    writer = await store.driver.open_upload(upload_id, "", 12, new_hasher("sha256"))
    await store.publish(writer, b"acknowledged")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_stops_neither_start_nor_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    root = tmp_path / "root"
    first = FilesystemDriver(root)
    await first.start()
    original = os.open

    def full(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code))
        return original(path, flags, mode)

    monkeypatch.setattr(os, "open", full)
    await first.check()
    second = FilesystemDriver(root)
    await second.start()
    with pytest.raises(StorageFull):
        await second.create_upload(str(uuid.uuid4()))
    await first.close()
    await second.close()


async def test_messages_name_no_path(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)
    trace.failing = lambda name, path: name in ("fsync", "pwrite")
    _, writer = await store.begin(b"abc")
    key = new_key(digest_bytes(b"abc"))
    with pytest.raises(StorageUnavailable) as refused:
        await writer.publish(key)
    assert str(store.place) not in str(refused.value)
    assert "Input/output error" in str(refused.value)
