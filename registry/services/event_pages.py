"""Reading the stream of events from a cursor on. `docs/events.md`.

A cursor is `EPOCH-POSITION`: that of the last event that its owner has seen. Positions have no gaps, so that a reader
never misses an event without being told.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from auth.grants import matches
from registry.db import events
from registry.db.connection import Reader
from registry.db.events import Row
from registry.errors import CursorGone, QueryInvalid
from registry.event import ACTIONS, Event

OLDEST = "oldest"
NEWEST = "newest"
"""What stands for a cursor: that before the oldest event that is kept, and that of the newest."""
MOST_PATTERN = 300

MaySee = Callable[[str, int], Awaitable[bool]]
"""Says whether somebody may know of what happened in a repository at a time, in µs since 1970."""

_PAGE = 500
_MOST_READ = 5000
"""Events that one page looks at, at most: a filter may let few of them pass."""
_CURSOR = re.compile(r"([0-9a-f]{1,64})-([0-9]{1,18})").fullmatch


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the stream."""

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events. `repository`: a pattern (doublestar), "" for all; `actions`: none for all."""

    repository: str = ""
    actions: frozenset[str] = frozenset()

    def passes(self, action: str, repository: str) -> bool:
        """Say whether an event is one of them."""
        if self.actions and action not in self.actions:
            return False
        return not self.repository or matches(self.repository, repository)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, in order. `cursor`: where to go on. `more`: something is there already."""

    events: list[Event]
    cursor: Cursor
    more: bool


def filter_of(repository: str, actions: list[str]) -> Filter:
    """Return a filter. Raises QueryInvalid: there is no such action."""
    unknown = sorted(set(actions) - set(ACTIONS))
    if unknown:
        raise QueryInvalid(f"action: expected {', '.join(ACTIONS)}")
    return Filter(repository, frozenset(actions))


async def cursor_of(reader: Reader, text: str) -> Cursor:
    """Return the place that a cursor stands for; that of the newest event for "".

    Raises:
        QueryInvalid: it is none.
        CursorGone: what came after it is not known any more.
    """
    if text in ("", NEWEST):
        return Cursor(*await events.stream(reader))
    if text == OLDEST:
        first = await events.oldest(reader)
        now = await events.stream(reader)
        return Cursor(now.epoch, now.position if first is None else first[0] - 1)
    found = _CURSOR(text)
    if found is None:
        raise QueryInvalid(f"after: expected the id of an event, {OLDEST} or {NEWEST}")
    cursor = Cursor(found[1], int(found[2]))
    now = await events.stream(reader)
    if cursor.epoch != now.epoch:
        raise brought_back()
    if cursor.position > now.position:
        raise _gone("it is of events that this database does not know")
    if cursor.position < now.position:
        await read_after(reader, cursor.position, limit=1)
    return cursor


async def read_after(reader: Reader, position: int, *, limit: int) -> list[Row]:
    """Return up to `limit` events after a position that is not the newest's, in order. Raises CursorGone."""
    rows = await events.page(reader, after=position, limit=limit)
    if not rows or rows[0].position != position + 1:
        raise _gone("the events that came after it were dropped, by their age")
    return rows


async def read_page(reader: Reader, cursor: Cursor, wanted: Filter, may_see: MaySee, *, limit: int) -> EventPage:
    """Return up to `limit` events after a cursor. There may be fewer, even none, and more to come all the same.

    Raises:
        CursorGone: what came next was dropped meanwhile.
    """
    found: list[Event] = []
    position, newest = cursor.position, (await events.stream(reader)).position
    last = min(newest, position + _MOST_READ)
    while position < last and len(found) < limit:
        await asyncio.sleep(0)  # what reads SQLite waits for nothing, and nobody else would have a turn
        for row in await read_after(reader, position, limit=min(_PAGE, last - position)):
            position = row.position
            if wanted.passes(row.action, row.repository) and await may_see(row.repository, row.at):
                found.append(row.event(cursor.epoch))
                if len(found) == limit:
                    break
    return EventPage(found, Cursor(cursor.epoch, position), position < newest)


async def read_newest(reader: Reader, wanted: Filter, may_see: MaySee, *, limit: int) -> EventPage:
    """Return up to `limit` of the newest events, in order, and the newest's cursor."""
    now = await events.stream(reader)
    found: list[Event] = []
    before, end = now.position + 1, max(0, now.position - _MOST_READ)
    while before > end + 1 and len(found) < limit:
        await asyncio.sleep(0)
        rows = await events.page_before(reader, before=before, limit=min(_PAGE, before - 1 - end))
        if not rows:
            break
        for row in rows:
            before = row.position
            if wanted.passes(row.action, row.repository) and await may_see(row.repository, row.at):
                found.append(row.event(now.epoch))
                if len(found) == limit:
                    break
    return EventPage(found[::-1], Cursor(*now), more=False)


def brought_back() -> CursorGone:
    """Return what to raise where the stream is another than that of a cursor."""
    return _gone("the registry was brought back from a copy since: what happened may not be what is there")


def _gone(why: str) -> CursorGone:
    return CursorGone(f"nobody knows what came after this cursor: {why}; list what is there, and go on from {NEWEST}")
