"""An open object in S3."""

import asyncio
import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.driver import READ_CHUNK, ObjectStream
from storage.errors import ObjectMissing, StorageUnavailable
from storage.s3_bucket import Bucket, Found, InvalidRange
from storage.s3_errors import explained
from storage.threads import Threads, ended

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from urllib3.response import HTTPResponse

FIRST_READ = 128 * 1024
"""Bytes that come with the request that opens an object: all of a small one."""

_FIRST_STREAM = 16 * 1024 * 1024
_LONGEST_STREAM = 256 * 1024 * 1024
_BUFFERED = 64 * 1024
_WORTH_STREAMING = 4 * 1024 * 1024
"""From so many bytes on it pays to drop the connection afterwards, since no one knows how far it was read."""
_ATTEMPTS = 3
_AHEAD = 4
"""Chunks that a thread reads at once: handing over to it takes as long as reading one."""


def read_range(bucket: Bucket, found: Found, first: int, last: int, subject: str) -> bytes:
    """Return the bytes from `first` to `last` of an object, all of them. Blocks.

    Raises ObjectMissing; StorageUnavailable, too, if the object is not `found` any more.
    """
    for left in range(_ATTEMPTS - 1, -1, -1):
        body, _ = bucket.get(found.name, first, last, subject, found.etag)
        try:
            with explained("read", subject):
                data: bytes = body.read()
            if len(data) == last - first + 1:
                return data
        except StorageUnavailable:
            if left == 0:
                raise
        finally:
            body.close()
    raise StorageUnavailable(f"cannot read {subject}: the store sends fewer bytes than it announced")


def open_object(bucket: Bucket, name: str, key: str, count: int = FIRST_READ) -> tuple[Found, bytes]:
    """Return what an object is, and its first bytes. Blocks. Raises ObjectMissing, StorageUnavailable.

    Args:
        name: in the bucket.
        key: what the object is called in errors.
        count: how many bytes, if there are as many.
    """
    try:
        body, found = bucket.get(name, 0, count - 1, key)
    except InvalidRange:
        return bucket.head(name, key), b""  # an empty object has no first byte to ask for
    wanted = min(found.size, count)
    try:
        with explained("read", key):
            data: bytes = body.read()
    except StorageUnavailable:
        data = b""
    finally:
        body.close()
    if len(data) != wanted:
        data = read_range(bucket, found, 0, wanted - 1, key)
    return found, data


