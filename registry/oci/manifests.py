"""What a manifest says: its type, what it refers to, and what the referrers API must show of it.

Manifests of known types are checked in full. Of any other type every JSON object is accepted, and what looks like a
descriptor in the well-known fields is read, so that deleting and collecting respect what it refers to.
Sources: image-spec 1.1, manifest.md and image-index.md; Docker image manifest v2, schema 2.
"""

import enum
from dataclasses import dataclass
from typing import Any

from registry.errors import ManifestInvalid
from registry.oci import media_types
from registry.oci.descriptors import Descriptor, annotations_of, guess_descriptor, media_type_of, parse_descriptor
from registry.oci.strict_json import load_object

__all__ = ["SCHEMA_1", "Manifest", "Reference", "Role", "parse_manifest"]


class Role(enum.StrEnum):
    """Which field of the manifest a reference stands in: `config`, `layers`, `manifests` or `blobs`."""

    CONFIG = "config"
    LAYER = "layer"
    CHILD = "child"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class Reference:
    """Content that a manifest is made of.

    `digest` is well-formed, of any algorithm. `size` is in bytes. Where a manifest of an unknown type does not tell
    them, `size` is None and `media_type` is "". `position` counts a manifest's references from 0, without gaps.
    Content that is not `distributable` may be absent from the registry. A CHILD is a manifest in most cases, but
    BuildKit's cache indexes point at layers: look among manifests first, then among blobs.
    """

    role: Role
    digest: str
    size: int | None
    media_type: str
    position: int
    distributable: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was checked.

    `media_type` has no parameters. `artifact_type` is what the referrers API shows: an image manifest that has none
    shows the media type of its config. `subject` is a well-formed digest. `references` stand in the manifest's order:
    config, layers, blobs, manifests; the same digest in the same role appears once.
    """

    media_type: str
    artifact_type: str | None
    subject: str | None
    annotations: dict[str, str]
    references: tuple[Reference, ...]


_ROLES = {"config": Role.CONFIG, "layers": Role.LAYER, "blobs": Role.BLOB, "manifests": Role.CHILD}
# What tools send when nobody told them the type, curl's default among them: as good as no Content-Type.
_GENERIC = frozenset({"application/json", "application/octet-stream", "application/x-www-form-urlencoded"})
SCHEMA_1 = (
    "schemaVersion: schema 1 manifests are not supported: push with Docker 1.10 or newer, or with a client that writes"
    " OCI image manifests"
)


def parse_manifest(content: bytes, content_type: str | None, *, max_references: int = 20_000) -> Manifest:
    """Check the bytes of a manifest and return what it says.

    `content_type`: the header as it came, None if there was none; it decides the type, unless it is a generic one.
    Raises ManifestInvalid, and nothing else, with a message that names the field.
    """
    document = load_object(content)
    media_type = _type_of(document, content_type)
    entries = sum(len(value) for name in _ROLES if isinstance(value := document.get(name), list))
    if entries + isinstance(document.get("config"), dict) > max_references:
        raise ManifestInvalid(f"the manifest has more than {max_references} references: split it into several")
    if media_types.is_image(media_type):
        return _parse_image(document, media_type)
    if media_types.is_index(media_type):
        return _parse_index(document, media_type)
    if media_type == media_types.OCI_ARTIFACT:
        return _parse_artifact(document, media_type)
    return _parse_unknown(document, media_type)


def _parse_image(document: dict[str, Any], media_type: str) -> Manifest:
    _require_schema_2(document)
    _refuse(document, "manifests", of="an image manifest")
    config = parse_descriptor(document.get("config"), "config")
    references = _References()
    references.add(Role.CONFIG, "config", config)
    references.add_list(document, "layers", required=True)
    return Manifest(
        media_type=media_type,
        artifact_type=_artifact_type(document) or config.media_type,
        subject=_subject(document),
        annotations=annotations_of(document, ""),
        references=references.in_order(),
    )


def _parse_index(document: dict[str, Any], media_type: str) -> Manifest:
    _require_schema_2(document)
    _refuse(document, "config", of="an index")
    _refuse(document, "layers", of="an index")
    references = _References()
    references.add_list(document, "manifests", required=True)
    return Manifest(
        media_type=media_type,
        artifact_type=_artifact_type(document),
        subject=_subject(document),
        annotations=annotations_of(document, ""),
        references=references.in_order(),
    )


def _parse_artifact(document: dict[str, Any], media_type: str) -> Manifest:
    """Source: image-spec 1.1.0-rc2, artifact.md; withdrawn before 1.1, still written by clients of that time."""
    references = _References()
    references.add_list(document, "blobs", required=False)
    return Manifest(
        media_type=media_type,
        artifact_type=_artifact_type(document),
        subject=_subject(document),
        annotations=annotations_of(document, ""),
        references=references.in_order(),
    )


def _parse_unknown(document: dict[str, Any], media_type: str) -> Manifest:
    references = _References()
    for name, role in _ROLES.items():
        value = document.get(name)
        for entry in value if isinstance(value, list) else [value]:
            if descriptor := guess_descriptor(entry):
                references.keep(role, descriptor)
    subject = guess_descriptor(document.get("subject"))
    try:
        artifact_type = _artifact_type(document)
    except ManifestInvalid:
        artifact_type = None
    try:
        annotations = annotations_of(document, "")
    except ManifestInvalid:
        annotations = {}
    return Manifest(
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject.digest if subject else None,
        annotations=annotations,
        references=references.in_order(),
    )


class _References:
    """References in the making: checked, and each digest once a role."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Role, str], Reference] = {}
        self._sizes: dict[str, int | None] = {}

    def add_list(self, document: dict[str, Any], name: str, *, required: bool) -> None:
        """Add a list of descriptors. `null` is how Go programs write an empty list."""
        if required and name not in document:
            raise ManifestInvalid(f"{name}: missing, expected a list of descriptors")
        value = document.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise ManifestInvalid(f"{name}: must be a list of descriptors")
        role = _ROLES[name]
        for index, entry in enumerate(value):
            where = f"{name}[{index}]"
            self.add(role, where, parse_descriptor(entry, where))

    def add(self, role: Role, where: str, descriptor: Descriptor) -> None:
        """Add one, unless the manifest gave the same digest another size before: no client could pull that."""
        known = self._sizes.setdefault(descriptor.digest, descriptor.size)
        if known != descriptor.size:
            raise ManifestInvalid(f"{where}.size: is {descriptor.size}, but was {known} for the same digest before")
        self.keep(role, descriptor)

    def keep(self, role: Role, descriptor: Descriptor) -> None:
        """Add one, or make it distributable if it was seen as something that may be absent."""
        distributable = role is Role.CONFIG or media_types.is_distributable(descriptor.media_type)
        key = (role, descriptor.digest)
        before = self._kept.get(key)
        if before is None or (distributable and not before.distributable):
            position = len(self._kept) if before is None else before.position
            self._kept[key] = Reference(
                role, descriptor.digest, descriptor.size, descriptor.media_type, position, distributable
            )

    def in_order(self) -> tuple[Reference, ...]:
        return tuple(self._kept.values())


