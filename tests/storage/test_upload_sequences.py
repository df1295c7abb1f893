"""Random lives of an upload, against a model: whatever happens, the bytes and the hash are the expected ones."""

import hashlib
import uuid
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.digest import Hasher
from storage.driver import UploadWriter
from tests.storage.conftest import Store

pytestmark = pytest.mark.anyio

KIB = 1024
MIB = 1024 * KIB
SOURCE = hashlib.shake_256(b"source").digest(12 * MIB)
EDGES = [0, 1, 4096, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 200 * KIB, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 9]


@dataclass(frozen=True)
class Step:
    """One thing that a caller does; `amount` is a number of bytes, or a place in thousandths of what there is."""

    action: str
    amount: int = 0


STEPS = st.one_of(
    st.builds(Step, st.just("write"), st.sampled_from(EDGES) | st.integers(0, 3 * 1000 * KIB)),
    st.builds(Step, st.just("flush")),
    st.builds(Step, st.sampled_from(["rewind", "reopen", "move"]), st.integers(0, 1000)),
    st.builds(Step, st.just("rehash")),
)


@dataclass
class Life:
    """An upload and what should be in it."""

    store: Store
    upload_id: str
    writer: UploadWriter
    hasher: Hasher
    hash_follows: bool
    content: bytes
    flushed: int
    state: str

    async def take(self, step: Step) -> None:
        """Do `step` to the upload and to the model."""
        match step.action:
            case "write":
                data = SOURCE[len(self.content) % MIB :][: min(step.amount, 9 * MIB - len(self.content))]
                await self.writer.write(data)
                self.content += data
            case "flush":
                await self.flush()
            case "rewind":
                offset = len(self.content) * step.amount // 1000
                self.hash_follows = self.hash_follows and offset == len(self.content)
                await self.writer.rewind(offset)
                self.content = self.content[:offset]
                # Unflushed bytes stay unflushed, and the store's are cut.
                self.flushed, self.state = min(self.flushed, offset), self.writer.state
            case "rehash":
                fresh = hashlib.sha256()
                await self.writer.rehash(fresh)
                assert fresh.hexdigest() == hashlib.sha256(self.content).hexdigest()
                await self.flush()
            case _:
                await self.reopen(step)
        assert self.writer.offset == len(self.content)

    async def flush(self) -> None:
        await self.writer.flush()
        self.flushed, self.state = len(self.content), self.writer.state
        if self.hash_follows:
            assert self.hasher.hexdigest() == hashlib.sha256(self.content).hexdigest()

    async def reopen(self, step: Step) -> None:
        await self.writer.close()
        offset = self.flushed * step.amount // 1000
        self.content, self.flushed = self.content[:offset], offset
        self.hasher, self.hash_follows = hashlib.sha256(self.content), True
        driver = self.store.replica if step.action == "move" else self.store.driver
        self.writer = await driver.open_upload(self.upload_id, self.state, offset, self.hasher)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12), ending=st.sampled_from(["publish", "publish", "discard", "remove"]))
async def test_any_life_of_an_upload(store: Store, steps: list[Step], ending: str) -> None:
    upload_id = str(uuid.uuid4())
    state = await store.driver.create_upload(upload_id)
    hasher = hashlib.sha256()
    writer = await store.driver.open_upload(upload_id, state, 0, hasher)
    life = Life(store, upload_id, writer, hasher, True, b"", 0, state)
    try:
        for step in steps:
            await life.take(step)
        if ending == "publish":
            key = await store.publish(life.writer, life.content)
            if life.hash_follows:
                assert life.hasher.hexdigest() == hashlib.sha256(life.content).hexdigest()
            assert await store.content(key) == life.content
            await store.driver.delete(key)
            del store.expected[key]
        elif ending == "remove":
            await life.writer.close()
            await store.driver.remove_upload(upload_id, life.state)
    finally:
        await life.writer.discard()
