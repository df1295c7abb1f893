"""Watching the system calls that durability hangs on, and making them fail."""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest


class Trace:
    """The calls of `os` that decide what survives a power cut, in order: `(name, path)`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self.failing: Callable[[str, str], bool] = lambda name, path: False
        for name in ("fsync", "pwrite", "rename", "mkdir"):
            monkeypatch.setattr(os, name, self._traced(name, getattr(os, name)))

    def _traced(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: int | str, *rest: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
            subject = str(rest[0]) if name == "rename" else path
            self.calls.append((name, subject))
            if self.failing(name, subject):
                raise OSError(errno.EIO, "Input/output error")
            return original(first, *rest)

        return call

    def only(self, name: str) -> list[str]:
        """Return the paths of the calls of one name."""
        return [path for called, path in self.calls if called == name]
