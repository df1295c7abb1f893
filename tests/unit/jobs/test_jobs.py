"""Background jobs, on a real database and a real folder: leases, expiry, sweeping."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from auth.policy import OpenPolicy
from registry.db import events, jobs, outbox, uploads
from registry.db.connection import Database
from registry.db.statements import Statement
from registry.db.tables import upload_sessions
from registry.drivers import build_imported
from registry.errors import UploadUnknown
from registry.jobs.old_events import old_events
from registry.jobs.orphans import orphans
from registry.jobs.runner import Job, JobRunner, Lease, LeaseLost
from registry.jobs.stale_uploads import stale_uploads
from registry.oci.names import RepositoryName
from registry.services.blobs import Blobs
from registry.services.chunk import Chunk
from registry.services.stores import Stores
from registry.services.uploads import Uploads
from registry.settings import Settings
from storage.contents import Contents
from storage.digest import digest_bytes, new_hasher, new_key
from storage.filesystem import FilesystemDriver

pytestmark = pytest.mark.anyio
NAME = RepositoryName("a/b")
_AN_HOUR_PASSES = Statement(update(upload_sessions).values(updated_at=upload_sessions.c.updated_at - 3_600_000_000))


class Registry:
    """The parts that jobs work on."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.root = folder / "storage"
        self.database = database
        self.driver = FilesystemDriver(self.root)
        stores = Stores(self.database, self.driver, partial(build_imported, Settings()))
        blobs = Blobs(self.database, self.driver, stores, OpenPolicy(), Contents(0), hold_s=3600)
        self.uploads = Uploads(self.database, self.driver, blobs, max_sessions=1000, expire_s=3600)

    async def run(self, job: Job) -> None:
        await JobRunner(self.database, [job], owner="test").run_due()

    async def publish(self, content: bytes) -> Path:
        """Store an object that no row names."""
        upload_id, digest = str(uuid.uuid4()), digest_bytes(content)
        state = await self.driver.create_upload(upload_id)
        writer = await self.driver.open_upload(upload_id, state, 0, new_hasher("sha256"))
        await writer.write(content)
        key = new_key(digest)
        await writer.publish(key)
        return self.root / key


@pytest.fixture
async def registry(tmp_path: Path, database: Database) -> AsyncIterator[Registry]:
    made = Registry(tmp_path, database)
    await made.driver.start()
    yield made
    await made.driver.close()


async def one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_a_job_runs_once_until_it_is_due_again(registry: Registry) -> None:
    runs = []

    async def work(lease: Lease) -> str:
        runs.append(lease.generation)
        return ""

    job = Job("test", 3600, work)
    await registry.run(job)
    await registry.run(job)
    assert runs == [1]


async def test_of_many_processes_one_does_a_job(registry: Registry) -> None:
    running, together = 0, 0

    async def work(lease: Lease) -> str:
        nonlocal running, together
        running += 1
        together = max(together, running)
        await asyncio.sleep(0.05)
        running -= 1
        return ""

    job = Job("test", 3600, work)
    await asyncio.gather(*(registry.run(job) for _ in range(5)))
    assert together == 1


async def test_a_lease_that_was_taken_over_can_not_be_renewed(registry: Registry) -> None:
    first = await registry.database.write(lambda tx: jobs.take(tx, "test", owner="a", lease_s=0, pause_s=60))
    second = await registry.database.write(lambda tx: jobs.take(tx, "test", owner="b", lease_s=60, pause_s=60))
    assert (first, second) == (1, 2)
    with pytest.raises(LeaseLost):
        await Lease(registry.database, "test", 1).renew()
    await Lease(registry.database, "test", 2).renew()


async def test_a_job_that_fails_does_not_keep_the_next_from_running(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    async def fails(lease: Lease) -> str:
        raise KeyError("broken")

    async def works(lease: Lease) -> str:
        ran.append(1)
        return ""

    await JobRunner(registry.database, [Job("x", 1, fails), Job("y", 1, works)], owner="test").run_due()
    assert ran == [1]
    assert "job x failed" in caplog.text


async def test_a_paused_job_ends_where_it_renews_and_is_due_when_the_pause_is_over(registry: Registry) -> None:
    ran, paused = [], False

    async def work(lease: Lease) -> str:
        nonlocal paused
        ran.append("begun")
        paused = len(ran) == 1
        await lease.renew()
        ran.append("ended")
        return ""

    runner = JobRunner(registry.database, [Job("test", 3600, work)], owner="test", paused=lambda: paused)
    await runner.run_due()
    await runner.run_due()
    assert ran == ["begun"]
    paused = False
    await runner.run_due()
    assert ran == ["begun", "begun", "ended"]


async def test_sessions_nobody_continues_end_and_others_stay(registry: Registry) -> None:
    old = await registry.uploads.start(NAME)
    await registry.uploads.append(NAME, old.id, Chunk(one(b"abc")))
    await registry.database.write(lambda tx: tx.run(_AN_HOUR_PASSES))
    fresh = await registry.uploads.start(NAME)
    await registry.run(stale_uploads(registry.database, registry.driver, registry.uploads, expire_s=1800))
    with pytest.raises(UploadUnknown):
        await registry.uploads.find(NAME, old.id)
    assert await uploads.find(registry.database, fresh.id) is not None
    assert [file.name for file in (registry.root / "uploads").iterdir()] == [fresh.id]


async def test_a_session_somebody_writes_to_is_left_alone(registry: Registry) -> None:
    session = await registry.uploads.start(NAME)
    await registry.database.write(lambda tx: tx.run(_AN_HOUR_PASSES))
    writer = await registry.driver.open_upload(session.id, session.state, 0, new_hasher("sha256"))
    await registry.run(stale_uploads(registry.database, registry.driver, registry.uploads, expire_s=1800))
    await writer.close()
    assert await uploads.find(registry.database, session.id) is not None


async def test_upload_bytes_without_a_session_are_removed_once_old(registry: Registry) -> None:
    old, young = str(uuid.uuid4()), str(uuid.uuid4())
    await registry.driver.create_upload(old)
    await registry.driver.create_upload(young)
    age(registry.root / "uploads" / old, 7200)
    await registry.run(stale_uploads(registry.database, registry.driver, registry.uploads, expire_s=3600))
    assert [file.name for file in (registry.root / "uploads").iterdir()] == [young]


async def test_objects_without_a_row_are_removed_once_old(registry: Registry) -> None:
    old, young = await registry.publish(b"old"), await registry.publish(b"young")
    age(old, 90_000)
    content = b"pushed"
    await registry.uploads.push_whole(NAME, digest_bytes(content), Chunk(one(content)), actor="test")
    for file in (registry.root / "blobs").rglob("*"):
        if file.is_file() and file != young:
            age(file, 90_000)
    await registry.run(orphans(registry.database, registry.driver))
    assert not old.exists()
    left = sorted(file.read_bytes() for file in (registry.root / "blobs").rglob("*") if file.is_file())
    assert left == [b"pushed", b"young"]


async def test_old_events_are_dropped(registry: Registry) -> None:
    await registry.database.write(lambda tx: outbox.record(tx, NAME, "push", "{}"))
    assert await registry.database.write(lambda tx: events.place(tx, limit=10)) == 1
    await registry.run(old_events(registry.database, keep_s=3600))
    assert await registry.database.write(lambda tx: events.forget(tx, age_s=-1, limit=10)) == 1
