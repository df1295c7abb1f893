"""Answers that come from another server: moved from its socket to the client's inside the kernel, by splice(2)."""

import asyncio
import fcntl
import os
import select
from contextlib import suppress

from registry.http.limits import NOTICEABLE_BYTES
from registry.http.watching import SocketWatch
from registry.http.zerocopy import unacknowledged

SPLICE = "http.response.splice"
"""The ASGI extension, and its message: `head` (bytes, sent first), `socket` (descriptor of a stream socket that does
not block), `count` (bytes to take from it), `patience` (seconds that it may send nothing), `more_body`. `send` raises
StreamCut when less comes."""

_PIPE_BYTES = 256 * 1024
_BURST_BYTES = 1024 * 1024
_AT_ONCE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class StreamCut(Exception):
    """The other server's connection ended, or was silent for too long. All that had come of it was sent.

    Attributes:
        left: bytes that did not come.
    """

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} bytes did not come")
        self.left = left


class SocketSend:
    """Moves bytes from a source's socket to a client's, through a pipe, from the event loop.

    Args:
        socket_fd: a duplicate of the client's descriptor, closed by `run` (`zerocopy.FileSend` says why).
        source: the other server's, which must stay open until `run` is over.
        count: bytes to move.
        patience: for so many seconds the source may send nothing.
        stall: for so many seconds the client may take next to nothing (`limits.NOTICEABLE_BYTES`).

    Attributes:
        left: bytes that are not sent yet.
    """

    def __init__(self, socket_fd: int, source: int, count: int, patience: float, stall: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket_fd
        self._source = source
        self.left = count
        self._held = 0  # bytes in the pipe
        self._patience = patience
        self._stall = stall
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._pipe_out, self._pipe_in = -1, -1
        self._watch: SocketWatch | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Move it all.

        Raises:
            OSError: the client has gone or takes nothing.
            StreamCut: the source sends less.
        """
        self._pipe_out, self._pipe_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # who has many pipes gets small ones (pipe(7)), which work too
                fcntl.fcntl(self._pipe_in, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            if self._move_burst():
                return
            self._watch = SocketWatch(self._source, select.EPOLLIN, self._on_ready)
            self._wait()
            self._judge_source(before=-1)
            self._judge_client(before=-1, acknowledged=0)
            await self._done
        finally:
            for timer in self._timers.values():
                timer.cancel()
            if self._watch is not None:
                self._watch.close()
            for descriptor in (self._pipe_in, self._pipe_out, self._socket):
                os.close(descriptor)

    def stop(self) -> None:
        """The client's connection is lost: `run` raises ConnectionResetError."""
        self._fail(ConnectionResetError())

    def _move_burst(self) -> bool:
        """Move what has come and what there is room for, 1 MiB at most. True when nothing is left."""
        began = self.left
        while self.left and began - self.left < _BURST_BYTES:
            if not self._held and not self._fill():
                break
            try:
                sent = os.splice(self._pipe_out, self._socket, self._held, flags=_AT_ONCE)
            except BlockingIOError:
                break
            self._held -= sent
            self.left -= sent
        return self.left == 0

    def _fill(self) -> bool:
        """Take what the source has sent into the pipe, which is empty. False if there is nothing yet."""
        try:
            self._held = os.splice(self._source, self._pipe_in, min(self.left, _PIPE_BYTES), flags=_AT_ONCE)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StreamCut(self.left) from error
        if self._held == 0:
            raise StreamCut(self.left)
        return True

    def _wait(self) -> None:
        """Watch whichever of the two the next byte waits for."""
        if self._watch is not None:
            if self._held:
                self._watch.move(self._socket, select.EPOLLOUT)
            else:
                self._watch.move(self._source, select.EPOLLIN)

    def _on_ready(self) -> None:
        if self._done.done():
            return
        try:
            if self._move_burst():
                self._done.set_result(None)
            else:
                self._wait()
        except (OSError, StreamCut) as error:
            self._done.set_exception(error)

    def _judge_source(self, before: int) -> None:
        """Give up if the source was waited for, and sent nothing, since `before` bytes were left."""
        if not self._held and self.left == before:
            self._fail(StreamCut(self.left))
        before = -1 if self._held else self.left
        self._timers["source"] = self._loop.call_later(self._patience, self._judge_source, before)

    def _judge_client(self, before: int, acknowledged: int) -> None:
        """Give up if the client was waited for, and took next to nothing, since it had acknowledged so much.

        Args:
            before: bytes in the pipe then; -1 if there was no time before.
            acknowledged: counted from the end, so negative.
        """
        now = -self.left - unacknowledged(self._socket)
        if self._held and before > 0 and now - acknowledged < NOTICEABLE_BYTES:
            self._fail(TimeoutError())
        self._timers["client"] = self._loop.call_later(self._stall, self._judge_client, self._held, now)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
