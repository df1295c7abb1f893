"""Mounting blobs of other repositories (spec, "Mounting a blob from another repository")."""

import httpx
import pytest

from tests.factories import UNKNOWN_DIGEST, assert_error, digest_of, pull_blob, push_blob, push_image, random_bytes


def mount(client: httpx.Client, repository: str, **query: str) -> httpx.Response:
    """Ask for a mount; `source` goes by the name `from`."""
    if "source" in query:
        query["from"] = query.pop("source")
    return client.post(f"/v2/{repository}/blobs/uploads/", params=query)


def assert_mounted(response: httpx.Response, repository: str, digest: str) -> None:
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v2/{repository}/blobs/{digest}"
    assert response.headers["docker-content-digest"] == digest


def assert_session(client: httpx.Client, response: httpx.Response, repository: str, content: bytes) -> None:
    """Assert that the answer began an ordinary upload, by finishing it."""
    assert response.status_code == 202, response.text
    location = response.headers["location"]
    assert location.startswith(f"/v2/{repository}/blobs/uploads/")
    assert response.headers["range"] == "0-0"
    assert response.headers["docker-upload-uuid"] == location.rpartition("/")[2]
    digest = digest_of(content)
    assert client.put(location, params={"digest": digest}, content=content).status_code == 201
    assert pull_blob(client, repository, digest) == content


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_blob_of_another_repository_is_mounted(
    client: httpx.Client, repository: str, algorithm: str, slash: str
) -> None:
    content = random_bytes()
    source, target = f"{repository}/source", f"{repository}/target"
    digest = push_blob(client, source, content, algorithm=algorithm)
    query = {"mount": digest, "from": source}
    assert_mounted(client.post(f"/v2/{target}/blobs/uploads{slash}", params=query), target, digest)
    assert pull_blob(client, target, digest) == content
    assert client.get(f"/v2/{target}/tags/list").json()["tags"] == []


def test_mounting_twice_and_within_a_repository(client: httpx.Client, repository: str) -> None:
    digest = push_blob(client, repository, random_bytes())
    for _ in range(2):
        assert_mounted(mount(client, repository, mount=digest, source=repository), repository, digest)


def test_a_mounted_blob_stays_when_the_source_loses_it(client: httpx.Client, repository: str) -> None:
    content = random_bytes()
    source, target = f"{repository}/source", f"{repository}/target"
    digest = push_blob(client, source, content)
    mount(client, target, mount=digest, source=source)
    assert client.delete(f"/v2/{source}/blobs/{digest}").status_code == 202
    assert pull_blob(client, target, digest) == content


@pytest.mark.parametrize("source", ["nobody/nothing", "UPPER", "a//b", "", "-", "x" * 300, "a b", "ä"])
def test_from_a_source_that_is_not_there_begins_an_upload(client: httpx.Client, repository: str, source: str) -> None:
    content = random_bytes()
    push_blob(client, f"{repository}/other", content)
    response = mount(client, repository, mount=digest_of(content), source=source)
    assert_session(client, response, repository, content)


def test_what_the_source_does_not_have_begins_an_upload(client: httpx.Client, repository: str) -> None:
    content = random_bytes()
    push_blob(client, f"{repository}/source", b"something else")
    response = mount(client, repository, mount=digest_of(content), source=f"{repository}/source")
    assert_session(client, response, repository, content)


def test_what_the_source_deleted_begins_an_upload(client: httpx.Client, repository: str) -> None:
    content = random_bytes()
    digest = push_blob(client, f"{repository}/source", content)
    assert client.delete(f"/v2/{repository}/source/blobs/{digest}").status_code == 202
    assert mount(client, f"{repository}/target", mount=digest).status_code == 202
    response = mount(client, f"{repository}/target", mount=digest, source=f"{repository}/source")
    assert_session(client, response, f"{repository}/target", content)


def test_what_a_failed_mount_leaves_is_no_repository(client: httpx.Client, repository: str) -> None:
    assert mount(client, repository, mount=UNKNOWN_DIGEST, source="nobody/nothing").status_code == 202
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")


def test_a_blob_is_found_without_from(client: httpx.Client, repository: str) -> None:
    content = random_bytes()
    digest = push_blob(client, f"{repository}/source", content)
    target = f"{repository}/target"
    assert_mounted(mount(client, target, mount=digest), target, digest)
    assert pull_blob(client, target, digest) == content


def test_a_blob_that_is_nowhere_is_not_found_without_from(client: httpx.Client, repository: str) -> None:
    content = random_bytes()
    assert_session(client, mount(client, repository, mount=digest_of(content)), repository, content)


@pytest.mark.parametrize("digest", ["sha256:abc", "nonsense", "md5:" + "0" * 32, "sha256:" + "A" * 64, ""])
@pytest.mark.parametrize("source", ["some/where", None])
def test_a_malformed_digest_is_400(client: httpx.Client, repository: str, digest: str, source: str | None) -> None:
    query = {} if source is None else {"source": source}
    assert_error(mount(client, repository, mount=digest, **query), 400, "DIGEST_INVALID")


def test_from_without_mount_begins_an_upload(client: httpx.Client, repository: str) -> None:
    push_blob(client, f"{repository}/source", b"some")
    response = mount(client, repository, source=f"{repository}/source")
    assert_session(client, response, repository, b"some")


def test_a_manifest_is_no_blob_to_mount(client: httpx.Client, repository: str) -> None:
    image = push_image(client, f"{repository}/source", "latest")
    for query in ({"source": f"{repository}/source"}, {}):
        assert mount(client, f"{repository}/target", mount=image.digest, **query).status_code == 202
