"""Limits from outside: connections, heads, bodies that don't come on, sessions and names."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.factories import (
    assert_error,
    digest_of,
    pull_blob,
    push_blob,
    push_image,
    put_manifest,
    random_bytes,
    start_upload,
)
from tests.support.served import Answer, Connection, eventually
from tests.support.server import Connect, Server, ServerFactory, new_client
from tests.support.workers import worker_has_taken

KIB = 1024
PLACES = 5


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits two seconds for a body to come on, and six for a head."""
    settings = {"STOWAGE_HTTP__LIMITS__STALL": "2s", "STOWAGE_HTTP__LIMITS__IDLE": "6s", "STOWAGE_HTTP__WORKERS": "1"}
    with Server(tmp_path_factory.mktemp("impatient"), settings) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with five places for connections, room for small heads and for three open uploads a repository."""
    settings = {
        "STOWAGE_HTTP__WORKERS": "1",
        "STOWAGE_HTTP__LIMITS__CONNECTIONS": str(PLACES),
        "STOWAGE_HTTP__LIMITS__HEADERS": "10",
        "STOWAGE_HTTP__LIMITS__HEAD_SIZE": "8KiB",
        "STOWAGE_UPLOADS__MAX_SESSIONS": "3",
    }
    with Server(tmp_path_factory.mktemp("narrow"), settings) as running:
        yield running


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What a test opens and leaves open."""
    with ExitStack() as stack:
        yield stack


def refusal(connection: Connection, status: int, code: str) -> Answer:
    """The answer that ends a connection, in the registry's form."""
    answer = connection.answer()
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    (error,) = json.loads(answer.body)["errors"]
    assert (error["code"], error["detail"]) == (code, None)
    assert connection.is_closed()
    return answer


def trickle(connection: Connection, data: bytes) -> None:
    """Send one byte every tenth of a second, until the server answers or has had enough."""
    connection.socket.settimeout(0.1)
    for byte in data:
        try:
            connection.send(bytes([byte]))
            connection.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        except OSError:
            pass
        break
    connection.socket.settimeout(20)


