"""Content made on the spot (blobs, image manifests, indexes, artifacts), and pushing it through the API.

The pushing functions assert what every push must do, so that a test need only look at what it is about.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

__all__ = [
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "EMPTY",
    "OCI_CONFIG",
    "OCI_EMPTY",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "UNKNOWN_DIGEST",
    "PushedImage",
    "artifact_manifest",
    "assert_error",
    "descriptor",
    "digest_of",
    "errors_of",
    "image_manifest",
    "index_manifest",
    "new_image",
    "next_page",
    "padded_manifest",
    "pieces",
    "pull_blob",
    "pull_manifest",
    "push_artifact",
    "push_blob",
    "push_image",
    "push_manifest",
    "put_manifest",
    "random_bytes",
    "start_upload",
    "walk",
]

EMPTY = b"{}"
"""The content of OCI's empty descriptor (image-spec, "Guidance for an Empty Descriptor")."""

UNKNOWN_DIGEST = "sha256:" + "0123456789abcdef" * 4
"""A digest that nothing hashes to."""

_API_VERSION = "registry/2.0"


def random_bytes(size: int = 64) -> bytes:
    """Bytes that no other call returns."""
    return os.urandom(size)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """`algorithm:hex` of the content."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(content: bytes, media_type: str, *, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    """An OCI descriptor of the content (image-spec, descriptor.md)."""
    return {"mediaType": media_type, "digest": digest_of(content, algorithm), "size": len(content), **more}


def image_manifest(
    config: bytes,
    layers: Sequence[bytes] = (),
    /,
    *,
    media_type: str = OCI_MANIFEST,
    config_type: str = OCI_CONFIG,
    layer_type: str = OCI_LAYER,
    **fields: Any,
) -> bytes:
    """An image manifest. `fields` are added as they are, and take precedence; those that are None are left out."""
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(config, config_type),
        "layers": [descriptor(layer, layer_type) for layer in layers],
        **fields,
    }
    return _json(document)


def index_manifest(children: Sequence[Mapping[str, Any]], /, *, media_type: str = OCI_INDEX, **fields: Any) -> bytes:
    """An image index of these descriptors, with `fields` as in `image_manifest`."""
    return _json({"schemaVersion": 2, "mediaType": media_type, "manifests": list(children), **fields})


def artifact_manifest(
    subject: bytes, artifact_type: str | None = "application/vnd.example.note", **fields: Any
) -> bytes:
    """An artifact without blobs of its own that refers to the manifest `subject` (image-spec, manifest.md)."""
    fields.setdefault("unique", os.urandom(8).hex())
    return image_manifest(
        EMPTY,
        [EMPTY],
        config_type=OCI_EMPTY,
        layer_type=OCI_EMPTY,
        artifactType=artifact_type,
        subject=descriptor(subject, OCI_MANIFEST),
        **fields,
    )


def padded_manifest(size: int, config: bytes) -> bytes:
    """An image manifest of exactly `size` bytes, most of them in an annotation."""
    room = size - len(image_manifest(config, annotations={"padding": ""}))
    manifest = image_manifest(config, annotations={"padding": "x" * room})
    assert len(manifest) == size
    return manifest


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


@dataclass(frozen=True)
class PushedImage:
    """An image with the blobs that its manifest names."""

    config: bytes
    layers: tuple[bytes, ...]
    manifest: bytes

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return digest_of(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """Config and layers."""
        return (self.config, *self.layers)


def new_image(layers: int = 1, **fields: Any) -> PushedImage:
    """An image that no other call returns, pushed nowhere yet. `fields` go into its manifest."""
    config = _json({"architecture": "amd64", "os": "linux", "unique": os.urandom(8).hex()})
    contents = tuple(random_bytes(256) for _ in range(layers))
    return PushedImage(config, contents, image_manifest(config, contents, **fields))


def start_upload(client: httpx.Client, repository: str, **query: str) -> str:
    """Begin an upload and return its Location."""
    response = client.post(f"/v2/{repository}/blobs/uploads/", params=query)
    assert response.status_code == 202, response.text
    return response.headers["location"]


def push_blob(client: httpx.Client, repository: str, content: bytes, *, algorithm: str = "sha256") -> str:
    """Push a blob with POST and PUT, and return its digest."""
    digest = digest_of(content, algorithm)
    location = start_upload(client, repository)
    response = client.put(location, params={"digest": digest}, content=content)
    assert response.status_code == 201, response.text
    assert response.headers["docker-content-digest"] == digest
    return digest


def pull_blob(client: httpx.Client, repository: str, digest: str) -> bytes:
    """Pull a blob and check it against its digest."""
    response = client.get(f"/v2/{repository}/blobs/{digest}")
    assert response.status_code == 200, response.text
    assert digest_of(response.content, digest.partition(":")[0]) == digest
    return response.content


def put_manifest(
    client: httpx.Client,
    repository: str,
    reference: str,
    content: bytes,
    media_type: str | None = OCI_MANIFEST,
    **more: Any,
) -> httpx.Response:
    """Send a manifest, without Content-Type if `media_type` is None. `more` goes to httpx; nothing is asserted."""
    headers = {**more.pop("headers", {}), **({} if media_type is None else {"Content-Type": media_type})}
    return client.put(f"/v2/{repository}/manifests/{reference}", content=content, headers=headers, **more)


def push_manifest(
    client: httpx.Client,
    repository: str,
    content: bytes,
    reference: str | None = None,
    *,
    media_type: str = OCI_MANIFEST,
) -> str:
    """Push a manifest, by digest if `reference` is None, and return its digest."""
    response = put_manifest(client, repository, reference or digest_of(content), content, media_type)
    assert response.status_code == 201, response.text
    return response.headers["docker-content-digest"]


def push_image(client: httpx.Client, repository: str, tag: str | None = None, **fields: Any) -> PushedImage:
    """Push a new image with all that it refers to."""
    image = new_image(**fields)
    for blob in image.blobs:
        push_blob(client, repository, blob)
    push_manifest(client, repository, image.manifest, tag)
    return image


def push_artifact(client: httpx.Client, repository: str, manifest: bytes) -> str:
    """Push an artifact of `artifact_manifest` with the empty blob, and return its digest."""
    push_blob(client, repository, EMPTY)
    return push_manifest(client, repository, manifest)


def pull_manifest(client: httpx.Client, repository: str, reference: str) -> bytes:
    """Pull a manifest, which must be there."""
    response = client.get(f"/v2/{repository}/manifests/{reference}")
    assert response.status_code == 200, response.text
    return response.content


def pieces(content: bytes, size: int = 8192) -> Iterator[bytes]:
    """The content in pieces: httpx sends an iterator with chunked transfer encoding and without Content-Length."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def next_page(response: httpx.Response) -> str | None:
    """The target of the Link header to the next page (RFC 8288), None if there is none."""
    link: str | None = response.headers.get("link")
    if link is None:
        return None
    target, separator, relation = link.partition(">")
    assert target.startswith("<") and separator and relation.strip() == '; rel="next"', link
    return target[1:]


def walk(client: httpx.Client, first: str) -> Iterator[httpx.Response]:
    """Every page of a listing, following Link headers; each page must be 200."""
    target: str | None = first
    for _ in range(1000):
        if target is None:
            return
        response = client.get(target)
        assert response.status_code == 200, response.text
        yield response
        target = next_page(response)
    raise AssertionError(f"the listing {first} does not end")


def errors_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The errors in a body, which must have the specification's form and nothing else (section "Error Codes")."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["errors"] and body["errors"], body
    for error in body["errors"]:
        assert set(error) == {"code", "message", "detail"}, error
        assert isinstance(error["message"], str) and error["message"], error
    errors: list[dict[str, Any]] = body["errors"]
    return errors


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    """Assert that the response refuses with this status and code, in the specification's form; HEAD has no body."""
    assert response.status_code == status, f"{response.status_code} {response.text}"
    assert response.headers["docker-distribution-api-version"] == _API_VERSION
    if response.request.method == "HEAD":
        assert response.content == b""
        return
    assert {error["code"] for error in errors_of(response)} == {code}, response.text
