"""What is in an S3 store: a page at a time."""

from collections.abc import AsyncIterator

from storage.driver import StoredObject
from storage.errors import UploadMissing
from storage.keys import KEY_PREFIX, is_key, is_upload_id
from storage.s3_bucket import OBJECTS, UPLOADS, Bucket
from storage.threads import Threads

_UUID_LENGTH = 36


async def list_objects(bucket: Bucket, threads: Threads, after: str) -> AsyncIterator[StoredObject]:
    """List objects by key. Raises StorageUnavailable."""
    last, more = (OBJECTS + after if after else ""), True
    while more:
        page, more = await threads.run(bucket.page, OBJECTS + KEY_PREFIX, last)
        for found in page:
            last = found.name
            key = found.name.removeprefix(OBJECTS)
            if is_key(key) and key > after:
                yield StoredObject(key, found.size, found.modified_at)


async def list_uploads(bucket: Bucket, threads: Threads) -> AsyncIterator[StoredObject]:
    """List uploads: those with a folder, by what is in it, and then those with a multipart upload, by its parts."""
    async for found in _folders(bucket, threads):
        yield found
    last, more = "", True
    while more:
        page, more = await threads.run(bucket.multiparts, f"{OBJECTS}{KEY_PREFIX}uploads/", last)
        more = more and bool(page)
        for upload in page:
            last = upload.name
            upload_id = upload.name.rpartition("/")[2][:_UUID_LENGTH]
            if not is_upload_id(upload_id):
                continue
            try:
                parts = await threads.run(bucket.parts, upload, f"upload {upload_id}")
            except UploadMissing:
                continue
            modified_at = max((upload.begun_at, *(part.modified_at for part in parts)))
            yield StoredObject(upload_id, sum(part.size for part in parts), modified_at)


async def _folders(bucket: Bucket, threads: Threads) -> AsyncIterator[StoredObject]:
    last, more = "", True
    current: StoredObject | None = None
    while more:
        page, more = await threads.run(bucket.page, UPLOADS, last)
        for found in page:
            last = found.name
            upload_id = found.name.removeprefix(UPLOADS).partition("/")[0]
            if not is_upload_id(upload_id):
                continue
            if current is not None and current.name == upload_id:
                modified_at = max(current.modified_at, found.modified_at)
                current = StoredObject(upload_id, current.size + found.size, modified_at)
                continue
            if current is not None:
                yield current
            current = StoredObject(upload_id, found.size, found.modified_at)
    if current is not None:
        yield current
