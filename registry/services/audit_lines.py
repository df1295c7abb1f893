"""The audit log as JSON lines, for whoever collects them: in a file, or on standard output."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.db import audit
from registry.db.audit import Entry, Seal
from registry.db.connection import Database, Transaction

_CURSOR = "lines"
_PAGE = 500

Check = Callable[[Transaction], Awaitable[None]]


class Lines:
    """Writes entries in their order, each once; once more those that a process was writing when it was killed.

    Args:
        file: where they are added at the end; it may be moved away at any time, and is made again.
        stdout: whether they go to standard output too.
    """

    def __init__(self, database: Database, *, file: Path | None, stdout: bool) -> None:
        self._database = database
        self._file = file
        self._stdout = stdout

    @property
    def are_wanted(self) -> bool:
        """Whether there is anywhere to write them to."""
        return self._file is not None or self._stdout

    async def write(self, check: Check, sealed: Seal | None) -> int:
        """Write what was not written yet, and a new seal. Return how many entries that were.

        Raises:
            OSError: the file can't be written; the next time all that was not written comes.
        """
        if not self.are_wanted:
            return 0
        written = 0
        last = await audit.cursor(self._database, _CURSOR) or 0
        closed = await self._database.write(audit.last_closed, reserve=True)
        while page := await audit.batch(self._database, after=last, last=closed, limit=_PAGE):
            await asyncio.to_thread(self._put, "".join(_line(described(one)) for one in page))
            last = page[-1].id
            await self._move(check, last)
            written += len(page)
        if sealed is not None:
            await asyncio.to_thread(self._put, _line(described_seal(sealed)))
        return written

    async def _move(self, check: Check, last: int) -> None:
        async def work(transaction: Transaction) -> None:
            await check(transaction)
            await audit.move_cursor(transaction, _CURSOR, last)

        await self._database.write(work, reserve=True)

    def _put(self, text: str) -> None:
        if self._file is not None:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
        if self._stdout:
            sys.stdout.write(text)
            sys.stdout.flush()


def described(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON has it, everywhere."""
    return {
        "id": entry.id,
        "at": _time(entry.at),
        "action": entry.action,
        "outcome": entry.outcome,
        "principal": entry.principal,
        "project": entry.project,
        "repository": entry.repository,
        "address": entry.address,
        "requestId": entry.request_id,
        "count": entry.count,
        "detail": _detail(entry.detail),
    }


def described_seal(seal: Seal) -> dict[str, Any]:
    """Return a seal as JSON has it. What it says is proof of all entries up to its last."""
    return {"seal": {"lastId": seal.last_id, "hash": seal.hash.hex(), "at": _time(seal.sealed_at)}}


def _time(microseconds: int) -> str:
    """Return a time as RFC 3339 has it, UTC."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _detail(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # somebody else wrote it there
        return text


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":")) + "\n"
