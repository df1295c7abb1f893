"""The parts of an upload: sending them, making them an object, taking them over into another multipart upload."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from storage.errors import ObjectMissing, StorageUnavailable, UploadDamaged
from storage.s3_bucket import OBJECTS, Bucket, Found, Multipart, Part
from storage.s3_options import MOST_PARTS, S3Options
from storage.s3_parts import Collected
from storage.s3_reader import read_range
from storage.threads import BufferPool, Threads, ended

LANES = 3
"""Parts of one upload that are on their way at once."""

_GAP = 16
"""Part numbers left free for what an earlier writer may still be sending: it stops within CLAIM_STEP bytes."""

_READ_STEP = 8 * 1024 * 1024
_FRESH_S = 12 * 3600


@dataclass(slots=True)
class Workshop:
    """What all writers of a driver share. `sending`: how many parts may be on their way at once.

    `tidy` runs what need not be waited for: removing what is not needed any more.
    """

    bucket: Bucket
    options: S3Options
    threads: Threads
    buffers: BufferPool
    sending: asyncio.Semaphore
    tidy: Callable[[Coroutine[Any, Any, None]], None]


@dataclass(slots=True)
class _Flight:
    """A part on its way: where it stands among the parts, its bytes, and what they are waited for."""

    index: int
    task: asyncio.Task[Part]
    hashing: asyncio.Future[None] | None
    collected: Collected


def parts_prefix(upload_id: str) -> str:
    """Return what the names of an upload's multipart uploads begin with."""
    return f"{OBJECTS}blobs/uploads/{upload_id[:2]}/{upload_id}-"


