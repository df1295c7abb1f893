"""The pool of connections, and transactions that are run again, on a real server."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from sqlalchemy import text

from registry.db import repositories
from registry.db.connection import Transaction
from registry.db.postgresql import PostgresDatabase
from registry.db.postgresql_connection import connect
from registry.db.postgresql_pool import Pool
from registry.db.statements import Statement
from registry.errors import NoSpace, Unavailable
from registry.oci.names import RepositoryName
from tests.support import postgresql
from tests.support.served import eventually

pytestmark = pytest.mark.anyio
POOL = 3
WHO = Statement(text("SELECT pg_backend_pid()"))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    cluster = postgresql.shared_cluster()
    made = await asyncio.to_thread(cluster.create)
    yield made
    cluster.drop(made)


@pytest.fixture
def timeout_s() -> int:
    """The bound of a statement, and of waiting for a connection."""
    return 60


hasty = pytest.mark.parametrize("timeout_s", [2])


@pytest.fixture(params=[True, False], ids=["prepared", "not prepared"])
async def database(request: pytest.FixtureRequest, url: str, timeout_s: int) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(postgresql.target_of(url, pool=POOL, timeout=timeout_s, prepared=request.param))
    await opened.start()
    yield opened
    await opened.stop()


def name(text: str) -> RepositoryName:
    return RepositoryName(text)


def sessions(url: str) -> int:
    """How many connections the database has."""
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{postgresql.name_of(url)}'"
    return int(postgresql.shared_cluster().run(sql))


async def test_many_at_once_share_a_few_connections(database: PostgresDatabase, url: str) -> None:
    async def both(number: int) -> None:
        made = await database.write(lambda tx: repositories.find_or_create(tx, name(f"r{number % 7}")))
        assert await repositories.find(database, name(f"r{number % 7}")) == made

    await asyncio.gather(*(both(number) for number in range(60)))
    assert 1 <= sessions(url) <= POOL
    assert database.batches == 60


async def test_who_is_cancelled_takes_no_connection_along(database: PostgresDatabase, url: str) -> None:
    async def hold(transaction: Transaction) -> None:
        await repositories.find_or_create(transaction, name("lost"))
        await asyncio.sleep(60)

    held = [asyncio.ensure_future(database.write(hold)) for _ in range(POOL)]
    waiting = [asyncio.ensure_future(repositories.find(database, name("x"))) for _ in range(5)]
    await asyncio.sleep(0.2)
    for task in (*held, *waiting[:3]):
        task.cancel()
    await asyncio.gather(*held, *waiting, return_exceptions=True)
    assert waiting[4].result() is None
    assert await repositories.find(database, name("lost")) is None  # nothing of it stays
    await asyncio.gather(*(repositories.find(database, name("x")) for _ in range(POOL * 3)))
    assert sessions(url) <= POOL


async def test_who_is_cancelled_while_connecting_leaves_the_connection_to_others(url: str) -> None:
    """At whatever step that is: what asyncpg leaves of a connection that is cancelled would fail this test."""
    for steps in range(20):
        pool = Pool(lambda: connect(postgresql.target_of(f"{url}?sslmode=prefer")), 1)
        taking = asyncio.ensure_future(pool.take())
        for _ in range(steps):
            await asyncio.sleep(0)
        taking.cancel()
        with suppress(asyncio.CancelledError):
            pool.give_back(await taking)  # it was quicker
        raw = await pool.take()
        assert sessions(url) == 1
        pool.give_back(raw)
        await pool.close()
        gc.collect()


async def test_a_pool_that_is_closed_while_it_connects_leaves_nothing(url: str) -> None:
    pool = Pool(lambda: connect(postgresql.target_of(url)), 1)
    taking = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)
    taking.cancel()
    await pool.close()
    eventually(lambda: sessions(url) == 0)
    with pytest.raises(Unavailable, match="closed"):
        await pool.take()


async def test_a_deadlock_is_none_for_who_waits_for_it(database: PostgresDatabase) -> None:
    for one in ("a", "b"):
        await database.write(lambda tx, one=one: repositories.find_or_create(tx, name(one)))  # type: ignore[misc]  # a lambda's default
    runs = []
    both = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> str:
        async def work(transaction: Transaction) -> str:
            runs.append(first)
            await repositories.lock(transaction, name(first))
            if runs.count(first) == 1:
                await both.wait()
            await repositories.lock(transaction, name(second))
            return first

        return await database.write(work)

    assert [*await asyncio.gather(lock("a", "b"), lock("b", "a"))] == ["a", "b"]
    assert len(runs) > 2


async def test_what_is_found_missing_and_made_by_two_at_once_is_made_once(database: PostgresDatabase) -> None:
    find = Statement(text("SELECT id FROM repositories WHERE name = 'x'"))
    insert = Statement(text("INSERT INTO repositories (name, created_at) VALUES ('x', 0)"))

    async def work(transaction: Transaction) -> bool:
        if await transaction.first(find) is not None:
            return False
        await asyncio.sleep(0.05)
        await transaction.run(insert)
        return True

    assert sorted(await asyncio.gather(database.write(work), database.write(work))) == [False, True]


async def test_a_connection_that_is_lost_before_commit_is_made_up_for(database: PostgresDatabase) -> None:
    runs = 0

    async def work(transaction: Transaction) -> int:
        nonlocal runs
        runs += 1
        made = await repositories.find_or_create(transaction, name("x"))
        if runs == 1:
            row = await transaction.first(WHO)
            assert row is not None
            await asyncio.to_thread(postgresql.shared_cluster().run, f"SELECT pg_terminate_backend({row[0]}, 5000)")
        await repositories.find(transaction, name("x"))
        return made

    made = await database.write(work)
    assert (runs, await repositories.find(database, name("x"))) == (2, made)


@hasty
async def test_a_statement_that_takes_too_long_fails(database: PostgresDatabase) -> None:
    with pytest.raises(Unavailable, match=r"database\.timeout"):
        await database.write(lambda tx: tx.all(Statement(text("SELECT pg_sleep(30)"))))
    assert await repositories.find(database, name("x")) is None


async def test_an_error_that_work_passes_over_is_no_success(database: PostgresDatabase) -> None:
    async def work(transaction: Transaction) -> None:
        await repositories.find_or_create(transaction, name("x"))
        with pytest.raises(Exception, match="division by zero"):
            await transaction.first(Statement(text("SELECT 1 / 0")))

    with pytest.raises(Unavailable, match="undid"):
        await database.write(work)
    assert await repositories.find(database, name("x")) is None


async def test_a_full_disk_is_told_as_such(database: PostgresDatabase) -> None:
    full = Statement(text("DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$"))
    with pytest.raises(NoSpace):
        await database.write(lambda tx: tx.run(full))


async def test_upload_sessions_alone_do_not_wait_for_the_disk(database: PostgresDatabase) -> None:
    ask = Statement(text("SELECT current_setting('synchronous_commit')"))
    assert [(await database.write(lambda tx: tx.first(ask), durable=durable)) for durable in (True, False)] == [
        ("on",),
        ("off",),
    ]


@hasty
async def test_bounds_are_the_servers_own_too(database: PostgresDatabase) -> None:
    names = ("statement_timeout", "idle_in_transaction_session_timeout")
    ask = Statement(text("SELECT " + ", ".join(f"current_setting('{one}')" for one in names)))
    assert await database.write(lambda tx: tx.first(ask)) == ("2s", "2s")
