"""One request and its answer, as ASGI sees them: `receive`, `send`, and what becomes of an application's failure."""

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from registry.http.observer import Observer
from registry.http.receiving import LARGE_BODY, RECEIVE_INTO, BodyReceive
from registry.http.request_id import HEADER as REQUEST_ID
from registry.http.response_head import NO_LENGTH, response_head
from registry.http.splicing import SPLICE, SocketSend
from registry.http.zerocopy import ZERO_COPY_SEND, FileCutShort, FileSend, Flow, error_body, error_headers

Application = Callable[[Any, Any, Any], Awaitable[None]]

_JOINED_BYTES = 64 * 1024
_AWAITED_S = 0.5
_CLIENT_GONE = {errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN}

_logger = logging.getLogger("stowage.http")


class Sending(Protocol):
    """Bytes that the kernel sends."""

    left: int

    async def run(self) -> None:
        """Send them all."""

    def stop(self) -> None:
        """The client has gone."""


class Connection(Protocol):
    """What a cycle tells the connection's protocol."""

    def on_response_complete(self) -> None:
        """The response is whole."""

    def note_received(self, count: int) -> None:
        """So many bytes of the body came, around the parser."""

    def expect_body(self, left: int) -> None:
        """Go on with the parser, with so many bytes of the body still to come."""


