"""Exporting repositories as an OCI image layout: whole indexes, with what refers to them, every byte verified."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from registry.db import blobs, manifests, repositories, tags
from registry.db.connection import Database
from registry.db.manifests import ManifestContent
from registry.errors import BlobUnknown, ManifestUnknown, NameUnknown, Unavailable
from registry.oci.layout import REF_NAME, REPOSITORY, Entry, blob_path, write_index
from registry.oci.manifests import Reference, Role, parse_manifest
from registry.oci.media_types import is_manifest
from registry.oci.names import RepositoryName, Tag
from registry.services.layout_writers import LayoutWriter
from registry.services.stores import Stores
from storage.digest import Digest, algorithm_of, digest_bytes, digest_from, encoded_of, is_digest, new_hasher
from storage.driver import READ_CHUNK, ObjectReader
from storage.errors import ObjectMissing

_PAGE = 1000
_ATTACHED = ("", ".sig", ".att", ".sbom")
"""Ends of the tags under which clients keep what is attached to a manifest, where there is no referrers API."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to export: a repository, all of it, or one tag or digest of it."""

    repository: RepositoryName
    tag: Tag | None = None
    digest: Digest | None = None


@dataclass(slots=True)
class Exported:
    """Figures. `missing`: content that manifests name and that is not in the repository (foreign layers, for one)."""

    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    missing: int = 0


