"""Deleting tags, manifests and blobs (spec, "Content Management")."""

import httpx
import pytest

from tests.factories import (
    EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    UNKNOWN_DIGEST,
    artifact_manifest,
    assert_error,
    descriptor,
    digest_of,
    errors_of,
    image_manifest,
    index_manifest,
    pull_blob,
    push_artifact,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    random_bytes,
)


def tags(client: httpx.Client, repository: str) -> list[str]:
    """All tags of a repository."""
    listed: list[str] = client.get(f"/v2/{repository}/tags/list").json()["tags"]
    return listed


def assert_in_use(response: httpx.Response, by: str) -> None:
    """Assert a refusal that names the manifest which refers to the content."""
    assert_error(response, 403, "DENIED")
    [error] = errors_of(response)
    assert by in error["message"] or by in str(error["detail"])


def test_deleting_a_tag_leaves_its_siblings_and_the_manifest(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "one")
    push_manifest(client, repository, image.manifest, "two")
    response = client.delete(f"/v2/{repository}/manifests/one")
    assert response.status_code == 202
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert_error(client.get(f"/v2/{repository}/manifests/one"), 404, "MANIFEST_UNKNOWN")
    assert tags(client, repository) == ["two"]
    for reference in ("two", image.digest):
        assert client.get(f"/v2/{repository}/manifests/{reference}").content == image.manifest


