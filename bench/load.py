"""The load generator: keep-alive connections that do one operation after another, with as little Python as possible.

An operation is a generator: it yields a request and is sent the answer. The connection drives it from the callback that
reads the socket, so that between an answer and the next request stands no task, future or turn of the event loop.
"""

import asyncio
import math
import re
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_BUFFER = 256 * 1024
_PIECE = 1024 * 1024
_PATIENCE = 120.0
"""Seconds that a run may take beyond its time, before a server counts as hanging."""


class UnexpectedAnswer(Exception):
    """A server answered what the scenario does not allow: the run is worth nothing."""


class Request(NamedTuple):
    """What is sent, and what must come back.

    Attributes:
        start: the head, and a small body with it.
        status: the only status that is allowed.
        length: bytes that the answer's body must have; None allows any.
        rest: more of the body, sent as fast as the server takes it.
        sink: is given the answer's body piece by piece; each piece is valid during the call only.
    """

    start: bytes
    status: int
    length: int | None = None
    rest: tuple[memoryview, ...] = ()
    sink: Callable[[memoryview], object] | None = None


class Answer(NamedTuple):
    """Status and head (status line and fields, each line ended by CRLF) of an answer."""

    status: int
    head: bytes

    def field(self, name: bytes) -> bytes:
        """Return the value of the field `name`. Raises UnexpectedAnswer without one."""
        found = re.search(rb"\r\n" + re.escape(name) + rb": *([^\r]*)", self.head, re.IGNORECASE)
        if found is None:
            raise UnexpectedAnswer(f"an answer without {name.decode()}: {self.head!r}")
        return found[1]


Operation: TypeAlias = Generator[Request, Answer, None]


@dataclass(frozen=True, slots=True)
class Load:
    """What a run took: seconds of each operation, seconds in all, CPU seconds of the server and of this process."""

    taken: list[float]
    elapsed: float
    server_cpu: float
    own_cpu: float


def run(
    port: int,
    work: Iterator[Operation],
    *,
    connections: int = 1,
    seconds: float = math.inf,
    meter: Callable[[], float] = lambda: 0.0,
    tls: ssl.SSLContext | None = None,
    authorization: bytes = b"",
) -> Load:
    """Do operations from `work` on a server of this machine, until it has no more or the time is over.

    An operation that was begun is finished. Once connections stand, the clock starts.

    Args:
        meter: returns the server's CPU seconds so far.
        tls: encrypt with this, and verify the server as `localhost`.
        authorization: a field that every request gets, with the CRLF at its end.

    Raises:
        UnexpectedAnswer: an answer was not the expected one, none came, or no connection could be made.
    """
    return uvloop.run(_run(port, work, connections, seconds, meter, tls, authorization))


async def _run(
    port: int,
    work: Iterator[Operation],
    connections: int,
    seconds: float,
    meter: Callable[[], float],
    tls: ssl.SSLContext | None,
    authorization: bytes,
) -> Load:
    opened = [await _open(port, tls) for _ in range(connections)]
    taken: list[float] = []
    cpu, own, began = meter(), time.process_time(), time.perf_counter()
    try:
        for one in opened:
            one.begin(work, began + seconds, taken, authorization)
        async with asyncio.timeout(None if seconds == math.inf else seconds + _PATIENCE):
            await asyncio.gather(*(one.done for one in opened))
        elapsed = time.perf_counter() - began
        return Load(taken, elapsed, meter() - cpu, time.process_time() - own)
    except TimeoutError:
        raise UnexpectedAnswer(f"no answer for {_PATIENCE:.0f} s") from None
    finally:
        for one in opened:
            await one.close()


async def _open(port: int, tls: ssl.SSLContext | None) -> "_Connection":
    loop, verified = asyncio.get_running_loop(), None if tls is None else "localhost"
    try:
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", port, ssl=tls, server_hostname=verified)
    except OSError as error:
        raise UnexpectedAnswer(f"no connection to port {port}: {error}") from error
    return connection


