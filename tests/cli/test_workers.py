"""The processes of `stowage serve`: one server to its clients, whatever signals it gets."""

import os
import re
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.http.cores import granted_cores
from storage.digest import digest_bytes
from tests.support.callers import Caller
from tests.support.certificates import make_certificate
from tests.support.served import Answer, Connection, eventually
from tests.support.server import Server, ServerError, ServerFactory
from tests.support.workers import alive, children, listening, open_files, worker_has_taken, worker_of

PATIENCE = 60.0


def connect_to_each(opened: ExitStack, server: Server) -> dict[int, Connection]:
    """A connection to each worker of a server, by process id."""
    workers = children(server.pid)
    found: dict[int, Connection] = {}
    for _ in range(200):
        connection = opened.enter_context(Connection(server.port))
        connection.ask("/v2/")
        assert connection.answer().status == 200
        worker = worker_of(connection.socket, workers)
        assert worker is not None
        found.setdefault(worker, connection)
        if len(found) == len(workers):
            return found
    raise AssertionError(f"only {len(found)} of {len(workers)} workers were met")


def upload(connection: Connection, method: str, target: str, body: bytes = b"") -> Answer:
    """Send a request with a body."""
    connection.ask(target, method, f"Content-Length: {len(body)}\r\n", body)
    return connection.answer()


