"""Replies of the distribution API: a status, headers, and bytes from memory or from storage."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from registry.http.request import Request, Send
from registry.http.splicing import SPLICE, StreamCut
from registry.http.zerocopy import ZERO_COPY_SEND
from storage.driver import READ_CHUNK, ObjectReader, ObjectStream

Headers = Iterable[tuple[bytes, bytes]]

JSON = b"application/json"
_API_VERSION = (b"docker-distribution-api-version", b"registry/2.0")
_SMALL = 64 * 1024
_WARNING_LIMIT = 4096


class Answer(Protocol):
    """What a handler returns."""

    async def send(self, request: Request, send: Send) -> None:
        """Send it, whole. A HEAD request gets the headers of the GET."""


class Reply:
    """A reply whose body is in memory."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = body

    async def send(self, request: Request, send: Send) -> None:
        """Send status, headers and body."""
        headers = [_API_VERSION, *self.headers]
        if self.status not in {204, 304} and all(name != b"content-length" for name, _ in headers):
            headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class BlobReply:
    """A reply whose body is `count` bytes of an object from `offset`. Closes the reader.

    Raises StorageError where a small body can't be read: now, while there is still another answer to give.
    """

    __slots__ = ("_count", "_headers", "_offset", "_reader", "_small", "_status")

    def __init__(self, status: int, headers: Headers, reader: ObjectReader, offset: int, count: int) -> None:
        self._status = status
        self._headers = headers
        self._reader = reader
        self._offset = offset
        self._count = count
        try:
            self._small = reader.read_now(offset, count) if count <= _SMALL else None
        except BaseException:
            reader.close()
            raise

    async def send(self, request: Request, send: Send) -> None:
        """Send it from memory if it is small, else by sendfile where the server can, else in chunks."""
        try:
            headers = [_API_VERSION, *self._headers, (b"content-length", str(self._count).encode())]
            await send({"type": "http.response.start", "status": self._status, "headers": headers})
            if self._small is not None:
                await send({"type": "http.response.body", "body": self._small})
            elif self._reader.fileno is not None and ZERO_COPY_SEND in request.scope.get("extensions", {}):
                await send(
                    {
                        "type": ZERO_COPY_SEND,
                        "file": self._reader.fileno,
                        "offset": self._offset,
                        "count": self._count,
                        "more_body": False,
                    }
                )
            else:
                await self._stream(send, spliced=SPLICE in request.scope.get("extensions", {}))
        finally:
            self._reader.close()

    async def _stream(self, send: Send, *, spliced: bool) -> None:
        position, end = self._offset, self._offset + self._count
        if spliced and (stream := await self._reader.stream(position, self._count)) is not None:
            position += await _send_stream(send, stream, last=len(stream.head) + stream.left == self._count)
        while position < end:
            data = await self._reader.read(position, min(READ_CHUNK, end - position))
            position += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": position < end})


async def _send_stream(send: Send, stream: ObjectStream, *, last: bool) -> int:
    """Send what comes, and return how many bytes that was. `last`: whether the body ends with it."""
    message = {"socket": stream.fileno, "head": stream.head, "count": stream.left, "patience": stream.patience}
    try:
        await send({"type": SPLICE, **message, "more_body": not last})
    except StreamCut as cut:
        return len(stream.head) + stream.left - cut.left
    return len(stream.head) + stream.left


def json_reply(status: int, content: Any, headers: Sequence[tuple[bytes, bytes]] = ()) -> Reply:
    """Return a reply with `content` as JSON."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status, [(b"content-type", JSON), *headers], body)


def warning(text: str) -> tuple[bytes, bytes]:
    """Return a Warning header (spec, "Warnings"): code 299, agent `-`, no date. Of all of them at most 4096 bytes."""
    quoted = text.replace("\\", "").replace('"', "'")[: _WARNING_LIMIT // 2]
    return b"warning", f'299 - "{quoted}"'.encode("ascii", "replace")