def _type_of(document: dict[str, Any], content_type: str | None) -> str:
    """Return the media type: Content-Type, else the field `mediaType`, else what the fields look like."""
    declared = media_types.without_parameters(content_type) if content_type and not content_type.isspace() else None
    if declared in _GENERIC:
        declared = None
    written = document.get("mediaType")
    if written is not None and not isinstance(written, str):
        raise ManifestInvalid("mediaType: must be a string")
    if written and not media_types.is_media_type(written.lower()):
        raise ManifestInvalid(f"mediaType: {written[:80]!r} is not a media type (type/subtype, RFC 6838)")
    if written and declared and written.lower() != declared:
        raise ManifestInvalid(f"mediaType: is {written!r}, but the Content-Type header says {declared!r}")
    media_type = declared or (written.lower() if written else None) or _inferred_type(document)
    if media_type in media_types.SCHEMA1:
        raise ManifestInvalid(SCHEMA_1)
    # Types are the same in any case, but clients compare the header they are served with the field, letter by letter.
    return written if written and not media_types.is_manifest(media_type) else media_type


def _inferred_type(document: dict[str, Any]) -> str:
    version = document.get("schemaVersion")
    if type(version) is int and version == 1:
        raise ManifestInvalid(SCHEMA_1)
    manifests = document.get("manifests", 0)
    if isinstance(manifests, list) or (manifests is None and "config" not in document):
        return media_types.OCI_INDEX
    if isinstance(document.get("config"), dict) and isinstance(document.get("layers", 0), list | None):
        return media_types.OCI_MANIFEST
    raise ManifestInvalid(
        "mediaType: missing, and this looks like neither image nor index: set the Content-Type header to its type"
    )


def _require_schema_2(document: dict[str, Any]) -> None:
    version = document.get("schemaVersion")
    if type(version) is not int or version not in (1, 2):
        raise ManifestInvalid("schemaVersion: must be 2")
    if version == 1:
        raise ManifestInvalid(SCHEMA_1)


def _refuse(document: dict[str, Any], name: str, *, of: str) -> None:
    """Refuse what one client would run as an image and another as an index (GHSA-mc8v-mgrf-8f4m)."""
    if document.get(name) is not None:
        raise ManifestInvalid(f"{name}: {of} must not have this field; is the Content-Type right?")


def _artifact_type(document: dict[str, Any]) -> str | None:
    value = document.get("artifactType")
    return None if value is None or value == "" else media_type_of(value, "artifactType")


def _subject(document: dict[str, Any]) -> str | None:
    value = document.get("subject")
    return None if value is None else parse_descriptor(value, "subject").digest
