"""A process of low priority that delivers for the worker that has the lease: so pushes do not wait for it.

It reads the database itself. What it wants written the worker writes, under its lease: who has a low priority must not
hold the turn to write, for which pushes would wait.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from registry.db.deliveries import Result
from registry.errors import Unavailable
from registry.jobs import frames
from registry.jobs.deliver import writing
from registry.jobs.runner import Lease
from registry.services.recording import Reached, Write
from registry.settings import Settings

MODULE = "registry.delivery"
_END_S = 10.0


class Begin(NamedTuple):
    """The first message to the process."""

    settings: Settings
    instance: str


class Stop(NamedTuple):
    """The last one."""


class Written(NamedTuple):
    """What was to be written is; or, with a `problem`, is not, for now."""

    number: int
    problem: str = ""


class ToWrite(NamedTuple):
    """What the process wants written, all or nothing."""

    number: int
    results: Sequence[Result]
    reached: Sequence[Reached]


class Tried(NamedTuple):
    """How often it tried something, with which outcome."""

    outcome: str
    tries: int


class DeliveryProcess:
    """Starts the process, and serves it.

    Args:
        instance: id of the server's run, for logs.
        count: told of tries: their outcome, and how many.
    """

    def __init__(self, settings: Settings, instance: str, count: Callable[[str, int], None]) -> None:
        self._begin = Begin(settings, instance)
        self._count = count

    async def work(self, lease: Lease) -> None:
        """Have it deliver until this is cancelled.

        Raises:
            LeaseLost, Paused: it is not this worker's any more.
            Unavailable: it ended by itself.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.to_thread(_started, theirs.fileno())
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**26)
        frames.send(writer, self._begin)
        serving = asyncio.create_task(self._serve(lease, reader, writer), name="delivery")
        try:
            await asyncio.wait([serving])
            serving.result()
        except asyncio.CancelledError:
            frames.send(writer, Stop())
            await asyncio.wait([serving], timeout=_END_S)
            raise
        finally:
            serving.cancel()
            writer.transport.abort()
            process.kill()  # it has ended, or is to
            status = await asyncio.to_thread(process.wait)
        raise Unavailable(f"the process that delivers ended with status {status}")

    async def _serve(self, lease: Lease, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        write = writing(lease)
        while (message := await frames.receive(reader)) is not None:
            if isinstance(message, Tried):
                self._count(*message)
            else:
                frames.send(writer, await _written(write, message))


def _started(connection: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", MODULE], stdin=connection)  # noqa: S603 - this program


async def _written(write: Write, message: ToWrite) -> Written:
    """Write something, and return what is answered. Raises LeaseLost, Paused."""
    try:
        await write(message.results, message.reached)
    except Unavailable as error:
        return Written(message.number, str(error))
    return Written(message.number)
