"""The writer of one upload in S3."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from storage.digest import Hasher
from storage.driver import Source
from storage.errors import StorageError, StorageUnavailable, UploadDamaged
from storage.keys import check_key
from storage.s3_assembly import Assembly, Workshop
from storage.s3_bucket import OBJECTS
from storage.s3_leftovers import sweep
from storage.s3_options import SMALLEST_PART
from storage.s3_parts import SMALL, Collected, Deaf, size_of_part
from storage.s3_small import put_object, put_tail, read_tail
from storage.s3_state import State, etag_of, runs, seal
from storage.threads import BUFFER_SIZE, ended

_SLICE = 128 * 1024  # bytes taken at once for a file
_HASHED_AT_ONCE = 1024 * 1024


class S3Writer:
    """Collects what comes in, hashes it block by block, and sends it part by part while more comes.

    What is left at `flush`, too little for a part, goes into an object of its own with a name never used before: the
    tail. It stays until a state that needs it no more has been recorded, which is known when the upload is opened
    with that state; so whatever ends here too early, the state in the row holds.
    """

    def __init__(
        self,
        workshop: Workshop,
        upload_id: str,
        state: State,
        assembly: Assembly,
        tail: bytes,
        offset: int,
        hasher: Hasher,
    ) -> None:
        self._shared = workshop
        self._upload_id = upload_id
        self._subject = f"upload {upload_id}"
        self._assembly = assembly
        self._opened_tail = state.tail
        self._removable = list(state.spent)
        self._opened_parts = len(assembly.parts)
        self._opened_size = assembly.size
        self._recorded = state
        self._tail = state.tail
        self._is_stored = state != State()
        self._is_changed = False
        self._collected = Collected(workshop.buffers)
        self._loading = tail
        self._target: int | None = offset if offset < state.flushed else None
        self._hasher = hasher
        self._hashed = offset
        self._hashing: asyncio.Future[None] | None = None
        self._multipart = assembly.multipart
        self._failure: StorageError | None = None
        self._closed = False
        self._gone = False

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        if self._target is not None:
            return self._target
        return self._assembly.size + self._collected.size + len(self._loading)

    @property
    def state(self) -> str:
        """The multipart upload, its parts and the tail, as of the last flush."""
        return self._recorded.encode()

    @property
    def vouched(self) -> bool:
        """True: the parts' ETags were compared, and the tail's name is used once."""
        return True

    async def write(self, data: bytes) -> None:
        """Append `data`. Raises StorageFull or StorageUnavailable, of this or of an earlier write."""
        await self._prepare()
        with memoryview(data) as view:
            done = 0
            while done < view.nbytes:
                await self._make_room(in_block=False)
                piece = view[done : done + self._collected.room()]
                self._is_changed = True
                if self._collected.in_file:
                    await self._write_file(piece)
                else:
                    self._collected.add(piece)
                    await self._hash_blocks()
                done += piece.nbytes

    async def append_from(self, source: Source) -> int:
        """Let `source` put bytes into the block itself. Raises like `write`."""
        await self._prepare()
        await self._make_room(in_block=True)
        self._is_changed = True
        if self._collected.in_file:
            with memoryview(bytearray(_SLICE)) as view:
                count = await source(view)
                await self._write_file(view[:count])
            return count
        count = await source(self._collected.view())
        self._collected.filled(count)
        await self._hash_blocks()
        return count

    async def settle(self) -> None:
        """Hash what is not hashed yet, and wait for the parts on their way. Raises StorageFull, StorageUnavailable."""
        await self._prepare()
        await self._guarded(self._settle())

    async def flush(self) -> None:
        """Send what was accepted. Raises StorageFull, StorageUnavailable, UploadDamaged."""
        await self._prepare()
        await self._guarded(self._flush())

    async def rewind(self, offset: int) -> None:
        """Forget every byte after `offset`. Raises ValueError if it lies beyond `self.offset`, UploadDamaged."""
        self._check_open()
        if not 0 <= offset <= self.offset:
            raise ValueError(f"cannot rewind to {offset}: {self.offset} bytes were accepted")
        self._target = None
        await self._rewind(offset)

    async def rehash(self, hasher: Hasher) -> None:
        """Feed `hasher` all bytes up to `offset`. Parts are made an object for it. Raises UploadDamaged."""
        await self._prepare()
        await self._guarded(self._settle())
        assembly = self._assembly
        if not assembly.is_empty:
            await self._guarded(assembly.join())
            await assembly.read_base(assembly.cut, hasher.update)
        await self._shared.threads.run(_hash, self._collected, hasher, 0, self._collected.size)

    async def publish(self, key: str) -> str:
        """Make the upload an object. Raises InvalidKey, StorageFull, StorageUnavailable, UploadDamaged."""
        self._check_open()
        try:
            check_key(key)
            await self._prepare()
            await self._settle()
            used = await self._publish(key)
        except BaseException:
            await self.discard()
            raise
        self._gone = True
        await self.close()
        if self._is_stored or self._assembly.multipart is not None or self._spent():
            self._shared.tidy(sweep(self._shared, self._upload_id, self._spent()))
        return used

    async def _publish(self, key: str) -> str:
        assembly = self._assembly
        if assembly.is_empty:
            await put_object(self._shared, key, self._collected)
            return key
        if self._collected.size:
            await self._launch()
            await self._land()
        return await assembly.publish()

    async def discard(self) -> None:
        """Close, and remove all that is in the store of this upload: while others are served."""
        if self._gone:
            return
        self._gone = True
        await self.close()
        if self._is_stored or self._assembly.multipart is not None or self._spent():
            self._shared.tidy(self._assembly.forget())
            self._shared.tidy(sweep(self._shared, self._upload_id, self._spent()))

    async def close(self) -> None:
        """Keep what was flushed."""
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(StorageError):
                await self._land()
        finally:
            self._collected.release()

    def _spent(self) -> list[str]:
        """Return the names of objects, beside those in the upload's folder, that nothing needs any more."""
        return [name for name in {*self._removable, *self._assembly.spent} if name.startswith(OBJECTS)]

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self._subject} is closed")

    async def _prepare(self) -> None:
        """Raise what went wrong before; make the upload end where it was opened, with its tail at hand."""
        self._check_open()
        if self._failure is not None:
            raise type(self._failure)(str(self._failure)) from self._failure.__cause__
        if self._target is not None:
            target, self._target = self._target, None
            await self._guarded(self._rewind(target))
        if self._loading:
            tail, self._loading = self._loading, b""
            await self._load(tail)

    async def _guarded(self, work: Awaitable[object]) -> None:
        """Await, and take nothing more after a failure."""
        try:
            await work
        except StorageError as error:
            self._failure = error
            raise

    async def _load(self, data: bytes) -> None:
        """Take up bytes that are hashed already."""
        with memoryview(data) as view:
            done = 0
            while done < view.nbytes:
                await self._make_room(in_block=False)
                piece = view[done : done + self._collected.room()]
                if self._collected.in_file:
                    await self._shared.threads.run(self._collected.write, piece, Deaf())
                else:
                    self._collected.add(piece)
                done += piece.nbytes

    async def _make_room(self, *, in_block: bool) -> None:
        """See to it that bytes can be added, `in_block`: straight into a block, or to a file.

        Waits for parts of this upload only, never for what another client sends: where memory is used up, bytes go
        into a file.
        """
        pool, assembly = self._shared.buffers, self._assembly
        target = size_of_part(assembly.next_number, self._shared.options.part_size)
        while True:
            collected = self._collected
            if collected.size >= target or (pool.scarce and collected.size >= SMALLEST_PART):
                await self._guarded(self._launch())
            elif collected.in_file or (collected.room() and (collected.has_block or not in_block)):
                return
            elif target * 4 <= self._shared.options.memory or collected.size < BUFFER_SIZE:
                if collected.grow():
                    return
                if collected.size >= SMALLEST_PART:
                    await self._guarded(self._launch())
                elif assembly.is_sending:
                    await self._guarded(assembly.land_oldest())
                else:
                    await self._guarded(self._move_to_file())
            else:
                await self._guarded(self._move_to_file())

    async def _move_to_file(self) -> None:
        await self._hash_rest()
        await self._hashes_ended()
        try:
            await self._shared.threads.run(self._collected.to_file)
        except OSError as error:
            raise StorageUnavailable(
                f"cannot write {self._subject}: memory for uploads is used up, and there is no room for a temporary "
                f"file: {error.strerror}"
            ) from error
        self._collected.give_blocks()

    async def _write_file(self, data: memoryview) -> None:
        try:
            await self._shared.threads.run(self._collected.write, data, self._hasher)
        except OSError as error:
            self._failure = StorageUnavailable(f"cannot write a temporary file of {self._subject}: {error.strerror}")
            raise self._failure from error
        self._hashed += data.nbytes

    async def _hash_blocks(self) -> None:
        """Hash what is in full blocks, in a thread, while the next one fills."""
        if self._collected.room() == 0 and self._collected.has_block:
            await self._hash_rest()

    async def _hash_rest(self) -> None:
        """Begin to hash all that was accepted, in order: after what was begun before."""
        await self._hashes_ended()
        collected = self._collected
        start = self._hashed - self._assembly.size
        if start < collected.size:
            self._hashing = self._shared.threads.submit(_hash, collected, self._hasher, start, collected.size)
            self._hashed = self._assembly.size + collected.size

    async def _hashes_ended(self) -> None:
        hashing = self._hashing
        if hashing is not None:
            await ended(hashing)
            self._hashing = None
            hashing.result()

    async def _launch(self) -> None:
        await self._hash_rest()
        hashing = self._hashing
        collected, self._collected = self._collected, Collected(self._shared.buffers)
        try:
            await self._assembly.send(collected, hashing)
        except BaseException:
            if hashing is not None:
                await ended(hashing)
            collected.release()
            raise

    async def _land(self) -> None:
        """Wait until no thread works for this writer."""
        try:
            await self._assembly.land()
        finally:
            await self._hashes_ended()

    async def _settle(self) -> None:
        if self._collected.size <= SMALL and not self._collected.in_file:
            await self._hashes_ended()
            _hash(self._collected, self._hasher, self._hashed - self._assembly.size, self._collected.size)
            self._hashed = self._assembly.size + self._collected.size
        else:
            await self._hash_rest()
        await self._land()

    async def _flush(self) -> None:
        await self._settle()
        assembly = self._assembly
        await assembly.take_over()
        if self._collected.size >= SMALLEST_PART:
            await self._launch()
            await self._land()
        spent, tail = assembly.spent, self._tail
        if self._is_changed:
            if tail is not None:
                spent.append(tail.name)
            self._is_stored = True
            tail = await put_tail(self._shared, self._upload_id, self._collected) if self._collected.size else None
        self._tail, self._is_stored, self._is_changed = tail, True, False
        self._recorded = State(
            multipart=assembly.multipart,
            runs=runs(assembly.parts),
            size=assembly.size,
            seal=seal(assembly.parts),
            etag=etag_of(assembly.parts),
            tail=tail,
            spent=tuple(spent),
        )
        if self._removable:
            # The state that this upload was opened with needs them no more, and none after it does.
            names, self._removable = self._removable, []
            bucket = self._shared.bucket
            self._shared.tidy(self._shared.threads.run(bucket.delete_all, names, self._subject))

    async def _rewind(self, offset: int) -> None:
        assembly = self._assembly
        with suppress(StorageError):
            await self._land()
        self._is_changed = True
        self._hashed = min(self._hashed, offset)
        if self._failure is None and offset >= assembly.size:
            self._loading = self._loading[: offset - assembly.size]
            self._collected.cut(min(self._collected.size, offset - assembly.size))
            return
        self._loading = b""
        self._collected.release()
        if not await self._rewind_to_opening(offset) and not assembly.keep_up_to(offset):
            await self._cut_part(offset)

    async def _rewind_to_opening(self, offset: int) -> bool:
        """Forget what came after opening, of which some may have become a part with the tail; return whether it did."""
        assembly, tail, size = self._assembly, self._opened_tail, self._opened_size
        is_there = assembly.multipart == self._multipart or self._multipart is None
        is_there = is_there and assembly.base is None and len(assembly.parts) >= self._opened_parts
        if tail is None or not size < offset <= size + tail.size or not is_there:
            return False
        assembly.keep(self._opened_parts)
        content = await self._shared.threads.run(read_tail, self._shared.bucket, tail, self._subject)
        self._loading = content[: offset - size]
        return True

    async def _cut_part(self, offset: int) -> None:
        """Keep the first bytes of a part: made an object first, since parts can't be read."""
        assembly = self._assembly
        if offset > assembly.size:
            raise UploadDamaged(f"{self._subject} holds {assembly.size} bytes, {offset} are expected")
        await assembly.join()
        if offset < SMALLEST_PART:
            content = bytearray()
            await assembly.read_base(offset, content.extend)
            assembly.clear()
            await self._load(bytes(content))
        else:
            assembly.cut = offset
        await self._flush()


def _hash(collected: Collected, hasher: Hasher, start: int, end: int) -> None:
    for first in range(start, end, _HASHED_AT_ONCE):
        for piece in collected.pieces(first, min(first + _HASHED_AT_ONCE, end)):
            hasher.update(piece)