@pytest.mark.parametrize("how", ["silent", "trickling", "chunked", "large"])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST", "manifest"])
def test_a_body_that_does_not_come_on_is_408(impatient: Server, repository: str, method: str, how: str) -> None:
    with new_client(impatient) as client:
        digest = digest_of(b"x" * 1000)
        target = {
            "PATCH": start_upload(client, repository),
            "PUT": f"{start_upload(client, repository)}?digest={digest}",
            "POST": f"/v2/{repository}/blobs/uploads/?digest={digest}",
            "manifest": f"/v2/{repository}/manifests/latest",
        }[method]
        with Connection(impatient.port) as connection:
            size = 1_000_000 if how == "large" else 1000
            length = "Transfer-Encoding: chunked\r\n" if how == "chunked" else f"Content-Length: {size}\r\n"
            connection.ask(target, "PUT" if method == "manifest" else method, length)
            connection.send(b"400\r\n" if how == "chunked" else b"x" * (size // 3))
            if how == "trickling":
                trickle(connection, b"x" * 600)
            refusal(connection, 408, "SIZE_INVALID")
        assert client.get("/v2/").status_code == 200


def test_a_stalled_session_keeps_what_came_and_goes_on_at_once(impatient: Server, repository: str) -> None:
    content = random_bytes(300_000)
    with new_client(impatient) as client, Connection(impatient.port) as connection:
        location = start_upload(client, repository)
        connection.ask(location, "PATCH", f"Content-Length: {len(content)}\r\n")
        connection.send(content[:200_000])
        refusal(connection, 408, "SIZE_INVALID")
        assert client.get(location).headers["range"] == "0-199999"  # at once: the answer came after the writer had gone
        assert client.patch(location, content=content[200_000:]).status_code == 202
        assert client.put(location, params={"digest": digest_of(content)}).status_code == 201
        assert pull_blob(client, repository, digest_of(content)) == content


def test_a_slow_body_may_take_many_windows(impatient: Server, repository: str) -> None:
    content = random_bytes(128 * KIB)
    with new_client(impatient) as client, Connection(impatient.port) as connection:
        connection.ask(start_upload(client, repository), "PATCH", f"Content-Length: {len(content)}\r\n")
        connection.socket.settimeout(0.3)
        for start in range(0, len(content), 8 * KIB):
            connection.send(content[start : start + 8 * KIB])
            if start + 8 * KIB < len(content):
                with pytest.raises(TimeoutError):
                    connection.socket.recv(1)
        connection.socket.settimeout(20)
        assert connection.socket.recv(12) == b"HTTP/1.1 202"


def test_a_head_that_does_not_end_is_408_and_silence_is_just_closed(impatient: Server, opened: ExitStack) -> None:
    silent, begun, used, trickling = (opened.enter_context(Connection(impatient.port)) for _ in range(4))
    begun.send(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX-")
    used.ask("/v2/")
    assert used.answer().status == 200
    trickle(trickling, b"GET /v2/ HTTP/1.1\r\n" + b"X: y\r\n" * 100)
    refusal(trickling, 408, "UNSUPPORTED")
    refusal(begun, 408, "UNSUPPORTED")
    assert silent.is_closed() and used.is_closed()


def asked(server: Server, opened: ExitStack) -> Connection:
    """A connection that has its answer, and waits for nothing."""
    connection = opened.enter_context(Connection(server.port))
    connection.ask("/v2/")
    assert connection.answer().status == 200
    return connection


def busy(server: Server, opened: ExitStack, repository: str) -> Connection:
    """A connection in the middle of a request."""
    connection = opened.enter_context(Connection(server.port))
    target = f"/v2/{repository}/blobs/uploads/?digest={digest_of(b'x')}"
    connection.ask(target, "POST", "Content-Length: 1\r\nExpect: 100-continue\r\n")
    assert connection.head()[0] == 100
    return connection


def test_the_connection_that_waited_longest_makes_room(narrow: Server, opened: ExitStack) -> None:
    connections = [asked(narrow, opened) for _ in range(PLACES)]
    connections[0].ask("/v2/")  # it has waited least now
    assert connections[0].answer().status == 200
    for number in range(1, 4):
        asked(narrow, opened)
        assert connections[number].is_closed()
    for connection in (connections[0], connections[4]):
        connection.ask("/v2/")
        assert connection.answer().status == 200


def test_one_that_has_begun_to_ask_is_told_why_it_must_go(narrow: Server, opened: ExitStack) -> None:
    connections = [opened.enter_context(Connection(narrow.port)) for _ in range(PLACES)]
    for connection in connections:
        connection.send(b"GET /v2/ HTTP/1.1\r\n")
        eventually(lambda taken=connection.socket: worker_has_taken(taken))  # type: ignore[misc]  # a lambda's default
    asked(narrow, opened)
    refusal(connections[0], 408, "UNSUPPORTED")


def test_where_nobody_waits_a_new_connection_is_503(narrow: Server, opened: ExitStack, repository: str) -> None:
    connections = [busy(narrow, opened, repository) for _ in range(PLACES)]
    for _ in range(3):
        with Connection(narrow.port) as connection:
            connection.ask("/v2/")
            assert refusal(connection, 503, "TOOMANYREQUESTS").headers["retry-after"] == "5"
    with ExitStack() as flood:  # who is turned away takes no place, and is bounded too
        for _ in range(300):
            flood.enter_context(Connection(narrow.port))
        for connection in connections:
            connection.send(b"x")
            assert connection.answer().status == 201
    asked(narrow, opened)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_body_where_none_belongs_is_bounded(server: Server, method: str, how: str) -> None:
    def ask(connection: Connection, size: int) -> None:
        if how == "length":
            connection.ask("/v2/", method, f"Content-Length: {size}\r\n", b"x" * min(size, 70 * KIB))
        else:
            connection.ask("/v2/", method, "Transfer-Encoding: chunked\r\n")
            connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))

    with Connection(server.port) as connection:
        for _ in range(2):
            ask(connection, 64 * KIB)
            assert connection.answer(bodiless=method == "HEAD").status == (
                405 if method in {"DELETE", "OPTIONS"} else 200
            )
        if how == "length":
            ask(connection, 64 * KIB + 1)
            assert connection.head()[0] == 413
    if how == "length":
        with Connection(server.port) as connection:
            ask(connection, 10**17)
            assert connection.head()[0] == 413


def test_heads_are_bounded_by_the_settings(narrow: Server) -> None:
    for headers, status in {"X: y\r\n" * 9: 200, "X: y\r\n" * 10: 431, f"X: {'y' * 9000}\r\n": 431}.items():
        with Connection(narrow.port) as connection:
            connection.ask("/v2/", headers=headers)
            if status == 431:
                refusal(connection, 431, "UNSUPPORTED")
            else:
                assert connection.answer().status == status


def test_open_sessions_are_bounded_for_each_repository(narrow: Server, connect: Connect, repository: str) -> None:
    client, other = connect(narrow), f"{repository}/other"
    locations = [start_upload(client, repository) for _ in range(3)]
    stored = sorted(narrow.stored.all())
    for _ in range(2):
        response = client.post(f"/v2/{repository}/blobs/uploads/")
        assert_error(response, 429, "TOOMANYREQUESTS")
        assert "3 open uploads" in response.text and "DELETE" in response.text and "retry-after" in response.headers
    assert sorted(narrow.stored.all()) == stored  # nothing is left of a refused one
    start_upload(client, other)  # others are not concerned
    content = random_bytes()
    whole = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest_of(content)}, content=content)
    assert whole.status_code == 201  # there is no session to it
    assert client.delete(locations.pop()).status_code == 204
    locations.append(start_upload(client, repository))
    assert client.put(locations.pop(), params={"digest": digest_of(content)}, content=content).status_code == 201
    push_image(client, repository, "latest")
    locations.append(start_upload(client, repository))
    assert_error(client.post(f"/v2/{repository}/blobs/uploads/"), 429, "TOOMANYREQUESTS")
    narrow.sql("UPDATE upload_sessions SET updated_at = updated_at - 691200000000")  # eight days go by
    locations = [start_upload(client, repository) for _ in range(3)]
    assert_error(client.post(f"/v2/{repository}/blobs/uploads/"), 429, "TOOMANYREQUESTS")


