"""Taking over the tags of a repository, and what they were before, as far as it can be told.

The other registry keeps, for each digest that a tag ever named, a link that is written again whenever the tag comes
back to it. So the times of these links tell when each was last set, which is what history is made from.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from auth.roles import Action
from registry.db import manifests, repositories, takeover
from registry.db.connection import Database, Transaction
from registry.db.stores import Store
from registry.db.takeover import Assignment, SetTag
from registry.oci.names import Tag, is_tag
from registry.services.counting import Counting, counting
from registry.services.tag_guard import TagGuard
from registry.services.takeover_manifests import ACTOR, ManifestTakeover
from registry.services.takeover_report import Reason
from registry.services.takeover_source import Link, Source
from registry.services.together import together
from storage.digest import Digest
from storage.errors import StorageUnavailable

_TAGS = "_manifests/tags"
_BATCH = 100
"""Tags a transaction: pushes to a server on the same database wait for it."""
_MOST_HISTORY = 1000
"""Of what a tag was before, so many entries are kept: the latest."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A tag there: what it names, and what it was, in order of time; the last entry is what it names."""

    tag: Tag
    digest: Digest
    history: tuple[Assignment, ...]


class _Outcome(NamedTuple):
    """What became of a tag: how many were added, how many moved, how much history came with it, or what to say."""

    added: int = 0
    moved: int = 0
    history: int = 0
    kept: tuple[Reason, str] | None = None
    left_out: str = ""


