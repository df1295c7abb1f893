"""What a manifest refers to: missing content, wrong sizes, sparse indexes (spec, "Pushing Manifests")."""

import json

import httpx
import pytest

from tests.factories import (
    EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    UNKNOWN_DIGEST,
    assert_error,
    descriptor,
    digest_of,
    errors_of,
    image_manifest,
    index_manifest,
    new_image,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    random_bytes,
)
from tests.support.server import Connect, ServerFactory

FOREIGN = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
]


def assert_missing(response: httpx.Response, digests: list[str]) -> None:
    """Assert that the push was refused for lack of exactly these, each named in an error of its own."""
    assert_error(response, 404, "MANIFEST_BLOB_UNKNOWN")
    details = [json.dumps(error["detail"]) for error in errors_of(response)]
    assert len(details) == len(digests)
    for digest in digests:
        assert sum(digest in detail for detail in details) == 1, digest


def test_every_missing_blob_is_named_and_nothing_is_stored(client: httpx.Client, repository: str) -> None:
    image = new_image(layers=3)
    missing = [digest_of(blob) for blob in image.blobs]
    for reference in ("latest", image.digest):
        assert_missing(put_manifest(client, repository, reference, image.manifest), missing)
    assert_error(client.get(f"/v2/{repository}/tags/list"), 404, "NAME_UNKNOWN")
    assert_error(client.get(f"/v2/{repository}/manifests/latest"), 404, "NAME_UNKNOWN")


def test_what_is_there_is_not_named(client: httpx.Client, repository: str) -> None:
    image = new_image(layers=2)
    push_blob(client, repository, image.layers[0])
    missing = [digest_of(image.config), digest_of(image.layers[1])]
    assert_missing(put_manifest(client, repository, "latest", image.manifest), missing)
    assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == []
    assert_error(client.get(f"/v2/{repository}/manifests/{image.digest}"), 404, "MANIFEST_UNKNOWN")
    push_blob(client, repository, image.config)
    push_blob(client, repository, image.layers[1])
    push_manifest(client, repository, image.manifest, "latest")


def test_a_digest_that_is_missing_twice_is_named_once(client: httpx.Client, repository: str) -> None:
    content = image_manifest(b"config", [b"layer", b"layer", b"other"])
    missing = [digest_of(blob) for blob in (b"config", b"layer", b"other")]
    assert_missing(put_manifest(client, repository, "latest", content), missing)


def test_a_hundred_missing_are_named(client: httpx.Client, repository: str) -> None:
    content = image_manifest(b"config", [str(number).encode() for number in range(150)])
    response = put_manifest(client, repository, "latest", content)
    assert_error(response, 404, "MANIFEST_BLOB_UNKNOWN")
    assert len(errors_of(response)) == 100


def test_a_failed_push_does_not_move_the_tag(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository, "latest")
    assert put_manifest(client, repository, "latest", new_image().manifest).status_code == 404
    assert client.get(f"/v2/{repository}/manifests/latest").content == image.manifest


def test_blobs_of_other_repositories_do_not_count(client: httpx.Client, repository: str) -> None:
    image = push_image(client, f"{repository}/one", "latest")
    response = put_manifest(client, f"{repository}/two", "latest", image.manifest)
    assert_missing(response, [digest_of(blob) for blob in image.blobs])


def test_missing_children_of_an_index_are_named(client: httpx.Client, repository: str) -> None:
    there, missing = push_image(client, repository), new_image()
    content = index_manifest([descriptor(image.manifest, OCI_MANIFEST) for image in (there, missing)])
    assert_missing(put_manifest(client, repository, "latest", content, OCI_INDEX), [missing.digest])
    push_manifest(client, repository, index_manifest([descriptor(there.manifest, OCI_MANIFEST)]), media_type=OCI_INDEX)


def test_children_of_other_repositories_do_not_count(client: httpx.Client, repository: str) -> None:
    image = push_image(client, f"{repository}/one")
    push_blob(client, f"{repository}/two", EMPTY)
    content = index_manifest([descriptor(image.manifest, OCI_MANIFEST)])
    assert_missing(put_manifest(client, f"{repository}/two", "latest", content, OCI_INDEX), [image.digest])


def test_a_digest_of_an_algorithm_that_is_not_kept_here_is_missing(client: httpx.Client, repository: str) -> None:
    push_blob(client, repository, b"config")
    digest = "blake3:" + "0" * 64
    content = image_manifest(b"config", layers=[{"mediaType": "a/b", "digest": digest, "size": 1}])
    assert_missing(put_manifest(client, repository, "latest", content), [digest])


