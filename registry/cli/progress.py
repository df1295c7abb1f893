"""What a person at a terminal sees while something takes long."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_EVERY_S = 0.1
_BAR = 20
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@contextmanager
def shown(line: Callable[[], str], stream: TextIO) -> Iterator[None]:
    """Show on `stream`, if that is a terminal, what `line` returns, again and again; nothing while it returns ""."""
    if not stream.isatty():
        yield
        return
    done = threading.Event()
    watching = threading.Thread(target=_watch, args=(line, stream, done), name="progress")
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()  # before anything forks


def bar(done: int, total: int) -> str:
    """Return how much of something is done as a bar; empty if nobody knows how much there is."""
    if total <= 0:
        return ""
    part = min(done / total, 1.0)
    full = int(part * _BAR)
    return f"[{'#' * full}{'.' * (_BAR - full)}] {part:4.0%} "


def size(count: int) -> str:
    """Return a number of bytes as people write it: `512 B`, `1.5 GiB`."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def _watch(line: Callable[[], str], stream: TextIO, done: threading.Event) -> None:
    was_shown = False
    while not done.wait(_EVERY_S):
        text = line()
        if text:
            width = shutil.get_terminal_size().columns
            stream.write(f"\r{text[: width - 1]}\x1b[K")
            stream.flush()
            was_shown = True
    if was_shown:
        stream.write("\r\x1b[K")
        stream.flush()


def size_of(*files: Path) -> int:
    """Return how many bytes files have together."""
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:
            pass  # renamed meanwhile: it is whole
    return total
