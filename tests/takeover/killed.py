"""A `stowage import` that is killed in the middle: `python -m tests.takeover.killed NUMBER ARGUMENT…`.

It ends as by `kill -9` before it records the tags of the NUMBERth repository: by itself, as whoever looks on from
outside may look too late. Of the repositories before that it has recorded the tags, of others it is in the middle.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from registry.__main__ import main
from registry.services.takeover_tags import TagTakeover

_record = TagTakeover._record
_one_at_a_time = asyncio.Lock()
_left = int(sys.argv[1])


async def _record_or_die(self: TagTakeover, found: Any, *, again: bool = True) -> None:
    global _left
    if not again:
        return await _record(self, found, again=again)
    async with _one_at_a_time:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        await _record(self, found)


if __name__ == "__main__":
    TagTakeover._record = _record_or_die  # type: ignore[method-assign]  # that is what it is for
    main(sys.argv[2:])
