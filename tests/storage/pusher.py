"""A process that publishes blobs until it is killed, telling each on standard output: `python -m tests.storage.pusher`.

Arguments: the root, and optionally the number of the system call before which the process kills itself.
"""

import asyncio
import hashlib
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.digest import digest_from, new_hasher, new_key
from storage.filesystem import FilesystemDriver

CALLS = ("open", "close", "pwrite", "utime", "fsync", "mkdir", "rename", "unlink", "fstat", "stat")


def content(number: int) -> bytes:
    """Return the bytes that are pushed as number `number`: small and large ones by turns."""
    return hashlib.shake_128(number.to_bytes(8, "big")).digest((1000, 150_000, 2_500_000)[number % 3])


async def push(driver: FilesystemDriver, data: bytes) -> str:
    """Publish `data` and return its key."""
    upload_id = str(uuid.uuid4())
    hasher = new_hasher("sha256")
    writer = await driver.open_upload(upload_id, await driver.create_upload(upload_id), 0, hasher)
    for start in range(0, len(data), 100_000):
        await writer.write(data[start : start + 100_000])
    await writer.flush()
    key = new_key(digest_from("sha256", hasher))
    await writer.publish(key)
    return key


def die_before(call: int) -> None:
    """Count calls of `os` from now on, and kill the process before the one with this number."""
    left = call

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return replacement

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


async def main(root: Path, fatal_call: int | None) -> None:
    """Push without end, or one blob if a fatal call is given."""
    driver = FilesystemDriver(root)
    await driver.start()
    print("started", flush=True)
    if fatal_call is not None:
        die_before(fatal_call)
        print(await push(driver, content(fatal_call)), flush=True)
        await driver.close()
        return
    number = int.from_bytes(os.urandom(4), "big")
    while True:
        number += 1
        print(await push(driver, content(number)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
