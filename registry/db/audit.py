"""The audit log: entries, the seals that chain them, and how far they were written elsewhere."""

import asyncio
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Text, and_, cast, delete, func, insert, literal, not_, or_, select
from sqlalchemy.dialects import postgresql

from registry.db.connection import Reader, Transaction
from registry.db.statements import Parameters, Statement, now, parameter, turn_of
from registry.db.tables import audit_cursors, audit_entries, audit_seals

_TURN = "audit log"


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody did, or was refused. `at` in microseconds since the epoch, `detail` JSON.

    `count`: how often the same happened; `at` and `request_id` are the last time's then.
    """

    id: int
    at: int
    action: str
    outcome: str
    principal: str
    project: str
    repository: str
    address: str
    request_id: str
    count: int
    detail: str


class Seal(NamedTuple):
    """A batch of entries: those after the last of the seal before, up to `last_id`.

    `digest` is over their content; `hash` over that, the rest of the seal, and the hash of the seal before.
    """

    last_id: int
    entries: int
    digest: bytes
    hash: bytes
    sealed_at: int


class Filter(NamedTuple):
    """Which entries are wanted; "" and 0 for any. Times in microseconds since the epoch."""

    principal: str = ""
    project: str = ""
    repository: str = ""
    action: str = ""
    outcome: str = ""
    since: int = 0
    until: int = 0


_SLACK = 100_000
"""Ids are given out in the order of time but for transactions that run side by side: these are fewer by far."""
_LOOKED_AT = 10_000
"""Entries that one statement looks at: for what is rare a whole log is read, and others are to be served meanwhile."""
_FIELDS = tuple(field.name for field in fields(Entry))
_COLUMNS = tuple(audit_entries.c[name] for name in _FIELDS)
_RECORDED = _FIELDS[2:]
_taken = {name: cast(parameter(name), BigInteger if name == "count" else Text) for name in _RECORDED}
# Who records shares a turn, which comes before the id: see `last_closed`.
_RECORD = Statement(
    insert(audit_entries).from_select(
        ["at", *_RECORDED], select(now(), *_taken.values()).where(not_(turn_of("turn", share=True)))
    )
)
# The same for several: the turn is taken once, and rows of values take SQLite a fifth of the time.
_SHARE = Statement(select(turn_of("turn", share=True)))
_RECORD_MORE = Statement(insert(audit_entries).values(at=now(), **{name: parameter(name) for name in _RECORDED}))
_CLOSE = Statement(select(turn_of("turn")))
_LAST = Statement(select(func.coalesce(func.max(audit_entries.c.id), literal(0))))
_BATCH = Statement(
    select(*_COLUMNS)
    .where(audit_entries.c.id > parameter("after"), audit_entries.c.id <= parameter("last"))
    .order_by(audit_entries.c.id)
    .limit(parameter("limit"))
)
_matching = and_(
    audit_entries.c.id < parameter("before"),
    audit_entries.c.id >= parameter("first"),
    audit_entries.c.at >= parameter("since"),
    audit_entries.c.at < parameter("until"),
    *(
        or_(cast(parameter(f"any_{name}"), BigInteger) == literal(1), audit_entries.c[name] == parameter(name))
        for name in ("repository", "action", "outcome")
    ),
)
_page = select(*_COLUMNS).where(_matching).order_by(audit_entries.c.id.desc()).limit(parameter("limit"))
_any_project = or_(
    cast(parameter("any_project"), BigInteger) == literal(1), audit_entries.c.project == parameter("project")
)
_PAGE = Statement(_page)
_PAGE_OF_PROJECT = Statement(_page.where(audit_entries.c.project == parameter("project")))
_PAGE_OF_PRINCIPAL = Statement(_page.where(audit_entries.c.principal == parameter("principal"), _any_project))
_FIRST_SINCE = Statement(
    select(audit_entries.c.id).where(audit_entries.c.at >= parameter("since")).order_by(audit_entries.c.at).limit(1)
)
_SEAL_COLUMNS = tuple(audit_seals.c[name] for name in Seal._fields)
_SEALS = Statement(
    select(*_SEAL_COLUMNS)
    .where(audit_seals.c.last_id > parameter("after"))
    .order_by(audit_seals.c.last_id)
    .limit(parameter("limit"))
)
_LAST_SEAL = Statement(select(*_SEAL_COLUMNS).order_by(audit_seals.c.last_id.desc()).limit(1))
_SEAL = Statement(insert(audit_seals).values({name: parameter(name) for name in Seal._fields}))
_OLD = Statement(
    select(audit_seals.c.last_id)
    .where(
        audit_seals.c.last_id >= parameter("oldest"),
        audit_seals.c.sealed_at < now() - cast(parameter("age"), BigInteger),
    )
    .order_by(audit_seals.c.last_id)
    .limit(1)
)
_OLDEST = Statement(select(func.min(audit_entries.c.id)))
_ENDS = Statement(
    select(
        select(func.coalesce(func.min(audit_entries.c.id), literal(0))).scalar_subquery(),
        select(func.coalesce(func.max(audit_entries.c.id), literal(0))).scalar_subquery(),
    )
)
_FORGET = Statement(delete(audit_entries).where(audit_entries.c.id <= parameter("last")))
_CURSOR = Statement(select(audit_cursors.c.last_id).where(audit_cursors.c.name == parameter("name")))
_moving = postgresql.insert(audit_cursors).values(name=parameter("name"), last_id=parameter("last_id"))
_MOVE = Statement(
    _moving.on_conflict_do_update(index_elements=[audit_cursors.c.name], set_={"last_id": _moving.excluded.last_id})
)


async def record(transaction: Transaction, rows: list[Parameters]) -> None:
    """Write entries, each with the columns of `Entry` but for id and time."""
    if len(rows) == 1:
        await transaction.run(_RECORD, **rows[0], turn=_TURN)
    else:
        await transaction.first(_SHARE, turn=_TURN)
        await transaction.run_many(_RECORD_MORE, rows)


async def last_closed(transaction: Transaction) -> int:
    """Return an id up to which there will be no other entries than there are. Waits for who is recording now."""
    await transaction.first(_CLOSE, turn=_TURN)
    row = await transaction.first(_LAST)
    assert row is not None  # noqa: S101 - an aggregate
    last: int = row[0]
    return last


async def batch(reader: Reader, *, after: int, last: int, limit: int) -> list[Entry]:
    """Return entries with ids greater than `after`, `last` at most, in order."""
    return [Entry(*row) for row in await reader.all(_BATCH, after=after, last=last, limit=limit)]


async def page(reader: Reader, wanted: Filter, *, before: int, limit: int) -> list[Entry]:
    """Return up to `limit` entries with ids less than `before`, the newest first. Lets others work now and then."""
    ends = await reader.first(_ENDS)
    assert ends is not None  # noqa: S101 - two numbers
    first, before = ends[0], min(before, ends[1] + 1)
    if wanted.since:
        row = await reader.first(_FIRST_SINCE, since=wanted.since)
        if row is None:
            return []
        first = max(first, row[0] - _SLACK)
    found: list[Entry] = []
    while before > first and len(found) < limit:
        lowest = max(first, before - _LOOKED_AT)
        found += await _part(reader, wanted, before=before, first=lowest, limit=limit - len(found))
        before = lowest
        await asyncio.sleep(0)
    return found


async def _part(reader: Reader, wanted: Filter, *, before: int, first: int, limit: int) -> list[Entry]:
    """Return the same of those entries alone whose ids are `first` at least."""
    parameters: dict[str, Any] = {
        "before": before,
        "first": first,
        "since": wanted.since,
        "until": wanted.until or 2**62,
        "limit": limit,
    }
    for name in ("repository", "action", "outcome"):
        value = getattr(wanted, name)
        parameters |= {name: value, f"any_{name}": int(not value)}
    if wanted.principal:
        more = {"principal": wanted.principal, "project": wanted.project, "any_project": int(not wanted.project)}
        rows = await reader.all(_PAGE_OF_PRINCIPAL, **parameters, **more)
    elif wanted.project:
        rows = await reader.all(_PAGE_OF_PROJECT, **parameters, project=wanted.project)
    else:
        rows = await reader.all(_PAGE, **parameters)
    return [Entry(*row) for row in rows]


async def last_seal(reader: Reader) -> Seal | None:
    """Return the newest seal."""
    row = await reader.first(_LAST_SEAL)
    return None if row is None else _seal(row)


async def seals(reader: Reader, *, after: int, limit: int) -> list[Seal]:
    """Return seals in order, from after one that ends with the entry `after`."""
    return [_seal(row) for row in await reader.all(_SEALS, after=after, limit=limit)]


async def add_seal(transaction: Transaction, seal: Seal) -> None:
    """Record a seal."""
    await transaction.run(_SEAL, **seal._asdict())


async def forget_batch(transaction: Transaction, *, age_s: int) -> int:
    """Remove the oldest batch of entries if it was sealed more than `age_s` seconds ago. Return how many that are."""
    row = await transaction.first(_OLDEST)
    if row is None or row[0] is None:
        return 0
    found = await transaction.first(_OLD, oldest=row[0], age=age_s * 1_000_000)
    return 0 if found is None else await transaction.run(_FORGET, last=found[0])


async def cursor(reader: Reader, name: str) -> int | None:
    """Return the last entry that was written to a place; None if none ever was."""
    row = await reader.first(_CURSOR, name=name)
    return None if row is None else row[0]


async def move_cursor(transaction: Transaction, name: str, last_id: int) -> None:
    """Record that all entries up to one were written to a place."""
    await transaction.run(_MOVE, name=name, last_id=last_id)


def _seal(row: Any) -> Seal:
    return Seal(row[0], row[1], bytes(row[2]), bytes(row[3]), row[4])
