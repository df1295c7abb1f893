"""Scrubbing by itself: its pace, stores that fail now and then, and blobs that change while they are read."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auth.policy import OpenPolicy
from registry.db import blobs
from registry.db.blobs import Blob
from registry.db.connection import Database, Transaction
from registry.drivers import build_imported
from registry.errors import BlobUnknown
from registry.oci.names import RepositoryName
from registry.services.blobs import Blobs, Pushed
from registry.services.scrub import LEAST, Fault, Outcome, Pace, Scrubber
from registry.services.stores import Stores
from registry.settings import Settings
from storage.contents import Contents
from storage.digest import Digest, digest_bytes, new_hasher
from storage.driver import ObjectReader
from storage.errors import StorageUnavailable
from storage.filesystem import FilesystemDriver

pytestmark = pytest.mark.anyio
NAME = RepositoryName("a/b")


class Disk(FilesystemDriver):
    """A folder of which reading can fail, and where something can happen while an object is opened."""

    failures = 0
    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def open(self, key: str) -> Any:
        """Open an object."""
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("no answer")
        reader: ObjectReader = await super().open(key)
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            await happens()
        return reader


class Bench:
    """A registry in this process, whose disk obeys."""

    def __init__(self, database: Database, disk: Disk) -> None:
        self.database = database
        self.disk = disk
        stores = Stores(database, disk, partial(build_imported, Settings()))
        self.blobs = Blobs(database, disk, stores, OpenPolicy(), Contents(10_000_000), hold_s=3600)
        self.scrubber = Scrubber(database, stores, Pace(0), retry_s=0)

    async def push(self, content: bytes) -> Digest:
        """Push a blob."""
        digest, upload = digest_bytes(content), str(uuid.uuid4())
        writer = await self.disk.open_upload(upload, await self.disk.create_upload(upload), 0, new_hasher("sha256"))
        await writer.write(content)
        await self.blobs.store(writer, digest, Pushed(NAME, "tester"))
        return digest

    async def pull(self, digest: Digest) -> bytes:
        """Pull a small blob."""
        reader = await self.blobs.open(NAME, digest)
        try:
            return await reader.read(0, reader.size)
        finally:
            reader.close()

    async def row(self, digest: Digest) -> Blob:
        """Return what the database says."""
        found = await blobs.find(self.database, digest)
        assert found is not None
        return found

    async def damage(self, digest: Digest) -> None:
        """Change the bytes on the disk."""
        file = Path(self.disk._root) / (await self.row(digest)).key
        file.write_bytes(bytes(len(file.read_bytes())))

    async def scrub(self) -> Outcome:
        """Look at everything."""
        return await self.scrubber.run(never, every_s=0)


async def never(transaction: Transaction) -> None:
    """Nobody else does this."""


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> AsyncIterator[Bench]:
    """A registry on each database."""
    disk = Disk(tmp_path / "storage")
    await disk.start()
    yield Bench(database, disk)
    await disk.close()


@pytest.mark.parametrize("rate", [1000, 1_000_000])
async def test_the_pace_is_never_more_than_the_rate(rate: int) -> None:
    now, spent = 100.0, 0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(rate, clock=lambda: now, sleep=sleep)
    for count in (400, 0, 100_000, 7, 64):
        await pace.spend(count)
        assert spent <= (now - 100.0) * rate + 1e-3  # what was read before this was paid for
        spent += count
    now += 1000  # nothing was to be done for long: that is not made up for
    idle = now
    await pace.spend(500)
    await pace.spend(500)
    await pace.spend(1)
    assert now >= idle + 1000 / rate - 1e-6


async def test_without_a_rate_nothing_waits() -> None:
    async def sleep(seconds: float) -> None:
        raise AssertionError("waited")

    pace = Pace(0, sleep=sleep)
    for _ in range(3):
        await pace.spend(10**12)


async def test_a_blob_costs_its_bytes_or_the_least(database: Database, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "storage")
    await disk.start()
    bench, spent = Bench(database, disk), [0]

    class Counted(Pace):
        async def spend(self, count: int) -> None:
            """Count."""
            spent[0] += count

    for size, cost in ((10, LEAST), (LEAST, LEAST), (3_000_000, 3_000_000)):
        await bench.push(bytes([size % 251]) * size)
        before = spent[0]
        await Scrubber(database, Stores(database, disk, partial(build_imported, Settings())), Counted(1)).run(
            never, every_s=0
        )
        assert spent[0] - before - sum(c for s, c in ((10, LEAST), (LEAST, LEAST)) if s < size) == cost
    await disk.close()


async def test_a_store_that_fails_now_and_then_proves_nothing(bench: Bench) -> None:
    digest = await bench.push(b"content")
    bench.disk.failures = 2
    done = await bench.scrub()
    assert (done.found, done.blobs) == (0, 1)
    bench.disk.failures = 3
    done = await bench.scrub()
    assert done.faults[Fault.UNREADABLE] == done.found == 1
    assert (await bench.row(digest)).state == blobs.GOOD
    assert await bench.pull(digest) == b"content"


async def test_a_push_replaces_what_is_quarantined_and_dooms_it(bench: Bench) -> None:
    digest = await bench.push(b"content")
    assert await bench.pull(digest) == b"content"  # in memory
    before = await bench.row(digest)
    await bench.damage(digest)
    assert (await bench.scrub()).faults[Fault.CONTENT] == 1
    with pytest.raises(BlobUnknown):
        await bench.pull(digest)
    with pytest.raises(BlobUnknown):
        await bench.blobs.exists(NAME, digest)
    await bench.push(b"content")
    after = await bench.row(digest)
    assert (after.id, after.state) == (before.id, blobs.GOOD)
    assert after.key != before.key
    assert await bench.pull(digest) == b"content"
    assert (await bench.scrub()).found == 0


@pytest.mark.parametrize("times", [1, 2])
async def test_a_blob_that_is_pushed_anew_while_it_is_read_stays(bench: Bench, times: int) -> None:
    """What was read was wrong; what is there by now is not, and is not touched."""
    digest = await bench.push(b"content")
    await bench.damage(digest)
    file = Path(bench.disk._root) / (await bench.row(digest)).key

    async def replaced() -> None:
        if times == 2:
            bench.disk.meanwhile = replace
        else:
            await replace()

    async def replace() -> None:
        file.unlink()  # so that a push takes its bytes for missing
        await bench.push(b"content")

    bench.disk.meanwhile = replaced
    done = await bench.scrub()
    assert done.found == 0
    assert (await bench.row(digest)).state == blobs.GOOD
    assert await bench.pull(digest) == b"content"


async def test_a_blob_that_is_quarantined_while_it_is_pushed_gets_the_new_bytes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push has seen that the bytes are there, and somebody finds that they are wrong before it says so."""
    digest = await bench.push(b"content")
    await bench.damage(digest)
    looked, is_there = 0, bench.blobs._is_there

    async def slow(blob: Blob) -> bool:
        nonlocal looked
        looked += 1
        found = await is_there(blob)
        if looked == 2:
            return True  # it was good when this was asked
        if looked == 1:
            assert (await bench.scrub()).found == 1
        return found

    monkeypatch.setattr(bench.blobs, "_is_there", slow)
    await bench.push(b"content")
    assert looked == 2
    monkeypatch.undo()
    assert (await bench.row(digest)).state == blobs.GOOD
    assert await bench.pull(digest) == b"content"
