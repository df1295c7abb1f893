"""A small ASGI application behind the registry's web server, and a client that speaks to it byte by byte.

`python -m tests.support.served FOLDER` serves the files of FOLDER and prints HOST and PORT once it listens.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import client as http_client
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from registry.http import zerocopy
from registry.http.limits import Limits
from registry.http.server import Served, Serving
from registry.http.sockets import bind
from registry.http.supervisor import Supervisor
from registry.http.tls import ServerTls
from registry.metrics.board import Board
from registry.metrics.families import Layout, families
from tests.support.workers import children

_MIXED = 48 * 1024  # little enough that a transport takes it at once, whether it can hand it on or not

ROOT = Path(__file__).resolve().parents[2]


class FileServer:
    """What is served: `/file/NAME` and a few paths that behave badly on purpose."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        kind, *rest = scope["path"].split("/")[1:] or [""]
        query = {
            name: values[0] for name, values in parse_qs(scope["query_string"].decode(), keep_blank_values=True).items()
        }
        if kind == "file":
            await self._file(rest[0], query, scope, send)
        elif kind == "about":
            body = await _body(receive)
            about = {name: str(scope.get(name)) for name in ("method", "path", "http_version", "scheme")}
            about["extensions"] = ",".join(scope.get("extensions", {}))
            about["sha256"] = hashlib.sha256(body).hexdigest()
            about["length"] = str(len(body))
            about["headers"] = ",".join(sorted(name.decode() for name, _ in scope["headers"]))
            await _answer(send, 200, json.dumps(about).encode())
        elif kind == "early":
            await _answer(send, 401, b"no")
        elif kind == "slow":
            await receive()
            await asyncio.sleep(float(query.get("seconds", "0.3")))
            await _answer(send, 200, b"slept")
        elif kind == "wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            (self._folder / rest[0]).touch()
        elif kind == "fail":
            raise RuntimeError("a-secret-word")
        else:
            await _answer(send, 404, b"")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        if (self._folder / "start-slowly").exists():
            await asyncio.sleep(0.5)
        if (self._folder / "fail-to-start").exists():
            raise RuntimeError("told not to start")
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "one-fails-to-start").unlink()
            raise RuntimeError("told that one should not start")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        (self._folder / "stopped").touch()
        await send({"type": "lifespan.shutdown.complete"})

    async def _file(self, name: str, query: dict[str, str], scope: Scope, send: Send) -> None:
        """`offset`, `count`; `parts`: in how many messages; `declare`: Content-Length, `chunked` for none.

        `copy`: by ordinary messages; `mixed`: by both kinds in turn.
        """
        file = os.open(self._folder / name, os.O_RDONLY)
        try:
            offset = int(query.get("offset", "0"))
            count = int(query.get("count", str(os.fstat(file).st_size - offset)))
            declared = query.get("declare", str(count))
            headers = [] if declared == "chunked" else [(b"content-length", declared.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if "copy" in query or zerocopy.ZERO_COPY_SEND not in scope.get("extensions", {}):
                for at in range(offset, offset + max(count, 1), 1 << 20):
                    size = min(1 << 20, offset + count - at)
                    data = await asyncio.to_thread(os.pread, file, size, at)
                    await send({"type": "http.response.body", "body": data, "more_body": at + size < offset + count})
                return
            step = -(-count // int(query.get("parts", "1"))) or 1
            for at in range(offset, offset + max(count, 1), step):
                part = min(step, offset + count - at)
                more = at + part < offset + count
                if "mixed" in query and part > _MIXED:
                    part -= _MIXED
                    message = {"file": file, "offset": at, "count": part, "more_body": True}
                    await send({"type": zerocopy.ZERO_COPY_SEND, **message})
                    data = os.pread(file, _MIXED, at + part)
                    await send({"type": "http.response.body", "body": data, "more_body": more})
                    continue
                message = {"file": file, "offset": at, "count": part, "more_body": more}
                await send({"type": zerocopy.ZERO_COPY_SEND, **message})
        finally:
            os.close(file)


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One TCP connection. `receive_buffer`: bytes the kernel may hold for it, small for a slow reader."""

    def __init__(self, port: int, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(60)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset(self) -> None:
        """Close with RST instead of FIN: what the kernel holds is thrown away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, target: str, method: str = "GET", headers: str = "", body: bytes = b"") -> None:
        self.send(f"{method} {target} HTTP/1.1\r\nHost: registry\r\n{headers}\r\n".encode() + body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers = http_client.parse_headers(self._file)
        return int(line.split()[1]), {name.lower(): value for name, value in headers.items()}

    def answer(self, *, bodiless: bool = False) -> Answer:
        status, headers = self.head()
        if bodiless:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(self._chunks()))
        length = int(headers["content-length"])
        body = self.read(length)
        assert len(body) == length, f"{len(body)} of {length} bytes came"
        return Answer(status, headers, body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._file.readline(), 16):
            yield self.read(size)
            assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"\r\n"

    def read(self, count: int = -1) -> bytes:
        """`count` bytes, or what comes until the end."""
        data: bytes = self._file.read(count)
        return data

    def is_closed(self) -> bool:
        """Whether the server ends the connection with nothing more to say."""
        try:
            return self._file.read(1) == b""
        except (ConnectionResetError, ssl.SSLError):
            return True


class Process:
    """A server of `folder` in a process of its own. Its log, standard error, is `folder/log`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.served", str(folder), *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        self.process.stdout.close()
        if not line:
            self.process.wait(60)
            raise ConnectionError(self.log())
        self.port = int(line[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def connect(self, receive_buffer: int | None = None) -> Connection:
        return Connection(self.port, receive_buffer=receive_buffer)

    def get(self, target: str) -> Answer:
        with self.connect() as connection:
            connection.ask(target)
            return connection.answer()

    def open_files(self) -> int:
        """How many files the worker has open."""
        (worker,) = children(self.process.pid)
        return len(os.listdir(f"/proc/{worker}/fd"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(90)


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until `condition` holds: by default so long that only what never comes to hold takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--tls", action="store_true", help="with FOLDER/certificate.pem and FOLDER/key.pem")
    parser.add_argument("--stall", type=float, default=Limits().stall)
    parser.add_argument("--idle", type=float, default=Limits().idle)
    parser.add_argument("--drain", type=float, default=30)
    parser.add_argument("--connections", type=int, default=Limits().connections)
    given = parser.parse_args()
    client_ca = given.folder / "client-ca.pem"
    logging.basicConfig(level=logging.INFO)
    pem = given.folder / "certificate.pem"
    serving = Serving(
        make_app=lambda _: Served(app=FileServer(given.folder)),
        limits=Limits(connections=given.connections, idle=given.idle, stall=given.stall),
        tls=ServerTls(pem, given.folder / "key.pem", client_ca if client_ca.exists() else None) if given.tls else None,
        loop=given.loop,
        drain=given.drain,
    )
    with contextlib.suppress(BrokenPipeError), bind(given.host, given.port) as listeners:
        Supervisor(
            listeners.listen(given.workers),
            serving,
            reload=lambda: serving,
            on_ready=lambda: print(*listeners.address, flush=True),
            board=Board(Layout(families([], []))),
        ).run()


if __name__ == "__main__":
    main()
