"""Watches a socket that no transport of the event loop is reading or writing."""

import asyncio
import select
from collections.abc import Callable


class SocketWatch:
    """Calls back on every turn of the loop in which a socket has bytes, or room, or has failed.

    Through an epoll of its own (epoll(7)), which the loop sees as readable then. The loop's own `add_reader` hears
    nothing of a connection that was reset: libuv takes an error on a descriptor for a mistake of whoever polls it, and
    ends the poll (`uv__poll_io`).

    Args:
        descriptor: must stay open until `close`.
        events: `select.EPOLLIN` or `select.EPOLLOUT`; errors are always told.
    """

    def __init__(self, descriptor: int, events: int, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll(1)
        self._epoll.register(descriptor, events)
        self._watched = descriptor
        self._loop.add_reader(self._epoll.fileno(), callback)

    def move(self, descriptor: int, events: int) -> None:
        """Watch this one from now on."""
        if descriptor != self._watched:
            self._epoll.unregister(self._watched)
            self._epoll.register(descriptor, events)
            self._watched = descriptor

    def close(self) -> None:
        """Call back no more."""
        # Before the close: the loop would else watch whatever gets the number next.
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
