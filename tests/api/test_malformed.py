"""Whatever comes in, nothing fails, nothing is left behind, and nothing leaves the data folder."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import UNKNOWN_DIGEST, digest_of, new_image, push_image, put_manifest
from tests.support.served import Connection, eventually
from tests.support.server import Connect, Server, new_client

LONG = os.environ.get("STOWAGE_LONG") == "1"
FUZZ = settings(
    max_examples=2000 if LONG else 400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SESSION = "00000000-0000-4000-8000-000000000000"
LAST = b"GET /v2/ HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"

# What a request is made of, well-formed or not.
METHODS = [b"GET", b"HEAD", b"PUT", b"POST", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"BREW", b"get", b"", b"PRI"]
TARGETS = [
    b"/v2/",
    b"/v2/a/manifests/x",
    b"/v2/a/blobs/uploads/",
    b"/v2/a/blobs/uploads/" + SESSION.encode(),
    b"/v2/a/blobs/" + UNKNOWN_DIGEST.encode(),
    b"/v2/a/tags/list?n=5",
    b"/v2/%2e%2e/%00",
    b"*",
    b"http://b/v2/",
    b"\xff",
    b"/healthz",
]
HEADERS = [
    b"Content-Length: 3",
    b"Content-Length: 0",
    b"Content-Length: -1",
    b"Content-Length: 3, 3",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding : chunked",
    b" folded",
    b"Connection: close",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Content-Range: 0-2",
    b"Range: bytes=5-1",
    b"If-None-Match: *",
    b"Content-Type: \xff",
    b"X\x00: y",
    b"Host: two",
    b"X: \r",
    b"",
]
BODIES = [
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n",
    b"ffffffffffffffff\r\n",
    b"3;x\n",
    b"\x00" * 50,
    b"{}",
]

# What stands in a path, a query or a header of a well-formed request.
PARTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["..", ".", "a/../b", "/etc/passwd", "\\..\\", "%2e%2e", "\x00", "\r\nX: y", "\ud800", "a" * 300]),
    st.sampled_from(
        ["library/alpine", "latest", UNKNOWN_DIGEST, "sha256:", "sha512:" + "0" * 128, SESSION, "blobs", "uploads"]
    ),
)
ENDPOINTS = [
    "/v2/{}/manifests/{}",
    "/v2/{}/blobs/{}",
    "/v2/{}/blobs/uploads/",
    "/v2/{}/blobs/uploads/{}",
    "/v2/{}/tags/list",
    "/v2/{}/referrers/{}",
    "/v2/_catalog",
    "/v2/{}",
    "/{}",
]
PARAMETERS = ["digest", "mount", "from", "digest-algorithm", "n", "last", "artifactType", "tag"]
HEADER_NAMES = ["Content-Range", "Range", "If-Match", "If-None-Match", "If-Range", "Content-Type", "Accept", "Expect"]


def encoded(part: str) -> str:
    """Percent encoding, lone surrogates too."""
    return quote(part.encode("utf-8", "surrogatepass"), safe="/.:")


def exchange(server: Server, data: bytes, *, closes: bool = False) -> bytes:
    """Send all of it, and return all that comes until the server closes, or has nothing to say for a while.

    `closes`: it does close, after whatever time.
    """
    with Connection(server.port) as connection:
        received = b""
        try:
            connection.send(data)
            while True:
                connection.socket.settimeout(60 if closes else 2 if not received else 0.15)
                more = connection.socket.recv(1 << 16)
                if not more:
                    return received
                received += more
        except (TimeoutError, ConnectionError):
            return received


def statuses(received: bytes) -> list[int]:
    """Of the answers, without those that tell a client to go on."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received) if status != b"100"]


