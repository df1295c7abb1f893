"""`/v2/<name>/blobs/<digest>`: pulling blobs, whole and in ranges (spec, "Pulling blobs"; RFC 9110, 13 and 14)."""

import os
import random

import httpx
import pytest

from tests.factories import assert_error, digest_of, pull_blob, push_blob, random_bytes
from tests.support.scrape import Scrape
from tests.support.served import Connection, eventually
from tests.support.server import Server

SIZE = 300_000
CONTENT = random.Random(1).randbytes(SIZE)
DIGEST = digest_of(CONTENT)
ETAG = f'"{DIGEST}"'
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def blob(server: Server) -> str:
    """Path of a blob with CONTENT."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        push_blob(client, "test/blobs", CONTENT)
    return f"/v2/test/blobs/blobs/{DIGEST}"


def assert_headers(response: httpx.Response, *, length: int) -> None:
    assert response.headers["content-length"] == str(length)
    assert response.headers["docker-content-digest"] == DIGEST
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert response.headers["etag"] == ETAG
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in response.headers


def test_get_sends_the_bytes(client: httpx.Client, blob: str) -> None:
    response = client.get(blob)
    assert response.status_code == 200
    assert_headers(response, length=SIZE)
    assert response.content == CONTENT
    assert "content-range" not in response.headers


def test_head_says_how_many(client: httpx.Client, blob: str) -> None:
    response = client.head(blob)
    assert response.status_code == 200
    assert_headers(response, length=SIZE)
    assert response.content == b""


@pytest.mark.parametrize("size", [0, 1, 2, 4095, 4096, 65_535, 65_536, 65_537, MIB, MIB + 1, 8 * MIB + 3])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_blobs_of_any_size_come_back(client: httpx.Client, repository: str, size: int, algorithm: str) -> None:
    content = random_bytes(size)
    digest = push_blob(client, repository, content, algorithm=algorithm)
    assert client.head(f"/v2/{repository}/blobs/{digest}").headers["content-length"] == str(size)
    assert pull_blob(client, repository, digest) == content


@pytest.mark.parametrize("encoding", ["gzip", "gzip, deflate, br, zstd", "*", "identity;q=0, gzip", ""])
@pytest.mark.parametrize("compressible", [True, False])
def test_blobs_are_never_compressed(client: httpx.Client, repository: str, encoding: str, compressible: bool) -> None:
    content = b"\0" * 100_000 if compressible else random_bytes(100_000)
    digest = push_blob(client, repository, content)
    for method in ("GET", "HEAD"):
        response = client.request(method, f"/v2/{repository}/blobs/{digest}", headers={"Accept-Encoding": encoding})
        assert response.status_code == 200
        assert "content-encoding" not in response.headers
        assert response.headers["content-length"] == str(len(content))
    assert client.get(f"/v2/{repository}/blobs/{digest}", headers={"Accept-Encoding": encoding}).content == content


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-199999", 100, 199_999),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE - 1),
        (f"bytes=0-{SIZE - 1}", 0, SIZE - 1),
        ("bytes=1000-", 1000, SIZE - 1),
        ("bytes=0-", 0, SIZE - 1),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        ("bytes=-1", SIZE - 1, SIZE - 1),
        ("bytes=-1000", SIZE - 1000, SIZE - 1),
        (f"bytes=-{SIZE}", 0, SIZE - 1),
        (f"bytes=-{SIZE + 1}", 0, SIZE - 1),
        (f"bytes=10-{SIZE}", 10, SIZE - 1),
        ("bytes=10-999999999999999999999999999", 10, SIZE - 1),
        ("Bytes=5-9", 5, 9),
    ],
)
def test_a_range_is_206_with_exactly_its_bytes(
    client: httpx.Client, blob: str, header: str, first: int, last: int
) -> None:
    response = client.get(blob, headers={"Range": header})
    assert response.status_code == 206
    assert_headers(response, length=last - first + 1)
    assert response.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert response.content == CONTENT[first : last + 1]


@pytest.mark.parametrize(
    "header",
    [
        f"bytes={SIZE}-",
        f"bytes={SIZE}-{SIZE + 5}",
        "bytes=999999999999999999999999-",
        "bytes=-0",
        "bytes=5-4",
        "bytes=1-0",
    ],
)
def test_a_range_of_nothing_is_416_and_says_the_size(client: httpx.Client, blob: str, header: str) -> None:
    response = client.get(blob, headers={"Range": header})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{SIZE}"
    assert_error(response, 416, response.json()["errors"][0]["code"])


@pytest.mark.parametrize(
    "header",
    [
        "bytes=0-1,5-9",
        "bytes=0-1, 5-9",
        "bytes=-1,0-0",
        "bytes=a-b",
        "bytes=",
        "bytes",
        "bytes=-",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=0x1-0x2",
        "bytes=+1-2",
        "lines=0-1",
        "0-1",
        "",
    ],
)
def test_several_ranges_and_bad_syntax_get_the_whole(client: httpx.Client, blob: str, header: str) -> None:
    response = client.get(blob, headers={"Range": header})
    assert response.status_code == 200
    assert_headers(response, length=SIZE)
    assert response.content == CONTENT


def test_several_range_headers_get_the_whole(client: httpx.Client, blob: str) -> None:
    response = client.get(blob, headers=[("Range", "bytes=0-1"), ("Range", "bytes=5-9")])
    assert response.status_code == 200
    assert response.content == CONTENT


@pytest.mark.parametrize("header", ["bytes=0-99", f"bytes={SIZE}-", "bytes=5-4"])
def test_head_ignores_ranges(client: httpx.Client, blob: str, header: str) -> None:
    """RFC 9110, 14.2: of the methods only GET knows ranges."""
    response = client.head(blob, headers={"Range": header})
    assert response.status_code == 200
    assert_headers(response, length=SIZE)
    assert "content-range" not in response.headers


@pytest.mark.parametrize("header", ["bytes=0-0", "bytes=0-"])
def test_ranges_that_start_in_an_empty_blob_are_416(client: httpx.Client, repository: str, header: str) -> None:
    digest = push_blob(client, repository, b"")
    response = client.get(f"/v2/{repository}/blobs/{digest}", headers={"Range": header})
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */0"


def test_the_end_of_an_empty_blob_is_nothing(client: httpx.Client, repository: str) -> None:
    digest = push_blob(client, repository, b"")
    response = client.get(f"/v2/{repository}/blobs/{digest}", headers={"Range": "bytes=-5"})
    assert response.status_code in {200, 416}
    assert response.status_code == 416 or response.content == b""


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (ETAG, 206),
        (f"W/{ETAG}", 200),
        ('"other"', 200),
        ("Sat, 01 Jan 2022 00:00:00 GMT", 200),
        (f"{ETAG}, {ETAG}", 200),
    ],
)
def test_if_range_decides_between_part_and_whole(client: httpx.Client, blob: str, condition: str, status: int) -> None:
    response = client.get(blob, headers={"Range": "bytes=10-19", "If-Range": condition})
    assert response.status_code == status
    assert response.content == (CONTENT[10:20] if status == 206 else CONTENT)


def test_if_range_without_range_changes_nothing(client: httpx.Client, blob: str) -> None:
    assert client.get(blob, headers={"If-Range": ETAG}).status_code == 200


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", "*", f'"other", {ETAG}', f'"a","b",{ETAG},"c"'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent_again(client: httpx.Client, blob: str, method: str, known: str) -> None:
    response = client.request(method, blob, headers={"If-None-Match": known})
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == ETAG
    assert response.headers["docker-content-digest"] == DIGEST


@pytest.mark.parametrize("known", ['"other"', f'"{DIGEST}x"', '""'])
def test_what_the_client_does_not_have_is_sent(client: httpx.Client, blob: str, known: str) -> None:
    assert client.get(blob, headers={"If-None-Match": known}).content == CONTENT
    assert client.get(blob, headers={"If-None-Match": known, "Range": "bytes=0-9"}).status_code == 206


def test_if_none_match_comes_before_range(client: httpx.Client, blob: str) -> None:
    response = client.get(blob, headers={"If-None-Match": ETAG, "Range": "bytes=0-9"})
    assert response.status_code == 304


def test_parts_put_together_are_the_blob(client: httpx.Client, blob: str) -> None:
    parts = []
    for first in range(0, SIZE, 65_521):
        parts.append(client.get(blob, headers={"Range": f"bytes={first}-{first + 65_520}"}).content)
    assert b"".join(parts) == CONTENT


@pytest.mark.parametrize("damage", ["removed", "truncated", "grown"])
@pytest.mark.parametrize("size", [1000, 200_000])
def test_a_blob_whose_file_was_damaged_is_gone_until_it_is_pushed_again(
    server: Server, client: httpx.Client, repository: str, damage: str, size: int
) -> None:
    content = random_bytes(size)
    path = f"/v2/{repository}/blobs/{push_blob(client, repository, content)}"
    file = server.object_of(digest_of(content))
    if damage == "removed":
        file.unlink()
    else:
        os.truncate(file, size - 1 if damage == "truncated" else size + 1)
    assert_error(client.head(path), 404, "BLOB_UNKNOWN")
    assert_error(client.get(path), 404, "BLOB_UNKNOWN")
    assert_error(client.get(path, headers={"Range": "bytes=0-9"}), 404, "BLOB_UNKNOWN")
    push_blob(client, repository, content)
    assert client.get(path).content == content
    assert client.head(path).headers["content-length"] == str(size)


def test_a_damaged_blob_is_restored_by_a_push_to_another_repository(
    server: Server, client: httpx.Client, repository: str
) -> None:
    content = random_bytes(1000)
    digest = push_blob(client, f"{repository}/one", content)
    server.object_of(digest).unlink()
    push_blob(client, f"{repository}/two", content)
    for part in ("one", "two"):
        assert pull_blob(client, f"{repository}/{part}", digest) == content


def test_a_damaged_blob_is_not_mounted(server: Server, client: httpx.Client, repository: str) -> None:
    content = random_bytes(1000)
    digest = push_blob(client, f"{repository}/one", content)
    server.object_of(digest).unlink()
    query = {"mount": digest, "from": f"{repository}/one"}
    assert client.post(f"/v2/{repository}/two/blobs/uploads/", params=query).status_code == 202


def test_a_file_cut_short_while_it_is_sent_aborts_the_transfer(
    server: Server, client: httpx.Client, repository: str
) -> None:
    content = random_bytes(32 * MIB)
    digest = push_blob(client, repository, content)
    with Connection(server.port, receive_buffer=16 * 1024) as connection:
        connection.ask(f"/v2/{repository}/blobs/{digest}")
        status, headers = connection.head()
        assert (status, headers["content-length"]) == (200, str(len(content)))
        begun = connection.read(64 * 1024)
        os.truncate(server.object_of(digest), 16 * MIB)
        try:
            rest = connection.read()
        except ConnectionResetError:
            rest = b""
    got = begun + rest
    assert len(got) < len(content)
    assert content.startswith(got)


def test_the_same_bytes_pushed_twice_are_one_file(server: Server, client: httpx.Client, repository: str) -> None:
    content = random_bytes(5000)
    for part in ("one", "two", "one"):
        push_blob(client, f"{repository}/{part}", content)
    assert server.object_of(digest_of(content)).stat().st_size == len(content)


def test_a_small_blob_that_was_pulled_is_gone_when_it_is_deleted(client: httpx.Client, repository: str) -> None:
    digest = push_blob(client, repository, random_bytes(100))
    url = f"/v2/{repository}/blobs/{digest}"
    for _ in range(4):  # of every worker, so that each has it in memory
        assert client.get(url, headers={"connection": "close"}).status_code == 200
    assert client.delete(url).status_code == 202
    for _ in range(4):
        assert_error(client.get(url, headers={"connection": "close"}), 404, "BLOB_UNKNOWN")


def test_a_small_blob_that_was_pulled_opens_nothing_in_another_repository(
    client: httpx.Client, repository: str
) -> None:
    digest = push_blob(client, repository, random_bytes(100))
    assert client.get(f"/v2/{repository}/blobs/{digest}").status_code == 200
    assert_error(client.get(f"/v2/{repository}/other/blobs/{digest}"), 404, "BLOB_UNKNOWN")


def test_a_small_blob_whose_bytes_came_damaged_is_not_kept_so(
    client: httpx.Client, server: Server, repository: str
) -> None:
    content = random_bytes(100)
    digest = push_blob(client, repository, content)
    file = server.object_of(digest)
    file.write_bytes(bytes(100))
    for _ in range(4):  # a disk that answers wrong: serving does not hash, so nobody can tell
        assert client.get(f"/v2/{repository}/blobs/{digest}", headers={"connection": "close"}).content == bytes(100)
    file.write_bytes(content)
    for _ in range(4):
        assert pull_blob(client, repository, digest) == content


def test_a_client_that_resets_a_download_is_noticed_at_once(
    server: Server, client: httpx.Client, repository: str
) -> None:
    """Though nothing can be written to it: not only when it has taken nothing for a minute."""
    digest = push_blob(client, repository, random_bytes(32 * MIB))

    def waiting() -> float:
        return Scrape.of(server.url).value("http_requests_in_progress", route="blob")

    for _ in range(3):
        with Connection(server.port, receive_buffer=4096) as connection:
            connection.ask(f"/v2/{repository}/blobs/{digest}")
            assert connection.head()[0] == 200
            eventually(lambda: waiting() == 1)
            connection.reset()
        eventually(lambda: waiting() == 0, 45)
