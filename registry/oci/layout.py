"""OCI image layouts: what their files say. Source: image-spec 1.1, image-layout.md; annotations.md.

Several repositories may share one layout. Each entry of `index.json` tells its repository in `io.stowage.repository`;
its `org.opencontainers.image.ref.name` is the tag, or `repository:tag` where there are several repositories.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from registry.errors import ManifestInvalid
from registry.oci.descriptors import annotations_of, parse_descriptor
from registry.oci.media_types import OCI_INDEX
from registry.oci.names import RepositoryName, Tag, is_tag, parse_repository
from registry.oci.strict_json import load_object
from storage.digest import Digest, is_digest

MARKER_FILE = "oci-layout"
INDEX_FILE = "index.json"
MARKER = b'{"imageLayoutVersion":"1.0.0"}'

REF_NAME = "org.opencontainers.image.ref.name"
REPOSITORY = "io.stowage.repository"
_CONTAINERD_NAME = "io.containerd.image.name"
"""What docker and containerd write: HOST/NAME:TAG in full."""

MOST_ENTRIES = 200_000
"""Entries of an `index.json`; each is an object with an object of annotations in it."""
_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Entry:
    """A descriptor of `index.json`: a manifest, its size in bytes, and what its annotations say."""

    digest: Digest
    size: int
    media_type: str
    annotations: dict[str, str] = field(default_factory=dict)
    artifact_type: str | None = None


def blob_path(digest: str) -> str:
    """Return where a layout keeps content."""
    return f"blobs/{digest.replace(':', '/')}"


def write_index(entries: list[Entry]) -> bytes:
    """Return `index.json`."""
    manifests: list[dict[str, Any]] = []
    for entry in entries:
        one: dict[str, Any] = {"mediaType": entry.media_type, "digest": entry.digest, "size": entry.size}
        if entry.artifact_type:
            one["artifactType"] = entry.artifact_type
        if entry.annotations:
            one["annotations"] = entry.annotations
        manifests.append(one)
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}, indent=1).encode()


def check_marker(content: bytes) -> None:
    """Raise ManifestInvalid unless this is an `oci-layout` file of the version that is known."""
    version = load_object(content).get("imageLayoutVersion")
    if version != _VERSION:
        raise ManifestInvalid(f"imageLayoutVersion is {str(version)[:40]!r}, only {_VERSION} is known")


def parse_index(content: bytes) -> list[Entry]:
    """Return the entries of an `index.json`. Raises ManifestInvalid, which names the field."""
    document = load_object(content, max_containers=5 * MOST_ENTRIES)
    manifests = document.get("manifests")
    if not isinstance(manifests, list):
        raise ManifestInvalid("manifests: must be a list of descriptors")
    if len(manifests) > MOST_ENTRIES:
        raise ManifestInvalid(f"manifests: {len(manifests)} entries, at most {MOST_ENTRIES} are read")
    entries: list[Entry] = []
    for number, value in enumerate(manifests):
        where = f"manifests[{number}]"
        found = parse_descriptor(value, where)
        if not is_digest(found.digest) or found.size is None:
            raise ManifestInvalid(f"{where}.digest: only sha256 and sha512 are supported")
        annotations = annotations_of(value, f"{where}.")
        entries.append(Entry(Digest(found.digest), found.size, found.media_type, annotations))
    return entries


def names_of(entry: Entry, *, reserved: bool = False) -> tuple[RepositoryName | None, Tag | None]:
    """Return repository and tag that an entry's annotations tell, each None if they don't.

    `reserved`: names that stand for moments are names like others. Raises NameInvalid if they tell a repository that
    can't be one.
    """
    ref, full = entry.annotations.get(REF_NAME, ""), entry.annotations.get(_CONTAINERD_NAME, "")
    stated = entry.annotations.get(REPOSITORY)
    if stated is not None:
        repository = parse_repository(stated, reserved=reserved)
        tag = ref.removeprefix(f"{repository}:")
        return repository, Tag(tag) if is_tag(tag) else None
    name, tag = _split(full if full else "" if is_tag(ref) else ref)
    return (parse_repository(name) if name else None), Tag(ref) if is_tag(ref) else Tag(tag) if is_tag(tag) else None


def _split(reference: str) -> tuple[str, str]:
    """Split HOST/NAME:TAG, without the host; a part that is not there is empty."""
    reference = reference.partition("@")[0]
    folders, _, last = reference.rpartition("/")
    last, _, tag = last.partition(":")
    name = f"{folders}/{last}" if folders else last
    host, slash, rest = name.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        name = rest
    return name, tag
