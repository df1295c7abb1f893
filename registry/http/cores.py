"""How many CPU cores this process may use: by its affinity, and by what its cgroup grants."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def granted_cores(proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores, rounded up, 1 at least.

    Args:
        proc: what cgroups the process is in (cgroups(7)).
        mounted: where cgroups are mounted.
    """
    granted = float(len(os.sched_getaffinity(0)))
    for folder in _folders(proc, mounted):
        granted = min(granted, _quota(folder))
    return max(1, math.ceil(granted))


def _folders(proc: Path, mounted: Path) -> Iterator[Path]:
    """The folders of the cgroups that bound the CPU, and all above them, as each may set a bound.

    Where a container sees its own cgroup as the root, its path leads nowhere from there, but the root does.
    """
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            roots = [mounted]
        elif "cpu" in controllers.split(","):
            roots = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        relative = PurePosixPath(path.lstrip("/"))
        for root in roots:
            for part in (relative, *relative.parents):
                yield root / part


def _quota(folder: Path) -> float:
    """Return the cores that a cgroup grants: infinitely many if it sets no bound."""
    try:
        given = (folder / "cpu.max").read_text().split()
    except OSError:
        try:
            given = [(folder / f"cpu.cfs_{part}_us").read_text().strip() for part in ("quota", "period")]
        except OSError:
            return math.inf
    if len(given) != 2 or not all(part.isdecimal() and int(part) for part in given):
        return math.inf  # "max", or -1
    return int(given[0]) / int(given[1])
