"""A receiver of webhooks on a port of its own, which answers, hangs or hangs up as a test says, and keeps what came."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_port


class Rudeness(Enum):
    """What a receiver does in place of answering."""

    HANG = "hang"
    CUT = "cut"


@dataclass(frozen=True)
class Received:
    """A message. `path`: which of a receiver's endpoints it came to."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What the event is known by."""
        return self.headers["webhook-id"]

    @cached_property
    def content(self) -> dict[str, Any]:
        """The body, as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def event(self) -> dict[str, Any]:
        """The event of an envelope of distribution."""
        found: dict[str, Any] = self.content["events"][0]
        return found

    @property
    def repository(self) -> str:
        """The repository of that."""
        return str(self.event["target"]["repository"])

    @property
    def tag(self) -> str:
        """The tag of that."""
        return str(self.event["target"].get("tag", ""))


Answer = Callable[[Received], "int | tuple[int, dict[str, str]] | tuple[int, dict[str, str], bytes] | Rudeness"]


def _taken(message: Received) -> int:
    return 204


class Receiver:
    """A server in a thread of its own. It can be stopped, and started again on the same port.

    Attributes:
        answer: says what becomes of a message: a status, with headers and a body, or no answer. It is called in the
            thread.
        received: all that came, in the order in which it did.
        taken: those that were answered with 2xx.
        port: where it listens while it is started.
    """

    def __init__(self, answer: Answer = _taken) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.taken: list[Received] = []
        self.port = free_port()
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to listen."""
        ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(ready),), daemon=True)
        self._thread.start()
        assert ready.wait(120)

    def stop(self) -> None:
        """Listen no more, and cut all connections."""
        if self._loop is not None and self._thread is not None:
            loop, self._loop = self._loop, None
            loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(120)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 180.0) -> None:
        """Return when something is so, which is looked at whenever a message was answered."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                seen = [(one.path, one.id, len(one.body)) for one in self.received[-20:]]
                raise AssertionError(f"it did not come to that; the last of {len(self.received)} messages: {seen}")

    async def _serve(self, ready: threading.Event) -> None:
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        connections: set[asyncio.StreamWriter] = set()
        served: set[asyncio.Task[None] | None] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(writer)
            served.add(asyncio.current_task())
            try:
                while await self._one(reader, writer):
                    pass
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass
            finally:
                connections.discard(writer)
                writer.transport.abort()

        server = await asyncio.start_server(connected, "127.0.0.1", self.port, reuse_address=True)
        ready.set()
        await self._ending.wait()
        server.close()
        for writer in connections:
            writer.transport.abort()
        await asyncio.gather(*(task for task in served if task is not None), return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        message = Received(line.split(" ")[1], headers, body)
        with self._changed:
            self.received.append(message)
        answer = self.answer(message)
        if answer is Rudeness.HANG:
            self._tell()
            await reader.read()
            return False
        if isinstance(answer, Rudeness):
            self._tell()
            return False
        status, more, *said = answer if isinstance(answer, tuple) else (answer, {})
        content = said[0] if said else b""
        if 200 <= status < 300:
            with self._changed:
                self.taken.append(message)
        written = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        head = f"HTTP/1.1 {status} So\r\ncontent-length: {len(content)}\r\n{written}\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        self._tell()
        return True

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()


def first_arrivals(messages: list[Received]) -> list[Received]:
    """Return each message the first time that it came."""
    found: dict[str, Received] = {}
    for one in messages:
        found.setdefault(one.id, one)
    return list(found.values())
