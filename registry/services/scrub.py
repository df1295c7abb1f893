"""Scrubbing: reading what is stored, comparing it with its digest, and having nobody served what is damaged.

`docs/decisions/016-scrub.md` says what counts as damage, and why nothing is locked meanwhile.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.db import blobs, jobs, scrub
from registry.db.blobs import Blob
from registry.db.connection import Database, Reader, Transaction
from registry.db.scrub import Scrubbed
from registry.oci.names import RepositoryName
from registry.services import events
from registry.services.stores import Stores
from storage.digest import algorithm_of, digest_from, new_hasher
from storage.driver import READ_CHUNK, ObjectReader
from storage.errors import ObjectMissing, StorageError, StorageUnavailable

LEAST = 64 * 1024
"""Bytes that a blob counts as, if it has fewer: to find one costs a disk about what it costs to read so many."""

_ATTEMPTS = 3
_RETRY_S = 0.5
_PAGE = 200
_BATCH_S = 10.0
_BREATH_S = 0.005
"""Between two pages of rows: a server that has a million of them answers requests meanwhile."""
_MOST_MISSING = 100

Check = Callable[[Transaction], Awaitable[None]]
"""Raises, inside the transaction, if this process may not go on."""
Replace = Callable[[Blob], Awaitable[bool]]
"""Puts right bytes in the place of a quarantined blob's; says whether it did."""
_Pages = Callable[..., Awaitable[list[Scrubbed]]]


class Fault(StrEnum):
    """What is wrong with a blob. An UNREADABLE one may be whole: it is reported, and not quarantined."""

    CONTENT = "content"
    SIZE = "size"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """A blob that is not as it should be, and where it can be seen.

    `why`: half a sentence for people. `quarantined`: since now or before. `repaired`: other bytes have its place.
    """

    fault: Fault
    blob: Blob
    why: str
    repositories: tuple[RepositoryName, ...]
    quarantined: bool
    repaired: bool


@dataclass(slots=True)
class Outcome:
    """What a run did. `recovered`: were in quarantine, and their bytes are right again."""

    blobs: int = 0
    bytes: int = 0
    recovered: int = 0
    faults: dict[Fault, int] = field(default_factory=lambda: dict.fromkeys(Fault, 0))

    @property
    def found(self) -> int:
        """How many blobs are not as they should be."""
        return sum(self.faults.values())


class Pace:
    """Spreads bytes over time: never more than `rate` a second, and what was not used is not made up for.

    Args:
        rate: bytes a second; 0 for no bound.
    """

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    async def spend(self, count: int) -> None:
        """Return when `count` more bytes may be read."""
        if not self._rate:
            return
        now = self._clock()
        begin = max(now, self._next)
        self._next = begin + count / self._rate
        if begin > now:
            await self._sleep(begin - now)


def _unheard(finding: Finding) -> None:
    pass