def test_the_subject_need_not_be_there(client: httpx.Client, repository: str) -> None:
    push_blob(client, repository, EMPTY)
    subject = {"mediaType": OCI_MANIFEST, "digest": UNKNOWN_DIGEST, "size": 5}
    push_manifest(client, repository, image_manifest(EMPTY, [EMPTY], subject=subject))


@pytest.mark.parametrize("media_type", FOREIGN)
def test_layers_that_may_not_be_distributed_may_be_missing(
    client: httpx.Client, repository: str, media_type: str
) -> None:
    push_blob(client, repository, b"config")
    layer = descriptor(random_bytes(), media_type, urls=["https://example.org/layer"])
    push_manifest(client, repository, image_manifest(b"config", layers=[layer]), "latest")
    assert client.head(f"/v2/{repository}/blobs/{layer['digest']}").status_code == 404


@pytest.mark.parametrize("part", ["config", "layer"])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_size_that_is_not_the_blobs_is_refused(client: httpx.Client, repository: str, part: str, wrong: int) -> None:
    config, layer = descriptor(b"config", "a/b"), descriptor(b"layer", "a/b")
    (config if part == "config" else layer)["size"] += wrong
    push_blob(client, repository, b"config")
    push_blob(client, repository, b"layer")
    content = image_manifest(b"", config=config, layers=[layer])
    response = put_manifest(client, repository, "latest", content)
    assert_error(response, 400, "MANIFEST_INVALID")
    assert digest_of(part.encode()) in response.text
    assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == []


def test_a_size_that_is_not_the_childs_is_refused(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    child = descriptor(image.manifest, OCI_MANIFEST)
    child["size"] += 1
    assert_error(
        put_manifest(client, repository, "latest", index_manifest([child]), OCI_INDEX), 400, "MANIFEST_INVALID"
    )


def test_two_sizes_of_one_digest_are_refused(client: httpx.Client, repository: str) -> None:
    push_blob(client, repository, b"config")
    push_blob(client, repository, b"layer")
    layer = descriptor(b"layer", "a/b")
    content = image_manifest(b"config", layers=[layer, {**layer, "size": 6}])
    assert_error(put_manifest(client, repository, "latest", content), 400, "MANIFEST_INVALID")


def test_a_sparse_index_when_that_is_allowed(fresh_server: ServerFactory, connect: Connect, repository: str) -> None:
    client = connect(fresh_server(STOWAGE_MANIFESTS__SPARSE="index"))
    there, missing = push_image(client, repository), new_image()
    content = index_manifest([descriptor(image.manifest, OCI_MANIFEST) for image in (there, missing)])
    response = put_manifest(client, repository, "latest", content, OCI_INDEX)
    assert response.status_code == 201
    assert_warning(response)
    assert client.get(f"/v2/{repository}/manifests/latest").content == content
    assert_missing(
        put_manifest(client, repository, "image", missing.manifest), [digest_of(blob) for blob in missing.blobs]
    )
    for blob in missing.blobs:  # what comes later is protected like what was there
        push_blob(client, repository, blob)
    push_manifest(client, repository, missing.manifest)
    for image in (there, missing):
        response = client.delete(f"/v2/{repository}/manifests/{image.digest}")
        assert_error(response, 403, "DENIED")
        assert digest_of(content) in response.text


def test_a_sparse_image_when_anything_is_allowed(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    client = connect(fresh_server(STOWAGE_MANIFESTS__SPARSE="allow"))
    image = new_image(layers=2)
    push_blob(client, repository, image.layers[0])
    response = put_manifest(client, repository, "latest", image.manifest)
    assert response.status_code == 201
    assert_warning(response)
    assert client.head(f"/v2/{repository}/blobs/{digest_of(image.config)}").status_code == 404
    push_blob(client, repository, image.config)
    for blob in (image.config, image.layers[0]):
        assert_error(client.delete(f"/v2/{repository}/blobs/{digest_of(blob)}"), 403, "DENIED")
    push_blob(client, repository, image.layers[1])
    response = put_manifest(client, repository, "latest", image.manifest)
    assert response.status_code == 201
    assert "warning" not in response.headers


def assert_warning(response: httpx.Response) -> None:
    """Assert a Warning header as the specification has it (section "Warnings")."""
    warnings = response.headers.get_list("warning")
    assert warnings
    assert sum(len(warning) for warning in warnings) <= 4096
    for warning in warnings:
        assert warning.startswith('299 - "') and warning.endswith('"')
        assert warning.count('"') == 2


def test_a_whole_manifest_has_no_warning(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    assert "warning" not in put_manifest(client, repository, "latest", image.manifest).headers
