"""Opening upload sessions: for one writer at a time, with a row that is known to be the latest.

Where the driver locks, its lock is taken first, and then the row is read again. Where it doesn't, the session is
claimed in its row: whoever claims last has it, and who had it before finds that out before it can do harm.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic

from registry.db import uploads
from registry.db.connection import Database
from registry.db.uploads import UploadSession
from registry.errors import NoSpace, UploadConflict, UploadUnknown
from registry.oci.names import RepositoryName
from storage.digest import Hasher, digest_from, new_hasher
from storage.driver import BlobDriver, UploadWriter
from storage.errors import UploadBusy, UploadDamaged, UploadMissing

_KEPT_HASHERS = 4096
_PATIENCE_S = 0.75
_ASK_AGAIN_S = 0.025
_TOUCH_EVERY_S = 60


@dataclass(slots=True)
class OpenSession:
    """A session that is being written to: its row, the hash of its bytes, the driver's writer.

    `hashed`: the hash has seen what was received before, by this process.
    """

    session: UploadSession
    hasher: Hasher
    algorithm: str
    hashed: bool
    writer: UploadWriter = field(init=False)
    touched_at: float = field(default_factory=monotonic)


class Sessions:
    """The sessions of all repositories, to be found, opened, acknowledged and ended."""

    def __init__(self, database: Database, driver: BlobDriver) -> None:
        self._database = database
        self._driver = driver
        # Session id -> (generation, hash of what is acknowledged). A cache: losing an entry costs a rehash.
        self._hashers: OrderedDict[str, tuple[int, Hasher]] = OrderedDict()

    async def find(self, repository: RepositoryName, upload_id: str) -> UploadSession:
        """Return a session.

        Raises:
            UploadUnknown: the repository has no such session.
        """
        session = await uploads.find(self._database, upload_id)
        if session is None or session.repository != repository:
            raise _unknown(upload_id)
        return session

    async def expire(self, session: UploadSession) -> None:
        """End a session nobody continues. Raises UploadBusy if somebody does just now."""
        if self._driver.locks:
            await self._driver.remove_upload(session.id, session.state)
            await self._database.write(lambda tx: uploads.remove(tx, session.id), reserve=True)
        else:
            if not await self._database.write(lambda tx: uploads.end(tx, session), reserve=True):
                raise UploadBusy(f"upload {session.id} is being written by another request")
            await self._driver.remove_upload(session.id, session.state)
        self._hashers.pop(session.id, None)

    async def _end(self, upload: "OpenSession") -> None:
        """Forget the session. Raises UploadConflict if another request has it now: then its bytes are not ours."""
        if not await self._database.write(lambda tx: uploads.end(tx, upload.session), reserve=True):
            raise _taken_over()

    @asynccontextmanager
    async def _writing(
        self, repository: RepositoryName, upload_id: str, algorithm: str | None = None
    ) -> AsyncIterator["OpenSession"]:
        """Open a session for its one writer. `algorithm`: what to hash with, if nothing was received yet."""
        upload: OpenSession | None = None
        try:
            if self._driver.locks:
                upload = await self._open(repository, upload_id, algorithm)
            else:
                session, upload = await self._claim(repository, upload_id, algorithm)
                upload.writer = await self._driver.open_upload(
                    session.id, session.state, session.received, upload.hasher, contested=session.is_claimed
                )
            try:
                yield upload
            finally:
                await upload.writer.close()
        except (UploadMissing, UploadDamaged):
            # Power loss took acknowledged bytes of an unfinished upload, or a crash came between publishing them and
            # recording that: the client begins anew. Or another request has the session: then that is what to say.
            if self._driver.locks or upload is None:
                await self.expire(await self.find(repository, upload_id))
            else:
                await self._expire_claimed(upload.session)
            raise _unknown(upload_id) from None

    async def _claim(
        self, repository: RepositoryName, upload_id: str, algorithm: str | None
    ) -> tuple[UploadSession, "OpenSession"]:
        """Claim a session, from whoever has it. Return it as it was, and as it is now."""
        while True:
            session = await self.find(repository, upload_id)
            upload = self._prepare(session, algorithm)
            upload.session = session.claimed()
            if await self._advance(session, upload.session):
                return session, upload

    async def _expire_claimed(self, session: UploadSession) -> None:
        try:
            await self.expire(session)
        except UploadBusy:
            raise _taken_over() from None

    async def _check_claim(self, upload: "OpenSession") -> None:
        """Raise UploadConflict if another request has claimed the session; tell others that it is in use."""
        found = await uploads.find(self._database, upload.session.id)
        if found is None or found.generation != upload.session.generation:
            raise _taken_over()
        if monotonic() - upload.touched_at > _TOUCH_EVERY_S:
            upload.touched_at = monotonic()
            await self._database.write(lambda tx: uploads.touch(tx, upload.session), durable=False)

    async def _advance(self, before: UploadSession, after: UploadSession) -> bool:
        return await self._database.write(lambda tx: uploads.advance(tx, before, after), durable=False, reserve=True)

    async def _open(self, repository: RepositoryName, upload_id: str, algorithm: str | None) -> "OpenSession":
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

    def _prepare(self, session: UploadSession, algorithm: str | None) -> "OpenSession":
        if session.received == 0:
            chosen = algorithm or session.algorithm
            return OpenSession(session, new_hasher(chosen), chosen, hashed=True)
        generation, kept = self._hashers.get(session.id, (-1, None))
        if kept is not None and generation == session.generation:
            return OpenSession(session, kept.copy(), session.algorithm, hashed=True)
        return OpenSession(session, new_hasher(session.algorithm), session.algorithm, hashed=False)

    async def _rehash(self, upload: "OpenSession") -> None:
        """Hash what another process received."""
        await upload.writer.rehash(upload.hasher)
        upload.hashed = True
        if not self._driver.locks:
            # Reading them may have put the bytes elsewhere: recorded at once, whatever becomes of the chunk.
            await upload.writer.flush()
            session = upload.session
            moved = replace(session.claimed(), state=upload.writer.state)
            if not await self._advance(session, moved):
                raise _taken_over()
            upload.session = moved

    async def _acknowledge(self, upload: "OpenSession") -> UploadSession:
        """Record what the writer has now."""
        before = upload.session
        digest = digest_from(before.algorithm, upload.hasher)
        session = before.advanced(upload.writer.state, upload.writer.offset, digest)
        try:
            advanced = await self._database.write(lambda tx: uploads.advance(tx, before, session), durable=False)
        except NoSpace:
            await upload.writer.rewind(before.received)  # what is not acknowledged need not take room
            raise
        if not advanced:
            raise _taken_over()
        self._remember(session.id, session.generation, upload.hasher)
        return session

    def _remember(self, upload_id: str, generation: int, hasher: Hasher) -> None:
        self._hashers[upload_id] = (generation, hasher)
        self._hashers.move_to_end(upload_id)
        if len(self._hashers) > _KEPT_HASHERS:
            self._hashers.popitem(last=False)


async def _verify(upload: OpenSession) -> None:
    """Hash again what the driver does not vouch for. Raises UploadDamaged if it is not what was acknowledged."""
    session = upload.session
    if session.received == 0 or upload.hashed or upload.writer.vouched:
        return
    await upload.writer.rehash(upload.hasher)
    upload.hashed = True
    if digest_from(session.algorithm, upload.hasher) != session.digest:
        raise UploadDamaged(f"upload {session.id} is not what was acknowledged of it")


def _unknown(upload_id: str) -> UploadUnknown:
    return UploadUnknown(f"no upload session {upload_id[:64]!r} in this repository: it ended, expired or never was")


def _taken_over() -> UploadConflict:
    return UploadConflict("another request writes to this upload session now")
