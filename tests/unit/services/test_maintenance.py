"""Maintenance as one process sees it, on a real database."""

import asyncio
from collections.abc import Callable

import pytest

from registry.db import maintenance
from registry.db.connection import Database
from registry.errors import ReadOnly, Unavailable
from registry.services.maintenance import Maintenance
from tests.support.databases import Place

pytestmark = pytest.mark.anyio


async def begin(database: Database, message: str = "", retry_after: int = 30) -> None:
    await database.write(lambda tx: maintenance.begin(tx, message=message, retry_after=retry_after))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it is found out by looking
            await asyncio.sleep(0.02)


async def test_it_is_known_at_the_start_and_found_out_later(database: Database) -> None:
    await begin(database, "why", 7)
    one = Maintenance(database)
    await one.start()
    try:
        with pytest.raises(ReadOnly, match="for maintenance: why") as refused:
            one.admit()
        assert refused.value.retry_after == 7
        await database.write(maintenance.end)
        await until(lambda: not one.on)
        one.admit()
        await begin(database)
        await until(lambda: one.on)
        with pytest.raises(ReadOnly, match=r"for maintenance$"):
            one.admit()
    finally:
        await one.stop()


async def test_what_was_known_stays_true_while_the_database_does_not_answer(
    place: Place, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await begin(database)
    other = place.new()
    await other.start()
    one = Maintenance(other)
    await one.start()
    try:
        await other.stop()
        await until(lambda: "can't be asked" in caplog.text)
        assert one.on
    finally:
        await one.stop()


async def test_said_again_it_changes_what_it_says_and_not_since_when(database: Database) -> None:
    await begin(database, "first", 1)
    first = await maintenance.find(database)
    await begin(database, "second", 2)
    second = await maintenance.find(database)
    assert first is not None
    assert second is not None
    assert (second.since, second.message, second.retry_after) == (first.since, "second", 2)
    assert await database.write(maintenance.end)
    assert not await database.write(maintenance.end)
    assert await maintenance.find(database) is None


async def test_before_it_was_ever_known_nothing_is_written(place: Place) -> None:
    closed = place.new()
    one = Maintenance(closed)
    await one.start()
    try:
        with pytest.raises(Unavailable, match="not known yet"):
            one.admit()
        await closed.start()
        await until(lambda: not is_refused(one))
    finally:
        await one.stop()
        await closed.stop()


def is_refused(maintenance: Maintenance) -> bool:
    try:
        maintenance.admit()
    except Unavailable:
        return True
    return False
