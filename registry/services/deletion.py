"""Deleting tags, manifests and blobs. What something else in the repository still refers to is refused."""

from registry.db import blobs, edges, manifests, repositories, tags
from registry.db.connection import Database, Transaction
from registry.db.tags import CurrentTag
from registry.errors import BlobUnknown, ContentInUse, ManifestUnknown, NameUnknown
from registry.oci.names import RepositoryName, Tag
from registry.services import events
from storage.digest import Digest


class Deletion:
    """Deleting from all repositories. Bytes stay until they are collected: only visibility ends here.

    Args:
        hold_s: seconds for which content stays at least that a client was told exists.
    """

    def __init__(self, database: Database, *, hold_s: int) -> None:
        self._database = database
        self._hold = hold_s * 1_000_000

    async def delete_tag(self, repository: RepositoryName, tag: Tag, *, actor: str) -> None:
        """Remove one tag; the manifest and its other tags stay.

        Raises:
            NameUnknown, ManifestUnknown
        """

        async def work(transaction: Transaction) -> None:
            repository_id = await _find_repository(transaction, repository)
            current = await tags.current(transaction, repository_id, tag)
            if current is None:
                raise ManifestUnknown(f"{repository} has no tag {tag}", detail={"tag": tag})
            await _untag(transaction, repository, repository_id, tag, current, actor=actor)

        await self._database.write(work, reserve=True)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest, *, actor: str) -> None:
        """Remove a manifest and every tag that names it.

        Raises:
            NameUnknown, ManifestUnknown
            ContentInUse: an index of the repository lists it.
        """

        async def work(transaction: Transaction) -> None:
            repository_id = await _find_repository(transaction, repository)
            manifest = await manifests.find(transaction, repository_id, digest)
            if manifest is None or manifest.deleted:
                raise ManifestUnknown(f"{repository} has no manifest {digest}", detail={"digest": digest})
            parent = await edges.listing_index(transaction, repository_id, digest, manifest.id)
            if parent is not None:
                raise _in_use(digest, parent)
            for tag in await tags.of_manifest(transaction, manifest.id):
                await _untag(transaction, repository, repository_id, tag, CurrentTag(manifest.id, digest), actor=actor)
            await manifests.delete_manifest(transaction, repository_id, manifest.id)
            # While the manifest was to be seen, "it exists" was told of its blobs without holding them.
            await blobs.hold_of(transaction, repository_id, manifest.id, hold=self._hold)
            await events.record(
                transaction,
                repository,
                events.DELETE,
                actor=actor,
                digest=digest,
                media_type=manifest.media_type,
                size=manifest.size,
            )

        await self._database.write(work, reserve=True)

    async def delete_blob(self, repository: RepositoryName, digest: Digest, *, actor: str) -> None:
        """Remove a blob from a repository.

        Raises:
            BlobUnknown
            ContentInUse: a manifest of the repository refers to it.
        """

        async def work(transaction: Transaction) -> None:
            await repositories.lock(transaction, repository)
            linked = await blobs.find_linked(transaction, repository, digest)
            if linked is None:
                raise BlobUnknown(f"{repository} has no blob {digest}", detail={"digest": digest})
            manifest = await edges.referring_manifest(transaction, linked.repository_id, digest, linked.blob.id)
            if manifest is not None:
                raise _in_use(digest, manifest)
            await blobs.unlink(transaction, linked.repository_id, linked.blob.id)
            await events.record(
                transaction, repository, events.DELETE, actor=actor, digest=digest, size=linked.blob.size
            )

        await self._database.write(work, reserve=True)


async def _find_repository(transaction: Transaction, repository: RepositoryName) -> int:
    repository_id = await repositories.lock(transaction, repository)
    if repository_id is None:
        raise NameUnknown(f"there is no repository {repository}", detail={"name": repository})
    return repository_id


async def _untag(
    transaction: Transaction,
    repository: RepositoryName,
    repository_id: int,
    tag: Tag,
    current: CurrentTag,
    *,
    actor: str,
) -> None:
    await tags.remove(transaction, repository_id, tag, manifest_id=current.manifest_id, actor=actor)
    await events.record(transaction, repository, events.UNTAG, actor=actor, tag=tag, digest=current.digest)


def _in_use(digest: Digest, by: str) -> ContentInUse:
    return ContentInUse(
        f"{digest} can't be deleted: manifest {by} of this repository refers to it; delete that first",
        detail={"digest": digest, "referred_to_by": by},
    )
