"""Upload sessions: beginning, continuing, finishing and cancelling them.

A session's row says how many bytes are acknowledged and what they hash to; its bytes lie with the blob driver. Any
process can continue it. The running hash stays in the process that computed it: only a session continued elsewhere
is hashed again from its start, and a closing PUT without a body just compares.
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from registry.db import uploads
from registry.db.connection import Database, Transaction
from registry.db.uploads import UploadSession
from registry.errors import (
    BodyCut,
    DigestInvalid,
    NoSpace,
    RegistryError,
    SizeInvalid,
    TooManySessions,
    Unavailable,
    UploadConflict,
    UploadOutOfOrder,
    UploadUnknown,
)
from registry.oci.names import RepositoryName
from registry.services.blobs import Blobs, Pushed
from storage.digest import SHA256, Digest, Hasher, algorithm_of, digest_from, new_hasher
from storage.driver import BlobDriver, Source, UploadWriter
from storage.errors import StorageError, UploadBusy, UploadDamaged, UploadMissing

_KEPT_HASHERS = 4096
_PATIENCE_S = 0.75
_ASK_AGAIN_S = 0.025


class Chunk:
    """The body of a push.

    Args:
        body: its bytes as they come.
        span: first and last position by Content-Range, if the client said.
        source: what fills memory with it instead, never for an empty body.
    """

    def __init__(
        self, body: AsyncIterator[bytes], span: tuple[int, int] | None = None, source: Source | None = None
    ) -> None:
        self.span = span
        self.source = source
        self._body = body
        self._first = b""

    async def is_empty(self) -> bool:
        """Say whether the body has no bytes at all. Raises BodyCut."""
        if self.source is not None:
            return False
        while not self._first:
            try:
                self._first = await anext(self._body)
            except StopAsyncIteration:
                return True
        return False

    async def copy_to(self, writer: UploadWriter) -> None:
        """Write all of the body. Raises BodyCut, StorageError."""
        if self.source is not None:
            while await writer.append_from(self.source):
                pass
        else:
            async for data in self:
                await writer.write(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes. Raises BodyCut."""
        if self._first:
            yield self._first
            self._first = b""
        async for data in self._body:
            yield data


@dataclass(slots=True)
class _Open:
    """A session that is being written to: its row, the hash of its bytes, the driver's writer.

    `hashed`: the hash has seen what was received before, by this process.
    """

    session: UploadSession
    hasher: Hasher
    algorithm: str
    hashed: bool
    writer: UploadWriter = field(init=False)


