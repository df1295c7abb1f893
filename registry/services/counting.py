"""Counting what a transaction does against the quota of a project. `docs/decisions/022-quotas.md`.

Whoever changes what belongs to a repository says what it touched, and settles last in its transaction: what is touched
is compared with what was counted, and the difference added to the project's sums. A project without a quota costs one
look into an index.
"""

from collections.abc import Collection, Iterable

from auth.grants import project_of
from registry.db import quota_items, tags
from registry.db.connection import Reader, Transaction
from registry.db.quota_items import Countable, Counts, Item, Kind, Quota
from registry.errors import QuotaExceeded
from registry.event import QuotaShare
from registry.oci.names import Tag
from registry.services import events

_WARNED_AT = (80, 100)
"""Shares of a quota, in percent, that an event tells of when a push reaches them."""


class Counting:
    """What a transaction touches of one repository. Made when the repository is held, and no sooner.

    Args:
        quota: None for a project that has none; then nothing is noted.
        repository: its name, where the transaction may bring the quota to a share that somebody should know of.
    """

    __slots__ = ("_quota", "blobs", "is_gone", "manifests", "recount_tags", "repository", "repository_id", "tags")

    def __init__(self, quota: Quota | None, repository_id: int, repository: str = "") -> None:
        self._quota = quota
        self.repository_id = repository_id
        self.repository = repository
        self.blobs: set[int] = set()
        """Ids of blobs that the repository links in another way now, or no more."""
        self.manifests: set[int] = set()
        """Ids of manifests that are new, hidden, shown or gone."""
        self.tags = 0
        """How many tags more there are."""
        self.recount_tags = False
        """Whether all tags are counted again, whatever is known of them."""
        self.is_gone = False
        """Whether the repository is not there, or another project's: then nothing of it counts."""

    @property
    def quota(self) -> Quota | None:
        """The project's quota as it was found."""
        return self._quota

    @property
    def is_needed(self) -> bool:
        """Whether there is a quota."""
        return self._quota is not None

    async def touched(self, transaction: Transaction, manifest_id: int) -> None:
        """Note a manifest that is new, shown or hidden, or about to lose its edges. They are there, whichever."""
        if self._quota is None:
            return
        self.manifests.add(manifest_id)
        if self._quota.counts is not Counts.ALL:
            self.blobs |= await quota_items.blobs_of(transaction, [manifest_id])
        if self._quota.counts is Counts.TAGGED:
            self.manifests |= await quota_items.related_to(transaction, [manifest_id])

    async def tagging(self, transaction: Transaction, tag: Tag, manifest_id: int) -> None:
        """Note that a tag is about to name a manifest."""
        if self._quota is None:
            return
        before = await tags.current(transaction, self.repository_id, tag)
        if before is None:
            self.tags += 1
        else:
            self.manifests.add(before.manifest_id)
        self.manifests.add(manifest_id)

    def retagging(self, before_id: int | None, manifest_id: int | None) -> None:
        """Note that a tag is about to name another manifest: what it names and is to name, None for none."""
        if self._quota is None:
            return
        self.tags += (before_id is None) - (manifest_id is None)
        self.manifests |= {one for one in (before_id, manifest_id) if one is not None}

    def untagging(self, manifest_id: int) -> None:
        """Note that a tag names a manifest no more."""
        if self._quota is not None:
            self.tags -= 1
            self.manifests.add(manifest_id)

    async def linked(self, transaction: Transaction, digests: list[str]) -> None:
        """Note blobs that the repository links now."""
        if self._quota is not None and digests:
            self.blobs |= await quota_items.linked_ids(transaction, self.repository_id, digests)

    async def settle(self, transaction: Transaction, *, bound: bool) -> None:
        """Count what was noted. The last that a transaction does.

        Raises:
            QuotaExceeded: it is `bound`, and there is more of something now than there may be.
        """
        await settle_all(transaction, [self], bound=bound)


async def counting(transaction: Transaction, repository: str, repository_id: int) -> Counting:
    """Return what notes and counts for a repository that the transaction holds."""
    return Counting(await quota_items.of(transaction, project_of(repository)), repository_id, repository)


async def admit(reader: Reader, repository: str) -> None:
    """Return if a project has any room: bytes are not taken in vain that no manifest could come to refer to.

    Raises:
        QuotaExceeded
    """
    quota = await quota_items.of(reader, project_of(repository))
    if quota is not None and quota.most_bytes is not None and quota.used_bytes >= quota.most_bytes:
        raise exceeded(quota, "bytes", quota.used_bytes, quota.most_bytes, 1)


async def settle_all(transaction: Transaction, noted: Iterable[Counting], *, bound: bool) -> None:
    """Count for several repositories, of one project or of several: in the order in which everybody holds projects."""
    by_project: dict[int, list[Counting]] = {}
    for one in noted:
        if one.quota is not None and (one.blobs or one.manifests or one.tags or one.recount_tags):
            by_project.setdefault(one.quota.project_id, []).append(one)
    for project_id in sorted(by_project):
        quota = await quota_items.lock(transaction, project_id)
        if quota is None:  # it was taken away
            continue
        more_bytes = more_tags = 0
        for one in by_project[project_id]:
            more_bytes += await _count_content(transaction, quota, one)
            more_tags += await _count_tags(transaction, quota, one)
        if more_bytes or more_tags:
            await _grow(transaction, quota, more_bytes, more_tags, bound=bound)
            if bound:
                await _warn(transaction, quota, by_project[project_id][0].repository, more_bytes, more_tags)


