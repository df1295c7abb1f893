"""What requests note is written down in batches, and kept while the database takes none."""

import asyncio
import logging

import pytest

from registry.db.connection import Database
from registry.errors import Unavailable
from registry.services.noted import Noted

pytestmark = pytest.mark.anyio

MOST = 500


class Noting(Noted[int, str]):
    """Notes texts by number. `written`: batch after batch. `fails_at`: the batch at which it does."""

    def __init__(self, database: Database, *, every_s: float = 3600.0) -> None:
        super().__init__(
            database, every_s=every_s, most=MOST, name="noting", refused="no", logger=logging.getLogger("stowage.test")
        )
        self.written: list[dict[int, str]] = []
        self.fails_at = -1
        self.meanwhile: dict[int, str] = {}
        self.has_written = asyncio.Event()

    def note(self, number: int, text: str) -> bool:
        return self._keep(number, text)

    async def _write(self, notes: dict[int, str]) -> None:
        if len(self.written) == self.fails_at:
            raise Unavailable("the database is away")
        self.written.append(notes)
        self.has_written.set()
        for number, text in self.meanwhile.items():
            self.note(number, text)
        self.meanwhile = {}


async def test_notes_are_written_in_order_each_once(database: Database) -> None:
    noted = Noting(database)
    for number in reversed(range(450)):
        assert noted.note(number, str(number))
    await noted.write()
    assert [list(batch) for batch in noted.written] == [
        list(range(200)),
        list(range(200, 400)),
        list(range(400, 450)),
    ]
    await noted.write()
    assert len(noted.written) == 3


async def test_what_is_noted_while_it_is_written_is_written_the_next_time(database: Database) -> None:
    noted = Noting(database)
    noted.note(1, "before")
    noted.meanwhile = {1: "since", 2: "new"}
    await noted.write()
    await noted.write()
    assert noted.written == [{1: "before"}, {1: "since", 2: "new"}]


async def test_what_the_database_does_not_take_is_kept_as_far_as_there_is_room(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    noted = Noting(database)
    for number in range(MOST):
        assert noted.note(number, "first")
    noted.fails_at = 1
    for _ in range(2):
        with pytest.raises(Unavailable):
            await noted.write()
    left = MOST - len(noted.written[0])
    assert [noted.note(MOST + number, "later") for number in range(MOST - left + 1)] == [True] * (MOST - left) + [False]
    assert noted.note(MOST, "in its place")
    for _ in range(2):
        noted.start()
        await noted.stop()
    assert [one.getMessage() for one in caplog.records] == ["no: the database is away"]
    noted.fails_at = -1
    await noted.write()
    assert [number for batch in noted.written for number in batch] == list(range(2 * MOST - left))
    assert [batch[MOST] for batch in noted.written if MOST in batch] == ["in its place"]


async def test_it_writes_by_itself_and_what_is_left_when_it_is_stopped(database: Database) -> None:
    noted = Noting(database, every_s=0.01)
    noted.start()
    noted.note(1, "a")
    async with asyncio.timeout(60):
        await noted.has_written.wait()
    noted.note(2, "b")
    await noted.stop()
    assert noted.written == [{1: "a"}, {2: "b"}]
