"""Upload sessions: beginning, asking, finishing, cancelling (spec, "Pushing blobs", "Cancel a blob upload")."""

import uuid

import httpx
import pytest

from tests.factories import (
    UNKNOWN_DIGEST,
    assert_error,
    digest_of,
    pull_blob,
    push_blob,
    push_image,
    random_bytes,
    start_upload,
)

UNKNOWN_SESSIONS = [
    "00000000-0000-4000-8000-000000000000",
    "no-uuid",
    "..",
    "%2e%2e",
    "x" * 500,
    "a%0Ab",
    "%C3%A4",
    "{id}",
]


@pytest.mark.parametrize("slash", ["", "/"])
def test_post_begins_a_session(client: httpx.Client, repository: str, slash: str) -> None:
    response = client.post(f"/v2/{repository}/blobs/uploads{slash}")
    assert response.status_code == 202
    session = response.headers["docker-upload-uuid"]
    assert str(uuid.UUID(session)) == session
    assert response.headers["location"] == f"/v2/{repository}/blobs/uploads/{session}"
    assert response.headers["range"] == "0-0"
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert response.headers["content-length"] == "0"


def test_every_session_has_an_id_of_its_own(client: httpx.Client, repository: str) -> None:
    assert len({start_upload(client, repository) for _ in range(10)}) == 10


def test_a_session_alone_makes_no_repository(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    client.patch(location, content=b"some bytes")
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize("size", [0, 1, 100_000])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_post_then_put(client: httpx.Client, repository: str, size: int, algorithm: str) -> None:
    content = random_bytes(size)
    digest = digest_of(content, algorithm)
    location = start_upload(client, repository)
    response = client.put(location, params={"digest": digest}, content=content)
    assert response.status_code == 201
    assert response.headers["location"] == f"/v2/{repository}/blobs/{digest}"
    assert response.headers["docker-content-digest"] == digest
    assert client.get(response.headers["location"]).content == content
    assert_error(client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("size", [0, 1, 100_000])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_single_post(client: httpx.Client, repository: str, size: int, algorithm: str, slash: str) -> None:
    content = random_bytes(size)
    digest = digest_of(content, algorithm)
    response = client.post(f"/v2/{repository}/blobs/uploads{slash}", params={"digest": digest}, content=content)
    assert response.status_code == 201
    assert response.headers["location"] == f"/v2/{repository}/blobs/{digest}"
    assert response.headers["docker-content-digest"] == digest
    assert pull_blob(client, repository, digest) == content


@pytest.mark.parametrize("content", [b"other bytes", b""])
def test_a_single_post_with_the_wrong_digest_leaves_nothing(
    client: httpx.Client, repository: str, content: bytes
) -> None:
    response = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": UNKNOWN_DIGEST}, content=content)
    assert_error(response, 400, "DIGEST_INVALID")
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")
    assert client.get(f"/v2/{repository}/blobs/{UNKNOWN_DIGEST}").status_code == 404
    assert client.get(f"/v2/{repository}/blobs/{digest_of(content)}").status_code == 404


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + "0" * 32, "nonsense", ""])
def test_a_single_post_with_a_malformed_digest(client: httpx.Client, repository: str, digest: str) -> None:
    response = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=b"x")
    assert_error(response, 400, "DIGEST_INVALID")


@pytest.mark.parametrize("announced", ["sha256", "sha512"])
@pytest.mark.parametrize("used", ["sha256", "sha512"])
@pytest.mark.parametrize("last", [b"", b"the end"])
def test_the_algorithm_may_be_announced_and_may_differ_in_the_end(
    client: httpx.Client, repository: str, announced: str, used: str, last: bytes
) -> None:
    content = random_bytes(10_000)
    location = start_upload(client, repository, **{"digest-algorithm": announced})
    assert client.patch(location, content=content).status_code == 202
    digest = digest_of(content + last, used)
    assert client.put(location, params={"digest": digest}, content=last).status_code == 201
    assert pull_blob(client, repository, digest) == content + last


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "sha256:", "x" * 500])
def test_an_unknown_algorithm_is_refused(client: httpx.Client, repository: str, algorithm: str) -> None:
    response = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest-algorithm": algorithm})
    assert_error(response, 400, "DIGEST_INVALID")


