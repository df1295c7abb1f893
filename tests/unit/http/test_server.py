"""The web server from outside: files byte by byte, connections that go wrong, starting and stopping."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.served import Connection, Process, eventually
from tests.support.workers import listening, worker_has_taken

KIB = 1024
MIB = 1024 * KIB
CONTENT = os.urandom(8 * MIB + 5)
SMALL_BUFFER = 16 * KIB


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server of `content`, on each event loop."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "content").write_bytes(CONTENT)
    with Process(folder, "--loop", request.param) as process:
        yield process
    log = process.log()
    assert "was never" not in log and "socket.send() raised" not in log, log


@pytest.fixture
def quiet(served: Process) -> Iterator[None]:
    """Fails when the server logs anything during the test, or keeps a file open after it."""
    log, files = served.log(), served.open_files()
    yield
    eventually(lambda: served.open_files() <= files)
    assert served.log() == log


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 0), (0, 1), (7, 64 * KIB), (0, MIB + 1), (3, 8 * MIB), (len(CONTENT), 0), (len(CONTENT) - 1, 1)],
)
@pytest.mark.parametrize(
    "how", ["", "&parts=3", "&declare=chunked", "&declare=chunked&parts=3", "&parts=3&mixed", "&copy"]
)
@pytest.mark.usefixtures("quiet")
def test_the_bytes_asked_for_arrive(served: Process, offset: int, count: int, how: str) -> None:
    answer = served.get(f"/file/content?offset={offset}&count={count}{how}")
    assert answer.status == 200
    assert answer.body == CONTENT[offset : offset + count]
    assert answer.headers.get("transfer-encoding") == ("chunked" if "chunked" in how else None)
    assert "date" in answer.headers and "server" not in answer.headers


@pytest.mark.usefixtures("quiet")
def test_one_connection_serves_many_requests(served: Process) -> None:
    with served.connect() as connection:
        for count in (MIB, 0, 5 * MIB, 1):
            connection.ask(f"/file/content?count={count}")
            assert connection.answer().body == CONTENT[:count]
            connection.ask("/about/x")
            assert connection.answer().status == 200


@pytest.mark.usefixtures("quiet")
def test_pipelined_requests_are_answered_in_order(served: Process) -> None:
    with served.connect(SMALL_BUFFER) as connection:
        for count in (2 * MIB, 3, 0, MIB + 1):
            connection.ask(f"/file/content?count={count}")
        connection.ask("/about/x", "POST", "Content-Length: 3\r\n", b"abc")
        for count in (2 * MIB, 3, 0, MIB + 1):
            assert connection.answer().body == CONTENT[:count]
        assert hashlib.sha256(b"abc").hexdigest().encode() in connection.answer().body
        connection.ask("/file/content?count=4")
        assert connection.answer().body == CONTENT[:4]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("how", ["parts=2", "parts=20&mixed", "parts=20&declare=chunked&mixed"])
def test_a_slow_reader_gets_every_byte(served: Process, how: str) -> None:
    with served.connect(SMALL_BUFFER) as connection:
        connection.ask(f"/file/content?{how}")
        if "chunked" in how:
            time.sleep(0.1)
            assert connection.answer().body == CONTENT
            return
        _, headers = connection.head()
        received = b""
        while len(received) < int(headers["content-length"]):
            if len(received) < 3 * 64 * KIB:
                time.sleep(0.02)  # the server's side of the connection is full meanwhile
                assert served.get("/about/x").status == 200
            received += connection.read(min(64 * KIB, len(CONTENT) - len(received)))
        assert received == CONTENT


@pytest.mark.usefixtures("quiet")
def test_head_sends_no_file(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/file/content", "HEAD")
        answer = connection.answer(bodiless=True)
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(CONTENT)))
        connection.ask("/file/content?count=2")
        assert connection.answer().body == CONTENT[:2]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("behind", [False, True], ids=["alone", "pipelined"])
@pytest.mark.parametrize("how", ["", "copy"])
@pytest.mark.usefixtures("quiet")
def test_clients_that_leave_in_the_middle_cost_nothing(served: Process, reset: bool, behind: bool, how: str) -> None:
    connections = [served.connect(SMALL_BUFFER) for _ in range(10)]
    for connection in connections:
        connection.ask(f"/file/content?{how}")
        if behind:
            connection.ask("/file/content")
        assert connection.read(20 * KIB)
    for connection in connections:
        if reset:
            connection.reset()
        else:
            connection.close()
    assert served.get("/file/content").body == CONTENT


@pytest.mark.usefixtures("quiet")
def test_a_client_that_says_goodbye_and_stays_costs_nothing(served: Process) -> None:
    before = served.open_files()
    with served.connect(SMALL_BUFFER) as connection:
        connection.ask("/file/content")
        assert connection.read(KIB)
        assert served.open_files() > before
        connection.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: served.open_files() == before)


def test_a_handler_learns_that_the_client_left(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/wait/left")
        eventually(lambda: worker_has_taken(connection.socket))
        assert not (served.folder / "left").exists()
    eventually((served.folder / "left").exists)
    (served.folder / "left").unlink()


def test_a_file_cut_short_while_it_is_sent_ends_the_connection(served: Process) -> None:
    for how in ("", "&declare=chunked"):
        file = served.folder / "shrinks"
        file.write_bytes(CONTENT)
        with served.connect(SMALL_BUFFER) as connection:
            connection.ask(f"/file/shrinks?{how}")
            connection.head()
            connection.read(1000)
            os.truncate(file, 4 * MIB)
            rest = connection.read()
        assert len(rest) < 5 * MIB
        assert not rest.endswith(b"0\r\n\r\n")
    assert "ended 4194309 bytes early" in served.log()
    assert served.get("/file/content?count=9").body == CONTENT[:9]


@pytest.mark.parametrize("declared", [10, 12])
def test_more_or_less_than_content_length_is_never_sent_whole(served: Process, declared: int) -> None:
    with served.connect() as connection:
        connection.ask(f"/file/content?count=11&declare={declared}")
        status, _ = connection.head()
        assert status == 500 or len(connection.read()) < declared


def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    with Process(tmp_path, "--stall", "0.3", "--idle", "2") as served:
        before = served.open_files()
        with contextlib.ExitStack() as opened:
            for target in ("content", "content?copy", "content?copy&count=1000000"):
                for headers in ("", "Connection: close\r\n"):
                    connection = opened.enter_context(served.connect(SMALL_BUFFER))
                    connection.ask(f"/file/{target}", headers=headers)
                    assert connection.read(1000)  # its file was open
            eventually(lambda: served.open_files() <= before)


def test_a_connection_that_sends_no_whole_head_is_closed(tmp_path: Path) -> None:
    with Process(tmp_path, "--idle", "2") as served:
        with served.connect() as silent, served.connect() as trickling:
            began = time.monotonic()
            with pytest.raises(OSError):  # reset or broken pipe, as it happens
                for letter in b"GET /about/x HTTP/1.1\r\n" + b"a" * 1000:
                    trickling.send(bytes([letter]))
                    time.sleep(0.05)
            assert silent.is_closed()
            assert time.monotonic() - began > 1.9
        with served.connect() as connection:
            connection.ask("/slow?seconds=3")
            assert connection.answer().status == 200


def test_an_exception_is_answered_in_json_and_tells_nothing(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/fail")
        answer = connection.answer()
        assert connection.is_closed()
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert b"a-secret-word" not in answer.body
    assert re.fullmatch(rb'\{"errors": \[\{"code": "UNKNOWN", "message": "[^"]+", "detail": null\}\]\}', answer.body)


def test_a_body_that_was_asked_to_wait_is_not_taken_for_a_request(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/early", "PUT", "Content-Length: 9\r\nExpect: 100-continue\r\n")
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert connection.is_closed()
    with served.connect() as connection:
        connection.ask("/about/x", "PUT", "Content-Length: 3\r\nExpect: 100-continue\r\n")
        assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(b"abc")
        assert hashlib.sha256(b"abc").hexdigest().encode() in connection.answer().body


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with a certificate for localhost, its key, and the content."""
    (tmp_path / "content").write_bytes(CONTENT)
    tool = shutil.which("openssl")
    assert tool, "openssl is not installed"
    command = [tool, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path


def test_with_tls_the_file_is_copied(certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=certificate / "certificate.pem")
    with Process(certificate, "--tls") as served, Connection(served.port, tls=trust) as connection:
        connection.ask("/about/x")
        about = connection.answer().body
        assert b'"scheme": "https"' in about and b'"extensions": ""' in about
        connection.ask("/file/content")
        assert connection.answer().body == CONTENT
        connection.send(b"nonsense\r\n\r\n")
        assert connection.answer().status == 400
        assert connection.is_closed()


def test_with_a_client_ca_only_its_clients_are_answered(certificate: Path) -> None:
    shutil.copy(certificate / "certificate.pem", certificate / "client-ca.pem")
    trust = ssl.create_default_context(cafile=certificate / "certificate.pem")
    with Process(certificate, "--tls") as served:
        with Connection(served.port, tls=trust) as connection:  # TLS 1.3: the refusal follows the handshake
            assert connection.is_closed()
        trust.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
        with Connection(served.port, tls=trust) as connection:
            connection.ask("/about/x")
            assert connection.answer().status == 200


def test_idle_clients_that_speak_tls_do_not_hold_up_the_end(certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=certificate / "certificate.pem")
    with Process(certificate, "--tls") as served, Connection(served.port, tls=trust) as connection:
        connection.ask("/about/x")
        assert connection.answer().status == 200
        assert served.stop() == 0  # the client does not answer the server's close_notify


def test_without_tls_the_extensions_are_offered(served: Process) -> None:
    assert b'"extensions": "http.response.zerocopysend,http.response.splice"' in served.get("/about/x").body


@pytest.mark.parametrize(("number", "loop"), [(signal.SIGTERM, "uvloop"), (signal.SIGINT, "asyncio")])
def test_stopping_finishes_what_is_in_flight(tmp_path: Path, number: int, loop: str) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    with Process(tmp_path, "--loop", loop) as served:
        with served.connect() as idle, served.connect(SMALL_BUFFER) as reading, served.connect() as waiting:
            idle.ask("/about/x")
            assert idle.answer().status == 200
            reading.ask("/file/content")
            reading.head()
            waiting.ask("/slow")
            eventually(lambda: worker_has_taken(waiting.socket))
            served.process.send_signal(number)
            assert idle.is_closed()
            assert reading.read() == CONTENT
            assert waiting.answer().body == b"slept"
        assert served.process.wait(60) == 0
        assert (tmp_path / "stopped").exists()
        assert "Traceback" not in served.log()


def test_what_takes_longer_than_the_end_may_last_is_answered_all_the_same(tmp_path: Path) -> None:
    with Process(tmp_path, "--drain", "0.5") as served, served.connect() as waiting:
        waiting.ask("/slow?seconds=60")
        eventually(lambda: worker_has_taken(waiting.socket))
        served.process.send_signal(signal.SIGTERM)
        answer = waiting.answer()
        assert (answer.status, answer.headers["connection"]) == (500, "close")
        assert served.process.wait(20) == 0
        assert "1 requests were cut off" in served.log()


def test_a_second_interrupt_ends_the_server_at_once(tmp_path: Path) -> None:
    with Process(tmp_path) as served, served.connect() as waiting:
        waiting.ask("/slow?seconds=60")
        eventually(lambda: worker_has_taken(waiting.socket))
        served.process.send_signal(signal.SIGINT)
        eventually(lambda: not listening(served.process.pid))  # it has heard of the first
        assert served.process.poll() is None
        assert served.stop(signal.SIGINT) == 1
        assert "CutOff" in served.log()


def test_a_port_can_be_taken_again_at_once(tmp_path: Path) -> None:
    with Process(tmp_path) as first:
        with first.connect() as connection:
            connection.ask("/about/x")
            assert connection.answer().status == 200
            assert first.stop() == 0  # the server closes first: its side stays in TIME_WAIT
        port = first.port
    with Process(tmp_path, "--port", str(port)) as second:
        assert second.port == port
        assert second.get("/about/x").status == 200


def test_localhost_is_all_its_addresses(tmp_path: Path) -> None:
    with Process(tmp_path, "--host", "localhost") as served:
        for family, *_, address in socket.getaddrinfo("localhost", served.port, type=socket.SOCK_STREAM):
            with socket.socket(family) as connection:
                connection.settimeout(20)
                connection.connect(address)


def test_an_application_that_fails_to_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "fail-to-start").touch()
    with pytest.raises(ConnectionError, match="CannotStart"):
        Process(tmp_path)


def test_many_downloads_share_the_server(served: Process) -> None:
    connections = [served.connect(SMALL_BUFFER) for _ in range(20)]
    steps: list[Callable[[], bool]] = []
    for number, connection in enumerate(connections):
        connection.ask(f"/file/content?offset={number}&count={MIB}")
        steps.append(lambda at=number, one=connection: one.answer().body == CONTENT[at : at + MIB])  # type: ignore[misc]  # a lambda's default
    assert all(step() for step in steps)
    for connection in connections:
        connection.close()
