"""Request ids and the access log of real servers."""

import json
import os
import pty
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.scrape import Scrape
from tests.support.served import Connection, eventually
from tests.support.server import ROOT, Connect, Server, ServerFactory

NEW_ID = re.compile(r"[0-9a-f]{16}-[0-9]+")


def lines(server: Server) -> list[dict[str, Any]]:
    """The lines of the access log, of which each must be JSON."""
    whole, _, _ = server.log_file.read_text().rpartition("\n")  # the last line may be being written
    found = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [one for one in found if one["logger"] == "stowage.access"]


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    """The line of a request, once it is written."""
    eventually(lambda: any(one["request_id"] == request_id for one in lines(server)))
    (found,) = (one for one in lines(server) if one["request_id"] == request_id)
    return found


@pytest.mark.parametrize("given", ["7f3c", "a" * 128, "Root=1-67891233-abcdef", "0123:4567/89+@~_."])
def test_an_id_that_is_given_is_taken(server: Server, client: httpx.Client, given: str) -> None:
    answer = client.get("/v2/nobody/has/this/tags/list", headers={"X-Request-Id": given})
    assert answer.status_code == 404
    assert answer.headers.get_list("x-request-id") == [given]
    eventually(lambda: any(one["request_id"] == given for one in lines(server)))


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", 'a"b', "-a", "a;b", "é", "a\tb", "${jndi:x}", "<b>"])
def test_an_id_that_is_unfit_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.get("/v2/", headers=[(b"X-Request-Id", given.encode())])
    assert NEW_ID.fullmatch(answer.headers["x-request-id"])


def test_ids_differ(client: httpx.Client) -> None:
    assert len({client.get("/v2/").headers["x-request-id"] for _ in range(20)}) == 20


@pytest.mark.parametrize("path", ["/v2/", "/v2/a/b/manifests/none", "/v2/-/tags/list", "/healthz", "/metrics", "/none"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PROPFIND"])
def test_every_answer_has_one(client: httpx.Client, method: str, path: str) -> None:
    assert NEW_ID.fullmatch(client.request(method, path).headers["x-request-id"])


@pytest.mark.parametrize(
    ("sent", "status", "expected"),
    [
        (b"BREW / HTTP/1.1\r\n\r\n", 400, None),
        (b"GET /v2/ HTTP/1.1\r\nX-Request-Id: mine-1\r\n\r\n", 400, "mine-1"),  # no Host
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-2\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431, "mine-2"),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine 3\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431, None),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-4\r\nContent-Length: 99999\r\n\r\n", 413, "mine-4"),
        (b"\x16\x03\x01", 400, None),
    ],
)
def test_refusals_of_the_parser_have_one_and_a_line(
    server: Server, sent: bytes, status: int, expected: str | None
) -> None:
    with Connection(server.port) as connection:
        connection.send(sent)
        answer = connection.answer()
    given = answer.headers["x-request-id"]
    assert answer.status == status
    assert given == expected if expected else NEW_ID.fullmatch(given)
    line = line_of(server, given)
    assert (line["status"], line["client"], line["path"]) == (status, "127.0.0.1", "")


def test_pipelined_requests_keep_their_own(server: Server) -> None:
    with Connection(server.port) as connection:
        ids = [f"pipelined-{number}" for number in range(10)]
        connection.send(
            b"".join(f"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: {one}\r\n\r\n".encode() for one in ids)
        )
        assert [connection.answer().headers["x-request-id"] for _ in ids] == ids


def test_a_body_that_does_not_come_is_one_line_with_its_refusal(fresh_server: ServerFactory) -> None:
    server = fresh_server("--workers", "1", STOWAGE_HTTP__LIMITS__STALL="1s")
    with Connection(server.port) as connection:
        head = "Content-Length: 500\r\nX-Request-Id: stalled\r\n"
        connection.ask("/v2/a/blobs/uploads/?digest=sha256:" + "0" * 64, "POST", head, b"ab")
        answer = connection.answer()
    assert (answer.status, answer.headers["x-request-id"]) == (408, "stalled")
    line = line_of(server, "stalled")
    assert (line["status"], line["received"], line["method"]) == (408, 2, "POST")


