"""What a person at a terminal sees while something takes long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from registry.db.migrate import partial_copies

_EVERY_S = 0.1
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@contextmanager
def shown_copying(database: Path | None, stream: TextIO) -> Iterator[None]:
    """Show on `stream`, if that is a terminal, how far the copy of the database has come that a migration makes.

    Of a database that is no file none is made.
    """
    if database is None or not stream.isatty():
        yield
        return
    done = threading.Event()
    watching = threading.Thread(target=_watch, args=(database, stream, done), name="progress")
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()  # before anything forks


def size(count: int) -> str:
    """Return a number of bytes as people write it: `512 B`, `1.5 GiB`."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def _watch(database: Path, stream: TextIO, done: threading.Event) -> None:
    shown = False
    while not done.wait(_EVERY_S):
        copied = _size_of(*partial_copies(database))
        if copied:
            whole = max(copied, _size_of(database))
            stream.write(f"\rputting a copy of the database aside: {size(copied)} of {size(whole)}\x1b[K")
            stream.flush()
            shown = True
    if shown:
        stream.write("\r\x1b[K")
        stream.flush()


def _size_of(*files: Path) -> int:
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:
            pass  # renamed meanwhile: it is whole
    return total
