"""Events on their way to one endpoint, and what is said of those that do not arrive."""

import logging
import time
from dataclasses import dataclass

from registry.db.deliveries import Delivery, Result, State
from registry.db.events import Row
from registry.event import Event
from registry.services.sending import Sent
from registry.webhooks.shown import name_of

LOST = "the event was dropped before it was delivered: it is older than events.keep"
_SAID_EVERY_S = 60.0

_logger = logging.getLogger("stowage.webhooks")


@dataclass(slots=True)
class Item:
    """An event on its way. `is_stored`: it has a row that says that it waits. `event` None: it was dropped."""

    position: int
    event_id: str
    repository: str
    action: str
    subject: str
    event: Event | None
    attempts: int = 0
    faults: int = 0
    since: float = 0.0
    is_stored: bool = False
    is_over: bool = False

    def result(self, webhook_id: int, state: State, delay_us: int | None) -> Result:
        """Return what is to be written of it."""
        return Result(
            webhook_id,
            self.position,
            self.event_id,
            self.repository,
            self.action,
            self.subject,
            state,
            self.attempts,
            self.faults,
            delay_us,
        )


class Failures:
    """Says in the log what fails, once a minute, however much it is."""

    def __init__(self, endpoint: str) -> None:
        self.name = f"webhook {endpoint}"
        self._count = 0
        self._said_at = 0.0

    def add(self, item: Item, sent: Sent) -> None:
        """Note a failure."""
        self._count += 1
        now = time.monotonic()
        if now - self._said_at < _SAID_EVERY_S and self._said_at:
            return
        more = f", and {self._count - 1} more before" if self._count > 1 else ""
        _logger.warning(
            "%s: %s of %s (%s) was not delivered: %s%s",
            self.name,
            item.action,
            item.subject,
            item.event_id,
            sent.error,
            more,
        )
        self._count, self._said_at = 0, now


def item_of(event: Event) -> Item:
    """Return an event as it comes from the stream."""
    return Item(event.position, event.cursor, event.repository, event.action, name_of(event), event)


def item_of_row(row: Delivery, kept: Row | None) -> Item:
    """Return what waits in a row. `kept`: its event, None if it was dropped."""
    epoch = row.event_id.partition("-")[0]  # as it was told before, though the stream may have another by now
    return Item(
        row.position,
        row.event_id,
        row.repository,
        row.action,
        row.subject,
        None if kept is None else kept.event(epoch),
        attempts=row.attempts,
        faults=row.faults,
        since=row.created_at / 1e6,
        is_stored=True,
    )
