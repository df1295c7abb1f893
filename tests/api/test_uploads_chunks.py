"""Uploads in chunks: order, Content-Range, lengths (spec, "Pushing a blob in chunks")."""

import httpx
import pytest

from tests.factories import assert_error, digest_of, pieces, pull_blob, random_bytes, start_upload


def send(client: httpx.Client, location: str, content: bytes, content_range: str | None) -> httpx.Response:
    """PATCH a chunk."""
    headers = {"Content-Type": "application/octet-stream"}
    if content_range is not None:
        headers["Content-Range"] = content_range
    return client.patch(location, content=content, headers=headers)


def received(client: httpx.Client, location: str) -> str:
    """The Range of a session's status."""
    response = client.get(location)
    assert response.status_code == 204
    return response.headers["range"]


def assert_progress(response: httpx.Response, location: str, count: int) -> None:
    assert response.status_code == 202, response.text
    assert response.headers["location"] == location
    assert response.headers["range"] == f"0-{max(count - 1, 0)}"
    assert response.headers["docker-upload-uuid"] == location.rpartition("/")[2]
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert response.content == b""


@pytest.mark.parametrize("with_range", [True, False])
@pytest.mark.parametrize("sizes", [(1,), (1, 1, 1), (10_000, 1, 70_000), (4096, 4096, 4096), (2_000_000, 1_500_001)])
@pytest.mark.parametrize("last", [0, 1, 100_000])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_chunks_become_a_blob(
    client: httpx.Client, repository: str, with_range: bool, sizes: tuple[int, ...], last: int, algorithm: str
) -> None:
    location = start_upload(client, repository, **({"digest-algorithm": algorithm} if algorithm == "sha512" else {}))
    content = random_bytes(sum(sizes) + last)
    offset = 0
    for size in sizes:
        span = f"{offset}-{offset + size - 1}" if with_range else None
        response = send(client, location, content[offset : offset + size], span)
        offset += size
        assert_progress(response, location, offset)
    digest = digest_of(content, algorithm)
    headers = {"Content-Range": f"{offset}-{offset + last - 1}"} if with_range and last else {}
    response = client.put(location, params={"digest": digest}, content=content[offset:], headers=headers)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v2/{repository}/blobs/{digest}"
    assert response.headers["docker-content-digest"] == digest
    assert pull_blob(client, repository, digest) == content


def test_forty_chunks_of_odd_sizes(client: httpx.Client, repository: str) -> None:
    location, content, offset = start_upload(client, repository), random_bytes(40 * 1009 * 20), 0
    for number in range(40):
        end = offset + 1009 * (number + 1) if number < 39 else len(content)
        assert_progress(send(client, location, content[offset:end], f"{offset}-{end - 1}"), location, end)
        offset = end
    assert client.put(location, params={"digest": digest_of(content)}).status_code == 201
    assert pull_blob(client, repository, digest_of(content)) == content


def test_a_stream_of_unknown_length(client: httpx.Client, repository: str) -> None:
    location, content = start_upload(client, repository), random_bytes(300_000)
    response = client.patch(location, content=pieces(content))
    assert "content-length" not in response.request.headers and "content-range" not in response.request.headers
    assert_progress(response, location, len(content))
    assert client.put(location, params={"digest": digest_of(content)}).status_code == 201
    assert pull_blob(client, repository, digest_of(content)) == content


