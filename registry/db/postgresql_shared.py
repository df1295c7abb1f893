"""Reads that are asked for several times at once: one answer for all who came before its statement began.

A hundred nodes that start the same image ask for the same tag at the same moment. Each of them may know of a change
that was committed before it asked, so nobody gets an answer that was on its way already: those who come meanwhile share
the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from registry.db.statements import Row

Key = tuple[Any, ...]
"""A statement and the values of its parameters."""
Ask = Callable[[], Awaitable[Row | None]]


class SharedReads:
    """What is on its way now, and who waits for the next. For one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[asyncio.Future[Row | None]]] = {}
        self._following: set[asyncio.Task[None]] = set()

    async def first(self, key: Key, ask: Ask) -> Row | None:
        """Return what `ask` finds, begun by now or later. Raises what it raises."""
        waiting = self._waiting.get(key)
        if waiting is not None:
            future: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
            waiting.append(future)
            return await future
        self._waiting[key] = []
        try:
            return await ask()
        finally:
            if self._waiting[key]:
                following = asyncio.create_task(self._follow(key, ask), name="shared read")
                self._following.add(following)
                following.add_done_callback(self._following.discard)
            else:
                del self._waiting[key]

    async def _follow(self, key: Key, ask: Ask) -> None:
        """Ask for those who wait, and again for those who came meanwhile, until nobody does."""
        waiting: list[asyncio.Future[Row | None]] = []
        try:
            while waiting := [future for future in self._waiting[key] if not future.done()]:
                self._waiting[key] = []
                try:
                    found = await ask()
                except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait to raise
                    for future in waiting:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for future in waiting:
                        if not future.done():
                            future.set_result(found)
        finally:  # where this was cancelled, nobody waits for ever
            for future in (*waiting, *self._waiting.pop(key)):
                future.cancel()
