"""Removes folders of container engines, which may have file systems mounted in them."""

import re
import shutil
import subprocess
import time
from pathlib import Path


def mounts_below(folder: Path) -> list[Path]:
    """Mount points in the folder, the deepest first (proc(5), `/proc/self/mountinfo`)."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(_unescaped(line.split()[4])) for line in lines]
    return sorted((point for point in points if point.is_relative_to(folder)), key=lambda point: -len(point.parts))


def remove_folder(folder: Path) -> None:
    """Unmount what is mounted in the folder and remove it, if it exists.

    An engine that was ended may have children that take a moment longer, and write or unmount meanwhile.
    """
    deadline = time.monotonic() + 60
    while folder.exists():
        for point in mounts_below(folder):
            subprocess.run(["umount", "--lazy", str(point)], check=False)
        try:
            shutil.rmtree(folder)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
