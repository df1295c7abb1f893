"""Making a copy of the database fit the storage as it is now.

The copy knows nothing of what was pushed after it was made: those objects are in the storage without a row, and stay
until no copy and no database put aside may name them. What the copy names and the storage lost is quarantined.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from registry.db import authority, backups, blobs, credentials, jobs, restored
from registry.db.backups import Backup, Kind
from registry.db.connection import Database, Transaction
from registry.db.restored import KeyedBlob
from registry.services.backups import Copy
from registry.services.stores import Stores
from storage.driver import BlobDriver, StoredObject

ASIDE_KEPT_S = 7 * 86400
"""How long bytes stay that the database names which was put aside."""
_PAGE = 500
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Missing:
    """A blob that is not in the storage, or not all of it. `repositories`: a few that show it."""

    digest: str
    size: int
    repositories: Sequence[str]


@dataclass(slots=True)
class Reconciled:
    """What was found. `unknown`: objects without a row, and `unknown_bytes` theirs. `ended`: tokens, see `_begin`."""

    blobs: int = 0
    unknown: int = 0
    unknown_bytes: int = 0
    missing: list[Missing] = field(default_factory=list)
    ended: int = 0


class Reconciler:
    """Compares rows with objects.

    Args:
        told: called now and then, with what was found so far.
    """

    def __init__(
        self, database: Database, driver: BlobDriver, stores: Stores, told: Callable[[Reconciled], None]
    ) -> None:
        self._database = database
        self._driver = driver
        self._stores = stores
        self._told = told
        self._found = Reconciled()

    async def run(self, copies: list[Copy], marks: list[Backup], aside: str) -> Reconciled:
        """End what was under way in the copy, record the copies that are kept, and compare.

        Args:
            copies: all that are in the storage, oldest first.
            marks: what the database has that is put aside.
            aside: the name of a mark for the database that is put aside.

        Raises:
            Unavailable, StorageError: the storage can't be looked at, and nothing is known to be missing.
        """
        self._found.ended = await self._database.write(lambda tx: _begin(tx, copies, marks, aside))
        for store in {self._driver.name, *await restored.stores(self._database)}:
            await self._compare(store)
        return self._found

    async def _compare(self, store: str) -> None:
        driver = await self._stores.driver_of(store)
        own = store == self._driver.name
        rows = aiter(self._rows(store))
        row = await anext(rows, None)
        unknown: list[tuple[str, int]] = []
        missing: list[KeyedBlob] = []
        async for one in driver.objects():
            while row is not None and row.key < one.name:
                missing.append(row)
                row = await anext(rows, None)
            is_known = False
            while row is not None and row.key == one.name:  # digests of two algorithms may share a key
                is_known = True
                if row.size != one.size:
                    missing.append(row)
                row = await anext(rows, None)
            if own and not is_known:
                unknown.append((one.name, one.size))
                self._count(one)
            if len(unknown) == _PAGE:
                await self._doom(store, unknown)
            if len(missing) >= _PAGE:
                await self._quarantine(missing)
        while row is not None:
            missing.append(row)
            row = await anext(rows, None)
        await self._doom(store, unknown)
        await self._quarantine(missing)

    async def _rows(self, store: str) -> AsyncIterator[KeyedBlob]:
        first, skipped = "", 0
        while page := await restored.page(self._database, store, first=first, skipped=skipped, limit=_PAGE):
            for one in page:
                self._found.blobs += 1
                yield one
            self._told(self._found)
            last = page[-1].key
            same = sum(one.key == last for one in page)
            first, skipped = last, same + (skipped if last == first else 0)

    def _count(self, one: StoredObject) -> None:
        self._found.unknown += 1
        self._found.unknown_bytes += one.size
        self._told(self._found)

    async def _doom(self, store: str, unknown: list[tuple[str, int]]) -> None:
        some = list(unknown)
        unknown.clear()
        if some:
            await self._database.write(lambda tx: restored.doom(tx, store, some))

    async def _quarantine(self, missing: list[KeyedBlob]) -> None:
        some = list(missing)
        missing.clear()
        for one in some:
            names = await blobs.repositories_of(self._database, one.digest, limit=_NAMED)
            self._found.missing.append(Missing(one.digest, one.size, names))
        if some:
            await self._database.write(lambda tx: restored.quarantine(tx, [one.id for one in some]))


async def begin_anew(transaction: Transaction) -> int:
    """End what was under way when a copy was made that is the database now; give the stream of events a new epoch.

    End all tokens, and return how many that was: the copy does not know which were revoked since.
    """
    await authority.change(transaction)
    ended = await credentials.revoke_all(transaction)
    await restored.reset(transaction)
    return ended


async def _begin(transaction: Transaction, copies: list[Copy], marks: list[Backup], aside: str) -> int:
    """Record what there is of copies and marks now, and have them keep all that they may name. Then `begin_anew`."""
    await backups.remove_copies(transaction)
    known = {one.name for one in await backups.every(transaction)}
    for copy in copies:
        await backups.add(transaction, copy.name, Kind.COPY, made_at=copy.made_at, size=copy.size)
    for mark in marks:
        if mark.name not in known:
            await backups.add(transaction, mark.name, Kind.MARK, made_at=mark.made_at, kept_until=mark.kept_until)
    now = await jobs.clock(transaction)
    until = now + ASIDE_KEPT_S * 1_000_000
    await backups.remove(transaction, aside)
    await backups.add(transaction, aside, Kind.MARK, made_at=now, kept_until=until)
    return await begin_anew(transaction)
