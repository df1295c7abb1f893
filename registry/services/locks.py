"""Locking manifests by their digests: while one is locked nobody deletes it, and nothing collects it."""

from auth.grants import project_of
from registry.db import candidates, locks, manifests, repositories
from registry.db.candidates import Cause, Kind
from registry.db.connection import Database, Reader, Transaction
from registry.db.locks import Lock
from registry.errors import ContentLocked, ManifestUnknown, RecordExists, RecordUnknown, ValueInvalid
from registry.oci.names import RepositoryName
from registry.services.rights import Change, record
from storage.digest import Digest

_LONGEST_REASON = 300


class Locks:
    """The locks of all repositories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lock(self, repository: RepositoryName, digest: Digest, *, reason: str, actor: str) -> Lock:
        """Lock a manifest.

        Raises:
            ManifestUnknown: the repository has none like that to be seen.
            RecordExists: it is locked already.
            ValueInvalid: the reason is too long, or no line of text.
        """
        if len(reason) > _LONGEST_REASON or not reason.isprintable():
            raise ValueInvalid(f"a lock's reason is one line of at most {_LONGEST_REASON} characters")
        about = {"repository": repository, "digest": digest, "reason": reason}
        change = Change("lock.add", actor, project_of(repository), about)

        async def work(transaction: Transaction) -> Lock:
            repository_id = await repositories.lock(transaction, repository)
            found = None if repository_id is None else await manifests.find(transaction, repository_id, digest)
            if repository_id is None or found is None or found.deleted:
                raise ManifestUnknown(f"{repository} has no manifest {digest}", detail={"digest": digest})
            if not await locks.add(transaction, repository_id, digest, reason=reason, actor=actor):
                raise RecordExists(f"{digest} in {repository} is locked already")
            await record(transaction, change)
            made = await locks.find(transaction, repository_id, digest)
            assert made is not None  # noqa: S101 - it was made a moment ago
            return made

        return await self._database.write(work)

    async def unlock(self, repository: RepositoryName, digest: Digest, *, actor: str) -> None:
        """Unlock a manifest: what else keeps it is looked at. Raises RecordUnknown: it is not locked."""
        change = Change("lock.remove", actor, project_of(repository), {"repository": repository, "digest": digest})

        async def work(transaction: Transaction) -> None:
            repository_id = await repositories.lock(transaction, repository)
            if repository_id is None or not await locks.remove(transaction, repository_id, digest):
                raise RecordUnknown(f"{digest} in {repository} is not locked")
            found = await manifests.find(transaction, repository_id, digest)
            if found is not None:
                await candidates.add(transaction, Kind.MANIFEST, repository_id, found.id, Cause.UNTAGGED)
            await record(transaction, change)

        await self._database.write(work, reserve=True)


async def check_unlocked(reader: Reader, repository_id: int, digest: Digest) -> None:
    """Return if a manifest may go, asked by whoever lets it go. Raises ContentLocked, naming the lock."""
    lock = await locks.find(reader, repository_id, digest)
    if lock is not None:
        why = f": {lock.reason}" if lock.reason else ""
        raise ContentLocked(
            f"{digest} is locked in {lock.repository} by {lock.created_by}{why}", detail={"digest": digest}
        )
