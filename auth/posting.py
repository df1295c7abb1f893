"""POSTs to an address that somebody named, guarded as `auth.guard` says, over connections that are kept.

Made for many small messages to one address, at a tenth of the work that a general client takes for each. Of an answer
only the status, Retry-After and the beginning of the body are of interest; redirects are answers like any other.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import SplitResult

import httptools

from auth.errors import FetchRefused, SourceUnavailable
from auth.guard import PORTS, Found, Guard

_LARGEST_ANSWER = 64 * 1024
_QUOTED = 512
_IDLE_S = 25.0
"""A connection that was idle for longer is not used again: those at the other end close theirs after a minute or so."""
_OLDEST_S = 300.0
"""A connection that is older is not used again, so that a name that leads elsewhere by now is followed."""


@dataclass(frozen=True, slots=True)
class Posted:
    """An answer. `said`: the beginning of its body, printable. `retry_after_s`: whole seconds, if it says so."""

    status: int
    retry_after_s: int | None
    said: str


class Unreached(SourceUnavailable):
    """There was not even a connection: nothing was sent."""


class Poster:
    """Posts to one URL.

    Args:
        timeout_s: from the beginning, a connection included, to the end of the answer.
    """

    def __init__(self, url: str, guard: Guard, *, timeout_s: float) -> None:
        self._url = url
        self._guard = guard
        self._timeout_s = timeout_s
        self._kept: list[_Connection] = []
        self._looking_up: asyncio.Future[Sequence[Found]] | None = None

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Post a body, and return the answer, whatever its status.

        Args:
            headers: names in lower case; Host and Content-Length are added.

        Raises:
            FetchRefused: the URL, or where it leads, is not acceptable, or a header is none.
            SourceUnavailable: there was no answer in time, or none that is one.
            Unreached: of these, where nothing was sent.
        """
        parts = self._guard.parts(self._url)
        where = f"{parts.scheme}://{parts.netloc}"
        try_ = _Try(_head(parts, headers, len(body)) + body)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(parts, try_)
        except TimeoutError:
            kind = SourceUnavailable if try_.is_sent else Unreached
            raise kind(f"{where} did not answer within {self._timeout_s:g} s") from None
        except UnicodeError:
            raise FetchRefused(f"{where} is not a URL") from None
        except (OSError, ssl.SSLError) as error:
            kind = SourceUnavailable if try_.is_sent else Unreached
            raise kind(f"{where} can't be asked: {str(error) or type(error).__name__}") from None

    async def close(self) -> None:
        """Close all connections."""
        while self._kept:
            self._kept.pop().close()

    async def _look_up(self, host: str, port: int) -> Sequence[Found]:
        """Look a name up in a thread of its own, and but once at a time: one that hangs holds up nobody else's."""
        if self._looking_up is None or self._looking_up.done():
            self._looking_up = _in_thread(host, port)
        return await asyncio.shield(self._looking_up)

    async def _post(self, parts: SplitResult, try_: "_Try") -> Posted:
        connection = self._take()
        if connection is not None:
            try:
                return await self._ask(connection, try_)
            except _Stale:  # it was closed while nobody looked: what was sent was not read
                try_.is_sent = False
        return await self._ask(await self._connect(parts), try_)

    async def _ask(self, connection: "_Connection", try_: "_Try") -> Posted:
        try_.is_sent = True
        try:
            answer = await connection.ask(try_.message)
        except BaseException:
            connection.close()
            raise
        if connection.may_be_kept:
            connection.idle_since = time.monotonic()
            self._kept.append(connection)
        else:
            connection.close()
        return answer

    def _take(self) -> "_Connection | None":
        now = time.monotonic()
        while self._kept:
            connection = self._kept.pop()  # the one that was used last
            if connection.may_be_kept and now - connection.idle_since < _IDLE_S and now - connection.began < _OLDEST_S:
                return connection
            connection.close()
        return None

    async def _connect(self, parts: SplitResult) -> "_Connection":
        """Connect to the first of the addresses that takes a connection."""
        addresses = await self._guard.addresses(parts, self._look_up)
        context = await asyncio.to_thread(self._guard.trusting) if parts.scheme == "https" else None
        loop = asyncio.get_running_loop()
        port = parts.port or PORTS[parts.scheme]
        patience_s = self._timeout_s / len(addresses)
        for address in addresses[:-1]:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(patience_s):
                    return await _opened(loop, str(address), port, context, parts.hostname)
        return await _opened(loop, str(addresses[-1]), port, context, parts.hostname)