def send_slowly(connection: Connection, target: str, body: bytes, first: int) -> Callable[[], Answer]:
    """Send the head of a PATCH and `first` bytes of its body. The function returned sends the rest."""
    connection.ask(target, "PATCH", f"Content-Length: {len(body)}\r\n", body[:first])
    eventually(lambda: worker_has_taken(connection.socket))

    def finish() -> Answer:
        connection.send(body[first:])
        return connection.answer()

    return finish


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers."""
    with Server(tmp_path_factory.mktemp("two"), arguments=("--workers", "2")) as server:
        yield server


def test_there_are_as_many_workers_as_told_and_the_supervisor_has_no_part_in_their_work(two: Server) -> None:
    workers = children(two.pid)
    assert len(workers) == 2
    assert two.log_tail().count("listening on") == 1
    assert '"workers":2' in two.log_tail()
    assert len(list(Path(f"/proc/{two.pid}/task").iterdir())) == 1, "a process with threads must not fork"
    assert not any("sqlite" in file for file in open_files(two.pid)), "a connection of SQLite must not cross a fork"
    for worker in workers:
        assert any("sqlite" in file for file in open_files(worker))
        assert len(listening(worker)) == 1
    assert set.union(*map(listening, workers)) == listening(two.pid)
    assert len(listening(two.pid)) == 2


def test_an_upload_begun_at_one_worker_goes_on_at_another(two: Server, repository: str) -> None:
    content = os.urandom(3_000_000)
    digest = digest_bytes(content)
    with ExitStack() as opened:
        one, other = connect_to_each(opened, two).values()
        location = upload(one, "POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
        assert upload(other, "PATCH", location, content[:1_000_000]).headers["range"] == "0-999999"
        assert upload(one, "PATCH", location, content[1_000_000:2_000_000]).headers["range"] == "0-1999999"
        assert upload(other, "PUT", f"{location}?digest={digest}", content[2_000_000:]).status == 201
        for connection in (one, other):
            connection.ask(f"/v2/{repository}/blobs/{digest}")
            assert connection.answer().body == content
            connection.ask(location)
            assert connection.answer().status == 404


def test_signals_to_a_worker_alone_change_nothing(two: Server) -> None:
    workers = children(two.pid)
    with ExitStack() as opened:
        connections = connect_to_each(opened, two)
        for worker, connection in connections.items():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(worker, number)
            connection.ask("/v2/")
            assert "connection" not in connection.answer().headers
    assert children(two.pid) == workers


@pytest.mark.parametrize("to_all", [False, True], ids=["SIGTERM", "Ctrl-C"])
def test_at_its_end_every_request_is_answered(fresh_server: ServerFactory, repository: str, to_all: bool) -> None:
    server = fresh_server("--workers", "2")
    content = os.urandom(200_000)
    callers = [Caller(server.port) for _ in range(6)]
    with ExitStack() as opened:
        uploads: list[Callable[[], Answer]] = []
        for connection in connect_to_each(opened, server).values():
            location = upload(connection, "POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
            uploads.append(send_slowly(connection, location, content, 100_000))
        for caller in callers:
            caller.start()
        eventually(lambda: all(caller.answered > 20 for caller in callers), PATIENCE)
        if to_all:
            os.killpg(server.pid, signal.SIGINT)
        else:
            os.kill(server.pid, signal.SIGTERM)
        eventually(lambda: all(caller.kept_out for caller in callers), PATIENCE)
        assert [caller.faults for caller in callers] == [[]] * 6
        for finish in uploads:
            answer = finish()
            assert (answer.status, answer.headers["connection"]) == (202, "close")
            assert answer.headers["range"] == f"0-{len(content) - 1}"
    assert server.stop() == 0
    assert '"level":"info"' in server.log_tail()
    assert '"level":"error"' not in server.log_tail()


def test_at_its_end_who_asked_before_is_answered_and_who_asks_again_is_told(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    assert len(children(server.pid)) == granted_cores(), "without being told, there is one worker a core"
    with ExitStack() as opened:
        idle, pipelining, asking = (opened.enter_context(Connection(server.port)) for _ in range(3))
        for connection in (idle, asking):
            connection.ask("/v2/")
            assert connection.answer().status == 200
        pipelining.send(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n" * 50)
        os.kill(server.pid, signal.SIGTERM)
        said = None
        while said is None:
            asking.ask("/v2/")
            said = asking.answer().headers.get("connection")
        assert said == "close"
        assert [pipelining.answer().status for _ in range(50)] == [200] * 50
        assert all(connection.is_closed() for connection in (idle, pipelining, asking))
    assert server.stop() == 0


def test_without_its_supervisor_a_worker_answers_what_was_asked_and_leaves_the_port(
    fresh_server: ServerFactory, repository: str, tmp_path: Path
) -> None:
    server = fresh_server("--workers", "2")
    workers = children(server.pid)
    with ExitStack() as opened:
        uploads: dict[str, Callable[[], Answer]] = {}
        for connection in connect_to_each(opened, server).values():
            location = upload(connection, "POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
            uploads[location] = send_slowly(connection, location, b"a" * 1000, 500)
        os.kill(server.pid, signal.SIGKILL)
        successor = Server(tmp_path / "successor", arguments=("--data", str(server.data)))
        successor.port = server.port
        opened.callback(successor.stop)
        eventually(lambda: started(successor), PATIENCE)
        assert all(alive(worker) for worker in workers), "a request in flight was given up"
        for location, finish in uploads.items():
            assert finish().status == 202
            other = opened.enter_context(Connection(successor.port))
            other.ask(location)
            answer = other.answer(bodiless=True)
            assert (answer.status, answer.headers["range"]) == (204, "0-999")
    eventually(lambda: not any(alive(worker) for worker in workers), PATIENCE)


def started(server: Server) -> bool:
    """Whether the server could be started, or was."""
    try:
        server.start()
    except ServerError:
        assert "in use" in server.log_tail()
        return False
    return True


def test_a_reload_renews_every_worker_and_no_request_goes_unanswered(
    fresh_server: ServerFactory, tmp_path: Path, repository: str
) -> None:
    configuration = tmp_path / "stowage.yaml"
    configuration.write_text("http: {public_url: 'https://before.example.org'}\n")
    server = fresh_server("--workers", "2", "--config", str(configuration))
    before = children(server.pid)
    callers = [Caller(server.port) for _ in range(4)]
    for caller in callers:
        caller.start()
    with Connection(server.port) as connection:
        location = location_of_upload(server, repository)
        assert location.startswith("https://before.example.org/")
        finish = send_slowly(connection, location.removeprefix("https://before.example.org"), b"a" * 1000, 500)
        for turn in (1, 2):
            configuration.write_text(f"http: {{public_url: 'https://after-{turn}.example.org'}}\n")
            reload(server)
            assert location_of_upload(server, repository).startswith(f"https://after-{turn}.example.org/")
            keep_asking(callers)
        answer = finish()
        assert (answer.status, answer.headers["range"], answer.headers["connection"]) == (202, "0-999", "close")
    eventually(lambda: len(children(server.pid)) == 2, PATIENCE)
    assert not set(before) & set(children(server.pid))
    for caller in callers:
        caller.stop()
    assert [caller.faults for caller in callers] == [[]] * 4
    assert not any(caller.kept_out for caller in callers)
    assert server.stop() == 0


def reload(server: Server) -> None:
    """Have the configuration read again, and wait until the old workers take no connection any more."""
    before = children(server.pid)
    done = server.log_tail().count("reloaded")
    os.kill(server.pid, signal.SIGHUP)
    eventually(lambda: server.log_tail().count("reloaded") > done, PATIENCE)
    eventually(lambda: not any(listening(worker) for worker in before), PATIENCE)


def keep_asking(callers: list[Caller]) -> None:
    """Wait until each of them got some more answers."""
    before = [caller.answered for caller in callers]
    eventually(lambda: all(c.answered > n + 20 for c, n in zip(callers, before, strict=True)), PATIENCE)


def location_of_upload(server: Server, repository: str) -> str:
    """Where a new upload session is said to be."""
    with Connection(server.port) as connection:
        return upload(connection, "POST", f"/v2/{repository}/blobs/uploads/").headers["location"]


def test_a_reload_refuses_what_is_wrong_and_names_what_needs_a_restart(
    fresh_server: ServerFactory, tmp_path: Path, repository: str
) -> None:
    configuration = tmp_path / "stowage.yaml"
    configuration.write_text("http: {public_url: 'https://before.example.org', workers: 1}\n")
    server = fresh_server("--config", str(configuration))
    workers = children(server.pid)
    assert len(workers) == 1
    for content, named in (
        ("http: {publik_url: 'https://x.example.org'}\nmanifests: {sparse: perhaps}\n", "http.publik_url"),
        (f"http: {{tls: {{certificate: {tmp_path}/none.pem}}}}\n", "none.pem"),
        ("http: [\n", "not YAML"),
    ):
        configuration.write_text(content)
        os.kill(server.pid, signal.SIGHUP)
        pattern = re.compile(f"reload refused.*{re.escape(named)}")
        eventually(lambda line=pattern: bool(line.search(server.log_tail())), PATIENCE)  # type: ignore[misc]  # a lambda's default
    assert server.log_tail().count("reload refused") == 3
    assert children(server.pid) == workers
    assert location_of_upload(server, repository).startswith("https://before.example.org/")

    storage = f"{{filesystem: {{root: {tmp_path}/elsewhere}}}}"
    configuration.write_text(f"http: {{public_url: 'https://after.example.org', workers: 3}}\nstorage: {storage}\n")
    reload(server)
    assert "reload: http.workers, storage can't change" in server.log_tail()
    assert location_of_upload(server, repository).startswith("https://after.example.org/")
    assert not (tmp_path / "elsewhere").exists()


def test_a_reload_takes_the_new_certificate(tmp_path: Path) -> None:
    used, next_one = make_certificate(tmp_path / "tls"), make_certificate(tmp_path / "tls", "next")
    first, second = used.certificate.read_text(), next_one.certificate.read_text()
    files = {"STOWAGE_HTTP__TLS__CERTIFICATE": str(used.certificate), "STOWAGE_HTTP__TLS__KEY": str(used.key)}
    server = TlsServer(tmp_path / "server", files, ("--workers", "2"))
    try:
        server.start()
        assert server.certificate() == first
        os.replace(next_one.certificate, used.certificate)
        os.replace(next_one.key, used.key)
        reload(server)
        assert {server.certificate() for _ in range(10)} == {second}
        assert server.stop() == 0
    finally:
        server.kill()


class TlsServer(Server):
    """One that is ready when it says that it listens."""

    def certificate(self) -> str:
        """The certificate that it shows, as PEM."""
        return ssl.get_server_certificate((self.host, self.port), timeout=10)

    def _wait_until_ready(self, seconds: float) -> None:
        eventually(lambda: '"url":"https' in self.log_tail(), seconds)