class Exporter:
    """One export. `several`: more than one repository goes into the layout, so tags are written `repository:tag`."""

    def __init__(
        self, database: Database, stores: Stores, writer: LayoutWriter, *, referrers: bool, several: bool
    ) -> None:
        self.figures = Exported()
        self._database = database
        self._stores = stores
        self._writer = writer
        self._referrers = referrers
        self._several = several
        self._entries: dict[tuple[RepositoryName, Tag | None, Digest], Entry] = {}
        self._walked: set[tuple[RepositoryName, Digest]] = set()
        self._written: set[Digest] = set()

    async def add(self, selection: Selection) -> None:
        """Add what was selected.

        Raises:
            NameUnknown, ManifestUnknown: it is not there.
            BlobUnknown, Unavailable: content is missing or damaged.
            OSError: it can't be written.
        """
        name = selection.repository
        if selection.digest is not None:
            found = await manifests.content_by_digest(self._database, name, selection.digest)
            await self._add_root(name, None, self._there(found, f"{name}@{selection.digest}"))
        elif selection.tag is not None:
            found = await manifests.content_by_tag(self._database, name, selection.tag)
            await self._add_root(name, selection.tag, self._there(found, f"{name}:{selection.tag}"))
        else:
            await self._add_repository(name)

    async def finish(self) -> Exported:
        """Write `index.json`, and return the figures."""
        await self._writer.finish(write_index(list(self._entries.values())))
        return self.figures

    async def _add_repository(self, name: RepositoryName) -> None:
        if await repositories.find(self._database, name) is None:
            raise NameUnknown(f"there is no repository {name}")
        last = ""
        while page := await tags.page(self._database, name, after=last, limit=_PAGE):
            for tag in page:
                found = await manifests.content_by_tag(self._database, name, Tag(tag))
                if found is not None:  # else it was deleted a moment ago
                    await self._add_root(name, Tag(tag), found)
            last = page[-1]
        after = 0
        while listed := await manifests.roots(self._database, name, after=after, limit=_PAGE):
            after = listed[-1][0]
            for _, digest, is_referrer in listed:
                if (name, digest) in self._walked or (is_referrer and not self._referrers):
                    continue
                found = await manifests.content_by_digest(self._database, name, digest)
                if found is not None:
                    await self._add_root(name, None, found)

    @staticmethod
    def _there(found: ManifestContent | None, what: str) -> ManifestContent:
        if found is None:
            raise ManifestUnknown(f"there is no {what}")
        return found

    async def _add_root(self, name: RepositoryName, tag: Tag | None, found: ManifestContent) -> None:
        annotations = {REPOSITORY: str(name)}
        if tag is not None:
            annotations[REF_NAME] = f"{name}:{tag}" if self._several else str(tag)
        key = (name, tag, found.digest)
        if key in self._entries:
            return
        self._entries[key] = Entry(found.digest, len(found.content), found.media_type, annotations)
        self.figures.tags += tag is not None
        await self._walk(name, found)

    async def _walk(self, name: RepositoryName, root: ManifestContent) -> None:
        """Write a manifest, all it consists of, and what refers to any of that."""
        stack = [root]
        while stack:
            found = stack.pop()
            if (name, found.digest) in self._walked:
                continue
            self._walked.add((name, found.digest))
            await self._write_manifest(name, found)
            for reference in parse_manifest(found.content, found.media_type).references:
                child = await self._add_reference(name, found.digest, reference)
                if child is not None:
                    stack.append(child)
                    if not is_manifest(child.media_type):  # who loads it would take it for a blob
                        self._note(name, child, None)
            if self._referrers:
                stack += await self._attached(name, found.digest)

    async def _write_manifest(self, name: RepositoryName, found: ManifestContent) -> None:
        if found.digest in self._written:
            return
        if digest_bytes(found.content, algorithm_of(found.digest)) != found.digest:
            raise Unavailable(f"manifest {found.digest} of {name} is damaged: its bytes do not hash to its digest")
        self._written.add(found.digest)
        await self._writer.add(blob_path(found.digest), len(found.content), _in_one(found.content))
        self.figures.manifests += 1

    async def _add_reference(
        self, name: RepositoryName, holder: Digest, reference: Reference
    ) -> ManifestContent | None:
        """Write a blob, or return the manifest that is meant."""
        if not is_digest(reference.digest):
            self.figures.missing += 1
            return None
        digest = Digest(reference.digest)
        if reference.role is Role.CHILD:
            child = await manifests.content_by_digest(self._database, name, digest)
            if child is not None:
                return child
        linked = await blobs.find_linked(self._database, name, digest)
        if linked is None:
            self.figures.missing += 1
        elif digest not in self._written:
            if linked.blob.state != blobs.GOOD:
                raise BlobUnknown(f"blob {digest} of {name}, which {holder} needs, is damaged")
            self._written.add(digest)
            await self._write_blob(name, linked.blob)
        return None

    async def _write_blob(self, name: RepositoryName, blob: blobs.Blob) -> None:
        try:
            reader = await (await self._stores.driver_of(blob.store)).open(blob.key)
        except ObjectMissing:
            raise BlobUnknown(f"blob {blob.digest} of {name} is not in the storage") from None
        try:
            if reader.size != blob.size:
                raise BlobUnknown(f"blob {blob.digest} of {name} has {reader.size} bytes, it should have {blob.size}")
            await self._writer.add(blob_path(blob.digest), blob.size, self._verified(name, blob, reader))
        finally:
            reader.close()
        self.figures.blobs += 1

    async def _verified(self, name: RepositoryName, blob: blobs.Blob, reader: ObjectReader) -> AsyncIterator[bytes]:
        hasher = new_hasher(algorithm_of(blob.digest))
        for offset in range(0, blob.size, READ_CHUNK):
            content = await reader.read(offset, min(READ_CHUNK, blob.size - offset))
            hasher.update(content)
            self.figures.bytes += len(content)
            yield content
        if digest_from(algorithm_of(blob.digest), hasher) != blob.digest:
            raise BlobUnknown(f"blob {blob.digest} of {name} is damaged: its bytes do not hash to its digest")

    async def _attached(self, name: RepositoryName, digest: Digest) -> Iterable[ManifestContent]:
        """Find what refers to a manifest, and make entries of it: nothing else in the layout leads there."""
        found: list[ManifestContent] = []
        after = 0
        while page := await manifests.referrers(
            self._database, name, digest, artifact_type=None, after=after, limit=_PAGE
        ):
            after = page[-1][0]
            for _, text in page:
                descriptor = json.loads(text)
                referrer = await manifests.content_by_digest(self._database, name, descriptor["digest"])
                if referrer is not None:
                    self._note(name, referrer, descriptor.get("artifactType"))
                    found.append(referrer)
        for end in _ATTACHED:
            tag = Tag(f"{algorithm_of(digest)}-{encoded_of(digest)[:64]}{end}")
            tagged = await manifests.content_by_tag(self._database, name, tag)
            if tagged is not None:
                annotations = {REPOSITORY: str(name), REF_NAME: f"{name}:{tag}" if self._several else str(tag)}
                entry = Entry(tagged.digest, len(tagged.content), tagged.media_type, annotations)
                if self._entries.setdefault((name, tag, tagged.digest), entry) is entry:
                    self.figures.tags += 1
                found.append(tagged)
        return found

    def _note(self, name: RepositoryName, found: ManifestContent, artifact_type: str | None) -> None:
        """Make an entry of what has no tag."""
        entry = Entry(found.digest, len(found.content), found.media_type, {REPOSITORY: str(name)}, artifact_type)
        self._entries.setdefault((name, None, found.digest), entry)


async def _in_one(content: bytes) -> AsyncIterator[bytes]:
    yield content
