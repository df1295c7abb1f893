"""Maintenance as one process sees it, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from registry.db import maintenance
from registry.db.migrate import migrate_sqlite
from registry.db.sqlite import SqliteDatabase
from registry.errors import ReadOnly
from registry.services.maintenance import Maintenance

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SqliteDatabase]:
    migrate_sqlite(tmp_path / "db")
    opened = SqliteDatabase(tmp_path / "db")
    await opened.start()
    yield opened
    await opened.stop()


async def begin(database: SqliteDatabase, message: str = "", retry_after: int = 30) -> None:
    await database.write(lambda tx: maintenance.begin(tx, message=message, retry_after=retry_after))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it is found out by looking
            await asyncio.sleep(0.02)


async def test_it_is_known_at_the_start_and_found_out_later(database: SqliteDatabase) -> None:
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
    tmp_path: Path, database: SqliteDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    await begin(database)
    other = SqliteDatabase(tmp_path / "db")
    await other.start()
    one = Maintenance(other)
    await one.start()
    try:
        await other.stop()
        await until(lambda: "can't be asked" in caplog.text)
        assert one.on
    finally:
        await one.stop()


async def test_said_again_it_changes_what_it_says_and_not_since_when(database: SqliteDatabase) -> None:
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
