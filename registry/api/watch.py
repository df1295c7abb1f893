"""Following what happens, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from auth.errors import AuthError
from registry.api.asked import After, Asked, Caller
from registry.api.events import Actions, Repository, shown
from registry.api.sight import Sight
from registry.errors import CursorGone, Unavailable
from registry.services import event_pages
from registry.services.event_pages import Cursor, Filter
from registry.services.feed import Entry, Feed

router = APIRouter(prefix="/watch", tags=["events"])

_CHECK_S = 1.0
"""How often it is asked whether whoever follows still may."""
_RETRY_MS = 1000
_MOST_AT_ONCE = 256 * 1024
"""Bytes after which room is waited for: as much, and what one event takes, is in memory for a client that is slow."""
_HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # of nginx, which would else keep events until it has some KiB of them
}


class EventStream(Response):
    """An answer that goes on."""

    media_type = "text/event-stream"


@router.get("", response_class=EventStream)
async def watch(
    asked: Caller,
    repository: Repository = "",
    action: Actions = [],  # noqa: B006 - the framework copies it
    after: After = "",
    last_event_id: Annotated[str, Header(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
    seconds: Annotated[int | None, Query(ge=0, le=86400, description="End after so many seconds.")] = None,
) -> Response:
    """Follow what happens, from a cursor on, or from now: as listed by `GET /events`, an event each.

    `id` is the cursor, `event` the action, `data` the event in JSON. Whoever is cut off comes back with
    `Last-Event-ID`, and misses nothing. 410: what came after the cursor is not known any more.
    """
    asked.be_anybody()
    if asked.api.feed is None:
        raise Unavailable("events are followed at a server: GET /events tells of them page by page")
    wanted = event_pages.filter_of(repository, list(action))
    cursor = await event_pages.cursor_of(asked.api.database, last_event_id or after)
    return _Watch(asked, asked.api.feed, cursor, wanted, seconds)


class _Watch(EventStream):
    """Sends events until the client goes, may no more, has had its time, or the server ends."""

    def __init__(self, asked: Asked, feed: Feed, cursor: Cursor, wanted: Filter, seconds: int | None) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._asked = asked
        self._feed = feed
        self._cursor = cursor
        self._wanted = wanted
        self._sight = Sight(asked)
        self._heartbeat_s = asked.api.settings.events.heartbeat
        self._until = None if seconds is None else monotonic() + seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        async with self._feed.following(_named(self._asked)):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if self._asked.request.method != "HEAD":
                leaving = asyncio.create_task(self._asked.request.gone(), name="follower")
                try:
                    with suppress(AuthError, CursorGone, Unavailable):  # whoever comes back is told
                        await self._follow(send, leaving)
                finally:
                    leaving.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _follow(self, send: Send, leaving: "asyncio.Task[None]") -> None:
        await _send(send, f"retry: {_RETRY_MS}\n: events from here on\nid: {self._cursor}\n\n".encode())
        spoke_at = checked_at = monotonic()
        while not self._feed.is_closed and not leaving.done():
            position, epoch = self._cursor.position, self._cursor.epoch
            entries = await self._feed.after(position, within_s=self._patience(spoke_at), epoch=epoch)
            await _send(send, b"")  # returns when there is room: what is sent is decided then, and not before
            now = monotonic()
            if now - checked_at >= _CHECK_S:
                self._sight.look_again(await self._asked.api.still(self._asked.request))
                checked_at = now
            text = await self._next_of(entries)
            if text:
                await _send(send, text)
                spoke_at = now
            elif now - spoke_at >= self._heartbeat_s:
                # With where it is by now: a cursor stays good although nothing that is asked for happens.
                await _send(send, f": heartbeat\nid: {self._cursor}\n\n".encode())
                spoke_at = now
            if not entries and self._until is not None and now >= self._until:
                return

    def _patience(self, spoke_at: float) -> float:
        ends = [_CHECK_S, spoke_at + self._heartbeat_s - monotonic()]
        if self._until is not None:
            ends.append(self._until - monotonic())
        return max(0.0, min(ends))

    async def _next_of(self, entries: Sequence[Entry]) -> bytes:
        """Return what is sent of some events, the first of them at least, and go on to after the last of these."""
        texts: list[bytes] = []
        size = 0
        for entry in entries:
            one = entry.event
            if self._wanted.passes(one.action, one.repository) and await self._sight.shows(one.repository, one.at):
                texts.append(await self._text(entry))
                size += len(texts[-1])
            self._cursor = Cursor(self._cursor.epoch, one.position)
            if size >= _MOST_AT_ONCE:
                break
        return b"".join(texts)

    async def _text(self, entry: Entry) -> bytes:
        """Return an event as it is sent."""
        one = entry.event
        with_request, with_source = await self._sight.details(one)
        text = entry.texts.get((with_request, with_source))
        if text is None:
            data = shown(one, with_request=with_request, with_source=with_source).model_dump_json(by_alias=True)
            text = f"id: {one.cursor}\nevent: {one.action}\ndata: {data}\n\n".encode()
            entry.texts[with_request, with_source] = text
        return text


def _named(asked: Asked) -> str:
    """Return who has a follower's place: a principal, or an address where nobody logs in."""
    return asked.origin.address if asked.principal.is_anonymous else asked.actor


async def _send(send: Send, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})
