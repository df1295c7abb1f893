"""Blobs as repositories see them: reading, saying that one exists, storing, mounting."""

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass

from auth.errors import InsufficientScope
from auth.policy import Action, Policy, scope_for
from auth.principal import Principal
from registry.db import blobs, past, repositories, uploads
from registry.db.blobs import Blob, LinkedBlob
from registry.db.connection import Database, Transaction
from registry.errors import BlobUnknown, NoSpace, QuotaExceeded, RecordUnknown
from registry.oci.names import RepositoryName
from registry.services import events
from registry.services.audit import Origin
from registry.services.counting import Counting, counting, resized
from registry.services.stores import Stores
from storage.contents import LARGEST, Contents
from storage.digest import Digest, algorithm_of, digest_bytes, new_key
from storage.driver import BlobDriver, ObjectReader, UploadWriter
from storage.errors import ObjectMissing, StorageError
from storage.memory import MemoryReader

_MOST_SOURCES = 100
"""So many repositories are looked at for one to mount from, where a client names none."""


class _Gone(Exception):
    """A blob is not where it was found a moment ago: nothing of the transaction stays, no new repository either."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a push goes and what it is called: the repository, who pushes, the upload session it ends, if any.

    `origin`: the request, if there was one.
    """

    repository: RepositoryName
    actor: str
    session: str | None = None
    origin: Origin | None = None