def test_deleting_the_last_tag_leaves_the_manifest(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    assert client.delete(f"/v2/{repository}/manifests/latest").status_code == 202
    assert tags(client, repository) == []
    assert client.get(f"/v2/{repository}/manifests/{image.digest}").content == image.manifest
    for blob in image.blobs:
        assert pull_blob(client, repository, digest_of(blob)) == blob


def test_a_deleted_tag_can_be_set_again(client: httpx.Client, repository: str) -> None:
    one, two = push_image(client, repository, "latest"), push_image(client, repository)
    for image in (two, one, two):
        assert client.delete(f"/v2/{repository}/manifests/latest").status_code == 202
        push_manifest(client, repository, image.manifest, "latest")
        assert client.get(f"/v2/{repository}/manifests/latest").content == image.manifest


def test_deleting_a_manifest_takes_its_tags(client: httpx.Client, repository: str) -> None:
    image, other = push_image(client, repository, "one"), push_image(client, repository, "other")
    push_manifest(client, repository, image.manifest, "two")
    assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202
    for reference in ("one", "two", image.digest):
        for method in ("GET", "HEAD", "DELETE"):
            response = client.request(method, f"/v2/{repository}/manifests/{reference}")
            assert_error(response, 404, "MANIFEST_UNKNOWN")
    assert tags(client, repository) == ["other"]
    assert client.get(f"/v2/{repository}/manifests/other").content == other.manifest


def test_a_manifest_of_another_repository_stays(client: httpx.Client, repository: str) -> None:
    image = push_image(client, f"{repository}/one", "latest")
    for blob in image.blobs:
        push_blob(client, f"{repository}/two", blob)
    push_manifest(client, f"{repository}/two", image.manifest, "latest")
    assert client.delete(f"/v2/{repository}/one/manifests/{image.digest}").status_code == 202
    for blob in image.blobs:
        assert client.delete(f"/v2/{repository}/one/blobs/{digest_of(blob)}").status_code == 202
        assert pull_blob(client, f"{repository}/two", digest_of(blob)) == blob
    assert client.get(f"/v2/{repository}/two/manifests/latest").content == image.manifest


@pytest.mark.parametrize("reference", ["one", "digest"])
def test_a_deleted_manifest_can_be_pushed_again(client: httpx.Client, repository: str, reference: str) -> None:
    image = push_image(client, repository, "one")
    for _ in range(2):
        assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202
        push_manifest(client, repository, image.manifest, None if reference == "digest" else reference)
        wanted = image.digest if reference == "digest" else reference
        assert client.get(f"/v2/{repository}/manifests/{wanted}").content == image.manifest
    assert tags(client, repository) == ([] if reference == "digest" else ["one"])


def test_a_child_of_an_index_stays_while_the_index_does(client: httpx.Client, repository: str) -> None:
    children = [push_image(client, repository) for _ in range(2)]
    index = index_manifest([descriptor(child.manifest, OCI_MANIFEST) for child in children])
    push_manifest(client, repository, index, "latest", media_type=OCI_INDEX)
    for child in children:
        assert_in_use(client.delete(f"/v2/{repository}/manifests/{child.digest}"), by=digest_of(index))
        assert client.get(f"/v2/{repository}/manifests/{child.digest}").content == child.manifest
    assert client.delete(f"/v2/{repository}/manifests/latest").status_code == 202
    assert_in_use(client.delete(f"/v2/{repository}/manifests/{children[0].digest}"), by=digest_of(index))
    assert client.delete(f"/v2/{repository}/manifests/{digest_of(index)}").status_code == 202
    for child in children:
        assert client.delete(f"/v2/{repository}/manifests/{child.digest}").status_code == 202


def test_a_tag_of_a_child_can_be_deleted(client: httpx.Client, repository: str) -> None:
    child = push_image(client, repository, "amd64")
    index = index_manifest([descriptor(child.manifest, OCI_MANIFEST)])
    push_manifest(client, repository, index, "latest", media_type=OCI_INDEX)
    assert client.delete(f"/v2/{repository}/manifests/amd64").status_code == 202
    assert tags(client, repository) == ["latest"]
    assert client.get(f"/v2/{repository}/manifests/{child.digest}").content == child.manifest


def test_an_index_of_another_repository_does_not_matter(client: httpx.Client, repository: str) -> None:
    image = push_image(client, f"{repository}/one")
    for blob in image.blobs:
        push_blob(client, f"{repository}/two", blob)
    push_manifest(client, f"{repository}/two", image.manifest)
    index = index_manifest([descriptor(image.manifest, OCI_MANIFEST)])
    push_manifest(client, f"{repository}/two", index, media_type=OCI_INDEX)
    assert client.delete(f"/v2/{repository}/one/manifests/{image.digest}").status_code == 202


def test_a_blob_stays_while_a_manifest_refers_to_it(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    for blob in image.blobs:
        assert_in_use(client.delete(f"/v2/{repository}/blobs/{digest_of(blob)}"), by=image.digest)
        assert pull_blob(client, repository, digest_of(blob)) == blob
    assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202
    for blob in image.blobs:
        path = f"/v2/{repository}/blobs/{digest_of(blob)}"
        assert client.delete(path).status_code == 202
        for method in ("GET", "HEAD", "DELETE"):
            assert_error(client.request(method, path), 404, "BLOB_UNKNOWN")
    response = put_manifest(client, repository, "latest", image.manifest)
    assert_error(response, 404, "MANIFEST_BLOB_UNKNOWN")


def test_a_blob_shared_by_two_manifests_needs_both_gone(client: httpx.Client, repository: str) -> None:
    push_blob(client, repository, b"shared")
    manifests = [image_manifest(b"shared", unique=str(number)) for number in range(2)]
    for content in manifests:
        push_manifest(client, repository, content)
    path = f"/v2/{repository}/blobs/{digest_of(b'shared')}"
    for content in manifests:
        assert_error(client.delete(path), 403, "DENIED")
        assert client.delete(f"/v2/{repository}/manifests/{digest_of(content)}").status_code == 202
    assert client.delete(path).status_code == 202


def test_a_layer_in_a_build_cache_index_stays(client: httpx.Client, repository: str) -> None:
    layer = random_bytes()
    push_blob(client, repository, layer)
    index = index_manifest([descriptor(layer, OCI_LAYER)])
    push_manifest(client, repository, index, "cache", media_type=OCI_INDEX)
    assert_in_use(client.delete(f"/v2/{repository}/blobs/{digest_of(layer)}"), by=digest_of(index))
    assert client.delete(f"/v2/{repository}/manifests/{digest_of(index)}").status_code == 202
    assert client.delete(f"/v2/{repository}/blobs/{digest_of(layer)}").status_code == 202


def test_a_blob_that_nothing_refers_to_goes_and_comes_back(client: httpx.Client, repository: str) -> None:
    content = random_bytes()
    digest = push_blob(client, repository, content)
    for _ in range(2):
        response = client.delete(f"/v2/{repository}/blobs/{digest}")
        assert response.status_code == 202
        assert_error(client.get(f"/v2/{repository}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
        push_blob(client, repository, content)
        assert pull_blob(client, repository, digest) == content


def test_everything_deleted_can_be_pushed_again(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    artifact = artifact_manifest(image.manifest)
    push_artifact(client, repository, artifact)
    for digest in (digest_of(artifact), image.digest):
        assert client.delete(f"/v2/{repository}/manifests/{digest}").status_code == 202
    for blob in (*image.blobs, EMPTY):
        assert client.delete(f"/v2/{repository}/blobs/{digest_of(blob)}").status_code == 202
    for blob in image.blobs:
        push_blob(client, repository, blob)
    push_manifest(client, repository, image.manifest, "latest")
    push_artifact(client, repository, artifact)
    assert client.get(f"/v2/{repository}/manifests/latest").content == image.manifest
    [found] = client.get(f"/v2/{repository}/referrers/{image.digest}").json()["manifests"]
    assert found["digest"] == digest_of(artifact)
    assert_in_use(client.delete(f"/v2/{repository}/blobs/{digest_of(image.config)}"), by=image.digest)


def test_the_subject_of_a_referrer_can_be_deleted(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    push_artifact(client, repository, artifact_manifest(image.manifest))
    assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202


def test_a_repository_stays_when_its_content_is_deleted(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202
    assert tags(client, repository) == []


@pytest.mark.parametrize("path", ["manifests/latest", f"manifests/{UNKNOWN_DIGEST}"])
def test_deleting_what_is_not_there(client: httpx.Client, repository: str, path: str) -> None:
    assert_error(client.delete(f"/v2/{repository}/{path}"), 404, "NAME_UNKNOWN")
    push_image(client, repository, "other")
    assert_error(client.delete(f"/v2/{repository}/{path}"), 404, "MANIFEST_UNKNOWN")


def test_deleting_a_manifest_as_a_blob_does_nothing(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    assert_error(client.delete(f"/v2/{repository}/blobs/{image.digest}"), 404, "BLOB_UNKNOWN")
    assert_error(client.delete(f"/v2/{repository}/manifests/{digest_of(image.config)}"), 404, "MANIFEST_UNKNOWN")
    assert client.get(f"/v2/{repository}/manifests/latest").content == image.manifest