class TagTakeover:
    """Records the tags of a repository. Its manifests must have been recorded before.

    Args:
        now: the database's time when the run began, in microseconds since the epoch: nothing happened later.
    """

    def __init__(self, database: Database, source: Source, store: Store, manifests: ManifestTakeover, now: int) -> None:
        self._database = database
        self._source = source
        self._store = store
        self._manifests = manifests
        self._now = now

    async def run(self) -> None:
        """Set new tags, and move those that are as an earlier run set them."""
        async for page in self._source.storage.folders(f"repositories/{self._source.name}/{_TAGS}"):
            named = [Tag(name) for name in page if is_tag(name)]
            for name in page:
                if not is_tag(name):
                    self._source.leave_out(Reason.NAME_INVALID, f"{_TAGS}/{name}", "no tag can have this name")
            changed = await self._changed(named)
            for first in range(0, len(changed), _BATCH):
                await self._record(await self._look_at_all(changed[first : first + _BATCH]))

    async def _changed(self, named: Sequence[Tag]) -> list[tuple[Tag, Digest, int]]:
        """Return those tags that do not name what an earlier run found: tag, digest, and since when."""
        known = await takeover.remembered_tags(self._database, self._store.id, self._source.name, named)
        targets = await self._source.targets([f"{_TAGS}/{tag}/current/link" for tag in named])
        changed: list[tuple[Tag, Digest, int]] = []
        for tag, target in zip(named, targets, strict=True):
            if target is None:
                # A link that is not there is a tag in the making, or one that is being deleted.
                continue
            before = known.get(tag)
            if before is None or before.digest != target[0]:
                changed.append((tag, *target))
        return changed

    async def _look_at_all(self, changed: Sequence[tuple[Tag, Digest, int]]) -> list[_Found]:
        found: list[_Found] = []
        at_once = self._source.storage.at_once
        for first in range(0, len(changed), at_once):
            found += await together(*(self._look(*one) for one in changed[first : first + at_once]))
        return found

    async def _look(self, tag: Tag, digest: Digest, since: int) -> _Found:
        """Read what the tag was. History that can't be read is no reason to leave out the tag."""
        links: list[Link] = []
        folder = f"{_TAGS}/{tag}/index"
        try:
            async for page in self._source.digests(folder):
                links += await self._source.links(folder, page)
        except StorageUnavailable as error:
            self._source.leave_out(Reason.UNREADABLE, folder, str(error))
        times = {link.digest: min(link.written_at, self._now) for link in links}
        times[digest] = max(min(since, self._now), *times.values()) if times else min(since, self._now)
        order = sorted((at, one) for one, at in times.items() if one != digest)[-_MOST_HISTORY:]
        order.append((times[digest], digest))
        ends = [*(at for at, _ in order[1:]), None]
        return _Found(tag, digest, tuple(Assignment(one, at, end) for (at, one), end in zip(order, ends, strict=True)))

    async def _record(self, found: Sequence[_Found], *, again: bool = True) -> None:
        """Set tags. What names a manifest that is not there is tried `again`."""

        async def work(transaction: Transaction) -> list[_Outcome]:
            repository_id = await repositories.find_or_create(transaction, self._source.name)
            counted = await counting(transaction, self._source.name, repository_id)
            guard = TagGuard(self._source.name)
            outcomes = [await self._set(transaction, counted, guard, one) for one in found]
            await counted.settle(transaction, bound=False)
            return outcomes

        outcomes = await self._database.write(work, durable=False)
        if again and (late := [one.digest for one, was in zip(found, outcomes, strict=True) if was.left_out]):
            await self._manifests.take(late)  # pushed since manifests were listed, perhaps
            later = [one for one, was in zip(found, outcomes, strict=True) if was.left_out]
            await self._record(later, again=False)
            outcomes = [_Outcome() if was.left_out else was for was in outcomes]
        report = self._source.report
        for one, outcome in zip(found, outcomes, strict=True):
            report.tags += outcome.added
            report.tags_moved += outcome.moved
            report.history += outcome.history
            if outcome.kept is not None:
                report.keep(outcome.kept[0], self._source.name, one.tag, outcome.kept[1])
            if outcome.left_out:
                self._source.leave_out(Reason.TAG_TARGET_MISSING, one.tag, outcome.left_out)

    async def _set(self, transaction: Transaction, counted: Counting, guard: TagGuard, found: _Found) -> _Outcome:
        """Set a tag, unless it was changed here, or may not be moved."""
        repository_id, name, tag = counted.repository_id, self._source.name, found.tag
        before = (await takeover.remembered_tags(transaction, self._store.id, name, [tag])).get(tag)
        current = await takeover.current_tag(transaction, repository_id, tag)
        if current != before:
            return _kept(current, found.digest)
        if current is not None and current.digest != found.digest:
            rule = await guard.forbidding(transaction, Action.OVERWRITE, tag)
            if rule is not None:
                return _Outcome(kept=(Reason.FIXED_HERE, f"names {current.digest} here, {found.digest} there: {rule}"))
        listed = [entry.digest for entry in found.history]
        ids = {
            Digest(digest): one[0]
            for digest, one in (await manifests.find_several(transaction, repository_id, list(listed))).items()
        }
        if found.digest not in ids:
            return _Outcome(left_out=f"it names {found.digest}, which was not taken over, or was deleted here")
        history = found.history if before is None else _since(before, found.history)
        await counted.tagging(transaction, tag, ids[found.digest])
        now = await takeover.set_tag(transaction, repository_id, tag, history=history, ids=ids, actor=ACTOR)
        await takeover.remember_tag(transaction, self._store.id, name, tag, now)
        return _Outcome(added=before is None, moved=before is not None, history=len(history) - 1)


def _kept(current: SetTag | None, there: Digest) -> _Outcome:
    """Return the outcome of a tag that is not as a run left it."""
    if current is None:
        return _Outcome(kept=(Reason.DELETED_HERE, f"deleted here; there it names {there} now"))
    if current.digest == there:
        return _Outcome()
    return _Outcome(kept=(Reason.CHANGED_HERE, f"names {current.digest} here, {there} there"))


def _since(before: SetTag, history: Sequence[Assignment]) -> list[Assignment]:
    """Return what is new since a run set the tag: never nothing, and nothing older than what is recorded."""
    new = [entry for entry in history[:-1] if entry.started_at > before.set_at and entry.digest != before.digest]
    last = history[-1]
    new.append(last._replace(started_at=max(last.started_at, before.set_at + 1)))
    ended = [entry._replace(ended_at=after.started_at) for entry, after in itertools.pairwise(new)]
    return [*ended, new[-1]]
