"""Deleting tags, manifests and blobs. What something else in the repository still refers to is refused."""

from auth.roles import Action
from registry.db import blobs, edges, history, jobs, manifests, repositories, tags
from registry.db.connection import Database, Transaction
from registry.db.tags import CurrentTag, Move, Why
from registry.errors import BlobUnknown, ContentInUse, ManifestUnknown, NameUnknown
from registry.oci.names import RepositoryName, Tag
from registry.services import events
from registry.services.audit import Origin, address_of
from registry.services.counting import Counting, counting
from registry.services.locks import check_unlocked
from registry.services.tag_guard import NOBODY, TagGuard
from storage.digest import Digest


class Deletion:
    """Deleting from all repositories. Bytes stay until they are collected: only visibility ends here.

    Args:
        hold_s: seconds for which content stays at least that a client was told exists.

    `origin` is the request, None where there was none; `cause` why, for the history of tags; `subjects`: whom rules
    about tags may make an exception for.
    """

    def __init__(self, database: Database, *, hold_s: int) -> None:
        self._database = database
        self._hold = hold_s * 1_000_000

    async def delete_tag(
        self,
        repository: RepositoryName,
        tag: Tag,
        *,
        actor: str,
        subjects: frozenset[str] = NOBODY,
        origin: Origin | None = None,
        cause: str = Why.DELETE.value,
    ) -> None:
        """Remove one tag; the manifest and its other tags stay.

        Raises:
            NameUnknown, ManifestUnknown
            TagFixed: a rule forbids it.
        """

        async def work(transaction: Transaction) -> None:
            counted = await _find_repository(transaction, repository)
            current = await tags.current(transaction, counted.repository_id, tag)
            if current is None:
                raise ManifestUnknown(f"{repository} has no tag {tag}", detail={"tag": tag})
            await TagGuard(repository, subjects).check(transaction, Action.DELETE, tag)
            move = Move(actor, cause, address_of(origin))
            await untag(transaction, repository, counted, tag, current, move=move, origin=origin)
            await counted.settle(transaction, bound=False)

        await self._database.write(work, reserve=True)

    async def delete_manifest(
        self,
        repository: RepositoryName,
        digest: Digest,
        *,
        actor: str,
        subjects: frozenset[str] = NOBODY,
        origin: Origin | None = None,
    ) -> None:
        """Remove a manifest and every tag that names it.

        Raises:
            NameUnknown, ManifestUnknown
            ContentInUse: an index of the repository lists it.
            ContentLocked: it is locked.
            TagFixed: a rule forbids to delete one of the tags.
        """

        async def work(transaction: Transaction) -> None:
            counted = await _find_repository(transaction, repository)
            repository_id = counted.repository_id
            manifest = await manifests.find(transaction, repository_id, digest)
            if manifest is None or manifest.deleted:
                raise ManifestUnknown(f"{repository} has no manifest {digest}", detail={"digest": digest})
            parent = await edges.listing_index(transaction, repository_id, digest, manifest.id)
            if parent is not None:
                raise _in_use(digest, parent)
            await check_unlocked(transaction, repository_id, digest)
            named, guard = await tags.of_manifest(transaction, manifest.id), TagGuard(repository, subjects)
            for tag in named:
                await guard.check(transaction, Action.DELETE, tag)
            now, current = await jobs.clock(transaction), CurrentTag(manifest.id, digest)
            if named:  # what went together is told by its time, also where a tag began later than the clock says
                now = max(now, await history.last_change(transaction, repository_id))
            move = Move(actor, Why.DELETE.value, address_of(origin), at=now)
            for tag in named:
                await untag(transaction, repository, counted, tag, current, move=move, origin=origin)
            await manifests.delete_manifest(transaction, repository_id, manifest.id, at=now)
            await counted.touched(transaction, manifest.id)
            # While the manifest was to be seen, "it exists" was told of its blobs without holding them.
            await blobs.hold_of(transaction, repository_id, manifest.id, hold=self._hold)
            await events.record(
                transaction,
                repository,
                events.DELETE,
                actor=actor,
                origin=origin,
                digest=digest,
                media_type=manifest.media_type,
                size=manifest.size,
            )
            await counted.settle(transaction, bound=False)

        await self._database.write(work, reserve=True)

    async def delete_blob(
        self, repository: RepositoryName, digest: Digest, *, actor: str, origin: Origin | None = None
    ) -> None:
        """Remove a blob from a repository.

        Raises:
            BlobUnknown
            ContentInUse: a manifest of the repository refers to it.
        """

        async def work(transaction: Transaction) -> None:
            repository_id = await repositories.lock(transaction, repository)
            linked = await blobs.find_linked(transaction, repository, digest)
            if repository_id is None or linked is None:
                raise BlobUnknown(f"{repository} has no blob {digest}", detail={"digest": digest})
            counted = await counting(transaction, repository, repository_id)
            manifest = await edges.referring_manifest(transaction, linked.repository_id, digest, linked.blob.id)
            if manifest is not None:
                raise _in_use(digest, manifest)
            await blobs.unlink(transaction, linked.repository_id, linked.blob.id)
            counted.blobs.add(linked.blob.id)
            await events.record(
                transaction, repository, events.DELETE, actor=actor, origin=origin, digest=digest, size=linked.blob.size
            )
            await counted.settle(transaction, bound=False)

        await self._database.write(work, reserve=True)


async def _find_repository(transaction: Transaction, repository: RepositoryName) -> Counting:
    """Hold a repository, and return what counts for it. Raises NameUnknown."""
    repository_id = await repositories.lock(transaction, repository)
    if repository_id is None:
        raise NameUnknown(f"there is no repository {repository}", detail={"name": repository})
    return await counting(transaction, repository, repository_id)


async def untag(
    transaction: Transaction,
    repository: RepositoryName,
    counted: Counting,
    tag: Tag,
    current: CurrentTag,
    *,
    move: Move,
    origin: Origin | None,
) -> None:
    """Remove a tag that may go, as part of a transaction that holds the repository.

    The event has no cause where a client deleted it: that is what it says already.
    """
    await tags.remove(transaction, counted.repository_id, tag, manifest_id=current.manifest_id, move=move)
    counted.untagging(current.manifest_id)
    await events.record(
        transaction,
        repository,
        events.UNTAG,
        actor=move.actor,
        origin=origin,
        tag=tag,
        digest=current.digest,
        cause=None if move.cause == Why.DELETE.value else move.cause,
    )


def _in_use(digest: Digest, by: str) -> ContentInUse:
    return ContentInUse(
        f"{digest} can't be deleted: manifest {by} of this repository refers to it; delete that first",
        detail={"digest": digest, "referred_to_by": by},
    )
