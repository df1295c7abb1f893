"""The process that delivers events to webhooks, for the worker that started it. `registry.jobs.delivery_process`.

Its standard input is a socket to that worker: who tells it what to do, writes what it wants written, and without whom
it ends.
"""

import asyncio
import itertools
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Sequence

import uvloop

from registry import logs
from registry.db.deliveries import Result
from registry.db.place import place_of
from registry.errors import Unavailable
from registry.jobs import frames
from registry.jobs.deliver import Deliverer
from registry.jobs.delivery_process import Begin, ToWrite, Tried, Written
from registry.jobs.runner import LeaseLost
from registry.services.endpoints import Endpoints, configured
from registry.services.feed import Feed
from registry.services.recording import Reached
from registry.services.vault import vault_of

_NICE = 10
"""It gets a tenth of what a worker does, where there is not enough for both."""
_COUNT_S = 1.0
_MOST_ENDPOINTS = 1_000_000  # as many as there are: each follows the stream

_logger = logging.getLogger("stowage.webhooks")


class Worker:
    """The worker at the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._counts: Counter[str] = Counter()
        self._is_gone = False

    async def begin(self) -> Begin | None:
        """Return what to do; None if there is nobody any more."""
        found: Begin | None = await frames.receive(self._reader)
        return found

    async def listen(self, stop: asyncio.Event) -> None:
        """Take answers until there is nobody any more; `stop` is set when it is to end, or has to."""
        while (message := await frames.receive(self._reader)) is not None:
            if isinstance(message, Written):
                self._waiting.pop(message.number).set_result(message.problem)
            else:
                stop.set()
        self._is_gone = True
        stop.set()
        for future in self._waiting.values():
            future.set_exception(LeaseLost("the worker has gone"))
        self._waiting.clear()

    async def write(self, results: Sequence[Result], reached: Sequence[Reached]) -> None:
        """Have something written. Raises LeaseLost, Unavailable."""
        if self._is_gone:
            raise LeaseLost("the worker has gone")
        number = next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        frames.send(self._writer, ToWrite(number, results, reached))
        if problem := await asyncio.shield(answer):
            raise Unavailable(problem)

    def count(self, outcome: str) -> None:
        """Note a try."""
        self._counts[outcome] += 1

    async def keep_telling(self) -> None:
        """Tell of tries now and then."""
        while True:
            await asyncio.sleep(_COUNT_S)
            self.tell()

    def tell(self) -> None:
        """Tell of tries."""
        counts, self._counts = self._counts, Counter()
        for outcome, count in counts.items():
            frames.send(self._writer, Tried(outcome, count))

    def close(self) -> None:
        """Hang up, once all is sent."""
        self._writer.close()


async def deliver(connection: socket.socket) -> None:
    """Deliver until the worker says stop, or is gone."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**26)
    worker = Worker(reader, writer)
    begin = await worker.begin()
    if begin is None:
        return
    settings = begin.settings
    logs.configure(settings.logs, begin.instance)
    database = place_of(settings).open()
    await database.start()
    stop = asyncio.Event()
    deliverer = Deliverer(
        database,
        Feed(database, most=_MOST_ENDPOINTS),
        Endpoints(vault_of(settings), configured(settings.webhooks)),
        worker.write,
        networks=settings.delivery.networks,
        public_url=settings.http.public_url or "",
        keep_s=(settings.delivery.keep, settings.delivery.keep_failed),
        count=worker.count,
    )
    tasks = [asyncio.create_task(one) for one in (worker.listen(stop), worker.keep_telling(), deliverer.run())]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopping, tasks[-1]], return_when=asyncio.FIRST_COMPLETED)
    finally:
        tasks[-1].cancel()
        (ended,) = await asyncio.gather(tasks[-1], return_exceptions=True)
        worker.tell()
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        await database.stop()
        worker.close()
    if isinstance(ended, Exception) and not isinstance(ended, LeaseLost):
        _logger.error("webhooks can't be delivered to", exc_info=ended)


def main() -> None:
    """Run. Signals are for the supervisor alone, and reach this by way of the worker."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    connection = socket.socket(fileno=os.dup(0))
    uvloop.run(deliver(connection))


if __name__ == "__main__":
    main()
