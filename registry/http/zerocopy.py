"""One request's answer: JSON errors, flow control, and files sent without copying them through Python."""

import asyncio
import errno
import json
import logging
import os
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

ZERO_COPY_SEND = "http.response.zerocopysend"
"""The ASGI extension, and its message: `file` (descriptor), `offset`, `count` (bytes), `more_body`."""

STALL_SECONDS = 60
"""How long a client may take not a single byte of an answer."""

_BURST_BYTES = 1024 * 1024
_JOINED_BYTES = 64 * 1024
_CLIENT_GONE = {errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN}

_logger = logging.getLogger("stowage.http")


class _FileCutShort(Exception):
    """The file ended before the bytes that were promised of it."""


def error_body(code: str, message: str) -> bytes:
    """The specification's form of an error (section "Error Codes")."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()


def error_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of an error with `body`, after which the connection is closed."""
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"docker-distribution-api-version", b"registry/2.0"),
        (b"connection", b"close"),
    ]


class Flow(FlowControl):
    """uvicorn's flow control, with a hold on reading, and an end to waiting for a client that takes nothing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._held = False

    def hold(self) -> None:
        """Stop reading until `release`, whatever a request's `receive` asks for."""
        self._held = True
        self.pause_reading()

    def release(self) -> None:
        """Let `resume_reading` work again."""
        self._held = False

    def resume_reading(self) -> None:
        """Read on, unless there is a hold."""
        if not self._held:
            super().resume_reading()

    async def drain(self) -> None:
        """Wait until the transport takes more; abort it when the client takes nothing for `STALL_SECONDS`."""
        while self.write_paused:
            left = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await super().drain()
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= left:
                    self._transport.abort()

    async def flush(self) -> None:
        """Wait until the transport has handed all it holds to the kernel, or is closing."""
        transport = self._transport
        if transport.get_write_buffer_size():
            await asyncio.sleep(0)  # uvloop writes at the end of the loop's turn
        if transport.get_write_buffer_size() and not transport.is_closing():
            transport.set_write_buffer_limits(high=0)
            try:
                await self.drain()
            finally:
                if not transport.is_closing():
                    transport.set_write_buffer_limits()


