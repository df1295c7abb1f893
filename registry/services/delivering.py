"""Delivering events to one endpoint, in the process that does this work. `docs/decisions/025-webhooks.md`.

Events are taken from the stream in batches. Those of one repository are sent one after the other, those of different
ones side by side. A delivery that failed, or that takes so long that others would wait for it, becomes a waiting row;
later events of its repository become rows behind it, and the stream goes on without it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from registry.db import deliveries, events
from registry.db.connection import Database
from registry.db.deliveries import Result, State
from registry.db.webhooks import Webhook
from registry.errors import CursorGone
from registry.event import Event
from registry.services.delivery_items import LOST, Failures, Item, item_of, item_of_row
from registry.services.endpoint_health import Health
from registry.services.feed import Feed
from registry.services.recording import Recorder
from registry.services.sending import Sender, Sent
from registry.webhooks.endpoint import Endpoint
from registry.webhooks.message import Message

_LINGER_S = 0.5
"""A batch is left behind when nothing of it came to an end for so long, while there are hands free."""
_LONGEST_BATCH_S = 5.0
_LONGEST_SILENCE_S = 30.0
_ROWS = 50
_REPOSITORIES = 100
_UNHEARD_S = 3600.0

_logger = logging.getLogger("stowage.webhooks")

MessageFor = Callable[[Endpoint, Event], Message | None]
Count = Callable[[str], None]


class Delivering:
    """Delivers to one endpoint until it is stopped.

    Args:
        pause: lets the endpoint rest, for a reason: it wants no more.
        count: told of each try: `delivered`, `failed` or `given_up`.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed,
        recorder: Recorder,
        endpoint: Endpoint,
        row: Webhook,
        sender: Sender,
        *,
        message_for: MessageFor,
        pause: Callable[[Endpoint, str], Awaitable[None]],
        count: Count,
    ) -> None:
        self.endpoint = endpoint
        self._database = database
        self._feed = feed
        self._recorder = recorder
        self._sender = sender
        self._message_for = message_for
        self._pause = pause
        self._count = count
        self._position = row.position
        self._slots = asyncio.Semaphore(endpoint.options.concurrency)
        self._running = 0
        self._ended_at = 0.0  # when a try last came to an end
        self._held: set[str] = set()  # repositories of which a row waits
        self._busy: dict[str, asyncio.Task[None]] = {}  # what a repository's events are sent by, the last of it
        self._tasks: set[asyncio.Task[None]] = set()
        self._added: dict[str, int] = {}  # how often a row was put behind others of a repository
        self._health = Health(endpoint.options)
        self._look_at = 0.0  # when a row is due
        self._failures = Failures(str(endpoint))

    async def run(self) -> None:
        """Deliver, for ever. Raises LeaseLost, Unavailable, and whatever a defect raises: then it is begun anew."""
        try:
            self._held = await deliveries.held(self._database, self.endpoint.id)
            if self._held:
                await self._let_firsts_be_due()
            while True:
                await self._step()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._sender.close()

    async def _step(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            task.result()  # raises what went wrong there
        await self._recorder.room()
        await asyncio.sleep(self._health.rest_s)
        if self._health.is_down:
            await self._probe()
            return
        await self._go_on_with_rows()
        silence_s = _LINGER_S if self._tasks else _LONGEST_SILENCE_S
        if self._held:
            silence_s = min(silence_s, self._look_at - time.monotonic())
        await self._take(await self._next(max(0.0, silence_s)))

    async def _next(self, within_s: float) -> list[Event]:
        """Return what comes next in the stream, if it comes soon."""
        try:
            return [entry.event for entry in await self._feed.after(self._position, within_s=within_s)]
        except CursorGone:
            first = await events.oldest(self._database)
            last = (await events.stream(self._database)).position if first is None else first[0] - 1
            missed = max(0, last - self._position)
            _logger.error(
                "%s: %d events are older than events.keep and were dropped before it was told of them",
                self._failures.name,
                missed,
            )
            self._position = max(self._position, last)
            self._recorder.reach(self.endpoint.id, self._position, missed=missed)
            return []

    async def _probe(self) -> None:
        """While the endpoint as a whole fails: try one thing that waits, and one that is new, and rest if both fail."""
        waiting = await deliveries.next_due(self._database, self.endpoint.id)
        if waiting is not None and waiting[0] not in self._busy:
            self._start(waiting[0], self._send_rows(waiting[0], most=1))
            await asyncio.wait([self._busy[waiting[0]]])
        if self._health.is_down:
            coming = await self._next(0.0)
            first = next((at for at, one in enumerate(coming) if self._is_new(one)), None)
            await self._take(coming if first is None else coming[: first + 1])
        if not self._health.is_down:
            return
        if not self._health.rests:
            _logger.warning("%s fails as a whole: it is tried now and then", self._failures.name)
        self._health.rest_longer()

    def _is_new(self, event: Event) -> bool:
        return event.repository not in self._held and self.endpoint.wants(event)

    async def _go_on_with_rows(self) -> None:
        """Begin to send what is due again."""
        if not self._held or self._look_at > time.monotonic():
            return
        room = _REPOSITORIES - len(self._busy)
        if room <= 0:  # each has read some events, and waits for a slot
            self._look_at = time.monotonic() + _LINGER_S
            return
        await self._recorder.flush()  # what is to wait may not be written yet
        due = await deliveries.due(self._database, self.endpoint.id, limit=_REPOSITORIES)
        for repository in [one for one in due if one not in self._busy][:room]:
            self._held.add(repository)
            self._start(repository, self._send_rows(repository))
        following = await deliveries.next_due(self._database, self.endpoint.id)
        wait_s = _LONGEST_SILENCE_S if following is None else following[1]
        if following is not None and following[0] in self._busy:
            wait_s = max(_LINGER_S, wait_s)
        self._look_at = time.monotonic() + wait_s

    async def _take(self, coming: list[Event]) -> None:
        """Send what is new, and put behind others what has to wait for them; then it is done with."""
        if not coming:
            return
        queues: dict[str, list[Item]] = {}
        for event in coming:
            if not self.endpoint.wants(event) or self._message_for(self.endpoint, event) is None:
                continue
            item = item_of(event)
            if event.repository in self._held:
                self._store(item)
            else:
                queues.setdefault(event.repository, []).append(item)
        for repository, items in queues.items():
            self._start(repository, self._send(repository, items, self._busy.get(repository)))
        await self._await([self._busy[repository] for repository in queues])
        for repository, items in queues.items():
            left = [item for item in items if not item.is_over and not item.is_stored]
            for number, item in enumerate(left):
                self._held.add(repository)
                self._store(item, delay_s=0.0 if number == 0 else None)  # due, should this process die
        self._position = coming[-1].position
        self._recorder.reach(self.endpoint.id, self._position)

    async def _await(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait until all are done, or until others would wait too long for the rest."""
        began = self._ended_at = time.monotonic()
        pending = set(tasks)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_LINGER_S / 2)
            now = time.monotonic()
            is_stuck = now - self._ended_at > _LINGER_S or now - began > _LONGEST_BATCH_S
            if is_stuck and self._running < self.endpoint.options.concurrency:
                return

    def _start(self, repository: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"webhook {self.endpoint.name}: {repository}")
        self._busy[repository] = task
        self._tasks.add(task)

        def leave(done: asyncio.Task[None]) -> None:
            if self._busy.get(repository) is done:
                del self._busy[repository]
            if not done.cancelled() and done.exception() is None:  # else the next step finds it
                self._tasks.discard(done)

        task.add_done_callback(leave)

    async def _send(self, repository: str, items: list[Item], before: asyncio.Task[None] | None) -> None:
        """Send new events of a repository, in order, as far as it goes; then those rows that they became.

        Args:
            before: what sends the ones before them.
        """
        if before is not None:
            await asyncio.wait([before])
        for item in items:
            if item.is_stored:  # the stream went on meanwhile, and what is left are rows
                break
            if not await self._try(item):
                self._held.add(repository)
                for later in items[items.index(item) + 1 :]:
                    if not later.is_stored:
                        self._store(later)
                return
        if repository in self._held:
            await self._send_rows(repository)

    async def _send_rows(self, repository: str, *, most: int = 0) -> None:
        """Send what waits of a repository, in order, as far as it goes.

        Args:
            most: tries, 0 for as many as there are. What is left then is due, for others to go on with.
        """
        tries = 0
        while True:
            added = self._added.get(repository, 0)
            await self._recorder.flush()
            is_enough = 0 < most <= tries
            if is_enough:
                await self._let_firsts_be_due()
            rows = await deliveries.of_repository(self._database, self.endpoint.id, repository, limit=_ROWS)
            if not rows and added == self._added.get(repository, 0):
                self._held.discard(repository)
                self._added.pop(repository, None)
                return
            if is_enough and rows:
                return
            for row in rows:  # events one by one: a hundred repositories may wait here
                item = item_of_row(row, await events.find(self._database, row.position))
                if item.event is None:
                    self._give_up(item, Sent(None, LOST, 0))
                    continue
                if not await self._try(item):
                    return
                tries += 1
                if tries == most:
                    break

    async def _let_firsts_be_due(self) -> None:
        await self._database.write(
            lambda tx: deliveries.let_firsts_be_due(tx, self.endpoint.id), reserve=True, durable=False
        )
        self._look_at = 0.0

    async def _try(self, item: Item) -> bool:
        """Try to deliver an event. Return whether its repository's next may be: it was delivered, or given up."""
        event = item.event
        message = None if event is None else self._message_for(self.endpoint, event)
        if message is None:  # the endpoint has another format by now, which has no words for it
            self._end(item, State.DELIVERED, Sent(None, None, 0))
            return True
        async with self._slots:
            if not self._health.is_down:
                await asyncio.sleep(self._health.rest_s)
            self._running += 1
            try:
                sent = await self._sender.send(item.event_id, message)
            finally:
                self._running -= 1
        self._ended_at = time.monotonic()
        item.attempts += 1
        if sent.delivered:
            self._count("delivered")
            self._end(item, State.DELIVERED, sent)
            await self._succeeded()
            return True
        self._count("failed")
        if sent.is_fault and not self._health.is_down:  # that nothing at all is taken says nothing of this event
            item.faults += 1
        self._health.failed(item.repository)
        self._failures.add(item, sent)
        if sent.gone:
            self._health.rest(_UNHEARD_S)
            await self._pause(self.endpoint, "it answered 410 Gone")
        elif self._is_enough(item):
            self._give_up(item, sent)
            await self._recorder.flush()  # what follows must not be sent while this could still be tried again
            return True
        delay_s = self._delay_s(item, sent)
        self._store(item, delay_s=delay_s, sent=sent)
        self._look_at = min(self._look_at, time.monotonic() + delay_s)
        return False

    async def _succeeded(self) -> None:
        was_down = self._health.is_down
        if self._health.rests:
            _logger.warning("%s takes messages again", self._failures.name)
        self._health.succeeded()
        if was_down:  # what waits for its time has no reason to
            await self._recorder.flush()
            await self._database.write(
                lambda tx: deliveries.let_all_be_due(tx, self.endpoint.id), reserve=True, durable=False
            )
            self._look_at = 0.0

    def _is_enough(self, item: Item) -> bool:
        options = self.endpoint.options
        if options.max_attempts and item.faults >= options.max_attempts:
            return True
        return bool(item.since) and time.time() - item.since > options.give_up

    def _delay_s(self, item: Item, sent: Sent) -> float:
        delay_s = self._health.backoff_s(item.attempts)
        if sent.retry_after_s is None:
            return delay_s
        asked_s = float(min(sent.retry_after_s, self.endpoint.options.backoff_cap))
        if sent.overloaded:
            self._health.rest(asked_s)
        return max(delay_s, asked_s)

    def _give_up(self, item: Item, sent: Sent) -> None:
        self._count("given_up")
        _logger.error(
            "%s: %s of %s (%s) was given up after %d tries: %s",
            self._failures.name,
            item.action,
            item.subject,
            item.event_id,
            item.attempts,
            sent.error,
        )
        self._end(item, State.GIVEN_UP, sent)

    def _end(self, item: Item, state: State, sent: Sent) -> None:
        item.is_over = True
        self._recorder.add(self._result(item, state, sent=sent))

    def _store(self, item: Item, *, delay_s: float | None = None, sent: Sent | None = None) -> None:
        """Have an event wait as a row."""
        item.is_stored = True
        self._added[item.repository] = self._added.get(item.repository, 0) + 1
        self._recorder.add(self._result(item, State.WAITING, delay_s=delay_s, sent=sent))

    def _result(self, item: Item, state: State, *, delay_s: float | None = None, sent: Sent | None = None) -> Result:
        made = item.result(self.endpoint.id, state, None if delay_s is None else int(delay_s * 1e6))
        return made if sent is None else made._replace(status=sent.status, error=sent.error, took_ms=sent.took_ms)