class Uploads:
    """Upload sessions of all repositories.

    Args:
        max_sessions: most open sessions of one repository.
        expire_s: seconds without a write after which a session is no longer open.
    """

    def __init__(
        self, database: Database, driver: BlobDriver, blobs: Blobs, *, max_sessions: int, expire_s: int
    ) -> None:
        self._database = database
        self._driver = driver
        self._blobs = blobs
        self._max_sessions = max_sessions
        self._expire_s = expire_s
        # Session id -> (generation, hash of what is acknowledged). A cache: losing an entry costs a rehash.
        self._hashers: OrderedDict[str, tuple[int, Hasher]] = OrderedDict()

    async def start(self, repository: RepositoryName, algorithm: str = SHA256) -> UploadSession:
        """Begin a session.

        Raises:
            InvalidDigest: the algorithm is not supported.
            TooManySessions: the repository has too many already.
        """
        self._database.check_room()
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

    async def find(self, repository: RepositoryName, upload_id: str) -> UploadSession:
        """Return a session.

        Raises:
            UploadUnknown: the repository has no such session.
        """
        session = await uploads.find(self._database, upload_id)
        if session is None or session.repository != repository:
            raise _unknown(upload_id)
        return session

    async def append(self, repository: RepositoryName, upload_id: str, chunk: Chunk) -> UploadSession:
        """Add a chunk and acknowledge it. Return the session as it is now.

        A chunk with a span counts whole or not at all; without one, what was received before a cut counts.

        Raises:
            UploadUnknown, UploadConflict, UploadOutOfOrder, SizeInvalid, BodyCut
        """
        self._database.check_room()
        async with self._writing(repository, upload_id) as upload:
            _check_order(upload.session, chunk)
            cut = await _receive(upload, chunk)
            session = await self._acknowledge(upload)
            if cut is not None:
                raise cut
            return session

    async def finish(
        self, repository: RepositoryName, upload_id: str, digest: Digest, chunk: Chunk, *, actor: str
    ) -> None:
        """Add the last chunk, if there is one, check the whole against `digest` and make it a blob.

        Raises:
            DigestInvalid: the bytes hash to something else; the session has ended.
            UploadUnknown, UploadConflict, UploadOutOfOrder, SizeInvalid, BodyCut: the session stays.
        """
        self._database.check_room()  # before anything is published, so that the session stays
        async with self._writing(repository, upload_id, algorithm_of(digest)) as upload:
            _check_order(upload.session, chunk)
            actual = await self._complete(upload, chunk, algorithm_of(digest))
            self._hashers.pop(upload_id, None)
            if actual != digest:
                await upload.writer.discard()
                await self._database.write(lambda tx: uploads.remove(tx, upload_id), reserve=True)
                raise _mismatch(digest, actual)
            try:
                await self._blobs.store(upload.writer, digest, Pushed(repository, actor, session=upload_id))
            except (StorageError, Unavailable):
                # Publishing discards what it can't finish: the session has no bytes any more.
                with suppress(StorageError, Unavailable):
                    await upload.writer.discard()
                    await self._database.write(lambda tx: uploads.remove(tx, upload_id), reserve=True)
                raise

    async def push_whole(self, repository: RepositoryName, digest: Digest, body: Chunk, *, actor: str) -> None:
        """Store a blob that comes in one request. Nothing is left of it if it fails.

        Raises:
            DigestInvalid, BodyCut
        """
        self._database.check_room()
        upload_id = str(uuid.uuid4())
        state = await self._driver.create_upload(upload_id)
        hasher = new_hasher(algorithm_of(digest))
        writer = await self._driver.open_upload(upload_id, state, 0, hasher)
        try:
            await body.copy_to(writer)
            await writer.flush()
            actual = digest_from(algorithm_of(digest), hasher)
            if actual != digest:
                raise _mismatch(digest, actual)
            await self._blobs.store(writer, digest, Pushed(repository, actor))
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
            await self._database.write(lambda tx: uploads.remove(tx, upload_id), reserve=True)
            await upload.writer.discard()

    async def expire(self, session: UploadSession) -> None:
        """End a session nobody continues. Raises UploadBusy if somebody does just now."""
        await self._driver.remove_upload(session.id, session.state)
        await self._database.write(lambda tx: uploads.remove(tx, session.id), reserve=True)
        self._hashers.pop(session.id, None)

    @asynccontextmanager
    async def _writing(
        self, repository: RepositoryName, upload_id: str, algorithm: str | None = None
    ) -> AsyncIterator["_Open"]:
        """Open a session for its one writer. `algorithm`: what to hash with, if nothing was received yet."""
        try:
            upload = await self._open(repository, upload_id, algorithm)
            try:
                yield upload
            finally:
                await upload.writer.close()
        except (UploadMissing, UploadDamaged):
            # Power loss took acknowledged bytes of an unfinished upload, or a crash came between publishing them and
            # recording that: the client begins anew.
            await self.expire(await self.find(repository, upload_id))
            raise _unknown(upload_id) from None

    async def _open(self, repository: RepositoryName, upload_id: str, algorithm: str | None) -> "_Open":
        """Open the driver's writer with a row that is known, under the writer's lock, to be the latest."""
        session = await self.find(repository, upload_id)
        while True:
            upload = self._prepare(session, algorithm)
            upload.writer = await self._open_writer(session, upload.hasher)
            try:
                latest = await self.find(repository, upload_id)
            except BaseException:
                await upload.writer.close()
                raise
            if latest == session:
                break
            await upload.writer.close()
            session = latest
        try:
            await _verify(upload)
        except BaseException:
            await upload.writer.close()
            raise
        return upload

    async def _open_writer(self, session: UploadSession, hasher: Hasher) -> UploadWriter:
        """Open the driver's writer, where another is open after a moment's wait.

        A client that was cut off and comes back can be faster than the news of the cut, which another worker hears.
        """
        give_up = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                return await self._driver.open_upload(session.id, session.state, session.received, hasher)
            except UploadBusy:
                if asyncio.get_running_loop().time() > give_up:
                    raise
                await asyncio.sleep(_ASK_AGAIN_S)

    def _prepare(self, session: UploadSession, algorithm: str | None) -> "_Open":
        if session.received == 0:
            chosen = algorithm or session.algorithm
            return _Open(session, new_hasher(chosen), chosen, hashed=True)
        generation, kept = self._hashers.get(session.id, (-1, None))
        if kept is not None and generation == session.generation:
            return _Open(session, kept.copy(), session.algorithm, hashed=True)
        return _Open(session, new_hasher(session.algorithm), session.algorithm, hashed=False)

    async def _complete(self, upload: "_Open", chunk: Chunk, algorithm: str) -> Digest:
        """Write the last chunk and return the digest of the whole."""
        if algorithm == upload.session.algorithm and await chunk.is_empty():
            return upload.session.digest
        cut = await _receive(upload, chunk)
        if cut is not None:
            if upload.algorithm == upload.session.algorithm:
                await self._acknowledge(upload)
            raise cut
        if upload.algorithm == algorithm:
            return digest_from(algorithm, upload.hasher)
        hasher = new_hasher(algorithm)
        await upload.writer.rehash(hasher)
        return digest_from(algorithm, hasher)

    async def _acknowledge(self, upload: "_Open") -> UploadSession:
        """Record what the writer has now."""
        before = upload.session
        session = replace(
            before,
            state=upload.writer.state,
            received=upload.writer.offset,
            digest=digest_from(before.algorithm, upload.hasher),
            generation=before.generation + 1,
        )
        try:
            advanced = await self._database.write(lambda tx: uploads.advance(tx, before, session), durable=False)
        except NoSpace:
            await upload.writer.rewind(before.received)  # what is not acknowledged need not take room
            raise
        if not advanced:
            raise UploadConflict("another request changed this upload session")
        self._remember(session.id, session.generation, upload.hasher)
        return session

    def _remember(self, upload_id: str, generation: int, hasher: Hasher) -> None:
        self._hashers[upload_id] = (generation, hasher)
        self._hashers.move_to_end(upload_id)
        if len(self._hashers) > _KEPT_HASHERS:
            self._hashers.popitem(last=False)


