"""What is not HTTP/1.1, and what is too much of it: refused in the registry's form, never a hang, never a 500."""

import json
import time
from collections.abc import Iterator

import pytest

from registry.http.limits import Limits
from registry.http.protocol import PIPELINED_REQUESTS
from tests.support.served import Answer, Connection, Process, eventually
from tests.support.workers import worker_has_taken

HEAD_BYTES = Limits().head_size
HEADER_COUNT = Limits().headers
HOST = b"Host: registry\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

MALFORMED = {
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "another coding": b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "an unknown coding": b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": b"PUT / HTTP/1.1\r\n" + HOST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked, then not": b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a control character before chunked": b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "no coding": b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n\r\n",
    "space before the colon of a coding": b"PUT / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "trailing LF in a header": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "CR alone": b"GET / HTTP/1.1\rHost: a\r\r",
    "space before the first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\x00: x\r\n\r\n",
    "a name beyond ASCII": b"GET / HTTP/1.1\r\n" + HOST + b"X\xe9: x\r\n\r\n",
    "brackets in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X(a): x\r\n\r\n",
    "DEL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: \x7f\r\n\r\n",
    "a space in Host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a path in Host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a user in Host": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a wrong port in Host": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "a negative length": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "a length in hex": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc",
    "a length of two words": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3 0\r\n\r\nabc",
    "an empty length": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n",
    "a length in other digits": b"PUT / HTTP/1.1\r\n" + HOST + "Content-Length: \u0663\r\n\r\nabc".encode(),
    "two lengths under HTTP/1.0": b"GET / HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a signed chunk": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n+3\r\nabc\r\n0\r\n\r\n",
    "a negative chunk": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n-3\r\nabc\r\n0\r\n\r\n",
    "a chunk with 0x": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk with a space": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3 \r\nabc\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n10000000000000003\r\nabc\r\n",
    "a chunk without a size": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n\r\nabc\r\n0\r\n\r\n",
    "LF after a chunk's size": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3\nabc\r\n0\r\n\r\n",
    "LF after a chunk": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3\r\nabc\n0\r\n\r\n",
    "LF in an extension": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3;a\nabc\r\n0\r\n\r\n",
    "a line end in a quoted extension": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b'\r\n3;a="\r\n"\r\nabc\r\n',
    "a length in the trailer": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a folded trailer": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0\r\nX: y\r\n z\r\n\r\n",
    "upgrade with length and chunks": b"PUT / HTTP/1.1\r\n"
    + HOST
    + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n"
    + CHUNKED
    + b"\r\n0\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bad method": b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n",
    "method in lower case": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT registry:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown version": b"GET / HTTP/1.9\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : registry\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: one\r\n two\r\n\r\n",
    "folded with a tab": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: one\r\n\ttwo\r\n\r\n",
    "folded Content-Length": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n 0\r\n\r\n0123456789",
    "NUL in a header": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n",
    "bare CR in a header": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rX-B: b\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: registry\n\n",
    "length and chunks": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and length": b"PUT / HTTP/1.1\r\n" + HOST + CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "the same length twice": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "a length beyond 64 bits": b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "chunked twice": b"PUT / HTTP/1.1\r\n" + HOST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked under HTTP/1.0": b"PUT / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "a wrong chunk": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than said": b"PUT /about HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n2\r\nabc\r\n0\r\n\r\n",
    "half a percent encoding": b"GET /about/%z1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "percent at the end": b"GET /about/% HTTP/1.1\r\n" + HOST + b"\r\n",
    "percent in the query": b"GET /about?last=%g0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "not UTF-8 in the path": b"GET /about/%ff HTTP/1.1\r\n" + HOST + b"\r\n",
    "not ASCII in the path": b"GET /about/\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the path": b"GET /about/\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "encoded NUL in the path": b"GET /about/%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /about/#x HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the path": b"GET /about/a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path without a slash": b"GET about HTTP/1.1\r\n" + HOST + b"\r\n",
    "an impossible port": b"GET http://registry:99999/about HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server on each event loop."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "content").write_bytes(bytes(4 * 1024 * 1024))
    with Process(folder, "--loop", request.param) as process:
        yield process
        assert "WARNING" not in process.log() and "ERROR" not in process.log()


