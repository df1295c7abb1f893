"""A timer that is put off many times, armed few times, and goes off once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from registry.http.deadline import Deadline

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something, and then for what should not come after it."""
    for _ in range(6000):
        if condition():
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


class Counting:
    """A loop that counts the timers it is asked for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.armed = 0

    def call_at(self, moment: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        self.armed += 1
        return self._loop.call_at(moment, action)


@pytest.fixture
async def loop(anyio_backend: str) -> Any:
    """The running loop, counting."""
    return Counting()


async def test_the_action_set_last_is_the_one(loop: Any) -> None:
    found: list[str] = []
    deadline = Deadline(loop)
    deadline.set(0.01, lambda: found.append("first"))
    deadline.set(0.03, lambda: found.append("last"))
    await until(lambda: bool(found))
    assert found == ["last"]


async def test_putting_off_costs_no_timer(loop: Any) -> None:
    found: list[int] = []
    deadline = Deadline(loop)
    for number in range(1000):
        deadline.set(5, lambda number=number: found.append(number))  # type: ignore[misc]  # a default is no argument
        deadline.clear()
    assert loop.armed == 1
    deadline.set(0.01, lambda: found.append(-1))  # brought forward
    assert loop.armed == 2
    await until(lambda: bool(found))
    assert found == [-1]
    deadline.cancel()


async def test_what_was_cleared_or_cancelled_does_not_come(loop: Any) -> None:
    found: list[str] = []
    for end in (Deadline.clear, Deadline.cancel):
        deadline = Deadline(loop)
        deadline.set(0.01, lambda: found.append("came"))
        end(deadline)
        await asyncio.sleep(0.05)
        deadline.set(0.01, lambda: found.append("again"))
        await asyncio.sleep(0.05)
        deadline.cancel()
    assert found == ["again", "again"]


async def test_an_action_may_set_the_next(loop: Any) -> None:
    found: list[int] = []
    deadline = Deadline(loop)

    def action() -> None:
        found.append(len(found))
        if len(found) < 3:
            deadline.set(0.01, action)

    deadline.set(0.01, action)
    await until(lambda: len(found) == 3)
    assert found == [0, 1, 2]