def _in_thread(host: str, port: int) -> "asyncio.Future[Sequence[Found]]":
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[Found]] = loop.create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it any more

    def tell(found: Sequence[Found], error: Exception | None) -> None:
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def look_up() -> None:
        found: Sequence[Found] = ()
        wrong: Exception | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            wrong = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found, wrong)

    threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    return future


async def _opened(
    loop: asyncio.AbstractEventLoop, address: str, port: int, context: ssl.SSLContext | None, name: str | None
) -> "_Connection":
    # The name is kept for the certificate; the connection is to the address.
    server_hostname = None if context is None else name
    opening = loop.create_connection(_Connection, address, port, ssl=context, server_hostname=server_hostname)
    return (await opening)[1]


def _head(parts: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if " " in target:
        raise FetchRefused("a URL with spaces is not asked")
    lines = [f"POST {target} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {length}", "user-agent: stowage"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        head = "\r\n".join(lines).encode("latin-1")
    except UnicodeEncodeError:
        raise FetchRefused("a header has characters that no header has") from None
    if head.count(b"\r") + head.count(b"\n") != 2 * (len(lines) - 1) or b"\0" in head:
        raise FetchRefused("a header has more than one line")
    return head + b"\r\n\r\n"


@dataclass(slots=True)
class _Try:
    """A message, and whether a connection has it."""

    message: bytes
    is_sent: bool = False


class _Stale(Exception):
    """A connection that was kept ended before anything of the answer came."""


class _Connection(asyncio.Protocol):
    """A connection, on which one message is answered at a time."""

    def __init__(self) -> None:
        self.began = self.idle_since = time.monotonic()
        self.may_be_kept = True
        self._uses = 0
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Posted] | None = None
        self._reading = _Reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, message: bytes) -> Posted:
        """Send a message and return what is answered. Raises OSError, _Stale."""
        assert self._transport is not None  # noqa: S101 - it is connected
        if self._transport.is_closing():
            raise _Stale
        self._answer = asyncio.get_running_loop().create_future()
        self._reading = _Reading()
        self._uses += 1
        self._transport.write(message)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        reading = self._reading
        try:
            reading.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
            self._fail(ConnectionError("the answer is not HTTP"))
            return
        if reading.is_whole or reading.received > _LARGEST_ANSWER:
            self.may_be_kept = reading.is_whole and reading.is_kept
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        """Find out what the end of the connection means."""
        self.may_be_kept = False
        if self._answer is None or self._answer.done():
            return
        if self._reading.status:  # that is the answer; there may be less of a body than was promised
            self._finish()
        elif self._uses > 1 and not self._reading.received:
            self._fail(_Stale())
        else:
            self._fail(error or ConnectionError("the connection was closed without an answer"))

    def close(self) -> None:
        """End it."""
        self.may_be_kept = False
        if self._transport is not None:
            self._transport.abort()

    def _finish(self) -> None:
        reading = self._reading
        if self._answer is None or self._answer.done():
            return
        if reading.status:
            self._answer.set_result(Posted(reading.status, reading.retry_after_s, reading.said))
        else:
            self._answer.set_exception(ConnectionError("the answer has no end of its head"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


@dataclass(slots=True)
class _Reading:
    """An answer as it comes, told of by the parser. `is_kept`: the connection is good for another."""

    status: int = 0
    received: int = 0
    retry_after_s: int | None = None
    is_whole: bool = False
    is_kept: bool = False
    body: bytearray = field(default_factory=bytearray)
    _parser: httptools.HttpResponseParser | None = None

    def feed(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self.received += len(data)
        self._parser.feed_data(data)

    @property
    def said(self) -> str:
        """The beginning of the body."""
        text = bytes(self.body[:_QUOTED]).decode("utf-8", "replace")
        return "".join(letter if letter.isprintable() else " " for letter in text).strip()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():  # dates are not worth a second way to say it
            self.retry_after_s = int(value[:9])

    def on_headers_complete(self) -> None:
        if self._parser is not None and self._parser.get_status_code() >= 200:  # before, it is no answer yet
            self.status = self._parser.get_status_code()
            self.is_kept = bool(self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        if len(self.body) < _QUOTED:
            self.body += body[:_QUOTED]

    def on_message_complete(self) -> None:
        self.is_whole = self.status >= 200