@given(
    method=st.sampled_from(METHODS),
    target=st.sampled_from(TARGETS),
    version=st.sampled_from([b"HTTP/1.1"] * 5 + [b"HTTP/1.0", b"HTTP/2.0", b"ICE/1.0", b""]),
    headers=st.lists(st.sampled_from(HEADERS), max_size=4),
    body=st.sampled_from(BODIES),
    junk=st.one_of(st.just(b""), st.binary(max_size=20)),
    position=st.integers(0, 300),
)
@FUZZ
def test_no_bytes_make_the_server_fail(
    server: Server,
    method: bytes,
    target: bytes,
    version: bytes,
    headers: list[bytes],
    body: bytes,
    junk: bytes,
    position: int,
) -> None:
    lines = [method + b" " + target + b" " + version, b"Host: a", *headers, b"", body]
    request = b"\r\n".join(lines)
    received = exchange(server, request[:position] + junk + request[position:] + LAST)
    assert all(200 <= status < 500 for status in statuses(received)), received
    for start in re.finditer(rb'\{"errors"', received):
        refusal, _ = json.JSONDecoder().raw_decode(received[start.start() :].decode())
        assert refusal["errors"][0]["code"] != "UNKNOWN"


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]),
    endpoint=st.sampled_from(ENDPOINTS),
    parts=st.tuples(PARTS, PARTS),
    query=st.lists(st.tuples(st.sampled_from(PARAMETERS), PARTS), max_size=3),
    headers=st.lists(
        st.tuples(st.sampled_from(HEADER_NAMES), st.text(st.characters(min_codepoint=32, max_codepoint=126)))
    ),
    body=st.binary(max_size=40),
)
@FUZZ
def test_no_request_makes_the_server_fail(
    server: Server,
    method: str,
    endpoint: str,
    parts: tuple[str, str],
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes,
) -> None:
    target = endpoint.format(*(encoded(part) for part in parts))
    target += "?" + "&".join(f"{name}={encoded(value)}" for name, value in query)
    lines = [f"{method} {target} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    received = exchange(server, "\r\n".join([*lines, "", ""]).encode() + body, closes=True)
    (status,) = statuses(received)
    assert 200 <= status < 500, received
    assert b"\r\nX: y" not in received
    if status >= 400 and method != "HEAD" and target.startswith("/v2"):
        _, _, content = received.rpartition(b"\r\n\r\n")
        (error, *_) = json.loads(content)["errors"]
        assert error["code"] and error["message"]


def tree(folder: Path) -> list[tuple[str, bool, int]]:
    """Everything below a folder: path, whether it is one itself, size. Log and database grow by themselves."""
    own = re.compile(r".*/(server\.log|stowage\.sqlite3[^/]*)")
    return sorted(
        (str(path), path.is_dir(), 0 if path.is_dir() else path.stat().st_size)
        for path in folder.rglob("*")
        if not own.fullmatch(str(path))
    )


def everything(server: Server) -> tuple[list[tuple[str, bool, int]], list[str]]:
    """What is in the server's folder and in its storage."""
    return tree(server.data), sorted(server.stored.all())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server deep in a folder that nobody else uses."""
    settings = {"STOWAGE_BACKUP__ENABLED": "false"}  # the only thing that writes there by itself
    with Server(tmp_path_factory.mktemp("around") / "a" / "b" / "c", settings) as running:
        with new_client(running) as client:
            push_image(client, "some/thing", "latest")
        yield running


ESCAPES = [
    "..",
    "../..",
    "../../../../../../../../tmp/stowage-escaped",
    "%2e%2e/%2e%2e",
    "%2e%2e%2f%2e%2e%2fescaped",
    "..%2f..%2fescaped",
    "..%5c..%5cescaped",
    "..\\..\\escaped",
    "a/../../escaped",
    "/etc/stowage-escaped",
    "%2fetc%2fstowage-escaped",
    "....//....//escaped",
    "a%2f..%2f..%2fescaped",
    "%252e%252e%252fescaped",
    "%c0%ae%c0%ae/escaped",
    "\u2025/escaped",
    "\uff0e\uff0e/escaped",
    "a\u2044..\u2044escaped",
    "escaped%00.txt",
    "~/escaped",
    "$HOME/escaped",
    "a" * 4000,
]


@pytest.mark.parametrize("name", ESCAPES, ids=lambda name: ascii(name[:30]))
def test_no_name_leads_out_of_the_folder(alone: Server, name: str) -> None:
    around = alone.data.parents[3]
    before = tree(around)
    text = name if name.isascii() else quote(name)
    body = b"some"
    good = digest_of(body)
    for method, target in [
        ("POST", f"/v2/{text}/blobs/uploads/?digest={good}"),
        ("POST", f"/v2/a/blobs/uploads/?digest={text}"),
        ("POST", f"/v2/a/blobs/uploads/?digest=sha256:{text}"),
        ("POST", f"/v2/{text}/blobs/uploads/?mount={good}&from={text}"),
        ("POST", f"/v2/a/blobs/uploads/?digest-algorithm={text}"),
        *((method, f"/v2/a/blobs/uploads/{text}?digest={good}") for method in ("GET", "PATCH", "PUT", "DELETE")),
        *((method, f"/v2/a/blobs/{text}") for method in ("GET", "DELETE")),
        *((method, f"/v2/a/blobs/sha256:{text}") for method in ("GET", "DELETE")),
        *((method, f"/v2/a/manifests/{text}") for method in ("GET", "PUT", "DELETE")),
        ("PUT", f"/v2/{text}/manifests/latest"),
        ("GET", f"/v2/{text}/tags/list"),
        ("GET", f"/v2/a/referrers/{text}"),
        ("GET", f"/{text}"),
        ("GET", f"/v2/{text}"),
    ]:
        request = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        received = exchange(alone, request.encode() + body)
        (status,) = statuses(received)
        assert 400 <= status < 500, (method, target, received)
    assert tree(around) == before
    assert not list(Path("/tmp").glob("stowage-escaped*"))


def test_what_is_refused_leaves_nothing(alone: Server, connect: Connect) -> None:
    client = connect(alone)
    before, listed = everything(alone), client.get("/v2/_catalog").json()
    image = new_image()
    wrong = digest_of(b"other")
    for response in [
        client.post("/v2/new/blobs/uploads/", params={"digest": wrong}, content=b"some"),
        client.post("/v2/new/blobs/uploads/", params={"digest": "sha256:x"}, content=b"some"),
        client.post("/v2/new/blobs/uploads/", params={"digest-algorithm": "md5"}),
        client.post("/v2/new/blobs/uploads/", params={"mount": "sha256:x", "from": "some/thing"}),
        client.post("/v2/NEW/blobs/uploads/"),
        put_manifest(client, "new", "latest", image.manifest),
        put_manifest(client, "new", "latest", b"{"),
        put_manifest(client, "new", "-latest", image.manifest),
        put_manifest(client, "new", wrong, image.manifest),
        put_manifest(client, "new", "latest", b" " * 5_000_000),
        client.delete(f"/v2/new/blobs/{wrong}"),
        client.delete("/v2/new/manifests/latest"),
    ]:
        assert 400 <= response.status_code < 500, response.text
        assert response.json()["errors"]
    session = client.post("/v2/new/blobs/uploads/").headers["location"]
    for put in (
        client.patch(session, content=b"some", headers={"Content-Range": "7-10"}),
        client.patch(session, content=b"some", headers={"Content-Range": "bytes"}),
        client.put(session),
        client.put(session, params={"digest": wrong}, content=b"some"),
    ):
        assert 400 <= put.status_code < 500, put.text
    assert client.get(session).status_code == 404  # the wrong digest ended it
    eventually(lambda: everything(alone) == before)  # a bucket is tidied up after the answer
    assert client.get("/v2/_catalog").json() == listed


def test_a_request_cut_off_anywhere_leaves_nothing(alone: Server, connect: Connect) -> None:
    client = connect(alone)
    before, listed = alone.stored.uploads(), client.get("/v2/_catalog").json()
    content = b"some" * 50
    request = f"POST /v2/cut/blobs/uploads/?digest={digest_of(content)} HTTP/1.1\r\nHost: a\r\n"
    whole = f"{request}Content-Length: {len(content)}\r\n\r\n".encode() + content
    for end in range(0, len(whole), 7):
        with Connection(alone.port) as connection:
            connection.send(whole[:end])
            if end % 2:
                connection.reset()
    # A worker may still have to hear of the last one's end.
    eventually(lambda: not set(alone.stored.uploads()) - set(before))
    assert client.get("/v2/_catalog").json() == listed


def test_unknown_paths_are_refused_in_json(client: httpx.Client) -> None:
    for path in ("/v2/unknown", "/v2x", "/v2/a/b/c/d", "/v2/%20", "/v2/a/blobs/uploads/x/y/z"):
        response = client.get(path)
        assert 400 <= response.status_code < 500
        assert response.json()["errors"][0]["code"], path
