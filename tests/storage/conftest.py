"""The store that contract tests work on, and the check that they left nothing behind."""

import gc
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from storage.digest import Digest, Hasher, digest_bytes, new_hasher, new_key
from storage.driver import READ_CHUNK, ObjectReader, UploadWriter
from storage.filesystem import FilesystemDriver
from tests.storage.backends import BACKENDS, LOCKING, LOCKLESS, Backend, held


class Store:
    """A driver under test, a second one on the same store, and the objects that are expected to be there."""

    def __init__(self, backend: Backend, place: Path) -> None:
        self.backend = backend
        self.place = place
        self.driver = backend.make(place)
        self.replica = backend.make(place)
        self.expected: dict[str, bytes] = {}

    async def begin(self, data: bytes = b"") -> tuple[str, UploadWriter]:
        """Create an upload, open it and write `data`, unflushed. Returns its id and writer."""
        upload_id = str(uuid.uuid4())
        state = await self.driver.create_upload(upload_id)
        writer = await self.driver.open_upload(upload_id, state, 0, new_hasher("sha256"))
        if data:
            await writer.write(data)
        return upload_id, writer

    async def put(self, data: bytes, key: str | None = None) -> str:
        """Store an object and expect it at the end. Returns its key."""
        _, writer = await self.begin(data)
        return await self.publish(writer, data, key)

    async def publish(self, writer: UploadWriter, data: bytes, key: str | None = None) -> str:
        """Publish an upload that holds `data` and expect the object at the end. Returns its key."""
        used = await writer.publish(key or new_key(digest_bytes(data)))
        self.expected[used] = data
        return used

    async def content(self, key: str) -> bytes:
        """Read an object whole."""
        reader = await self.driver.open(key)
        try:
            return await read_all(reader)
        finally:
            reader.close()

    async def upload_ids(self) -> set[str]:
        """List the uploads that exist."""
        return {found.name async for found in self.driver.uploads()}

    async def keys(self, after: str = "") -> list[str]:
        """List the objects that exist."""
        return [found.name async for found in self.driver.objects(after)]

    async def left_behind(self) -> list[str]:
        """Say what is there that should not be, and what is not there that should."""
        # A driver that removes things in the background has removed them when it is asked for a listing.
        await self.upload_ids()
        problems = [f"upload {found.name}" async for found in self.replica.uploads()]
        problems += [f"upload {name}" for name in await self.upload_ids()]
        found = {item.name: item.size async for item in self.driver.objects()}
        if found != {key: len(data) for key, data in self.expected.items()}:
            problems.append(f"objects {found}, expected were {sorted(self.expected)}")
        for key in found.keys() & self.expected.keys():
            if await self.content(key) != self.expected[key]:
                problems.append(f"other bytes in {key}")
        for path in self.place.rglob("*"):
            if not path.is_dir() and str(path.relative_to(self.place)) not in self.expected:
                problems.append(f"file {path}")
        return problems + held(self.driver) + held(self.replica)


class HasherFactory(Protocol):
    """What makes a hasher with a history."""

    def __call__(self, seen: bytes = b"") -> Hasher:
        """Return a sha256 that has seen `seen`."""


async def read_all(reader: ObjectReader) -> bytes:
    """Read an open object whole, through `read`."""
    parts = [
        await reader.read(offset, min(READ_CHUNK, reader.size - offset)) for offset in range(0, reader.size, READ_CHUNK)
    ]
    return b"".join(parts)


def descriptors() -> dict[str, str]:
    """Return this process's open descriptors with what they refer to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # It was the one that listed.
    return found


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each driver in turn."""
    chosen: Backend = request.param
    return chosen


@pytest.fixture
async def store(anyio_backend: str, backend: Backend, tmp_path: Path) -> AsyncIterator[Store]:
    """A started store. Fails the test that leaves uploads, unexpected objects, files, buffers or descriptors."""
    async with checked(backend, tmp_path / "store") as made:
        yield made


@pytest.fixture(params=LOCKING, ids=lambda backend: backend.name)
async def locking_store(anyio_backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Like `store`, of each driver that locks."""
    async with checked(request.param, tmp_path / "store") as made:
        yield made


@pytest.fixture(params=LOCKLESS, ids=lambda backend: backend.name)
async def lockless_store(anyio_backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Like `store`, of each driver that doesn't lock."""
    async with checked(request.param, tmp_path / "store") as made:
        yield made


@asynccontextmanager
async def checked(backend: Backend, place: Path) -> AsyncIterator[Store]:
    """Start a store, and assert afterwards that nothing is left."""
    before = descriptors()
    made = Store(backend, place)
    await made.driver.start()
    await made.replica.start()
    yield made
    problems = await made.left_behind()
    await made.driver.close()
    await made.replica.close()
    gc.collect()  # urllib3 closes a pool's connections when nothing refers to it, not even an error that was raised
    problems += [f"descriptor {name} of {target}" for name, target in descriptors().items() if name not in before]
    assert problems == []


@pytest.fixture
async def driver(anyio_backend: str, tmp_path: Path) -> AsyncIterator[FilesystemDriver]:
    """A started filesystem driver, for tests that leave things lying about in `tmp_path / "root"`."""
    before = descriptors()
    made = FilesystemDriver(tmp_path / "root")
    await made.start()
    yield made
    assert made.buffers.outstanding == 0
    await made.close()
    assert [target for name, target in descriptors().items() if name not in before] == []


@pytest.fixture
def sha256() -> HasherFactory:
    """Makes hashers."""

    def make(seen: bytes = b"") -> Hasher:
        return hashlib.sha256(seen)

    return make


@pytest.fixture
def unused_key() -> str:
    """A key under which nothing is stored."""
    return new_key(Digest("sha256:" + "0" * 64))
