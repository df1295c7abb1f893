"""How answers leave: flow control, files sent without copying them through Python, the form of early errors."""

import asyncio
import fcntl
import json
import os
import select
import struct
import termios

from uvicorn.protocols.http.flow_control import FlowControl

from registry.http.limits import NOTICEABLE_BYTES
from registry.http.watching import SocketWatch

ZERO_COPY_SEND = "http.response.zerocopysend"
"""The ASGI extension, and its message: `file` (descriptor), `offset`, `count` (bytes), `more_body`."""

_BURST_BYTES = 1024 * 1024


class FileCutShort(Exception):
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


def unacknowledged(descriptor: int) -> int:
    """Bytes that the kernel holds for the other end of a TCP connection (tcp(7), SIOCOUTQ).

    A socket tells of room only when half of what it holds has gone. That can be megabytes, and minutes for a client
    that is slow but well, so what it has acknowledged is what counts.
    """
    try:
        size: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    except OSError:
        return 0  # it is closed
    return size


class Flow(FlowControl):
    """uvicorn's flow control, with a hold on reading, and an end to waiting for a client that takes nothing.

    Args:
        stall: for so many seconds a client may take next to nothing of an answer (`limits.NOTICEABLE_BYTES`).

    Attributes:
        was_paused: set by each pause in reading; whoever looks at it takes it back.
    """

    def __init__(self, transport: asyncio.Transport, stall: float) -> None:
        super().__init__(transport)
        self.stall = stall
        self.was_paused = False
        self.handed_over = False
        self._held = False
        self._socket = transport.get_extra_info("socket").fileno()
        plain = transport.get_extra_info("ssl_object") is None
        self._descriptor = self._socket if plain else -1

    def write(self, data: bytes) -> None:
        """Write to the client: at once where nothing waits before it.

        uvloop's transport keeps a small write until the loop's next turn, and spends more on it than the system call
        takes. What the socket has no room for, and every error, is the transport's.
        """
        transport = self._transport
        if self._descriptor >= 0 and not transport.get_write_buffer_size() and not transport.is_closing():
            try:
                sent = os.write(self._descriptor, data)
            except OSError:
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    @property
    def is_plain(self) -> bool:
        """Whether what is on the socket is what is meant: no TLS."""
        return self._descriptor >= 0

    def hand_over(self) -> None:
        """Leave reading from the socket to somebody else."""
        self.handed_over = True
        super().pause_reading()

    def take_back(self) -> None:
        """Nobody else reads any more; who wants the transport to read calls `resume_reading`."""
        self.handed_over = False
        self.was_paused = True

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        self.was_paused = True
        super().pause_reading()

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

    def untaken(self) -> int:
        """Bytes written that the client has not acknowledged. Not to be asked of a connection that is lost."""
        return self._transport.get_write_buffer_size() + unacknowledged(self._socket)

    async def drain(self) -> None:
        """Wait until the transport takes more; abort it when the client takes next to nothing for `stall` seconds."""
        while self.write_paused:
            untaken = self.untaken()
            try:
                async with asyncio.timeout(self.stall):
                    await super().drain()
            except TimeoutError:
                if untaken - self.untaken() < NOTICEABLE_BYTES:
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


class FileSend:
    """Sends part of a file to a socket with sendfile(2), from the event loop.

    Args:
        socket_fd: a duplicate of the connection's descriptor, closed by `run`. A duplicate, because the transport may
            close its own at any time, and the number would then name another client's connection.
        file: descriptor of the file, which must stay open until `run` is over. Its position is neither used nor moved.
        stall: for so many seconds the client may take next to nothing (`limits.NOTICEABLE_BYTES`).

    Attributes:
        left: bytes that are not sent yet.
    """

    def __init__(self, socket_fd: int, file: int, offset: int, count: int, stall: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket_fd
        self._file = file
        self._offset = offset
        self.left = count
        self._stall = stall
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._watch: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Send it all.

        Raises:
            OSError: the client has gone or takes nothing, or the file can't be read.
            FileCutShort: the file is shorter than what was promised.
        """
        try:
            if self._send_burst():
                return
            # Told once per turn that the socket has room, it gives every other connection its turn between two bursts.
            room = SocketWatch(self._socket, select.EPOLLOUT, self._on_room)
            self._watch = self._loop.call_later(self._stall, self._on_watch, self._untaken())
            try:
                await self._done
            finally:
                self._watch.cancel()
                room.close()
        finally:
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
            sent = os.sendfile(self._socket, self._file, self._offset, min(self.left, _BURST_BYTES))
        except BlockingIOError:
            return False
        if sent == 0:
            raise FileCutShort(f"it ended {self.left} bytes early")
        self._offset += sent
        self.left -= sent
        return self.left == 0

    def _on_room(self) -> None:
        if self._done.done():
            return
        try:
            if self._send_burst():
                self._done.set_result(None)
        except (OSError, FileCutShort) as error:
            self._done.set_exception(error)

    def _untaken(self) -> int:
        return self.left + unacknowledged(self._socket)

    def _on_watch(self, untaken_before: int) -> None:
        untaken = self._untaken()
        if untaken_before - untaken < NOTICEABLE_BYTES:
            self._fail(TimeoutError())
        self._watch = self._loop.call_later(self._stall, self._on_watch, untaken)

    def _fail(self, error: OSError) -> None:
        if not self._done.done():
            self._done.set_exception(error)
