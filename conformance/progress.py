"""Tells on the terminal how far a run is."""

import os
import shutil
import sys
import time
from typing import TextIO

from conformance.check import Level, Outcome
from conformance.result import Result

_BAR = 24
_GREEN, _RED, _YELLOW, _BLUE, _DIM = "32", "31", "33", "36", "2"


class Progress:
    """On a terminal a bar that changes and the findings, elsewhere a line for each check.

    Colours are left out when NO_COLOR is set (https://no-color.org), and elsewhere than on a terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._coloured = self._terminal and not os.environ.get("NO_COLOR")
        self._begun = time.monotonic()

    def line(self, text: str = "") -> None:
        """A line that stays."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")
        self._stream.flush()

    def passing(self, text: str, plain: str = "") -> None:
        """What is being done; on a terminal the next line replaces it, elsewhere only `plain` is shown, if given."""
        if self._terminal:
            # One column stays free: a full line would make some terminals go to the next.
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{text[:width]}")
            self._stream.flush()
        elif plain:
            self.line(plain)

    def bar(self, done: int, total: int, text: str) -> None:
        """How much is done, as a bar that the next line replaces; nothing elsewhere than on a terminal."""
        filled = _BAR * done // max(total, 1)
        seconds = int(time.monotonic() - self._begun)
        figures = f"{done:>{len(str(total))}}/{total} {seconds // 60}:{seconds % 60:02}"
        self.passing(f"[{'#' * filled}{'-' * (_BAR - filled)}] {figures} {text}")

    def result(self, result: Result, number: int, total: int) -> None:
        """A check that has ended."""
        if self._terminal and result.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE):
            self.bar(number, total, result.check.name)
        else:
            self.line(self.describe(result))

    def describe(self, result: Result) -> str:
        """The result on one line, as `describe` says it, in colours."""
        word = word_of(result)
        return describe(result).replace(word, self.paint(word, _colour(result)), 1)

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, an SGR number, where there are colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


def describe(result: Result) -> str:
    """The result on one line."""
    words = f"{word_of(result):<5} {result.check.level.value:<6} {result.check.name}"
    said = result.message or result.note
    return f"{words}: {said}" if said else words


def word_of(result: Result) -> str:
    """The outcome in one short word."""
    return "N/A" if result.outcome is Outcome.NOT_APPLICABLE else result.outcome.value.upper()


def _colour(result: Result) -> str:
    if result.outcome is Outcome.FAIL:
        return _RED if result.check.level is Level.MUST else _YELLOW
    return {Outcome.PASS: _GREEN, Outcome.LACKS: _BLUE}.get(result.outcome, _DIM)
