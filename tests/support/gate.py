"""A TCP relay in front of a server that holds or cuts connections at a byte that the test chose."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024


class Gate:
    """Relays connections to a server on loopback.

    Args:
        port: the server's.
        hold_after: once the clients have sent so many bytes in all, nothing more is passed on until `cut`.
        cut_after: once the server has sent so many bytes in all, every connection is cut. This happens once.
    """

    def __init__(self, port: int, *, hold_after: int | None = None, cut_after: int | None = None) -> None:
        self.held = threading.Event()
        self.sent = 0
        self.received = 0
        self._target = ("127.0.0.1", port)
        self._hold_after = hold_after
        self._cut_after = cut_after
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts; close alone would not
        self._listener.close()
        self.cut()
        self._thread.join(10)
        for connection in self._connections:
            connection.close()

    @property
    def address(self) -> str:
        """HOST:PORT of the relay."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def cut(self) -> None:
        """End every connection on both sides, and hold nothing from now on."""
        with self._lock:
            self._hold_after = None
            self._cut_after = None
            connections = list(self._connections)
        self._released.set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()  # the server is away: so is the gate
                continue
            with self._lock:
                self._connections += [client, server]
            threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, upwards: bool) -> None:
        with suppress(OSError):
            while (content := source.recv(_CHUNK)) and self._count(len(content), upwards):
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, size: int, upwards: bool) -> bool:
        """Count bytes and tell whether to pass them on."""
        with self._lock:
            self.sent += size if upwards else 0
            self.received += 0 if upwards else size
            hold = self._hold_after is not None and self.sent >= self._hold_after
            cut = self._cut_after is not None and self.received >= self._cut_after
        if cut:
            self.cut()
            return False
        if hold and upwards:
            self.held.set()
            self._released.wait()
            return False
        return True
