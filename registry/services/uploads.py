"""Upload sessions: beginning, continuing, finishing and cancelling them.

A session's row says how many bytes are acknowledged and what they hash to; its bytes lie with the blob driver. Any
process can continue it. The running hash stays in the process that computed it: only a session continued elsewhere
is hashed again from its start, and a closing PUT without a body just compares.
"""

import uuid
from contextlib import suppress

from registry.db import uploads
from registry.db.connection import Database, Transaction
from registry.db.uploads import UploadSession
from registry.errors import (
    BodyCut,
    DigestInvalid,
    QuotaExceeded,
    RecordUnknown,
    RegistryError,
    SizeInvalid,
    TooManySessions,
    Unavailable,
    UploadOutOfOrder,
)
from registry.oci.names import RepositoryName
from registry.services.audit import Origin
from registry.services.blobs import Blobs, Pushed
from registry.services.chunk import Check, Chunk
from registry.services.counting import admit
from registry.services.upload_sessions import OpenSession, Sessions
from storage.digest import SHA256, Digest, algorithm_of, digest_from, new_hasher
from storage.driver import BlobDriver
from storage.errors import StorageError


class Uploads(Sessions):
    """Pushes of blobs, in one request or in sessions.

    Args:
        max_sessions: most open sessions of one repository.
        expire_s: seconds without a write after which a session is no longer open.
    """

    def __init__(
        self, database: Database, driver: BlobDriver, blobs: Blobs, *, max_sessions: int, expire_s: int
    ) -> None:
        super().__init__(database, driver)
        self._blobs = blobs
        self._max_sessions = max_sessions
        self._expire_s = expire_s

    async def start(self, repository: RepositoryName, algorithm: str = SHA256) -> UploadSession:
        """Begin a session.

        Raises:
            InvalidDigest: the algorithm is not supported.
            TooManySessions: the repository has too many already.
            QuotaExceeded: the project is full.
        """
        self._database.check_room()
        await admit(self._database, repository)
        hasher = new_hasher(algorithm)
        upload_id = str(uuid.uuid4())
        state = await self._driver.create_upload(upload_id)
        session = UploadSession(
            id=upload_id,
            repository=repository,
            store=self._driver.name,
            state=state,
            algorithm=algorithm,
            received=0,
            digest=digest_from(algorithm, hasher),
            generation=0,
        )
        try:
            await self._database.write(lambda tx: self._insert(tx, session), durable=False)
        except (TooManySessions, Unavailable):
            with suppress(StorageError):
                await self._driver.remove_upload(upload_id, state)
            raise
        return session

    async def _insert(self, transaction: Transaction, session: UploadSession) -> None:
        most, age_s = self._max_sessions, self._expire_s
        if await uploads.is_full(transaction, session.repository, most=most, age_s=age_s):
            raise TooManySessions(
                f"{session.repository} has {most} open uploads already: finish some, cancel some with DELETE, or wait: "
                f"one that nobody writes to ends after {age_s} s"
            )
        await uploads.insert_session(transaction, session)

    async def append(self, repository: RepositoryName, upload_id: str, chunk: Chunk) -> UploadSession:
        """Add a chunk and acknowledge it. Return the session as it is now.

        A chunk with a span counts whole or not at all; without one, what was received before a cut counts.

        Raises:
            UploadUnknown, UploadConflict, UploadOutOfOrder, SizeInvalid, BodyCut
        """
        self._database.check_room()
        async with self._writing(repository, upload_id) as upload:
            _check_order(upload.session, chunk)
            cut = await self._receive(upload, chunk)
            await upload.writer.flush()
            session = await self._acknowledge(upload)
            if cut is not None:
                raise cut
            return session

    async def finish(
        self,
        repository: RepositoryName,
        upload_id: str,
        digest: Digest,
        chunk: Chunk,
        *,
        actor: str,
        origin: Origin | None = None,
    ) -> None:
        """Add the last chunk, if there is one, check the whole against `digest` and make it a blob.

        Raises:
            DigestInvalid: the bytes hash to something else; the session has ended.
            QuotaExceeded: the project has no room for it; the session has ended.
            RecordUnknown: the project was removed; the session has ended.
            UploadUnknown, UploadConflict, UploadOutOfOrder, SizeInvalid, BodyCut: the session stays.
        """
        self._database.check_room()  # before anything is published, so that the session stays
        async with self._writing(repository, upload_id, algorithm_of(digest)) as upload:
            _check_order(upload.session, chunk)
            actual = await self._complete(upload, chunk, algorithm_of(digest))
            self._hashers.pop(upload_id, None)
            if actual != digest:
                await self._end(upload)
                await upload.writer.discard()
                raise _mismatch(digest, actual)
            if not self._driver.locks:
                # From here on nobody else may write; if publishing fails, the session has ended as well.
                await self._end(upload)
            try:
                await self._blobs.store(upload.writer, digest, Pushed(repository, actor, upload_id, origin))
            except (StorageError, Unavailable, QuotaExceeded, RecordUnknown):
                # Publishing discards what it can't finish, and what there is no room for goes: the session has no
                # bytes any more.
                with suppress(StorageError, Unavailable):
                    await upload.writer.discard()
                    await self._database.write(lambda tx: uploads.remove(tx, upload_id), reserve=True)
                raise

    async def push_whole(
        self, repository: RepositoryName, digest: Digest, body: Chunk, *, actor: str, origin: Origin | None = None
    ) -> None:
        """Store a blob that comes in one request. Nothing is left of it if it fails.

        Raises:
            DigestInvalid, BodyCut, QuotaExceeded, RecordUnknown
        """
        self._database.check_room()
        await admit(self._database, repository)
        upload_id = str(uuid.uuid4())
        state = await self._driver.create_upload(upload_id)
        hasher = new_hasher(algorithm_of(digest))
        writer = await self._driver.open_upload(upload_id, state, 0, hasher)
        try:
            await body.copy_to(writer)
            await writer.settle()
            actual = digest_from(algorithm_of(digest), hasher)
            if actual != digest:
                raise _mismatch(digest, actual)
            await self._blobs.store(writer, digest, Pushed(repository, actor, origin=origin))
        except BaseException:
            await writer.discard()
            raise

    async def cancel(self, repository: RepositoryName, upload_id: str) -> None:
        """End a session and forget its bytes.

        Raises:
            UploadUnknown, UploadConflict
        """
        async with self._writing(repository, upload_id) as upload:
            self._hashers.pop(upload_id, None)
            await self._end(upload)
            await upload.writer.discard()

    async def _complete(self, upload: OpenSession, chunk: Chunk, algorithm: str) -> Digest:
        """Write the last chunk and return the digest of the whole."""
        if algorithm == upload.session.algorithm and await chunk.is_empty():
            return upload.session.digest
        cut = await self._receive(upload, chunk)
        if cut is not None:
            if upload.algorithm == upload.session.algorithm:
                await upload.writer.flush()
                await self._acknowledge(upload)
            raise cut
        if upload.algorithm == algorithm:
            return digest_from(algorithm, upload.hasher)
        hasher = new_hasher(algorithm)
        await upload.writer.rehash(hasher)
        return digest_from(algorithm, hasher)

    async def _receive(self, upload: OpenSession, chunk: Chunk) -> BodyCut | None:
        """Write a chunk and hash it. Return the cut that ended it early, if what came before the cut counts.

        Raises:
            BodyCut, SizeInvalid, UploadConflict, StorageError: nothing of the chunk counts.
        """
        writer, start, cut = upload.writer, upload.session.received, None
        if not upload.hashed:
            await self._rehash(upload)
        check: Check | None = None if self._driver.locks else lambda: self._check_claim(upload)
        try:
            try:
                await chunk.copy_to(writer, check)
            except BodyCut as error:
                if chunk.span is not None:
                    raise
                cut = error
            await writer.settle()
            if chunk.span is not None and writer.offset != chunk.span[1] + 1:
                announced, came = chunk.span[1] - chunk.span[0] + 1, writer.offset - start
                raise SizeInvalid(f"Content-Range announces {announced} bytes, the body has {came}")
        except (RegistryError, StorageError):
            await writer.rewind(start)
            raise
        return cut


def _check_order(session: UploadSession, chunk: Chunk) -> None:
    if chunk.span is not None and chunk.span[0] != session.received:
        raise UploadOutOfOrder(
            f"the chunk starts at {chunk.span[0]}, the next byte is {session.received}", offset=session.received
        )


def _mismatch(expected: Digest, actual: Digest) -> DigestInvalid:
    return DigestInvalid(
        f"the content hashes to {actual}, not to {expected}", detail={"expected": expected, "actual": actual}
    )
