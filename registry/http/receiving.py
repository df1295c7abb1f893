"""Large bodies: received from the socket straight into memory that the storage driver owns.

The usual way copies each byte three times, into the loop's buffer, for the parser and for the handler, before it comes
to be hashed. For a body of known length the parser has nothing to do, so it goes around.
"""

import asyncio
import os
import select
from collections.abc import Callable

from registry.http.watching import SocketWatch

LARGE_BODY = 256 * 1024
"""Bodies of at least so many bytes are offered as `RECEIVE_INTO`."""

RECEIVE_INTO = "http.request.receive_into"
"""The ASGI extension of a request with a large body: `receive_into`, a coroutine that fills a memoryview."""


class BodyReceive:
    """Fills memory from a socket, from the event loop. The transport must not read meanwhile.

    Args:
        socket_fd: a duplicate of the connection's descriptor, closed by `run` (`zerocopy.FileSend` says why).
        view: what to fill.
        on_progress: told of each piece, its size in bytes.
    """

    def __init__(self, socket_fd: int, view: memoryview, on_progress: Callable[[int], None]) -> None:
        self._socket = socket_fd
        self._view = view
        self._on_progress = on_progress
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.count = 0

    async def run(self) -> None:
        """Fill all of the view.

        Raises:
            OSError: the client sends less; ConnectionResetError at the end of its data. `count` bytes came.
        """
        try:
            if self._read():
                return
            watch = SocketWatch(self._socket, select.EPOLLIN, self._on_data)
            try:
                await self._done
            finally:
                watch.close()
        finally:
            os.close(self._socket)

    def stop(self) -> None:
        """The connection is lost: `run` raises ConnectionResetError."""
        if not self._done.done():
            self._done.set_exception(ConnectionResetError())

    def _read(self) -> bool:
        """Take what is there. True when the view is full."""
        try:
            count = os.readv(self._socket, [self._view[self.count :]])
        except BlockingIOError:
            return False
        if count == 0:
            raise ConnectionResetError
        self.count += count
        self._on_progress(count)
        return self.count == self._view.nbytes

    def _on_data(self) -> None:
        if self._done.done():
            return
        try:
            if self._read():
                self._done.set_result(None)
        except OSError as error:
            self._done.set_exception(error)