class Scrubber:
    """Scrubs, one blob after the other.

    Args:
        told: called with each blob that is found to be damaged.
        replace: where the bytes of damaged blobs may be had from again, if anywhere.
        strict: what can't be read, again and again, is quarantined too.

    Attributes:
        done: what all runs did since the process was started.
    """

    def __init__(
        self,
        database: Database,
        stores: Stores,
        pace: Pace,
        *,
        told: Callable[[Finding], None] = _unheard,
        replace: Replace | None = None,
        strict: bool = False,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._database = database
        self._stores = stores
        self._pace = pace
        self._told = told
        self._replace = replace
        self._strict = strict
        self._retry_s = retry_s
        self.done = Outcome()

    async def run(
        self, check: Check, *, every_s: int, quarantined_only: bool = False, outcome: Outcome | None = None
    ) -> Outcome:
        """Read what is quarantined, what nobody has hashed, and what was last found right `every_s` seconds ago.

        Args:
            check: asked in each transaction.
            outcome: told how far it has come while it runs; returned in the end.

        Raises:
            Whatever `check` raises; Unavailable.
            StorageUnavailable: a store does not answer. What lies in others was scrubbed.
        """
        run = _Run(self, check, Outcome() if outcome is None else outcome)
        cutoff = await jobs.clock(self._database) - every_s * 1_000_000
        await run.over(scrub.quarantined, lambda one: True)
        if not quarantined_only:
            await run.over(scrub.unverified, lambda one: one.blob.state == blobs.GOOD)
            await run.over(
                scrub.page,
                lambda one: one.blob.state == blobs.GOOD and one.verified_at is not None and one.verified_at <= cutoff,
            )
        await run.flush()
        if run.away:
            raise next(iter(run.away.values()))
        return run.outcome

    @property
    def database(self) -> Database:
        """Where the facts are."""
        return self._database

    async def judge(self, blob: Blob, outcome: Outcome) -> tuple[Fault, str] | None:
        """Read a blob. Return what is wrong with it, seen twice in a row, or None.

        Raises:
            StorageUnavailable: the whole store does not answer.
        """
        seen: Fault | None = None
        error: StorageError | None = None
        for attempt in range(_ATTEMPTS):
            try:
                fault = await self._read(blob, outcome)
            except StorageError as failed:
                error, seen = failed, None
                if attempt < _ATTEMPTS - 1:
                    await asyncio.sleep(self._retry_s * (attempt + 1))
                continue
            if fault is None:
                return None
            if fault is seen:
                return fault, _WHY[fault]
            seen = fault
        if error is None:
            return (seen or Fault.CONTENT), "it reads differently each time"
        await (await self._stores.driver_of(blob.store)).check()
        return Fault.UNREADABLE, str(error)

    async def record(self, check: Check, read: Blob, fault: Fault, why: str) -> Finding | None:
        """Quarantine a blob, unless it can't be told whether that is right. None if its row is another by now."""
        quarantines = self._strict or fault is not Fault.UNREADABLE

        async def work(transaction: Transaction) -> list[RepositoryName] | None:
            await check(transaction)
            names = await scrub.lock(transaction, read)
            if names is None or not quarantines or read.state != blobs.GOOD:
                return names
            await scrub.quarantine(transaction, read.id)
            for name in names:
                await events.record(
                    transaction, name, events.QUARANTINE, actor="scrub", digest=read.digest, size=read.size, fault=fault
                )
            return names

        names = await self._database.write(work, reserve=True)
        if names is None:
            return None
        is_quarantined = quarantines or read.state != blobs.GOOD
        repaired = False
        if self._replace is not None and is_quarantined:
            repaired = await self._replace(read._replace(state=blobs.QUARANTINED))
        finding = Finding(fault, read, why, tuple(names), is_quarantined, repaired)
        self._told(finding)
        return finding

    async def recover(self, check: Check, read: Blob) -> bool:
        """Serve a blob again. Return False if its row is another by now."""

        async def work(transaction: Transaction) -> bool:
            await check(transaction)
            names = await scrub.lock(transaction, read)
            if names is None:
                return False
            await scrub.recover(transaction, read.id)
            await record_recovery(transaction, names, read, actor="scrub")
            return True

        return await self._database.write(work, reserve=True)

    async def _read(self, blob: Blob, outcome: Outcome) -> Fault | None:
        await self._pace.spend(LEAST)
        driver = await self._stores.driver_of(blob.store)
        try:
            reader = await driver.open(blob.key)
        except ObjectMissing:
            return Fault.MISSING
        try:
            if reader.size != blob.size:
                return Fault.SIZE
            return await self._hash(blob, reader, outcome)
        finally:
            reader.close()

    async def _hash(self, blob: Blob, reader: ObjectReader, outcome: Outcome) -> Fault | None:
        algorithm = algorithm_of(blob.digest)
        hasher = new_hasher(algorithm)
        await asyncio.to_thread(_forget_pages, reader)
        for offset in range(0, blob.size, READ_CHUNK):
            length = min(READ_CHUNK, blob.size - offset)
            await self._pace.spend(length if offset else max(0, length - LEAST))
            content = await reader.read(offset, length)
            await asyncio.to_thread(hasher.update, content)
            for counted in (outcome, self.done):
                counted.bytes += length
        await asyncio.to_thread(_forget_pages, reader)
        return None if digest_from(algorithm, hasher) == blob.digest else Fault.CONTENT


class _Run:
    """One run: what it has found right and not written down yet, and which stores do not answer."""

    def __init__(self, scrubber: Scrubber, check: Check, outcome: Outcome) -> None:
        self._scrubber = scrubber
        self._check = check
        self._right: list[Blob] = []
        self._since = time.monotonic()
        self._missing = 0
        self.outcome = outcome
        self.away: dict[str, StorageError] = {}

    async def over(self, pages: _Pages, wanted: Callable[[Scrubbed], bool]) -> None:
        """Look at each blob of some that is wanted."""
        async for one in _all(self._scrubber.database, pages):
            if wanted(one) and one.blob.store not in self.away:
                await self._look(one.blob)
            if len(self._right) >= _PAGE or (self._right and time.monotonic() - self._since > _BATCH_S):
                await self.flush()

    async def flush(self) -> None:
        """Write down what was found right."""
        right, self._right, self._since = self._right, [], time.monotonic()

        async def work(transaction: Transaction) -> None:
            await self._check(transaction)
            if right:
                await scrub.mark_verified(transaction, sorted(right))

        await self._scrubber.database.write(work, reserve=True)

    async def _look(self, blob: Blob) -> None:
        try:
            judged = await self._scrubber.judge(blob, self.outcome)
        except StorageError as error:
            self.away[blob.store] = error
            return
        for counted in (self.outcome, self._scrubber.done):
            counted.blobs += 1
        if judged is None:
            self._missing = 0
            if blob.state == blobs.GOOD:
                self._right.append(blob)
            else:
                self.outcome.recovered += await self._scrubber.recover(self._check, blob)
            return
        self._refuse_another_store(blob, judged[0])
        if await self._scrubber.record(self._check, blob, *judged) is not None:
            for counted in (self.outcome, self._scrubber.done):
                counted.faults[judged[0]] += 1

    def _refuse_another_store(self, blob: Blob, fault: Fault) -> None:
        """Raise StorageUnavailable if so much is missing that this can't be where it was stored."""
        if blob.state != blobs.GOOD:
            return
        self._missing = self._missing + 1 if fault is Fault.MISSING else 0
        if self._missing >= _MOST_MISSING:
            raise StorageUnavailable(
                f"the last {_MOST_MISSING} blobs looked at are all missing from the store {blob.store}: is it the one "
                "that the database tells of? Nothing more is quarantined"
            )


async def record_recovery(transaction: Transaction, names: list[RepositoryName], blob: Blob, *, actor: str) -> None:
    """Write down, for each repository, that a blob can be had again."""
    for name in names:
        await events.record(transaction, name, events.RECOVER, actor=actor, digest=blob.digest, size=blob.size)


async def _all(reader: Reader, pages: _Pages) -> AsyncIterator[Scrubbed]:
    after = 0
    while page := await pages(reader, after=after, limit=_PAGE):
        for one in page:
            yield one
        after = page[-1].blob.id
        await asyncio.sleep(_BREATH_S)


def _forget_pages(reader: ObjectReader) -> None:
    """Have a file read from its disk and not from memory, and keep what others read in memory from being pushed out."""
    if reader.fileno is not None:
        os.posix_fadvise(reader.fileno, 0, 0, os.POSIX_FADV_DONTNEED)


_WHY: Mapping[Fault, str] = {
    Fault.CONTENT: "its bytes do not hash to its digest",
    Fault.SIZE: "it has another size than was stored",
    Fault.MISSING: "it is not in the store",
}