class _Stream:
    """What the store sends of an object, from one position on, in order. Blocks; one thread at a time."""

    def __init__(self, bucket: Bucket, found: Found, key: str) -> None:
        self._bucket = bucket
        self._found = found
        self._key = key
        self._body: StreamingBody | None = None
        self._length = _FIRST_STREAM
        self.position = 0
        self._end = 0

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`. Raises StorageUnavailable, having tried again from where it broke."""
        parts: list[bytes] = []
        failures = 0
        while length:
            if self._body is None or self.position != offset or self.position == self._end:
                self._reopen(offset)
            try:
                data = self._take(length)
            except StorageUnavailable:
                failures += 1
                if failures == _ATTEMPTS:
                    raise
                continue
            parts.append(data)
            offset += len(data)
            length -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_chunks(self, offset: int, count: int) -> list[bytes]:
        """Return up to `count` chunks from `offset` on, fewer at the object's end. Raises like `read`."""
        end = min(offset + count * READ_CHUNK, self._found.size)
        return [self.read(start, min(READ_CHUNK, end - start)) for start in range(offset, end, READ_CHUNK)]

    def _take(self, length: int) -> bytes:
        body = self._body
        try:
            with explained("read", self._key):
                data: bytes = b"" if body is None else body.read(min(length, self._end - self.position))
            if not data:
                raise StorageUnavailable(f"cannot read {self._key}: the store sends fewer bytes than it announced")
        except StorageUnavailable:
            self.close()
            raise
        self.position += len(data)
        return data

    def _reopen(self, offset: int) -> None:
        """Ask for more: more each time, so that who wants little does not leave much unread."""
        self._length = min(self._length * 4, _LONGEST_STREAM) if self.position == offset else _FIRST_STREAM
        self._open(offset, min(self._length, self._found.size - offset))

    def _open(self, offset: int, length: int) -> None:
        self.close()
        last = offset + length - 1
        try:
            self._body, _ = self._bucket.get(self._found.name, offset, last, self._key, self._found.etag)
        except ObjectMissing as error:
            raise StorageUnavailable(f"cannot read {self._key}: it was deleted meanwhile") from error
        self.position, self._end = offset, last + 1

    def plain(self, offset: int, length: int) -> tuple[int, bytes, int] | None:
        """Return a descriptor, bytes that come before its own, and how many of its own complete the `length`.

        None if what is on it is not what is meant, as with TLS: `read` goes on then. Raises StorageUnavailable.
        """
        self._open(offset, length)
        raw: HTTPResponse = vars(self._body)["_raw_stream"]  # botocore shows it no other way
        sock = raw.connection.sock if raw.connection is not None else None
        if type(sock) is not socket.socket or raw.chunked or raw.length_remaining != length:
            return None
        with explained("read", self._key):
            # Until its buffer is empty it reads nothing but that; then not more than this from the socket.
            head = raw.read1(_BUFFERED)
        self.position = -1  # whoever takes bytes from the socket tells nobody
        return sock.fileno(), head, length - len(head)

    def close(self) -> None:
        """Drop the connection, unless all was read, when it is kept for others."""
        if self._body is not None:
            self._body.close()
            self._body = None


class Allowance:
    """How many chunks may be read before they are asked for, of all readers of a driver together."""

    def __init__(self, chunks: int) -> None:
        self._left = chunks

    def take(self, most: int) -> int:
        """Take up to `most`, and one at least: nobody waits for who is slow."""
        count = max(1, min(most, self._left))
        self._left -= count
        return count

    def give(self, count: int) -> None:
        """Give chunks back."""
        self._left += count


@dataclass(slots=True)
class _Ahead:
    """Chunks from `start` on that a thread reads or has read. `count`: how many were taken from the allowance."""

    start: int
    count: int
    reading: asyncio.Future[list[bytes]]


class S3Reader:
    """Reads one object: its first bytes from memory, the rest as it comes, a few chunks ahead of who asks in order."""

    def __init__(
        self, bucket: Bucket, threads: Threads, allowance: Allowance, key: str, found: Found, first: bytes
    ) -> None:
        self._bucket = bucket
        self._threads = threads
        self._allowance = allowance
        self._key = key
        self._size = found.size
        self._first = first
        self._stream = _Stream(bucket, found, key)
        self._ahead: _Ahead | None = None
        self._ready: deque[bytes] = deque()
        self._ready_at = 0
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes in the object."""
        return self._size

    @property
    def fileno(self) -> int | None:
        """None: there is no file."""
        return None

    async def stream(self, offset: int, length: int) -> ObjectStream | None:
        """Return `length` bytes at `offset` as they come, unless the endpoint speaks TLS, or they are few."""
        self.read_now(offset, 0)
        if length < _WORTH_STREAMING or not self._bucket.is_plain:
            return None
        if self._ahead is not None:
            await self._take_ahead(-1)
        self._ready.clear()
        first = self._first[offset : offset + length]
        plain = await self._threads.run(self._stream.plain, offset + len(first), length - len(first))
        if plain is None:
            return None
        descriptor, head, left = plain
        return ObjectStream(first + head, descriptor, left, self._bucket.patience)

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes (at most READ_CHUNK) at `offset`. Raises StorageUnavailable if they are not there."""
        at_hand = self.read_now(offset, length)
        if at_hand is not None:
            return at_hand
        if not self._ready and self._ahead is not None:
            await self._take_ahead(offset)
        if self._ready:
            if self._ready_at == offset and length <= len(self._ready[0]):
                return self._next_ready(length)
            self._ready.clear()
        if self._ahead is not None:
            await self._take_ahead(-1)
        head = self._first[offset : offset + length]
        data = await self._threads.run(self._stream.read, offset + len(head), length - len(head))
        if length == READ_CHUNK:  # as who sends a large object asks
            self._read_ahead(offset + length)
        return head + data if head else data

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Return bytes that came when the object was opened; else None."""
        if offset < 0 or not 0 <= length <= READ_CHUNK:
            raise ValueError(f"cannot read {length} bytes at {offset}: a read is of 0 to {READ_CHUNK} bytes")
        if self._closed:
            raise ValueError("the object's reader is closed")
        if offset + length > self._size:
            raise StorageUnavailable(f"cannot read {length} bytes at {offset} of {self._key}: it has {self._size}")
        return self._first[offset : offset + length] if offset + length <= len(self._first) else None

    def close(self) -> None:
        """Drop the connection, once no thread uses it."""
        if self._closed:
            return
        self._closed = True
        self._ready.clear()
        if self._ahead is None:
            self._stream.close()
        else:
            self._ahead.reading.add_done_callback(self._on_last)
            self._allowance.give(self._ahead.count)
            self._ahead = None

    def _on_last(self, reading: asyncio.Future[list[bytes]]) -> None:
        reading.exception()  # seen: nobody asks for it any more
        self._stream.close()

    def _next_ready(self, length: int) -> bytes:
        data = self._ready[0]
        if length < len(data):
            return data[:length]  # the end of a range
        self._ready.popleft()
        self._ready_at += length
        if len(self._ready) <= 1 and self._ahead is None:
            self._read_ahead(self._ready_at + sum(map(len, self._ready)))
        return data

    def _read_ahead(self, offset: int) -> None:
        """Begin to read what follows."""
        if offset < self._size:
            count = self._allowance.take(_AHEAD)
            reading = self._threads.submit(self._stream.read_chunks, offset, count)
            self._ahead = _Ahead(offset, count, reading)

    async def _take_ahead(self, offset: int) -> None:
        """Wait for what is read ahead, and have it ready if it begins at `offset`."""
        ahead = self._ahead
        if ahead is None:
            return
        await ended(ahead.reading)
        self._allowance.give(ahead.count)
        self._ahead = None
        if ahead.start == offset:
            self._ready.extend(ahead.reading.result())
            self._ready_at = offset
        else:
            ahead.reading.exception()  # seen: who asked out of order does not want to know
