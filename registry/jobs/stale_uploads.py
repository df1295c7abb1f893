"""Removes upload sessions that nobody continues, and upload bytes that have no session."""

import time
from contextlib import suppress

from registry.db import uploads
from registry.db.connection import Database
from registry.jobs.runner import Job, Lease
from registry.services.uploads import Uploads
from storage.driver import BlobDriver
from storage.errors import UploadBusy

NAME = "stale-uploads"
_EVERY_S = 3600
_BATCH = 100


def stale_uploads(database: Database, driver: BlobDriver, sessions: Uploads, *, expire_s: int) -> Job:
    """Return the job. `expire_s`: how long a session may lie untouched."""

    async def work(lease: Lease) -> str:
        await database.write(uploads.bring_back, reserve=True)
        expired = await _expire_sessions(lease)
        removed = await _remove_abandoned(lease)
        return f"{expired} sessions expired, {removed} leftovers removed" if expired or removed else ""

    async def _expire_sessions(lease: Lease) -> int:
        expired = 0
        while batch := await uploads.stale(database, age_s=expire_s, limit=_BATCH):
            before = expired
            for session in batch:
                with suppress(UploadBusy):  # somebody came back to it just now
                    await sessions.expire(session)
                    expired += 1
            await lease.renew()
            if expired == before:
                break
        return expired

    async def _remove_abandoned(lease: Lease) -> int:
        """Remove what a crash left between creating the bytes and recording the session, or in a single push."""
        removed, latest = 0, time.time() - expire_s
        async for upload in driver.uploads():
            if upload.modified_at < latest and await uploads.find(database, upload.name) is None:
                with suppress(UploadBusy):
                    await driver.remove_upload(upload.name, "")
                    removed += 1
                if removed % _BATCH == 0:
                    await lease.renew()
        return removed

    return Job(NAME, _EVERY_S, work, age_s=expire_s)
