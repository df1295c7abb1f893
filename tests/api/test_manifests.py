"""`/v2/<name>/manifests/<reference>`: pushing and pulling (spec, "Pulling manifests", "Pushing Manifests")."""

import json
from typing import Any

import httpx
import pytest

from tests.factories import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    UNKNOWN_DIGEST,
    artifact_manifest,
    assert_error,
    descriptor,
    digest_of,
    image_manifest,
    index_manifest,
    new_image,
    push_artifact,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    random_bytes,
)

LAYER = b"layer"
CONFIG = b"config"


@pytest.fixture
def stocked(client: httpx.Client, repository: str) -> str:
    """A repository with the blobs CONFIG, LAYER and EMPTY."""
    for content in (CONFIG, LAYER, EMPTY):
        push_blob(client, repository, content)
    return repository


def unique_image(**fields: Any) -> bytes:
    """A manifest of CONFIG and LAYER that no other call returns."""
    return image_manifest(CONFIG, [LAYER], unique=random_bytes(8).hex(), **fields)


def assert_pushed(response: httpx.Response, repository: str, digest: str) -> None:
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v2/{repository}/manifests/{digest}"
    assert response.headers["docker-content-digest"] == digest
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("by", ["tag", "sha256", "sha512"])
def test_a_pushed_manifest_comes_back_as_it_was(client: httpx.Client, stocked: str, by: str) -> None:
    content = unique_image()
    digest = digest_of(content, "sha512" if by == "sha512" else "sha256")
    reference = "latest" if by == "tag" else digest
    assert_pushed(put_manifest(client, stocked, reference, content), stocked, digest)
    for wanted in {reference, digest}:
        path = f"/v2/{stocked}/manifests/{wanted}"
        for response in (client.get(path), client.head(path)):
            assert response.status_code == 200
            assert response.headers["content-type"] == OCI_MANIFEST
            assert response.headers["content-length"] == str(len(content))
            assert response.headers["docker-content-digest"] == digest
            assert response.headers["etag"] == f'"{digest}"'
            assert response.headers["docker-distribution-api-version"] == "registry/2.0"
        assert client.get(path).content == content
        assert client.head(path).content == b""


@pytest.mark.parametrize("text", ["  {}\n", "\n\n{}\t\r\n", "{}"])
@pytest.mark.parametrize("dump", [{"indent": 7}, {"sort_keys": True}, {"ensure_ascii": False}])
def test_not_a_byte_is_changed(client: httpx.Client, stocked: str, text: str, dump: dict[str, Any]) -> None:
    document = json.loads(unique_image(annotations={"name": "Zoë ☃ \u2028 </script>", "number": "1.0"}))
    content = text.replace("{}", json.dumps(document, **dump)).encode()
    assert_pushed(put_manifest(client, stocked, "latest", content), stocked, digest_of(content))
    assert client.get(f"/v2/{stocked}/manifests/latest").content == content


def test_a_tag_moves(client: httpx.Client, stocked: str) -> None:
    one, two = unique_image(), unique_image()
    for content in (one, two, one):
        push_manifest(client, stocked, content, "latest")
        assert client.get(f"/v2/{stocked}/manifests/latest").content == content
    for content in (one, two):
        assert client.get(f"/v2/{stocked}/manifests/{digest_of(content)}").content == content


def test_pushing_again_changes_nothing(client: httpx.Client, stocked: str) -> None:
    content = unique_image()
    for reference in ("latest", "latest", digest_of(content), "other"):
        assert_pushed(put_manifest(client, stocked, reference, content), stocked, digest_of(content))
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == ["latest", "other"]


def test_a_digest_that_does_not_fit_is_refused(client: httpx.Client, stocked: str) -> None:
    content = unique_image()
    assert_error(put_manifest(client, stocked, UNKNOWN_DIGEST, content), 400, "DIGEST_INVALID")
    for digest in (UNKNOWN_DIGEST, digest_of(content)):
        assert client.get(f"/v2/{stocked}/manifests/{digest}").status_code == 404


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (f"{OCI_MANIFEST};v=1;w=2", OCI_MANIFEST),
        (f"  {OCI_MANIFEST} ; x=y", OCI_MANIFEST),
        (OCI_MANIFEST, OCI_MANIFEST),
    ],
)
def test_parameters_of_the_media_type_are_dropped(client: httpx.Client, stocked: str, sent: str, stored: str) -> None:
    push_manifest(client, stocked, unique_image(), "latest", media_type=sent.strip())
    assert client.head(f"/v2/{stocked}/manifests/latest").headers["content-type"] == stored


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.example.custom+json",
        "application/vnd.example.a_b-c.d+json",
        "application/vnd.unheard-of.v7",
        "text/x-odd",
    ],
)
def test_any_media_type_is_stored(client: httpx.Client, stocked: str, media_type: str) -> None:
    content = json.dumps(
        {"mediaType": media_type, "anything": [1, {"goes": None}], "u": random_bytes(4).hex()}
    ).encode()
    assert_pushed(put_manifest(client, stocked, "latest", content, media_type), stocked, digest_of(content))
    response = client.get(f"/v2/{stocked}/manifests/latest")
    assert response.headers["content-type"] == media_type
    assert response.content == content


