"""Comparing the database with itself and with the storage, both ways, while servers run.

Everything is read in pages. What looks wrong is looked at again, by itself, inside a transaction that holds what it
belongs to: what was only on its way is right by then. `docs/decisions/016-scrub.md`.
"""

from collections.abc import AsyncIterator
from contextlib import suppress

from registry.db import blobs, doomed, fsck, quotas, repairs, stores, uploads
from registry.db import scrub as scrub_rows
from registry.db.connection import Database, Transaction
from registry.db.fsck import BlobFacts
from registry.errors import QuotaUnknown, RecordUnknown
from registry.services.fsck_report import Problem, Report
from registry.services.fsck_rows import RowCheck
from registry.services.quotas import Quotas
from registry.services.retention import Rules
from registry.services.scrub import Fault, Pace, Scrubber
from registry.services.stores import Stores
from storage.digest import new_hasher
from storage.driver import BlobDriver, StoredObject
from storage.errors import (
    InvalidKey,
    ObjectMissing,
    StorageError,
    StorageUnavailable,
    UploadBusy,
    UploadDamaged,
    UploadMissing,
)

_PAGE = 500
_AGE_S = 86400
"""A push records its object within seconds, and writes to its upload all the time. A day is room for other clocks."""
_IDLE_S = 3600
_MOST_MISSING = 100


