"""Collection: looking at what is queued, removing what nothing keeps, and deleting its bytes.

Rows go first, in transactions that ask again whether anything keeps them. The key of a blob whose last row goes is
doomed in the same transaction; only then its object is deleted, once no copy of the database that is kept may name it,
and then the key is forgotten. Whatever ends this in
between, the next run goes on from there. `docs/decisions/014-collection.md`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from registry.db import blobs, candidates, doomed, garbage, jobs, manifests
from registry.db.candidates import Candidate, Cause, Kind
from registry.db.connection import Database, Reader, Transaction
from registry.db.doomed import DoomedKey
from registry.db.garbage import LinkFacts, ManifestFacts, RepositoryFacts
from registry.oci.names import RepositoryName
from registry.services import events
from registry.services.counting import Counting, counting, settle_all
from registry.services.retention import Keeper, Rules, Verdict, judge_link, judge_manifest, judge_repository
from registry.services.stores import Stores
from storage.digest import Digest
from storage.errors import StorageError

ACTOR = "system:collection"
_CAUSE = "collection"
_BATCH = 100
"""Candidates a transaction, and objects between two looks at whether to go on: pushes wait for a transaction."""
_PAGE = 500

Facts = ManifestFacts | LinkFacts | RepositoryFacts
Check = Callable[[Transaction], Awaitable[None]]
"""Raises, inside the transaction, if this process may not go on."""


@dataclass(slots=True)
class Collected:
    """What was removed. `bytes`: of `objects`, which are deleted."""

    manifests: int = 0
    links: int = 0
    repositories: int = 0
    objects: int = 0
    bytes: int = 0

    @property
    def rows(self) -> int:
        """How many candidates went."""
        return self.manifests + self.links + self.repositories

    def __str__(self) -> str:
        return (
            f"{self.objects} blobs deleted, {self.bytes} bytes freed; {self.manifests} manifests, "
            f"{self.links} links and {self.repositories} repositories removed"
        )


@dataclass(frozen=True, slots=True)
class Explained:
    """A candidate, what is known of it, and what keeps it. `frees`: bytes, the least that its removal gives back."""

    candidate: Candidate
    facts: Facts
    verdict: Verdict
    frees: int


@dataclass(slots=True)
class _Batch:
    """What one transaction removed, by kind, and from which repositories. `removed`: anything at all.

    `counted`: by the ids of repositories, what it changed that may count against a quota.
    """

    removed: bool = False
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    emptied: set[int] = field(default_factory=set)
    counted: dict[int, Counting] = field(default_factory=dict)


class Collector:
    """Collects.

    Args:
        rate: most manifests and objects a second; 0 for no bound.
        window_s: how far back the database may be recovered, in seconds: objects stay for so long after their rows.
        told: called whenever more was removed, with what was so far in this run.

    Attributes:
        objects: how many objects were deleted since the process was started.
        bytes: how many bytes those had.
    """

    def __init__(
        self,
        database: Database,
        stores: Stores,
        rules: Rules,
        *,
        rate: int = 0,
        window_s: int = 0,
        told: Callable[[Collected], None] | None = None,
    ) -> None:
        self._database = database
        self._stores = stores
        self._rules = rules
        self._rate = rate
        self._window_s = window_s
        self._told = told
        self.objects = 0
        self.bytes = 0
        self._batch = min(_BATCH, rate) if rate else _BATCH

    async def run(self, check: Check, *, everything: bool = False) -> Collected:
        """Look at all that is due, and at what that leads to, and remove what nothing keeps.

        Args:
            check: asked in each transaction.
            everything: look at what is not due, too: it was put off by other rules.

        Raises:
            Whatever `check` raises; Unavailable; StorageError, when all that could be deleted was.
        """
        done = Collected()
        await self._delete_doomed(check, done)
        await self._database.write(lambda tx: self._prepare(tx, check), reserve=True)
        if everything:
            for kind in Kind:
                after: Candidate | None = None
                while found := await candidates.page(self._database, kind, after=after, limit=self._batch):
                    await self._look_at(found, check, done)
                    after = found[-1]
        for kind in Kind:  # manifests lead to manifests and links, links to repositories, none of them back
            await self._look_at_due(kind, check, done)
            await self._delete_doomed(check, done)
        return done

    async def _look_at_due(self, kind: Kind, check: Check, done: Collected) -> None:
        """Look at what is due, and at what is because of that. Ends, though more may become due all the time."""
        leads_on = True
        while leads_on and (found := await candidates.due(self._database, kind, limit=self._batch)):
            leads_on = await self._look_at(found, check, done) or len(found) == self._batch

    async def _prepare(self, transaction: Transaction, check: Check) -> None:
        await check(transaction)
        await candidates.bring_back(transaction)
        if self._rules.untagged == "collect":
            await candidates.unpark(transaction)

    async def _look_at(self, found: list[Candidate], check: Check, done: Collected) -> bool:
        """Judge candidates in one transaction, and let those go that nothing keeps. Return whether any did."""
        began = time.monotonic()

        async def work(transaction: Transaction) -> _Batch:
            await check(transaction)
            await garbage.lock(transaction, found)
            batch, now = _Batch(), await jobs.clock(transaction)
            for candidate in found:
                await self._judge(transaction, candidate, now, batch)
            for repository_id in batch.emptied:
                await candidates.add(transaction, Kind.REPOSITORY, repository_id, repository_id, Cause.EMPTIED)
            await settle_all(transaction, batch.counted.values(), bound=False)
            return batch

        batch = await self._database.write(work, reserve=True)
        done.manifests += batch.counts[Kind.MANIFEST]
        done.links += batch.counts[Kind.LINK]
        done.repositories += batch.counts[Kind.REPOSITORY]
        self._tell(done)
        await self._pace(batch.counts[Kind.MANIFEST], began)
        return batch.removed

    async def _judge(self, transaction: Transaction, found: Candidate, now: int, batch: _Batch) -> None:
        candidate = await candidates.find(transaction, found)
        if candidate is None:  # something refers to it since
            return
        judged = await judged_now(transaction, candidate, self._rules)
        if judged is None:
            await candidates.drop(transaction, candidate)
            return
        facts, (keeper, until) = judged
        if until is not None and until <= now:
            batch.removed = True
            if await self._remove(transaction, candidate, facts, await _counting(transaction, candidate, facts, batch)):
                batch.counts[candidate.kind] += 1
                if candidate.kind is not Kind.REPOSITORY:
                    batch.emptied.add(candidate.repository_id)
        elif until is not None:
            await candidates.postpone(transaction, candidate, min(until, now + candidates.LATEST_US))
        elif keeper is Keeper.SETTING:
            await candidates.postpone(transaction, candidate, None)
        else:  # what keeps it queues it again when it goes
            await candidates.drop(transaction, candidate)
            if candidate.kind is Kind.LINK:
                (await _counting(transaction, candidate, facts, batch)).blobs.add(candidate.item_id)

    async def _remove(self, transaction: Transaction, candidate: Candidate, facts: Facts, counted: Counting) -> bool:
        """Remove the rows of one candidate. Return False if there is more of it than goes at once."""
        repository_id, item_id = candidate.repository_id, candidate.item_id
        if isinstance(facts, RepositoryFacts):
            counted.recount_tags = True
            if not await garbage.remove_repository(transaction, repository_id):
                return False
        if isinstance(facts, ManifestFacts):
            if facts.deleted_at is None:  # until now, "it exists" was told of its blobs without holding them
                await blobs.hold_of(transaction, repository_id, item_id, hold=self._rules.hold)
                await _tell_of(transaction, repository_id, facts)
            await counted.touched(transaction, item_id)
            await candidates.add_edges(transaction, item_id, since=candidate.since)
            await candidates.add_referrers(transaction, repository_id, facts.digest, since=candidate.since)
            await garbage.remove_manifest(transaction, item_id)
        if isinstance(facts, LinkFacts):
            await garbage.remove_link(transaction, repository_id, item_id)
            counted.blobs.add(item_id)
        await candidates.drop(transaction, candidate)
        return True

    async def _delete_doomed(self, check: Check, done: Collected) -> None:
        """Delete the objects of doomed keys, and forget the keys.

        Raises:
            StorageError: some could not be deleted; the others were.
        """
        failure: StorageError | None = None
        for store in await self._stores.to_delete_from():
            failure = await self._delete_from(store, check, done) or failure
        if failure is not None:
            raise failure

    async def _delete_from(self, store: str, check: Check, done: Collected) -> StorageError | None:
        after: DoomedKey | None = None
        failure: StorageError | None = None
        # What becomes of copies of the database meanwhile changes nothing: a new one names none of these keys.
        may_go = await doomed.limit(self._database, window_s=self._window_s)
        while keys := await doomed.page(self._database, store, may_go, after=after, limit=self._batch):
            began, after = time.monotonic(), keys[-1]
            deleted, failed = await self._delete(store, keys)
            failure = failed or failure
            await self._forget(store, deleted, check)
            size = sum(one.size for one in deleted)
            done.objects, self.objects = done.objects + len(deleted), self.objects + len(deleted)
            done.bytes, self.bytes = done.bytes + size, self.bytes + size
            self._tell(done)
            await self._pace(len(deleted), began)
        return failure

    async def _delete(self, store: str, keys: list[DoomedKey]) -> tuple[list[DoomedKey], StorageError | None]:
        """Delete objects. Return those that are gone, and why others are not."""
        driver = await self._stores.driver_of(store)
        failed = await driver.delete_many([one.key for one in keys])
        return [one for one in keys if one.key not in failed], next(iter(failed.values()), None)

    async def _forget(self, store: str, deleted: list[DoomedKey], check: Check) -> None:
        async def work(transaction: Transaction) -> None:
            await check(transaction)
            await doomed.remove(transaction, store, [one.key for one in deleted])

        await self._database.write(work, reserve=True)

    def _tell(self, done: Collected) -> None:
        if self._told is not None:
            self._told(done)

    async def _pace(self, count: int, began: float) -> None:
        """Wait until `count` more may go."""
        if self._rate:
            await asyncio.sleep(max(0.0, count / self._rate - (time.monotonic() - began)))


async def _tell_of(transaction: Transaction, repository_id: int, facts: ManifestFacts) -> None:
    """Write down that a manifest goes which nobody has deleted."""
    name, digest = RepositoryName(facts.repository), Digest(facts.digest)
    known = await manifests.find(transaction, repository_id, digest)
    await events.record(
        transaction,
        name,
        events.DELETE,
        actor=ACTOR,
        digest=digest,
        media_type=None if known is None else known.media_type,
        size=facts.size,
        cause=_CAUSE,
    )


async def _counting(transaction: Transaction, candidate: Candidate, facts: Facts, batch: _Batch) -> Counting:
    """Return what counts for a candidate's repository, one for the whole batch."""
    known = batch.counted.get(candidate.repository_id)
    if known is None:
        known = await counting(transaction, facts.repository, candidate.repository_id)
        batch.counted[candidate.repository_id] = known
    return known


