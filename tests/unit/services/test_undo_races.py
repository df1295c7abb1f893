"""What undoes, ends and collects, beside pushes of the same content, on three connections to one database."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from registry.db import jobs
from registry.errors import (
    BlobUnknown,
    ContentInUse,
    ManifestReferenceUnknown,
    ManifestUnknown,
    NameUnknown,
    RecordUnknown,
    RollbackRefused,
)
from registry.oci.names import RepositoryName
from registry.services.projects import Projects
from registry.services.quotas import Limits, Quotas
from registry.services.retention import Rules
from storage.digest import digest_bytes
from tests.factories import OCI_MANIFEST, descriptor, image_manifest, index_manifest
from tests.support.databases import Place
from tests.unit.services.undoing import WHO, Registry

pytestmark = pytest.mark.anyio

REPOSITORIES = ("team/app", "team/other")
TAGS = ("latest", "v1")
BLOBS = tuple(b"blob %d" % number for number in range(3))
IMAGES = tuple(image_manifest(BLOBS[one], [BLOBS[(one + 1) % 3]]) for one in range(3))
INDEX = index_manifest([descriptor(one, OCI_MANIFEST) for one in IMAGES[:2]])
MANIFESTS = (*IMAGES, INDEX)
HOUR_S = 3600
MERCILESS = Rules(grace=0, hold=HOUR_S * 1_000_000, window=0, untagged="collect")
STEPS = 120
WANTED = ("push", "purge", "undelete", "rollback", "collect")
"""What has to be done at least once, in more steps if it was always too late or too early."""
REFUSALS = (
    BlobUnknown,
    ContentInUse,
    ManifestReferenceUnknown,
    ManifestUnknown,
    NameUnknown,
    RecordUnknown,
    RollbackRefused,
)
"""What may be said to who comes too late, or too early; anything else, like a deadlock, is a fault."""


async def step(registry: Registry, choice: random.Random, moments: list[int]) -> str:
    """Do one thing. Return what, if it was done."""
    name, content, tag = choice.choice(REPOSITORIES), choice.choice(MANIFESTS), choice.choice(TAGS)
    digest, blob = digest_bytes(content), digest_bytes(choice.choice(BLOBS))

    async def push() -> None:
        for one in BLOBS:
            await registry.push_blob(name, one)
        await registry.push(name, content, tag)
        moments.append(await jobs.clock(registry.database))

    async def purge() -> None:
        gone = choice.choice([digest, blob])
        for named in TAGS:  # or hardly one is purged: most are named by a tag, or by another manifest
            with suppress(*REFUSALS):
                await registry.untag(name, named)
        with suppress(*REFUSALS):
            await registry.delete(name, digest_bytes(INDEX))
        await registry.purge(name, gone)

    async def mount() -> None:
        for target in REPOSITORIES:
            await registry.blobs.mount(RepositoryName(target), blob, RepositoryName(name), WHO)

    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "push": push,
        "mount": mount,
        "delete": lambda: registry.delete(name, digest),
        "purge": purge,
        "undelete": lambda: registry.undelete(name, digest),
        "rollback": lambda: registry.roll_back(name, at=choice.choice(moments), partial=choice.random() < 0.5),
        "untag": lambda: registry.untag(name, tag),
        "collect": lambda: registry.collect(MERCILESS),
    }
    what = choice.choice([*steps, "push", "push"])
    try:
        await steps[what]()
    except REFUSALS:
        return f"refused {what}"
    return what


async def whole(registry: Registry, place: Place) -> None:
    """Assert that all that is to be seen can be pulled, and that tags are what their history says."""
    here = await registry.moment()
    of_repository = "JOIN repositories r ON r.id = m.repository_id"
    for name, digest in place.sql(f"SELECT r.name, digest FROM manifests m {of_repository} WHERE deleted_at IS NULL"):
        await registry.pull_at(name, digest, here)
    for name in REPOSITORIES:
        there = place.sql(
            f"SELECT t.name, digest FROM tags t JOIN manifests m ON m.id = t.manifest_id {of_repository} "
            f"WHERE r.name = '{name}' AND deleted_at IS NULL"
        )
        assert await registry.tags_at(name, here) == {row[0]: row[1] for row in there}


async def test_what_is_there_is_whole_whatever_came_together(place: Place) -> None:
    """Every manifest that is to be seen can be pulled with all its blobs; quotas know of all and no more."""
    databases = [place.new() for _ in range(3)]
    for one in databases:
        await one.start()
    try:
        registries = [Registry(one, hold_s=HOUR_S) for one in databases]
        for registry in registries[1:]:
            registry.share(registries[0])
        first = registries[0]
        await Projects(first.database).add("team", actor="test")
        quotas = Quotas(first.database)
        await quotas.set("team", Limits(10**9, 10**6))
        await quotas.count("team")
        moments = [await first.moment()]
        done: Counter[str] = Counter()

        async def work(registry: Registry, seed: int) -> None:
            choice, steps = random.Random(seed), 0
            while steps < STEPS or not all(done[one] for one in WANTED):
                assert steps < 10 * STEPS, done
                done[await step(registry, choice, moments)] += 1
                steps += 1
                await asyncio.sleep(0)

        await asyncio.gather(*(work(one, seed) for seed, one in enumerate(registries)))
        await whole(first, place)
        assert (await quotas.count("team")).right
        await first.collect(MERCILESS)
        await whole(first, place)
    finally:
        for one in databases:
            await one.stop()


async def collecting(registry: Registry, done: asyncio.Event) -> int:
    """Collect without grace and window, again and again; what was uploaded a moment ago has to be held."""
    removed = 0
    while not done.is_set():
        removed += (await registry.collect(MERCILESS)).rows
        await asyncio.sleep(0)
    return removed


@pytest.mark.parametrize("how", ["undelete", "rollback"])
async def test_nothing_that_was_said_to_be_back_is_collected(place: Place, how: str) -> None:
    """Beside a collector on another connection that keeps nothing; what it took first is refused, not lost later."""
    restoring, other = place.new(), place.new()
    await restoring.start()
    await other.start()
    done, restored, name = asyncio.Event(), 0, REPOSITORIES[0]
    try:
        registry, collector = Registry(restoring, hold_s=HOUR_S), Registry(other, hold_s=HOUR_S)
        collector.share(registry)
        task = asyncio.create_task(collecting(collector, done))
        for number in range(30):
            child = image_manifest(b"%d" % number, [b"layer %d" % number])
            await registry.push_image(name, b"%d" % number, b"layer %d" % number, tag="child")
            index = digest_bytes(index_manifest([descriptor(child, OCI_MANIFEST)]))
            await registry.push(name, index_manifest([descriptor(child, OCI_MANIFEST)]), "index")
            at = await registry.moment()
            await registry.delete(name, index)
            if number % 2:
                with suppress(ManifestUnknown, ContentInUse):
                    await registry.delete(name, digest_bytes(child))
            try:
                if how == "undelete":
                    await registry.undelete(name, index)
                else:
                    await registry.roll_back(name, at=at, tag="index")
            except (RecordUnknown, RollbackRefused):
                continue
            restored += 1
            await asyncio.sleep(0.005)
            here = await jobs.clock(registry.database)
            assert len(await registry.pull_at(name, index, here)) == 4
            assert (await registry.tags_at(name, here))["index"] == index
        done.set()
        assert await task > 0 and restored > 0
    finally:
        done.set()
        await restoring.stop()
        await other.stop()
