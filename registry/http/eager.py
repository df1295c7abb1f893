"""Coroutines that run at once, and become tasks only if they have to wait.

Most requests that read never wait: the database answers inline and the socket has room. A task for each costs more
than the query. Python 3.12 has eager tasks of its own; this does without them on 3.11, for coroutines that ask
for no current task before they first wait.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any


def start(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
    """Run `coroutine` up to where it first waits. Return the task that goes on from there, or None if it is done.

    What it raises before it waits is raised here.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration:
        return None
    return loop.create_task(_go_on(coroutine, waits_for))


async def _go_on(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _relay(coroutine, waits_for)


@types.coroutine
def _relay(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Hand what `coroutine` waits for to the task, and what the task sends or throws to `coroutine`."""
    while True:
        sent: Any = None
        thrown: BaseException | None = None
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's to handle
            thrown = error
        try:
            waits_for = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
        except StopIteration:
            return