class Assembly:
    """The parts of one upload.

    The store can't read parts before they are an object. To read or cut them, `join` makes them one, the `base`, from
    which `take_over` copies what stays into another multipart upload, inside the store.

    Attributes:
        parts: in order; those on their way are there already, without ETag.
        base: an object that holds what comes before the parts, of which `cut` bytes count.
        spent: names of objects that nothing needs once the present state is recorded.
    """

    def __init__(self, workshop: Workshop, upload_id: str) -> None:
        self._shared = workshop
        self._upload_id = upload_id
        self._subject = f"upload {upload_id}"
        self._flying: deque[_Flight] = deque()
        self._next = 1
        self.multipart: Multipart | None = None
        self.parts: list[Part] = []
        self.base: Found | None = None
        self.cut = 0
        self.spent: list[str] = []

    @property
    def size(self) -> int:
        """Bytes in the parts and in what comes before them."""
        return self.cut + sum(part.size for part in self.parts)

    @property
    def is_empty(self) -> bool:
        """Whether there are neither parts nor a base."""
        return self.base is None and not self.parts

    @property
    def is_sending(self) -> bool:
        """Whether parts are on their way."""
        return bool(self._flying)

    @property
    def next_number(self) -> int:
        """The number that the next part gets."""
        return self._next

    def resume(self, multipart: Multipart, parts: list[Part], listed: list[Part], *, contested: bool) -> None:
        """Go on after `parts`. `listed`: all that the store has, another writer's too."""
        self.multipart, self.parts = multipart, parts
        highest = max((part.number for part in listed), default=0)
        self._next = highest + 1 + (_GAP if contested else 0)

    def resume_from(self, base: Found) -> None:
        """Go on after an object that another writer made of the parts."""
        self.base, self.cut = base, base.size
        self.spent.append(base.name)

    async def send(self, collected: Collected, hashing: asyncio.Future[None] | None) -> None:
        """Begin to send a part, which takes `collected` over. Waits while too many are on their way."""
        await self.take_over()
        while len(self._flying) >= LANES:
            await self.land_oldest()
        multipart = await self._begun()
        if self._next > MOST_PARTS:
            raise StorageUnavailable(f"cannot write {self._subject}: it has the most parts that the store allows")
        number, self._next = self._next, self._next + 1
        task = asyncio.create_task(self._send(multipart, number, collected), name=f"part {number}")
        self._flying.append(_Flight(len(self.parts), task, hashing, collected))
        self.parts.append(Part(number, collected.size, ""))

    async def _send(self, multipart: Multipart, number: int, collected: Collected) -> Part:
        shared = self._shared
        async with shared.sending:
            return await shared.threads.run(_upload, shared.bucket, multipart, number, collected, self._subject)

    async def land_oldest(self) -> None:
        """Wait until the part that was begun first is there. Raises what went wrong with it; it is then no part."""
        flight = self._flying[0]
        try:
            await ended(flight.task, *([flight.hashing] if flight.hashing is not None else []))
        finally:
            self._flying.popleft()
            flight.collected.release()
            if flight.index < len(self.parts):
                if flight.task.exception() is None:
                    self.parts[flight.index] = flight.task.result()
                else:
                    del self.parts[flight.index :]  # what follows it hangs in the air
        flight.task.result()
        if flight.hashing is not None:
            flight.hashing.result()

    async def land(self) -> None:
        """Wait until no part is on its way. Raises the first thing that went wrong."""
        failure: BaseException | None = None
        while self._flying:
            try:
                await self.land_oldest()
            except BaseException as error:  # noqa: BLE001 - raised below, when all have landed
                failure = failure or error
        if failure is not None:
            raise failure

    def keep(self, count: int) -> None:
        """Forget all but the first parts. None may be on its way."""
        del self.parts[count:]

    def keep_up_to(self, offset: int) -> bool:
        """Forget the parts after `offset`, but for one that it lies in. Return whether just so many bytes are left."""
        if offset == 0:
            self.clear()
        size, count = self.cut, 0
        while count < len(self.parts) and size < offset:
            size += self.parts[count].size
            count += 1
        self.keep(count)
        return size == offset

    def clear(self) -> None:
        """Forget all bytes."""
        self.base, self.cut, self.parts = None, 0, []

    async def join(self) -> Found:
        """Make the parts an object, the base, and return it. Raises UploadMissing, UploadDamaged."""
        await self.land()
        if self.base is None:
            self.base = await self._completed()
            self.parts, self.cut, self.multipart = [], self.base.size, None
            self.spent.append(self.base.name)
        return self.base

    async def _completed(self) -> Found:
        """Complete the multipart upload and say what came of it. It must hold just the parts."""
        if self.multipart is None:
            raise UploadDamaged(f"{self._subject} has no parts")
        run, bucket, multipart, expected = self._shared.threads.run, self._shared.bucket, self.multipart, self.size
        await run(bucket.complete, multipart, list(self.parts), self._subject)
        try:
            found = await run(bucket.head, multipart.name, self._subject)
        except ObjectMissing as error:
            raise StorageUnavailable(f"cannot complete {self._subject}: the store says it did, and did not") from error
        if found.size != expected:
            raise UploadDamaged(f"{self._subject} came to {found.size} bytes, {expected} are expected")
        return found

    async def take_over(self) -> None:
        """Copy what counts of the base into a multipart upload, several parts at once, inside the store."""
        base = self.base
        if base is None:
            return
        self.multipart = None
        multipart = await self._begun()
        count = max(1, self.cut // self._shared.options.copy_part_size)
        edges = [self.cut * number // count for number in range(count + 1)]
        tasks = [
            asyncio.create_task(self._copy(multipart, number, base, (edges[number - 1], edges[number])))
            for number in range(1, count + 1)
        ]
        await ended(*tasks)
        self.parts = [task.result() for task in tasks]
        self.base, self.cut, self._next = None, 0, count + 1

    async def _copy(self, multipart: Multipart, number: int, source: Found, span: tuple[int, int]) -> Part:
        shared = self._shared
        async with shared.sending:
            return await shared.threads.run(shared.bucket.copy_part, multipart, number, source, span, self._subject)

    async def read_base(self, end: int, take: Callable[[bytes], object]) -> None:
        """Give the first bytes of the base to `take`, in threads, a step at a time. Raises UploadDamaged."""
        base = self.base
        if base is None:
            return
        for start in range(0, end, _READ_STEP):
            last = min(start + _READ_STEP, end) - 1
            await self._shared.threads.run(_read, self._shared.bucket, base, start, last, take, self._subject)

    async def publish(self) -> str:
        """Make the parts an object, and return its key.

        Amazon dates an object of parts by when the upload began. A sweeper must not take one that was published just
        now for one that lies about: after half a day, the bytes go into an object anew.
        """
        latest = time.time() - _FRESH_S
        if self.base is None:
            is_old = self.multipart is not None and self.multipart.begun_at < latest
            base = await self._completed()
        else:
            base = self.base
            is_old = base.modified_at < latest
        if is_old or self.cut not in {0, base.size}:
            if self.base is None:
                self.base, self.cut, self.parts = base, base.size, []
                self.spent.append(base.name)
            await self.take_over()
            base = await self._completed()
        with suppress(ValueError):
            self.spent.remove(base.name)
        self.multipart = None
        return base.name.removeprefix(OBJECTS)

    async def _begun(self) -> Multipart:
        if self.multipart is None:
            name = f"{parts_prefix(self._upload_id)}{secrets.token_hex(6)}"
            self.multipart = await self._shared.threads.run(self._shared.bucket.begin, name, self._subject)
            self._next = 1
        return self.multipart

    async def forget(self) -> None:
        """Remove the parts, and what they may have become: completing may have ended although its answer was lost."""
        multipart = self.multipart
        if multipart is not None:
            self.multipart = None
            await self._shared.threads.run(self._shared.bucket.abort, multipart, self._subject)
            await self._shared.threads.run(self._shared.bucket.delete, multipart.name, self._subject)


def _upload(bucket: Bucket, multipart: Multipart, number: int, collected: Collected, subject: str) -> Part:
    try:
        return bucket.upload_part(multipart, number, collected, subject)
    except OSError as error:
        raise StorageUnavailable(f"cannot read the temporary file of {subject}: {error.strerror}") from error


def _read(bucket: Bucket, base: Found, first: int, last: int, take: Callable[[bytes], object], subject: str) -> None:
    try:
        take(read_range(bucket, base, first, last, subject))
    except ObjectMissing as error:
        raise UploadDamaged(f"{subject} is not in the store any more") from error
