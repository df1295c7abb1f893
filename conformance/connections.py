"""The connections of an HTTP client, which can be cut: reads that each end in time may go on for ever."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LONGEST_TICK = 0.5


class TooSlow(Exception):
    """A request was ended because its whole answer took too long."""


class Connections:
    """Knows the sockets that an `httpx.Client` opened, and cuts them when a request takes too long.

    One thread looks at the clock now and then: a timer for each request would cost more than the request.

    Args:
        seconds: how long a request may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._late = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Be told what happens to a request: the request extension `trace` (HTTPX, "Request extensions")."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            opened = info["return_value"].get_extra_info("socket")
            with self._lock:
                # What was closed, and what TLS took over, has no descriptor any more.
                self._sockets = [one for one in self._sockets if one.fileno() != -1] + [opened]

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Cut all connections when the block takes too long.

        Raises:
            TooSlow: it did.
        """
        if self._thread.ident is None:
            self._thread.start()
        with self._lock:
            self._deadline, self._late = time.monotonic() + self._seconds, False
        problem = f"no whole answer within {self._seconds:g} s"
        try:
            yield
        except Exception as error:
            if self._late:
                raise TooSlow(problem) from error
            raise
        finally:
            with self._lock:
                self._deadline = None
        if self._late:
            raise TooSlow(problem)  # the cut looked like the end of a body whose length was not said

    def close(self) -> None:
        """Watch no longer."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(min(_LONGEST_TICK, self._seconds / 5)):
            with self._lock:
                if self._deadline is not None and time.monotonic() > self._deadline:
                    self._late = True
                    self._cut()

    def _cut(self) -> None:
        for one in self._sockets:
            try:
                # That of socket.socket: SSLSocket's own would take the TLS state from under the thread that reads.
                socket.socket.shutdown(one, socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed
