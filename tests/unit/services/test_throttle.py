"""Failed logins: who waits, how long, and who does not."""

import asyncio

import pytest

from auth.errors import TooManyAttempts
from registry.db import login_failures
from registry.db.connection import Database
from registry.services.throttle import Throttle, network_of
from tests.support.databases import Place

pytestmark = pytest.mark.anyio

HERE, THERE = "192.0.2.1", "192.0.2.2"


def throttle(database: Database, *, attempts: int = 3, window_s: int = 900) -> Throttle:
    return Throttle(database, b"secret", attempts=attempts, window_s=window_s)


async def wait(asked: Throttle, name: str, address: str) -> int:
    """For how long somebody has to wait."""
    try:
        await asked.admit(name, address)
    except TooManyAttempts as refused:
        return refused.retry_after
    return 0


def pause_of(place: Place) -> int:
    """The wait in seconds that the last failure brought for the account at its address."""
    [(pause,)] = place.sql("SELECT until - last_at FROM login_failures WHERE key NOT LIKE '%*%'")
    return round(int(pause) / 1e6)


async def test_an_account_waits_longer_with_each_failure_from_one_address(database: Database, place: Place) -> None:
    one, other = throttle(database), throttle(database)  # as two workers
    pauses = []
    for asked in (one, other, one, other, one, other, one, other, one, other):
        await asked.failed("ann", HERE)
        pauses.append(await asyncio.to_thread(pause_of, place))
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128]
    assert await wait(other, "ann", HERE) > 60
    assert await wait(one, "ann", THERE) == 0
    assert await wait(one, "ben", HERE) == 0


async def test_to_wait_has_an_end(database: Database, place: Place) -> None:
    one = throttle(database, attempts=1, window_s=10)
    for _ in range(8):
        await one.failed("ann", HERE)
    assert await asyncio.to_thread(pause_of, place) == 10


async def test_one_account_from_everywhere_and_one_address_for_everybody_wait_too(database: Database) -> None:
    one = throttle(database, attempts=1)
    for number in range(24):
        await one.failed("ann", f"198.51.100.{number}")
    assert await wait(one, "ann", HERE) > 0
    assert await wait(one, "ben", HERE) == 0
    for number in range(24):
        await one.failed(f"user{number}", THERE)
    assert await wait(one, "somebody", THERE) > 0
    assert await wait(one, "ben", HERE) == 0


async def test_who_got_in_begins_anew(database: Database) -> None:
    one = throttle(database)
    await one.failed("ann", HERE)
    await one.failed("ann", HERE)
    assert await one.admit("ann", HERE)
    await one.succeeded("ann", HERE)
    assert not await one.admit("ann", HERE)
    await one.failed("ann", HERE)
    assert await wait(one, "ann", HERE) == 0


async def test_what_is_long_ago_does_not_count_and_goes(database: Database) -> None:
    one = throttle(database)
    for _ in range(3):
        await one.failed("ann", HERE)
    late = throttle(database, window_s=0)
    assert await wait(late, "ann", HERE) == 0
    far = 2**62
    assert await database.write(lambda tx: login_failures.forget(tx, 0)) == 0
    assert await database.write(lambda tx: login_failures.forget(tx, far)) == 3
    assert await wait(one, "ann", HERE) == 0


async def test_names_are_not_kept(database: Database, place: Place) -> None:
    """People type their password where their name belongs."""
    await throttle(database).failed("hunter2", HERE)
    rows = await asyncio.to_thread(place.sql, "SELECT key FROM login_failures")
    assert len(rows) == 3
    assert "hunter2" not in str(rows)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_an_address_stands_for_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
