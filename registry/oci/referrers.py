"""What the referrers API answers with. Source: distribution-spec, "Listing Referrers"."""

from collections.abc import Iterable
from typing import Any

from registry.oci.manifests import Manifest
from registry.oci.media_types import OCI_INDEX

_HEAD = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":['


def descriptor_of(manifest: Manifest, digest: str, size: int) -> dict[str, Any]:
    """Return the descriptor of a referrer, JSON-serialisable.

    `digest` and `size` (bytes) are those of the referrer. `artifactType` is left out where the specification says so:
    for an index without one. `annotations` are the manifest's own, left out when there are none.
    """
    descriptor: dict[str, Any] = {"mediaType": manifest.media_type, "digest": digest, "size": size}
    if manifest.artifact_type:
        descriptor["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        descriptor["annotations"] = manifest.annotations
    return descriptor


def index_of(descriptors: Iterable[str]) -> bytes:
    """Return an OCI image index as JSON.

    `descriptors`: one JSON object each, already serialised; they are joined, not parsed again.
    """
    return f"{_HEAD}{','.join(descriptors)}]}}".encode()
