"""A `stowage backup` that is killed in the middle: `python -m tests.backup.killed ARGUMENT…`.

It ends as by `kill -9` when its copy has got so large: by itself, as whoever looks on from outside may look too late.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pysqlite3 as sqlite3

from registry.__main__ import main

_LARGE = 2**20
_STEPS = 1000
"""So many steps of SQLite's machine are done between two looks: microseconds."""

_connect = sqlite3.connect


def _watched(database: object, *arguments: Any, **named: Any) -> Any:
    """Connect as ever, but for the kill."""
    raw = _connect(database, *arguments, **named)

    def look() -> int:
        if any(file.stat().st_size > _LARGE for file in Path(str(database)).parent.glob("*.partial")):
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    raw.set_progress_handler(look, _STEPS)
    return raw


if __name__ == "__main__":
    sqlite3.connect = _watched
    main(sys.argv[1:])
