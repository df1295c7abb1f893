"""What the filesystem driver promises beyond the contract: its layout, its locks, its refusals, its buffers."""

import asyncio
import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.digest import digest_bytes, new_hasher, new_key
from storage.errors import StorageUnavailable, UploadBusy, UploadDamaged, UploadMissing
from storage.filesystem import BUFFERS, FilesystemDriver
from tests.storage.backends import Backend
from tests.storage.conftest import Store

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).parents[2]
BLOCK = hashlib.shake_256(b"block").digest(3 * 1024 * 1024)
KEY = "blobs/sha256/ab/ab-1"


@pytest.fixture
def backend() -> Backend:
    """This driver alone."""
    return Backend("filesystem", FilesystemDriver)


async def test_files_lie_where_the_documentation_says(store: Store) -> None:
    key = await store.put(b"content")
    encoded = hashlib.sha256(b"content").hexdigest()
    [path] = (store.place / "blobs" / "sha256" / encoded[:2]).iterdir()
    assert path.name.startswith(f"{encoded}-")
    assert store.place / key == path
    assert path.read_bytes() == b"content"
    assert not stat.S_IMODE(path.stat().st_mode) & 0o007
    upload_id, writer = await store.begin(b"unfinished")
    await writer.flush()
    assert (store.place / "uploads" / upload_id).read_bytes() == b"unfinished"
    await writer.discard()


async def test_a_lock_holds_between_processes(store: Store) -> None:
    upload_id, writer = await store.begin(b"mine")
    await writer.flush()
    await writer.close()
    script = (
        "import asyncio, sys; from pathlib import Path; from storage.digest import new_hasher\n"
        "from storage.filesystem import FilesystemDriver\n"
        "async def main():\n"
        "    writer = await FilesystemDriver(Path(sys.argv[1])).open_upload(sys.argv[2], '', 0, new_hasher('sha256'))\n"
        "    print('locked', flush=True); sys.stdin.read()\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(  # noqa: ASYNC220 - one line is read from it, then the test goes on
        [sys.executable, "-c", script, str(store.place), upload_id],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(UploadBusy):
            await store.driver.open_upload(upload_id, "", 0, new_hasher("sha256"))
        with pytest.raises(UploadBusy):
            await store.driver.remove_upload(upload_id, "")
        process.kill()
        process.wait(60)
    # Its death unlocked the upload; opening it at 0, without writing, had cut nothing.
    again = await store.driver.open_upload(upload_id, "", 4, new_hasher("sha256"))
    await again.discard()


@pytest.mark.parametrize("state", ["", "3f0c7a52-8b1d-4f6e-9a57-0d2b6c1e4f83"])
async def test_what_was_written_before_the_machine_restarted_is_not_vouched_for(store: Store, state: str) -> None:
    upload_id, writer = await store.begin(b"flushed, never synced")
    await writer.flush()
    await writer.close()
    writer = await store.driver.open_upload(upload_id, state, 21, new_hasher("sha256"))
    assert not writer.vouched
    await writer.discard()


async def test_an_upload_gone_between_opening_and_locking_is_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fcntl.flock
    for gone in ("unlink", "rename", "replace", "link"):
        upload_id, writer = await store.begin(b"abc")
        await writer.flush()
        await writer.close()
        path, aside = store.place / "uploads" / upload_id, store.place.parent / f"aside-{gone}"

        def interfere(descriptor: int, how: int, gone: str = gone, path: Path = path, aside: Path = aside) -> None:
            if gone == "link":
                os.link(path, aside)
            elif gone == "unlink":
                path.unlink()
            else:
                path.rename(aside)
                if gone == "replace":
                    path.write_bytes(b"another's")
            original(descriptor, how)

        monkeypatch.setattr(fcntl, "flock", interfere)
        with pytest.raises(UploadMissing):
            await store.driver.open_upload(upload_id, "", 0, new_hasher("sha256"))
        monkeypatch.setattr(fcntl, "flock", original)
        if gone in ("rename", "replace", "link"):
            assert aside.read_bytes() == b"abc"
            aside.unlink()
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_symlink(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(b"secret")
    path.symlink_to(target)


def make_dangling(path: Path) -> None:
    path.symlink_to("/nowhere")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_folder, make_symlink, make_dangling, make_pipe])
