"""One process follows the stream for many: none keeps others out, and what goes wrong is heard of."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest

from auth.errors import TooManyAttempts
from auth.principal import Principal
from registry.api.application import application_of
from registry.api.context import Api
from registry.api.paths import ASKED, PREFIX
from registry.db import events, outbox, restored
from registry.db.connection import Database, Transaction
from registry.db.sqlite import SqliteDatabase
from registry.errors import CursorGone, Unavailable
from registry.http.request import Message, Request, Scope
from registry.oci.names import RepositoryName
from registry.services import event_pages
from registry.services.audit import Auditor
from registry.services.event_pages import Filter
from registry.services.feed import Feed
from registry.services.permissions import GrantPolicy
from registry.services.revision import Revision
from registry.settings import Settings
from tests.support.databases import Place, new_sqlite

pytestmark = pytest.mark.anyio

MANY = 3000


async def record(database: Database, number: int, payload: str = "{}", *, name: str = "app") -> None:
    """Have so many things happen, and give them their places."""

    async def work(transaction: Transaction) -> None:
        await outbox.record_many(transaction, "push", [(RepositoryName(name), payload)] * number)
        await events.place(transaction, limit=number)

    await database.write(work)


@pytest.fixture
async def feed(database: Database) -> AsyncIterator[Feed]:
    made = Feed(database, most=10)
    made.start()
    yield made
    await made.stop()


class Turns:
    """Counts how often others have their turn."""

    def __init__(self) -> None:
        self.number = 0

    async def take(self) -> None:
        while True:
            self.number += 1
            await asyncio.sleep(0)


async def test_others_have_their_turn_while_somebody_catches_up(database: Database, feed: Feed) -> None:
    await record(database, MANY)
    epoch, _ = await events.stream(database)
    turns = Turns()
    taking = asyncio.create_task(turns.take())
    async with feed.following("user:alice"):
        position = 0
        for number in range(MANY // 200):
            position = (await feed.after(position, within_s=0, epoch=epoch))[-1].event.position
            assert turns.number > number
    assert position == MANY
    before = turns.number

    async def nothing(repository: str, at: int) -> bool:
        return False

    start = await event_pages.cursor_of(database, event_pages.OLDEST)
    page = await event_pages.read_page(database, start, Filter(), nothing, limit=10)
    assert (page.events, page.cursor.position, turns.number >= before + MANY // 500) == ([], MANY, True)
    before = turns.number
    assert (await event_pages.read_newest(database, Filter(), nothing, limit=10)).events == []
    assert turns.number >= before + MANY // 500
    taking.cancel()


async def test_who_follows_is_sent_away_when_a_copy_was_brought_back(
    place: Place, database: Database, feed: Feed
) -> None:
    await record(database, 5)
    epoch, position = await events.stream(database)
    async with feed.following("user:alice"):
        following = asyncio.create_task(feed.after(position, within_s=30, epoch=epoch))
        await asyncio.sleep(0)
        await database.write(restored.reset)
        with pytest.raises(CursorGone):
            await following
        # Those who come now follow what is there.
        now, _ = await events.stream(database)
        await record(database, 1)
        assert [one.event.cursor for one in await feed.after(position, within_s=30, epoch=now)] == [f"{now}-6"]
        # So are those who follow a database whose epoch came back with it.
        following = asyncio.create_task(feed.after(6, within_s=30, epoch=now))
        await asyncio.sleep(0)
        await asyncio.to_thread(
            place.sql, "DELETE FROM outbox WHERE position > 3; UPDATE event_stream SET position = 3"
        )
        with pytest.raises(CursorGone):
            await following


async def test_what_is_dropped_before_it_was_read_is_missed_by_nobody_without_being_told(
    database: Database, feed: Feed
) -> None:
    epoch, _ = await events.stream(database)
    async with feed.following("user:alice"):
        following = asyncio.create_task(feed.after(0, within_s=30, epoch=epoch))
        await asyncio.sleep(0)

        async def work(transaction: Transaction) -> None:
            await outbox.record_many(transaction, "push", [(RepositoryName("app"), "{}")] * 3)
            await events.place(transaction, limit=3)
            await events.forget(transaction, age_s=-10, limit=3)

        await database.write(work)
        with pytest.raises(CursorGone):
            await following
        await record(database, 1)
        assert [one.event.position for one in await feed.after(3, within_s=30, epoch=epoch)] == [4]
        with pytest.raises(CursorGone):
            await feed.after(0, within_s=0, epoch=epoch)


async def test_a_defect_does_not_leave_those_who_follow_in_silence(
    database: Database, feed: Feed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = True

    async def failing(reader: Database) -> events.Stream:
        if fails:
            raise ZeroDivisionError
        return await asked(reader)

    asked = events.stream
    epoch, _ = await events.stream(database)
    async with feed.following("user:alice"):
        monkeypatch.setattr(events, "stream", failing)
        following = asyncio.create_task(feed.after(0, within_s=30, epoch=epoch))
        with caplog.at_level(logging.ERROR, "stowage.events"):
            while not caplog.records:
                feed.wake()
                await asyncio.sleep(0.01)
        fails = False
        await record(database, 1)
        while not following.done():
            feed.wake()
            await asyncio.sleep(0.01)
        assert len(await following) == 1


async def nobody(*_: str) -> str:
    raise Unavailable("nobody logs in here")


async def test_a_client_that_is_slow_is_sent_little_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is sent at once stays in memory until it is taken."""
    folder = tmp_path_factory.mktemp("slow")
    new_sqlite(folder / "db")
    database = SqliteDatabase(folder / "db")
    await database.start()
    large = {"references": [(f"sha256:{number:064}", "a/" + "x" * 250, 1) for number in range(100)]}
    await record(database, 100, json.dumps(large))
    feed = Feed(database, most=1)
    policy = GrantPolicy(database, Revision(database, polled=False))
    api = Api(Settings(), database, policy, nobody, nobody, Auditor(database, enabled=False), feed=feed)
    sizes: list[int] = []

    async def send(message: Message) -> None:
        sizes.append(len(message.get("body", b"")))

    async def receive() -> Message:
        await asyncio.sleep(30)
        return {"type": "http.disconnect"}

    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"{PREFIX}/watch",
        "raw_path": f"{PREFIX}/watch".encode(),
        "query_string": b"after=oldest&seconds=0",
        "headers": [],
        "client": None,
        "server": None,
    }
    request = Request(scope, receive)
    request.principal = Principal("system:test", is_admin=True)
    await application_of(api, ["watch"])({**scope, ASKED: request}, receive, send)
    await feed.stop()
    await database.stop()
    assert sum(sizes) > 100 * 30_000
    assert max(sizes) < 300_000


async def test_one_has_so_many_places_and_others_have_theirs(database: Database) -> None:
    feed = Feed(database, most=3, most_each=1)
    async with feed.following("user:alice"), feed.following("user:bob"):
        with pytest.raises(TooManyAttempts, match=r"user:alice follows events 1 times"):
            async with feed.following("user:alice"):
                pass
        assert feed.followers == 2
    async with feed.following("user:alice"):
        assert feed.followers == 1
    assert feed.followers == 0
