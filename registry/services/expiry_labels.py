"""When a tag is to go by itself: the label `quay.expires-after`, as Quay has it.

An annotation of the manifest says it, or a label in the image's config. An index without the annotation has what all
its platforms' images say alike.
"""

import json
import logging
import re
from collections import OrderedDict
from contextlib import closing
from typing import Any, NamedTuple

from registry.db import manifests
from registry.db.connection import Database
from registry.errors import BlobUnknown, ManifestInvalid
from registry.oci import media_types
from registry.oci.manifests import Manifest, Reference, Role, parse_manifest
from registry.oci.names import RepositoryName
from registry.services.blobs import Blobs
from storage.contents import LARGEST
from storage.digest import Digest
from storage.errors import StorageError

LABEL = "quay.expires-after"

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LIFETIME = re.compile(r"\s*([0-9]{1,9})\s*([smhdw])\s*").fullmatch
_LONGEST_S = 100 * 365 * 86400
_CONFIGS = frozenset({media_types.OCI_CONFIG, media_types.DOCKER_CONFIG})
_MOST_CHILDREN = 64
_MOST_KNOWN = 10_000

logger = logging.getLogger("stowage.retention")


class _Said(NamedTuple):
    """What a config says. `is_image`: it is of a platform; BuildKit's attestations are of none."""

    value: str | None
    is_image: bool


_NOTHING = _Said(None, is_image=True)


def parse_lifetime(text: str) -> int | None:
    """Return the microseconds that a label's value stands for (`90s`, `15m`, `12h`, `3d`, `2w`), None if none."""
    found = _LIFETIME(text[:40])
    if found is None:
        return None
    seconds = int(found[1]) * _UNITS_S[found[2]]
    return seconds * 1_000_000 if 0 < seconds <= _LONGEST_S else None


def label_of(config: bytes) -> _Said:
    """Return what an image's config says. What is no config says nothing."""
    if LABEL.encode() not in config and b"unknown" not in config:  # without parsing most of them
        return _NOTHING
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        return _NOTHING
    if not isinstance(document, dict):
        return _NOTHING
    is_image = not document.get("os") == document.get("architecture") == "unknown"
    value = _at(_at(_at(document, "config"), "Labels"), LABEL)
    return _Said(value if isinstance(value, str) else None, is_image)


class ExpiryLabels:
    """Finds the label of what is pushed. Configs that were looked at are remembered by their digests."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs
        self._known: OrderedDict[str, _Said] = OrderedDict()

    async def lifetime(self, repository: RepositoryName, manifest: Manifest) -> int | None:
        """Return for how many microseconds a tag of a manifest lasts, None for ever."""
        value = manifest.annotations.get(LABEL)
        if value is None and media_types.is_image(manifest.media_type):
            value = (await self._said_by_config(repository, manifest)).value
        elif value is None and media_types.is_index(manifest.media_type):
            value = await self._said_by_all(repository, manifest)
        return None if value is None else parse_lifetime(value)

    async def _said_by_config(self, repository: RepositoryName, manifest: Manifest) -> _Said:
        config = next((one for one in manifest.references if one.role is Role.CONFIG), None)
        if config is None or config.media_type not in _CONFIGS or (config.size or 0) > LARGEST:
            return _NOTHING
        known = self._known.get(config.digest)
        if known is None:
            content = await self._read(repository, config)
            if content is None:
                return _NOTHING
            known = self._known[config.digest] = label_of(content)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return known

    async def _said_by_all(self, repository: RepositoryName, index: Manifest) -> str | None:
        """Return the label that all images of an index have, None if one has another, or none."""
        children = [one for one in index.references if media_types.is_image(one.media_type)]
        values: set[str | None] = set()
        for child in children[:_MOST_CHILDREN]:
            found = await manifests.content_by_digest(self._database, repository, Digest(child.digest))
            if found is None:
                return None
            try:
                manifest = parse_manifest(found.content, found.media_type)
            except ManifestInvalid:  # by rules that came later
                return None
            said = await self._said_by_config(repository, manifest)
            if said.is_image:
                values.add(said.value)
            if len(values) > 1 or None in values:
                return None
        return values.pop() if values else None

    async def _read(self, repository: RepositoryName, config: Reference) -> bytes | None:
        """Return a config's bytes, None where they can't be had: the push is not refused for that."""
        try:
            with closing(await self._blobs.open(repository, Digest(config.digest))) as reader:
                if reader.size > LARGEST:
                    return None
                now = reader.read_now(0, reader.size)
                return await reader.read(0, reader.size) if now is None else now
        except BlobUnknown:
            return None
        except StorageError as error:
            logger.warning("the label %s of a push to %s can't be read: %s", LABEL, repository, error)
            return None


def _at(document: Any, key: str) -> Any:
    return document.get(key) if isinstance(document, dict) else None
