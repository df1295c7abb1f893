"""Registries that keep a client waiting: bytes come, but the answer never ends."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conformance.client import Client, ClientError


@contextmanager
def dripping(begin: bytes, drop: bytes) -> Iterator[str]:
    """Answer each connection with `begin`, and then with `drop` again and again until it is closed."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(begin)
                while not ended.wait(0.05):
                    connection.sendall(drop)
            except OSError:
                pass  # cut, as it should be

    def accept(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: more\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x"),
    ],
    ids=["silence", "headers", "body", "chunks", "until-closed"],
)
def test_an_answer_that_never_ends_is_cut_off(begin: bytes, drop: bytes) -> None:
    with dripping(begin, drop) as url, Client(url, timeout=0.5) as client:
        with pytest.raises(ClientError, match=r"no whole answer within 0\.5 s|timed out"):
            client.request("GET", "/v2/")
        [kept] = client.exchanges
        assert kept.status is None


def test_a_client_that_cut_a_connection_goes_on_with_another() -> None:
    begin = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with dripping(begin, b"x") as url, Client(url, timeout=0.3) as client:
        for _ in range(2):
            with pytest.raises(ClientError, match=r"no whole answer|timed out"):
                client.request("GET", "/v2/")