async def _verify(upload: _Open) -> None:
    """Hash again what the driver does not vouch for. Raises UploadDamaged if it is not what was acknowledged."""
    session = upload.session
    if session.received == 0 or upload.hashed or upload.writer.vouched:
        return
    await upload.writer.rehash(upload.hasher)
    upload.hashed = True
    if digest_from(session.algorithm, upload.hasher) != session.digest:
        raise UploadDamaged(f"upload {session.id} is not what was acknowledged of it")


async def _receive(upload: _Open, chunk: Chunk) -> BodyCut | None:
    """Write a chunk. Return the cut that ended it early, if what came before the cut counts.

    Raises:
        BodyCut, SizeInvalid, StorageError: nothing of the chunk counts.
    """
    writer, start, cut = upload.writer, upload.session.received, None
    if not upload.hashed:
        await writer.rehash(upload.hasher)
    try:
        try:
            await chunk.copy_to(writer)
        except BodyCut as error:
            if chunk.span is not None:
                raise
            cut = error
        await writer.flush()
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


def _unknown(upload_id: str) -> UploadUnknown:
    return UploadUnknown(f"no upload session {upload_id[:64]!r} in this repository: it ended, expired or never was")


def _mismatch(expected: Digest, actual: Digest) -> DigestInvalid:
    return DigestInvalid(
        f"the content hashes to {actual}, not to {expected}", detail={"expected": expected, "actual": actual}
    )
