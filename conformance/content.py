"""Content made for the checks: random blobs, and manifests of every kind as bytes.

Sources: OCI image-spec 1.1 (`manifest.md`, `image-index.md`, `descriptor.md`), Docker's manifest version 2, schema 2.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
UNKNOWN_MANIFEST = "application/vnd.example.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFEST_TYPES = (IMAGE, INDEX, DOCKER_MANIFEST, DOCKER_LIST, UNKNOWN_MANIFEST)
"""All media types that the checks push manifests with."""

JSON = dict[str, Any]


@dataclass(frozen=True)
class Blob:
    """Bytes and the algorithm that names them."""

    data: bytes
    algorithm: str = "sha256"

    @cached_property
    def digest(self) -> str:
        """ALGORITHM:HEX."""
        return digest_of(self.data, self.algorithm)

    def descriptor(self, media_type: str, **more: Any) -> JSON:
        """A descriptor of the blob, with more fields when given."""
        return {"mediaType": media_type, "digest": self.digest, "size": len(self.data), **more}


@dataclass(frozen=True)
class Manifest:
    """A manifest as it is sent, with all that must be in the repository before it."""

    data: bytes
    media_type: str
    blobs: tuple[Blob, ...] = ()
    children: tuple["Manifest", ...] = ()
    algorithm: str = "sha256"

    @cached_property
    def digest(self) -> str:
        """ALGORITHM:HEX."""
        return digest_of(self.data, self.algorithm)

    @property
    def json(self) -> JSON:
        """The manifest as an object."""
        value: JSON = json.loads(self.data)
        return value

    def descriptor(self, **more: Any) -> JSON:
        """A descriptor of the manifest, with more fields when given."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **more}


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of some bytes, as ALGORITHM:HEX."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def absent_digest(algorithm: str = "sha256") -> str:
    """A digest of bytes that no registry has."""
    return digest_of(os.urandom(32), algorithm)


def blob(size: int = 1024, algorithm: str = "sha256") -> Blob:
    """Random bytes."""
    return Blob(os.urandom(size), algorithm)


def config(algorithm: str = "sha256") -> Blob:
    """An image's config that no other image has."""
    value = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"org.example.unique": os.urandom(8).hex()}},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return Blob(json.dumps(value).encode(), algorithm)


def encode(value: JSON) -> bytes:
    """JSON as a client may write it: indented, not sorted, a newline at the end. Nothing normalises to it by chance."""
    return json.dumps(value, indent=3).encode() + b"\n"


def image(
    *,
    layers: int = 1,
    config_type: str = CONFIG,
    layer_type: str = LAYER,
    media_type: str = IMAGE,
    algorithm: str = "sha256",
    **more: Any,
) -> Manifest:
    """An image manifest over a config and layers of its own. `more`: fields such as `subject` or `annotations`."""
    base = config(algorithm)
    pushed = [blob(256, algorithm) for _ in range(layers)]
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": base.descriptor(config_type),
        "layers": [layer.descriptor(layer_type) for layer in pushed],
        **more,
    }
    return Manifest(encode(value), media_type, (base, *pushed), (), algorithm)


def artifact(artifact_type: str = "application/vnd.example.sbom.v1", **more: Any) -> Manifest:
    """An artifact as image-spec 1.1 packages it: an image manifest with `artifactType` and the empty config."""
    empty, content = Blob(b"{}"), blob(64)
    value = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": artifact_type,
        "config": empty.descriptor(EMPTY, data="e30="),
        "layers": [content.descriptor("application/vnd.example.sbom.text")],
        **more,
    }
    return Manifest(encode(value), IMAGE, (empty, content))


def index(children: Sequence[Manifest], *, media_type: str = INDEX, algorithm: str = "sha256", **more: Any) -> Manifest:
    """An index of manifests. `more`: fields such as `subject` or `annotations`."""
    architectures = ["amd64", "arm64", "s390x", "ppc64le"]
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [
            child.descriptor(platform={"os": "linux", "architecture": architectures[i % len(architectures)]})
            for i, child in enumerate(children)
        ],
        # Two empty indexes are to be two manifests.
        "annotations": {"org.example.unique": os.urandom(8).hex()},
        **more,
    }
    if media_type == DOCKER_LIST:
        del value["annotations"]
    return Manifest(encode(value), media_type, (), tuple(children), algorithm)


def docker_image() -> Manifest:
    """A manifest of Docker's schema 2."""
    return image(media_type=DOCKER_MANIFEST, config_type=DOCKER_CONFIG, layer_type=DOCKER_LAYER)


def padded(size: int) -> Manifest:
    """An index without manifests that is exactly `size` bytes long."""
    value: JSON = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"org.example.padding": ""}}
    missing = size - len(encode(value))
    value["annotations"]["org.example.padding"] = os.urandom((missing + 1) // 2).hex()[:missing]
    return Manifest(encode(value), INDEX)
