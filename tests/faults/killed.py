"""A `stowage` command that is killed in the middle: `python -m tests.faults.killed NUMBER ARGUMENT…`.

At the NUMBERth event of a tag, or of what is undeleted or purged alone, it ends as by `kill -9`, in the middle of its
transaction.
"""

import itertools
import os
import signal
import sys
from typing import Any

from registry.__main__ import main
from registry.services import events

_record, _record_many, _told = events.record, events.record_many, itertools.count(1)


async def _record_one_or_die(transaction: Any, repository: Any, action: str, **named: Any) -> None:
    await _record(transaction, repository, action, **named)
    if next(_told) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)


async def _record_or_die(transaction: Any, repository: Any, action: str, several: Any, **named: Any) -> None:
    for facts in several:
        await _record_many(transaction, repository, action, [facts], **named)
        if action == events.TAG and next(_told) == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    events.record, events.record_many = _record_one_or_die, _record_or_die
    main(sys.argv[2:])
