"""Disks of one's own: small ones that fill."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class MountError(Exception):
    """A filesystem could not be mounted: that takes root's rights."""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount an empty filesystem in memory at `folder`, which is made, and unmount it in the end.

    Args:
        folder: where it is mounted.
        size: how much it holds, as mount(8) takes it, e.g. `32m`.

    Raises:
        MountError: no right to mount, or no mount(8).
    """
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "stowage-test", str(folder))
    try:
        yield folder
    finally:
        try:
            _run("umount", str(folder))
        except MountError:  # something still has it open: it goes when that ends
            _run("umount", "--lazy", str(folder))


def fill(file: Path) -> None:
    """Write a file until not one byte more fits on its disk."""
    with file.open("ab", buffering=0) as filler:
        for size in (1024 * 1024, 4096, 1):
            with suppress(OSError):
                while filler.write(bytes(size)) == size:
                    pass


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        raise MountError(f"{command[0]} is not installed: tests that need a disk of their own can't run") from None
    if done.returncode != 0:
        raise MountError(f"{' '.join(command)}: {done.stderr.strip()} (mounting takes root's rights)")
