"""The stream of events: their places in one order, and reading them in it. `docs/decisions/024-events.md`.

Positions follow each other without gaps, and what is dropped is the beginning: so whoever finds a gap knows that it was
away for too long.
"""

import secrets
from typing import NamedTuple

from sqlalchemy import delete, exists, func, literal, select, update

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, now, parameter
from registry.db.tables import deliveries, event_stream, outbox, webhooks
from registry.event import Event, parse_event

_WAITS = 0  # the state of a delivery
_EPOCH_BYTES = 6
_MOST_COUNTED = 10_000


class Stream(NamedTuple):
    """The stream as it is: its epoch, and the last position that was given; 0 before the first."""

    epoch: str
    position: int


class Waiting(NamedTuple):
    """Events without a position: how many, at most some thousands, and since when the first of them waits, in µs."""

    number: int
    since: int | None


class Row(NamedTuple):
    """An event that was not parsed yet. `at` in microseconds since 1970."""

    position: int
    id: int
    at: int
    action: str
    repository: str
    payload: str

    def event(self, epoch: str) -> Event:
        """Return the event."""
        return parse_event(
            id=self.id,
            position=self.position,
            epoch=epoch,
            at=self.at,
            action=self.action,
            repository=self.repository,
            payload=self.payload,
        )


_THE_ONE = event_stream.c.id == literal(1)
_STREAM = Statement(select(event_stream.c.epoch, event_stream.c.position).where(_THE_ONE))
_HOLD = Statement(select(event_stream.c.position).where(_THE_ONE).with_for_update())
_UNPLACED = select(outbox.c.id, outbox.c.created_at).where(outbox.c.position.is_(None)).order_by(outbox.c.id)
_NEXT_UNPLACED = Statement(_UNPLACED.limit(1))
_bounded = _UNPLACED.limit(parameter("limit")).subquery()
_WAITING = Statement(select(func.count(), func.min(_bounded.c.created_at)).select_from(_bounded))
_ranked = (
    select(outbox.c.id, func.row_number().over(order_by=outbox.c.id).label("rank"))
    .where(outbox.c.position.is_(None))
    .order_by(outbox.c.id)
    .limit(parameter("limit"))
    .subquery()
)
_PLACE = Statement(
    update(outbox).where(outbox.c.id == _ranked.c.id).values(position=parameter("last") + _ranked.c.rank)
)
_ADVANCE = Statement(update(event_stream).where(_THE_ONE).values(position=event_stream.c.position + parameter("count")))
_COLUMNS = (
    outbox.c.position,
    outbox.c.id,
    outbox.c.created_at,
    outbox.c.action,
    outbox.c.repository,
    outbox.c.payload,
)
_PAGE = Statement(
    select(*_COLUMNS)
    .where(outbox.c.position.is_not(None), outbox.c.position > parameter("after"))
    .order_by(outbox.c.position)
    .limit(parameter("limit"))
)
_BEFORE = Statement(
    select(*_COLUMNS)
    .where(outbox.c.position.is_not(None), outbox.c.position < parameter("before"))
    .order_by(outbox.c.position.desc())
    .limit(parameter("limit"))
)
_ONE = Statement(select(*_COLUMNS).where(outbox.c.position == parameter("position")))
_OLDEST = Statement(
    select(outbox.c.position, outbox.c.created_at)
    .where(outbox.c.position.is_not(None))
    .order_by(outbox.c.position)
    .limit(1)
)
_window = (
    select(outbox.c.position, outbox.c.created_at)
    .where(outbox.c.position.is_not(None))
    .order_by(outbox.c.position)
    .limit(parameter("limit"))
    .subquery()
)
_LAST_OF_WINDOW = Statement(select(func.max(_window.c.position)))
_FIRST_YOUNG = Statement(select(func.min(_window.c.position)).where(_window.c.created_at >= now() - parameter("age")))
_going = (webhooks.c.paused_at.is_(None), webhooks.c.absent_since.is_(None))
_FIRST_AWAITED = Statement(
    select(func.min(deliveries.c.position)).where(
        deliveries.c.state == literal(_WAITS), exists().where(webhooks.c.id == deliveries.c.webhook_id, *_going)
    )
)
_LEAST_DELIVERED = Statement(select(func.min(webhooks.c.position)).where(*_going))
_FORGET = Statement(delete(outbox).where(outbox.c.position.is_not(None), outbox.c.position <= parameter("last")))
_NEW_EPOCH = Statement(update(event_stream).where(_THE_ONE).values(epoch=parameter("epoch")))