class Cycle:
    """One request and its response. Takes the place of uvicorn's RequestResponseCycle, for less time a request.

    A request's body that comes in pieces is joined once. The head of a response leaves in one write with what is known
    of its body. Headers are checked as one, for what could end them early.

    Attributes:
        keep_alive: whether the connection goes on after the response.
        more_body: whether more of the request's body is to come.
        disconnected: the client has gone, or no more of it can be understood.

    The rest is `observer.Exchange`.
    """

    __slots__ = (
        "_body_left",
        "_connection",
        "_default_headers",
        "_expect_continue",
        "_flow",
        "_head",
        "_is_head",
        "_left",
        "_length",
        "_observer",
        "_part_bytes",
        "_parts",
        "_receiving",
        "_sending",
        "_transport",
        "began",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "request_id",
        "response_complete",
        "response_started",
        "scope",
        "sent",
        "span",
        "status",
        "waited",
    )

    request_id: str
    began: float
    span: Any

    def __init__(
        self,
        *,
        scope: Any,
        transport: asyncio.Transport,
        flow: Flow,
        default_headers: list[tuple[bytes, bytes]],
        expect_100_continue: bool,
        keep_alive: bool,
        connection: Connection,
        observer: Observer,
        content_length: int = 0,
    ) -> None:
        self.scope = scope
        self._transport = transport
        self._flow = flow
        self._default_headers = default_headers
        self._expect_continue = expect_100_continue
        self._connection = connection
        self._observer = observer
        self._is_head = scope["method"] == "HEAD"
        self.keep_alive = keep_alive
        self.disconnected = False
        self.more_body = True
        self.message_event = asyncio.Event()
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._body_left = self._length = content_length
        self._receiving: BodyReceive | None = None
        if content_length >= LARGE_BODY and flow.is_plain:
            scope["extensions"][RECEIVE_INTO] = {"receive_into": self.receive_into}
        self.response_started = False
        self.response_complete = False
        self._head = b""
        self._left = 0  # bytes of the response's body still owed
        self._sending: Sending | None = None
        self.waited = False
        self.status = 0
        self.sent = 0

    @property
    def received(self) -> int:
        """Bytes of the request's body so far."""
        return self._length - self._body_left

    @property
    def is_cut(self) -> bool:
        """Whether the answer was begun and not ended."""
        return self.response_started and not self.response_complete

    async def run(self, app: Application) -> None:
        """Let the application answer. One that fails before its response gets a 500, later the connection is cut."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:  # nothing above would answer the client
            _logger.error("the application failed", exc_info=error)
            await self._fail()
        else:
            if not self.response_complete and not self.disconnected:
                _logger.error("the application returned without a whole response")
                await self._fail()
        finally:
            self._observer.finished(self)

    async def _fail(self) -> None:
        if self.response_started and not self._head:
            self._transport.close()
            return
        self.response_started = False
        body = error_body("UNKNOWN", "the server could not handle the request: its log says why")
        await self.send({"type": "http.response.start", "status": 500, "headers": error_headers(body)})
        await self.send({"type": "http.response.body", "body": body})

    @property
    def asked_to_wait(self) -> bool:
        """Whether the client holds the body back until it hears `100 Continue`, and has not heard it."""
        return self._expect_continue

    def take(self, data: bytes) -> None:
        """Keep a part of the request's body until the application asks for it."""
        self._parts.append(data)
        self._part_bytes += len(data)
        self._body_left -= len(data)
        if self._part_bytes > HIGH_WATER_LIMIT:
            self._flow.pause_reading()
        self.message_event.set()

    def take_end(self) -> None:
        """The request's body is whole."""
        self.more_body = False
        self.message_event.set()

    def disconnect(self) -> None:
        """The client has gone, or no more of it can be understood: `receive` says so, `send` does nothing."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()
        if self._sending is not None:
            self._sending.stop()
        if self._receiving is not None:
            self._receiving.stop()

    async def receive(self) -> Any:
        """ASGI's `receive`: the parts of the body that have come, as one; also those from before the client went."""
        self._send_continue()
        if not self.disconnected and not self.response_complete:
            self._flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.response_complete or (self.disconnected and not self._parts):
            return {"type": "http.disconnect"}
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._part_bytes = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def receive_into(self, view: memoryview) -> int:
        """Put the next bytes of the body at the front of `view`, and return how many; 0 at its end.

        For bodies of known length only. Unless bytes have come already, it waits until the view is full, or the body
        whole, or the client gone: then what had come still counts.

        Raises:
            ConnectionResetError: the client has gone, or no more of it can be understood.
        """
        self._send_continue()
        if self.response_complete or (self.disconnected and not self._parts):
            raise ConnectionResetError
        if not self._parts and not self._flow.read_paused:
            await asyncio.sleep(0)  # the parser may be in the middle of bytes that come before those on the socket
        if self._parts:
            return self._take_parts(view)
        if self._body_left == 0:
            return 0
        if self.disconnected or self._transport.is_closing():  # its descriptor may be closed, or somebody else's by now
            raise ConnectionResetError
        self._flow.hand_over()
        socket = os.dup(self._transport.get_extra_info("socket").fileno())
        self._receiving = receiving = BodyReceive(socket, view[: self._body_left], self._connection.note_received)
        try:
            await receiving.run()
        except OSError as error:
            if not self.disconnected:  # else the protocol stopped it, and may have something to say
                self._receiving = None
                self.disconnect()
                self._transport.abort()
            if receiving.count == 0:
                raise ConnectionResetError from error
        finally:
            self._receiving = None
            self._body_left -= receiving.count
            self._flow.take_back()
            if not self.disconnected:
                self._connection.expect_body(self._body_left)
        return receiving.count

    def _take_parts(self, view: memoryview) -> int:
        """Move what came through the parser to the front of `view`, as far as it fits."""
        filled = 0
        while self._parts and filled < view.nbytes:
            part = self._parts.pop(0)
            count = min(len(part), view.nbytes - filled)
            view[filled : filled + count] = part[:count]
            filled += count
            if count < len(part):
                self._parts.insert(0, part[count:])
        self._part_bytes -= filled
        return filled

    def _send_continue(self) -> None:
        if self._expect_continue and not self._transport.is_closing():
            self._expect_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def send(self, message: Any) -> None:
        """ASGI's `send`, with `http.response.zerocopysend` and `.splice`: what these read stays open until it returns.

        Raises:
            RuntimeError: messages out of order, a header that would end early, or not as many bytes as Content-Length
                says.
            StreamCut: a spliced source sent less; the rest is still owed.
        """
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            if 0 < self._body_left <= HIGH_WATER_LIMIT and not self._expect_continue:
                await self._take_rest()
            self._start(message["status"], message.get("headers", ()))
            return
        if not self.response_started or self.response_complete:
            raise RuntimeError(f"the message {kind!r} is out of order")
        if kind == ZERO_COPY_SEND:
            file, offset, count = message["file"], message["offset"], message["count"]
            await self._send_by_kernel(count, lambda to: FileSend(to, file, offset, count, self._flow.stall))
        elif kind == SPLICE:
            source, count, patience = message["socket"], message["count"], message["patience"]
            self._send_body(message["head"])
            await self._send_by_kernel(count, lambda to: SocketSend(to, source, count, patience, self._flow.stall))
        elif kind == "http.response.body":
            self._send_body(message.get("body", b""))
        else:
            raise RuntimeError(f"the message {kind!r} is unknown")
        if not message.get("more_body", False) and not self.disconnected:
            self._complete()

    async def _take_rest(self) -> None:
        """Wait for the little that is left of the body: nginx ends a client's connection if it was answered sooner."""
        late = asyncio.get_running_loop().call_later(_AWAITED_S, self.take_end)
        while self.more_body and not self.disconnected:
            self._parts, self._part_bytes = [], 0
            self._flow.resume_reading()
            self.message_event.clear()
            await self.message_event.wait()
        late.cancel()

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Prepare the head. It leaves with the first of the body."""
        self.response_started = True
        self.status = status
        if self._expect_continue and self.more_body:
            # Whether the body still comes is the client's choice now, so where the next request starts is unknown.
            self.keep_alive = False
        try:
            self._head, self._left, self.keep_alive = response_head(
                status,
                [*self._default_headers, *headers, (REQUEST_ID, self.request_id.encode())],
                bodiless=self._is_head or status in {204, 304},
                keep_alive=self.keep_alive,
            )
        except RuntimeError:
            self.response_started = False
            raise

    def _send_body(self, body: bytes) -> None:
        head, self._head = self._head, b""
        if self._is_head:
            body = b""
        elif self._left == NO_LENGTH:
            self.sent += len(body)
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        elif len(body) > self._left:
            raise RuntimeError("the response's body is longer than its Content-Length")
        else:
            self._left -= len(body)
            self.sent += len(body)
        if head and len(body) > _JOINED_BYTES:
            self._transport.write(head)
            head = b""
        if head or body:
            self._flow.write(head + body if head and body else head or body)

    async def _send_by_kernel(self, count: int, sending_to: Callable[[int], Sending]) -> None:
        """Let the kernel send `count` bytes, by what `sending_to` makes of a descriptor. Raises StreamCut."""
        chunked = self._left == NO_LENGTH
        if not self._is_head and not chunked and count > self._left:
            raise RuntimeError("the response's body is longer than its Content-Length")
        self._send_body(b"")
        if count == 0 or self._is_head:
            return
        if chunked:
            self._transport.write(b"%x\r\n" % count)
        await self._flow.flush()
        if self._transport.is_closing():  # its descriptor may be closed, or another connection's by now
            self.disconnected = True
            return
        self._sending = sending = sending_to(os.dup(self._transport.get_extra_info("socket").fileno()))
        try:
            await sending.run()
        except (OSError, FileCutShort) as error:
            if not isinstance(error, ConnectionError | TimeoutError) and getattr(error, "errno", 0) not in _CLIENT_GONE:
                _logger.error("a file failed while it was sent, the connection is cut: %s", error)
            self._sending = None
            self.disconnect()
            self._transport.abort()
        finally:
            self._sending = None
            self.sent += count - sending.left
            if not chunked:
                self._left -= count - sending.left
        if chunked and not self.disconnected:
            self._transport.write(b"\r\n")

    def _complete(self) -> None:
        if self._left == NO_LENGTH:
            self._transport.write(b"0\r\n\r\n")
        elif self._left != 0:
            raise RuntimeError("the response's body is shorter than its Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self._transport.close()
        self._connection.on_response_complete()
