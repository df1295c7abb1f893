"""A receiver of webhooks that takes everything and costs little: `python -m bench.receiver`, in a process of its own.

It stands for machines elsewhere, so it has the lowest priority here.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import Self
from urllib.request import urlopen

_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
_NICE = 19


class Receiver:
    """The process. It listens on a free port of loopback while the context lasts."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.receiver"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def seen(self) -> tuple[int, float]:
        """Return how many messages came so far, and how many seconds passed between the first and the last."""
        with urlopen(f"http://127.0.0.1:{self.port}/seen", timeout=30) as answer:
            count, seconds = json.loads(answer.read())
        return count, seconds

    def wait_for(self, count: int, seconds: float) -> int:
        """Return how many messages came, once these are as many, or have been coming for so long."""
        end = time.monotonic() + seconds
        while (seen := self.seen()[0]) < count and time.monotonic() < end:
            time.sleep(0.1)
        return seen


class _Seen:
    count = 0
    first = 0.0
    last = 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, seen: _Seen) -> None:
        self._seen = seen
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            at = head.find(b"content-length: ")
            length = int(head[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._read) < end + 4 + length:
                return
            self._read = self._read[end + 4 + length :]
            self._take(head)

    def _take(self, head: bytes) -> None:
        seen = self._seen
        if head.startswith(b"get "):
            body = json.dumps([seen.count, seen.last - seen.first]).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            return
        seen.count += 1
        seen.last = time.monotonic()
        seen.first = seen.first or seen.last
        self._transport.write(_TAKEN)


async def _serve() -> None:
    seen = _Seen()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(seen), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    os.nice(_NICE)
    asyncio.run(_serve())