async def test_only_regular_files_are_opened(
    driver: FilesystemDriver, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    place = tmp_path / "root" / KEY
    place.parent.mkdir(parents=True)
    make(place)
    async with asyncio.timeout(60):
        with pytest.raises(StorageUnavailable, match="not a regular file"):
            await driver.open(KEY)
        with pytest.raises(StorageUnavailable, match="not a regular file"):
            await driver.size(KEY)
        assert KEY not in [found.name async for found in driver.objects()]
        upload_id = str(uuid.uuid4())
        make(tmp_path / "root" / "uploads" / upload_id)
        with pytest.raises(StorageUnavailable, match="not a regular file"):
            await driver.open_upload(upload_id, "", 0, new_hasher("sha256"))


async def test_a_truncated_object_is_not_given_short(store: Store) -> None:
    key = await store.put(BLOCK)
    reader = await store.driver.open(key)
    os.truncate(store.place / key, 1000)
    with pytest.raises(StorageUnavailable, match="truncated"):
        await reader.read(0, 4096)
    with pytest.raises(StorageUnavailable, match="truncated"):
        await reader.read(len(BLOCK) - 10, 10)
    with pytest.raises(StorageUnavailable, match="truncated"):
        reader.read_now(2000, 10)
    reader.close()
    store.expected[key] = BLOCK[:1000]


async def test_a_truncated_upload_is_not_published(store: Store) -> None:
    upload_id, writer = await store.begin(BLOCK)
    await writer.flush()
    os.truncate(store.place / "uploads" / upload_id, 1000)
    with pytest.raises(UploadDamaged):
        await writer.rehash(new_hasher("sha256"))
    with pytest.raises(StorageUnavailable, match="changed by somebody else"):
        await writer.publish(new_key(digest_bytes(BLOCK)))


async def test_a_listing_leaves_out_what_is_not_the_stores(driver: FilesystemDriver, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in [
        "blobs/sha256/ab/ab-1",
        "blobs/.hidden",
        "blobs/sha256/UPPER",
        "blobs/sha256/ab/.nfs0001",
        "blobs/x y",
    ]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"1")
    (root / "blobs" / "lost+found").mkdir()
    (root / "uploads" / "notes.txt").write_bytes(b"2")
    assert [found.name async for found in driver.objects()] == ["blobs/sha256/ab/ab-1"]
    assert [found.name async for found in driver.uploads()] == []


async def test_a_listing_bears_that_files_vanish_before_it_looks(driver: FilesystemDriver, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "blobs" / "sha256" / "ab"
    folder.mkdir(parents=True)
    for number in range(600):
        (folder / f"ab-{number:03}").touch()
    listing = driver.objects()
    seen = [(await anext(listing)).name]
    for path in folder.iterdir():
        path.unlink()
    seen += [found.name async for found in listing]
    assert 0 < len(seen) < 600
    assert seen == sorted(seen)


async def test_a_store_that_went_away_has_not_lost_its_objects(driver: FilesystemDriver, tmp_path: Path) -> None:
    (tmp_path / "root").rename(tmp_path / "unmounted")
    with pytest.raises(StorageUnavailable):
        await driver.check()
    with pytest.raises(StorageUnavailable):
        await driver.open(KEY)
    with pytest.raises(StorageUnavailable):
        await driver.size(KEY)
    with pytest.raises(StorageUnavailable):
        await driver.delete(KEY)
    with pytest.raises(StorageUnavailable):
        await driver.create_upload(str(uuid.uuid4()))
    with pytest.raises(StorageUnavailable):
        await driver.open_upload(str(uuid.uuid4()), "", 0, new_hasher("sha256"))
    with pytest.raises(StorageUnavailable):
        _ = [found async for found in driver.objects()]
    with pytest.raises(StorageUnavailable):
        _ = [found async for found in driver.uploads()]


async def test_a_folder_removed_by_hand_is_made_again(store: Store) -> None:
    key = await store.put(b"same")
    await store.driver.delete(key)
    del store.expected[key]
    (store.place / key).parent.rmdir()
    await store.put(b"same")


async def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_bytes(b"")
    for root in (taken, taken / "below"):
        driver = FilesystemDriver(root)
        with pytest.raises(StorageUnavailable, match=rf"{root} can't be used: {taken} is not a folder. Move it away"):
            await driver.start()
        await driver.close()


async def test_a_root_that_nobody_may_write_is_refused() -> None:
    driver = FilesystemDriver(Path("/sys/stowage"))
    with pytest.raises(
        StorageUnavailable, match=r"/sys/stowage can't be used: .* (right to read and write|for writing)"
    ):
        await driver.start()
    await driver.close()


async def test_what_a_killed_probe_left_is_removed_an_hour_later(tmp_path: Path) -> None:
    for folder in ("blobs", "uploads"):
        (tmp_path / folder).mkdir()
        for name in (".probe-old", ".probe-new"):
            (tmp_path / folder / name).write_bytes(b"probe")
        os.utime(tmp_path / folder / ".probe-old", (0, 0))
    driver = FilesystemDriver(tmp_path)
    await driver.start()
    await driver.close()
    assert os.listdir(tmp_path / "blobs") == os.listdir(tmp_path / "uploads") == [".probe-new"]


async def test_more_uploads_than_buffers_share_them(store: Store) -> None:
    assert isinstance(store.driver, FilesystemDriver)
    size = 200_000
    writers = [(await store.begin(BLOCK[number : number + size]))[1] for number in range(BUFFERS + 8)]
    assert store.driver.buffers.outstanding == BUFFERS
    for number, writer in enumerate(writers):
        await writer.write(BLOCK[number + size : number + 2 * size])
    for number, writer in enumerate(writers):
        await store.publish(writer, BLOCK[number : number + 2 * size])


async def test_a_small_upload_takes_no_buffer_and_a_large_one_two_at_most(store: Store) -> None:
    assert isinstance(store.driver, FilesystemDriver)
    _, small = await store.begin(BLOCK[:100_000])
    assert store.driver.buffers.outstanding == 0
    await small.discard()
    _, large = await store.begin()
    for start in range(0, len(BLOCK), 50_000):
        await large.write(BLOCK[start : start + 50_000])
        assert store.driver.buffers.outstanding <= 2
    await large.flush()
    assert store.driver.buffers.outstanding == 0
    await store.publish(large, BLOCK)


class WatchedHasher:
    """A hasher that says which threads used it, and that can be made to wait."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.seen = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self.threads.add(threading.get_ident())
        assert self.go_on.wait(60)
        self.seen += len(data)

    def hexdigest(self) -> str:
        return ""

    def copy(self) -> "WatchedHasher":
        return WatchedHasher()


async def test_a_buffer_fills_while_another_is_written(store: Store) -> None:
    upload_id = str(uuid.uuid4())
    hasher = WatchedHasher()
    hasher.go_on.clear()
    writer = await store.driver.open_upload(upload_id, await store.driver.create_upload(upload_id), 0, hasher)
    await writer.write(BLOCK[: 1024 * 1024])
    await writer.write(BLOCK[1024 * 1024 : 2_000_000])
    assert (hasher.seen, writer.offset) == (0, 2_000_000)
    hasher.go_on.set()
    await writer.flush()
    assert hasher.seen == 2_000_000
    assert threading.get_ident() not in hasher.threads
    await writer.discard()


async def test_a_small_upload_is_hashed_without_a_thread(store: Store) -> None:
    upload_id = str(uuid.uuid4())
    hasher = WatchedHasher()
    writer = await store.driver.open_upload(upload_id, await store.driver.create_upload(upload_id), 0, hasher)
    for _ in range(3):
        await writer.write(BLOCK[:40_000])
    await writer.flush()
    assert hasher.threads == {threading.get_ident()}
    await writer.discard()
