"""Quotas: setting one counts what is there, in small transactions, beside pushes. `docs/decisions/022-quotas.md`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from auth.grants import project_of
from registry.db import projects, quota_items, quotas, repositories
from registry.db.connection import Database, Transaction
from registry.db.projects import Project
from registry.db.quota_items import Counts, Item, Kind, Quota
from registry.db.quotas import Sums
from registry.errors import QuotaUnknown
from registry.oci.names import RepositoryName
from registry.services.counting import Counting

_PAGE = 500
"""Rows a transaction: pushes to the same repository wait for it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a project may hold at most, and what counts. None: without limit."""

    bytes: int | None
    tags: int | None
    counts: Counts = Counts.VISIBLE


@dataclass(frozen=True, slots=True)
class Checked:
    """What was said to be used, and what is. `right`: whether they were the same."""

    project: str
    was: tuple[int, int]
    now: tuple[int, int]

    @property
    def right(self) -> bool:
        """Whether nothing had to be repaired."""
        return self.was == self.now


def _unheard(looked_at: int) -> None:
    pass


class Quotas:
    """The quotas of all projects.

    Args:
        told: called with how many rows were looked at, now and then.
    """

    def __init__(self, database: Database, *, told: Callable[[int], None] = _unheard) -> None:
        self._database = database
        self._told = told
        self._looked_at = 0

    async def limited(self) -> AsyncIterator[Project]:
        """Yield the projects that have a quota, by their names."""
        after = ""
        while names := await quotas.limited(self._database, after=after, limit=_PAGE):
            for name in names:
                found = await projects.find(self._database, name)
                if found is not None:
                    yield found
            after = names[-1]

    async def set(
        self, project: str, limits: Limits, *, changed: Callable[[Transaction], Awaitable[None]] | None = None
    ) -> bool:
        """Give a project a quota, or another one. It holds from now on; what is there is counted by `count`.

        Until then what is used is less than it will be, so nothing is refused that would not be later.

        Args:
            changed: records the change, in its transaction.

        Returns:
            Whether something is to be counted.

        Raises:
            RecordUnknown
        """

        async def work(transaction: Transaction) -> bool | None:
            """Return whether all is counted; None if there is more to be removed of what was counted before."""
            held = await quotas.lock(transaction, project)
            if held is None:
                raise projects.unknown(project)
            if not held.limited:
                old = await quotas.items(transaction, held.id, after=None, limit=_PAGE)
                await quota_items.remove(transaction, held.id, old)
                if len(old) == _PAGE:
                    return None
            await quotas.set_quota(
                transaction, held.id, most_bytes=limits.bytes, most_tags=limits.tags, counts=limits.counts
            )
            if changed is not None:
                await changed(transaction)
            found = await projects.find(transaction, project)
            return found is not None and found.counted_at is not None

        while (counted := await self._database.write(work)) is None:
            pass
        return not counted

    async def clear(self, project: str, *, changed: Callable[[Transaction], Awaitable[None]] | None = None) -> bool:
        """Take a project's quota away. Return False if it has none. `forget` is to follow. Raises RecordUnknown."""

        async def work(transaction: Transaction) -> bool:
            held = await quotas.lock(transaction, project)
            if held is None:
                raise projects.unknown(project)
            if not held.limited:
                return False
            await quotas.clear(transaction, held.id)
            if changed is not None:
                await changed(transaction)
            return True

        return await self._database.write(work, reserve=True)

    async def forget(self, project: str) -> None:
        """Remove what was counted for a project that has no quota any more, in small transactions."""

        async def work(transaction: Transaction) -> bool:
            held = await quotas.lock(transaction, project)
            if held is None or held.limited:
                return False
            old = await quotas.items(transaction, held.id, after=None, limit=_PAGE)
            await quota_items.remove(transaction, held.id, old)
            return len(old) == _PAGE

        while await self._database.write(work, reserve=True):
            pass

    async def count(self, project: str, *, check: Callable[[], Awaitable[None]] | None = None) -> Checked:
        """Count all that a project has, and repair what was counted otherwise. Pushes go on meanwhile.

        Args:
            check: asked now and then whether to go on; it raises if not.

        Raises:
            RecordUnknown: it is not there.
            QuotaUnknown: it has no quota, or not any more.
        """
        self._looked_at = 0
        before = await self._sums(project)
        while True:
            quota = await quota_items.of(self._database, project)
            if quota is None:
                raise _unlimited(project)
            # Who began before the quota was there, and makes a repository, is through with it now.
            await self._database.write(lambda tx: repositories.wait_for_creators(tx, project))
            async for repository_id in self._repositories(project):
                if check is not None:
                    await check()
                await self._count_repository(project, repository_id)
            await self._look_at_items(project, quota.project_id)
            if await self._finish(project, quota):
                break
        after = await self._sums(project)
        return Checked(project, (before.used_bytes, before.used_tags), (after.used_bytes, after.used_tags))

    async def uncounted(self) -> list[str]:
        """Return the names of projects whose quota is to be counted still, some of them if there are many."""
        return await quotas.limited(self._database, after="", limit=_PAGE, uncounted=True)

    async def _repositories(self, project: str) -> AsyncIterator[int]:
        own = await repositories.find(self._database, RepositoryName(project))
        if own is not None:
            yield own
        after = ""
        while page := await quotas.repository_page(self._database, project, after=after, limit=_PAGE):
            for repository_id, _ in page:
                yield repository_id
            after = page[-1][1]

    async def _count_repository(self, project: str, repository_id: int) -> None:
        """Count a repository. Manifests come before blobs: which of those count follows from them.

        Tags come first, since that waits for whoever has the repository: it may have looked for a quota when there was
        none, and what it does is in the pages that are read afterwards.
        """
        await self._count(project, repository_id, tags=True)
        after = ""
        while manifests := await quotas.manifest_page(self._database, repository_id, after=after, limit=_PAGE):
            await self._count(project, repository_id, manifests=[one[0] for one in manifests])
            after = manifests[-1][1]
        last = -1
        while blobs := await quotas.link_page(self._database, repository_id, after=last, limit=_PAGE):
            await self._count(project, repository_id, blobs=blobs)
            last = blobs[-1]

    async def _look_at_items(self, project: str, project_id: int) -> None:
        """Look again at what was counted: of what is gone by now, the walk above has seen nothing."""
        after: Item | None = None
        while page := await quotas.items(self._database, project_id, after=after, limit=_PAGE):
            by_repository: dict[int, list[Item]] = {}
            for item in page:
                by_repository.setdefault(item.repository_id, []).append(item)
            for repository_id, items in by_repository.items():
                await self._count(
                    project,
                    repository_id,
                    manifests=[one.item_id for one in items if one.kind is Kind.MANIFEST],
                    blobs=[one.item_id for one in items if one.kind is Kind.BLOB],
                    tags=any(one.kind is Kind.TAGS for one in items),
                )
            after = page[-1]

    async def _count(
        self,
        project: str,
        repository_id: int,
        *,
        manifests: Sequence[int] = (),
        blobs: Sequence[int] = (),
        tags: bool = False,
    ) -> None:
        async def work(transaction: Transaction) -> None:
            await repositories.lock_known(transaction, repository_id)
            counted = Counting(await quota_items.of(transaction, project), repository_id)
            # Ids of repositories that were collected may have been given to others.
            name = await repositories.name_of(transaction, repository_id)
            counted.is_gone = name is None or project_of(name) != project
            counted.manifests.update(manifests)
            counted.blobs.update(blobs)
            counted.recount_tags = tags
            await counted.settle(transaction, bound=False)

        await self._database.write(work, durable=False)
        self._looked_at += len(manifests) + len(blobs)
        self._told(self._looked_at)

    async def _finish(self, project: str, quota: Quota) -> bool:
        """Record that all is counted, and make the sums right. False if something else is to be counted by now."""

        async def work(transaction: Transaction) -> bool:
            if await quota_items.lock(transaction, quota.project_id) is None:
                raise _unlimited(project)
            if not right:
                sums = await quotas.sums(transaction, quota.project_id)
                if sums is not None:
                    await quotas.set_used(transaction, quota.project_id, sums)
            return await quotas.finish(transaction, quota.project_id, quota.counts)

        right = (await self._sums(project)).right  # added up without holding up anybody
        return await self._database.write(work)

    async def _sums(self, project: str) -> Sums:
        found = await projects.known(self._database, project)
        sums = await quotas.sums(self._database, found.id)
        if sums is None:
            raise projects.unknown(project)
        return sums


def _unlimited(project: str) -> QuotaUnknown:
    return QuotaUnknown(f"project {project} has no quota", detail={"project": project})
