"""What Linux tells of the server's processes (proc(5)): CPU, memory, open files."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """A process now. Times in seconds, `started` since the epoch, sizes in bytes; `most_files` is what it may open."""

    cpu: float
    started: float
    resident: int
    virtual: int
    threads: int
    files: int
    most_files: int


def process(pid: int) -> Process | None:
    """Return what is known of a process, or None if it is gone or not ours to look at."""
    folder = Path(f"/proc/{pid}")
    try:
        # From the third field on: the name before may hold spaces and brackets.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        files = len(os.listdir(folder / "fd"))
        limits = (folder / "limits").read_text()
        booted = next(
            line.split()[1] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, StopIteration):
        return None
    most = next((line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")), "unlimited")
    return Process(
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
        started=int(booted) + int(fields[19]) / _TICKS,
        resident=int(fields[21]) * _PAGE,
        virtual=int(fields[20]),
        threads=int(fields[17]),
        files=files,
        most_files=int(most) if most.isdigit() else 0,
    )
