"""Loading an OCI image layout: all of it is checked, every byte hashed, before anything is written."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from auth.principal import Principal
from registry.db.tags import Why
from registry.errors import BlobUnknown, ManifestInvalid, NameInvalid
from registry.oci.layout import INDEX_FILE, MARKER_FILE, Entry, blob_path, check_marker, names_of, parse_index
from registry.oci.manifests import Manifest, Reference, Role, parse_manifest
from registry.oci.media_types import is_manifest
from registry.oci.names import RepositoryName, Tag
from registry.services.blobs import Blobs, Pushed
from registry.services.layout_readers import LayoutInvalid, LayoutReader, read_all
from registry.services.manifests import ManifestPush, Manifests, Sparse, may_be_missing
from storage.digest import Digest, algorithm_of, digest_bytes, digest_from, is_digest, new_hasher
from storage.driver import BlobDriver

ACTOR = "system:load"
"""Who did it, in events and in the history of tags."""

_MARKER_LIMIT = 64 * 1024
_INDEX_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller wants otherwise than the layout says: the repository of everything, the tags of its one image."""

    repository: RepositoryName | None = None
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class _Content:
    """A manifest of the layout, checked."""

    content: bytes
    manifest: Manifest


@dataclass(slots=True)
class Loaded:
    """Figures. `total` bytes are to be checked, `checked` were; `bytes` of blobs were stored."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    total: int = 0
    checked: int = 0


@dataclass(slots=True)
class _Repository:
    """What goes into one repository: manifests in the order of their being pushed, with tags, and their blobs."""

    manifests: dict[Digest, list[Tag]] = field(default_factory=dict)
    blobs: dict[Digest, None] = field(default_factory=dict)


class Loader:
    """One load. `check` comes before `store`, and writes nothing.

    Args:
        limit: bytes of the largest manifest.
        sparse: what may be missing in the layout.
    """

    def __init__(self, reader: LayoutReader, *, limit: int, sparse: Sparse) -> None:
        self.figures = Loaded()
        self._reader = reader
        self._limit = limit
        self._sparse = sparse
        self._roots: set[Digest] = set()
        self._contents: dict[Digest, _Content] = {}
        self._sizes: dict[Digest, int] = {}
        self._plan: dict[RepositoryName, _Repository] = {}

    def check(self, wishes: Wishes) -> None:
        """Check everything.

        Raises:
            LayoutInvalid: with the one thing that is wrong.
        """
        entries = self._entries()
        self._roots = {entry.digest for entry in entries}
        for name, entry, tags in self._named(entries, wishes):
            repository = self._plan.setdefault(name, _Repository())
            self._add(repository, entry)
            taken = {tag: digest for digest, tags in repository.manifests.items() for tag in tags}
            for tag in tags:
                if taken.get(tag, entry.digest) != entry.digest:
                    raise LayoutInvalid(f"{name}:{tag} would name two things: {taken[tag]} and {entry.digest}")
                if tag not in taken:
                    repository.manifests[entry.digest].append(tag)
        self.figures.total = sum(self._sizes.values())
        for digest in self._sizes:
            self._check_blob(digest)

    async def store(self, blobs: Blobs, manifests: Manifests, driver: BlobDriver) -> Loaded:
        """Store everything that is not there, as pushes would.

        Raises:
            LayoutInvalid: a file was changed since it was checked.
            RegistryError, StorageError: as pushes do.
        """
        for name, repository in self._plan.items():
            for digest in repository.blobs:
                await self._store_blob(blobs, driver, name, digest)
            for digest, tags in repository.manifests.items():
                found = self._contents[digest]
                media_type = found.manifest.media_type
                push = ManifestPush(name, digest, found.content, media_type, tuple(tags), ACTOR, cause=Why.LOAD.value)
                await manifests.push(push)
                self.figures.manifests += 1
                self.figures.tags += len(tags)
            self.figures.repositories += 1
        return self.figures

    def _entries(self) -> list[Entry]:
        if self._reader.size(MARKER_FILE) is None:
            if self._reader.size("manifest.json") is not None:
                raise LayoutInvalid(
                    "it was saved by an older Docker, without an OCI layout in it: "
                    "convert it with `skopeo copy docker-archive:FILE oci:DIR:TAG`"
                )
            raise LayoutInvalid(f"it is no OCI image layout: there is no {MARKER_FILE}")
        try:
            check_marker(read_all(self._reader, MARKER_FILE, _MARKER_LIMIT))
            entries = parse_index(read_all(self._reader, INDEX_FILE, _INDEX_LIMIT))
        except ManifestInvalid as error:
            raise LayoutInvalid(f"{MARKER_FILE} or {INDEX_FILE}: {error.message}") from None
        if not entries:
            raise LayoutInvalid(f"{INDEX_FILE} lists nothing")
        return entries

    def _named(
        self, entries: Sequence[Entry], wishes: Wishes
    ) -> Iterator[tuple[RepositoryName, Entry, tuple[Tag, ...]]]:
        """Say where each entry goes, and which tags it gets."""
        if wishes.tags and len({entry.digest for entry in entries}) > 1:
            raise LayoutInvalid(f"--tag is for a layout with one image in it, {INDEX_FILE} lists {len(entries)}")
        for entry in entries:
            try:
                name, tag = names_of(entry, reserved=wishes.repository is not None)
            except NameInvalid as error:
                if wishes.repository is None:
                    raise LayoutInvalid(error.message) from None
                name, tag = wishes.repository, None
            name = wishes.repository or name
            if name is None:
                raise LayoutInvalid(f"{INDEX_FILE} does not tell the repository of {entry.digest}: say --repository")
            yield name, entry, wishes.tags or (() if tag is None else (tag,))

    def _add(self, repository: _Repository, entry: Entry) -> None:
        """Add a manifest and all it consists of: children first, each once."""
        stack = [(entry.digest, entry.size, entry.media_type, False)]
        while stack:
            digest, size, media_type, expanded = stack.pop()
            if digest in repository.manifests:
                continue
            found = self._manifest(digest, size, media_type)
            if expanded:
                repository.manifests[digest] = []
                continue
            stack.append((digest, size, media_type, True))
            for reference in found.manifest.references:
                child = self._add_reference(repository, digest, reference)
                if child is not None and child.digest not in repository.manifests:
                    stack.append((Digest(child.digest), child.size or 0, child.media_type, False))

    def _add_reference(self, repository: _Repository, holder: Digest, reference: Reference) -> Reference | None:
        """Add a blob, or return the reference if it is to a manifest.

        BuildKit's cache indexes list blobs, JSON among them; what is no manifest by its type is one only if
        `index.json` lists it.
        """
        size = self._reader.size(blob_path(reference.digest)) if is_digest(reference.digest) else None
        if size is None:
            if reference.distributable and not may_be_missing(self._sparse, reference):
                raise LayoutInvalid(f"{reference.digest}, which {holder} needs, is not in it")
            return None
        if reference.size is not None and size != reference.size:
            raise LayoutInvalid(f"{reference.digest} has {size} bytes, {holder} says {reference.size}")
        digest = Digest(reference.digest)
        if reference.role is Role.CHILD and (digest in self._roots or is_manifest(reference.media_type.lower())):
            return reference
        repository.blobs[digest] = None
        self._sizes[digest] = size
        return None

    def _manifest(self, digest: Digest, size: int, media_type: str) -> _Content:
        """Read, hash and parse a manifest."""
        known = self._contents.get(digest)
        if known is not None:
            return known
        content = read_all(self._reader, blob_path(digest), self._limit)
        if len(content) != size:
            raise LayoutInvalid(f"{digest} has {len(content)} bytes, {size} were expected")
        if digest_bytes(content, algorithm_of(digest)) != digest:
            raise LayoutInvalid(f"the bytes of manifest {digest} do not hash to its digest")
        try:
            self._contents[digest] = _Content(content, parse_manifest(content, media_type))
        except ManifestInvalid as error:
            raise LayoutInvalid(f"manifest {digest}: {error.message}") from None
        return self._contents[digest]

    def _check_blob(self, digest: Digest) -> None:
        hasher = new_hasher(algorithm_of(digest))
        for chunk in self._reader.chunks(blob_path(digest)):
            hasher.update(chunk)
            self.figures.checked += len(chunk)
        if digest_from(algorithm_of(digest), hasher) != digest:
            raise LayoutInvalid(f"the bytes of blob {digest} do not hash to its digest")

    async def _store_blob(self, blobs: Blobs, driver: BlobDriver, name: RepositoryName, digest: Digest) -> None:
        """Link a blob that is there, in this repository or another; else store it."""
        with suppress(BlobUnknown):
            await blobs.exists(name, digest)
            return
        if await blobs.mount(name, digest, None, Principal(ACTOR)):
            return
        hasher = new_hasher(algorithm_of(digest))
        upload_id = str(uuid.uuid4())
        state = await driver.create_upload(upload_id)
        writer = await driver.open_upload(upload_id, state, 0, hasher)
        try:
            for chunk in self._reader.chunks(blob_path(digest)):
                await writer.write(chunk)
            await writer.flush()
            if digest_from(algorithm_of(digest), hasher) != digest:
                raise LayoutInvalid(f"blob {digest} was changed while it was read")
            size = writer.offset
            await blobs.store(writer, digest, Pushed(name, ACTOR))
        finally:
            await writer.discard()
        self.figures.blobs += 1
        self.figures.bytes += size