def test_an_empty_patch_changes_nothing(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    assert_progress(client.patch(location), location, 0)
    assert_progress(client.patch(location, content=b"some"), location, 4)
    assert_progress(client.patch(location, content=b""), location, 4)
    assert client.put(location, params={"digest": digest_of(b"some")}).status_code == 201


@pytest.mark.parametrize("span", ["0-9", "5-14", "11-20", "100-109", "999999999999999990-999999999999999999"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_416_and_says_where_to_go_on(
    client: httpx.Client, repository: str, method: str, span: str
) -> None:
    location, content = start_upload(client, repository), random_bytes(20)
    send(client, location, content[:10], "0-9")
    query = {"digest": digest_of(content)} if method == "PUT" else {}
    response = client.request(method, location, params=query, content=content[10:], headers={"Content-Range": span})
    assert_error(response, 416, "BLOB_UPLOAD_INVALID")
    assert response.headers["location"] == location
    assert response.headers["range"] == "0-9"
    assert received(client, location) == "0-9"
    assert_progress(send(client, location, content[10:], "10-19"), location, 20)
    assert client.put(location, params={"digest": digest_of(content)}).status_code == 201


def test_the_first_chunk_starts_at_0(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    response = send(client, location, b"some", "1-4")
    assert_error(response, 416, "BLOB_UPLOAD_INVALID")
    assert response.headers["location"] == location
    assert_progress(send(client, location, b"some", "0-3"), location, 4)


@pytest.mark.parametrize(
    "span",
    [
        *("", "0", "0-", "-3", "a-b", "3-0", "0--3", "0 - 3", "0-3-5", "0-3,4-5", "0x0-0x3", "+0-3", "0-3/2"),
        *("bytes=0-3", "bytes 0-3", "bytes 0-3/2", "bytes */4", "\u00b2-\u00b3", "9" * 40 + "-" + "9" * 41),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_malformed_content_range_is_400_and_changes_nothing(
    client: httpx.Client, repository: str, method: str, span: str
) -> None:
    location = start_upload(client, repository)
    query = {"digest": digest_of(b"some")} if method == "PUT" else {}
    headers = {b"Content-Range": span.encode("latin-1")}
    response = client.request(method, location, params=query, content=b"some", headers=headers)
    assert_error(response, 400, "BLOB_UPLOAD_INVALID")
    assert received(client, location) == "0-0"
    assert_progress(send(client, location, b"some", "0-3"), location, 4)


@pytest.mark.parametrize("span", ["0-2", "0-4", "0-0", "0-100000"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_content_range_of_another_length_is_400_and_changes_nothing(
    client: httpx.Client, repository: str, method: str, span: str, chunked: bool
) -> None:
    location = start_upload(client, repository)
    query = {"digest": digest_of(b"some")} if method == "PUT" else {}
    content = pieces(b"some", 2) if chunked else b"some"
    response = client.request(method, location, params=query, content=content, headers={"Content-Range": span})
    assert_error(response, 400, "SIZE_INVALID")
    assert received(client, location) == "0-0"
    assert_progress(send(client, location, b"some", "0-3"), location, 4)
    assert client.put(location, params={"digest": digest_of(b"some")}).status_code == 201


def test_a_wrong_length_after_good_chunks_keeps_the_good_ones(client: httpx.Client, repository: str) -> None:
    location, content = start_upload(client, repository), random_bytes(3_000_000)
    send(client, location, content[:1_000_001], "0-1000000")
    response = client.patch(
        location, content=pieces(random_bytes(900_000)), headers={"Content-Range": "1000001-1000009"}
    )
    assert_error(response, 400, "SIZE_INVALID")
    assert received(client, location) == "0-1000000"
    assert_progress(send(client, location, content[1_000_001:], "1000001-2999999"), location, 3_000_000)
    assert client.put(location, params={"digest": digest_of(content)}).status_code == 201
    assert pull_blob(client, repository, digest_of(content)) == content


def test_a_chunk_with_a_range_may_come_without_length(client: httpx.Client, repository: str) -> None:
    location, content = start_upload(client, repository), random_bytes(100_000)
    response = client.patch(location, content=pieces(content), headers={"Content-Range": f"0-{len(content) - 1}"})
    assert_progress(response, location, len(content))
    assert client.put(location, params={"digest": digest_of(content)}).status_code == 201


def test_ranges_and_streams_may_take_turns(client: httpx.Client, repository: str) -> None:
    location, content = start_upload(client, repository), random_bytes(30)
    assert_progress(send(client, location, content[:10], None), location, 10)
    assert_progress(send(client, location, content[10:20], "10-19"), location, 20)
    assert_progress(send(client, location, content[20:], None), location, 30)
    assert client.put(location, params={"digest": digest_of(content)}).status_code == 201


def test_a_smallest_chunk_is_announced_when_it_is_configured(client: httpx.Client, repository: str) -> None:
    response = client.post(f"/v2/{repository}/blobs/uploads/")
    smallest = int(response.headers.get("oci-chunk-min-length", "0"))
    assert smallest <= 16 * 1024 * 1024