async def resized(transaction: Transaction, blob_id: int, size: int) -> None:
    """Record, in all projects that count a blob, that it has another size than its row said.

    That comes of bytes that were taken over without being read, and are replaced by better ones.
    """
    for project_id, before in await quota_items.counting_blob(transaction, blob_id):
        quota = await quota_items.lock(transaction, project_id)
        if quota is not None and before != size:
            await quota_items.resize(transaction, quota, Kind.BLOB, blob_id, size)
            await quota_items.grow(transaction, quota, size - before, 0, bound=False)


async def _count_content(transaction: Transaction, quota: Quota, noted: Counting) -> int:
    """Compare what was noted of a repository with what was counted, and record it. Return the bytes it makes more."""
    changed, more = await _compare(transaction, quota, Kind.MANIFEST, noted, noted.manifests)
    blobs = set(noted.blobs)
    if changed and not noted.is_gone and quota.counts is not Counts.ALL:
        blobs |= await quota_items.blobs_of(transaction, changed)
    _, more_of_blobs = await _compare(transaction, quota, Kind.BLOB, noted, blobs)
    return more + more_of_blobs


async def _compare(
    transaction: Transaction, quota: Quota, kind: Kind, noted: Counting, ids: Collection[int]
) -> tuple[set[int], int]:
    """Record what should count. Return the ids of those that did not, or do no more, and the bytes it makes more."""
    if not ids:
        return set(), 0
    repository_id = noted.repository_id
    should = [] if noted.is_gone else await quota_items.should_count(transaction, quota, kind, repository_id, ids)
    counted = {one.item_id: one for one in await quota_items.counted(transaction, quota, kind, repository_id, ids)}
    new: list[Countable] = []
    more = 0
    for one in should:
        before = counted.pop(one.item_id, None)
        if before is None:
            new.append(one)
            more += 0 if one.elsewhere else one.size
        elif before.size != one.size:
            await quota_items.resize(transaction, quota, kind, one.item_id, one.size)
            more += one.size - before.size
    await quota_items.add(transaction, quota, kind, repository_id, new)
    gone = list(counted.values())
    await quota_items.remove(transaction, quota.project_id, [Item(kind, one.item_id, repository_id) for one in gone])
    more -= sum(one.size for one in gone if not one.elsewhere)
    return {one.item_id for one in (*new, *gone)}, more


async def _count_tags(transaction: Transaction, quota: Quota, noted: Counting) -> int:
    """Record how many tags a repository has now. Return how many more that makes."""
    if not noted.tags and not noted.recount_tags:
        return 0
    before = await quota_items.counted_tags(transaction, quota, noted.repository_id)
    if before is None or noted.recount_tags:
        number = 0 if noted.is_gone else await quota_items.count_tags(transaction, noted.repository_id)
    else:
        number = before + noted.tags
    if before is None and number:
        tags = [Countable(0, number, elsewhere=False)]
        await quota_items.add(transaction, quota, Kind.TAGS, noted.repository_id, tags)
    elif before is not None and number:
        await quota_items.set_tags(transaction, quota, noted.repository_id, number)
    elif before is not None:
        await quota_items.remove(transaction, quota.project_id, [Item(Kind.TAGS, 0, noted.repository_id)])
    return number - (before or 0)


async def _grow(transaction: Transaction, quota: Quota, more_bytes: int, more_tags: int, *, bound: bool) -> None:
    if await quota_items.grow(transaction, quota, more_bytes, more_tags, bound=bound):
        return
    if more_bytes > 0 and quota.most_bytes is not None and quota.used_bytes + more_bytes > quota.most_bytes:
        raise exceeded(quota, "bytes", quota.used_bytes, quota.most_bytes, more_bytes)
    raise exceeded(quota, "tags", quota.used_tags, quota.most_tags or 0, more_tags)


async def _warn(transaction: Transaction, quota: Quota, repository: str, more_bytes: int, more_tags: int) -> None:
    """Have an event tell that a quota is used nearly, or wholly, if what was just counted made it so."""
    for what, used, more, limit in (
        ("bytes", quota.used_bytes, more_bytes, quota.most_bytes),
        ("tags", quota.used_tags, more_tags, quota.most_tags),
    ):
        reached = [one for one in _WARNED_AT if limit and used * 100 < one * limit <= (used + more) * 100]
        if reached and limit:
            await events.warn(transaction, repository, QuotaShare(what, max(reached), used + more, limit))


def exceeded(quota: Quota, what: str, used: int, limit: int, more: int) -> QuotaExceeded:
    """Return the refusal of something that a quota has no room for. `what`: bytes or tags."""
    return QuotaExceeded(
        f"project {quota.project} has a quota of {limit} {what}, of which {used} are used; this needs {more} more",
        detail={"project": quota.project, "quota": what, "limit": limit, "used": used, "needed": more},
    )
