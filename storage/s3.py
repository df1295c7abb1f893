"""The blob driver that keeps bytes in a bucket of S3, or of a store that speaks like it.

Objects are at `<prefix>/objects/<key>`. A large upload is a multipart upload for the object that it will be, named
`blobs/uploads/<2 hex>/<upload id>-<random>`, so that publishing copies nothing; what is too little for a part waits at
`<prefix>/uploads/<upload id>/<random>`. Files that are no content are at `<prefix>/attic/<name>`.
`docs/decisions/012-s3.md` says why.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from storage.deleting import delete_each
from storage.digest import Hasher
from storage.driver import StoredObject
from storage.errors import (
    InvalidKey,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageUnavailable,
    UploadDamaged,
    UploadMissing,
)
from storage.keys import check_key, is_upload_id
from storage.s3_assembly import Assembly, Workshop
from storage.s3_attic import S3Attic
from storage.s3_bucket import OBJECTS, Bucket, is_unknown
from storage.s3_client import make_client
from storage.s3_deleting import MOST, Deleter
from storage.s3_errors import code_of, reason
from storage.s3_leftovers import sweep
from storage.s3_listing import list_objects, list_uploads
from storage.s3_options import S3Options
from storage.s3_reader import Allowance, S3Reader, open_object, read_range
from storage.s3_signing import Signer
from storage.s3_small import read_tail
from storage.s3_state import State
from storage.s3_writer import S3Writer
from storage.threads import BUFFER_SIZE, BufferPool, Threads

_PROBE_EVERY_S = 60
_TIDYING = 4
_READ_AHEAD = 64
"""Chunks of 1 MiB that all pulls of a driver together read ahead, beside one each."""
_PATIENCE_S = 10.0
_WAYS_OUT = {
    "NoSuchBucket": "Create it, or correct storage.s3.bucket",
    "404": "Create it, or correct storage.s3.bucket",
    "AccessDenied": "Give the credentials the rights that docs/operate.md lists",
    "403": "Give the credentials the rights that docs/operate.md lists, or correct them",
    "InvalidAccessKeyId": "Correct storage.s3.access_key_id",
    "SignatureDoesNotMatch": "Correct storage.s3.secret_access_key",
}


class S3Driver:
    """Objects and uploads in one bucket, which any number of processes may share. It doesn't lock.

    A driver owns threads and connections: `close` ends them. Every method makes requests, in threads, but
    `create_upload`.
    """

    def __init__(self, options: S3Options) -> None:
        """Raises StorageUnavailable if no client can be made: no such profile, a malformed address."""
        self._options = options
        self._bucket = Bucket(make_client(options), options)
        self._signer = Signer(options)
        self._threads = Threads(options.threads)
        self.buffers = BufferPool(max(8, options.memory // BUFFER_SIZE))
        self._allowance = Allowance(_READ_AHEAD)
        self._deleter = Deleter(self._bucket, self._threads)
        self._attic = S3Attic(self._bucket, self._threads, options.part_size)
        self._wrote_at = -float(_PROBE_EVERY_S)
        self._tidying: set[asyncio.Task[None]] = set()
        self._tidiers = asyncio.Semaphore(_TIDYING)
        self._shared = Workshop(
            bucket=self._bucket,
            options=options,
            threads=self._threads,
            buffers=self.buffers,
            sending=asyncio.Semaphore(max(2, options.threads // 2)),
            tidy=self._tidy,
        )

    @property
    def name(self) -> str:
        """What a blob's row records as its store."""
        return "s3"

    @property
    def locks(self) -> bool:
        """Whether `open_upload` keeps others out: there are no locks in S3."""
        return False

    @property
    def redirects(self) -> bool:
        """Whether `address` ever returns one."""
        return self._options.redirection.enabled

    @property
    def attic(self) -> S3Attic:
        """Where files that are no content are kept."""
        return self._attic

    async def start(self) -> None:
        """Write, read and delete a small object. Raises StorageUnavailable, saying what to do."""
        await self._threads.run(self._probe)

    async def check(self) -> None:
        """Ask for the bucket, and once a minute write to it. Raises StorageUnavailable. A full store is no reason."""
        await self._threads.run(self._look)

    async def close(self) -> None:
        """Wait for what is being removed, for a while, and end the threads."""
        if self._tidying:
            await asyncio.wait(self._tidying, timeout=_PATIENCE_S)
        for task in self._tidying:
            task.cancel()
        await self._threads.close()
        self._bucket.close()

    async def create_upload(self, upload_id: str) -> str:
        """Return the state of an upload of which nothing is in the store. Raises UploadMissing if it is no UUID."""
        if not is_upload_id(upload_id):
            raise UploadMissing("an upload's id is a UUID")
        return State().encode()

    async def open_upload(
        self, upload_id: str, state: str, offset: int, hasher: Hasher, *, contested: bool = False
    ) -> S3Writer:
        """Continue an upload. The store is asked for its parts, and for the bytes after them."""
        if not is_upload_id(upload_id):
            raise UploadMissing("an upload's id is a UUID")
        subject = f"upload {upload_id}"
        found = State.decode(state, subject)
        assembly, tail = Assembly(self._shared, upload_id), b""
        if found.multipart is not None:
            await self._resume(assembly, found, subject, contested=contested)
        if offset > found.flushed:
            raise UploadDamaged(f"{subject} holds {found.flushed} bytes, {offset} are expected")
        if found.tail is not None and (offset > found.size or found.multipart is None):
            try:
                tail = await self._threads.run(read_tail, self._bucket, found.tail, subject)
            except UploadDamaged as error:
                if found.multipart is None:
                    raise UploadMissing(f"{subject} does not exist") from error
                raise
        return S3Writer(self._shared, upload_id, found, assembly, tail, offset, hasher)

    async def _resume(self, assembly: Assembly, state: State, subject: str, *, contested: bool) -> None:
        multipart = state.multipart
        if multipart is None:
            return
        try:
            listed = await self._threads.run(self._bucket.parts, multipart, subject)
        except UploadMissing:
            # Another writer made an object of the parts to read them, and came to its end before it could say so.
            with suppress(ObjectMissing):
                made = await self._threads.run(self._bucket.head, multipart.name, subject)
                if made.etag == state.etag and made.size == state.size:
                    assembly.resume_from(made)
                    return
            raise
        assembly.resume(multipart, state.chosen(listed, subject), listed, contested=contested)

    async def remove_upload(self, upload_id: str, state: str) -> None:
        """Remove all that is left of an upload, whatever its state says."""
        if not is_upload_id(upload_id):
            return
        names: list[str] = []
        with suppress(UploadMissing):
            names = [name for name in State.decode(state, upload_id).spent if name.startswith(OBJECTS)]
        await sweep(self._shared, upload_id, names)

    async def open(self, key: str) -> S3Reader:
        """Open an object, and take its first bytes. Raises ObjectMissing, InvalidKey, StorageUnavailable."""
        found, first = await self._threads.run(open_object, self._bucket, OBJECTS + check_key(key), key)
        return S3Reader(self._bucket, self._threads, self._allowance, key, found, first)

    async def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises like `open`."""
        return (await self._threads.run(self._bucket.head, OBJECTS + check_key(key), key)).size

    async def address(self, key: str, client: str) -> str | None:
        """Return a signed URL, unless redirecting is off or off for this client. Raises InvalidKey."""
        check_key(key)
        if not self._signer.serves(client):
            return None
        return await self._threads.run(self._signer.sign, OBJECTS + key)

    async def delete(self, key: str) -> None:
        """Delete an object. Raises InvalidKey, StorageUnavailable."""
        await self._deleter.delete(key)

    async def delete_many(self, keys: Sequence[str]) -> dict[str, StorageError]:
        """Delete objects, up to a thousand with each request, or one by one where the store wants that."""
        failed: dict[str, StorageError] = {}
        for start in range(0, len(keys), MOST):
            some = list(keys[start : start + MOST])
            found = await self._deleter.try_many(some) if self._deleter.takes_many else None
            failed |= await delete_each(self.delete, some) if found is None else found
        return failed

    async def objects(self, after: str = "") -> AsyncIterator[StoredObject]:
        """List objects by key, a page at a time."""
        await self._tidied()
        async for found in list_objects(self._bucket, self._threads, after):
            yield found

    async def uploads(self) -> AsyncIterator[StoredObject]:
        """List uploads, a page at a time."""
        await self._tidied()
        async for found in list_uploads(self._bucket, self._threads):
            yield found

    def _tidy(self, work: Coroutine[Any, Any, None]) -> None:
        """Remove what is not needed any more, while others are served. What fails is found by `uploads` some day."""
        task = asyncio.create_task(self._tidied_up(work), name="tidying")
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)

    async def _tidied_up(self, work: Coroutine[Any, Any, None]) -> None:
        async with self._tidiers:
            with suppress(StorageError):
                await work

    async def _tidied(self) -> None:
        if self._tidying:
            await asyncio.wait(self._tidying, timeout=_PATIENCE_S)

    def _look(self) -> None:
        try:
            self._bucket.look()
            if time.monotonic() - self._wrote_at >= _PROBE_EVERY_S:
                self._bucket.put("probe", b"probe", "a probe object")
                self._wrote_at = time.monotonic()
        except StorageFull:
            return  # What is there can be read and deleted: that is no outage.
        except StorageUnavailable as error:
            raise self._unusable(error) from error

    def _probe(self) -> None:
        name, content = f"probes/{uuid.uuid4()}", b"probe"
        try:
            self._bucket.look()
            self._probe_overwriting(name, content)
            found = self._bucket.head(name, "a probe object")
            if read_range(self._bucket, found, 0, len(content) - 1, "a probe object") != content:
                raise StorageUnavailable("it returns other bytes than it was given")
            self._bucket.delete(name, "a probe object")
            self._wrote_at = time.monotonic()
        except StorageFull:
            return
        except (StorageUnavailable, ObjectMissing) as error:
            raise self._unusable(error) from error

    def _probe_overwriting(self, name: str, content: bytes) -> None:
        """Write an object, and find out whether the store refuses to write it again when asked to."""
        try:
            self._bucket.put_new(name, content, "a probe object", "first")
        except StorageUnavailable as error:
            if not is_unknown(error):
                raise
            self._bucket.conditional = False
            self._bucket.put(name, content, "a probe object")
            return
        try:
            self._bucket.put_new(name, content, "a probe object", "second")
            self._bucket.conditional = False
        except InvalidKey:
            self._bucket.conditional = True

    def _unusable(self, error: StorageError) -> StorageUnavailable:
        cause = error.__cause__
        text = reason(cause) if cause is not None else str(error)
        way_out = _WAYS_OUT.get(code_of(cause), "Look at storage.s3.endpoint and at the store")
        bucket, where = self._options.bucket, self._options.where
        return StorageUnavailable(f"the bucket {bucket} at {where} can't be used: {text}. {way_out}")


def from_options(options: Mapping[str, Any]) -> S3Driver:
    """Return a driver for the fields of S3Options: what the entry point `s3` names. Raises StorageUnavailable."""
    return S3Driver(S3Options(**options))
