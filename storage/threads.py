"""Threads and buffers that drivers work with."""

import asyncio
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

BUFFER_SIZE = 1024 * 1024

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class BufferPool:
    """At most `limit` buffers of BUFFER_SIZE bytes, page-aligned. For the event loop's thread only.

    A pool that is used up does not make a caller wait: buffers are held while a client is slow, and waiting for
    one would let a few slow clients stop everybody.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._made = 0
        self._free: list[memoryview] = []

    @property
    def outstanding(self) -> int:
        """Buffers that were taken and not given back."""
        return self._made - len(self._free)

    @property
    def scarce(self) -> bool:
        """Whether three quarters of them are in use."""
        return self.outstanding * 4 >= self._limit * 3

    def take(self) -> memoryview | None:
        """Return a buffer, or None if all are in use."""
        if self._free:
            return self._free.pop()
        if self._made == self._limit:
            return None
        self._made += 1
        return memoryview(mmap.mmap(-1, BUFFER_SIZE))

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back. No thread may use it any more."""
        self._free.append(buffer)


class Threads:
    """Runs blocking functions; a cancelled caller waits until its function has ended."""

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="stowage-blobs")

    def submit(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> asyncio.Future[Result]:
        """Start `function` in a thread. Await the future through `ended` only: so that it is never cancelled."""
        return asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))

    async def run(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call `function` in a thread and return what it returns. If cancelled, first wait for its end."""
        future = self.submit(function, *args, **kwargs)
        await ended(future)
        return future.result()

    async def close(self) -> None:
        """End the threads, after what they are doing."""
        await asyncio.to_thread(self._executor.shutdown)


async def ended(*futures: asyncio.Future[Any]) -> None:
    """Return when all `futures` are done, whatever their outcome. A cancellation is raised, but only then."""
    cancelled: asyncio.CancelledError | None = None
    while not all(future.done() for future in futures):
        try:
            await asyncio.wait(futures)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        for future in futures:
            future.exception()  # Seen, or the loop would complain that nobody looked.
        raise cancelled