async def explain(reader: Reader, rules: Rules) -> AsyncIterator[Explained]:
    """Yield every candidate that is one still, manifests first, and change nothing."""
    for kind in Kind:
        after: Candidate | None = None
        while found := await candidates.page(reader, kind, after=after, limit=_PAGE):
            after = found[-1]
            for candidate in found:
                judged = await judged_now(reader, candidate, rules)
                if judged is not None and (judged[1].until is not None or judged[1].keeper is Keeper.SETTING):
                    yield Explained(candidate, *judged, await _frees(reader, candidate, judged[0]))


async def judged_now(reader: Reader, candidate: Candidate, rules: Rules) -> tuple[Facts, Verdict] | None:
    """Return what is known of a candidate and what follows from it, or None if it is not there any more."""
    repository_id, item_id = candidate.repository_id, candidate.item_id
    if candidate.kind is Kind.MANIFEST:
        manifest = await garbage.manifest(reader, repository_id, item_id)
        return None if manifest is None else (manifest, judge_manifest(candidate, manifest, rules))
    if candidate.kind is Kind.LINK:
        link = await garbage.link(reader, repository_id, item_id)
        return None if link is None else (link, judge_link(candidate, link, rules))
    repository = await garbage.repository(reader, repository_id)
    return None if repository is None else (repository, judge_repository(candidate, repository, rules))


async def _frees(reader: Reader, candidate: Candidate, facts: Facts) -> int:
    """Return the bytes that go with a candidate whatever becomes of others."""
    if isinstance(facts, ManifestFacts):
        return facts.size + await garbage.alone(reader, candidate.repository_id, candidate.item_id)
    if isinstance(facts, LinkFacts) and facts.last:
        return facts.size
    return 0
