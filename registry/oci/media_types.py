"""Media types that a registry has to know, and what can be said about one.

Sources: image-spec, media-types.md; Docker image manifest v2, schema 2. Types are compared in lower case.
"""

import re

from registry.errors import ManifestInvalid

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

MAX_MEDIA_TYPE = 255

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
MANIFESTS = INDEXES | IMAGES | SCHEMA1 | {OCI_ARTIFACT}

NON_DISTRIBUTABLE = frozenset(
    {
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd",
    }
)

# RFC 6838, section 4.2: restricted-name. Every such name is a token of RFC 9110, section 5.6.2.
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}").fullmatch


def is_index(media_type: str) -> bool:
    """Say whether this is an OCI index or a Docker manifest list."""
    return media_type in INDEXES


def is_image(media_type: str) -> bool:
    """Say whether this is an OCI image manifest or Docker's schema 2."""
    return media_type in IMAGES


def is_manifest(media_type: str) -> bool:
    """Say whether this type is known to be a manifest, Docker's schema 1 included though no push of it is accepted.

    False says little: any type may be pushed as a manifest.
    """
    return media_type in MANIFESTS


def is_distributable(media_type: str) -> bool:
    """Say whether content of this type belongs in a registry: False for layers that are fetched from elsewhere."""
    return media_type not in NON_DISTRIBUTABLE


def is_media_type(text: str) -> bool:
    """Say whether `text` is `type/subtype` in lower case, without parameters."""
    return _MEDIA_TYPE(text) is not None


def without_parameters(content_type: str) -> str:
    """Return `type/subtype` of a Content-Type, in lower case and without parameters.

    At most 255 characters remain. Raises ManifestInvalid if they are no media type (RFC 6838, section 4.2).
    """
    media_type = content_type.partition(";")[0].strip(" \t").lower()
    if _MEDIA_TYPE(media_type) is None:
        raise ManifestInvalid(f"Content-Type: {content_type[:80]!r} is not a media type (type/subtype, RFC 6838)")
    return media_type