@pytest.mark.parametrize("entry", [{}, {"size": 5}, {"mediaType": "x/y"}])
def test_a_custom_type_may_describe_its_content_as_it_likes(
    client: httpx.Client, stocked: str, entry: dict[str, object]
) -> None:
    content = json.dumps({"blobs": [{**entry, "digest": digest_of(LAYER)}], "u": random_bytes(4).hex()}).encode()
    media_type = "application/vnd.example.custom+json"
    assert_pushed(put_manifest(client, stocked, "latest", content, media_type), stocked, digest_of(content))
    assert_error(client.delete(f"/v2/{stocked}/blobs/{digest_of(LAYER)}"), 403, "DENIED")


@pytest.mark.parametrize(
    ("content", "stored"),
    [
        (image_manifest(CONFIG, [LAYER]), OCI_MANIFEST),
        (image_manifest(CONFIG, [LAYER], mediaType=None), OCI_MANIFEST),
        (image_manifest(CONFIG, [LAYER], mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST),
        (index_manifest([]), OCI_INDEX),
        (index_manifest([], mediaType=None), OCI_INDEX),
        (index_manifest([], mediaType=DOCKER_LIST), DOCKER_LIST),
        (b'{"mediaType": "application/vnd.example.custom+json"}', "application/vnd.example.custom+json"),
    ],
)
def test_without_content_type_the_manifest_tells(
    client: httpx.Client, stocked: str, content: bytes, stored: str
) -> None:
    assert_pushed(put_manifest(client, stocked, "latest", content, None), stocked, digest_of(content))
    assert client.head(f"/v2/{stocked}/manifests/latest").headers["content-type"] == stored


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_MANIFEST])
def test_docker_and_oci_images(client: httpx.Client, stocked: str, media_type: str) -> None:
    content = unique_image(mediaType=media_type)
    push_manifest(client, stocked, content, "latest", media_type=media_type)
    assert client.get(f"/v2/{stocked}/manifests/latest").headers["content-type"] == media_type


@pytest.mark.parametrize(("index_type", "image_type"), [(OCI_INDEX, OCI_MANIFEST), (DOCKER_LIST, DOCKER_MANIFEST)])
def test_an_index_of_images(client: httpx.Client, stocked: str, index_type: str, image_type: str) -> None:
    children = [unique_image(mediaType=image_type) for _ in range(3)]
    for child in children:
        push_manifest(client, stocked, child, media_type=image_type)
    platform = {"os": "linux", "architecture": "amd64"}
    descriptors = [descriptor(child, image_type, platform=platform) for child in children]
    content = index_manifest(descriptors, media_type=index_type)
    push_manifest(client, stocked, content, "latest", media_type=index_type)
    response = client.get(f"/v2/{stocked}/manifests/latest", headers={"Accept": OCI_MANIFEST})
    assert response.headers["content-type"] == index_type
    assert response.content == content