def test_status_tells_how_much_there_is(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    for received, expected in ((0, "0-0"), (1, "0-0"), (1000, "0-999")):
        content = random_bytes(received - (0 if received < 2 else 1))
        if content:
            assert client.patch(location, content=content).status_code == 202
        response = client.get(location)
        assert response.status_code == 204
        assert response.headers["range"] == expected
        assert response.headers["location"] == location
        assert response.headers["docker-upload-uuid"] == location.rpartition("/")[2]
        assert response.content == b""


def test_cancelling_ends_a_session(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    client.patch(location, content=b"some bytes")
    response = client.delete(location)
    assert response.status_code == 204
    assert response.content == b""
    for method in ("GET", "PATCH", "DELETE"):
        assert_error(client.request(method, location), 404, "BLOB_UPLOAD_UNKNOWN")
    response = client.put(location, params={"digest": digest_of(b"some bytes")})
    assert_error(response, 404, "BLOB_UPLOAD_UNKNOWN")
    assert client.head(f"/v2/{repository}/blobs/{digest_of(b'some bytes')}").status_code == 404


def test_put_without_digest_keeps_the_session(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    client.patch(location, content=b"some bytes")
    assert_error(client.put(location), 400, "DIGEST_INVALID")
    assert client.get(location).headers["range"] == "0-9"
    assert client.put(location, params={"digest": digest_of(b"some bytes")}).status_code == 201


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + "0" * 32, "nonsense", "", "sha256:" + "A" * 64])
def test_put_with_a_malformed_digest_keeps_the_session(client: httpx.Client, repository: str, digest: str) -> None:
    location = start_upload(client, repository)
    client.patch(location, content=b"some bytes")
    assert_error(client.put(location, params={"digest": digest}, content=b"more"), 400, "DIGEST_INVALID")
    assert client.get(location).headers["range"] == "0-9"


@pytest.mark.parametrize("patched", [b"", b"some"])
@pytest.mark.parametrize("last", [b"", b" bytes"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_digest_that_does_not_fit_ends_the_session(
    client: httpx.Client, repository: str, patched: bytes, last: bytes, algorithm: str
) -> None:
    location = start_upload(client, repository)
    if patched:
        client.patch(location, content=patched)
    wrong = digest_of(random_bytes(), algorithm)
    assert_error(client.put(location, params={"digest": wrong}, content=last), 400, "DIGEST_INVALID")
    for method in ("GET", "PATCH", "DELETE"):
        assert_error(client.request(method, location), 404, "BLOB_UPLOAD_UNKNOWN")
    for digest in (wrong, digest_of(patched + last, algorithm)):
        assert client.head(f"/v2/{repository}/blobs/{digest}").status_code == 404
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize("session", UNKNOWN_SESSIONS)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_unknown_session_is_404(client: httpx.Client, repository: str, method: str, session: str) -> None:
    push_image(client, repository)
    if session in {"..", "%2e%2e"}:
        session = "%2E%2E"  # httpx would resolve the others itself
    query = f"?digest={digest_of(b'x')}" if method == "PUT" else ""
    response = client.request(method, f"/v2/{repository}/blobs/uploads/{session}{query}", content=b"x")
    assert_error(response, 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_a_session_belongs_to_its_repository(client: httpx.Client, repository: str, method: str) -> None:
    push_image(client, f"{repository}/other")
    location = start_upload(client, repository)
    elsewhere = location.replace(repository, f"{repository}/other")
    query = f"?digest={digest_of(b'x')}" if method == "PUT" else ""
    assert_error(client.request(method, elsewhere + query, content=b"x"), 404, "BLOB_UPLOAD_UNKNOWN")
    assert client.put(location, params={"digest": digest_of(b"x")}, content=b"x").status_code == 201


def test_a_session_of_upper_case_is_no_other_name_of_it(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    prefix, _, session = location.rpartition("/")
    if session != session.upper():
        assert_error(client.get(f"{prefix}/{session.upper()}"), 404, "BLOB_UPLOAD_UNKNOWN")


def test_pushing_what_is_there_already_succeeds(client: httpx.Client, repository: str) -> None:
    content = random_bytes()
    assert push_blob(client, repository, content) == push_blob(client, repository, content)
    digest = digest_of(content)
    response = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content)
    assert response.status_code == 201
    assert pull_blob(client, repository, digest) == content


def test_other_query_parameters_do_not_matter(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository, ns="docker.example", other="1")
    assert client.patch(f"{location}?_state=abc", content=b"some").status_code == 202
    response = client.put(f"{location}?_state=abc&digest={digest_of(b'some')}")
    assert response.status_code == 201


def test_a_finished_session_cannot_be_finished_again(client: httpx.Client, repository: str) -> None:
    location = start_upload(client, repository)
    query = {"digest": digest_of(b"some")}
    assert client.put(location, params=query, content=b"some").status_code == 201
    assert_error(client.put(location, params=query, content=b"some"), 404, "BLOB_UPLOAD_UNKNOWN")
