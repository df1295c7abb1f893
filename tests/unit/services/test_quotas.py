"""Quotas on both databases: many at once, setting one while others push, refusals, and who waits for whom."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from registry.db import blobs, projects, quota_items, repositories
from registry.db.connection import Database, Transaction
from registry.db.quota_items import Counts
from registry.errors import QuotaExceeded, QuotaUnknown, RecordUnknown, RegistryError
from registry.jobs.quotas import count_quotas
from registry.jobs.runner import JobRunner
from registry.oci.names import RepositoryName
from registry.services.counting import counting
from registry.services.quotas import Limits, Quotas
from storage.digest import digest_bytes
from tests.factories import image_manifest
from tests.support.databases import Place, SqlitePlace
from tests.unit.services.quoted import PROJECT, Quoted, Used, expected

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registry(place: Place, database: Database) -> AsyncIterator[Quoted]:
    yield Quoted(place, database)


async def test_many_at_once_are_counted_exactly(registry: Quoted) -> None:
    """Clients push, mount, delete and collect in two repositories and a stranger's, while the quota is set anew."""
    await registry.limit()
    contents = [f"blob {number}".encode() for number in range(6)]
    images = [image_manifest(one, [other]) for one, other in itertools.pairwise(contents)]
    for content in contents:
        await registry.push_blob("other/x", content)

    async def client(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            name = chance.choice(["m/a", "m/b", "m", "other/x"])
            content = chance.choice(contents)
            digest = digest_bytes(content)
            with suppress(RegistryError):
                match chance.randrange(8):
                    case 0 | 1:
                        await registry.push_blob(name, content)
                    case 2:
                        await registry.mount(name, digest, chance.choice(["m/a", "m/b", "other/x"]))
                    case 3 | 4:
                        await registry.push(name, chance.choice(images), chance.choice("xyz"))
                    case 5:
                        await registry.delete(name, digest_bytes(chance.choice(images)))
                    case 6:
                        await registry.untag(name, chance.choice("xyz"))
                    case 7:
                        await registry.deletion.delete_blob(RepositoryName(name), digest, actor="test")

    async def operator() -> None:
        for counts in (Counts.ALL, Counts.TAGGED, Counts.VISIBLE):
            await registry.quotas.clear(PROJECT)
            await registry.quotas.forget(PROJECT)
            await asyncio.sleep(0.02)
            await registry.limit(counts=counts)
            await registry.collect(untagged="collect")

    await asyncio.gather(*(client(seed) for seed in range(5)), operator())
    assert await registry.used() == registry.should_use()
    assert (await registry.quotas.count(PROJECT)).right


async def test_a_quota_holds_whoever_comes_first(registry: Quoted) -> None:
    """Of ten that push a different blob each to another repository, five are let in."""
    await registry.limit(50)
    contents = [f"{number:010}".encode() for number in range(10)]
    outcomes = await asyncio.gather(
        *(registry.push_blob(f"m/{number}", one) for number, one in enumerate(contents)), return_exceptions=True
    )
    refused = [one for one in outcomes if isinstance(one, QuotaExceeded)]
    assert len(refused) == 5 == len(outcomes) - len([one for one in outcomes if isinstance(one, str)])
    assert await registry.used() == Used(50, 0) == registry.should_use()
    assert len(registry.place.sql("SELECT name FROM repositories")) == 5
    assert len(await registry.objects()) == 5


async def test_a_blob_counts_once_a_project_and_its_manifests_each(registry: Quoted) -> None:
    await registry.limit()
    await registry.push_image("m/a", b"config", b"layer", tag="x")
    size = len(image_manifest(b"config", [b"layer"]))
    assert await registry.used() == Used(11 + size, 1)
    await registry.push_image("m/b", b"config", b"layer", tag="x")
    assert await registry.used() == Used(11 + 2 * size, 2)
    await registry.push_image("other/c", b"config", b"layer", b"more", tag="x")
    assert await registry.used() == Used(11 + 2 * size, 2)
    assert await registry.mount("m/b", digest_bytes(b"more"), "other/c")
    assert await registry.used() == Used(15 + 2 * size, 2)


async def test_what_is_deleted_counts_no_more_unless_history_does(registry: Quoted) -> None:
    await registry.push_image("m/a", b"config", b"layer", tag="x")
    await registry.limit()
    whole = await registry.used()
    await registry.limit(counts=Counts.ALL)
    assert await registry.used() == whole
    digest = digest_bytes(image_manifest(b"config", [b"layer"]))
    await registry.delete("m/a", digest)
    assert await registry.used() == Used(whole.bytes, 0)
    await registry.limit(counts=Counts.VISIBLE)
    assert await registry.used() == Used(0, 0)
    await registry.push("m/a", image_manifest(b"config", [b"layer"]), "x")
    assert await registry.used() == whole
    await registry.untag("m/a", "x")
    assert await registry.used() == Used(whole.bytes, 0)
    await registry.limit(counts=Counts.TAGGED)
    assert await registry.used() == Used(0, 0)


async def test_a_refusal_says_what_is_used_and_what_the_limit_is(registry: Quoted) -> None:
    await registry.limit(20, 1)
    await registry.push_blob("m/a", b"0123456789")
    with pytest.raises(QuotaExceeded) as refused:
        await registry.push_blob("m/b", b"0123456789A")
    assert refused.value.detail == {"project": "m", "quota": "bytes", "limit": 20, "used": 10, "needed": 11}
    await registry.push_blob("m/b", b"0123456789")  # the same again costs nothing
    await registry.limit(None, 1)
    await registry.push_image("m/a", b"config", tag="x")
    await registry.push_image("m/a", b"another", tag="x")
    with pytest.raises(QuotaExceeded) as refused:
        await registry.push_image("m/b", b"another", tag="x")
    assert refused.value.detail == {"project": "m", "quota": "tags", "limit": 1, "used": 1, "needed": 1}
    await registry.push_image("m/b", b"another")


async def test_a_project_that_holds_more_than_its_new_quota_keeps_it_and_takes_no_more(registry: Quoted) -> None:
    await registry.push_image("m/a", b"config", b"layer", tag="x")
    await registry.limit(5, 0)
    assert (await registry.used()).bytes > 5
    for pushing in (registry.push_blob("m/a", b"more"), registry.push_image("m/a", b"config", b"layer", tag="y")):
        with pytest.raises(QuotaExceeded):
            await pushing
    await registry.push("m/a", image_manifest(b"config", [b"layer"]), "x")  # nothing new
    await registry.untag("m/a", "x")
    assert await registry.used() == registry.should_use()


async def test_pushes_elsewhere_do_not_wait_for_a_project_that_is_counted(registry: Quoted, place: Place) -> None:
    """While a transaction holds a project with a quota, others push to another one, and to one without."""
    await registry.limit()
    await registry.database.write(lambda tx: projects.add(tx, "free", actor="test"))
    if isinstance(place, SqlitePlace):
        return  # it has one writer: all take turns
    held, let_go = asyncio.Event(), asyncio.Event()

    async def hold(transaction: Transaction) -> None:
        quota = await quota_items.of(transaction, PROJECT)
        assert quota is not None
        await quota_items.lock(transaction, quota.project_id)
        held.set()
        await let_go.wait()

    holding = asyncio.create_task(registry.database.write(hold))
    await held.wait()
    await asyncio.wait_for(registry.push_image("free/a", b"config", tag="x"), 60)
    await asyncio.wait_for(registry.push_image("unknown/a", b"config", tag="x"), 60)
    waiting = asyncio.create_task(registry.push_blob("m/a", b"config"))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    let_go.set()
    await holding
    await waiting
    assert await registry.used() == registry.should_use()


async def test_a_quota_that_is_set_beside_a_push_misses_nothing(registry: Quoted, place: Place) -> None:
    """A push that looked for a quota just before there was one makes a repository: counting waits for it."""
    await registry.database.write(lambda tx: projects.add(tx, PROJECT, actor="test"))
    pushing = [registry.push_blob(f"m/{number}", f"{number:04}".encode()) for number in range(40)]
    tasks = [asyncio.create_task(one) for one in pushing]
    await asyncio.sleep(0.01)
    await registry.limit()
    await asyncio.gather(*tasks)
    assert await registry.used() == Used(160, 0) == expected(place, Counts.VISIBLE)


@pytest.mark.parametrize("is_new", [True, False])
async def test_counting_waits_for_a_push_that_saw_no_quota(registry: Quoted, place: Place, is_new: bool) -> None:
    """It has looked for a quota when there was none, and is committed when all else has been counted."""
    await registry.database.write(lambda tx: projects.add(tx, PROJECT, actor="test"))
    blob = await registry.push_blob("other/x", b"content")
    if not is_new:
        await registry.push_blob("m/a", b"another")
    if isinstance(place, SqlitePlace):
        return  # there a transaction waits for nothing
    linked, let_go = asyncio.Event(), asyncio.Event()

    async def push(transaction: Transaction) -> None:
        repository_id = await repositories.find_or_create(transaction, RepositoryName("m/a"))
        counted = await counting(transaction, "m/a", repository_id)
        assert not counted.is_needed
        found = await blobs.find_to_link(transaction, blob)
        assert found is not None
        await blobs.link(transaction, repository_id, found.id, hold=0)
        linked.set()
        await let_go.wait()
        await counted.settle(transaction, bound=True)

    pushing = asyncio.create_task(registry.database.write(push))
    await linked.wait()
    limiting = asyncio.create_task(registry.limit())
    done, _ = await asyncio.wait([limiting], timeout=0.3)
    assert not done
    let_go.set()
    await pushing
    await limiting
    assert await registry.used() == registry.should_use()
    assert (await registry.used()).bytes == (7 if is_new else 14)


async def test_counting_again_repairs(registry: Quoted, place: Place) -> None:
    await registry.limit()
    await registry.push_image("m/a", b"config", b"layer", tag="x")
    right = await registry.used()
    for damage in (
        "UPDATE projects SET used_bytes = 7, used_tags = 9",
        "DELETE FROM quota_items WHERE kind < 2",
        "DELETE FROM quota_items WHERE kind = 2",
        "UPDATE quota_items SET size = size + 1",
        "INSERT INTO quota_items (project_id, kind, item_id, repository_id, size)"
        " SELECT project_id, 0, 999, 999, 5 FROM quota_items WHERE kind = 2",
    ):
        place.sql(damage)
        checked = await registry.quotas.count(PROJECT)
        assert checked.now == (right.bytes, right.tags)
        assert await registry.used() == right == registry.should_use()
        assert (await registry.quotas.count(PROJECT)).right


async def test_counting_that_was_interrupted_goes_on(registry: Quoted) -> None:
    await registry.push_image("m/a", b"config", b"layer", tag="x")
    await registry.database.write(lambda tx: projects.add(tx, PROJECT, actor="test"))
    assert await registry.quotas.set(PROJECT, Limits(1000, None))
    assert await registry.quotas.uncounted() == [PROJECT]
    await registry.push_image("m/a", b"another", tag="y")
    await JobRunner(registry.database, [count_quotas(registry.quotas)], owner="test").run_due()
    assert await registry.quotas.uncounted() == []
    assert await registry.used() == registry.should_use()
    assert not await registry.quotas.set(PROJECT, Limits(2000, 5))  # what counts is the same: it is counted


async def test_what_is_not_there_is_said(database: Database) -> None:
    quotas = Quotas(database)
    for asked in (quotas.set("none", Limits(1, 1)), quotas.clear("none"), quotas.count("none")):
        with pytest.raises(RecordUnknown):
            await asked
    await database.write(lambda tx: projects.add(tx, "there", actor="test"))
    assert not await quotas.clear("there")
    with pytest.raises(QuotaUnknown):
        await quotas.count("there")
