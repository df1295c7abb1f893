"""What a server does as the kernel sees it: its system calls, for a sandbox to be judged by."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")
_OPEN = re.compile(r'^AT_FDCWD, "((?:[^"\\]|\\.)*)", ([A-Z_|]+)')
_RESULT = re.compile(r"= -1 (E\w+)")

NO_COVERAGE: Mapping[str, str] = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""Measuring coverage would write files of its own."""


@dataclass(frozen=True)
class Call:
    """A system call: its name, and the rest of strace's line."""

    name: str
    text: str

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return _RESULT.search(self.text) is not None


class Traced:
    """The log of `strace -D -f -o FILE`, to be put before a server's command.

    Args:
        log: where strace writes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def wrapper(self) -> tuple[str, ...]:
        """The command that leads to the server's in the same process."""
        return ("strace", "-D", "-f", "-qq", "-s", "4096", "-o", str(self._log))

    def calls(self) -> list[Call]:
        """Every call that began, in order."""
        found = (_LINE.match(line) for line in self._log.read_text(errors="replace").splitlines())
        return [Call(match[1], match[2]) for match in found if match]

    def opened(self, *, for_writing: bool) -> set[str]:
        """Paths that were opened, to read only or to write too."""
        paths = set()
        for call in self.calls():
            match = _OPEN.match(call.text) if call.name == "openat" and not call.failed else None
            if match and for_writing == bool({"O_WRONLY", "O_RDWR", "O_CREAT"} & set(match[2].split("|"))):
                paths.add(match[1])
        return paths
