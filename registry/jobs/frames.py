"""Messages between a worker and the process that it started, over a socket that nobody else has.

Each is its length, four bytes, and a pickle: both ends are this program, in this version.
"""

import asyncio
import pickle
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


def send(writer: asyncio.StreamWriter, message: object) -> None:
    """Send a message. What can't be sent any more is lost: the other end has gone."""
    content = pickle.dumps(message)
    writer.write(_LENGTH.pack(len(content)) + content)


async def receive(reader: asyncio.StreamReader) -> Any:
    """Return the next message; None at the end."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - what this program sent
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
