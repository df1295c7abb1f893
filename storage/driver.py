"""The contract between the registry and the place where its bytes are.

A driver stores two kinds of things, each under the store's root:

- *objects*: finished, immutable, named by a key (`storage.digest.new_key`). There is no way to change one.
- *uploads*: unfinished, append-only, named by an upload id (a UUID in its canonical text form).

Beside those is an *attic* for files of the registry's own (`storage.attic`).

Everything else (who may see an object, which digest it has, how far an upload is acknowledged) is a fact, and
facts are rows in the database. `tests/storage/` holds every driver to the words below.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from storage.digest import Hasher
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.attic import Attic

Source = Callable[[memoryview], Awaitable[int]]
"""Puts bytes at the front of a view, waits until there are some, and returns how many; 0 at the end."""

READ_CHUNK = 1024 * 1024

CLAIM_STEP = 4 * 1024 * 1024
"""Bytes after which a writer of a driver without locks must be asked again whether it still has its claim."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object or an upload as a listing shows it: `size` in bytes, `modified_at` in seconds since the epoch.

    For an object, `modified_at` is when it was published, however long its upload took: a sweeper that removes
    objects without a row may rely on it to leave those alone whose row is about to be written. For an upload it is
    when bytes last reached the store, or when it was created.
    """

    name: str
    size: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class ObjectStream:
    """What follows in an object: bytes at hand, then what comes on a socket, for splice(2).

    It is there until the reader's next call.

    Attributes:
        head: bytes that come before the socket's.
        fileno: a connected stream socket that does not block.
        left: bytes to take from it; what may come after those is nobody's business.
        patience: seconds without any, after which the connection is as good as broken.
    """

    head: bytes
    fileno: int
    left: int
    patience: float


class ObjectReader(Protocol):
    """An open object. It stays readable until `close`, even if the object is deleted meanwhile.

    In a store of other machines that is as far as these allow: StorageUnavailable then, never other or fewer bytes.
    """

    @property
    def size(self) -> int:
        """Bytes in the object."""

    @property
    def fileno(self) -> int | None:
        """A descriptor of a regular file holding exactly these bytes from offset 0, for sendfile; else None.

        It belongs to the reader: never close it, never move its position.
        """

    async def read(self, offset: int, length: int) -> bytes:
        """Return the `length` bytes at `offset`.

        Raises StorageUnavailable if they can't be had in full: a short answer is never given.
        `length` is at most READ_CHUNK: ValueError for more, and after `close`.
        """

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Like `read`, without waiting, where the driver can do so at once; else None."""

    async def stream(self, offset: int, length: int) -> ObjectStream | None:
        """Return the `length` bytes at `offset` as a stream, if they come on a socket, in plain, and are worth it.

        Else None. Raises StorageUnavailable; ValueError after `close`. Where the stream breaks, `read` goes on.
        """

    def close(self) -> None:
        """Release the descriptor. Closing twice is allowed."""


class UploadWriter(Protocol):
    """The one writer of an upload.

    While it is open, `open_upload` of the same id raises UploadBusy, in any process, if the driver locks.
    One task at a time uses a writer. Once closed it raises ValueError, except from `close` and `discard`.
    The hasher belongs to the writer from `open_upload` on, possibly to a thread of it: read it after `settle` or
    `flush` only.
    """

    @property
    def offset(self) -> int:
        """Bytes accepted so far, buffered ones included: where the next write goes."""

    @property
    def state(self) -> str:
        """What the driver must be given to open this upload again, with the offset it had then or a smaller one.

        Valid after `flush` or `rewind`; at most 64 KiB of text.
        """

    @property
    def vouched(self) -> bool:
        """Whether what was flushed before opening is certain to be what it was then.

        False where it may have changed unnoticed, as in a file that was never synced after the machine restarted: the
        caller must `rehash` before it relies on what it knows of those bytes.
        """

    async def write(self, data: bytes) -> None:
        """Append `data` and feed it to the hasher given at opening. May buffer.

        Raises StorageFull or StorageUnavailable; the writer then takes nothing more, only `rewind`, `close`, `discard`.
        If the task is cancelled, the call first waits until no thread uses the buffer any more.
        """

    async def append_from(self, source: Source) -> int:
        """Append what `source` puts into a part of the writer's own memory; saves a copy of what is large.

        Return how many bytes that were, 0 at the end. What `source` raises is raised, and nothing was appended.
        Otherwise like `write`.
        """

    async def settle(self) -> None:
        """Bring the hasher up to `offset`: like `flush`, for who needs the hash alone. Raises like `write`."""

    async def flush(self) -> None:
        """Hand every accepted byte to the store and to the hasher. Durability comes with `publish`, not here.

        Raises like `write`.
        """

    async def rewind(self, offset: int) -> None:
        """Forget every byte after `offset`. The hasher is the caller's: it is not rewound.

        Raises ValueError if `offset` is beyond `self.offset`, UploadDamaged if a write failed before it.
        """

    async def rehash(self, hasher: Hasher) -> None:
        """Feed `hasher` all bytes from 0 to `offset`, read back from the store where they are there.

        Raises UploadDamaged if they are not all there, StorageFull, StorageUnavailable.
        """

    async def publish(self, key: str) -> str:
        """Make the upload's bytes an object, durably, end the upload and this writer, and return the object's key.

        That is `key`, or one that was never used before where the driver had to name the object when its first bytes
        came. Takes in what was not flushed. On return the object survives power loss. If it raises, being cancelled
        included, the upload is discarded and no object of that key is visible: a failed fsync is never retried, since
        the kernel may have dropped the pages. (A store of other machines may still carry out what it did not answer:
        then there is an object without a row, as after a crash.)

        Raises InvalidKey if the text is not a key or is taken (the object that has it stays as it is), StorageFull,
        StorageUnavailable, UploadDamaged.
        """

    async def discard(self) -> None:
        """Remove the upload's bytes and close. Allowed at any time before `publish` succeeds, and after `close`.

        Discarding twice, or after publish, does nothing. After `close`, raises UploadBusy if another writer is open
        and the driver locks.
        """

    async def close(self) -> None:
        """Let go of the upload and keep what was flushed. Closing twice, or after publish or discard, is allowed."""


