"""Reads that several ask for at once."""

import asyncio

import pytest

from registry.db.postgresql_shared import SharedReads
from registry.db.statements import Row

pytestmark = pytest.mark.anyio


class Table:
    """Something to read, slowly. `value` is read when a statement begins."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.error: Exception | None = None

    async def ask(self) -> Row | None:
        self.reads += 1
        found, error = self.value, self.error
        await asyncio.sleep(0.01)
        if error is not None:
            raise error
        return (found,)


async def test_who_asks_at_once_shares_one_answer() -> None:
    shared, table = SharedReads(), Table()
    asking = [asyncio.create_task(shared.first(("a",), table.ask)) for _ in range(50)]
    assert await asyncio.gather(*asking) == [(0,)] * 50
    assert table.reads == 2


async def test_nobody_gets_what_was_read_before_he_asked() -> None:
    shared, table = SharedReads(), Table()
    asking: list[tuple[int, asyncio.Task[Row | None]]] = []
    for number in range(40):
        table.value = number
        asking.append((number, asyncio.create_task(shared.first(("a",), table.ask))))
        await asyncio.sleep(0.002)
    for known, task in asking:
        row = await task
        assert row is not None
        assert row[0] >= known
    assert table.reads < 40


async def test_other_parameters_are_another_question() -> None:
    shared, table = SharedReads(), Table()
    asking = [asyncio.create_task(shared.first(("a", number), table.ask)) for number in range(5)]
    await asyncio.gather(*asking)
    assert table.reads == 5


async def test_an_error_is_for_all_who_waited_for_it_and_nobody_else() -> None:
    shared, table = SharedReads(), Table()
    first = asyncio.create_task(shared.first(("a",), table.ask))
    await asyncio.sleep(0)
    table.error = ValueError("broken")
    waiting = [asyncio.create_task(shared.first(("a",), table.ask)) for _ in range(3)]
    assert await first == (0,)
    await asyncio.sleep(0.001)
    table.error = None
    later = asyncio.create_task(shared.first(("a",), table.ask))
    for task in waiting:
        with pytest.raises(ValueError, match="broken"):
            await task
    assert await later == (0,)


async def test_who_is_cancelled_takes_nobody_along() -> None:
    shared, table = SharedReads(), Table()
    asking = [asyncio.create_task(shared.first(("a",), table.ask)) for _ in range(4)]
    await asyncio.sleep(0.001)
    asking[0].cancel()
    asking[2].cancel()
    done = await asyncio.gather(*asking, return_exceptions=True)
    assert done[1] == done[3] == (0,)
    assert isinstance(done[0], asyncio.CancelledError)
    assert isinstance(done[2], asyncio.CancelledError)
    assert await shared.first(("a",), table.ask) == (0,)


async def test_nobody_waits_for_ever_where_the_loop_ends_what_is_on_its_way() -> None:
    shared, table = SharedReads(), Table()
    first = asyncio.create_task(shared.first(("a",), table.ask))
    await asyncio.sleep(0)
    second = asyncio.create_task(shared.first(("a",), table.ask))
    await first
    await asyncio.sleep(0)  # the second one's statement is on its way
    third = asyncio.create_task(shared.first(("a",), table.ask))
    await asyncio.sleep(0)
    (following,) = (task for task in asyncio.all_tasks() if task.get_name() == "shared read")
    following.cancel()
    for waiting in (second, third):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 5)
    assert await shared.first(("a",), table.ask) == (0,)