def test_what_a_line_says(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server("--workers", "2", STOWAGE_HTTP__TRUSTED_PROXIES="127.0.0.1")
    client = connect(server)
    evil = 'x"}\\ \t\x1b[31m\xe9'
    answer = client.post(
        "/v2/a/b/blobs/uploads/?digest=sha256:00&token=s3cret&X-Amz-Signature=s3cret&tag=%0a%22&xdigest=s3cret",
        content=b"12345",
        headers=[
            (b"User-Agent", evil.replace("\x1b", "").encode("latin-1")),
            (b"Authorization", b"Basic s3cret"),
            (b"X-Forwarded-For", b"192.0.2.7"),
            (b"X-Request-Id", b"told"),
        ],
    )
    assert answer.status_code == 400
    line = line_of(server, "told")
    moment = line.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert 0 < line.pop("seconds") < 60
    assert isinstance(line.pop("process"), int)
    assert re.fullmatch("[0-9a-f]{12}", line.pop("instance"))
    assert line == {
        "level": "info",
        "logger": "stowage.access",
        "message": "request",
        "request_id": "told",
        "client": "192.0.2.7",
        "principal": "",
        "method": "POST",
        "path": "/v2/a/b/blobs/uploads/?digest=sha256:00&tag=%0a%22",
        "status": 400,
        "received": 5,  # refused before it was read, and read before that was said
        "sent": len(answer.content),
        "user_agent": evil.replace("\x1b", ""),
    }
    with Connection(server.port) as connection:
        connection.ask("http://user:s3cret@host/v2/%0d%0aforged%22", headers="X-Request-Id: url\r\n")
        connection.answer()
        connection.ask('/v2/"\\x', headers="X-Request-Id: quotes\r\n")
        connection.answer()
        connection.ask(f"/v2/{'y' * 9000}", headers="X-Request-Id: long\r\nUser-Agent: " + "z" * 9000 + "\r\n")
        connection.answer()
    assert line_of(server, "url")["path"] == "/v2/%0d%0aforged%22"
    assert line_of(server, "quotes")["path"] == "/v2/%22%5Cx"
    long = line_of(server, "long")
    assert (len(long["path"]), len(long["user_agent"])) == (1024, 256)
    for number in range(300):
        client.get("/v2/", headers={"X-Request-Id": f"last-{number}"})
    assert server.stop() == 0
    assert "s3cret" not in server.log_file.read_text()
    written = [one["request_id"] for one in lines(server)]
    assert [one for one in written if one.startswith("last-")] == [f"last-{number}" for number in range(300)]


def test_lines_that_handlers_log_have_the_id(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server("--workers", "1")
    client = connect(server)
    client.get("/readyz", headers={"X-Request-Id": "healthy"})
    storage = server.data / "storage"
    storage.rename(server.data / "elsewhere")
    assert client.get("/readyz", headers={"X-Request-Id": "sick"}).status_code == 503
    client.get("/v2/", headers={"X-Request-Id": "later"})
    (server.data / "elsewhere").rename(storage)
    eventually(lambda: "not ready" in server.log_tail())
    told = [json.loads(line) for line in server.log_file.read_text().splitlines() if "not ready" in line]
    assert {one.get("request_id") for one in told} == {"sick"}


def test_it_can_be_turned_off(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server("--workers", "1", STOWAGE_LOGS__ACCESS="false")
    assert connect(server).get("/v2/").headers["x-request-id"]
    server.stop()
    assert lines(server) == []


def test_text_on_a_terminal_without_the_terminal_s_own_language(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    server = TerminalServer(tmp_path / "server", theirs)
    try:
        server.start()
        with Connection(server.port) as connection:
            connection.ask("/v2/%1b[31m", headers="X-Request-Id: shown\r\nUser-Agent: \x9b31m me\r\n")
            assert connection.answer().status == 404
        os.set_blocking(ours, False)
        shown = b""

        def is_shown() -> bool:
            nonlocal shown
            try:
                shown += os.read(ours, 65536)
            except BlockingIOError:
                pass
            return b"request_id=shown" in shown

        eventually(is_shown)
    finally:
        server.kill()
        os.close(theirs)
        os.close(ours)
    (line,) = (line for line in shown.decode().splitlines() if "request_id=shown" in line)
    pattern = (
        r"\S+Z INFO \[\d+\] stowage\.access: GET /v2/%1b\[31m 404 seconds=\d\.\d{6} received=0 sent=\d+ "
        r'client=127\.0\.0\.1 principal="" user_agent="\\u00c2\\u009b31m me" request_id=shown'
    )
    assert re.fullmatch(pattern, line), line


class TerminalServer(Server):
    """One whose standard error is a terminal."""

    def __init__(self, folder: Path, terminal: int) -> None:
        redirect = ("/bin/sh", "-c", f'exec "$@" 2>{os.ttyname(terminal)}', "sh")
        super().__init__(folder, {}, ("--workers", "1"), wrapper=redirect)

    def _has_greeted(self) -> bool:
        return True


def test_a_reader_that_stops_reading_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    redirect = ("/bin/sh", "-c", f'exec "$@" 2>{pipe}', "sh")
    server = PipedServer(tmp_path / "server", {}, ("--workers", "1"), wrapper=redirect)
    try:
        server.start()
        one = f"GET /v2/{'a' * 1000} HTTP/1.1\r\nHost: x\r\nUser-Agent: {'b' * 250}\r\n\r\n".encode()
        with Connection(server.port) as connection:
            answered, dropped = 0, 0.0
            while not dropped:
                for _ in range(5):
                    connection.send(one * 100)
                    assert [connection.answer().status for _ in range(100)] == [404] * 100
                    answered += 100
                connection.ask("/metrics")
                dropped = Scrape(connection.answer().body.decode()).value("access_log_dropped_lines_total")
                assert answered < 10_000, "nothing was dropped, though the pipe was full long ago"
        assert server.stop() == 0
        os.set_blocking(reader, False)
        left = os.read(reader, 1 << 20).decode().splitlines()
        assert len(left) > 10
        assert all(json.loads(line) for line in left[:-1])
    finally:
        server.kill()
        os.close(reader)


class PipedServer(Server):
    """One whose standard error nobody reads."""

    def _has_greeted(self) -> bool:
        return True


def test_the_documented_line_is_what_is_written(server: Server, client: httpx.Client) -> None:
    documented = re.search(r'^\{"time".*\}$', (ROOT / "docs/observe.md").read_text(), re.M)
    assert documented
    given = client.get("/v2/").headers["x-request-id"]
    assert list(line_of(server, given)) == list(json.loads(documented[0]))