class Blobs:
    """Blobs, through the links that make them visible.

    Args:
        driver: stores what is new; `stores` knows where everything else lies.
        contents: keeps what small ones hold.
        hold_s: seconds for which a blob stays at least that a client was told exists.
        in_projects: repositories are made in projects that are there, and nowhere else.
    """

    def __init__(
        self,
        database: Database,
        driver: BlobDriver,
        stores: Stores,
        policy: Policy,
        contents: Contents,
        *,
        hold_s: int,
        in_projects: bool = False,
    ) -> None:
        self._hold = hold_s * 1_000_000
        self._in_projects = in_projects
        self._database = database
        self._driver = driver
        self._stores = stores
        self._policy = policy
        self._contents = contents

    async def open(self, repository: RepositoryName, digest: Digest, *, at: int | None = None) -> ObjectReader:
        """Open a blob for reading; the caller closes it. `at`: as of a moment, in microseconds since the epoch.

        Raises:
            BlobUnknown: the repository does not link it, or its bytes are not there.
        """
        linked = await self._find(repository, digest, at)
        if linked is None or linked.blob.state != blobs.GOOD:
            raise _unknown(repository, digest)
        blob = linked.blob
        small = self._contents.takes(blob.size)
        if small and (content := self._contents.get(blob.key)) is not None:
            return MemoryReader(content)
        try:
            reader = await (await self._stores.driver_of(blob.store)).open(blob.key)
        except ObjectMissing:
            raise _unknown(repository, digest) from None
        if reader.size != blob.size:
            reader.close()
            raise _unknown(repository, digest)
        if small:
            self._keep(blob, reader)
        return reader

    async def address(
        self, repository: RepositoryName, digest: Digest, client: str, *, at: int | None = None
    ) -> str | None:
        """Return a URL from which the client with this IP address may get a blob; None if it is to be sent from here.

        Small blobs are: to send one costs less than to be asked twice for it. So is what can't be found, to say so.
        """
        linked = await self._find(repository, digest, at)
        if linked is None or linked.blob.size <= LARGEST or not await self._is_there(linked.blob):
            return None
        return await (await self._stores.driver_of(linked.blob.store)).address(linked.blob.key, client)

    async def exists(self, repository: RepositoryName, digest: Digest) -> int:
        """Return a blob's size in bytes. The client may now rely on it: it is held for `hold_s` at least.

        Raises:
            BlobUnknown: the repository does not link it, or its bytes are not there: a push will bring them back.
        """
        linked = await blobs.find_linked_with_hold(self._database, repository, digest, hold=self._hold)
        if linked is None or not await self._is_there(linked.blob):
            raise _unknown(repository, digest)
        if linked.hold_due and not await self._database.write(lambda tx: self._renew(tx, linked), reserve=True):
            raise _unknown(repository, digest)
        return linked.blob.size

    async def size_at(self, repository: RepositoryName, digest: Digest, at: int) -> int:
        """Return the size in bytes of a blob that was there at a moment. Nothing is promised.

        Raises:
            BlobUnknown: it was not, or can't be had any more.
        """
        linked = await self._find(repository, digest, at)
        if linked is None or not await self._is_there(linked.blob):
            raise _unknown(repository, digest)
        return linked.blob.size

    async def mount(
        self,
        repository: RepositoryName,
        digest: Digest,
        source: RepositoryName | None,
        principal: Principal,
        *,
        origin: Origin | None = None,
    ) -> bool:
        """Link a blob of another repository, or of any that may be read if `source` is None.

        Return False if there is no such blob, or none that the principal may see: the client then uploads it.

        Raises:
            InsufficientScope: the principal may see it, and not with this token.
            QuotaExceeded: the project has no room for it.
            RecordUnknown: the project was removed.
        """
        sources = None if source is None else [source]
        blob = await self._mountable(digest, sources, principal, repository)
        if blob is None or not await self._is_there(blob):
            return False

        async def link(transaction: Transaction) -> bool:
            repository_id = await events.enter(
                transaction, repository, actor=principal.name, origin=origin, in_project=self._in_projects
            )
            counted = await counting(transaction, repository, repository_id)
            if not await blobs.link_stored(transaction, repository_id, blob, hold=self._hold):
                raise _Gone
            counted.blobs.add(blob.id)
            await events.record(
                transaction,
                repository,
                events.MOUNT,
                actor=principal.name,
                origin=origin,
                digest=digest,
                size=blob.size,
                source=source,
            )
            await counted.settle(transaction, bound=True)
            return True

        try:
            return await self._database.write(link)
        except _Gone:
            return False

    async def store(self, writer: UploadWriter, digest: Digest, push: Pushed) -> None:
        """Publish what `writer` received, whose digest was checked, and link it; the upload and its session end.

        Bytes that are there already are not stored twice; content that is missing or quarantined is replaced.

        Raises:
            QuotaExceeded: the project has no room for it. Nothing was published.
            RecordUnknown: the project was removed. Nothing was published.
        """
        known = await blobs.find(self._database, digest)
        if known is not None and await self._is_there(known) and await self._link_known(known, push):
            await writer.discard()
            return
        size = writer.offset
        # What a crash, or an error of the database, leaves under this key has no row: a job sweeps it up.
        key = await writer.publish(new_key(digest))
        try:
            used = await self._link_new(digest, size, key, push)
        except (NoSpace, QuotaExceeded, RecordUnknown):
            with suppress(StorageError):
                await self._driver.delete(key)  # not left for the job: it is in the way
            raise
        if not used:
            await self._driver.delete(key)

    def _keep(self, blob: Blob, reader: ObjectReader) -> None:
        """Keep a small blob's content if it is at hand and right: what one bad read brought must not stay."""
        with suppress(StorageError):  # whoever asked for it hears of it when it is sent
            content = reader.read_now(0, blob.size)
            if content is not None and digest_bytes(content, algorithm_of(blob.digest)) == blob.digest:
                self._contents.keep(blob.key, content)

    async def _link_known(self, known: Blob, push: Pushed) -> bool:
        async def work(transaction: Transaction) -> bool:
            repository_id = await events.enter(
                transaction, push.repository, actor=push.actor, origin=push.origin, in_project=self._in_projects
            )
            counted = await counting(transaction, push.repository, repository_id)
            current = await blobs.find_to_link(transaction, known.digest)
            if current is None or current.key != known.key or current.state != blobs.GOOD:
                raise _Gone
            await self._link(transaction, counted, current, push)
            return True

        try:
            return await self._database.write(work)
        except _Gone:
            return False

    async def _link_new(self, digest: Digest, size: int, key: str, push: Pushed) -> bool:
        """Record the new object; return False if another push of the digest was first and this one is not needed."""
        known = await blobs.find(self._database, digest)
        replaces = known is not None and not await self._is_there(known)

        async def work(transaction: Transaction) -> bool:
            repository_id = await events.enter(
                transaction, push.repository, actor=push.actor, origin=push.origin, in_project=self._in_projects
            )
            counted = await counting(transaction, push.repository, repository_id)
            current = await blobs.find_to_change(transaction, digest)
            used = (
                current is None
                or current.state != blobs.GOOD
                or (replaces and known is not None and current.key == known.key)
            )
            if current is None:
                current = await blobs.insert_blob(
                    transaction, digest=digest, size=size, store=self._driver.name, key=key
                )
            elif used:
                await blobs.move(transaction, current, size=size, store=self._driver.name, key=key)
                if current.size != size:
                    await resized(transaction, current.id, size)
            await self._link(transaction, counted, current, push)
            return used

        return await self._database.write(work)

    async def _link(self, transaction: Transaction, counted: Counting, blob: Blob, push: Pushed) -> None:
        await blobs.link(transaction, counted.repository_id, blob.id, hold=self._hold)
        counted.blobs.add(blob.id)
        if push.session is not None:
            await uploads.remove(transaction, push.session)
        await events.record(
            transaction,
            push.repository,
            events.PUSH,
            actor=push.actor,
            origin=push.origin,
            digest=blob.digest,
            size=blob.size,
        )
        await counted.settle(transaction, bound=True)

    def _find(self, repository: RepositoryName, digest: Digest, at: int | None) -> Awaitable[LinkedBlob | None]:
        if at is None:
            return blobs.find_linked(self._database, repository, digest)
        return past.linked(self._database, repository, digest, at=at)

    async def _renew(self, transaction: Transaction, linked: LinkedBlob) -> bool:
        await repositories.lock_known(transaction, linked.repository_id)
        return await blobs.hold_link(transaction, linked.repository_id, linked.blob, hold=self._hold)

    async def _mountable(
        self, digest: Digest, sources: list[RepositoryName] | None, principal: Principal, target: RepositoryName
    ) -> Blob | None:
        """Return a blob of one of some repositories, or of any: the first that the principal may pull from."""
        if sources is None and await self._policy.allows(principal, Action.PULL, None):
            return await blobs.find_anywhere(self._database, digest)
        if sources is None:
            sources = await blobs.repositories_of(self._database, digest, limit=_MOST_SOURCES)
        unbound = None
        for source in sources:
            if await self._policy.allows(principal, Action.PULL, source):
                linked = await blobs.find_linked(self._database, source, digest)
                return None if linked is None else linked.blob
            if unbound is None and (await self._policy.decide(principal, Action.PULL, source)).unbound:
                unbound = source
        if unbound is not None:
            raise InsufficientScope(
                f"the token's scope does not include {Action.PULL} in {unbound}, to mount from",
                scope=f"{scope_for(Action.PUSH, target)} {scope_for(Action.PULL, unbound)}",
            )
        return None

    async def _is_there(self, blob: Blob) -> bool:
        """Say whether the store really has the bytes: "it exists" is never answered from a row alone."""
        if blob.state != blobs.GOOD:
            return False
        try:
            return await (await self._stores.driver_of(blob.store)).size(blob.key) == blob.size
        except ObjectMissing:
            return False


def _unknown(repository: RepositoryName, digest: Digest) -> BlobUnknown:
    return BlobUnknown(f"{repository} has no blob {digest}", detail={"digest": digest})
