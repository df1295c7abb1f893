"""The load generator counts an operation only when its answer is whole and as expected."""

import itertools

import pytest

from bench.load import Answer, Load, Operation, Request, UnexpectedAnswer, dechunk, run
from bench.servers import free_port
from tests.unit.bench.raw_server import RawServer

_GET = b"GET /v2/ HTTP/1.1\r\nHost: test\r\n\r\n"


def _ok(body: bytes = b"", *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields, b"", body])


def _one(request: Request, answer: bytes) -> Load:
    with RawServer([answer]) as server:
        return run(server.port, iter([_asking(request)]))


def _asking(request: Request) -> Operation:
    yield request


def test_every_operation_is_timed_and_the_answer_reaches_it() -> None:
    seen: list[tuple[int, bytes]] = []

    def operation() -> Operation:
        for _ in range(2):
            answer: Answer = yield Request(_GET, 200, 4)
            seen.append((answer.status, answer.field(b"x-name")))

    with RawServer([_ok(b"body", b"X-Name:  value")] * 4) as server:
        load = run(server.port, iter([operation(), operation()]))
        assert server.requests == [_GET] * 4
    assert seen == [(200, b"value")] * 4
    assert len(load.taken) == 2
    assert load.elapsed >= max(load.taken) > 0


def test_it_ends_when_its_time_is_over() -> None:
    answers = [_ok()] * 10_000
    with RawServer(answers) as server:
        load = run(server.port, (_asking(Request(_GET, 200)) for _ in itertools.count()), seconds=0.05)
        assert 0 < len(load.taken) == len(server.requests) < len(answers)


def test_cpu_is_what_the_meter_says_at_the_end_less_at_the_beginning() -> None:
    readings = iter([3.0, 5.5])
    with RawServer([_ok()]) as server:
        load = run(server.port, iter([_asking(Request(_GET, 200))]), meter=lambda: next(readings))
    assert load.server_cpu == 2.5


def test_a_body_in_chunks_is_put_together() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    body = bytearray()
    _one(Request(_GET, 200, 5, sink=body.extend), chunked)
    assert body == b"abcde"


def test_an_answer_to_head_has_no_body() -> None:
    _one(Request(b"HEAD / HTTP/1.1\r\n\r\n", 200, 0), b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")


def test_a_long_body_is_sent_and_received_whole() -> None:
    sent = memoryview(bytes(range(256)) * 20_000)
    head = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(sent)
    received = bytearray()
    request = Request(head, 200, len(sent), rest=(sent[:100], sent[100:]), sink=received.extend)
    with RawServer([_ok(bytes(sent))]) as server:
        run(server.port, iter([_asking(request)]))
        assert server.requests == [head + bytes(sent)]
    assert received == sent


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", "503, expected 200: busy"),
        (_ok(b"four"), "4 bytes, expected 5"),
        (_ok(b"abcde") + b"f", "1 bytes too many"),
        (_ok(b"abcde")[:-1], "closed the connection"),
        (b"HTTP/1.1 200 OK\r\n\r\nabcde", "does not say its length"),
        (b"", "closed the connection"),
    ],
)
def test_a_wrong_answer_ends_the_run(answer: bytes, complaint: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=complaint):
        _one(Request(_GET, 200, 5), answer)


def test_a_port_that_nobody_listens_on_is_named() -> None:
    port = free_port()
    with pytest.raises(UnexpectedAnswer, match=f"no connection to port {port}"):
        run(port, iter([_asking(Request(_GET, 200))]))


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(UnexpectedAnswer, match="location"):
        Answer(202, b"HTTP/1.1 202 Accepted\r\n").field(b"location")


def test_chunks_that_are_not_complete_are_waited_for() -> None:
    last = b"0\r\n\r\n"
    assert dechunk(bytearray(last)) == b""
    assert dechunk(bytearray(b"3\r\nab")) is None
    looks_complete = b"5\r\n" + last
    assert dechunk(bytearray(looks_complete)) is None
    assert dechunk(bytearray(looks_complete + b"\r\n" + last)) == last
