"""Taking over the manifests of a repository: children before what lists them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from registry.db import candidates, manifests, repositories, takeover
from registry.db.candidates import Cause, Kind
from registry.db.connection import Database, Transaction
from registry.db.stores import Store
from registry.errors import ManifestInvalid
from registry.oci.manifests import SCHEMA_1, Manifest, Reference, Role, parse_manifest
from registry.services.counting import Counting, counting
from registry.services.manifests import ManifestPush, Sparse, may_be_missing, record, resolve
from registry.services.takeover_blobs import BlobTakeover
from registry.services.takeover_report import Reason
from registry.services.takeover_source import Link, Source
from registry.services.together import together
from storage.digest import Digest, algorithm_of, digest_bytes, is_digest
from storage.distribution import key_of
from storage.foreign import Unreadable

ACTOR = "system:import"
"""Who did it, in events and in the history of tags."""

_MOST = 100
_MOST_BYTES = 4 * 1024 * 1024
"""A transaction's manifests: pushes to a server on the same database wait for it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A manifest that was read, hashed and understood."""

    digest: Digest
    content: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How many manifests were recorded, 0 or 1; what is missing of it; why it was left out, if it was."""

    recorded: int = 0
    missing: tuple[Reference, ...] = ()
    reason: Reason | None = None
    message: str = ""


class ManifestTakeover:
    """Records the manifests of a repository. Its layers must have been recorded before.

    Args:
        limit: bytes of the largest manifest that is accepted.
        sparse: what may be missing of one. An index whose children are missing is taken over all the same, and said.
    """

    def __init__(
        self, database: Database, source: Source, store: Store, blobs: BlobTakeover, limit: int, sparse: Sparse
    ) -> None:
        self._database = database
        self._source = source
        self._store = store
        self._blobs = blobs
        self._left_out: set[Digest] = set()
        self._limit = limit
        self._sparse = sparse
        self._batch: list[_Read] = []
        self._bytes = 0

    async def run(self) -> None:
        """Record those that were never recorded."""
        listing: dict[Digest, Link] = {}
        async for page in self._source.digests("_manifests/revisions"):
            await self._run_page(page, listing)
        await self._run_listing(listing)
        await self._flush()

    async def take(self, digests: Sequence[Digest]) -> None:
        """Record those of these manifests that were pushed since they were listed."""
        listing: dict[Digest, Link] = {}
        await self._run_page([digest for digest in digests if digest not in self._left_out], listing)
        await self._run_listing(listing)
        await self._flush()

    async def _run_page(self, page: Sequence[Digest], listing: dict[Digest, Link]) -> None:
        """Record those that were never recorded, and put into `listing` those that list others."""
        known = await takeover.known_manifests(self._database, self._store.id, self._source.name, page)
        new = [digest for digest in page if digest not in known]
        links = await self._source.links("_manifests/revisions", new)
        at_once = self._source.storage.at_once
        for first in range(0, len(links), at_once):
            some = links[first : first + at_once]
            for link, read in zip(some, await together(*map(self._read, some)), strict=True):
                if read is None:
                    continue
                if any(reference.role is Role.CHILD for reference in read.manifest.references):
                    listing[link.digest] = link  # its children may be on a page that is still to come
                else:
                    await self._add(read)

    async def _run_listing(self, listing: dict[Digest, Link]) -> None:
        """Record what lists others, each after those of its children that wait here too."""
        while listing:
            stack = [next(iter(listing))]
            while stack:
                read = await self._read(listing[stack[-1]]) if stack[-1] in listing else None
                waiting = [
                    Digest(reference.digest)
                    for reference in (read.manifest.references if read else ())
                    if reference.role is Role.CHILD and reference.digest in listing
                ]
                if waiting and stack[-1] not in waiting:
                    stack.append(waiting[0])
                    continue
                listing.pop(stack.pop(), None)
                if read is not None:
                    await self._add(read)

    async def _read(self, link: Link) -> _Read | None:
        """Read, hash and parse a manifest, or say why it is left out."""
        key = key_of(link.target)
        [file] = await self._source.storage.read([key], self._limit)
        if file is None:
            self._leave_out(Reason.MANIFEST_MISSING, link.digest, f"{key} is not there")
            return None
        if isinstance(file, Unreadable):
            [size] = await self._source.storage.sizes([key])
            too_large = isinstance(size, int) and size > self._limit
            reason = Reason.MANIFEST_TOO_LARGE if too_large else Reason.UNREADABLE
            self._leave_out(reason, link.digest, file.reason)
            return None
        if digest_bytes(file.content, algorithm_of(link.digest)) != link.digest:
            self._leave_out(Reason.MANIFEST_DAMAGED, link.digest, f"the bytes in {key} do not hash to it")
            return None
        try:
            return _Read(link.digest, file.content, parse_manifest(file.content, None))
        except ManifestInvalid as error:
            reason = Reason.SCHEMA_1 if error.message == SCHEMA_1 else Reason.MANIFEST_INVALID
            self._leave_out(reason, link.digest, error.message)
            return None

    async def _add(self, read: _Read) -> None:
        self._batch.append(read)
        self._bytes += len(read.content)
        if len(self._batch) >= _MOST or self._bytes >= _MOST_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        """Record what was gathered, in one transaction."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch:
            return
        outcomes = await self._record_all(batch)
        late = [one.digest for outcome in outcomes for one in outcome.missing if is_digest(one.digest)]
        if late:  # pushed since the layers were listed, perhaps
            await self._blobs.take([Digest(digest) for digest in dict.fromkeys(late)])
            outcomes = await self._record_all(batch, outcomes)
        for read, outcome in zip(batch, outcomes, strict=True):
            if outcome.reason is not None:
                self._leave_out(outcome.reason, read.digest, outcome.message)
            else:
                self._say_incomplete(read.digest, outcome.missing)
            self._source.report.manifests += outcome.recorded

    async def _record_all(self, batch: Sequence[_Read], before: Sequence[_Outcome] = ()) -> list[_Outcome]:
        """Record manifests; if this was tried `before`, those that were left out then."""

        async def work(transaction: Transaction) -> list[_Outcome]:
            repository_id = await repositories.find_or_create(transaction, self._source.name)
            counted = await counting(transaction, self._source.name, repository_id)
            outcomes = [
                was if was is not None and was.reason is None else await self._record(transaction, counted, read)
                for read, was in itertools.zip_longest(batch, before)
            ]
            done = [read.digest for read, outcome in zip(batch, outcomes, strict=True) if outcome.reason is None]
            await takeover.remember_manifests(transaction, self._store.id, self._source.name, done)
            await counted.settle(transaction, bound=False)  # what was there before may be more than there may be now
            return outcomes

        return await self._database.write(work, durable=False)

    def _leave_out(self, reason: Reason, digest: Digest, message: str) -> None:
        self._left_out.add(digest)
        self._source.leave_out(reason, digest, message)

    def _say_incomplete(self, digest: Digest, missing: Sequence[Reference]) -> None:
        for reference in missing:
            reason = Reason.CHILD_MISSING if reference.role is Role.CHILD else Reason.BLOB_MISSING
            message = f"taken over without {reference.digest}, which is not in the repository"
            self._source.leave_out(reason, digest, message)

    async def _record(self, transaction: Transaction, counted: Counting, read: _Read) -> _Outcome:
        """Record a manifest. Writes nothing where it is left out, since others share the transaction."""
        repository_id = counted.repository_id
        if await manifests.find(transaction, repository_id, read.digest) is not None:
            return _Outcome()
        try:
            edges, missing = await resolve(transaction, repository_id, read.manifest)
        except ManifestInvalid as error:
            return _Outcome(reason=Reason.BLOB_DAMAGED, message=error.message)
        for reference in missing:
            if reference.role is not Role.CHILD and not may_be_missing(self._sparse, reference):
                message = f"it refers to {reference.digest}, which is not in the repository"
                return _Outcome(missing=missing, reason=Reason.BLOB_MISSING, message=message)
        push = ManifestPush(self._source.name, read.digest, read.content, None, (), ACTOR)
        manifest_id = await record(transaction, counted, read.manifest, push, edges)
        # Its tag, if it has one, is set later.
        await candidates.add(transaction, Kind.MANIFEST, repository_id, manifest_id, Cause.UNTAGGED)
        return _Outcome(recorded=1, missing=missing)