def _refusal(connection: Connection, status: int) -> Answer:
    answer = connection.answer()
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.headers["connection"] == "close"
    (error,) = json.loads(answer.body)["errors"]
    assert error["code"] == "UNSUPPORTED"
    assert error["message"] and "\n" not in error["message"]
    assert error["detail"] is None
    assert connection.is_closed()
    return answer


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=list(MALFORMED))
@pytest.mark.parametrize("piecemeal", [False, True], ids=["whole", "byte by byte"])
def test_malformed_requests_are_refused(served: Process, request_bytes: bytes, piecemeal: bool) -> None:
    with served.connect() as connection:
        if piecemeal:
            for byte in request_bytes:  # refused before its end, most are; yet the client may finish, and read why
                connection.send(bytes([byte]))
        else:
            connection.send(request_bytes)
        _refusal(connection, 400)
    with served.connect() as connection:
        connection.ask("/about/still")
        assert connection.answer().status == 200


@pytest.mark.parametrize("value", [b"3", b"003", b"  3", b"3  ", b"\t3\t"])
def test_lengths_may_have_zeros_before_and_blanks_around_them(served: Process, value: bytes) -> None:
    with served.connect() as connection:
        connection.send(b"PUT /about/x HTTP/1.1\r\n" + HOST + b"Content-Length: " + value + b"\r\n\r\nabc")
        assert json.loads(connection.answer().body)["length"] == "3"


@pytest.mark.parametrize("host", [b"", b"a:5000", b"[::1]:5000", b"127.0.0.1", b"a_b.example.", b"%41", b"a  "])
def test_hosts_that_are_accepted(served: Process, host: bytes) -> None:
    with served.connect() as connection:
        connection.send(b"PUT /about/x HTTP/1.1\r\nHost: " + host + b"\r\nTransfer-Encoding: Chunked \r\n\r\n0\r\n\r\n")
        assert connection.answer().status == 200


@pytest.mark.parametrize(
    "target", ["/about/%C3%A9", "/about/a%20b", "http://registry/about/x", "/about/x?a=%2F&b=c", "//about/x"]
)
def test_well_formed_targets_are_accepted(served: Process, target: str) -> None:
    with served.connect() as connection:
        connection.ask(target)
        assert connection.answer().status in {200, 404}


@pytest.mark.parametrize("target", ["http://registry", "*"])
def test_targets_without_a_path_do_not_fail(served: Process, target: str) -> None:
    with served.connect() as connection:
        connection.ask(target, "OPTIONS")
        assert connection.answer().status == 404


def test_the_head_is_bounded(served: Process) -> None:
    line, host = len(b"/about/x"), len(b"Hostregistry") + 4
    room = HEAD_BYTES - line - host - len("X-A") - 4
    with served.connect() as connection:
        connection.ask("/about/x", headers=f"X-A: {'a' * room}\r\n")
        assert connection.answer().status == 200
        connection.ask("/about/x", headers=f"X-A: {'a' * (room + 1)}\r\n")
        _refusal(connection, 431)
    with served.connect() as connection:
        connection.ask("/about/" + "a" * HEAD_BYTES)
        _refusal(connection, 431)


