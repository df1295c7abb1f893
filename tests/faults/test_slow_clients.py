"""Two hundred clients that are slow on purpose, or stuck: the rest is answered, and they get what they are due."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.factories import digest_of, pull_blob, push_blob, push_image, random_bytes, start_upload
from tests.support.served import Connection, Process, eventually
from tests.support.server import Server, new_client
from tests.support.workers import children

SLOW = 200
ROUNDS = 60
MIB = 1024 * 1024
CONTENT = random_bytes(4 * MIB)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one worker, which holds every connection of these tests, for as long as these take."""
    settings = {
        "STOWAGE_HTTP__WORKERS": "1",
        "STOWAGE_HTTP__LIMITS__IDLE": "1h",
        "STOWAGE_HTTP__LIMITS__STALL": "1h",
    }
    with Server(tmp_path_factory.mktemp("roomy"), settings) as running:
        yield running


class Trickle:
    """Slow connections, each of which gives or takes a byte every now and then, from a thread of their own."""

    def __init__(self, connections: list[Connection], step: Callable[[Connection], None]) -> None:
        self._connections = connections
        self._step = step
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.steps = 0

    def __enter__(self) -> "Trickle":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            for connection in self._connections[self.steps % 10 :: 10]:
                self._step(connection)
            self.steps += 1


def give(connection: Connection) -> None:
    """One byte more of a head or a body."""
    connection.send(b"a")


def take(connection: Connection) -> None:
    """One byte more of an answer."""
    assert connection.read(1)


def hold_heads(client: httpx.Client, repository: str, connections: list[Connection]) -> Callable[[Connection], None]:
    for connection in connections:
        connection.send(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ")
    return give


def hold_bodies(client: httpx.Client, repository: str, connections: list[Connection]) -> Callable[[Connection], None]:
    for connection in connections:
        connection.ask(start_upload(client, repository), "PATCH", "Content-Length: 100000000\r\n", b"some")
    return give


def hold_manifests(
    client: httpx.Client, repository: str, connections: list[Connection]
) -> Callable[[Connection], None]:
    for connection in connections:
        connection.ask(f"/v2/{repository}/manifests/slow", "PUT", "Content-Length: 1000000\r\n", b"{")
    return give


def hold_answers(client: httpx.Client, repository: str, connections: list[Connection]) -> Callable[[Connection], None]:
    digest = push_blob(client, repository, CONTENT)
    for connection in connections:
        connection.ask(f"/v2/{repository}/blobs/{digest}")
    for connection in connections:
        assert connection.head()[0] == 200
    return take


@pytest.mark.parametrize("hold", [hold_heads, hold_bodies, hold_manifests, hold_answers])
def test_slow_clients_do_not_keep_others_from_their_answers(
    roomy: Server,
    repository: str,
    hold: Callable[[httpx.Client, str, list[Connection]], Callable[[Connection], None]],
) -> None:
    with ExitStack() as stack, new_client(roomy) as client:
        slow = [stack.enter_context(Connection(roomy.port, receive_buffer=4096)) for _ in range(SLOW)]
        step = hold(client, repository, slow)
        trickle = stack.enter_context(Trickle(slow, step))
        answered = 0
        for number in range(ROUNDS):
            image = push_image(client, repository, f"tag-{number}")
            assert client.get(f"/v2/{repository}/manifests/tag-{number}").content == image.manifest
            assert pull_blob(client, repository, digest_of(image.config)) == image.config
            answered += 1
        assert answered == ROUNDS
        eventually(lambda: trickle.steps > 0)
        assert all(is_open(connection) for connection in slow)  # all the while


def is_open(connection: Connection) -> bool:
    """Whether the server has neither ended nor reset the connection."""
    connection.socket.setblocking(False)
    try:
        return connection.socket.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        connection.socket.settimeout(60)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("how", ["", "copy"])
def test_a_trickle_of_an_answer_is_cut_off_and_a_slow_reader_is_not(tmp_path: Path, loop: str, how: str) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    with (
        Process(tmp_path, "--loop", loop, "--stall", "3") as served,
        served.connect(4096) as trickling,
        served.connect(4096) as slow,
    ):
        for connection in (trickling, slow):
            connection.ask(f"/file/content?{how}")
            assert connection.head()[0] == 200
        before = served.open_files()
        received = hashlib.sha256()
        size = 0
        while served.open_files() >= before and size < len(CONTENT):
            part = slow.read(16 * 1024)  # less than makes room in the server's own buffers within many windows
            received.update(part)
            size += len(part)
            trickling.read(1)
            time.sleep(0.1)
        assert size < len(CONTENT), "the trickling client was never cut off"
        received.update(slow.read(len(CONTENT) - size))
        assert received.digest() == hashlib.sha256(CONTENT).digest()


def test_a_flood_of_connections_leaves_no_descriptors(roomy: Server, repository: str) -> None:
    with new_client(roomy) as client:
        digest = push_blob(client, repository, random_bytes(300_000))
        before = descriptors(roomy)
        for number in range(SLOW):
            connection = Connection(roomy.port, receive_buffer=4096)
            connection.ask(f"/v2/{repository}/blobs/{digest}")
            if number % 2:
                connection.reset()
            else:
                connection.close()
        assert client.get("/v2/").status_code == 200
        eventually(lambda: descriptors(roomy) <= before)


def descriptors(server: Server) -> int:
    """How many files all processes of the server have open."""
    return sum(len(os.listdir(f"/proc/{process}/fd")) for process in (server.pid, *children(server.pid)))
