"""No reader skips an event, whoever gives them their places, and however often that changes."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from registry.db import events, outbox, repositories, restored
from registry.db.connection import Database, Transaction
from registry.errors import CursorGone
from registry.event import Event
from registry.jobs.sequence import NAME, Sequencer
from registry.oci.names import RepositoryName
from registry.services import event_pages
from registry.services.event_pages import Cursor, EventPage, Filter
from tests.support.databases import Place, PostgresPlace

pytestmark = pytest.mark.anyio

REPOSITORIES = [RepositoryName(name) for name in ("team/a", "team/b", "other")]
WRITERS, EACH = 4, 25


async def everybody(repository: str, at: int) -> bool:
    return True


async def read(database: Database, cursor: Cursor, *, limit: int = 7) -> EventPage:
    return await event_pages.read_page(database, cursor, Filter(), everybody, limit=limit)


async def whole(database: Database) -> list[Event]:
    """Return all events that are kept, from the oldest on."""
    cursor, found = await event_pages.cursor_of(database, event_pages.OLDEST), []
    while (page := await read(database, cursor)).events:
        found += page.events
        cursor = page.cursor
    return found


def sequencer(database: Database, owner: str) -> Sequencer:
    return Sequencer(database, owner=owner, paused=lambda: False, record=lambda *_: None, wait_s=0.01)


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Database]:
    database = place.new()
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


class Writing:
    """Changes of repositories, in the order in which they got hold of them."""

    def __init__(self, place: Place) -> None:
        self._waits = isinstance(place, PostgresPlace)  # on SQLite one transaction ends before the next begins
        self._last = dict.fromkeys(REPOSITORIES, 0)
        self.committed: list[tuple[str, int]] = []

    async def write(self, database: Database, number: int) -> None:
        chance = random.Random(number)
        for _ in range(EACH):
            name = chance.choice(REPOSITORIES)
            written = await database.write(lambda tx, name=name: self._change(tx, name, chance))  # type: ignore[misc]  # a lambda's default
            self.committed.append((name, written))
            await asyncio.sleep(chance.uniform(0, 0.02))

    async def _change(self, transaction: Transaction, name: RepositoryName, chance: random.Random) -> int:
        await repositories.find_or_create(transaction, name)
        self._last[name] += 1
        number = self._last[name]
        await outbox.record(transaction, name, "push", json.dumps({"size": number}))
        if self._waits:
            await asyncio.sleep(chance.choice([0, 0, 0.02, 0.05]))
        return number


async def follow(database: Database, seen: list[Event], wanted: int) -> None:
    cursor = await event_pages.cursor_of(database, event_pages.OLDEST)
    while len(seen) < wanted:
        page = await read(database, cursor)
        seen += page.events
        cursor = page.cursor
        await asyncio.sleep(0.002)


async def disturb(place: Place, several: list[Sequencer]) -> None:
    """Have the places given by one after the other, and by two who both believe that it is their turn."""
    chance = random.Random(1)
    while True:
        await asyncio.sleep(chance.uniform(0.01, 0.06))
        one = chance.choice(several)
        if chance.random() < 0.5:
            await one.stop()
            one.start()
        else:
            await asyncio.to_thread(place.sql, f"UPDATE jobs SET lease_until = 0 WHERE name = '{NAME}'")


async def test_a_reader_sees_every_event_once_and_in_order(place: Place) -> None:
    async with AsyncExitStack() as stack:
        *writers, reader, first, second, third = [
            await stack.enter_async_context(opened(place)) for _ in range(WRITERS + 4)
        ]
        several = [sequencer(one, f"process {number}") for number, one in enumerate((first, second, third))]
        for one in several:
            one.start()
            stack.push_async_callback(one.stop)
        disturbing = asyncio.create_task(disturb(place, several))
        writing, seen = Writing(place), list[Event]()
        async with asyncio.timeout(200):
            await asyncio.gather(
                follow(reader, seen, WRITERS * EACH), *(writing.write(one, at) for at, one in enumerate(writers))
            )
        disturbing.cancel()
        await asyncio.gather(disturbing, return_exceptions=True)
        assert sorted((one.repository, one.size) for one in seen) == sorted(writing.committed)
        assert [one.position for one in seen] == list(range(1, len(seen) + 1))
        for name in REPOSITORIES:
            of_repository = [one.size for one in seen if one.repository == name and one.size is not None]
            assert of_repository == sorted(of_repository)
        assert await whole(reader) == seen


async def record(database: Database, *names: str) -> None:
    for name in names:
        repository = RepositoryName(name)
        await database.write(lambda tx, repository=repository: outbox.record(tx, repository, "push", "{}"))  # type: ignore[misc]  # a lambda's default


async def placed(database: Database, number: int) -> None:
    await record(database, *(f"r{one}" for one in range(number)))
    assert await database.write(lambda tx: events.place(tx, limit=100)) == number


async def test_what_has_no_place_is_not_to_be_read_and_never_dropped(database: Database) -> None:
    await placed(database, 2)
    await record(database, "late")
    assert [one.repository for one in await whole(database)] == ["r0", "r1"]
    assert (await events.waiting(database)).number == 1
    assert await database.write(lambda tx: events.forget(tx, age_s=-10, limit=100)) == 2
    assert await database.write(lambda tx: events.place(tx, limit=100)) == 1
    assert [(one.repository, one.position) for one in await whole(database)] == [("late", 3)]


async def test_positions_are_never_given_again(database: Database) -> None:
    await placed(database, 3)
    await database.write(lambda tx: events.forget(tx, age_s=-10, limit=100))
    assert await events.oldest(database) is None
    await placed(database, 1)
    assert [one.position for one in await whole(database)] == [4]


async def test_a_cursor_before_what_was_dropped_is_gone(database: Database) -> None:
    await placed(database, 5)
    epoch, _ = await events.stream(database)
    await database.write(lambda tx: events.forget(tx, age_s=-10, limit=3))
    assert (await event_pages.cursor_of(database, f"{epoch}-3")).position == 3
    for text in (f"{epoch}-2", f"{epoch}-6", "0123-3"):
        with pytest.raises(CursorGone):
            await event_pages.cursor_of(database, text)
    await database.write(lambda tx: events.forget(tx, age_s=-10, limit=100))
    assert (await event_pages.cursor_of(database, f"{epoch}-5")).position == 5
    with pytest.raises(CursorGone):
        await event_pages.cursor_of(database, f"{epoch}-4")
    with pytest.raises(CursorGone):  # dropped between finding the place and reading from there
        await read(database, Cursor(epoch, 3))


async def test_after_a_copy_was_brought_back_every_cursor_is_gone(database: Database) -> None:
    await placed(database, 2)
    before = await event_pages.cursor_of(database, event_pages.NEWEST)
    await database.write(restored.reset)
    with pytest.raises(CursorGone):
        await event_pages.cursor_of(database, str(before))
    assert [one.position for one in await whole(database)] == [1, 2]
    await placed(database, 1)
    after = await event_pages.cursor_of(database, event_pages.NEWEST)
    assert (after.position, after.epoch != before.epoch) == (3, True)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ("INSERT INTO webhooks "
         "(id, name, project_id, is_file, address, format, options, position, created_at, created_by) "
         "VALUES (1, 'w', 0, 0, 'u', 'f', '', 2, 0, '')", [3, 4]),
        ("INSERT INTO webhooks "
         "(id, name, project_id, is_file, address, format, options, position, created_at, created_by) "
         "VALUES (1, 'w', 0, 0, 'u', 'f', '', 4, 0, ''); "
         "INSERT INTO deliveries "
         "(webhook_id, position, event_id, repository, action, subject, state, attempts, faults, created_at) "
         "VALUES (1, 1, 'e-1', '', '', '', 1, 1, 0, 0), (1, 2, 'e-2', '', '', '', 0, 1, 0, 0)", [2, 3, 4]),
    ],
    ids=["what an endpoint has not come to", "what a delivery waits for"],
)  # fmt: skip
async def test_what_is_to_be_delivered_stays(place: Place, database: Database, rows: str, left: list[int]) -> None:
    await placed(database, 4)
    await asyncio.to_thread(place.sql, rows)
    await database.write(lambda tx: events.forget(tx, age_s=-10, limit=100))
    assert [one.position for one in await whole(database)] == left


async def test_young_events_stay(database: Database) -> None:
    await placed(database, 2)
    assert await database.write(lambda tx: events.forget(tx, age_s=3600, limit=100)) == 0


async def test_the_newest_are_shown_in_order(database: Database) -> None:
    await placed(database, 5)
    page = await event_pages.read_newest(database, Filter(), everybody, limit=3)
    assert [one.position for one in page.events] == [3, 4, 5]
    assert page.cursor.position == 5
    one = await event_pages.read_newest(database, Filter("r1"), everybody, limit=3)
    assert [one.position for one in one.events] == [2]


async def test_a_filter_lets_a_page_end_early_and_go_on(database: Database) -> None:
    await placed(database, 4)
    start = await event_pages.cursor_of(database, event_pages.OLDEST)

    async def only_even(repository: str, at: int) -> bool:
        return repository in {"r0", "r2"}

    page = await event_pages.read_page(database, start, Filter(), only_even, limit=1)
    assert ([one.repository for one in page.events], page.cursor.position, page.more) == (["r0"], 1, True)
    page = await event_pages.read_page(database, page.cursor, Filter(), only_even, limit=5)
    assert ([one.repository for one in page.events], page.cursor.position, page.more) == (["r2"], 4, False)