def test_the_number_of_headers_is_bounded(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/about/x", headers="X-A: a\r\n" * (HEADER_COUNT - 1))
        assert connection.answer().status == 200
        connection.ask("/about/x", headers="X-A: a\r\n" * HEADER_COUNT)
        _refusal(connection, 431)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /about/",
        b"GET /about/x HTTP/1.1\r\nX-A: ",
        b"GET /about/x HTTP/1.1\r\nX-",
        b"PUT /about/x HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3;extension=",
        b"PUT /about/x HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3\r\nabc\r\n0\r\nTrailer: ",
    ],
    ids=["target", "header", "header's name", "chunk extension", "trailer"],
)
def test_what_never_ends_is_refused_early(served: Process, start: bytes) -> None:
    with served.connect() as connection:
        connection.send(start)
        for _ in range(20):
            connection.send(b"a" * (HEAD_BYTES // 4))
            time.sleep(0.002)
        _refusal(connection, 431)


def test_trailers_do_not_pass_for_headers(served: Process) -> None:
    with served.connect() as connection:
        connection.send(
            b"PUT /about/x HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n"
        )
        about = json.loads(connection.answer().body)
        assert about["length"] == "3"
        assert "authorization" not in about["headers"]


def test_a_refusal_waits_for_the_answers_before_it(served: Process) -> None:
    with served.connect(16 * 1024) as connection:
        connection.ask("/file/content")
        connection.ask("/about/next")
        connection.send(b"nonsense\r\n\r\n")
        assert connection.answer().body == bytes(4 * 1024 * 1024)
        assert json.loads(connection.answer().body)["path"] == "/about/next"
        _refusal(connection, 400)


def test_a_refused_body_waits_for_the_answers_before_it(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/slow")
        connection.ask("/about/x", "PUT", "Transfer-Encoding: chunked\r\n", b"zz\r\n")
        assert connection.answer().body == b"slept"
        _refusal(connection, 400)


def test_a_body_that_goes_wrong_after_its_answer_only_ends_the_connection(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/early", "PUT", "Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n")
        assert connection.answer().status == 401
        connection.send(b"zz\r\n")
        assert connection.is_closed()


def test_requests_ahead_of_their_answers_are_bounded(served: Process) -> None:
    with served.connect() as connection:
        one = b"GET /slow?seconds=0.001 HTTP/1.1\r\n" + HOST + b"\r\n"
        connection.send(one * (2 * PIPELINED_REQUESTS))  # few enough bytes to arrive together
        for _ in range(1 + PIPELINED_REQUESTS):
            assert connection.answer().status == 200
        _refusal(connection, 400)


def test_a_hundred_answers_may_be_ready_at_once(served: Process) -> None:
    with served.connect() as connection:
        connection.ask("/slow")
        connection.send((b"GET /early HTTP/1.1\r\n" + HOST + b"\r\n") * PIPELINED_REQUESTS)
        assert connection.answer().body == b"slept"
        for _ in range(PIPELINED_REQUESTS):
            assert connection.answer().body == b"no"


def test_more_requests_than_that_may_come_when_they_wait_in_the_network(served: Process) -> None:
    one = b"GET /slow?seconds=0.001 HTTP/1.1\r\n" + HOST + b"\r\n"
    with served.connect() as connection:
        connection.ask("/slow")
        for _ in range(2):
            eventually(lambda: worker_has_taken(connection.socket))
            connection.send(one * (PIPELINED_REQUESTS - 10))
        for _ in range(1 + 2 * (PIPELINED_REQUESTS - 10)):
            assert connection.answer().status == 200


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("GET", "", b""),
        ("PUT", "Content-Length: 5\r\n", b"hello"),
        ("PUT", "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
def test_upgrades_are_ignored(served: Process, method: str, headers: str, body: bytes, upgrade: str) -> None:
    with served.connect() as connection:
        headers += f"Connection: keep-alive, Upgrade\r\nUpgrade: {upgrade}\r\n"
        connection.ask("/about/first", method, headers, body)
        connection.ask("/about/second", method, headers, body)
        for path in ("/about/first", "/about/second"):
            about = json.loads(connection.answer().body)
            assert (about["path"], about["method"]) == (path, method)
            assert about["length"] == ("5" if body else "0")


def test_http_1_0_is_answered_and_closed(served: Process) -> None:
    with served.connect() as connection:
        connection.send(b"GET /about/x HTTP/1.0\r\n\r\n")
        answer = connection.answer()
        assert json.loads(answer.body)["http_version"] == "1.0"
        assert connection.is_closed()
