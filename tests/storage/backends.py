"""The drivers that the contract suite runs. A further one is a further line in BACKENDS."""

import atexit
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from storage.driver import BlobDriver
from storage.filesystem import FilesystemDriver
from storage.memory import MemoryDriver
from storage.s3 import S3Driver
from storage.s3_options import Credentials, S3Options
from tests.support.s3 import ACCESS_KEY_ID, BUCKET, REGION, SECRET_ACCESS_KEY, S3Server


@cache
def memory_at(place: Path) -> MemoryDriver:
    """Return the one memory driver of a place."""
    return MemoryDriver()


@cache
def s3_server() -> S3Server:
    """Return the S3 server of this run, started when it is first asked for."""
    folder = tempfile.TemporaryDirectory(prefix="stowage-s3-")
    server = S3Server(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(server.stop)
    server.start()
    return server


def s3_options(place: Path, endpoint: str | None = None) -> S3Options:
    """Return options under which two drivers of one place share a store of their own in the one bucket."""
    return S3Options(
        bucket=BUCKET,
        endpoint=endpoint or s3_server().url,
        region=REGION,
        prefix=sha256(str(place).encode()).hexdigest()[:16],
        credentials=Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY),
        part_size=5 * 1024 * 1024,
        copy_part_size=5 * 1024 * 1024,
        threads=8,
    )


def s3_at(place: Path) -> S3Driver:
    """Return an S3 driver for a place."""
    return S3Driver(s3_options(place))


@dataclass(frozen=True)
class Backend:
    """A driver's name, and how to make one: two made with the same folder are two processes' views of one store.

    `clock_step_s`: how coarse the times are that the store tells.
    """

    name: str
    make: Callable[[Path], BlobDriver]
    clock_step_s: float = 0.1


LOCKING = (Backend("filesystem", FilesystemDriver), Backend("memory", memory_at))
LOCKLESS = (Backend("s3", s3_at, clock_step_s=1.0),)
BACKENDS = (*LOCKING, *LOCKLESS)


def held(driver: BlobDriver) -> list[str]:
    """Say what a driver without open readers and writers still holds, and should not."""
    if isinstance(driver, FilesystemDriver | S3Driver) and driver.buffers.outstanding:
        return [f"{driver.buffers.outstanding} buffers were not given back"]
    return []
