"""The API spoken byte by byte: HTTP/1.0, 100-continue, chunks, connections used again, requests that end early."""

import socket

import httpx
import pytest

from tests.factories import (
    OCI_MANIFEST,
    digest_of,
    image_manifest,
    pull_blob,
    push_blob,
    push_image,
    random_bytes,
    start_upload,
)
from tests.support.served import Answer, Connection
from tests.support.server import Server

MIB = 1024 * 1024


def chunked(content: bytes, size: int = 10_000, *, extension: str = "", trailer: str = "") -> bytes:
    """The content in chunks (RFC 9112, 7.1)."""
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    framed = [f"{len(part):x}{extension}\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(framed) + f"0\r\n{trailer}\r\n".encode()


def old_request(server: Server, line: str, headers: str = "", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Speak HTTP/1.0, without Host: the answer is what comes until the connection closes."""
    with Connection(server.port) as connection:
        connection.send(f"{line} HTTP/1.0\r\n{headers}\r\n".encode() + body)
        status, found = connection.head()
        return status, found, connection.read()


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_http_1_0_probes(server: Server, path: str) -> None:
    status, headers, body = old_request(server, f"GET {path}")
    assert (status, body) == (200, b"{}")
    assert headers["docker-distribution-api-version"] == "registry/2.0"


def test_http_1_0_pushes_and_pulls(server: Server, client: httpx.Client, repository: str) -> None:
    content = random_bytes(200_000)
    digest, length = digest_of(content), f"Content-Length: {len(content)}\r\n"
    status, _, _ = old_request(server, f"POST /v2/{repository}/blobs/uploads/?digest={digest}", length, content)
    assert status == 201
    status, headers, body = old_request(server, f"GET /v2/{repository}/blobs/{digest}")
    assert (status, headers["content-length"], body) == (200, str(len(content)), content)
    status, _, body = old_request(server, f"GET /v2/{repository}/blobs/{digest}", "Range: bytes=5-9\r\n")
    assert (status, body) == (206, content[5:10])
    status, headers, body = old_request(server, f"HEAD /v2/{repository}/blobs/{digest}")
    assert (status, headers["content-length"], body) == (200, str(len(content)), b"")
    status, _, body = old_request(server, f"GET /v2/{repository}/tags/none")
    assert status == 404 and body.startswith(b'{"errors":')


def send_expecting(connection: Connection, target: str, method: str, length: int, headers: str = "") -> int:
    """Announce a body and wait; the status that came back."""
    connection.ask(target, method, f"Content-Length: {length}\r\nExpect: 100-continue\r\n{headers}")
    return connection.head()[0]


@pytest.mark.parametrize("how", ["POST", "PATCH", "PUT", "manifest"])
def test_100_continue(server: Server, client: httpx.Client, repository: str, how: str) -> None:
    content = image_manifest(b"config") if how == "manifest" else random_bytes(100_000)
    push_blob(client, repository, b"config")
    digest = digest_of(content)
    target = {
        "POST": f"/v2/{repository}/blobs/uploads/?digest={digest}",
        "PATCH": start_upload(client, repository),
        "PUT": f"{start_upload(client, repository)}?digest={digest}",
        "manifest": f"/v2/{repository}/manifests/latest",
    }[how]
    method = "PUT" if how == "manifest" else how
    with Connection(server.port) as connection:
        assert send_expecting(connection, target, method, len(content), f"Content-Type: {OCI_MANIFEST}\r\n") == 100
        connection.send(content)
        assert connection.answer().status == (202 if how == "PATCH" else 201)


@pytest.mark.parametrize(
    ("method", "path", "length", "status"),
    [
        ("PATCH", "blobs/uploads/00000000-0000-4000-8000-000000000000", 1000, 404),
        ("PUT", "blobs/uploads/00000000-0000-4000-8000-000000000000?digest=sha256:abc", 1000, 400),
        ("POST", "blobs/uploads/?digest=sha256:abc", 1000, 400),
        ("PUT", "manifests/sha256:abc", 1000, 400),
        ("PUT", "manifests/latest", 50 * MIB, 413),
        ("PUT", "nowhere", 1000, 404),
        ("PUT", "tags/list", 1000, 405),
    ],
)
def test_what_is_refused_is_refused_before_the_body(
    server: Server, repository: str, method: str, path: str, length: int, status: int
) -> None:
    with Connection(server.port) as connection:
        assert send_expecting(connection, f"/v2/{repository}/{path}", method, length) == status


@pytest.mark.parametrize("size", [4 * MIB + 1, 5 * MIB, 10**15])
def test_a_manifest_that_is_too_large_is_refused_at_once(server: Server, repository: str, size: int) -> None:
    with Connection(server.port) as connection:
        connection.ask(f"/v2/{repository}/manifests/latest", "PUT", f"Content-Length: {size}\r\n")
        status, headers = connection.head()
        assert (status, headers["content-type"]) == (413, "application/json")


def test_a_manifest_that_turns_out_too_large_is_refused_before_its_end(server: Server, repository: str) -> None:
    with Connection(server.port) as connection:
        connection.ask(f"/v2/{repository}/manifests/latest", "PUT", "Transfer-Encoding: chunked\r\n")
        sent = 0
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        try:
            while sent <= 5 * MIB:
                connection.send(chunk)
                sent += 65_536
        except (BrokenPipeError, ConnectionResetError):
            pass  # it stopped reading: the answer must be there all the same
        assert connection.head()[0] == 413


@pytest.mark.parametrize("how", ["PATCH", "manifest"])
def test_a_refusal_reaches_a_client_that_sends_on(client: httpx.Client, repository: str, how: str) -> None:
    """Closing with bytes unread would reset the connection, and take the answer with it."""
    body = b" " * (24 * MIB)
    if how == "PATCH":
        response = client.patch(f"/v2/{repository}/blobs/uploads/00000000-0000-4000-8000-000000000000", content=body)
        assert response.status_code == 404
    else:
        assert client.put(f"/v2/{repository}/manifests/latest", content=body).status_code == 413
    assert response_codes(client) == 200


def response_codes(client: httpx.Client) -> int:
    """Status of a plain request, to see that the client and the server still talk."""
    return client.get("/v2/").status_code


@pytest.mark.parametrize("size", [1, 10_000, 10**9])
@pytest.mark.parametrize("extension", ["", ";name=value"])
@pytest.mark.parametrize("trailer", ["", "Content-Range: 7-9\r\nX-Checksum: abc\r\n"])
def test_bodies_in_chunks(
    server: Server, client: httpx.Client, repository: str, size: int, extension: str, trailer: str
) -> None:
    content = random_bytes(300 if size == 1 else 50_000)
    target = f"{start_upload(client, repository)}?digest={digest_of(content)}"
    with Connection(server.port) as connection:
        body = chunked(content, size, extension=extension, trailer=trailer)
        connection.ask(target, "PUT", "Transfer-Encoding: chunked\r\n", body)
        assert connection.answer().status == 201
    assert pull_blob(client, repository, digest_of(content)) == content


def test_a_manifest_in_chunks(server: Server, client: httpx.Client, repository: str) -> None:
    push_blob(client, repository, b"config")
    content = image_manifest(b"config")
    with Connection(server.port) as connection:
        headers = f"Transfer-Encoding: chunked\r\nContent-Type: {OCI_MANIFEST}\r\n"
        connection.ask(f"/v2/{repository}/manifests/latest", "PUT", headers, chunked(content, 50))
        assert connection.answer().status == 201
    assert client.get(f"/v2/{repository}/manifests/latest").content == content


def test_a_body_in_single_bytes(server: Server, client: httpx.Client, repository: str) -> None:
    content = random_bytes(200)
    with Connection(server.port) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.ask(start_upload(client, repository), "PATCH", f"Content-Length: {len(content)}\r\n")
        for position in range(len(content)):
            connection.send(content[position : position + 1])
        answer = connection.answer()
    assert answer.status == 202
    assert answer.headers["range"] == "0-199"


def test_a_connection_is_used_again_after_every_kind_of_answer(
    server: Server, client: httpx.Client, repository: str
) -> None:
    image = push_image(client, repository, "latest")
    large = random_bytes(300_000)
    push_blob(client, repository, large)
    blobs = f"/v2/{repository}/blobs"
    with Connection(server.port) as connection:

        def ask(method: str, target: str, headers: str = "", body: bytes = b"") -> Answer:
            connection.ask(target, method, headers, body)
            return connection.answer(bodiless=method == "HEAD" or "If-None-Match" in headers)

        for _ in range(2):
            assert ask("GET", "/v2/").body == b"{}"
            assert ask("HEAD", f"{blobs}/{digest_of(large)}").status == 200
            assert ask("GET", f"{blobs}/{digest_of(large)}").body == large
            assert ask("GET", f"{blobs}/{digest_of(large)}", "Range: bytes=1-100000\r\n").body == large[1:100_001]
            assert ask("GET", f"{blobs}/{digest_of(large)}", "Range: bytes=999999-\r\n").status == 416
            assert ask("GET", f"/v2/{repository}/manifests/latest").body == image.manifest
            known = f'If-None-Match: "{image.digest}"\r\n'
            assert ask("GET", f"/v2/{repository}/manifests/latest", known).status == 304
            assert ask("HEAD", f"/v2/{repository}/manifests/missing").status == 404
            assert ask("GET", f"/v2/{repository}/manifests/missing").status == 404
            started = ask("POST", f"{blobs}/uploads/", "Content-Length: 0\r\n")
            assert started.status == 202
            location = started.headers["location"]
            assert ask("PATCH", location, "Content-Length: 4\r\n", b"some").status == 202
            assert ask("PUT", f"{location}?digest={digest_of(b'some')}", "Content-Length: 0\r\n").status == 201
            assert ask("PUT", f"/v2/{repository}/manifests/bad", "Content-Length: 8\r\n", b"not json").status == 400


def test_204_has_no_body_on_the_wire(server: Server, client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    with Connection(server.port) as connection:
        connection.ask(location)
        status, headers = connection.head()
        assert status == 204
        assert "content-length" not in headers and "transfer-encoding" not in headers
        connection.ask(location, "DELETE")
        assert connection.head()[0] == 204
        connection.ask("/v2/")
        assert connection.answer().body == b"{}"


def test_requests_sent_ahead_are_answered_in_order(server: Server, client: httpx.Client, repository: str) -> None:
    contents = [random_bytes(size) for size in (10, 200_000, 0, 70_000, 5)]
    for content in contents:
        push_blob(client, repository, content)
    with Connection(server.port) as connection:
        for content in contents:
            connection.ask(f"/v2/{repository}/blobs/{digest_of(content)}")
        for content in contents:
            assert connection.answer().body == content


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"GET /v2/ HTTP/7.7\r\nHost: a\r\n\r\n",
        b"GET /v2/a%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /v2/" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
    ids=lambda data: data[:60].decode(),
)
def test_what_is_no_http_is_refused_in_the_registrys_form(server: Server, request_bytes: bytes) -> None:
    with Connection(server.port) as connection:
        connection.send(request_bytes)
        answer = connection.answer()
        assert 400 <= answer.status < 500
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
        assert answer.body.startswith(b'{"errors":')
        assert connection.is_closed()


def test_many_connections_at_once(server: Server, client: httpx.Client, repository: str) -> None:
    digest = push_blob(client, repository, b"some")
    connections = [Connection(server.port) for _ in range(100)]
    try:
        for connection in connections:
            connection.ask(f"/v2/{repository}/blobs/{digest}")
        for connection in connections:
            assert connection.answer().body == b"some"
    finally:
        for connection in connections:
            connection.close()