class _FileSend:
    """Sends part of a file to a socket with sendfile(2), from the event loop.

    Args:
        socket_fd: a duplicate of the connection's descriptor, closed by `run`. A duplicate, because the transport may
            close its own at any time, and the number would then name another client's connection.
        file: descriptor of the file, which must stay open until `run` is over. Its position is neither used nor moved.
    """

    def __init__(self, socket_fd: int, file: int, offset: int, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket_fd
        self._file = file
        self._offset = offset
        self._left = count
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._watch: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Send it all.

        Raises:
            OSError: the client has gone or takes nothing, or the file can't be read.
            _FileCutShort: the file is shorter than what was promised.
        """
        try:
            if self._send_burst():
                return
            # The loops refuse a descriptor that a transport owns, but not its duplicate. Being told once per turn
            # that the socket has room also gives every other connection its turn between two bursts.
            self._loop.add_writer(self._socket, self._on_room)
            self._watch = self._loop.call_later(STALL_SECONDS, self._on_watch, self._left)
            await self._done
        finally:
            if self._watch is not None:
                self._watch.cancel()
                # Before the close: the loop would else watch whatever gets the number next.
                self._loop.remove_writer(self._socket)
            os.close(self._socket)

    def stop(self) -> None:
        """The connection is lost: `run` raises ConnectionResetError."""
        self._fail(ConnectionResetError())

    def _send_burst(self) -> bool:
        """Hand the kernel what the socket has room for, 1 MiB at most. True when nothing is left.

        The one place where bytes move. A file that is large or not in the page cache could be sent from a thread here;
        the thread must have returned before `run` closes the socket's duplicate, cancelled or not.
        """
        try:
            sent = os.sendfile(self._socket, self._file, self._offset, min(self._left, _BURST_BYTES))
        except BlockingIOError:
            return False
        if sent == 0:
            raise _FileCutShort(f"it ended {self._left} bytes early")
        self._offset += sent
        self._left -= sent
        return self._left == 0

    def _on_room(self) -> None:
        if self._done.done():
            return
        try:
            if self._send_burst():
                self._done.set_result(None)
        except (OSError, _FileCutShort) as error:
            self._done.set_exception(error)

    def _on_watch(self, left_before: int) -> None:
        if self._left == left_before:
            self._fail(TimeoutError())
        self._watch = self._loop.call_later(STALL_SECONDS, self._on_watch, self._left)

    def _fail(self, error: OSError) -> None:
        if not self._done.done():
            self._done.set_exception(error)


class _Collector:
    """Takes what the cycle writes for a response's head, in the transport's place."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data = data


class Cycle(RequestResponseCycle):
    """One request and its response.

    Two refinements over uvicorn's: a body that comes in pieces is joined once instead of copied twice, and the head
    of a response leaves in one `write` with the body that follows in the same turn of the loop.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._sending: _FileSend | None = None
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._head = b""

    def take(self, data: bytes) -> None:
        """Keep a part of the request's body until the application asks for it."""
        self._parts.append(data)
        self._part_bytes += len(data)
        if self._part_bytes > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    async def receive(self) -> Any:
        """ASGI's `receive`: the body's parts that have come, as one."""
        message = await super().receive()
        if message["type"] == "http.request":
            message["body"] = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts = []
            self._part_bytes = 0
        return message

    async def send(self, message: Any) -> None:
        """ASGI's `send`, with `http.response.zerocopysend`; `file` must stay open until it returns.

        Raises:
            RuntimeError: messages out of order, or more bytes than Content-Length says.
        """
        if message["type"] == "http.response.start" and not self.response_started:
            await self._send_start(message)
            return
        if self._head and message["type"] == "http.response.body" and self._may_join(message):
            head, self._head = self._head, b""
            self.expected_content_length += len(head)
            message = {**message, "body": head + message.get("body", b"")}
        self._send_head()
        if message["type"] != ZERO_COPY_SEND or not self.response_started or self.response_complete:
            await super().send(message)
            return
        if self.scope["method"] != "HEAD":
            await self._send_range(message["file"], message["offset"], message["count"])
        if not message.get("more_body", False):
            await super().send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_start(self, message: Any) -> None:
        if self.waiting_for_100_continue and self.more_body:
            # Whether the body still comes is the client's choice now, so where the next request starts is unknown.
            self.keep_alive = False
        transport, collector = self.transport, _Collector()
        self.transport = collector  # type: ignore[assignment]  # for this one write
        try:
            await super().send(message)
        finally:
            self.transport = transport
        self._head = collector.data
        asyncio.get_running_loop().call_soon(self._send_head)  # where the body comes late, the head must not wait

    def _may_join(self, message: Any) -> bool:
        """Say whether head and body can leave as one: the body is sent as it is, and cheap to copy."""
        return (
            not self.chunked_encoding
            and self.scope["method"] != "HEAD"
            and not self.disconnected
            and len(message.get("body", b"")) <= _JOINED_BYTES
        )

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            if not self.transport.is_closing():
                self.transport.write(head)

    async def _send_range(self, file: int, offset: int, count: int) -> None:
        if not self.chunked_encoding and count > self.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        if count == 0 or self.disconnected:
            return
        if self.chunked_encoding:
            self.transport.write(b"%x\r\n" % count)
        assert isinstance(self.flow, Flow)  # noqa: S101 - the protocol made it
        await self.flow.flush()
        if self.transport.is_closing():  # its descriptor may be closed, or another connection's by now
            self.disconnected = True
            return
        self._sending = _FileSend(os.dup(self.transport.get_extra_info("socket").fileno()), file, offset, count)
        try:
            await self._sending.run()
        except (OSError, _FileCutShort) as error:
            if not isinstance(error, ConnectionError | TimeoutError) and getattr(error, "errno", 0) not in _CLIENT_GONE:
                _logger.error("a file failed while it was sent, the connection is cut: %s", error)
            self.disconnect()
            self.transport.abort()
        else:
            if self.chunked_encoding:
                self.transport.write(b"\r\n")
            else:
                self.expected_content_length -= count
        finally:
            self._sending = None

    async def send_500_response(self) -> None:
        """Answer an exception that came before the response; the exception's own words stay in the log."""
        body = error_body("UNKNOWN", "the server could not handle the request: its log says why")
        await self.send({"type": "http.response.start", "status": 500, "headers": error_headers(body)})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def disconnect(self) -> None:
        """The client has gone, or no more of it can be understood: `receive` says so, `send` does nothing."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()
        if self._sending is not None:
            self._sending.stop()
