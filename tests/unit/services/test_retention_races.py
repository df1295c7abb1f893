"""Retention and expiry in three processes at once, while others move and lock the same tags, on both databases."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from auth.grants import IMMUTABLE, TagRule
from registry.db import retained_tags
from registry.db.connection import Database
from registry.errors import ManifestUnknown, RecordExists, TagFixed
from registry.jobs.expire import expire
from registry.jobs.retain import retain
from registry.jobs.runner import JobRunner
from registry.oci.names import RepositoryName, Tag
from registry.services.expiry_labels import LABEL
from registry.services.granting import Granting
from registry.services.locks import Locks
from registry.services.tag_expiry import TagExpiry
from storage.digest import Digest
from tests.support.databases import Place
from tests.unit.services.tagged import BY, Tagged

pytestmark = pytest.mark.anyio

APP = RepositoryName("team/app")
TAGS = 130
ROUNDS = 2
DAY = 86_400_000_000
_DUE = "UPDATE retention_policies SET due_at = 1; UPDATE jobs SET due_at = 0; SELECT 1"
_OLD = f"UPDATE tags SET updated_at = updated_at - {2 * DAY}, expires_at = expires_at - {2 * DAY}; SELECT 1"


class Replica:
    """A process of its own, as far as the database can tell."""

    def __init__(self, database: Database, name: str) -> None:
        self.tagged = Tagged(database)
        self.locks = Locks(database)
        jobs = [
            expire(TagExpiry(database, audited=True)),
            retain(database, self.tagged.retention),
        ]
        self.runner = JobRunner(database, jobs, owner=name)

    async def named(self) -> dict[Tag, Digest]:
        """What the tags name."""
        found = await retained_tags.page(self.tagged.database, APP, after="", limit=9999)
        return {one.tag: one.digest for one in found}


class Traffic:
    """What is done to the tags while jobs run, and what it was told.

    Attributes:
        moved: what tags name that were moved: by one task each, so that the last one told counts.
        fixed: tags that were there after their manifest was locked, or a rule about them was made.
    """

    def __init__(self, seed: int) -> None:
        self.moved: dict[Tag, Digest] = {}
        self.fixed: dict[Tag, Digest] = {}
        self.random = random.Random(seed)
        self.over = asyncio.Event()

    async def move(self, replica: Replica, mine: list[Tag]) -> None:
        """Push to tags; those that were made immutable stay."""
        while not self.over.is_set():
            tag = self.random.choice(mine)
            try:
                self.moved[tag] = await replica.tagged.push(APP, tag)
            except TagFixed:
                assert tag in self.protected
            await asyncio.sleep(0)

    protected: frozenset[Tag] = frozenset()

    async def lock(self, replica: Replica, some: list[Tag]) -> None:
        """Lock what tags name, and see whether they were there still."""
        for tag in some:
            digest = (await replica.named()).get(tag)
            if digest is None:
                continue
            try:
                await replica.locks.lock(APP, digest, reason="", actor=BY)
            except (RecordExists, ManifestUnknown):
                continue
            if (await replica.named()).get(tag) == digest:
                self.fixed[tag] = digest

    async def protect(self, replica: Replica, some: list[Tag]) -> None:
        """Make tags immutable, and see what they name from then on."""
        self.protected = frozenset(some)
        for tag in some:
            await Granting(replica.tagged.database).add_rule(TagRule(tag, IMMUTABLE), actor=BY)
            digest = (await replica.named()).get(tag)
            if digest is not None:
                self.fixed[tag] = digest


@pytest.fixture
async def replicas(place: Place) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        made = []
        for number in range(3):
            database = place.new()
            await database.start()
            stack.push_async_callback(database.stop)
            made.append(Replica(database, f"replica-{number}"))
        yield made


async def test_what_was_moved_or_locked_stays_and_each_removal_is_told_once(
    replicas: list[Replica], place: Place
) -> None:
    first = replicas[0]
    names = [Tag(f"t{number:03}") for number in range(TAGS)]
    for name in names:  # every third has an end, too
        await first.tagged.push(APP, name, said={LABEL: "1h"} if name.endswith(("3", "6", "9")) else {})
    await first.tagged.policy("none", {"template": "lastXDays", "days": 1}, schedule="0 0 1 1 *")
    moving, locking, protecting = names[:12], names[12:TAGS:9], names[13:TAGS:12]
    for number in range(ROUNDS):
        await asyncio.to_thread(place.sql, _OLD)
        await asyncio.to_thread(place.sql, _DUE)
        traffic = Traffic(number)
        movers = [asyncio.create_task(traffic.move(one, moving[at::3])) for at, one in enumerate(replicas)]
        others = [
            asyncio.create_task(traffic.lock(replicas[1], locking[number::ROUNDS])),
            asyncio.create_task(traffic.protect(replicas[2], protecting[number::ROUNDS])),
        ]
        await asyncio.gather(*(one.runner.run_due() for one in replicas))
        await asyncio.gather(*others)
        traffic.over.set()
        await asyncio.gather(*movers)
        named = await first.named()
        assert {tag: named.get(tag) for tag in traffic.moved} == traffic.moved
        assert {tag: named.get(tag) for tag in traffic.fixed} == traffic.fixed
        await asyncio.to_thread(place.sql, "UPDATE jobs SET due_at = 0; SELECT 1")
        await asyncio.gather(*(one.runner.run_due() for one in replicas))  # the job is due again, the policy is not
        assert len(place.sql("SELECT id FROM retention_runs")) == number + 1

    async def sql(text: str) -> list[tuple[str, ...]]:
        return await asyncio.to_thread(place.sql, text)

    ended = await sql(
        "SELECT tag, digest, ended_cause FROM tag_history WHERE ended_cause IN ('retention', 'expiry') ORDER BY 1, 2"
    )
    assert {row[2] for row in ended} == {"retention", "expiry"}
    assert len(ended) == len({row[:2] for row in ended})
    audited = await sql("SELECT count(*) FROM audit_entries WHERE action = 'untag'")
    told = await sql("SELECT count(*) FROM outbox WHERE action = 'untag'")
    dropped = await sql("SELECT sum(dropped) FROM retention_runs")
    assert int(told[0][0]) == int(audited[0][0]) == len(ended)
    assert int(dropped[0][0]) == len([row for row in ended if row[2] == "retention"])
    assert await sql("SELECT count(*) FROM retention_policies WHERE due_at > 1") == [("1",)]