class _Connection(asyncio.BufferedProtocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lost = asyncio.Event()
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0  # bytes of a head that is not complete yet
        self._left = -1  # bytes of the body to come; -1 while a head is read
        self._chunks: bytearray | None = None
        self._pieces: Iterator[memoryview] | None = None
        self._room = True
        self._text = bytearray()

    def begin(self, work: Iterator[Operation], until: float, taken: list[float], authorization: bytes) -> None:
        """Take operations from `work` until the time `until`, and note in `taken` how long each took."""
        self._work, self._until, self._taken = work, until, taken
        self._after_line = b"\r\n" + authorization
        self._start_next()

    async def close(self) -> None:
        """Cut the connection."""
        self._transport.abort()
        await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
        if not self.done.done():
            self.done.set_exception(UnexpectedAnswer(f"the server closed the connection ({exc or 'in order'})"))

    def pause_writing(self) -> None:
        self._room = False

    def resume_writing(self) -> None:
        self._room = True
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._left < 0:
                self._read_head(self._filled + nbytes)
            else:
                self._read_body(self._view[:nbytes])
        except UnexpectedAnswer as error:
            if not self.done.done():
                self.done.set_exception(error)

    def _start_next(self) -> None:
        operation = next(self._work, None)
        if operation is None:
            self.done.set_result(None)
            return
        self._operation = operation
        self._began = time.perf_counter()
        self._send(next(operation))

    def _send(self, request: Request) -> None:
        self._request = request
        self._transport.write(request.start.replace(b"\r\n", self._after_line, 1))
        if request.rest:
            self._pieces = (part[at : at + _PIECE] for part in request.rest for at in range(0, len(part), _PIECE))
            self._pump()

    def _pump(self) -> None:
        while self._room and self._pieces is not None:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
            else:
                self._transport.write(piece)

    def _read_head(self, filled: int) -> None:
        end = self._buffer.find(b"\r\n\r\n", 0, filled)
        if end < 0:
            self._filled = filled
            if filled == _BUFFER:
                raise UnexpectedAnswer(f"a head of more than {_BUFFER} bytes")
            return
        self._filled = 0
        head = bytes(self._view[: end + 2])
        self._answer = Answer(int(head[9:12]), head)
        length = 0
        if not self._request.start.startswith(b"HEAD "):
            found = _LENGTH.search(head)
            if found is not None:
                length = int(found[1])
            elif _CHUNKED.search(head) is not None:
                self._chunks = bytearray()
            elif self._answer.status not in {204, 304}:
                raise UnexpectedAnswer(f"an answer that does not say its length: {head!r}")
        self._left = self._length = length
        self._read_body(self._view[end + 4 : filled])

    def _read_body(self, piece: memoryview) -> None:
        if self._chunks is not None:
            self._chunks += piece
            body = dechunk(self._chunks)
            if body is None:
                return
            self._chunks = None
            self._left = self._length = len(body)
            piece = memoryview(body)
        self._left -= len(piece)
        if self._left < 0:
            raise UnexpectedAnswer(f"{-self._left} bytes too many from the server")
        if self._answer.status != self._request.status:
            self._text += piece[:500]
        elif self._request.sink is not None:
            self._request.sink(piece)
        if self._left == 0:
            self._left = -1
            self._answered()

    def _answered(self) -> None:
        request, answer = self._request, self._answer
        if answer.status != request.status or self._pieces is not None:
            line, text = request.start.split(b"\r\n", 1)[0].decode("latin-1"), bytes(self._text[:500])
            raise UnexpectedAnswer(
                f"{line}: {answer.status}, expected {request.status}: {text.decode(errors='replace')}"
            )
        if request.length is not None and self._length != request.length:
            line = request.start.split(b"\r\n", 1)[0].decode("latin-1")
            raise UnexpectedAnswer(f"{line}: {self._length} bytes, expected {request.length}")
        try:
            following = self._operation.send(answer)
        except StopIteration:
            now = time.perf_counter()
            self._taken.append(now - self._began)
            if now < self._until:
                self._start_next()
            else:
                self.done.set_result(None)
        else:
            self._send(following)


def dechunk(encoded: bytearray) -> bytes | None:
    """Return the body of a chunked message without trailers (RFC 9112, section 7.1), or None if it is not complete."""
    if not encoded.endswith(b"0\r\n\r\n"):
        return None
    parts: list[bytes] = []
    at = 0
    while (end := encoded.find(b"\r\n", at)) >= 0:
        size = int(encoded[at:end].split(b";", 1)[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(bytes(encoded[end + 2 : end + 2 + size]))
        at = end + 2 + size + 2
    return None
