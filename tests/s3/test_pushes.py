"""Pushing to a server on S3: in one go and in chunks, at one server and at another."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.factories import assert_error, digest_of, pull_blob, push_blob, push_image, random_bytes, start_upload
from tests.s3.conftest import S3ServerFactory
from tests.support.faulty_s3 import Fault, FaultyS3
from tests.support.s3 import BUCKET, S3Server, server_settings
from tests.support.server import Connect, Server, new_client

MIB = 1024 * 1024
Clients = tuple[httpx.Client, httpx.Client]


@pytest.fixture(scope="module")
def clients(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """A client of each of two servers on one bucket and one database."""
    folder = tmp_path_factory.mktemp("two")
    settings = {**server_settings(s3.url, "two"), "STOWAGE_HTTP__WORKERS": "1"}
    shared = ("--data", str(folder / "a" / "data"))
    with (
        Server(folder / "a", settings) as first,
        Server(folder / "b", settings, shared) as second,
        new_client(first) as a,
        new_client(second) as b,
    ):
        yield a, b


def names(s3: S3Server, prefix: str) -> list[str]:
    """Return what lies in the bucket under a prefix, unfinished uploads included."""
    client = s3.client()
    found = [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]
    begun = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    return found + [f"unfinished {one['Key']}" for one in begun]


@pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB, 17 * MIB + 3, 40 * MIB])
def test_a_blob_comes_back_as_it_was(client: httpx.Client, repository: str, size: int) -> None:
    content = random_bytes(size)
    digest = digest_of(content)
    response = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content)
    assert response.status_code == 201, response.text
    assert pull_blob(client, repository, digest) == content
    for first, last in [(0, 0), (size // 2, size // 2 + 10), (size - 1, size - 1)]:
        if 0 <= first <= last < size:
            part = client.get(f"/v2/{repository}/blobs/{digest}", headers={"Range": f"bytes={first}-{last}"})
            assert (part.status_code, part.content) == (206, content[first : last + 1])


@pytest.mark.parametrize("sizes", [(1, 1, 1), (70_000, 1), (6 * MIB, 100, 6 * MIB), (20 * MIB, 3), (3 * MIB,) * 4])
@pytest.mark.parametrize("last", [0, 50_000])
def test_chunks_become_a_blob(client: httpx.Client, repository: str, sizes: tuple[int, ...], last: int) -> None:
    """Two workers answer: each may get a chunk that follows what the other has."""
    content, offset = random_bytes(sum(sizes) + last), 0
    location = start_upload(client, repository)
    for size in sizes:
        span = {"Content-Range": f"{offset}-{offset + size - 1}", "Connection": "close"}
        response = client.patch(location, content=content[offset : offset + size], headers=span)
        offset += size
        assert (response.status_code, response.headers["range"]) == (202, f"0-{offset - 1}"), response.text
    done = client.put(location, params={"digest": digest_of(content)}, content=content[offset:])
    assert done.status_code == 201, done.text
    assert pull_blob(client, repository, digest_of(content)) == content


def test_an_upload_begun_at_one_server_goes_on_at_the_other(clients: Clients, s3: S3Server, repository: str) -> None:
    a, b = clients
    content = random_bytes(30 * MIB)
    location = a.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert a.patch(location, content=content[: 12 * MIB]).status_code == 202
    assert b.patch(location, content=content[12 * MIB : 20 * MIB]).status_code == 202
    assert b.get(location).headers["range"] == f"0-{20 * MIB - 1}"
    digest = digest_of(content)
    assert a.put(location, params={"digest": digest}, content=content[20 * MIB :]).status_code == 201
    assert pull_blob(b, repository, digest) == content
    assert a.get(location).status_code == b.get(location).status_code == 404


def test_another_digest_than_the_session_was_begun_with(clients: Clients, repository: str) -> None:
    a, b = clients
    content = random_bytes(11 * MIB)
    location = a.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert a.patch(location, content=content).status_code == 202
    digest = digest_of(content, "sha512")
    assert b.put(location, params={"digest": digest}).status_code == 201
    assert pull_blob(a, repository, digest) == content


def test_who_comes_last_has_the_session(clients: Clients, repository: str) -> None:
    """A client that lost its connection comes back elsewhere, while the server it had waits for the rest."""
    a, b = clients
    content, digest = (found := random_bytes(24 * MIB)), digest_of(found)
    location = a.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert a.patch(location, content=content[: 6 * MIB]).status_code == 202
    outcome: list[httpx.Response] = []

    def body() -> Iterator[bytes]:
        yield content[6 * MIB : 12 * MIB]
        # Now the other server takes over, from what was acknowledged, and finishes.
        outcome.append(b.patch(location, content=content[6 * MIB : 18 * MIB]))
        yield b"x" * 6 * MIB

    refused = a.patch(location, content=body())
    assert_error(refused, 409, "BLOB_UPLOAD_INVALID")
    assert (outcome[0].status_code, outcome[0].headers["range"]) == (202, f"0-{18 * MIB - 1}")
    assert b.put(location, params={"digest": digest}, content=content[18 * MIB :]).status_code == 201
    assert pull_blob(a, repository, digest) == content


def test_a_chunk_that_is_cut_short_leaves_the_session_as_it_was(clients: Clients, repository: str) -> None:
    a, b = clients
    content = random_bytes(15 * MIB)
    location = a.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert a.patch(location, content=content[: 6 * MIB + 9]).status_code == 202
    headers = {"Content-Range": f"{6 * MIB + 9}-{15 * MIB - 1}"}

    def body() -> Iterator[bytes]:
        yield content[6 * MIB + 9 : 12 * MIB]
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        b.patch(location, content=body(), headers={**headers, "Content-Length": str(9 * MIB - 9)})
    assert a.get(location).headers["range"] == f"0-{6 * MIB + 8}"
    response = a.put(location, params={"digest": digest_of(content)}, content=content[6 * MIB + 9 :], headers=headers)
    assert response.status_code == 201, response.text
    assert pull_blob(b, repository, digest_of(content)) == content


def test_nothing_is_left_of_what_ended(
    on_s3: S3ServerFactory, s3: S3Server, connect: Connect, repository: str, tmp_path: Path
) -> None:
    server = on_s3()
    client = connect(server)
    content = random_bytes(12 * MIB)
    wrong = start_upload(client, repository)
    assert client.patch(wrong, content=content).status_code == 202
    assert_error(client.put(wrong, params={"digest": digest_of(b"other")}), 400, "DIGEST_INVALID")
    cancelled = start_upload(client, repository)
    assert client.patch(cancelled, content=content).status_code == 202
    assert client.delete(cancelled).status_code == 204
    small = start_upload(client, repository)
    assert client.patch(small, content=b"small").status_code == 202
    assert client.put(small, params={"digest": digest_of(b"small")}).status_code == 201
    server.stop()  # which waits for what is being removed
    left = [name.removeprefix(f"{tmp_path.name}/objects/") for name in names(s3, f"{tmp_path.name}/")]
    encoded = digest_of(b"small")[7:]
    assert len(left) == 1 and left[0].startswith(f"blobs/sha256/{encoded[:2]}/{encoded}-")


def test_a_store_that_fails_acknowledges_nothing(
    on_s3: S3ServerFactory, s3: S3Server, connect: Connect, repository: str
) -> None:
    content = random_bytes(100_000)
    with FaultyS3(s3.url) as relay:
        client = connect(on_s3(endpoint=relay.url, attempts="1"))
        fault = relay.fail(Fault(lambda asked: asked.is_object, 1000, 500))
        uploads = f"/v2/{repository}/blobs/uploads/"
        refused = client.post(uploads, params={"digest": digest_of(content)}, content=content)
        assert_error(refused, 503, "TOOMANYREQUESTS")
        assert int(refused.headers["retry-after"]) > 0
        assert "stowage-tests" not in refused.text
        location = start_upload(client, repository)
        assert_error(client.patch(location, content=content), 503, "TOOMANYREQUESTS")
        assert client.get(location).headers["range"] == "0-0"
        assert fault.met
        assert client.head(f"/v2/{repository}/blobs/{digest_of(content)}").status_code == 404
        relay.heal()
        assert client.patch(location, content=content).status_code == 202
        assert client.put(location, params={"digest": digest_of(content)}).status_code == 201
        assert pull_blob(client, repository, digest_of(content)) == content


@pytest.mark.parametrize("cut_at", [0, 300_000, 7_000_000])
def test_an_answer_that_the_store_cuts_once_is_whole_for_the_client(
    on_s3: S3ServerFactory, s3: S3Server, connect: Connect, repository: str, cut_at: int
) -> None:
    content = random_bytes(9 * MIB)
    with FaultyS3(s3.url) as relay:
        client = connect(on_s3(endpoint=relay.url))
        digest = push_blob(client, repository, content)
        large = Fault(lambda asked: asked.method == "GET" and "objects/" in asked.name, 2, cut_answer_at=cut_at)
        relay.fail(large)
        assert pull_blob(client, repository, digest) == content
        assert large.met == 2  # the first bytes, which come with opening it, and all the rest


def test_an_answer_that_the_store_cuts_is_cut_for_the_client(
    on_s3: S3ServerFactory, s3: S3Server, connect: Connect, repository: str
) -> None:
    content = random_bytes(3 * MIB)
    with FaultyS3(s3.url) as relay:
        client = connect(on_s3(endpoint=relay.url, attempts="1"))
        digest = push_blob(client, repository, content)
        relay.fail(Fault(lambda asked: asked.method == "GET" and "objects/" in asked.name, 1000, cut_answer_at=600_000))
        received = b""
        try:
            with client.stream("GET", f"/v2/{repository}/blobs/{digest}") as response:
                for data in response.iter_raw():
                    received += data
            assert received == content  # asked for again, from where it broke
        except httpx.RemoteProtocolError:
            assert len(received) < len(content) and content.startswith(received)
        relay.heal()
        relay.fail(Fault(lambda asked: asked.method == "GET" and "objects/" in asked.name, 1000, 500))
        assert_error(client.get(f"/v2/{repository}/blobs/{digest}"), 503, "TOOMANYREQUESTS")


def test_an_image_is_pushed_and_deleted(client: httpx.Client, repository: str) -> None:
    pushed = push_image(client, repository, "v1")
    assert client.get(f"/v2/{repository}/manifests/v1").headers["docker-content-digest"] == pushed.digest
    assert client.delete(f"/v2/{repository}/manifests/{pushed.digest}").status_code == 202


def test_sessions_are_gone_with_their_bytes_when_they_are_removed_behind_our_back(
    on_s3: S3ServerFactory, s3: S3Server, connect: Connect, repository: str, tmp_path: Path
) -> None:
    client = connect(on_s3())
    location = start_upload(client, repository)
    assert client.patch(location, content=random_bytes(12 * MIB)).status_code == 202
    direct = s3.client()
    for one in direct.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{tmp_path.name}/").get("Uploads", []):
        direct.abort_multipart_upload(Bucket=BUCKET, Key=one["Key"], UploadId=one["UploadId"])
    assert_error(client.patch(location, content=b"more"), 404, "BLOB_UPLOAD_UNKNOWN")
    assert client.get(location).status_code == 404
