"""The access log: a line for each request, gathered in memory, and written by a thread, so that no request waits.

A reader that is too slow loses lines, which are counted, and never holds up an answer. Lines are JSON, or text for
people; whatever a client sent is escaped, so that it can neither end a line nor reach a terminal's controls.
"""

import asyncio
import json
import os
import queue
import re
import select
import stat
import threading
import time
from typing import Any

_LOGGER = "stowage.access"
_FULL = 100
"""Requests after which the thread gets their lines; else after a second."""
_MOST_PENDING = 4 * 1024 * 1024
_PIPE = 4096
"""Bytes that several processes may write to one pipe without getting into each other's lines (PIPE_BUF, pipe(7))."""
_LAST_SECONDS = 2.0  # for the thread to write what is left when the process ends
_LONGEST_AGENT = 256
_LONGEST_TARGET = 1024  # with the longest of the rest, escaped, a line stays below _PIPE
_KEPT = 1024

# Parameters that say what is asked for. Others, such as tokens and signatures, may be secret.
_HARMLESS = re.compile(
    rb"(?:^|(?<=&))(?:artifactType|digest|digest-algorithm|from|last|mount|n|scope|service|tag)=[^&]*"
)
_UNSAFE = re.compile(r"[^\x20-\x7e]|[\"\\]")


PRINCIPAL = "stowage.principal"
"""Where the name of whoever asks stands in an ASGI scope, once it is known."""
AGENT = "stowage.agent"
"""Where the header User-Agent stands in an ASGI scope, if the request has it."""

_Request = tuple[float, str, Any, int, int, int, float]
"""What `AccessLog.add` is told, in its order."""


class AccessLog:
    """The lines of one process.

    Args:
        descriptor: where they go; it may be others' too, and stays as it is.
        as_json: JSON, or text.
        instance: id of this server's run, told in JSON, as in the rest of the log.

    Attributes:
        dropped: lines lost because nobody took them.
    """

    def __init__(self, descriptor: int, *, as_json: bool, instance: str) -> None:
        self._descriptor = descriptor
        self._as_json = as_json
        self._process = os.getpid()
        self._instance = instance
        self._now = 0  # in milliseconds
        self._prefix = ""  # what a line of now begins with
        self._who: dict[tuple[str | None, str, bytes], str] = {}  # how each is described
        self._targets: dict[bytes, str] = {}
        self._requests: list[_Request] = []
        self._timer: asyncio.TimerHandle | None = None
        self._queue: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        self._handed = self._done = 0  # characters given to the thread, and those it is through with
        self._full = self._failed = 0  # lines dropped here, and those dropped by the thread
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()

    @property
    def dropped(self) -> int:
        """Lines lost."""
        return self._full + self._failed

    def add(
        self, ended: float, request_id: str, scope: Any, status: int, received: int, sent: int, seconds: float
    ) -> None:
        """Take what is told of a request. Its line is made later: many in a row take half the time.

        Args:
            ended: when it was over, by `perf_counter`.
            scope: ASGI's; of a request that was refused early, only as much as is known.
            received: bytes of the request's body.
            sent: bytes of the answer's body.
            seconds: from the request's head to the answer's end.
        """
        requests = self._requests
        requests.append((ended, request_id, scope, status, received, sent, seconds))
        if len(requests) >= _FULL:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1, self.flush)

    def flush(self) -> None:
        """Hand what has gathered to the thread, or drop it if the thread is too far behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        requests, self._requests = self._requests, []
        if not requests:
            return
        if self._handed - self._done > _MOST_PENDING:
            self._full += len(requests)
            return
        lines = self._lines(requests)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="access-log", daemon=True)
            self._thread.start()
        self._handed += sum(map(len, lines))
        self._queue.put(lines)

    def _lines(self, requests: list[_Request]) -> list[str]:
        lines: list[str] = []
        as_json, known, targets, offset = self._as_json, self._who, self._targets, time.time() - time.perf_counter()
        for ended, request_id, scope, status, received, sent, seconds in requests:
            now = int((ended + offset) * 1000)
            if now != self._now:
                self._begin(now)
            client = scope.get("client")
            asker = (client and client[0], scope.get(PRINCIPAL, ""), scope.get(AGENT, b""))
            who = known.get(asker) or self._describe(*asker)
            path, query, method = scope.get("raw_path", b""), scope.get("query_string"), scope.get("method", "")
            target = _target(path, query) if query else targets.get(path) or self._remember(path)
            if as_json:
                lines.append(
                    f'{self._prefix}"request_id":"{request_id}","method":"{method}","path":"{target}",'
                    f'"status":{status},"received":{received},"sent":{sent},"seconds":{seconds:.6f},{who}}}\n'
                )
            else:
                lines.append(
                    f"{self._prefix}{method} {target} {status} seconds={seconds:.6f} received={received} sent={sent} "
                    f"{who} request_id={request_id}\n"
                )
        return lines

    def _begin(self, now: int) -> None:
        """Make anew, once a millisecond, what lines begin with."""
        self._now = now
        second, millisecond = divmod(now, 1000)
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{millisecond:03d}Z"
        if self._as_json:
            about = f'"level":"info","logger":"{_LOGGER}","process":{self._process},"instance":"{self._instance}"'
            self._prefix = f'{{"time":"{moment}",{about},"message":"request",'
        else:
            self._prefix = f"{moment} INFO [{self._process}] {_LOGGER}: "

    def _remember(self, path: bytes) -> str:
        """Return a path as it is shown, and remember it: what is asked for is often asked for again."""
        text = _target(path, None)
        if len(self._targets) >= _KEPT:
            self._targets.clear()
        if len(path) <= _LONGEST_TARGET:
            self._targets[path] = text
        return text

    def _describe(self, host: str | None, principal: str, agent: bytes) -> str:
        """Return who asks, in this log's form. Few differ, so they are remembered."""
        name, program = json.dumps(principal), json.dumps(agent[:_LONGEST_AGENT].decode("latin-1"))
        if self._as_json:
            text = f'"client":{json.dumps(host or "")},"principal":{name},"user_agent":{program}'
        else:
            text = f"client={host} principal={name} user_agent={program}"
        if len(self._who) >= _KEPT:
            self._who.clear()
        if len(agent) <= _LONGEST_AGENT:
            self._who[host, principal, agent] = text
        return text

    def close(self) -> None:
        """Write what is left, as far as somebody takes it soon."""
        self.flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_LAST_SECONDS)
            self._ending.set()
            self._thread = None

    def _write_all(self) -> None:
        whole = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        while (lines := self._queue.get()) is not None:
            for part in [lines] if whole else _parts(lines):
                if not self._write("".join(part).encode("ascii")):
                    self._failed += len(part)
            self._done += sum(map(len, lines))

    def _write(self, data: bytes) -> bool:
        """Write, for as long as it takes. Return False if nobody will ever take it."""
        while data and not self._ending.is_set():
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody made it so
                select.select([], [self._descriptor], [], 1)
            except OSError:
                return False
        return not data


def _parts(lines: list[str]) -> list[list[str]]:
    """Return lines in groups that a pipe takes as one."""
    parts: list[list[str]] = [[]]
    size = 0
    for line in lines:
        if size + len(line) > _PIPE and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += len(line)
    return parts


def _target(path: bytes, query: bytes | None) -> str:
    """Return path and harmless parameters, in characters that need no quotes."""
    if query:
        harmless = b"&".join(_HARMLESS.findall(query))
        path = path + b"?" + harmless if harmless else path
    text = path[:_LONGEST_TARGET].decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text)[:_LONGEST_TARGET]
