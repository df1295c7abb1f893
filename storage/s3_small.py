"""What is too little for a part: objects that are stored, and tails that are stored and read, with one request."""

import asyncio
import secrets
import uuid

from storage.errors import InvalidKey, ObjectMissing, StorageError, UploadDamaged
from storage.s3_assembly import Workshop
from storage.s3_bucket import OBJECTS, UPLOADS, Bucket, Found
from storage.s3_parts import Collected
from storage.s3_reader import read_range
from storage.s3_state import Tail
from storage.threads import ended


async def put_object(shared: Workshop, key: str, collected: Collected) -> None:
    """Store an object, and leave nothing of it if that fails. Raises InvalidKey, StorageFull, StorageUnavailable."""
    bucket, threads, mark = shared.bucket, shared.threads, uuid.uuid4().hex
    putting = threads.submit(_put_new, bucket, key, collected, mark)
    try:
        await ended(putting)
    except asyncio.CancelledError:
        if putting.exception() is None:
            await threads.run(bucket.delete, OBJECTS + key, key)
        raise
    if isinstance(putting.exception(), StorageError) and not isinstance(putting.exception(), InvalidKey):
        shared.tidy(threads.run(bucket.delete_own, OBJECTS + key, key, mark))
    putting.result()


async def put_tail(shared: Workshop, upload_id: str, collected: Collected) -> Tail:
    """Store a tail under a name of its own. Raises StorageFull, StorageUnavailable."""
    name = f"{UPLOADS}{upload_id}/{secrets.token_hex(8)}"
    etag = await shared.threads.run(_put, shared.bucket, name, collected, f"upload {upload_id}")
    return Tail(name, collected.size, etag)


def read_tail(bucket: Bucket, tail: Tail, subject: str) -> bytes:
    """Return the tail's bytes. Blocks. Raises UploadDamaged if they are not there."""
    try:
        return read_range(bucket, Found(tail.name, tail.size, tail.etag, 0.0), 0, tail.size - 1, subject)
    except ObjectMissing as error:
        raise UploadDamaged(f"{subject} is not all in the store any more") from error


def _put(bucket: Bucket, name: str, collected: Collected, subject: str) -> str:
    return bucket.put(name, collected.content(), subject)


def _put_new(bucket: Bucket, key: str, collected: Collected, mark: str) -> None:
    bucket.put_new(OBJECTS + key, collected.content(), key, mark)