async def stream(reader: Reader) -> Stream:
    """Return the stream as it is now."""
    row = await reader.first(_STREAM)
    assert row is not None  # noqa: S101 - made with the schema
    return Stream(*row)


async def begin_epoch(transaction: Transaction) -> None:
    """Let every cursor that was given out lead nowhere."""
    await transaction.run(_NEW_EPOCH, epoch=secrets.token_hex(_EPOCH_BYTES))


async def any_unplaced(reader: Reader) -> bool:
    """Say whether an event waits for its position. Costs next to nothing where none does."""
    return await reader.first(_NEXT_UNPLACED) is not None


async def waiting(reader: Reader) -> Waiting:
    """Return how many events wait for their position."""
    row = await reader.first(_WAITING, limit=_MOST_COUNTED)
    assert row is not None  # noqa: S101 - an aggregate
    return Waiting(*row)


async def place(transaction: Transaction, *, limit: int) -> int:
    """Give up to `limit` committed events their positions, in the order of their ids, and return how many there were.

    One statement sees them all at one moment. Whoever changes a repository holds it from before its event gets an id
    until it is committed: so of the events of one repository none is seen that has a lower id than one placed before.
    """
    row = await transaction.first(_HOLD)
    assert row is not None  # noqa: S101 - made with the schema
    placed = await transaction.run(_PLACE, last=row[0], limit=limit)
    if placed:
        await transaction.run(_ADVANCE, count=placed)
    return placed


async def page(reader: Reader, *, after: int, limit: int) -> list[Row]:
    """Return up to `limit` events after a position, in order. The first is `after + 1`, or else some were dropped."""
    return [Row(*row) for row in await reader.all(_PAGE, after=after, limit=limit)]


async def page_before(reader: Reader, *, before: int, limit: int) -> list[Row]:
    """Return up to `limit` events before a position, the newest first."""
    return [Row(*row) for row in await reader.all(_BEFORE, before=before, limit=limit)]


async def find(reader: Reader, position: int) -> Row | None:
    """Return the event at a position, None if it was dropped, or is still to come."""
    row = await reader.first(_ONE, position=position)
    return None if row is None else Row(*row)


async def oldest(reader: Reader) -> tuple[int, int] | None:
    """Return position and time, in µs, of the oldest event that has a place and is kept; None if there is none."""
    row = await reader.first(_OLDEST)
    return None if row is None else (row[0], row[1])


async def forget(transaction: Transaction, *, age_s: int, limit: int, awaited_s: int | None = None) -> int:
    """Of the `limit` first events drop those older than `age_s` seconds, and return how many.

    None goes that has no position, that an endpoint has not come to, or that a delivery waits for; and none that comes
    after one that stays. For an endpoint that is paused nothing stays: it may never go on.

    Args:
        awaited_s: age at which events go although somebody waits for them; None: they never do.
    """
    last = await _number(transaction, _LAST_OF_WINDOW, limit=limit)
    if last is None:
        return 0
    old = await _last_older(transaction, last, age_s, limit)
    wanted = old
    if (awaited := await _number(transaction, _FIRST_AWAITED)) is not None:
        wanted = min(wanted, awaited - 1)
    if (delivered := await _number(transaction, _LEAST_DELIVERED)) is not None:
        wanted = min(wanted, delivered)
    if wanted < old and awaited_s is not None:
        wanted = max(wanted, await _last_older(transaction, old, awaited_s, limit))
    return await transaction.run(_FORGET, last=wanted)


async def _last_older(reader: Reader, last: int, age_s: int, limit: int) -> int:
    """Return the position before the first event that is not so old, `last` at most."""
    young = await _number(reader, _FIRST_YOUNG, limit=limit, age=age_s * 1_000_000)
    return last if young is None else min(last, young - 1)


async def _number(reader: Reader, statement: Statement, **parameters: int) -> int | None:
    row = await reader.first(statement, **parameters)
    return None if row is None else row[0]