def test_an_index_of_indexes(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    inner = index_manifest([descriptor(image.manifest, OCI_MANIFEST)])
    push_manifest(client, repository, inner, media_type=OCI_INDEX)
    outer = index_manifest([descriptor(inner, OCI_INDEX), descriptor(image.manifest, OCI_MANIFEST)])
    push_manifest(client, repository, outer, "latest", media_type=OCI_INDEX)
    assert client.get(f"/v2/{repository}/manifests/latest").content == outer


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_may_name_its_blobs_by_either_algorithm(
    client: httpx.Client, repository: str, algorithm: str
) -> None:
    layer = random_bytes()
    push_blob(client, repository, CONFIG)
    push_blob(client, repository, layer, algorithm=algorithm)
    layers = [descriptor(layer, "text/plain", algorithm=algorithm)]
    content = image_manifest(CONFIG, layers=layers)
    push_manifest(client, repository, content, "latest")
    assert client.get(f"/v2/{repository}/manifests/latest").content == content


def test_a_config_may_be_any_type_and_layers_none(client: httpx.Client, stocked: str) -> None:
    content = image_manifest(EMPTY, [], config_type=OCI_EMPTY, artifactType="application/vnd.example.empty")
    push_manifest(client, stocked, content, "latest")
    content = image_manifest(CONFIG, [CONFIG, LAYER, LAYER], config_type="application/x-odd", layer_type="a/b")
    push_manifest(client, stocked, content, "latest")
    assert client.get(f"/v2/{stocked}/manifests/latest").content == content


@pytest.mark.parametrize("known", [True, False])
def test_a_subject_is_acknowledged_there_or_not(client: httpx.Client, repository: str, known: bool) -> None:
    image = push_image(client, repository) if known else new_image()
    push_blob(client, repository, EMPTY)
    artifact = artifact_manifest(image.manifest)
    for reference in ("attached", digest_of(artifact)):
        response = put_manifest(client, repository, reference, artifact)
        assert_pushed(response, repository, digest_of(artifact))
        assert response.headers["oci-subject"] == image.digest


def test_an_index_may_have_a_subject(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    content = index_manifest([], subject=descriptor(image.manifest, OCI_MANIFEST), artifactType="a/b")
    response = put_manifest(client, repository, digest_of(content), content, OCI_INDEX)
    assert response.headers["oci-subject"] == image.digest


def test_without_subject_none_is_acknowledged(client: httpx.Client, stocked: str) -> None:
    assert "oci-subject" not in put_manifest(client, stocked, "latest", unique_image()).headers


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"{",
        b"{} {}",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"schemaVersion": NaN}',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        image_manifest(CONFIG, [LAYER]).replace(b'"schemaVersion": 2', b'"schemaVersion": 2, "schemaVersion": 2'),
        image_manifest(CONFIG, [LAYER]).replace(b'"layers"', b'"config": null, "layers"'),
        image_manifest(CONFIG, [LAYER], schemaVersion=1),
        image_manifest(CONFIG, [LAYER], schemaVersion="2"),
        image_manifest(CONFIG, [LAYER], schemaVersion=None),
        image_manifest(CONFIG, [LAYER], layers={}),
        image_manifest(CONFIG, [LAYER], layers=["sha256:abc"]),
        image_manifest(CONFIG, [LAYER], config=[]),
        image_manifest(CONFIG, [LAYER], config=None),
        image_manifest(CONFIG, [LAYER], manifests=[]),
        image_manifest(CONFIG, [LAYER], annotations={"a": 1}),
        image_manifest(CONFIG, [LAYER], annotations=["a"]),
        image_manifest(CONFIG, [LAYER], artifactType=5),
        image_manifest(CONFIG, [LAYER], subject="sha256:abc"),
        image_manifest(CONFIG, [LAYER], subject={"digest": "sha256:abc", "size": 1, "mediaType": "a/b"}),
        image_manifest(CONFIG, [LAYER], mediaType=OCI_INDEX),
        image_manifest(CONFIG, [LAYER], mediaType=7),
        *(
            image_manifest(CONFIG, layers=[{**descriptor(LAYER, "a/b"), **wrong}])
            for wrong in (
                {"size": -1},
                {"size": "5"},
                {"size": 5.0},
                {"size": True},
                {"size": 2**63},
                {"size": None},
                {"digest": "sha256:abc"},
                {"digest": "sha256:" + "A" * 64},
                {"digest": 5},
                {"mediaType": ""},
                {"mediaType": 5},
                {"urls": "http://example"},
                {"data": "?"},
                {"data": "b3RoZXI="},
            )
        ),
    ],
    ids=lambda content: content[:60].decode("latin-1") + f"...{len(content)}",
)
def test_what_is_no_manifest_is_refused(client: httpx.Client, stocked: str, content: bytes) -> None:
    assert_error(put_manifest(client, stocked, "latest", content), 400, "MANIFEST_INVALID")
    assert_error(put_manifest(client, stocked, digest_of(content), content), 400, "MANIFEST_INVALID")
    assert client.get(f"/v2/{stocked}/tags/list").json()["tags"] == []
    assert client.head(f"/v2/{stocked}/manifests/{digest_of(content)}").status_code == 404


def test_embedded_content_is_accepted_when_it_is_right(client: httpx.Client, stocked: str) -> None:
    content = image_manifest(EMPTY, config=descriptor(EMPTY, OCI_CONFIG, data="e30="))
    push_manifest(client, stocked, content, "latest")


def test_docker_schema_1_is_refused_with_the_way_out(client: httpx.Client, stocked: str) -> None:
    content = b'{"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []}'
    response = put_manifest(
        client, stocked, "old", content, "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )
    assert_error(response, 400, "MANIFEST_INVALID")
    assert "schema 1" in response.text


def test_an_artifact_can_be_pulled_by_tag(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    artifact = artifact_manifest(image.manifest)
    push_artifact(client, repository, artifact)
    push_manifest(client, repository, artifact, "note")
    assert client.get(f"/v2/{repository}/manifests/note").content == artifact
