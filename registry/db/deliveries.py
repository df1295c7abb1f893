"""Deliveries: what became of events at endpoints, and what still waits."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Text, case, cast, delete, exists, func, literal, select, update
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Statement, likely, now, one_of, parameter
from registry.db.tables import deliveries


class State(IntEnum):
    """What became of a delivery."""

    WAITING = 0
    DELIVERED = 1
    GIVEN_UP = 2


MOST_COUNTED = 100_000


class Delivery(NamedTuple):
    """What became of an event at an endpoint. Times in microseconds since the epoch.

    `faults`: tries that failed, and not because the endpoint took nothing at all. `due_at`: when it is tried again;
    None for one that is over, or behind another of its repository. `status`: of the last answer, None if there was
    none. `error`: what was wrong. `took_ms`: the last try.
    """

    webhook_id: int
    position: int
    event_id: str
    repository: str
    action: str
    subject: str
    state: State
    attempts: int
    faults: int
    due_at: int | None
    status: int | None
    error: str | None
    took_ms: int | None
    created_at: int
    done_at: int | None


class Result(NamedTuple):
    """What is to be recorded of a delivery. `delay_us`: it is tried again after so long; None: not by itself."""

    webhook_id: int
    position: int
    event_id: str
    repository: str
    action: str
    subject: str
    state: State
    attempts: int
    faults: int = 0
    delay_us: int | None = None
    status: int | None = None
    error: str | None = None
    took_ms: int | None = None


class Key(NamedTuple):
    """An event by its position, and what receivers know it by, which says of which epoch that is."""

    position: int
    event_id: str


class Counts(NamedTuple):
    """Of an endpoint: how many deliveries wait, since when the first of them (µs), and how many were given up.

    No more than MOST_COUNTED are looked at.
    """

    waiting: int
    since: int | None
    given_up: int


_T = deliveries
_COLUMNS = [_T.c[name] for name in Delivery._fields]
_waiting = _T.c.state == literal(0)
_of_endpoint = _T.c.webhook_id == parameter("webhook_id")
_of_many = likely(_of_endpoint)  # so that of these an index is used that has but some
_adding = postgresql.insert(_T).values(
    **{name: parameter(name) for name in Result._fields if name != "delay_us"},
    due_at=now() + cast(parameter("delay_us"), BigInteger),
    created_at=now(),
    done_at=case((cast(parameter("state"), BigInteger) == literal(0), None), else_=now()),
)
_RECORD = Statement(
    _adding.on_conflict_do_update(
        index_elements=[_T.c.webhook_id, _T.c.position],
        set_={
            name: _adding.excluded[name]
            for name in ("state", "attempts", "faults", "due_at", "status", "error", "took_ms", "done_at")
        },
    )
)
_earlier = _T.alias("earlier")
# What was replayed has a time of its own, and yet waits for what is before it, or that would be tried without a pause.
_is_first = ~exists().where(
    likely(_earlier.c.webhook_id == _T.c.webhook_id),
    _earlier.c.repository == _T.c.repository,
    _earlier.c.position < _T.c.position,
    _earlier.c.state == literal(0),
)
_DUE = Statement(
    select(_T.c.repository)
    .where(_of_endpoint, _waiting, _T.c.due_at.is_not(None), _T.c.due_at <= now(), _is_first)
    .order_by(_T.c.due_at)
    .limit(parameter("limit"))
)
_NEXT = Statement(
    select(_T.c.repository, _T.c.due_at - now())
    .where(_of_endpoint, _waiting, _T.c.due_at.is_not(None), _is_first)
    .order_by(_T.c.due_at)
    .limit(1)
)
_OF_REPOSITORY = Statement(
    select(*_COLUMNS)
    .where(_of_many, _waiting, _T.c.repository == parameter("repository"))
    .order_by(_T.c.position)
    .limit(parameter("limit"))
)
_HELD = Statement(select(_T.c.repository).where(_of_endpoint, _waiting).distinct())
_inner = _T.alias("firsts")
_FIRSTS_DUE = Statement(
    update(_T)
    .where(
        _of_endpoint,
        _waiting,
        _T.c.due_at.is_(None),
        _T.c.position.in_(
            select(func.min(_inner.c.position))
            .where(_inner.c.webhook_id == parameter("webhook_id"), _inner.c.state == literal(0))
            .group_by(_inner.c.repository)
        ),
    )
    .values(due_at=now())
)
_ALL_DUE = Statement(
    update(_T).where(_of_endpoint, _waiting, _T.c.due_at.is_not(None), _T.c.due_at > now()).values(due_at=now())
)
_any_repository = cast(parameter("any_repository"), BigInteger) == literal(1)
_newest = (
    select(*_COLUMNS)
    .where(
        _of_many,
        _T.c.position < parameter("before"),
        _any_repository | (_T.c.repository == cast(parameter("repository"), Text)),
    )
    .order_by(_T.c.position.desc())
    .limit(parameter("limit"))
)
_PAGE = Statement(_newest)
_PAGE_WAITING = Statement(_newest.where(_waiting))
_PAGE_DELIVERED = Statement(_newest.where(_T.c.state == literal(1)))
_PAGE_GIVEN_UP = Statement(_newest.where(_T.c.state == literal(2)))
_PAGES = {
    None: _PAGE,
    State.WAITING: _PAGE_WAITING,
    State.DELIVERED: _PAGE_DELIVERED,
    State.GIVEN_UP: _PAGE_GIVEN_UP,
}
_some_waiting = select(_T.c.created_at).where(_of_many, _waiting).limit(parameter("most")).subquery()
_WAITING = Statement(select(func.count(), func.min(_some_waiting.c.created_at)).select_from(_some_waiting))
_some_given_up = select(_T.c.position).where(_of_many, _T.c.state == literal(2)).limit(parameter("most")).subquery()
_COUNT_GIVEN_UP = Statement(select(func.count()).select_from(_some_given_up))
_REPLAY = Statement(
    update(_T)
    .where(_of_endpoint, one_of(_T.c.position, "positions"), one_of(_T.c.event_id, "ids"), _T.c.state != literal(0))
    .values(state=literal(0), attempts=literal(0), faults=literal(0), due_at=None, done_at=None, created_at=now())
)
_GIVEN_UP = Statement(
    select(_T.c.position, _T.c.event_id)
    .where(_of_many, _T.c.state == literal(2), _T.c.position > parameter("after"))
    .order_by(_T.c.position)
    .limit(parameter("limit"))
)
_FORGET = Statement(
    delete(_T).where(
        _T.c.state == parameter("of_state"),
        _T.c.done_at < now() - parameter("older"),
        _T.c.done_at <= parameter("up_to"),
    )
)
_UP_TO = Statement(
    select(_T.c.done_at)
    .where(_T.c.state == parameter("of_state"), _T.c.done_at < now() - parameter("older"))
    .order_by(_T.c.done_at)
    .limit(1)
    .offset(parameter("limit"))
)


async def record(transaction: Transaction, results: Sequence[Result]) -> None:
    """Write down what became of events; what was known of one before is replaced."""
    rows: list[dict[str, Any]] = [{**one._asdict(), "state": int(one.state)} for one in results]
    await transaction.run_many(_RECORD, rows)


async def due(reader: Reader, webhook_id: int, *, limit: int) -> list[str]:
    """Return repositories whose first waiting delivery is to be tried now."""
    return [row[0] for row in await reader.all(_DUE, webhook_id=webhook_id, limit=limit)]


async def next_due(reader: Reader, webhook_id: int) -> tuple[str, float] | None:
    """Return the repository that is to be tried next, and in how many seconds (less than 0: so long ago)."""
    row = await reader.first(_NEXT, webhook_id=webhook_id)
    return None if row is None else (row[0], row[1] / 1e6)


async def of_repository(reader: Reader, webhook_id: int, repository: str, *, limit: int) -> list[Delivery]:
    """Return the first deliveries of a repository that wait, in order."""
    rows = await reader.all(_OF_REPOSITORY, webhook_id=webhook_id, repository=repository, limit=limit)
    return [_delivery(row) for row in rows]


async def held(reader: Reader, webhook_id: int) -> set[str]:
    """Return the repositories of which a delivery waits."""
    return {row[0] for row in await reader.all(_HELD, webhook_id=webhook_id)}


async def let_firsts_be_due(transaction: Transaction, webhook_id: int) -> None:
    """See that of each repository that waits the first delivery will be tried: whoever came to it may have died."""
    await transaction.run(_FIRSTS_DUE, webhook_id=webhook_id)


async def let_all_be_due(transaction: Transaction, webhook_id: int) -> int:
    """Have all that waits for a time tried now, and return how many repositories that are."""
    return await transaction.run(_ALL_DUE, webhook_id=webhook_id)


async def page(
    reader: Reader, webhook_id: int, *, state: State | None, repository: str, before: int, limit: int
) -> list[Delivery]:
    """Return up to `limit` deliveries of positions before one, the newest event first. "" for any repository."""
    rows = await reader.all(
        _PAGES[state],
        webhook_id=webhook_id,
        before=before,
        any_repository=int(not repository),
        repository=repository,
        limit=limit,
    )
    return [_delivery(row) for row in rows]


async def counts(reader: Reader, webhook_id: int) -> Counts:
    """Return how many deliveries of an endpoint wait, and were given up."""
    waiting = await reader.all(_WAITING, webhook_id=webhook_id, most=MOST_COUNTED)
    over = await reader.all(_COUNT_GIVEN_UP, webhook_id=webhook_id, most=MOST_COUNTED)
    return Counts(waiting[0][0], waiting[0][1], over[0][0])


async def given_up(reader: Reader, webhook_id: int, *, after: int, limit: int) -> list[Key]:
    """Return where events are that were given up, in order, from after a position on."""
    return [Key(*row) for row in await reader.all(_GIVEN_UP, webhook_id=webhook_id, after=after, limit=limit)]


async def replay(transaction: Transaction, webhook_id: int, keys: Sequence[Key]) -> int:
    """Have deliveries that are over made again, and return how many they are.

    They are tried once whoever delivers to the endpoint begins anew.
    """
    return await transaction.run(
        _REPLAY,
        webhook_id=webhook_id,
        positions=transaction.encode_list([one.position for one in keys]),
        ids=transaction.encode_list([one.event_id for one in keys]),
    )


async def forget(transaction: Transaction, state: State, *, age_s: int, limit: int) -> int:
    """Drop some `limit` of the deliveries that were over `age_s` seconds ago, and return how many they were."""
    older = age_s * 1_000_000
    row = await transaction.first(_UP_TO, of_state=int(state), older=older, limit=limit)
    return await transaction.run(_FORGET, of_state=int(state), older=older, up_to=2**62 if row is None else row[0])


def _delivery(row: tuple[Any, ...]) -> Delivery:
    found = Delivery(*row)
    return found._replace(state=State(found.state))
