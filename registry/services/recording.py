"""Writes down what became of deliveries, for all endpoints together: a few transactions a second, however many."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from registry.db import deliveries, webhooks
from registry.db.connection import Transaction
from registry.db.deliveries import Result
from registry.errors import Unavailable

EVERY_S = 0.5
_MOST = 2000
_AFTER_FAILURE_S = 1.0


class Reached(NamedTuple):
    """How far an endpoint has come, and how many events more it never saw."""

    webhook_id: int
    position: int
    missed: int


Write = Callable[[Sequence[Result], Sequence[Reached]], Awaitable[None]]
"""Writes both in one transaction. Raises LeaseLost where another process does this work now, and Unavailable."""


class Recorder:
    """Gathers, and writes every half second, or when somebody waits for it.

    What it has not written is done again after a kill: so whoever goes by something that must not be undone (an event
    that was given up) waits for `flush` first.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._results: dict[tuple[int, int], Result] = {}
        self._reached: dict[int, Reached] = {}
        self._writing = asyncio.Lock()
        self._full = asyncio.Event()

    def add(self, result: Result) -> None:
        """Have something written, in place of what is known of the same delivery."""
        self._results[result.webhook_id, result.position] = result
        if len(self._results) >= _MOST:
            self._full.set()

    def reach(self, webhook_id: int, position: int, *, missed: int = 0) -> None:
        """Have written how far an endpoint has come, once what it did until then is."""
        before = self._reached.get(webhook_id)
        self._reached[webhook_id] = Reached(webhook_id, position, missed + (before.missed if before else 0))

    async def room(self) -> None:
        """Return when there is room for more."""
        if len(self._results) >= _MOST:
            await self.flush()

    async def flush(self) -> None:
        """Return when all that was added before is written. Raises LeaseLost, Unavailable, after which it is kept."""
        async with self._writing:
            if not self._results and not self._reached:
                return
            results, reached = self._results, self._reached
            self._results, self._reached = {}, {}
            self._full.clear()
            try:
                await self._write(list(results.values()), list(reached.values()))
            except BaseException:
                self._results = {**results, **self._results}
                newer, self._reached = self._reached, reached
                for one in newer.values():
                    self.reach(one.webhook_id, one.position, missed=one.missed)
                raise

    async def keep_flushing(self) -> None:
        """Write now and then, for ever. Raises LeaseLost."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._full.wait()
            try:
                await self.flush()
            except Unavailable:  # the database says so itself, and nothing is lost
                await asyncio.sleep(_AFTER_FAILURE_S)


async def write(transaction: Transaction, results: Sequence[Result], reached: Sequence[Reached]) -> None:
    """Write what became of deliveries, and how far endpoints have come."""
    ids = sorted({one.webhook_id for one in results} | {one.webhook_id for one in reached})
    there = await webhooks.hold(transaction, ids)  # one that was removed meanwhile has no deliveries
    rows = [one for one in results if one.webhook_id in there]
    if rows:
        await deliveries.record(transaction, rows)
    for one in reached:
        if one.webhook_id in there:
            await webhooks.advance(transaction, one.webhook_id, position=one.position, missed=one.missed)
