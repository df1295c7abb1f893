"""What requests note: gathered in memory and written down now and then, many at once, so that none waits for it."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from registry.db.connection import Database
from registry.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

_BATCH = 200

Key = TypeVar("Key", bound="SupportsRichComparison")
Note = TypeVar("Note")


class Noted(ABC, Generic[Key, Note]):
    """Gathers the notes of this process. What a process that is killed knew is lost.

    What is noted while the database can't be written to is kept, as far as there is room.

    Args:
        every_s: seconds between two writes.
        most: so many notes are kept.
        name: of the task that writes.
        refused: what the log says when the database takes none, once until it takes some again.
    """

    def __init__(
        self, database: Database, *, every_s: float, most: int, name: str, refused: str, logger: logging.Logger
    ) -> None:
        self._database = database
        self._every_s = every_s
        self._most = most
        self._name = name
        self._refused = refused
        self._logger = logger
        self._notes: dict[Key, Note] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    def start(self) -> None:
        """Write now and then, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Write what is left, and no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._try_to_write()

    async def write(self) -> None:
        """Write what was noted. Raises Unavailable; then it is kept."""
        # In one order in every process: two of them that wait for each other's rows would wait for ever.
        for keys in self._batches(sorted(self._notes)):
            some = {key: self._notes[key] for key in keys}
            await self._write(some)
            for key, note in some.items():
                if self._notes[key] is note:  # and not another one since
                    del self._notes[key]

    def _keep(self, key: Key, note: Note) -> bool:
        """Keep a note, in place of another with this key. Return False if there is no room for it."""
        if len(self._notes) >= self._most and key not in self._notes:
            return False
        self._notes[key] = note
        return True

    def _batches(self, keys: list[Key]) -> Iterator[list[Key]]:
        """Give what is written in one transaction each."""
        for begin in range(0, len(keys), _BATCH):
            yield keys[begin : begin + _BATCH]

    @abstractmethod
    async def _write(self, notes: dict[Key, Note]) -> None:
        """Write some of the notes, in one transaction. Raises Unavailable."""

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._try_to_write()

    async def _try_to_write(self) -> None:
        try:
            await self.write()
            self._is_failing = False
        except Unavailable as error:
            if not self._is_failing:
                self._logger.warning("%s: %s", self._refused, error)
            self._is_failing = True
