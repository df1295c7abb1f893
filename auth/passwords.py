"""Passwords of people: argon2id (RFC 9106), in threads of their own, so that hashing slows nothing else down.

The library works outside of the interpreter's lock. Two threads a worker bound what logins cost; more wait in line.
"""

import asyncio
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError

from auth.errors import TooManyAttempts

T = TypeVar("T")

LONGEST = 1024
"""Characters of a password: more are never right."""

_THREADS = 2
_LINE = 64
_RETRY_AFTER_S = 2
_NICENESS = 15
# OWASP's first choice for servers: 19 MiB, two passes, one lane; some 20 ms of one core.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)


def hashed(password: str) -> str:
    """Return a password's hash, to be kept. Takes tens of milliseconds."""
    return _HASHER.hash(password)


def matches(kept: str, password: str) -> bool:
    """Say whether a password is the one whose hash was kept. Takes tens of milliseconds."""
    try:
        return _HASHER.verify(kept, password)
    except (Argon2Error, InvalidHashError):
        return False


def _give_way() -> None:
    """Let whatever else wants the core have it: on Linux a thread has a niceness of its own (setpriority(2))."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class Passwords:
    """The threads of one process that hash."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords", initializer=_give_way)
        self._most = threads + _LINE
        self._busy = 0
        self._nobodys = hashed(secrets.token_urlsafe())

    async def check(self, kept: str | None, password: str) -> bool:
        """Say whether a password is the one whose hash was kept; None costs as much, and is nobody's.

        Raises:
            TooManyAttempts: too many wait.
        """
        is_right = await self.run(lambda: matches(kept or self._nobodys, password[:LONGEST]))
        return is_right and kept is not None and 0 < len(password) <= LONGEST

    async def run(self, work: Callable[[], T]) -> T:
        """Do other work of this kind in the same threads.

        Raises:
            TooManyAttempts: too many wait.
        """
        if self._busy >= self._most:
            raise TooManyAttempts("too many are logging in at once", retry_after=_RETRY_AFTER_S)
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._busy -= 1

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
