"""Taking over the layers of a repository: where they lie, or copied into the registry's own storage."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from registry.db import blobs, repositories, takeover
from registry.db.connection import Database, Transaction
from registry.db.stores import Store
from registry.db.takeover import NewBlob, StoredBlob
from registry.errors import Unavailable
from registry.services.counting import counting, resized
from registry.services.takeover_report import Reason, Report
from registry.services.takeover_source import Source
from registry.services.together import together
from storage.digest import Digest, algorithm_of, digest_from, new_hasher, new_key
from storage.distribution import key_of
from storage.driver import READ_CHUNK, BlobDriver, ObjectReader
from storage.errors import StorageError
from storage.foreign import Unreadable

_COPIED_AT_ONCE = 4


class _Layer(NamedTuple):
    """A layer that is there: the digest it is linked by, its size in bytes, and its key in the other storage."""

    digest: Digest
    size: int
    key: str


class Copied(NamedTuple):
    """Where a blob was copied to, or why it was not."""

    key: str
    fault: str


class Copier:
    """Copies blobs out of another registry's storage, and hashes them on the way.

    Args:
        foreign: the other storage, for reading.
        own: where the bytes go.
    """

    def __init__(self, foreign: BlobDriver, own: BlobDriver, report: Report) -> None:
        self.own = own
        self._foreign = foreign
        self._report = report

    async def copy(self, digest: Digest, key: str) -> Copied:
        """Copy an object, if its bytes can be read and hash to the digest.

        Raises:
            Unavailable: the registry's own storage does not take them.
        """
        try:
            reader = await self._foreign.open(key)
        except StorageError as error:
            return Copied("", str(error))
        return await copy_in(self.own, digest, reader, self._report)


async def copy_in(own: BlobDriver, digest: Digest, reader: ObjectReader, report: Report) -> Copied:
    """Copy what a reader gives into the registry's own storage, if it hashes to the digest, and close the reader.

    Raises:
        Unavailable: the registry's own storage does not take it.
    """
    try:
        return await _copy_in(own, digest, reader, report)
    finally:
        reader.close()


async def _copy_in(own: BlobDriver, digest: Digest, reader: ObjectReader, report: Report) -> Copied:
    upload_id = str(uuid.uuid4())
    hasher = new_hasher(algorithm_of(digest))
    with _own_errors():
        state = await own.create_upload(upload_id)
        writer = await own.open_upload(upload_id, state, 0, hasher)
    try:
        for offset in range(0, reader.size, READ_CHUNK):
            try:
                content = await reader.read(offset, min(READ_CHUNK, reader.size - offset))
            except StorageError as error:
                return Copied("", str(error))
            with _own_errors():
                await writer.write(content)
            report.bytes_copied += len(content)
        with _own_errors():
            await writer.flush()
        if digest_from(algorithm_of(digest), hasher) != digest:
            return Copied("", "its bytes do not hash to its digest")
        with _own_errors():
            return Copied(await writer.publish(new_key(digest)), "")
    finally:
        await writer.discard()


@contextmanager
def _own_errors() -> Iterator[None]:
    """Tell errors of the registry's own storage, which end the run, from those of the other."""
    try:
        yield
    except StorageError as error:
        raise Unavailable(f"the registry's own storage: {error}") from error


class BlobTakeover:
    """Records the layers that a repository links, in pages: each is visible as soon as its page is."""

    def __init__(self, database: Database, source: Source, store: Store, copier: Copier | None) -> None:
        self._database = database
        self._source = source
        self._store = store
        self._copier = copier

    async def run(self) -> None:
        """Record those that are not recorded yet."""
        async for page in self._source.digests("_layers"):
            await self.take(page)

    async def take(self, digests: Sequence[Digest]) -> None:
        """Record those of these layers that are there and not recorded yet."""
        known = await takeover.linked(self._database, self._source.name, digests)
        layers = await self._look([digest for digest in digests if not self._is_done(known.get(digest))])
        if self._copier is None:
            if layers:
                await self._record([self._in_place(layer) for layer in layers])
            return
        for first in range(0, len(layers), _COPIED_AT_ONCE):
            await self._copy(layers[first : first + _COPIED_AT_ONCE])

    def _is_done(self, linked: tuple[str, int] | None) -> bool:
        """Say whether a layer is linked, good, and where it is to be."""
        if linked is None or linked[1] != blobs.GOOD:
            return False
        return self._copier is None or linked[0] != self._store.name

    async def _look(self, digests: Sequence[Digest]) -> list[_Layer]:
        """Follow links to the files: that they are there, and how large they are."""
        links = await self._source.links("_layers", digests)
        keys = [key_of(link.target) for link in links]
        layers: list[_Layer] = []
        for link, key, size in zip(links, keys, await self._source.storage.sizes(keys), strict=True):
            if isinstance(size, Unreadable):
                self._source.leave_out(Reason.UNREADABLE, link.digest, size.reason)
            elif size is None:
                self._source.report.gone += 1  # what refers to it says that it is missing
            else:
                layers.append(_Layer(link.digest, size, key))
        return layers

    def _in_place(self, layer: _Layer) -> NewBlob:
        return NewBlob(layer.digest, layer.size, self._store.name, layer.key, verified=False)

    async def _copy(self, layers: Sequence[_Layer]) -> None:
        """Copy those that are not in a store of ours, and record all."""
        assert self._copier is not None  # noqa: S101 - asked by the caller
        known = await takeover.find_blobs(self._database, [layer.digest for layer in layers])
        needed = [layer for layer in layers if self._is_elsewhere(known.get(layer.digest))]
        copied = await together(*(self._copier.copy(layer.digest, layer.key) for layer in needed))
        new: list[NewBlob] = []
        for layer, done in zip(needed, copied, strict=True):
            if not done.key:
                self._source.leave_out(Reason.BLOB_DAMAGED, layer.digest, done.fault)
            else:
                new.append(NewBlob(layer.digest, layer.size, self._copier.own.name, done.key, verified=True))
                self._source.report.copied += 1
        there = [self._in_place(layer) for layer in layers if layer not in needed]
        await self._record([*new, *there])

    def _is_elsewhere(self, known: StoredBlob | None) -> bool:
        return known is None or known.state != blobs.GOOD or known.store == self._store.name

    async def _record(self, new: Sequence[NewBlob]) -> None:
        digests = [blob.digest for blob in new]

        async def work(transaction: Transaction) -> list[NewBlob]:
            repository_id = await repositories.find_or_create(transaction, self._source.name)
            counted = await counting(transaction, self._source.name, repository_id)
            known = await takeover.find_blobs(transaction, digests)
            added = [blob for blob in new if blob.digest not in known]
            await takeover.add_blobs(transaction, added)
            for blob in new:
                was = known.get(blob.digest)
                if was is not None and self._is_better(blob, was):
                    await takeover.move_blob(transaction, was.id, blob)
                    await resized(transaction, was.id, blob.size)
            await takeover.link(transaction, repository_id, digests)
            await counted.linked(transaction, list(digests))
            await counted.settle(transaction, bound=False)
            return added

        added = await self._database.write(work, durable=False)
        for blob in added:
            self._source.report.blobs += 1
            self._source.report.bytes += blob.size

    def _is_better(self, blob: NewBlob, was: StoredBlob) -> bool:
        """Content that is quarantined is replaced, and what lies in the other storage by a copy of it."""
        is_same = (was.store, was.key) == (blob.store, blob.key)
        return not is_same and (was.state != blobs.GOOD or was.store == self._store.name)
