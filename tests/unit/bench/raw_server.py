"""A server that sends what a test tells it to, byte by byte as given: answers no real server would give."""

import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

_PATIENCE_S = 30


class RawServer:
    """Takes one connection, and sends the next of `answers` after each request; then closes the connection.

    A request is a head and as many bytes as its Content-Length says. `requests` holds what came.
    """

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_PATIENCE_S)
        self._thread = threading.Thread(target=self._serve)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        self._thread.join(_PATIENCE_S)

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # the test ended without connecting
        with connection:
            connection.settimeout(_PATIENCE_S)
            for answer in self._answers:
                request = _receive(connection)
                if not request:
                    return
                self.requests.append(request)
                connection.sendall(answer)


def _receive(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(65536)
        if not piece:
            return b""
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    left = int(lengths[0]) - len(body) if lengths else 0
    parts = [request]
    while left > 0:
        parts.append(connection.recv(min(left, 1024 * 1024)))
        left -= len(parts[-1])
    return b"".join(parts)
