"""The drivers that the contract suite runs. A further one is a further line in BACKENDS."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from storage.driver import BlobDriver
from storage.filesystem import FilesystemDriver
from storage.memory import MemoryDriver


@cache
def memory_at(place: Path) -> MemoryDriver:
    """Return the one memory driver of a place."""
    return MemoryDriver()


@dataclass(frozen=True)
class Backend:
    """A driver's name, and how to make one: two made with the same folder are two processes' views of one store."""

    name: str
    make: Callable[[Path], BlobDriver]


BACKENDS = (
    Backend("filesystem", FilesystemDriver),
    Backend("memory", memory_at),
)


def held(driver: BlobDriver) -> list[str]:
    """Say what a driver without open readers and writers still holds, and should not."""
    if isinstance(driver, FilesystemDriver) and driver.buffers.outstanding:
        return [f"{driver.buffers.outstanding} buffers were not given back"]
    return []
