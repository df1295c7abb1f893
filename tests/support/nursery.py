"""A process that has imported the server, and becomes one by fork whenever a test wants one: that saves a second each.

Importing takes most of a start, and the tests start hundreds. What runs is `stowage serve` as it is, in a process of
its own that is the first of its session. `tests/cli/test_serve.py` starts it as users do.

Run as a program it is the nursery: standard input is a socket on which it is told what to start.
"""

import functools
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from registry.api.paths import MODULES

ROOT = Path(__file__).resolve().parents[2]

_PRELOADED = (
    "registry.__main__",
    "registry.cli.serve",
    "registry.db.postgresql_place",
    "registry.db.upgrade",
    "registry.identity",
    "registry.main",
    "registry.metrics.exposition",
    "registry.open_api",
    "registry.api.application",
    *(f"registry.api.{name}" for name in MODULES),
    "storage.filesystem",
    "storage.s3_client",
)
"""Also what a server imports late, for a new database, people who log in, `/metrics` or `/api/v1`: that takes most."""
_MOST_BYTES = 128 * 1024
_NUMBER = struct.Struct("i")


class Nursery:
    """The other end of that socket."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Ends when our end of the socket does, with all that it has started.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.nursery"], cwd=ROOT, stdin=theirs.fileno()
            )

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], output: int, errors: int | None = None
    ) -> "Forked":
        """Start `stowage ARGUMENTS` from the project's root.

        Args:
            environment: all of it.
            output: the descriptor for what it prints and logs.
            errors: another one for what it writes to standard error.
        """
        request = json.dumps({"arguments": arguments, "environment": dict(environment)}).encode()
        assert len(request) <= _MOST_BYTES
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._control, [request], [output, output if errors is None else errors, writing])
        finally:
            os.close(writing)
        return Forked(reading)


class Forked:
    """A process that the nursery started. Like `subprocess.Popen`.

    Args:
        told: a pipe on which the process says its id, and the nursery in the end its status.
    """

    def __init__(self, told: int) -> None:
        self._told = told
        self.returncode: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("stowage", timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, signal.SIGTERM)

    def _end(self) -> None:
        self.returncode = os.waitstatus_to_exitcode(self._number())
        os.close(self._told)

    def _number(self) -> int:
        data = os.read(self._told, _NUMBER.size)
        assert len(data) == _NUMBER.size, "the nursery has died"
        number: int = _NUMBER.unpack(data)[0]
        return number


_one_at_a_time = threading.Lock()


def nursery() -> Nursery:
    """The nursery of this process, started when the first server is."""
    with _one_at_a_time:  # of several that threads made at once all but one would end, with what they had started
        return _nursery()


@functools.cache
def _nursery() -> Nursery:
    return Nursery()


def main() -> None:
    """Start what is asked for, and tell how it ends, until nobody can ask any more."""
    control = socket.socket(fileno=os.dup(0))
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # so that collecting garbage does not copy what is shared
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    running: dict[int, tuple[int, int]] = {}
    while True:
        for key, _ in selector.select():
            if key.fd in running:
                selector.unregister(key.fd)
                pid, told = running.pop(key.fd)
                os.close(key.fd)
                _tell(told, os.waitpid(pid, 0)[1])
                os.close(told)
                continue
            request, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, 3)
            if not request:
                for pid, _ in running.values():
                    os.killpg(pid, signal.SIGKILL)
                return
            output, errors, told = descriptors
            pid = os.fork()
            if pid == 0:
                control.close()
                selector.close()
                for watched, (_, other) in running.items():
                    os.close(watched)
                    os.close(other)
                _become(json.loads(request), output, errors, told)
            os.close(output)
            os.close(errors)
            watched = os.pidfd_open(pid)
            running[watched] = (pid, told)
            selector.register(watched, selectors.EVENT_READ)


def _become(request: dict[str, object], output: int, errors: int, told: int) -> None:
    """Become the command that was asked for. Never returns."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(descriptor, number)
    for descriptor in {nothing, output, errors} - {0, 1, 2}:
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]  # a text file, which is what these are
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["stowage", *arguments]
    _tell(told, os.getpid())
    os.close(told)
    stowage = importlib.import_module("registry.__main__")
    stowage.main()
    raise SystemExit(0)


def _tell(told: int, number: int) -> None:
    try:
        os.write(told, _NUMBER.pack(number))
    except BrokenPipeError:
        pass  # the test does not want to know


if __name__ == "__main__":
    main()