def test_names_and_tags_may_be_bounded_further(fresh_server: ServerFactory, connect: Connect) -> None:
    long, short = "a/" + "b" * 19, "a/" + "b" * 18
    server = fresh_server()
    image = push_image(connect(server), long, "c" * 11)
    server.stop()
    server = fresh_server(
        "--data", str(server.data), STOWAGE_NAMES__MAX_REPOSITORY_LENGTH="20", STOWAGE_NAMES__MAX_TAG_LENGTH="10"
    )
    client = connect(server)
    assert client.get(f"/v2/{long}/manifests/{'c' * 11}").content == image.manifest  # what is there stays within reach
    assert client.get(f"/v2/{long}/tags/list").json()["tags"] == ["c" * 11]
    assert pull_blob(client, long, digest_of(image.config)) == image.config
    assert_error(client.post(f"/v2/{long}/blobs/uploads/"), 400, "NAME_INVALID")
    assert_error(put_manifest(client, long, "c", image.manifest), 400, "NAME_INVALID")
    for blob in image.blobs:
        push_blob(client, short, blob)
    digest = digest_of(image.manifest)
    assert_error(put_manifest(client, short, "c" * 11, image.manifest), 400, "MANIFEST_INVALID")
    query = {"tag": ["c" * 10, "c" * 11]}
    assert_error(put_manifest(client, short, digest, image.manifest, params=query), 400, "MANIFEST_INVALID")
    assert put_manifest(client, short, "c" * 10, image.manifest).status_code == 201
    refused = client.post(f"/v2/{long}/blobs/uploads/").json()["errors"][0]["message"]
    assert "21 characters, at most 20" in refused
