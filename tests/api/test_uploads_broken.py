"""Uploads that are cut, fought over, or outlive the server (spec, "Pushing a blob in chunks")."""

import time
from collections.abc import Callable

import httpx
import pytest

from registry.http.zerocopy import unacknowledged
from tests.factories import assert_error, digest_of, pull_blob, random_bytes, start_upload
from tests.support.served import Connection, eventually
from tests.support.server import Connect, Server, ServerFactory
from tests.support.workers import worker_has_taken

CONTENT = random_bytes(3_000_000)
DIGEST = digest_of(CONTENT)
OTHER = b"other bytes"
SENT = 1_200_007


def received(client: httpx.Client, location: str) -> int:
    """How many bytes the status of a session tells; 0 for `0-0`, since no test sends a single byte."""
    response = client.get(location)
    assert response.status_code == 204
    last = int(response.headers["range"].partition("-")[2])
    return last + 1 if last else 0


def wait_for(client: httpx.Client, location: str, count: int) -> None:
    """Wait until a session has this many bytes: the server may not have noticed yet that a connection is gone."""
    eventually(lambda: received(client, location) == count)


def finish(client: httpx.Client, repository: str, location: str, *, content_range: bool) -> None:
    """Send what the session lacks, close it and check the blob."""
    offset = received(client, location)
    headers = {"Content-Range": f"{offset}-{len(CONTENT) - 1}"} if content_range else {}
    # Two workers may take two connections' requests in another order than they were sent in: the cut one comes late.
    response = until_free(lambda: client.patch(location, content=CONTENT[offset:], headers=headers))
    assert response.status_code == 202, response.text
    assert response.headers["range"] == f"0-{len(CONTENT) - 1}"
    assert client.put(location, params={"digest": DIGEST}).status_code == 201
    assert pull_blob(client, repository, DIGEST) == CONTENT


