"""`/readyz`: what it says, and what a check that hangs costs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from registry.db.sqlite import SqliteDatabase
from registry.errors import Unavailable
from registry.http.context import Context
from registry.http.health import Readiness
from registry.services.maintenance import Maintenance
from tests.support.databases import new_sqlite

pytestmark = pytest.mark.anyio


class Part:
    """A database or a store as far as the checks know it: hangs or fails when told so."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.answer.set()
        self.asked = 0
        self.failure: Exception | None = None

    async def check(self) -> None:
        self.asked += 1
        await self.answer.wait()
        if self.failure is not None:
            raise self.failure

    def mark(self) -> str:
        return "d"


class Imported(Part):
    """Stores that were taken over."""

    async def check_imported(self) -> None:
        await self.check()


class Parts:
    """What `Readiness` asks of a Context."""

    def __init__(self, maintenance: Maintenance) -> None:
        self.database, self.driver, self.stores = Part(), Part(), Imported()
        self.maintenance = maintenance


@pytest.fixture
async def parts(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Parts]:
    new_sqlite(tmp_path / "db")
    database = SqliteDatabase(tmp_path / "db")
    await database.start()
    yield Parts(Maintenance(database))
    await database.stop()


def readiness(parts: Parts, patience_s: float = 30) -> Readiness:
    return Readiness(cast(Context, parts), instance="i", patience_s=patience_s)


async def test_it_names_what_does_not_answer_and_why(parts: Parts) -> None:
    found = await readiness(parts).look()
    assert found == {
        "ready": True,
        "database": "ok",
        "storage": "ok",
        "imported": "ok",
        "maintenance": False,
        "instance": "i",
        "data": "d",
    }
    parts.database.failure = Unavailable("the database failed: disk I/O error")
    found = await readiness(parts).look()
    assert (found["ready"], found["database"], found["storage"]) == (
        False,
        "the database failed: disk I/O error",
        "ok",
    )


async def test_a_defect_of_a_check_is_told_to_the_log_alone(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    parts.driver.failure = KeyError("a secret")
    found = await readiness(parts).look()
    assert not found["ready"]
    assert "secret" not in str(found)
    assert "a secret" in caplog.text


async def test_a_check_that_hangs_is_answered_for_and_not_begun_again(parts: Parts) -> None:
    asked = readiness(parts, patience_s=0.05)
    parts.driver.answer.clear()
    for _ in range(3):
        found = await asked.look()
        assert (found["ready"], found["database"]) == (False, "ok")
        assert "no answer" in found["storage"]
    assert parts.driver.asked == 1
    parts.driver.answer.set()
    await asyncio.sleep(0)
    assert (await asked.look())["ready"]


async def test_many_that_ask_at_once_cost_one_check(parts: Parts) -> None:
    asked = readiness(parts)
    parts.driver.answer.clear()
    looking = [asyncio.create_task(asked.look()) for _ in range(20)]
    await asyncio.sleep(0.01)
    parts.driver.answer.set()
    assert all(found["ready"] for found in await asyncio.gather(*looking))
    assert parts.driver.asked == 1


async def test_who_leaves_does_not_end_the_check_for_others(parts: Parts) -> None:
    asked = readiness(parts)
    parts.driver.answer.clear()
    leaving, staying = (asyncio.create_task(asked.look()) for _ in range(2))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.sleep(0.01)
    parts.driver.answer.set()
    assert (await staying)["ready"]