class Fsck:
    """Checks, and repairs if it is told to.

    Args:
        own: the driver that everything new goes to.
        repair: do something about what is found.
    """

    def __init__(
        self, database: Database, stores: Stores, own: BlobDriver, rules: Rules, report: Report, *, repair: bool
    ) -> None:
        self._database = database
        self._stores = stores
        self._own = own
        self._rules = rules
        self._report = report
        self._repair = repair
        self._missing = 0
        self._quarantine = Scrubber(database, stores, Pace(0))

    async def run(self, now: float) -> None:
        """Look at everything. `now`: seconds since the epoch, by the clock that objects' times are from.

        Raises:
            Unavailable, StorageUnavailable: the database, or the registry's own storage, does not answer.
        """
        await RowCheck(self._database, self._rules, self._report, repair=self._repair).run()
        own = self._own.name
        await self._compare(own, now)
        for name in await self._others(own):
            try:
                await self._compare(name, now)
            except StorageUnavailable as error:
                self._report.add(Problem.STORE_UNAVAILABLE, name, str(error), repaired=False)
        await self._check_uploads(now)
        await self._check_quotas()

    async def _check_quotas(self) -> None:
        """Look at what projects use that have a quota; what was repaired before may have changed it."""
        self._report.doing = "looking at quotas"
        counting = Quotas(self._database)
        async for project in counting.limited():
            self._report.looked_at["quotas"] += 1
            sums = await quotas.sums(self._database, project.id)
            if self._repair:
                with suppress(RecordUnknown, QuotaUnknown):  # taken away meanwhile
                    await counting.count(project.name)
            if sums is not None and not sums.right:
                message = f"it says that {sums.used_bytes} bytes and {sums.used_tags} tags are used, and counted were "
                message += f"{sums.right_bytes} and {sums.right_tags}"
                self._report.add(Problem.QUOTA_SUM, project.name, message, repaired=self._repair)

    async def _others(self, own: str) -> list[str]:
        names = {store.name for store in await stores.every(self._database)}
        after = ""
        while (name := await fsck.next_store(self._database, after)) is not None:
            names.add(name)
            after = name
        return sorted(names - {own})

    async def _compare(self, store: str, now: float) -> None:
        """Compare the rows of a store with its objects: two streams in the order of their keys."""
        self._report.doing = f"comparing blobs with the store {store}"
        driver = await self._stores.driver_of(store)
        await driver.check()
        is_own = store == self._own.name  # what lies elsewhere and never had a row is not this registry's
        self._missing = 0
        orphans: list[StoredObject] = []
        async for rows, found in _merged(self._rows(store), driver.objects()):
            for facts in rows:
                await self._look_at_blob(driver, facts, None if found is None else found.size)
            if not rows and found is not None and is_own and found.modified_at < now - _AGE_S:
                orphans.append(found)
            if len(orphans) == _PAGE:
                await self._look_at_orphans(orphans)
                orphans = []
        await self._look_at_orphans(orphans)

    async def _rows(self, store: str) -> AsyncIterator[BlobFacts]:
        after = ("", 0)
        while page := await fsck.blob_page(self._database, store, after=after, limit=_PAGE):
            for facts in page:
                yield facts
            after = (page[-1].blob.key, page[-1].blob.id)

    async def _look_at_blob(self, driver: BlobDriver, facts: BlobFacts, size: int | None) -> None:
        self._report.looked_at["blobs"] += 1
        blob = facts.blob
        if facts.doomed:
            await self._spare(facts)
        if not facts.linked:
            await self._remove_unlinked(facts)
        elif blob.state == blobs.GOOD and size != blob.size:
            await self._look_at_object(driver, facts)
        else:
            self._missing = 0

    async def _look_at_object(self, driver: BlobDriver, facts: BlobFacts) -> None:
        """Look again at a blob whose object was not listed, or with another size."""
        blob, error = facts.blob, ""
        size: int | None = None
        try:
            size = await driver.size(blob.key)
        except (ObjectMissing, InvalidKey):
            pass
        except StorageError as failed:
            await driver.check()
            error = str(failed)
        if await fsck.blob(self._database, blob) is None:  # it was collected, or pushed anew
            return
        if error:
            self._report.add(Problem.OBJECT_UNREADABLE, blob.digest, error, repaired=False)
        elif size is None:
            self._refuse_another_store(blob.store)
            why = f"its object {blob.key} is not in the store {blob.store}"
            await self._quarantined(blob, Problem.OBJECT_MISSING, Fault.MISSING, why)
        elif size != blob.size:
            why = f"its object {blob.key} in the store {blob.store} has {size} bytes, it should have {blob.size}"
            await self._quarantined(blob, Problem.OBJECT_SIZE, Fault.SIZE, why)

    def _refuse_another_store(self, store: str) -> None:
        self._missing += 1
        if self._repair and self._missing > _MOST_MISSING:
            raise StorageUnavailable(
                f"the last {_MOST_MISSING} blobs looked at are all missing from the store {store}: is it the one "
                "that the database tells of? Nothing more is quarantined"
            )

    async def _quarantined(self, blob: blobs.Blob, problem: Problem, fault: Fault, why: str) -> None:
        done = self._repair and await self._quarantine.record(_unfenced, blob, fault, why) is not None
        self._report.add(problem, blob.digest, why, repaired=done)

    async def _spare(self, facts: BlobFacts) -> None:
        blob = facts.blob

        async def work(transaction: Transaction) -> bool | None:
            if await scrub_rows.lock(transaction, blob) is None:
                return None
            again = await fsck.blob(transaction, blob)
            if again is None or not again.doomed:
                return None
            if self._repair:
                await doomed.remove(transaction, blob.store, [blob.key])
            return self._repair

        done = await self._database.write(work, reserve=True)
        if done is not None:
            message = f"its key {blob.key} in the store {blob.store} waits to be deleted, and the blob needs it"
            self._report.add(Problem.KEY_DOOMED, blob.digest, message, repaired=done)

    async def _remove_unlinked(self, facts: BlobFacts) -> None:
        blob = facts.blob

        async def work(transaction: Transaction) -> bool | None:
            if await scrub_rows.lock(transaction, blob) is None:
                return None
            again = await fsck.blob(transaction, blob)
            if again is None or again.linked:
                return None
            if not self._repair:
                return False
            await repairs.remove_blob(transaction, blob.id)
            await doomed.add(transaction, store=blob.store, key=blob.key, size=blob.size)
            return True

        done = await self._database.write(work, reserve=True)
        if done is not None:
            message = "no repository links it, and nothing would ever collect it"
            self._report.add(Problem.BLOB_UNLINKED, blob.digest, message, repaired=done)

    async def _look_at_orphans(self, found: list[StoredObject]) -> None:
        """Report objects without a row; asked again, since a row may have come or a key may be doomed."""
        if not found:
            return
        store = self._own.name
        keys = [one.name for one in found]
        known = await blobs.known_keys(self._database, store, keys) | await doomed.known_keys(
            self._database, store, keys
        )
        for one in found:
            if one.name in known:
                continue
            if self._repair:
                await self._own.delete(one.name)
            message = f"no blob has this object of the store {store}, which takes {one.size} bytes"
            self._report.add(Problem.OBJECT_ORPHANED, one.name, message, repaired=self._repair)

    async def _check_uploads(self, now: float) -> None:
        self._report.doing = "looking at uploads"
        after = ""
        while page := await fsck.idle_sessions(self._database, after=after, age_s=_IDLE_S, limit=_PAGE):
            for upload_id in page:
                await self._look_at_session(upload_id)
            after = page[-1]
        async for upload in self._own.uploads():
            self._report.looked_at["uploads"] += 1
            if upload.modified_at < now - _AGE_S and await uploads.find(self._database, upload.name) is None:
                await self._remove_upload(upload)

    async def _look_at_session(self, upload_id: str) -> None:
        self._report.looked_at["sessions"] += 1
        session = await uploads.find(self._database, upload_id)
        if session is None or session.store != self._own.name:
            return
        hasher = new_hasher(session.algorithm)
        try:
            writer = await self._own.open_upload(session.id, session.state, session.received, hasher)
        except UploadBusy:
            return
        except (UploadMissing, UploadDamaged) as error:
            if await uploads.find(self._database, upload_id) != session:
                return
            if self._repair:
                await self._database.write(lambda tx: uploads.end(tx, session), reserve=True)
                with suppress(UploadBusy):
                    await self._own.remove_upload(session.id, session.state)
            message = f"{session.received} bytes were acknowledged in {session.repository}: {error}"
            self._report.add(Problem.SESSION_EMPTY, upload_id, message, repaired=self._repair)
        else:
            await writer.close()

    async def _remove_upload(self, upload: StoredObject) -> None:
        done = False
        if self._repair:
            with suppress(UploadBusy):
                await self._own.remove_upload(upload.name, "")
                done = True
        message = f"no upload session has these {upload.size} bytes"
        self._report.add(Problem.UPLOAD_ORPHANED, upload.name, message, repaired=done)


async def _unfenced(transaction: Transaction) -> None:
    """Let every transaction be: a row is changed only if it still is what was read."""


async def _merged(
    rows: AsyncIterator[BlobFacts], objects: AsyncIterator[StoredObject]
) -> AsyncIterator[tuple[list[BlobFacts], StoredObject | None]]:
    """Yield what has the same key together: rows, of which two may share one, and the object; in order of keys."""
    row, found = await anext(rows, None), await anext(objects, None)
    while row is not None or found is not None:
        key = min(one for one in (row and row.blob.key, found and found.name) if one)
        same: list[BlobFacts] = []
        while row is not None and row.blob.key == key:
            same.append(row)
            row = await anext(rows, None)
        if found is not None and found.name == key:
            yield same, found
            found = await anext(objects, None)
        else:
            yield same, None