class BlobDriver(Protocol):
    """A place for bytes. All methods may be called concurrently from one event loop."""

    @property
    def name(self) -> str:
        """What a blob's row records as its store, e.g. `filesystem`."""

    @property
    def locks(self) -> bool:
        """Whether `open_upload` keeps others out by itself, and `create_upload` notices that an id is taken.

        If not, a caller first claims the upload, where all can see it, and then opens it. Whoever claims last has it: a
        caller that has lost its claim records nothing, discards nothing and publishes nothing. It asks whether it
        still has the claim every CLAIM_STEP bytes; then nothing it sent can harm what the later writer flushes.
        """

    @property
    def redirects(self) -> bool:
        """Whether `address` ever returns one."""

    @property
    def attic(self) -> "Attic":
        """Where files that are no content are kept."""

    async def start(self) -> None:
        """Prepare the store. Raises StorageUnavailable, saying why, if it can't be read and written."""

    async def check(self) -> None:
        """Return if the store answers now; raise StorageUnavailable, saying why, if not."""

    async def create_upload(self, upload_id: str) -> str:
        """Begin an upload and return its state. Nothing need be in the store before bytes are flushed.

        Raises UploadBusy if the id is taken, UploadMissing if it is not a UUID's text, StorageFull, StorageUnavailable.
        """

    async def open_upload(
        self, upload_id: str, state: str, offset: int, hasher: Hasher, *, contested: bool = False
    ) -> UploadWriter:
        """Continue an upload after its first `offset` bytes; what the store holds beyond them is forgotten.

        Opening alone changes nothing: bytes beyond `offset` go with the first write, flush, rewind or publish. So a
        caller can open with what it knew, look again now that nobody else writes, and close and open with what it
        knows then.

        `hasher` is fed what is written from here on. `contested`: whoever had the claim before may still be writing;
        a driver that locks need not be told. Raises UploadMissing; UploadBusy while another writer is open;
        UploadDamaged if the store holds fewer bytes; StorageUnavailable.
        """

    async def remove_upload(self, upload_id: str, state: str) -> None:
        """Remove an upload nobody will continue, and all that is left of it; where the state is lost, "" will do.

        Removing one that is not there is no error. Raises UploadBusy while a writer is open.
        """

    async def open(self, key: str) -> ObjectReader:
        """Open an object. Raises ObjectMissing, InvalidKey, StorageUnavailable.

        ObjectMissing is a fact about this object: a store that is itself gone (not mounted) raises StorageUnavailable.
        """

    async def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises like `open`."""

    async def address(self, key: str, client: str) -> str | None:
        """Return a URL from which anybody can GET the object for a while; None if the caller is to send the bytes.

        `client` is the IP address of who asks. The object may be missing. Raises InvalidKey, StorageUnavailable.
        """

    async def delete(self, key: str) -> None:
        """Delete an object, durably. Deleting one that is not there is no error: a delete may be repeated.

        Raises InvalidKey, StorageUnavailable.
        """

    async def delete_many(self, keys: Sequence[str]) -> dict[str, StorageError]:
        """Delete objects as `delete` does, with as few requests as the store allows.

        Returns what could not be deleted, by key, and why: InvalidKey, StorageUnavailable. What failed keeps nothing
        else from being deleted. `storage.deleting.delete_each` does it one by one.
        """

    def objects(self, after: str = "") -> AsyncIterator[StoredObject]:
        """List objects in ascending order of keys greater than `after`, without holding the listing in memory.

        What was there all the time is listed once; what comes or goes meanwhile may be listed or not. What is under
        the root but has no key for a name is left out. Raises StorageUnavailable.
        """

    def uploads(self) -> AsyncIterator[StoredObject]:
        """List uploads of which something is in the store, in no order, by upload id; one may be listed twice.

        Raises StorageUnavailable.
        """

    async def close(self) -> None:
        """Release what the driver holds (threads, connections). Its readers and writers must be closed before."""
