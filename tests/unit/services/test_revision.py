"""The revision of rights: one that is older than two seconds decides nothing, whatever becomes of the polling."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from registry.db import authority
from registry.db.connection import Database
from registry.errors import Unavailable
from registry.services import revision
from registry.services.revision import OLDEST_S, Revision

pytestmark = pytest.mark.anyio

SOON = OLDEST_S - 0.001


class Clock:
    """The time that passes for a revision."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(revision, "monotonic", made)
    return made


async def change(database: Database) -> None:
    await database.write(authority.change)


async def test_where_asking_costs_nothing_each_question_is_asked(database: Database, clock: Clock) -> None:
    known = Revision(database, polled=False)
    before = await known.now()
    await change(database)
    assert await known.now() == before + 1


async def test_what_is_older_than_two_seconds_is_asked_for_though_nobody_polls(
    database: Database, clock: Clock
) -> None:
    known = Revision(database, polled=True)
    before = await known.now()
    await change(database)
    clock.now += SOON
    assert await known.now() == before
    clock.now += OLDEST_S - SOON
    assert await known.now() == before + 1


async def test_whoever_changed_something_goes_by_it_at_once(database: Database, clock: Clock) -> None:
    known = Revision(database, polled=True)
    before = await known.now()
    await change(database)
    await known.look_again()
    assert await known.now() == before + 1


class Slow:
    """A database that answers when it is told to, with what was so when it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.revision = 1
        self._asked: list[tuple[int, asyncio.Future[int]]] = []
        monkeypatch.setattr(authority, "revision", self._ask)

    async def _ask(self, database: Database) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked.append((self.revision, answer))
        return await answer

    async def answer(self, which: int = 0, error: Exception | None = None) -> None:
        """Answer the oldest question, or another one."""
        await asyncio.sleep(0)
        found, future = self._asked.pop(which)
        future.set_result(found) if error is None else future.set_exception(error)
        await asyncio.sleep(0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> Slow:
    return Slow(monkeypatch)


def asking(known: Callable[[], object]) -> "asyncio.Task[int]":
    return asyncio.ensure_future(cast("asyncio.Future[int]", known()))


async def test_an_answer_is_as_old_as_its_question(slow: Slow, clock: Clock) -> None:
    known = Revision(cast(Database, None), polled=True)
    first = asking(known.now)
    await asyncio.sleep(0)
    slow.revision = 2
    clock.now += OLDEST_S
    await slow.answer()
    assert await first == 1  # asked for before it was 2
    second = asking(known.now)
    await slow.answer()
    assert await second == 2


async def test_an_answer_that_is_late_hides_none_that_was_asked_for_later(slow: Slow, clock: Clock) -> None:
    known = Revision(cast(Database, None), polled=True)
    early = asking(known.now)
    await asyncio.sleep(0)
    slow.revision, clock.now = 2, clock.now + 0.1
    late = asyncio.ensure_future(known.look_again())
    await asyncio.sleep(0)
    await slow.answer(1)
    await late
    await slow.answer()
    assert await early == 2
    assert await known.now() == 2


async def test_who_can_not_be_told_is_not_told_what_was(slow: Slow, clock: Clock) -> None:
    known = Revision(cast(Database, None), polled=True)
    first = asking(known.now)
    await slow.answer()
    assert await first == 1
    clock.now += SOON
    assert await known.now() == 1
    clock.now += 1
    second = asking(known.now)
    await slow.answer(error=Unavailable("the database is away"))
    with pytest.raises(Unavailable):
        await second
