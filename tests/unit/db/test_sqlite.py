"""The SQLite database: durable settings, grouped commits, and what an error takes with it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pysqlite3 as sqlite3
import pytest
from sqlalchemy import text

from registry.db import repositories
from registry.db.connection import Transaction
from registry.db.sqlite import SqliteDatabase, connect
from registry.db.statements import Statement
from registry.errors import NoSpace, Unavailable
from registry.oci.names import RepositoryName

pytestmark = pytest.mark.anyio


def name(number: int) -> RepositoryName:
    return RepositoryName(f"r{number:04}")


@pytest.fixture
async def database(path: Path, anyio_backend: str) -> AsyncIterator[SqliteDatabase]:
    """A started database."""
    opened = SqliteDatabase(path)
    await opened.start()
    yield opened
    await opened.stop()


async def test_when_the_disk_is_full_the_whole_batch_fails_and_reading_goes_on(
    database: SqliteDatabase, path: Path
) -> None:
    await database.write(lambda tx: repositories.find_or_create(tx, name(0)))
    filler = Statement(
        text("INSERT INTO outbox (repository, action, payload, created_at) SELECT 'x', 'x', hex(zeroblob(200000)), 0")
    )

    async def fill(transaction: Transaction) -> None:
        await transaction.all(Statement(text("PRAGMA max_page_count = 60")))
        await transaction.run(filler)

    results = await asyncio.gather(
        database.write(lambda tx: repositories.find_or_create(tx, name(1))),
        database.write(fill),
        database.write(lambda tx: repositories.find_or_create(tx, name(2))),
        return_exceptions=True,
    )
    assert isinstance(results[1], NoSpace)
    known = await repositories.page(database, after="", limit=9)
    acknowledged = [
        one for one, result in zip([name(1), name(2)], [results[0], results[2]], strict=True) if isinstance(result, int)
    ]
    assert known == [name(0), *acknowledged]


async def test_a_transaction_must_not_wait_for_anything_else(database: SqliteDatabase) -> None:
    async def waits(_: Transaction) -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="other than its database"):
        await database.write(waits)


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"this is not a database, but it is long enough to be looked at" * 20)
    with pytest.raises(Unavailable, match="bad"):
        await SqliteDatabase(tmp_path / "bad").start()


async def test_commits_are_synced_and_foreign_keys_are_kept(path: Path) -> None:
    raw = connect(path)
    assert raw.execute("PRAGMA synchronous").fetchone() == (2,)
    assert raw.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute("INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (1, 'x', 1, 0)")
    raw.close()
