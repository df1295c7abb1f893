"""Delivers events to endpoints, in one process at a time. `docs/decisions/025-webhooks.md`.

Each endpoint has a task of its own; this looks after them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from auth.addresses import Network
from registry.db import deliveries, webhooks
from registry.db.connection import Database, Transaction
from registry.db.deliveries import Result, State
from registry.db.projects import EVERYWHERE
from registry.db.webhooks import Webhook
from registry.errors import Unavailable
from registry.event import Event
from registry.jobs.runner import Lease, LeaseLost, Paused
from registry.services import audit, recording
from registry.services.delivering import Delivering
from registry.services.endpoints import NOT_OPENED, Configured, Endpoints
from registry.services.feed import Feed
from registry.services.recording import Reached, Recorder, Write
from registry.services.sending import Sender
from registry.webhooks.endpoint import Endpoint
from registry.webhooks.formats import message_for
from registry.webhooks.message import Message

NAME = "deliver"
ACTOR = "system:webhooks"
OUTCOMES = ("delivered", "failed", "given_up")
_LOOK_S = 1.0
_CLEAN_S = 600.0
_BATCH = 1000
_ABSENT_S = 3600
"""How long an endpoint that is not in the settings keeps its place: replicas get new settings one after the other."""
_MESSAGES = 1024

_logger = logging.getLogger("stowage.webhooks")


@dataclass(slots=True)
class _Working:
    """An endpoint that is delivered to. `revision`: of its row, when this was begun."""

    revision: int
    task: asyncio.Task[None]


async def is_wanted(database: Database, configured: Mapping[str, Configured]) -> bool:
    """Say whether there is anybody to deliver to, or was."""
    return bool(configured) or bool(await webhooks.revisions(database))


async def provide(database: Database, configured: Mapping[str, Configured]) -> None:
    """Have endpoints of the settings told of what happens from now on, those that are new."""

    async def work(transaction: Transaction) -> None:
        for one in configured.values():
            await _add(transaction, one)

    if configured:
        await database.write(work, reserve=True)


def writing(lease: Lease) -> Write:
    """Return what writes down deliveries while a lease lasts."""

    async def work(transaction: Transaction, results: Sequence[Result], reached: Sequence[Reached]) -> None:
        await lease.confirm(transaction)
        await recording.write(transaction, results, reached)

    async def write(results: Sequence[Result], reached: Sequence[Reached]) -> None:
        await lease.database.write(lambda tx: work(tx, results, reached), reserve=True, durable=False)

    return write


class Deliverer:
    """Delivers, for as long as it is run.

    Args:
        feed: the stream, with room for as many followers as there may be endpoints.
        endpoints: says what endpoints are.
        write: writes down what became of deliveries.
        networks: where endpoints of the database may be beside the internet.
        keep_s: how long what was delivered is kept, and what was given up.
        count: told of each try, by one of OUTCOMES.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed,
        endpoints: Endpoints,
        write: Write,
        *,
        networks: Sequence[Network],
        public_url: str,
        keep_s: tuple[int, int],
        count: Callable[[str], None],
    ) -> None:
        self._database = database
        self._feed = feed
        self._endpoints = endpoints
        self._recorder = Recorder(write)
        self._networks = networks
        self._keep_s = keep_s
        self._count = count
        self._messages = Messages(public_url)
        self._cleaned_at = 0.0
        self._generation: bytes | None = None  # the database's, when endpoints were last looked at
        self._working: dict[int, _Working] = {}
        self._known: dict[int, int] = {}  # revisions of all endpoints, when they were last looked at
        self._is_failing = False

    async def run(self) -> None:
        """Deliver until it is cancelled, and write down what came of it. Raises LeaseLost."""
        flushing = asyncio.create_task(self._recorder.keep_flushing(), name="deliveries")
        try:
            while not flushing.done():
                try:
                    await self._look_after()
                    self._is_failing = False
                except Unavailable as error:
                    if not self._is_failing:
                        _logger.warning("webhooks wait until the database answers: %s", error)
                    self._is_failing = True
                await asyncio.wait([flushing], timeout=_LOOK_S)
            await flushing
        finally:
            await self._end(flushing)

    async def _end(self, flushing: asyncio.Task[None]) -> None:
        tasks = [flushing, *(working.task for working in self._working.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(LeaseLost, Paused, Unavailable):
            await self._recorder.flush()
        await self._feed.stop()

    async def _look_after(self) -> None:
        """Begin and end what delivers to each endpoint, as they come, change and go."""
        if not self._cleaned_at:
            configured = self._endpoints.configured
            await self._database.write(lambda tx: _follow_settings(tx, configured), reserve=True)
        if not self._cleaned_at or time.monotonic() - self._cleaned_at > _CLEAN_S:
            await self._clean()
        ended = [webhook_id for webhook_id, one in self._working.items() if one.task.done()]
        for webhook_id in ended:
            self._tell_why(self._working.pop(webhook_id).task)
        generation = self._database.generation()
        if not ended and generation is not None and generation == self._generation:
            return
        revisions = await webhooks.revisions(self._database)
        changed = [webhook_id for webhook_id, one in self._working.items() if revisions.get(webhook_id) != one.revision]
        for webhook_id in changed:
            working = self._working.pop(webhook_id)
            working.task.cancel()
            await asyncio.gather(working.task, return_exceptions=True)
        if changed or ended or revisions != self._known:
            self._generation, self._known = None, {}  # should it fail, it is tried again
            await self._begin()
            self._known = revisions
        self._generation = generation

    async def _begin(self) -> None:
        await self._recorder.flush()  # what begins anew begins after what was done
        for row in await webhooks.every(self._database):
            if row.id in self._working or row.paused_at is not None or row.absent_since is not None:
                continue
            try:
                endpoint, why = self._endpoints.of(row), NOT_OPENED
            except Unavailable as error:
                endpoint, why = None, str(error)
            if endpoint is None:
                if not row.is_file:
                    await self._pause(row.id, row.project, row.name, why)
                continue
            delivering = Delivering(
                self._database,
                self._feed,
                self._recorder,
                endpoint,
                row,
                Sender(endpoint, self._networks),
                message_for=self._messages.of,
                pause=self._pause_endpoint,
                count=self._count,
            )
            task = asyncio.create_task(self._deliver(delivering, f"webhook {endpoint}"), name=f"webhook {endpoint}")
            self._working[row.id] = _Working(row.revision, task)

    async def _deliver(self, delivering: Delivering, name: str) -> None:
        async with self._feed.following(name):
            await delivering.run()

    def _tell_why(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LeaseLost | Paused):
            raise error
        if isinstance(error, Unavailable):
            _logger.warning("%s waits until the database answers: %s", task.get_name(), error)
        elif error is not None:
            _logger.error("%s failed, and is begun anew", task.get_name(), exc_info=error)

    async def _pause_endpoint(self, endpoint: Endpoint, why: str) -> None:
        await self._pause(endpoint.id, endpoint.project, endpoint.name, why)

    async def _pause(self, webhook_id: int, project: str, name: str, why: str) -> None:
        async def work(transaction: Transaction) -> None:
            if await webhooks.pause(transaction, webhook_id, why):
                about = {"webhook": name, "why": why}
                await audit.record(transaction, "webhook.pause", audit.DONE, ACTOR, project=project, detail=about)

        await self._database.write(work, reserve=True)
        _logger.error("webhook %s is paused: %s", f"{project}/{name}" if project else name, why)

    async def _clean(self) -> None:
        """Remove what is kept no more."""
        self._cleaned_at = time.monotonic()
        await self._database.write(lambda tx: webhooks.remove_absent(tx, age_s=_ABSENT_S), reserve=True)
        for state, age_s in zip((State.DELIVERED, State.GIVEN_UP), self._keep_s, strict=True):
            forgotten = _BATCH
            while forgotten >= _BATCH:
                forgotten = await self._forget(state, age_s)

    async def _forget(self, state: State, age_s: int) -> int:
        return await self._database.write(
            lambda tx: deliveries.forget(tx, state, age_s=age_s, limit=_BATCH), reserve=True
        )


class Messages:
    """Makes messages of events, each but once for all endpoints of a format."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url
        self._made = lru_cache(_MESSAGES)(self._make)

    def of(self, endpoint: Endpoint, event: Event) -> Message | None:
        """Return what an endpoint is sent of an event."""
        return self._made(_Kind(endpoint, event))

    def _make(self, kind: "_Kind") -> Message | None:
        return message_for(kind.endpoint, kind.event, public_url=self._public_url)


class _Kind:
    """What messages are the same by: the event, and how the endpoint reads it."""

    __slots__ = ("_key", "endpoint", "event")

    def __init__(self, endpoint: Endpoint, event: Event) -> None:
        self.endpoint = endpoint
        self.event = event
        self._key = (event.cursor, endpoint.format, endpoint.options.mode, bool(endpoint.project))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kind) and self._key == other._key


async def _follow_settings(transaction: Transaction, configured: dict[str, Configured]) -> None:
    """Let the rows of endpoints in the settings be as these say. They keep how far they have come."""
    rows: dict[str, Webhook] = {
        row.name: row for row in await webhooks.every(transaction) if row.project_id == EVERYWHERE
    }
    for name, row in rows.items():
        if row.is_file and name not in configured:
            await webhooks.set_absent(transaction, row.id)
    for name, one in configured.items():
        found = rows.get(name)
        wanted = (True, one.address, one.format, one.options_json)
        if found is None:
            await _add(transaction, one)
        elif (found.is_file, found.address, found.format, found.options) != wanted or found.absent_since is not None:
            if not found.is_file:
                _logger.warning("webhook %s of the database is that of the settings from now on", name)
            await webhooks.change(
                transaction,
                found.id,
                is_file=True,
                address=one.address,
                format=one.format,
                options=one.options_json,
                sealed=None,
            )


async def _add(transaction: Transaction, one: Configured) -> None:
    """Make the row of an endpoint in the settings, unless there is one of its name."""
    await webhooks.add(
        transaction,
        project_id=EVERYWHERE,
        name=one.name,
        is_file=True,
        address=one.address,
        format=one.format,
        options=one.options_json,
        sealed=None,
        actor="settings",
    )
