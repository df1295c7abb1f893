"""Files beside the content of an S3 store: `<prefix>/attic/NAME`."""

import os
import time
from pathlib import Path

from storage.attic import check_name, is_name
from storage.driver import StoredObject
from storage.filesystem_files import explained
from storage.s3_bucket import Bucket, Multipart, Part
from storage.s3_parts import size_of_part
from storage.s3_reader import read_range
from storage.threads import Threads, ended

_FOLDER = "attic/"
_READ = 16 * 1024 * 1024
_DEAD_S = 43200
"""A multipart upload that was begun so long ago was left by somebody who was killed."""


class S3Attic:
    """Files in one bucket.

    Args:
        part_size: bytes of the first parts of a large file.
    """

    def __init__(self, bucket: Bucket, threads: Threads, part_size: int) -> None:
        self._bucket = bucket
        self._threads = threads
        self._part_size = part_size

    async def put(self, name: str, source: Path) -> None:
        """Send a file, in parts if it is large: what is cut off is never an object."""
        key = _FOLDER + check_name(name)
        with explained("read", name), source.open("rb") as reading:
            first = await self._threads.run(reading.read, self._part_size)
            if len(first) < self._part_size:
                await self._threads.run(self._bucket.put, key, first, name)
                return
            await self._abort_dead(name)
            upload = await self._threads.run(self._bucket.begin, key, name)
            try:
                parts: list[Part] = []
                data = first
                while data:
                    number = len(parts) + 1
                    parts.append(await self._threads.run(self._bucket.upload_bytes, upload, number, data, name))
                    data = await self._threads.run(reading.read, size_of_part(number + 1, self._part_size))
                await self._threads.run(self._bucket.complete, upload, parts, name)
            except BaseException:
                aborting = self._threads.submit(self._bucket.abort, upload, name)
                await ended(aborting)
                aborting.exception()  # seen: what was first counts; the next file sweeps up what is left
                raise

    async def get(self, name: str, target: Path) -> None:
        """Fetch a file, a piece at a time."""
        found = await self._threads.run(self._bucket.head, _FOLDER + check_name(name), name)
        with explained("write", str(target)):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as writing:
                for start in range(0, found.size, _READ):
                    last = min(start + _READ, found.size) - 1
                    data = await self._threads.run(read_range, self._bucket, found, start, last, name)
                    with explained("write", str(target)):
                        await self._threads.run(writing.write, data)
                with explained("write", str(target)):
                    writing.flush()
        except BaseException:
            os.unlink(target)
            raise

    async def remove(self, name: str) -> None:
        """Remove a file."""
        await self._threads.run(self._bucket.delete, _FOLDER + check_name(name), name)

    async def files(self) -> list[StoredObject]:
        """List files, a page at a time."""
        files: list[StoredObject] = []
        last, more = "", True
        while more:
            page, more = await self._threads.run(self._bucket.page, _FOLDER, last)
            more = more and bool(page)
            for found in page:
                last = found.name
                name = found.name.removeprefix(_FOLDER)
                if is_name(name):
                    files.append(StoredObject(name, found.size, found.modified_at))
        return files

    async def _abort_dead(self, subject: str) -> None:
        last, more = "", True
        dead: list[Multipart] = []
        while more:
            page, more = await self._threads.run(self._bucket.multiparts, _FOLDER, last)
            more = more and bool(page)
            dead += [one for one in page if one.begun_at < time.time() - _DEAD_S]
            last = page[-1].name if page else last
        for one in dead:
            await self._threads.run(self._bucket.abort, one, subject)
