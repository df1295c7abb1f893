"""A cheap HTTP/1.1 client: one keep-alive connection, one request at a time, no more parsing than needed."""

import asyncio
from dataclasses import dataclass, field

import httptools

Headers = dict[bytes, bytes]

# By name: distribution does not take `*/*` as including OCI manifests.
_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"


class UnexpectedAnswer(Exception):
    """A server answered what the scenario does not allow: the run is worth nothing."""


@dataclass(slots=True)
class Answer:
    """A response: status, headers with lower-case names, body length in bytes, and the body if it was kept."""

    status: int = 0
    headers: Headers = field(default_factory=dict)
    length: int = 0
    body: bytearray = field(default_factory=bytearray)


class Connection(asyncio.Protocol):
    """One connection. Bodies are counted; up to `KEPT` bytes of each are kept."""

    KEPT = 64 * 1024

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self._done: asyncio.Future[Answer] | None = None
        self._room = asyncio.Event()
        self._room.set()

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a server on this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transport is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that is under way."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(UnexpectedAnswer("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    def pause_writing(self) -> None:
        """Stop the upload until there is room."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Go on with the upload."""
        self._room.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._answer.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Count a part of the body."""
        self._answer.length += len(body)
        if self._answer.length <= self.KEPT:
            self._answer.body += body

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        answer, self._answer = self._answer, Answer()
        answer.status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if self._done is not None:
            self._done.set_result(answer)

    async def ask(self, request: bytes, *, expect: int) -> Answer:
        """Send a whole request and return its answer. Raises UnexpectedAnswer for another status."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._checked(await self._done, expect, request)

    async def ask_streaming(self, head: bytes, body: memoryview, *, expect: int) -> Answer:
        """Send a head and a large body, as fast as the server takes it, and return the answer."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(head)
        for start in range(0, len(body), 256 * 1024):
            await self._room.wait()
            self._transport.write(body[start : start + 256 * 1024])
        return self._checked(await self._done, expect, head)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    @staticmethod
    def _checked(answer: Answer, expect: int, request: bytes) -> Answer:
        if answer.status != expect:
            line = request.split(b"\r\n", 1)[0].decode("latin-1")
            raise UnexpectedAnswer(f"{line}: {answer.status}, not {expect}: {bytes(answer.body[:300])!r}")
        return answer


def head(method: str, target: str, *, length: int | None = None, content_type: str = "") -> bytes:
    """Return a request's head."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", f"Accept: {_ACCEPT}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def path_of(location: bytes) -> str:
    """Return the path and query of a Location, which may be absolute."""
    text = location.decode("latin-1")
    return "/" + text.split("://", 1)[1].split("/", 1)[1] if "://" in text else text
