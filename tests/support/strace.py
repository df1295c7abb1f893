"""System calls of a running server that fail on purpose, with strace(1)."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.server import Server
from tests.support.workers import children


class StraceError(Exception):
    """strace is not installed, or may not attach to the server."""


class Failing:
    """What strace saw: every call of the kind that fails, the failing ones marked."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def calls(self) -> list[str]:
        """The calls that began so far, as strace prints them."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if re.search(r"^\d+ +\w+\(", line)]

    @property
    def failed(self) -> int:
        """How many calls failed on purpose so far."""
        return self._log.read_text(errors="replace").count("(INJECTED)")


@contextmanager
def failing(
    server: Server, calls: str, *, error: str = "EIO", when: str = "1+", paths: Sequence[Path] = ()
) -> Iterator[Failing]:
    """Make system calls of all processes of a running server fail.

    Args:
        server: the server; what it starts meanwhile is included.
        calls: names with commas between, e.g. `fsync,fdatasync`.
        error: what they fail with, as errno(3) names it.
        when: which of the calls, as strace's `inject` takes it: `1` the first, `1+` all, `2+3` the second and each
            third after it. Counted for each thread.
        paths: only calls that have to do with one of these; all where it is empty.

    Raises:
        StraceError: it can't be done here.
    """
    log = server.log_file.with_name(f"strace-{os.urandom(4).hex()}.log")
    processes = [server.pid, *children(server.pid)]
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:error={error}:when={when}"]
    command += [f"--trace-path={path}" for path in paths] + [f"--attach={process}" for process in processes]
    try:
        tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise StraceError("strace is not installed: tests in which the disk fails can't run") from None
    try:
        _wait_until_attached(tracer, processes)
        yield Failing(log)
    finally:
        tracer.terminate()  # it lets go of the server and ends
        try:
            tracer.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.communicate()


def _wait_until_attached(tracer: "subprocess.Popen[str]", processes: list[int]) -> None:
    deadline = time.monotonic() + 120
    while not all(_traced(process) for process in processes):
        if tracer.poll() is not None:
            raise StraceError(f"strace ended: {tracer.communicate()[1].strip()}")
        if time.monotonic() > deadline:
            raise StraceError("strace did not attach to the server within 120 s")
        time.sleep(0.02)


def _traced(process: int) -> bool:
    try:
        statuses = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/status")]
    except (FileNotFoundError, ProcessLookupError):
        return False  # a thread has ended meanwhile: look again
    return all(re.search(r"^TracerPid:\t[1-9]", status, re.MULTILINE) for status in statuses)
