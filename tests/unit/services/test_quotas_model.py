"""What is said to be used, after changes at random, beside what the rows come to when they are counted by hand."""

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.db import projects
from registry.db.quota_items import Counts
from registry.db.sqlite import SqliteDatabase
from registry.errors import QuotaExceeded, RegistryError
from registry.oci.names import RepositoryName
from storage.digest import digest_bytes
from tests.unit.services.quoted import PROJECT, Quoted, Used, of_file
from tests.unit.services.test_collection_model import BLOBS, MANIFESTS, STEPS, TAGS, empty_database

LONG = os.environ.get("STOWAGE_LONG") == "1"
STRANGER = "other/c"
CONTENT = (
    "repositories",
    "blobs",
    "links",
    "manifests",
    "tags",
    "candidates",
    "upload_sessions",
    "outbox",
    "quota_items",
)
_MORE = st.one_of(
    STEPS,
    STEPS,
    STEPS,
    STEPS,
    st.tuples(st.just("mount from"), st.sampled_from(BLOBS)),
    st.tuples(st.just("mount to"), st.sampled_from(BLOBS)),
    st.tuples(st.just("counts"), st.sampled_from(list(Counts))),
    st.tuples(st.just("clear")),
    st.tuples(st.just("pull apart")),
)


async def step(registry: Quoted, what: tuple[Any, ...]) -> None:
    """Do one thing. What is not there is refused, which is as good as anything."""
    match what:
        case ("upload", name, content):
            await registry.push_blob(name, content)
        case ("mount", name, content):
            [source] = {"m/a", "m/b"} - {name}
            await registry.mount(name, digest_bytes(content), source)
        case ("mount from", content):
            await registry.mount("m/a", digest_bytes(content), STRANGER)
        case ("mount to", content):
            await registry.mount(STRANGER, digest_bytes(content), "m/b")
        case ("push", name, content, tag):
            await registry.push(name, content, *([tag] if tag else []))
        case ("untag", name, tag):
            await registry.untag(name, tag)
        case ("delete", name, content):
            await registry.delete(name, digest_bytes(content))
        case ("delete blob", name, content):
            await registry.deletion.delete_blob(RepositoryName(name), digest_bytes(content), actor="test")
        case ("collect", rules):
            await registry.collect(untagged=rules.untagged, referrers=rules.referrers)
        case _:
            await _step_of_operator(registry, what[0])


async def _step_of_operator(registry: Quoted, what: str) -> None:
    match what:
        case "clear":
            await registry.quotas.clear(PROJECT)
            await registry.quotas.forget(PROJECT)
        case "pull apart":  # as if a blob had been taken over with a wrong size, and its bytes were lost
            registry.place.sql("UPDATE blobs SET state = 1, size = size + 1 WHERE id IN (SELECT min(id) FROM blobs)")
            if (await projects.known(registry.database, PROJECT)).quota_bytes is not None:
                await registry.quotas.count(PROJECT)


async def run(steps: list[tuple[Any, ...]], counts: Counts) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "db").write_bytes(empty_database())
        registry = Quoted(of_file(Path(folder) / "db"), SqliteDatabase(Path(folder) / "db"))
        await registry.database.start()
        try:
            for content in BLOBS:
                await registry.push_blob("m/a", content)
                await registry.push_blob(STRANGER, content)
            await registry.limit(counts=counts)
            for what in steps:
                if what[0] == "counts":
                    counts = what[1]
                    await registry.limit(counts=counts)
                with suppress(RegistryError):
                    await step(registry, what)
                limited = (await projects.known(registry.database, PROJECT)).quota_bytes is not None
                used = await registry.used()
                assert used == (registry.should_use(counts) if limited else Used(0, 0)), what
                if not limited:
                    assert registry.place.sql("SELECT * FROM quota_items") == []
            await registry.limit(counts=counts)
            before = registry.place.sql("SELECT * FROM quota_items ORDER BY 1, 2, 3, 4")
            assert (await registry.quotas.count(PROJECT)).right
            assert registry.place.sql("SELECT * FROM quota_items ORDER BY 1, 2, 3, 4") == before
            for name in ("m/a", "m/b"):
                for tag in TAGS:
                    with suppress(RegistryError):
                        await registry.untag(name, tag)
                for content in reversed(MANIFESTS):
                    with suppress(RegistryError):
                        await registry.delete(name, digest_bytes(content))
            for _ in range(3):  # what something refers to goes after that
                await registry.collect(untagged="collect")
            assert registry.place.sql("SELECT name FROM repositories WHERE name LIKE 'm/%'") == []
            left = registry.place.sql("SELECT * FROM quota_items")
            assert (await registry.used(), left) == (Used(0, 0), [])
        finally:
            await registry.database.stop()


@settings(max_examples=1000 if LONG else 12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(_MORE, min_size=10, max_size=40), counts=st.sampled_from(list(Counts)))
def test_what_is_used_is_always_what_a_count_by_hand_gives(steps: list[tuple[Any, ...]], counts: Counts) -> None:
    asyncio.run(run(steps, counts))


async def run_bounded(steps: list[tuple[Any, ...]], most: int, tags: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "db").write_bytes(empty_database())
        registry = Quoted(of_file(Path(folder) / "db"), SqliteDatabase(Path(folder) / "db"))
        await registry.database.start()
        try:
            await registry.limit(most, tags)
            for what in steps:
                before = registry.rows_of(*CONTENT)
                objects = await registry.objects()
                try:
                    await step(registry, what)
                except QuotaExceeded as refusal:
                    assert registry.rows_of(*CONTENT) == before
                    assert await registry.objects() == objects
                    assert refusal.detail["used"] + refusal.detail["needed"] > refusal.detail["limit"]
                except RegistryError:
                    pass
                used = await registry.used()
                assert used == registry.should_use()
                assert used.bytes <= most and used.tags <= tags
        finally:
            await registry.database.stop()


_pushing = st.lists(STEPS, min_size=10, max_size=40).map(lambda steps: [one for one in steps if one[0] != "collect"])


@settings(max_examples=500 if LONG else 10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=_pushing,
    most=st.sampled_from([0, 3, 12, 700, 1500, 4000]),
    tags=st.integers(0, 3),
)
def test_nothing_is_pushed_beyond_a_quota_and_what_is_refused_leaves_nothing(
    steps: list[tuple[Any, ...]], most: int, tags: int
) -> None:
    asyncio.run(run_bounded(steps, most, tags))


@pytest.mark.parametrize("counts", list(Counts))
def test_an_image_is_pushed_moved_deleted_and_collected(counts: Counts) -> None:
    """The usual life of an image, whatever chance brings above."""
    steps: list[tuple[Any, ...]] = [
        ("push", "m/a", MANIFESTS[0], None),
        ("push", "m/a", MANIFESTS[0], "x"),
        ("push", "m/a", MANIFESTS[1], "x"),
        ("push", "m/a", MANIFESTS[3], "y"),
        ("push", "m/a", MANIFESTS[6], None),
        ("delete", "m/a", MANIFESTS[3]),
        ("upload", "m/a", BLOBS[0]),
        ("delete", "m/a", MANIFESTS[0]),
        ("untag", "m/a", "x"),
        ("push", "m/a", MANIFESTS[0], "x"),
    ]
    asyncio.run(run(steps, counts))