def until_free(request: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is not 409: the server may not have noticed yet that a connection is gone."""
    deadline = time.monotonic() + 60
    while (response := request()).status_code == 409:
        assert time.monotonic() < deadline, "the session stays locked"
        time.sleep(0.02)
    return response


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_cut_stream_keeps_what_was_received(
    server: Server, client: httpx.Client, repository: str, framing: str, method: str
) -> None:
    location = start_upload(client, repository)
    target = f"{location}?digest={DIGEST}" if method == "PUT" else location
    with Connection(server.port) as connection:
        if framing == "chunked":
            connection.ask(target, method, "Transfer-Encoding: chunked\r\n", b"%x\r\n" % len(CONTENT) + CONTENT[:SENT])
        else:
            connection.ask(target, method, f"Content-Length: {len(CONTENT)}\r\n", CONTENT[:SENT])
    wait_for(client, location, SENT)
    finish(client, repository, location, content_range=True)


def test_a_reset_stream_keeps_a_beginning_of_it(server: Server, client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    with Connection(server.port) as connection:
        connection.ask(location, "PATCH", f"Content-Length: {len(CONTENT)}\r\nExpect: 100-continue\r\n")
        assert connection.head()[0] == 100  # the session is taken: what comes of it is in before anybody else's
        connection.send(CONTENT[:SENT])
        connection.reset()
    response = until_free(lambda: client.patch(location))
    assert response.status_code == 202
    assert received(client, location) <= SENT
    finish(client, repository, location, content_range=False)


def test_a_reset_stream_lets_go_of_its_session_at_once(server: Server, client: httpx.Client, repository: str) -> None:
    """The loop is told of a reset, whether it comes with bytes or while none are there."""
    for number in range(20):
        location = start_upload(client, repository)
        with Connection(server.port) as connection:
            connection.ask(location, "PATCH", f"Content-Length: {len(CONTENT)}\r\nExpect: 100-continue\r\n")
            assert connection.head()[0] == 100
            connection.send(CONTENT[: 50_000 * (number % 4)])
            if number % 2:
                eventually(lambda: unacknowledged(connection.socket.fileno()) == 0)
            connection.reset()
        assert until_free(lambda location=location: client.patch(location)).status_code == 202  # type: ignore[misc]  # a lambda's default
        assert client.delete(location).status_code == 204


def test_a_client_that_was_cut_off_may_come_back_at_once(server: Server, client: httpx.Client, repository: str) -> None:
    for _ in range(10):  # whichever worker the two connections get
        location = start_upload(client, repository)
        with Connection(server.port) as connection:
            connection.ask(location, "PATCH", f"Content-Length: {len(CONTENT)}\r\nExpect: 100-continue\r\n")
            assert connection.head()[0] == 100  # the session is taken
            connection.send(CONTENT[:1000])
        response = client.patch(location, headers={"connection": "close"})
        assert response.status_code == 202, response.text


def test_a_stream_cut_twice(server: Server, client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    for first, last in ((0, 100_001), (100_001, SENT)):
        with Connection(server.port) as connection:
            rest = len(CONTENT) - first
            connection.ask(location, "PATCH", f"Content-Length: {rest}\r\n", CONTENT[first:last])
        wait_for(client, location, last)
    finish(client, repository, location, content_range=True)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("before", [0, 500_000])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_of_a_cut_chunk_with_a_range_nothing_counts(
    server: Server, client: httpx.Client, repository: str, method: str, before: int, framing: str
) -> None:
    location = start_upload(client, repository)
    if before:
        assert client.patch(location, content=CONTENT[:before]).status_code == 202
    target = f"{location}?digest={DIGEST}" if method == "PUT" else location
    span = f"Content-Range: {before}-{len(CONTENT) - 1}\r\n"
    with Connection(server.port) as connection:
        if framing == "chunked":
            head, body = f"Transfer-Encoding: chunked\r\n{span}", b"%x\r\n" % (len(CONTENT) - before)
        else:
            head, body = f"Content-Length: {len(CONTENT) - before}\r\n{span}", b""
        connection.ask(target, method, head, body + CONTENT[before:SENT])
    response = until_free(lambda: client.patch(location))
    assert response.status_code == 202
    assert received(client, location) == before
    finish(client, repository, location, content_range=True)


def test_a_cut_put_stores_no_blob(server: Server, client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    content = CONTENT[:1000]
    target = f"{location}?digest={digest_of(content)}"
    with Connection(server.port) as connection:
        connection.ask(target, "PUT", "Transfer-Encoding: chunked\r\n", b"%x\r\n" % len(content) + content + b"\r\n")
    wait_for(client, location, len(content))  # all bytes came, but not the body's end
    assert client.head(f"/v2/{repository}/blobs/{digest_of(content)}").status_code == 404


def test_a_cut_single_post_leaves_nothing(server: Server, client: httpx.Client, repository: str) -> None:
    content = random_bytes(100_000)
    target = f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}"
    before = server.stored.all()
    with Connection(server.port) as connection:
        connection.ask(target, "POST", f"Content-Length: {len(content)}\r\n", content[:-1])
        eventually(lambda: worker_has_taken(connection.socket))
    eventually(lambda: sorted(server.stored.all()) == sorted(before))
    assert client.head(f"/v2/{repository}/blobs/{digest_of(content)}").status_code == 404
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize("second", ["PATCH", "PATCH with range", "PUT", "DELETE"])
@pytest.mark.parametrize("first", ["PATCH", "PATCH with range", "PUT"])
def test_of_two_writers_one_wins(
    server: Server, client: httpx.Client, repository: str, first: str, second: str
) -> None:
    """The first one where the storage locks, the other one where it can't; nothing of the loser's is in it."""
    location = start_upload(client, repository)
    method, _, ranged = first.partition(" ")
    span = f"Content-Range: 0-{len(CONTENT) - 1}\r\n" if ranged else ""
    target = f"{location}?digest={DIGEST}" if method == "PUT" else location
    with Connection(server.port) as connection:
        connection.ask(target, method, f"Content-Length: {len(CONTENT)}\r\n{span}Expect: 100-continue\r\n")
        assert connection.head()[0] == 100  # now the body is being read: the session is taken
        connection.send(CONTENT[:SENT])
        other = attack(client, location, second)
        if server.stored.locks:
            assert_error(other, 409, "BLOB_UPLOAD_INVALID")
        connection.send(CONTENT[SENT:])
        answer = connection.answer()
    if not server.stored.locks:
        assert other.is_success, other.text
        assert answer.status in {404, 409}, answer
        assert client.head(f"/v2/{repository}/blobs/{DIGEST}").status_code == 404
        if second.startswith("PATCH"):
            assert client.put(location, params={"digest": digest_of(OTHER)}).status_code == 201
        if second != "DELETE":
            assert pull_blob(client, repository, digest_of(OTHER)) == OTHER
        return
    assert answer.status == (201 if method == "PUT" else 202)
    if method == "PATCH":
        assert answer.headers["range"] == f"0-{len(CONTENT) - 1}"
        assert client.put(location, params={"digest": DIGEST}).status_code == 201
    assert pull_blob(client, repository, DIGEST) == CONTENT


def attack(client: httpx.Client, location: str, how: str) -> httpx.Response:
    """Write to a session, or end it, while another request writes."""
    method, _, ranged = how.partition(" ")
    headers = {"Content-Range": f"0-{len(OTHER) - 1}"} if ranged else {}
    query = {"digest": digest_of(OTHER)} if method == "PUT" else {}
    content = None if method == "DELETE" else OTHER
    return client.request(method, location, params=query, content=content, headers=headers)


def test_a_session_can_be_asked_for_while_it_is_written_to(
    server: Server, client: httpx.Client, repository: str
) -> None:
    location = start_upload(client, repository)
    with Connection(server.port) as connection:
        connection.ask(location, "PATCH", "Content-Length: 10\r\nExpect: 100-continue\r\n")
        assert connection.head()[0] == 100
        assert client.get(location).status_code == 204
        connection.send(b"0123456789")
        assert connection.answer().status == 202
    assert received(client, location) == 10


@pytest.mark.parametrize("ending", ["stop", "kill"])
@pytest.mark.parametrize("last", ["patch", "put", "empty put"])
def test_an_upload_goes_on_after_a_restart(
    fresh_server: ServerFactory, connect: Connect, repository: str, ending: str, last: str
) -> None:
    server = fresh_server()
    client = connect(server)
    location = start_upload(client, repository)
    before = CONTENT if last == "empty put" else CONTENT[:SENT]
    assert client.patch(location, content=before).status_code == 202
    server.stop() if ending == "stop" else server.kill()
    server.start()
    assert received(client, location) == len(before)
    if last == "patch":
        finish(client, repository, location, content_range=True)
        return
    response = client.put(location, params={"digest": DIGEST}, content=CONTENT[len(before) :])
    assert response.status_code == 201, response.text
    assert pull_blob(client, repository, DIGEST) == CONTENT


def test_a_restart_forgets_neither_algorithm_nor_mistakes(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server()
    client = connect(server)
    good = start_upload(client, repository, **{"digest-algorithm": "sha512"})
    bad = start_upload(client, repository)
    for location in (good, bad):
        client.patch(location, content=CONTENT[:SENT])
    server.kill()
    server.start()
    digest = digest_of(CONTENT, "sha512")
    assert client.put(good, params={"digest": digest}, content=CONTENT[SENT:]).status_code == 201
    assert pull_blob(client, repository, digest) == CONTENT
    response = client.put(bad, params={"digest": DIGEST}, content=CONTENT[SENT + 1 :])
    assert_error(response, 400, "DIGEST_INVALID")


def test_a_kill_in_the_middle_of_a_chunk_leaves_a_session_that_can_go_on(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    server = fresh_server()
    client = connect(server)
    location = start_upload(client, repository)
    assert client.patch(location, content=CONTENT[:1000]).status_code == 202
    with Connection(server.port) as connection:
        connection.ask(location, "PATCH", f"Content-Length: {len(CONTENT) - 1000}\r\nExpect: 100-continue\r\n")
        assert connection.head()[0] == 100
        connection.send(CONTENT[1000:SENT])
        server.kill()
    server.start()
    assert 1000 <= received(client, location) <= SENT
    finish(client, repository, location, content_range=True)
